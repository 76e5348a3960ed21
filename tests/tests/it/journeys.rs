//! What people use the system for, from end to end.

mod asking;
mod batches;
mod changing;
mod delivering;
mod isolation;
mod repeats;
mod retrying;
mod unsubscribing;
mod visibility;
mod waiting;
