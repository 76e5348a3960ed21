//! The wall clock. Decisions in `core` take the time as an argument; this is where it comes from, and ids made of it.

use slipstream_core::timestamp::Timestamp;
use uuid::Uuid;

/// The time now, to the millisecond.
///
/// Services read the wall clock here only. Durations are measured with [`std::time::Instant`] instead:
/// this clock may jump (THREATS 10).
pub fn now() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "this is the function that everybody else is told to use")]
    let now = chrono::Utc::now();
    Timestamp::from_millis(now.timestamp_millis())
}

/// A new id that nobody has, ordered by the time of its making to the millisecond: a list by id is a list by age.
pub fn new_uuid() -> Uuid {
    #[expect(clippy::disallowed_methods, reason = "this is the function that everybody else is told to use")]
    Uuid::now_v7()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_clock_stands_after_the_release_of_this_code() {
        assert!(super::now() > "2025-01-01T00:00:00Z".parse().unwrap());
    }
}
