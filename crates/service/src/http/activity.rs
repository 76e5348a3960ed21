//! What a connection is doing, so that one that does nothing can be closed.
//!
//! hyper's own head timeout counts from the end of the previous request, so it cannot tell an idle connection (75 s)
//! from a slow head (10 s), and it makes a timer per request. Here the connection's socket (`noted`) notes the first
//! byte of a head, the service notes when a request begins and ends, and one timer looks at the notes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// No head is being read; nothing was asked yet.
const NONE: u64 = u64::MAX;

/// The notes. Times are milliseconds since `start`.
#[derive(Debug)]
pub(super) struct Activity {
    start: Instant,
    requests: AtomicUsize,
    head_since: AtomicU64,
    quiet_since: AtomicU64,
}

/// What should happen to a connection now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Look again then.
    Wait(Instant),
    /// A head takes too long: cut.
    SlowHead,
    /// Nothing was asked for too long: close.
    Idle,
}

impl Activity {
    /// A connection that has just come: its first head has begun to be due.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            requests: AtomicUsize::new(0),
            head_since: AtomicU64::new(0),
            quiet_since: AtomicU64::new(NONE),
        })
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    /// A request begins, and ends when the answer's guard is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        self.head_since.store(NONE, Ordering::Relaxed);
        self.quiet_since.store(self.now(), Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    /// Bytes of HTTP/1 came: outside a request they are the beginning of a head.
    pub(super) fn received(&self) {
        if self.requests.load(Ordering::Relaxed) == 0 {
            self.head_is_under_way();
        }
    }

    /// A head has begun and is not whole.
    pub(super) fn head_is_under_way(&self) {
        if self.head_since.load(Ordering::Relaxed) == NONE {
            self.head_since.store(self.now(), Ordering::Relaxed);
        }
    }

    /// No head of HTTP/2 is incomplete. What else its peer sends is no sign of life: it may PING for ever. A connection
    /// that has not asked for anything yet still owes its first head.
    pub(super) fn head_is_whole(&self) {
        if self.quiet_since.load(Ordering::Relaxed) != NONE {
            self.head_since.store(NONE, Ordering::Relaxed);
        }
    }

    /// Judges the connection. Asked at least every `head_timeout`, it finds every slow head at its very deadline.
    pub(super) fn judge(&self, head_timeout: Duration, idle_timeout: Duration) -> Judgement {
        let now = Instant::now();
        let at = |millis: u64, timeout: Duration| self.start + Duration::from_millis(millis) + timeout;
        if self.requests.load(Ordering::Relaxed) > 0 {
            return Judgement::Wait(now + head_timeout);
        }
        let head_since = self.head_since.load(Ordering::Relaxed);
        if head_since != NONE {
            let deadline = at(head_since, head_timeout);
            return if deadline <= now { Judgement::SlowHead } else { Judgement::Wait(deadline) };
        }
        // Nothing but a request ends a connection's first head, so it was asked for something by now.
        let deadline = at(self.quiet_since.load(Ordering::Relaxed), idle_timeout);
        if deadline <= now { Judgement::Idle } else { Judgement::Wait(deadline.min(now + head_timeout)) }
    }
}

/// A request under way.
#[derive(Debug)]
pub(super) struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.quiet_since.store(self.0.now(), Ordering::Relaxed);
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Duration = Duration::from_secs(10);
    const IDLE: Duration = Duration::from_secs(75);

    #[tokio::test(start_paused = true)]
    async fn a_slow_head_is_found_at_its_deadline_and_an_idle_connection_at_its_own() {
        let activity = Activity::new();
        let start = Instant::now();
        let judge = || activity.judge(HEAD, IDLE);
        assert_eq!(judge(), Judgement::Wait(start + HEAD), "the first head is due");
        drop(activity.begin());
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!(judge(), Judgement::Wait(start + Duration::from_secs(14)), "idle: looked at again soon");
        activity.received();
        assert_eq!(judge(), Judgement::Wait(start + Duration::from_secs(14)), "a head has begun");
        tokio::time::advance(HEAD).await;
        assert_eq!(judge(), Judgement::SlowHead);
        let busy = activity.begin();
        activity.received();
        tokio::time::advance(IDLE * 2).await;
        assert!(matches!(judge(), Judgement::Wait(_)), "a request under way is neither slow nor idle");
        drop(busy);
        tokio::time::advance(Duration::from_secs(74)).await;
        assert!(matches!(judge(), Judgement::Wait(_)));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(judge(), Judgement::Idle);
    }

    #[tokio::test(start_paused = true)]
    async fn frames_that_are_no_head_are_no_sign_of_life() {
        let activity = Activity::new();
        let judge = || activity.judge(HEAD, IDLE);
        activity.head_is_whole();
        tokio::time::advance(HEAD).await;
        assert_eq!(judge(), Judgement::SlowHead, "the first head is still owed");
        drop(activity.begin());
        for _ in 0..7 {
            tokio::time::advance(HEAD).await;
            activity.head_is_whole();
            assert!(matches!(judge(), Judgement::Wait(_)), "a PING is no head");
        }
        tokio::time::advance(HEAD).await;
        activity.head_is_whole();
        assert_eq!(judge(), Judgement::Idle);
        activity.head_is_under_way();
        assert!(matches!(judge(), Judgement::Wait(_)));
        tokio::time::advance(HEAD).await;
        assert_eq!(judge(), Judgement::SlowHead);
    }
}
