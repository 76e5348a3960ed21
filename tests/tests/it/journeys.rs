//! What people use the system for, from end to end.

mod asking;
mod batches;
mod changing;
mod consenting;
mod delivering;
mod explaining;
mod health;
mod isolation;
mod reconciling;
mod repeats;
mod replaying;
mod retrying;
mod scheduling;
mod unsubscribing;
mod visibility;
mod waiting;
