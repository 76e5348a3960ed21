//! What a dispatcher keeps of each endpoint, to be fair to the others (DESIGN 4 "Isolate").
//!
//! An endpoint takes a few attempts at once. What comes above that queues here while it would be served soon, judged by
//! how long attempts there take: much at a receiver that answers quickly, next to nothing at one that does not or is
//! not known yet. The rest goes back to the bus as a schedule, each time for longer. An endpoint that asked for less
//! (429, 502, 503, 504) takes nothing until then. All of it is per replica and forgotten at a restart: it makes us
//! fair, it is not what makes us correct.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use slipstream_core::config::Subscription;
use slipstream_core::delivery::{Reason, SlowDown};
use slipstream_core::ids::SubscriptionId;
use slipstream_core::retry::slow_down;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::{Directory, clock};
use slipstream_webhook::{PreparedHeaders, Target, TargetRefused};
use tokio_util::sync::CancellationToken;

use super::pick::pick_order;
use super::work::Work;

/// Mean duration of an attempt up to which a receiver counts as quick.
const QUICK_MEAN_MAX: Duration = Duration::from_millis(50);
/// Deliveries that may queue here for a quick receiver: a quarter of what a lane may have unacknowledged. If its queue
/// is full, we are the busy ones, and going by way of the bus would only make us busier.
const QUICK_QUEUE_LEN_MAX: usize = 1024;
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

/// All endpoints that deliveries came for.
#[derive(Debug)]
pub(crate) struct Endpoints {
    by_subscription: DashMap<SubscriptionId, Arc<Mutex<Endpoint>>>,
    in_flight_max: usize,
}

/// One endpoint.
#[derive(Debug, Default)]
struct Endpoint {
    in_flight: usize,
    queue: Queue,
    /// Mean duration of an attempt, in microseconds; none before the first has ended.
    mean_us: Option<u64>,
    slowed_until: Option<Timestamp>,
    slowed_in_a_row: u32,
    /// The revision at which this endpoint answered 410; the registry's own record follows.
    gone_at_revision: Option<i64>,
    prepared: Option<Arc<Prepared>>,
}

/// Deliveries waiting here. The lanes are asked in the order of [`pick_order`].
#[derive(Debug, Default)]
struct Queue {
    lanes: [VecDeque<Work>; 3],
    picks: u32,
}

impl Queue {
    fn len(&self) -> usize {
        self.lanes.iter().map(VecDeque::len).sum()
    }

    fn push(&mut self, work: Work) {
        self.lanes[work.lane as usize].push_back(work);
    }

    fn pop(&mut self) -> Option<Work> {
        self.picks = self.picks.wrapping_add(1);
        pick_order(self.picks).iter().find_map(|lane| self.lanes[*lane as usize].pop_front())
    }
}

/// What happens to a delivery that came due.
#[derive(Debug)]
pub(crate) enum Admission {
    /// It is attempted now, by the caller.
    Start(Work),
    /// It waits here; whoever finishes an attempt at this endpoint takes it.
    Queued,
    /// It goes back to the bus.
    Park(Work, Park),
}

/// A quick receiver's queue is full: there will be room in a moment. Holds the delivery that has none.
#[derive(Debug)]
pub(crate) struct Full(pub(crate) Work);

/// How long a delivery is put off without an attempt, and why.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Park {
    pub(crate) at: Timestamp,
    pub(crate) reason: Reason,
}

impl Park {
    /// Up to a fifth of the wait later than `until`, so that not all come at once.
    pub(crate) fn until(until: Timestamp, now: Timestamp, reason: Reason) -> Self {
        Self { at: until.after(until.since(now).mul_f64(0.2 * rand::random::<f64>())), reason }
    }
}

/// Everything about a subscription that an attempt needs, made once per revision.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) revision: i64,
    pub(crate) target: Result<Target, TargetRefused>,
    pub(crate) headers: PreparedHeaders,
    pub(crate) content_type: http::HeaderValue,
    pub(crate) keys: Vec<PreparedKey>,
}

/// A signing key and when it stops to sign.
#[derive(Debug)]
pub(crate) struct PreparedKey {
    pub(crate) key: slipstream_core::signing::Key,
    pub(crate) until: Option<Timestamp>,
}

impl Endpoints {
    pub(crate) fn new(in_flight_max: usize) -> Self {
        Self { by_subscription: DashMap::new(), in_flight_max }
    }

    fn endpoint(&self, subscription: SubscriptionId) -> Arc<Mutex<Endpoint>> {
        if let Some(endpoint) = self.by_subscription.get(&subscription) {
            return Arc::clone(&endpoint);
        }
        Arc::clone(&self.by_subscription.entry(subscription).or_default())
    }

