//! Statements about what is kept of the ECG surface, run over SQLite and over PostgreSQL.

#[path = "../support/backends.rs"]
mod backends;
mod configured;
mod secrets;
mod subscriptions;

use slipstream_core::timestamp::Timestamp;

pub(crate) use self::backends::on_both_backends;

pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_772_443_800_000);

/// This long after [`NOW`], in milliseconds.
pub(crate) fn later(millis: i64) -> Timestamp {
    Timestamp::from_millis(NOW.as_millis() + millis)
}
