//! The wall clock. Decisions in `core` take the time as an argument; this is where it comes from.

use slipstream_core::timestamp::Timestamp;

/// The time now, to the millisecond.
///
/// The only reading of the wall clock in the workspace. Durations are measured with [`std::time::Instant`] instead:
/// this clock may jump (THREATS 10).
pub fn now() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "this is the function that everybody else is told to use")]
    let now = chrono::Utc::now();
    Timestamp::from_millis(now.timestamp_millis())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_clock_stands_after_the_release_of_this_code() {
        assert!(super::now() > "2025-01-01T00:00:00Z".parse().unwrap());
    }
}
