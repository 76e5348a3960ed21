//! One clock for all processes of a run.

use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since the Unix epoch.
///
/// The wall clock, because sender and receiver are two processes and Rust's monotonic clock cannot be compared between
/// them. A step of the clock during a run would show as one absurd maximum.
#[expect(clippy::disallowed_methods, reason = "nanoseconds, which `service::clock` does not have")]
pub(crate) fn now_nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock stands after 1970");
    u64::try_from(since.as_nanos()).expect("nanoseconds fit 64 bits until the year 2554")
}
