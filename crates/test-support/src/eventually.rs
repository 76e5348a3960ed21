//! Waiting for a condition, never for luck.

use std::fmt::Debug;
use std::future::Future;
use std::panic::Location;
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const POLL_EVERY: Duration = Duration::from_millis(5);

/// What one look at a condition gives: the value waited for, or the state seen instead.
pub trait Look {
    /// The value waited for.
    type Value;

    /// The value, or the state seen instead, for the message of a failure.
    fn seen(self) -> Result<Self::Value, String>;
}

impl<T> Look for Option<T> {
    type Value = T;

    fn seen(self) -> Result<T, String> {
        self.ok_or_else(|| "None".to_owned())
    }
}

impl<T, E: Debug> Look for Result<T, E> {
    type Value = T;

    fn seen(self) -> Result<T, String> {
        self.map_err(|state| format!("{state:?}"))
    }
}

impl Look for bool {
    type Value = ();

    fn seen(self) -> Result<(), String> {
        if self { Ok(()) } else { Err("false".to_owned()) }
    }
}

/// Looks every 5 ms until `look` gives a value: `Some`, `Ok` or `true`.
///
/// Give the state seen in an `Err`: it stands in the message when the limit passes.
/// A look that hangs is cut off at the limit too.
///
/// # Panics
///
/// At the caller's line, if `limit` passes first.
#[track_caller]
pub fn eventually<L, F, Fut>(limit: Duration, mut look: F) -> impl Future<Output = L::Value>
where
    L: Look,
    F: FnMut() -> Fut,
    Fut: Future<Output = L>,
{
    let caller = Location::caller();
    async move {
        let deadline = Instant::now() + limit;
        let mut last = "the first look did not end".to_owned();
        loop {
            // Real time decides, even where a test has paused tokio's.
            match tokio::time::timeout(deadline.saturating_duration_since(Instant::now()), look()).await {
                Ok(look) => match look.seen() {
                    Ok(value) => return value,
                    Err(state) => last = state,
                },
                Err(_) => last = format!("a look that did not end; before it: {last}"),
            }
            assert!(Instant::now() < deadline, "{caller}: not within {limit:?}; last seen: {last}");
            tokio::time::sleep(POLL_EVERY).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_value_ends_the_wait() {
        let mut looks = 0;
        let value = eventually(Duration::from_secs(5), || {
            looks += 1;
            let look = if looks < 3 { Err(looks) } else { Ok("there") };
            async move { look }
        })
        .await;
        assert_eq!((value, looks), ("there", 3));
    }

    #[tokio::test]
    #[should_panic(expected = "last seen: 41")]
    async fn a_failure_tells_the_last_state() {
        eventually(Duration::from_millis(20), || async { Err::<(), _>(41) }).await;
    }

    #[tokio::test]
    #[should_panic(expected = "a look that did not end")]
    async fn a_hanging_look_is_cut_off() {
        eventually(Duration::from_millis(20), std::future::pending::<bool>).await;
    }
}