    /// Decides what happens to a delivery that came due.
    ///
    /// # Errors
    /// If it would have to wait for us and not for the receiver: ask again soon.
    #[expect(
        clippy::result_large_err,
        reason = "it is handed back and asked with again; a box would cost every delivery"
    )]
    pub(crate) fn admit(&self, work: Work) -> Result<Admission, Full> {
        let endpoint = self.endpoint(work.subscription);
        let mut endpoint = lock(&endpoint);
        let now = clock::now();
        if let Some(until) = endpoint.slowed_until.filter(|until| *until > now) {
            return Ok(Admission::Park(work, Park::until(until, now, Reason::EndpointSlowed)));
        }
        if endpoint.in_flight < self.in_flight_max {
            endpoint.in_flight += 1;
            return Ok(Admission::Start(work));
        }
        let queued = endpoint.queue.len();
        if endpoint.may_queue(queued + 1, self.in_flight_max) {
            endpoint.queue.push(work);
            return Ok(Admission::Queued);
        }
        if endpoint.is_quick() {
            return Err(Full(work));
        }
        let park = endpoint.park(&work, self.in_flight_max, now);
        Ok(Admission::Park(work, park))
    }

    /// A quick receiver's queue has stayed full: something is wrong with it after all.
    pub(crate) fn stalled(&self, subscription: SubscriptionId) {
        lock(&self.endpoint(subscription)).mean_us = None;
    }

    /// An attempt has ended. Hands out the next delivery waiting here, keeping the place in flight for it.
    pub(crate) fn finished(&self, subscription: SubscriptionId, took: Option<Duration>) -> Next {
        let endpoint = self.endpoint(subscription);
        let mut endpoint = lock(&endpoint);
        if let Some(took) = took {
            endpoint.observe(took);
        }
        let queued = endpoint.queue.len();
        let Some(work) = endpoint.queue.pop() else {
            // Saturating: the entry may be a new one, if the subscription was forgotten in between.
            endpoint.in_flight = endpoint.in_flight.saturating_sub(1);
            return Next::Nothing;
        };
        let now = clock::now();
        if let Some(until) = endpoint.slowed_until.filter(|until| *until > now) {
            return Next::Park(work, Park::until(until, now, Reason::EndpointSlowed));
        }
        // It may have become slow since they were let in: then most of them are better off on the bus.
        if endpoint.may_queue(queued, self.in_flight_max) {
            return Next::Attempt(work);
        }
        let park = endpoint.park(&work, self.in_flight_max, now);
        Next::Park(work, park)
    }

    /// The endpoint asked for less, in answer to an attempt that started at `started_at`. It is left alone as long as
    /// it said; or for longer each time it asks again after having been left alone.
    pub(crate) fn slow(&self, subscription: SubscriptionId, asked: SlowDown, started_at: Timestamp, now: Timestamp) {
        let endpoint = self.endpoint(subscription);
        let mut endpoint = lock(&endpoint);
        let asks_again = endpoint.slowed_until.is_none_or(|until| started_at >= until);
        if asks_again {
            endpoint.slowed_in_a_row = endpoint.slowed_in_a_row.saturating_add(1);
        }
        let until = now.after(asked.asked.unwrap_or_else(|| slow_down(endpoint.slowed_in_a_row.saturating_sub(1))));
        // The longest that was asked for stands.
        endpoint.slowed_until = endpoint.slowed_until.max(Some(until));
    }

    /// The endpoint took a delivery: the next time it asks for less without saying for how long, it is not for longer.
    /// What it has asked for stands: the delivery may have started before.
    pub(crate) fn took(&self, subscription: SubscriptionId) {
        lock(&self.endpoint(subscription)).slowed_in_a_row = 0;
    }

    /// The endpoint answered 410 while the subscription was at `revision`.
    pub(crate) fn gone(&self, subscription: SubscriptionId, revision: i64) {
        lock(&self.endpoint(subscription)).gone_at_revision = Some(revision);
    }

    /// Whether the endpoint answered 410 and the subscription has not changed since.
    pub(crate) fn is_gone(&self, subscription: &Subscription) -> bool {
        lock(&self.endpoint(subscription.id)).gone_at_revision.is_some_and(|revision| revision >= subscription.revision)
    }

    /// What an attempt needs of this subscription, made by `prepare` if it is new or has changed.
    pub(crate) fn prepared(
        &self,
        subscription: &Subscription,
        prepare: impl FnOnce(&Subscription) -> Prepared,
    ) -> Arc<Prepared> {
        let endpoint = self.endpoint(subscription.id);
        let mut endpoint = lock(&endpoint);
        match &endpoint.prepared {
            Some(prepared) if prepared.revision == subscription.revision => Arc::clone(prepared),
            _ => Arc::clone(endpoint.prepared.insert(Arc::new(prepare(subscription)))),
        }
    }

    /// Everything that waits here, to be handed back at the end.
    pub(crate) fn drain(&self) -> Vec<Work> {
        let mut drained = Vec::new();
        for endpoint in &self.by_subscription {
            let mut endpoint = lock(&endpoint);
            drained.extend(std::iter::from_fn(|| endpoint.queue.pop()));
        }
        drained
    }
}

/// What a worker does after an attempt.
#[derive(Debug)]
pub(crate) enum Next {
    /// The next attempt.
    Attempt(Work),
    /// The endpoint has asked for less meanwhile: put this one off, and ask again.
    Park(Work, Park),
    /// Nothing waits here.
    Nothing,
}

