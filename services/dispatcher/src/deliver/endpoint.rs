//! What a dispatcher keeps of each endpoint, to be fair to the others (DESIGN 4 "Isolate").
//!
//! An endpoint takes a few attempts at once. What comes above that queues here, but only as long as it would be
//! served soon, judged by how long attempts there take; the rest goes back to the bus as a schedule whose delay grows
//! with the number parked. An endpoint that asked for less (429, 502, 503, 504) takes nothing until then. All of it is
//! per replica and forgotten at a restart: it makes us fair, it is not what makes us correct.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use slipstream_bus::{Bus, subject};
use slipstream_core::config::Subscription;
use slipstream_core::delivery::{Reason, SlowDown};
use slipstream_core::ids::SubscriptionId;
use slipstream_core::lane::Lane;
use slipstream_core::retry::slow_down;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::{Directory, clock};
use slipstream_webhook::{PreparedHeaders, Target, TargetRefused};
use tokio_util::sync::CancellationToken;

use super::work::Work;

/// The longest that a delivery should have to queue here for a receiver that answers slowly.
const SLOW_QUEUE_WAIT_MAX: Duration = Duration::from_millis(500);
/// The same for one that answers quickly: if a queue forms there, it is because we are busy, and going by way of the
/// bus would only make us busier. No queue is longer than what the lanes may have unacknowledged.
const QUICK_QUEUE_WAIT_MAX: Duration = Duration::from_secs(10);
/// Mean duration of an attempt up to which a receiver counts as quick, in microseconds.
const QUICK_MEAN_US_MAX: u64 = 50_000;
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
    /// Mean duration of an attempt, in microseconds.
    mean_us: u64,
    /// Deliveries that went back to the bus and have not come again.
    parked: u32,
    slowed_until: Option<Timestamp>,
    slowed_in_a_row: u32,
    /// The revision at which this endpoint answered 410; the registry's own record follows.
    gone_at_revision: Option<i64>,
    prepared: Option<Arc<Prepared>>,
}

/// Deliveries waiting here, the most urgent lane first.
#[derive(Debug, Default)]
struct Queue([VecDeque<Work>; 3]);

impl Queue {
    fn len(&self) -> usize {
        self.0.iter().map(VecDeque::len).sum()
    }

    fn push(&mut self, work: Work) {
        self.0[work.lane as usize].push_back(work);
    }

