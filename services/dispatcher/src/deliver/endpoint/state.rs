//! One endpoint as this dispatcher knows it: what it may have, what it has, and how it has been answering.

use std::sync::Arc;
use std::time::Duration;

use slipstream_core::breaker::{Breaker, Permit};
use slipstream_core::delivery::Reason;
use slipstream_core::rate::{Pace, Place};
use slipstream_core::timestamp::Timestamp;

use super::super::work::Work;
use super::queue::Queue;
use super::{Park, Prepared};

/// Mean duration of an attempt up to which a receiver counts as quick.
const QUICK_MEAN_MAX: Duration = Duration::from_millis(50);
/// Mean duration up to which it has proven that it answers.
const PROVEN_MEAN_MAX: Duration = Duration::from_secs(1);
/// Deliveries that may queue here for a quick receiver: a quarter of what a lane may have unacknowledged. If its queue
/// is full, we are the busy ones, and going by way of the bus would only make us busier.
const QUICK_QUEUE_LEN_MAX: usize = 1024;
/// How long a full queue of a quick receiver may take to be served, for room in it to be waited for.
const QUICK_QUEUE_WAIT_MAX: Duration = Duration::from_secs(2);
/// Deliveries that may queue here before the first attempt has ended, or after a quick receiver has stalled. Should
/// that attempt hang, they go back to the bus when it ends, well within their lease.
const UNKNOWN_QUEUE_LEN_MAX: usize = 256;
/// The longest that a delivery should have to queue here for a receiver that is not quick.
const SLOW_QUEUE_WAIT_MAX: Duration = Duration::from_millis(500);
/// The least and the most that a parked delivery waits.
const PARK_MIN: Duration = Duration::from_secs(1);
const PARK_MAX: Duration = Duration::from_mins(10);
/// Weight of the newest duration in the mean, as a shift: 1/8.
const MEAN_SHIFT: u32 = 3;

/// One endpoint.
#[derive(Debug, Default)]
pub(super) struct Endpoint {
    /// Attempts under way.
    pub(super) in_flight: usize,
    /// How many there may be; 0 until the first delivery has been admitted.
    pub(super) in_flight_max: usize,
    /// Deliveries that wait here.
    pub(super) queue: Queue,
    /// Whether it stands in its host's line.
    pub(super) is_in_line: bool,
    /// Whether its deliveries that give way rest until they may start.
    pub(super) is_resting: bool,
    /// Mean duration of an attempt, in microseconds; none before the first has ended.
    mean_us: Option<u64>,
    pub(super) breaker: Breaker,
    pub(super) pace: Pace,
    pub(super) slowed_until: Option<Timestamp>,
    pub(super) slowed_in_a_row: u32,
    /// Answers in a row that were no success, and when the first of these attempts started (SPEC 4.4).
    pub(super) failures: u32,
    pub(super) failing_since: Option<Timestamp>,
    /// The revision of the subscription at which the registry was told how it does.
    pub(super) told_at_revision: Option<i64>,
    /// The revision at which this endpoint answered 410; the registry's own record follows.
    pub(super) gone_at_revision: Option<i64>,
    pub(super) prepared: Option<Arc<Prepared>>,
}

impl Endpoint {
    /// Mean duration of an attempt; none before the first has ended.
    pub(super) fn mean(&self) -> Option<Duration> {
        self.mean_us.map(Duration::from_micros)
    }

    /// Whether a full queue here is worth a wait: it will have room in a moment, and is served soon. The way round by the
    /// bus costs two messages more, and schedules are what a server that syncs always is slowest at.
    pub(super) fn is_worth_a_wait(&self) -> bool {
        self.mean().is_some() && self.serving_time(QUICK_QUEUE_LEN_MAX) <= QUICK_QUEUE_WAIT_MAX
    }

    /// What is known of it is of another receiver, or of before somebody mended it.
    pub(super) fn forget_answers(&mut self) {
        self.mean_us = None;
        self.breaker = Breaker::default();
        self.slowed_until = None;
        self.slowed_in_a_row = 0;
        self.failures = 0;
        self.failing_since = None;
    }