impl Endpoint {
    /// Mean duration of an attempt; none before the first has ended.
    fn mean(&self) -> Option<Duration> {
        self.mean_us.map(Duration::from_micros)
    }

    fn is_quick(&self) -> bool {
        self.mean().is_some_and(|mean| mean <= QUICK_MEAN_MAX)
    }

    /// Whether a queue of `count` is short enough.
    fn may_queue(&self, count: usize, in_flight_max: usize) -> bool {
        match self.mean() {
            None => count <= UNKNOWN_QUEUE_LEN_MAX,
            Some(mean) if mean <= QUICK_MEAN_MAX => count <= QUICK_QUEUE_LEN_MAX,
            Some(_) => self.serving_time(count, in_flight_max) <= SLOW_QUEUE_WAIT_MAX,
        }
    }

    /// How long it takes until `count` deliveries have been served; nothing before there is a mean.
    fn serving_time(&self, count: usize, in_flight_max: usize) -> Duration {
        self.mean().unwrap_or_default().saturating_mul(count as u32) / in_flight_max as u32
    }

    fn observe(&mut self, took: Duration) {
        let took = took.as_micros() as u64;
        self.mean_us = Some(self.mean_us.map_or(took, |mean| mean - (mean >> MEAN_SHIFT) + (took >> MEAN_SHIFT)));
    }

    /// Twice as long each time the same delivery is put off, so that the many that wait for a slow receiver come back
    /// ever more rarely; the count travels with the message, not with us.
    fn park(&self, work: &Work, in_flight_max: usize, now: Timestamp) -> Park {
        let doubled = PARK_MIN.saturating_mul(1 << work.meta.parked.min(10));
        let wait = doubled.max(self.serving_time(self.queue.len() + 1, in_flight_max)).min(PARK_MAX);
        Park::until(now.after(wait), now, Reason::EndpointBusy)
    }
}

fn lock(endpoint: &Mutex<Endpoint>) -> MutexGuard<'_, Endpoint> {
    // Nothing in here can be left half done by a panic: every change is one assignment.
    endpoint.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Forgets endpoints whose subscription is gone.
pub(crate) async fn watch(
    endpoints: Arc<Endpoints>,
    directory: Directory,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut changes = directory.changed();
    while stop.run_until_cancelled(changes.changed()).await.is_some_and(|change| change.is_ok()) {
        let snapshot = directory.load();
        endpoints.by_subscription.retain(|subscription, endpoint| {
            let endpoint = lock(endpoint);
            let is_in_use = endpoint.in_flight > 0 || endpoint.queue.len() > 0;
            is_in_use || snapshot.subscriptions().get(*subscription).is_some()
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_follows_what_attempts_take() {
        let mut endpoint = Endpoint::default();
        endpoint.observe(Duration::from_secs(2));
        assert_eq!(endpoint.serving_time(8, 8), Duration::from_secs(2));
        for _ in 0..64 {
            endpoint.observe(Duration::from_millis(1));
        }
        assert!(endpoint.serving_time(8, 8) < Duration::from_millis(10), "{:?}", endpoint.mean());
    }

    #[test]
    fn much_queues_for_a_quick_receiver_and_little_for_another() {
        let longest = |endpoint: &Endpoint| (1..5000).take_while(|count| endpoint.may_queue(*count, 8)).count();
        let mut endpoint = Endpoint::default();
        assert_eq!(longest(&endpoint), UNKNOWN_QUEUE_LEN_MAX);
        endpoint.observe(Duration::from_millis(1));
        assert_eq!(longest(&endpoint), QUICK_QUEUE_LEN_MAX);
        endpoint.mean_us = Some(2_000_000);
        assert_eq!(longest(&endpoint), 2);
    }

    #[test]
    fn parked_deliveries_never_come_before_their_time() {
        let now = clock::now();
        let until = now.after(Duration::from_secs(10));
        for _ in 0..100 {
            let park = Park::until(until, now, Reason::EndpointBusy);
            assert!(park.at >= until && park.at <= until.after(Duration::from_secs(2)));
        }
    }

    #[test]
    fn many_answers_of_one_outage_slow_the_endpoint_once() {
        let endpoints = Endpoints::new(8);
        let subscription = SubscriptionId(uuid::Uuid::nil());
        let start = clock::now();
        let asked = SlowDown { asked: None };
        for _ in 0..8 {
            endpoints.slow(subscription, asked, start, start.after(Duration::from_millis(5)));
        }
        let slowed_until = || lock(&endpoints.endpoint(subscription)).slowed_until.unwrap();
        assert_eq!(slowed_until(), start.after(Duration::from_millis(10_005)));
        // Asked again by an attempt made after that: twice as long.
        let later = slowed_until();
        endpoints.slow(subscription, asked, later, later);
        assert_eq!(slowed_until(), later.after(Duration::from_secs(20)));
        // A success in between says nothing about what was asked for.
        endpoints.took(subscription);
        assert_eq!(slowed_until(), later.after(Duration::from_secs(20)));
    }
}