    fn pop(&mut self) -> Option<Work> {
        Lane::ALL.iter().find_map(|lane| self.0[*lane as usize].pop_front())
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

/// How long a delivery is put off without an attempt, and why.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Park {
    pub(crate) at: Timestamp,
    pub(crate) reason: Reason,
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
    pub(crate) fn admit(&self, work: Work) -> Admission {
        let endpoint = self.endpoint(work.subscription);
        let mut endpoint = lock(&endpoint);
        let now = clock::now();
        if work.meta.parked > 0 {
            endpoint.parked = endpoint.parked.saturating_sub(1);
        }
        if let Some(until) = endpoint.slowed_until.filter(|until| *until > now) {
            let park = endpoint.park(until, Reason::EndpointSlowed);
            return Admission::Park(work, park);
        }
        if endpoint.in_flight < self.in_flight_max {
            endpoint.in_flight += 1;
            return Admission::Start(work);
        }
        let queued = endpoint.queue.len();
        let wait = endpoint.serving_time(queued + 1, self.in_flight_max);
        if wait <= endpoint.queue_wait_max() {
            endpoint.queue.push(work);
            return Admission::Queued;
        }
        // Long enough that those parked before are served first.
        let wait = endpoint.serving_time(queued + endpoint.parked as usize + 1, self.in_flight_max);
        let park = endpoint.park(now.after(wait.clamp(PARK_MIN, PARK_MAX)), Reason::EndpointBusy);
        Admission::Park(work, park)
    }

    /// An attempt has ended. Hands out the next delivery waiting here, keeping the place in flight for it.
    pub(crate) fn finished(&self, subscription: SubscriptionId, took: Option<Duration>) -> Next {
        let endpoint = self.endpoint(subscription);
        let mut endpoint = lock(&endpoint);
        if let Some(took) = took {
            endpoint.observe(took);
        }
        let Some(work) = endpoint.queue.pop() else {
            endpoint.in_flight -= 1;
            return Next::Nothing;
        };
        match endpoint.slowed_until.filter(|until| *until > clock::now()) {
            Some(until) => Next::Park(work, endpoint.park(until, Reason::EndpointSlowed)),
            None => Next::Attempt(work),
        }
    }

    /// The endpoint asked for less. Until when it is left alone.
    pub(crate) fn slow(&self, subscription: SubscriptionId, asked: SlowDown, now: Timestamp) {
        let endpoint = self.endpoint(subscription);
        let mut endpoint = lock(&endpoint);
        let until = now.after(asked.asked.unwrap_or_else(|| slow_down(endpoint.slowed_in_a_row)));
        endpoint.slowed_in_a_row = endpoint.slowed_in_a_row.saturating_add(1);
        // The longest that was asked for stands.
        endpoint.slowed_until = endpoint.slowed_until.max(Some(until));
    }

    /// The endpoint took a delivery: whatever it asked for before is over.
    pub(crate) fn took(&self, subscription: SubscriptionId) {
        let endpoint = self.endpoint(subscription);
        let mut endpoint = lock(&endpoint);
        (endpoint.slowed_in_a_row, endpoint.slowed_until) = (0, None);
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
    pub(crate) fn drain(&self, subscription: SubscriptionId) -> Vec<Work> {
        let endpoint = self.endpoint(subscription);
        let mut endpoint = lock(&endpoint);
        std::iter::from_fn(|| endpoint.queue.pop()).collect()
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
    /// How long it takes until `count` deliveries have been served.
    fn serving_time(&self, count: usize, in_flight_max: usize) -> Duration {
        Duration::from_micros(self.mean_us.saturating_mul(count as u64) / in_flight_max as u64)
    }

    const fn queue_wait_max(&self) -> Duration {
        if self.mean_us <= QUICK_MEAN_US_MAX { QUICK_QUEUE_WAIT_MAX } else { SLOW_QUEUE_WAIT_MAX }
    }

    fn observe(&mut self, took: Duration) {
        let took = took.as_micros() as u64;
        self.mean_us = match self.mean_us {
            0 => took,
            mean => mean - (mean >> MEAN_SHIFT) + (took >> MEAN_SHIFT),
        };
    }

    /// Counts one more parked; up to a fifth later than `until`, so that they do not all come at once.
    fn park(&mut self, until: Timestamp, reason: Reason) -> Park {
        self.parked = self.parked.saturating_add(1);
        let span = until.since(clock::now()).mul_f64(0.2 * rand::random::<f64>());
        Park { at: until.after(span), reason }
    }
}

fn lock(endpoint: &Mutex<Endpoint>) -> MutexGuard<'_, Endpoint> {
    // Nothing in here can be left half done by a panic: every change is one assignment.
    endpoint.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Forgets endpoints whose subscription is gone, and cancels what waits for them on the bus.
pub(crate) async fn watch(
    endpoints: Arc<Endpoints>,
    directory: Directory,
    bus: Bus,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut changes = directory.changed();
    while stop.run_until_cancelled(changes.changed()).await.is_some_and(|change| change.is_ok()) {
        let snapshot = directory.load();
        let known: Vec<_> = endpoints.by_subscription.iter().map(|entry| *entry.key()).collect();
        for subscription in known.into_iter().filter(|id| snapshot.subscriptions().get(*id).is_none()) {
            // Whatever of it is due ends at the gate; what waits would do so too, only later.
            match bus.cancel_schedules(&subject::waiting_of(subscription)).await {
                Ok(0) => {}
                Ok(cancelled) => tracing::info!(subscription.id = %subscription, cancelled, "subscription removed"),
                Err(error) => {
                    tracing::warn!(subscription.id = %subscription, %error, "cannot cancel what waits");
                    continue;
                }
            }
            endpoints.by_subscription.remove_if(&subscription, |_, endpoint| {
                let endpoint = lock(endpoint);
                endpoint.in_flight == 0 && endpoint.queue.len() == 0
            });
        }
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
        assert!(endpoint.serving_time(8, 8) < Duration::from_millis(10), "{}", endpoint.mean_us);
    }

    #[test]
    fn parked_deliveries_never_come_before_their_time() {
        let mut endpoint = Endpoint::default();
        let until = clock::now().after(Duration::from_secs(10));
        for _ in 0..100 {
            let park = endpoint.park(until, Reason::EndpointBusy);
            assert!(park.at >= until && park.at <= until.after(Duration::from_secs(2)));
        }
        assert_eq!(endpoint.parked, 100);
    }
}
