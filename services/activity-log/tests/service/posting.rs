//! Posts of the ECG surface (SPEC 6.7, 6.8).

mod hashing;
mod listing;
mod making;
mod office;
mod once;
mod recording;
mod refusing;
mod retrying;
mod telling;