    /// Whether it has been answering lately, so that a place given to it comes back soon.
    pub(super) fn is_proven(&self) -> bool {
        self.breaker.failures().0 == 0 && self.mean().is_some_and(|mean| mean <= PROVEN_MEAN_MAX)
    }

    /// A quick receiver has stalled: it is known no longer.
    pub(super) fn forget_mean(&mut self) {
        self.mean_us = None;
    }

    /// Why nothing may start at `now`, or how many may be in flight.
    pub(super) fn allowance(&self, now: Timestamp) -> Result<usize, (Timestamp, Reason)> {
        if let Some(until) = self.slowed_until.filter(|until| *until > now) {
            return Err((until, Reason::EndpointSlowed));
        }
        match self.breaker.permit(now) {
            Permit::NotBefore(until) => Err((until, Reason::BreakerOpen)),
            Permit::UpTo(count) => Ok(count.min(self.in_flight_max)),
        }
    }

    /// Asks for a place in the endpoint's rate, unless `work` has one; none if it is now.
    pub(super) fn pace(&mut self, work: &Work, rate: u32, sharers: usize, now: Timestamp) -> Option<Park> {
        if work.meta.has_place {
            return None;
        }
        let reason = Some(Reason::RateLimited);
        match self.pace.take(work.lane, rate, sharers, now) {
            Place::Now => None,
            Place::At(at) => Some(Park { at, reason, keeps_place: true }),
            Place::NotWithin(wait) => Some(Park::until(now.after(wait), now, reason)),
        }
    }

    /// Whether a queue of `count` is short enough.
    pub(super) fn may_queue(&self, count: usize) -> bool {
        match self.mean() {
            None => count <= UNKNOWN_QUEUE_LEN_MAX,
            Some(mean) if mean <= QUICK_MEAN_MAX => count <= QUICK_QUEUE_LEN_MAX,
            Some(_) => self.serving_time(count) <= SLOW_QUEUE_WAIT_MAX,
        }
    }

    /// How long it takes until `count` deliveries have been served; nothing before there is a mean.
    fn serving_time(&self, count: usize) -> Duration {
        self.mean().unwrap_or_default().saturating_mul(count as u32) / self.in_flight_max.max(1) as u32
    }

    pub(super) fn observe(&mut self, took: Duration) {
        let took = took.as_micros() as u64;
        self.mean_us = Some(self.mean_us.map_or(took, |mean| mean - (mean >> MEAN_SHIFT) + (took >> MEAN_SHIFT)));
    }

    /// Until when `work` is put off, at least until `until`. Twice as long each time the same delivery is put off, so
    /// that the many that wait for a slow receiver come back ever more rarely; the count travels with the message, not
    /// with us.
    pub(super) fn park(&self, work: &Work, until: Timestamp, reason: Reason, now: Timestamp) -> Park {
        let doubled = PARK_MIN.saturating_mul(1 << work.meta.parked.min(10));
        let wait = match reason {
            // It has said until when.
            Reason::EndpointSlowed => Duration::ZERO,
            _ => doubled.max(self.serving_time(self.queue.len() + 1)).min(PARK_MAX),
        };
        Park::until(until.max(now.after(wait)), now, Some(reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> Endpoint {
        Endpoint { in_flight_max: 8, ..Endpoint::default() }
    }

    #[test]
    fn the_mean_follows_what_attempts_take() {
        let mut endpoint = endpoint();
        endpoint.observe(Duration::from_secs(2));
        assert_eq!(endpoint.serving_time(8), Duration::from_secs(2));
        for _ in 0..64 {
            endpoint.observe(Duration::from_millis(1));
        }
        assert!(endpoint.serving_time(8) < Duration::from_millis(10), "{:?}", endpoint.mean());
    }

    #[test]
    fn much_queues_for_a_quick_receiver_and_little_for_another() {
        let longest = |endpoint: &Endpoint| (1..5000).take_while(|count| endpoint.may_queue(*count)).count();
        let mut endpoint = endpoint();
        assert_eq!(longest(&endpoint), UNKNOWN_QUEUE_LEN_MAX);
        endpoint.observe(Duration::from_millis(1));
        assert_eq!(longest(&endpoint), QUICK_QUEUE_LEN_MAX);
        endpoint.mean_us = Some(2_000_000);
        assert_eq!(longest(&endpoint), 2);
    }
}
