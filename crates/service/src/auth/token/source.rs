//! An issuer's keys as we know them, and when they are fetched.
//!
//! There is at most one fetch at a time, in a task of its own: it goes on when the request that asked for it is gone, so
//! nobody can use up the five minutes by asking and hanging up.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::keys::{Key, KeySet};
use super::{IssuerConfig, fetch};
use crate::names;

/// How often keys are fetched in any case: a key that the issuer withdrew is good no longer than that.
const REFRESH_EVERY: Duration = Duration::from_hours(1);
/// How long after a failure they are fetched again.
const RETRY_AFTER: Duration = Duration::from_secs(30);
/// How often unknown keys may make us fetch (SPEC 5.1): anybody can name one.
const UNKNOWN_EVERY: Duration = Duration::from_mins(5);

/// Tokens that may wait for a fetch at once. Each holds the token and its request, up to 32 KiB, and anybody can send
/// one; a key that is really new has those who come a moment later.
const WAITING_MAX: usize = 64;

/// The keys of one issuer.
pub(super) struct KeySource {
    issuer: IssuerConfig,
    client: reqwest::Client,
    tasks: TaskTracker,
    keys: ArcSwap<KeySet>,
    state: Mutex<State>,
    /// A permit for each token that waits.
    waiting: Semaphore,
}

#[derive(Debug, Default)]
struct State {
    /// Of the latest fetch; cancelled when it is over.
    done: Option<CancellationToken>,
    /// Whether the latest fetch that is over gave keys.
    succeeded: bool,
    /// When an unknown key made us fetch.
    asked_at: Option<Instant>,
}

impl State {
    fn under_way(&self) -> Option<CancellationToken> {
        self.done.clone().filter(|done| !done.is_cancelled())
    }

    /// Whether an unknown key may make us fetch at `now`; if so, it has.
    fn may_ask(&mut self, now: Instant) -> bool {
        let may = self.asked_at.is_none_or(|asked| now.saturating_duration_since(asked) >= UNKNOWN_EVERY);
        if may {
            self.asked_at = Some(now);
        }
        may
    }
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySource").field("issuer", &self.issuer.name).finish_non_exhaustive()
    }
}

impl KeySource {
    /// A source that knows no key yet.
    pub(super) fn new(issuer: IssuerConfig, client: reqwest::Client, tasks: TaskTracker) -> Arc<Self> {
        let (keys, state, waiting) = (ArcSwap::default(), Mutex::default(), Semaphore::new(WAITING_MAX));
        Arc::new(Self { issuer, client, tasks, keys, state, waiting })
    }

    /// Whose keys they are.
    pub(super) const fn issuer(&self) -> &IssuerConfig {
        &self.issuer
    }

    /// The key `key_id`. One that is not known is looked for again after the fetch that is under way, and after one of
    /// its own if there may be one at `now`, unless [`WAITING_MAX`] are waiting already.
    pub(super) async fn key(self: &Arc<Self>, key_id: &str, now: Instant) -> Option<Arc<Key>> {
        for _ in 0..2 {
            if let Some(key) = self.keys.load().get(key_id) {
                return Some(key);
            }
            let done = {
                let mut state = self.state();
                match state.under_way() {
                    Some(done) => done,
                    None if state.may_ask(now) => self.fetch(&mut state),
                    None => break,
                }
            };
            // Whoever may not wait has begun the fetch all the same.
            let Ok(_permit) = self.waiting.try_acquire() else { break };
            done.cancelled().await;
        }
        // Also after a fetch that was over between the look at the keys and the look at the state.
        self.keys.load().get(key_id)
    }

    /// Fetches now, every hour, and sooner after a failure. Never ends by itself.
    pub(super) async fn keep_fresh(self: Arc<Self>) {
        loop {
            let done = {
                let mut state = self.state();
                state.under_way().unwrap_or_else(|| self.fetch(&mut state))
            };
            done.cancelled().await;
            let wait = if self.state().succeeded { REFRESH_EVERY } else { RETRY_AFTER };
            tokio::time::sleep(wait).await;
        }
    }

    /// Begins a fetch, and says when it is over.
    fn fetch(self: &Arc<Self>, state: &mut State) -> CancellationToken {
        let done = CancellationToken::new();
        state.done = Some(done.clone());
        let source = Arc::clone(self);
        self.tasks.spawn(async move {
            // Dropped last, and also by a panic: nobody waits for a fetch that will not end.
            let _done = done.drop_guard();
            let succeeded = source.fetched().await;
            source.state().succeeded = succeeded;
        });
        state.done.clone().expect("it was put there above")
    }

    /// Fetches the keys and takes them, if there are any to take.
    async fn fetched(&self) -> bool {
        let result = fetch::key_set(&self.client, &self.issuer).await;
        let outcome = if result.is_ok() { "fetched" } else { "failed" };
        metrics::counter!(names::ISSUER_KEYS_FETCHED, names::OUTCOME => outcome).increment(1);
        match result {
            Ok(keys) => {
                tracing::debug!(
                    issuer.name = self.issuer.name,
                    keys.count = keys.len(),
                    "an issuer's keys are fetched"
                );
                self.keys.store(Arc::new(keys));
                true
            }
            Err(error) => {
                let error = format!("{:#}", anyhow::Error::from(error));
                tracing::warn!(issuer.name = self.issuer.name, error, "an issuer's keys cannot be fetched");
                false
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing under this lock panics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_may_make_us_fetch_once_in_five_minutes() {
        let (mut state, start) = (State::default(), Instant::now());
        let mut may = |seconds: u64| state.may_ask(start + Duration::from_secs(seconds));
        assert!(may(0), "the first one at once");
        assert!(!may(1));
        assert!(!may(299));
        assert!(may(300));
        assert!(!may(301), "counted from the fetch, not from the refusals");
        assert!(!may(599));
        assert!(may(600));
        assert!(!may(0), "time that seems to go back allows nothing");
    }
}
