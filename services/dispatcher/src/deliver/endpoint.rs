//! What a dispatcher keeps of each endpoint, to be fair to the others (DESIGN 4 "Isolate").
//!
//! An attempt needs a place at its endpoint (a few), and one at its target host (64, over all tenants). What finds none
//! queues here while it would be served soon, judged by how long attempts there take: much at a receiver that answers
//! quickly, next to nothing at one that does not or is not known yet. The rest goes back to the bus as a schedule, each
//! time for longer. An endpoint that asked for less (429, 502, 503, 504) takes nothing until then, one that keeps failing
//! only single probes ([`slipstream_core::breaker`]), one with a rate as many as it agreed to
//! ([`slipstream_core::rate`]). Endpoints that have not proven that they answer share three quarters of all places, so
//! that many dead ones leave the others theirs.
//!
//! Endpoints of one host take turns at its places: whoever finishes an attempt takes up the next endpoint in line. All of
//! it is per replica and forgotten at a restart: it makes us fair, it is not what makes us correct.

mod queue;
mod state;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::{counter, gauge};
use slipstream_core::breaker::Change;
use slipstream_core::config::{Health, Subscription};
use slipstream_core::contract::EndpointChange;
use slipstream_core::delivery::{Reason, SlowDown};
use slipstream_core::ids::SubscriptionId;
use slipstream_core::lane::Lane;
use slipstream_core::retry::slow_down;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::{Directory, clock, names};
use slipstream_webhook::{PreparedHeaders, Target, TargetRefused};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use self::state::Endpoint;
use super::callers::Caller;
use super::work::Work;
use crate::pace::Pace;

/// Bytes of deliveries that may queue here, over all endpoints (N9).
const QUEUED_BYTES_MAX: usize = 64 << 20;
/// How long a delivery is put off when too many endpoints have not proven that they answer.
const UNPROVEN_PAUSE: Duration = Duration::from_secs(1);
/// Failures in a row after which an endpoint counts as degraded (SPEC 4.4).
const DEGRADED_AFTER: u32 = 5;

/// How many attempts may be under way at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// In all.
    pub(crate) total: usize,
    /// To one subscription.
    pub(crate) per_subscription: usize,
    /// To one target host.
    pub(crate) per_host: usize,
}

/// All endpoints that deliveries came for.
#[derive(Debug)]
pub(crate) struct Endpoints {
    state: Mutex<State>,
    bounds: Bounds,
    /// Dispatchers that share the endpoints' rates, this one included.
    dispatchers: watch::Receiver<usize>,
    pace: Arc<Pace>,
    /// Told when a delivery comes to rest.
    rested: Notify,
}

/// One lock for all: what is done under it takes less than a microsecond, and it spans endpoints and hosts.
#[derive(Debug, Default)]
struct State {
    endpoints: HashMap<SubscriptionId, Endpoint>,
    hosts: HashMap<Arc<str>, Host>,
    /// Attempts under way at endpoints that had not proven themselves when they started.
    unproven: usize,
    /// Breakers that are not closed.
    open: usize,
    /// Bytes of all deliveries that queue here.
    queued_bytes: usize,
    /// Endpoints at which only deliveries wait that give way, each once, and their hosts.
    resting: Vec<(SubscriptionId, Arc<str>)>,
}

/// What is under way at one target host, and which endpoints wait for a place there, each once.
#[derive(Debug, Default)]
struct Host {
    in_flight: usize,
    line: VecDeque<SubscriptionId>,
}

/// The place of an attempt that is under way. Given back by [`Endpoints::finished`].
#[derive(Debug)]
pub(crate) struct Place {
    subscription: SubscriptionId,
    /// None for a subscription that is not known: it will not be called.
    host: Option<Arc<str>>,
    is_unproven: bool,
}

/// What happens to a delivery that came due.
#[derive(Debug)]
pub(crate) enum Admission {
    /// It is attempted now, by the caller.
    Start(Work, Place),
    /// It waits here; whoever finishes an attempt takes it.
    Queued,
    /// It goes back to the bus.
    Park(Work, Park),
}

/// A quick receiver's queue is full: there will be room in a moment. Holds the delivery that has none.
#[derive(Debug)]
pub(crate) struct Full(pub(crate) Work);

/// What a worker does after an attempt.
#[derive(Debug)]
pub(crate) enum Next {
    /// The next attempt, at this or another endpoint of the same host.
    Attempt(Work, Place),
    /// Something that waited here is better off on the bus: put it off, and ask again.
    Park(Work, Park),
    /// Nothing waits here.
    Nothing,
}

/// How long a delivery is put off without an attempt, and why.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Park {
    pub(crate) at: Timestamp,
    pub(crate) reason: Option<Reason>,
    /// Whether it waits for its place in the endpoint's rate.
    pub(crate) keeps_place: bool,
}

impl Park {
    /// Up to a fifth of the wait later than `until`, so that not all come at once.
    pub(crate) fn until(until: Timestamp, now: Timestamp, reason: Option<Reason>) -> Self {
        let at = until.after(until.since(now).mul_f64(0.2 * rand::random::<f64>()));
        Self { at, reason, keeps_place: false }
    }
}

/// How an attempt ended, as far as its endpoint is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was taken.
    Success,
    /// It was answered for good, and not taken: the endpoint answers, and yet fails (SPEC 4.4).
    Refusal,
    /// It was not answered, or asked to be repeated.
    Failure,
    /// It asked for less: no failure, and no success.
    Throttled,
}

/// Everything about a subscription that an attempt needs, made once per revision.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) revision: i64,
    /// Its secrets are not opened yet, so it has neither headers nor keys and must not be called.
    pub(crate) is_sealed: bool,
    pub(crate) uri: String,
    /// Under which policy it is called.
    pub(crate) caller: Caller,
    pub(crate) target: Result<Target, TargetRefused>,
    pub(crate) headers: PreparedHeaders,
    pub(crate) content_type: http::HeaderValue,
    /// What the receiver agreed to be called by (SPEC 3.7).
    pub(crate) origin: Option<http::HeaderValue>,
    pub(crate) keys: Vec<PreparedKey>,
}

/// A signing key and when it stops to sign.
#[derive(Debug)]
pub(crate) struct PreparedKey {
    pub(crate) key: slipstream_core::signing::Key,
    pub(crate) until: Option<Timestamp>,
}

impl Endpoints {
    pub(crate) fn new(bounds: Bounds, dispatchers: watch::Receiver<usize>, pace: Arc<Pace>) -> Self {
        Self { state: Mutex::default(), bounds, dispatchers, pace, rested: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here can be left half done by a panic: there is nothing in it that panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides what happens to a delivery that came due. `known` is its subscription, if we know it, and where it goes.
    ///
    /// # Errors
    /// If it would have to wait for us and not for the receiver: ask again soon.
    #[expect(
        clippy::result_large_err,
        reason = "it is handed back and asked with again; a box would cost every delivery"
    )]
    pub(crate) fn admit(
        &self,
        work: Work,
        known: Option<(&Subscription, &Arc<str>)>,
        now: Timestamp,
    ) -> Result<Admission, Full> {
        let Some((subscription, host)) = known else {
            let place = Place { subscription: work.subscription, host: None, is_unproven: false };
            return Ok(Admission::Start(work, place));
        };
        let sharers = *self.dispatchers.borrow();
        let mut state = self.lock();
        let State { endpoints, hosts, unproven, queued_bytes, resting, .. } = &mut *state;
        let endpoint = endpoints.entry(subscription.id).or_default();
        let own = subscription.limits.in_flight_max.map_or(usize::MAX, |max| max as usize);
        endpoint.in_flight_max = self.bounds.per_subscription.min(own).max(1);
        let allowed = match endpoint.allowance(now) {
            Ok(allowed) => allowed,
            Err((until, reason)) => {
                let park = endpoint.park(&work, until, reason, now);
                return Ok(Admission::Park(work, park));
            }
        };
        if let Some(rate) = subscription.rate_per_minute()
            && let Some(park) = endpoint.pace(&work, rate, sharers, now)
        {
            return Ok(Admission::Park(work, park));
        }
        let has_room_at_host = hosts.get(host).is_none_or(|it| it.in_flight < self.bounds.per_host);
        let is_unproven = !endpoint.is_proven();
        if endpoint.in_flight < allowed && is_unproven && *unproven >= self.bounds.unproven() {
            // Not the endpoint's doing, so it does not wait longer each time.
            let park = Park::until(now.after(UNPROVEN_PAUSE), now, Some(Reason::EndpointBusy));
            return Ok(Admission::Park(work, park));
        }
        let has_place = endpoint.in_flight < allowed && has_room_at_host;
        // What gives way starts in turn: not before what rests already.
        let rests = has_place && !may_start(&self.pace, resting, work.lane);
        if has_place && !rests {
            endpoint.in_flight += 1;
            *unproven += usize::from(is_unproven);
            hosts.entry(Arc::clone(host)).or_default().in_flight += 1;
            let place = Place { subscription: subscription.id, host: Some(Arc::clone(host)), is_unproven };
            return Ok(Admission::Start(work, place));
        }
        // A probe is alone: what waits behind it waits on the bus. But it may wait for a place at its host.
        let is_probed = allowed == 1 && endpoint.in_flight_max > 1 && endpoint.in_flight + endpoint.queue.len() > 0;
        let has_memory = *queued_bytes + work.body.len() <= QUEUED_BYTES_MAX;
        // Each lane has its own room: what waits in one neither takes nor gives it to another.
        let may_queue = rests || endpoint.may_queue(endpoint.queue.len_of(work.lane) + 1);
        if !is_probed && has_memory && may_queue {
            *queued_bytes += work.body.len();
            endpoint.queue.push(work);
            if rests {
                self.rest(endpoint, resting, (subscription.id, host));
            } else if endpoint.in_flight < allowed && !std::mem::replace(&mut endpoint.is_in_line, true) {
                hosts.entry(Arc::clone(host)).or_default().line.push_back(subscription.id);
            }
            return Ok(Admission::Queued);
        }
        if !is_probed && has_memory && endpoint.is_worth_a_wait() {
            return Err(Full(work));
        }
        let reason = if is_probed { Reason::BreakerOpen } else { Reason::EndpointBusy };
        let park = endpoint.park(&work, now, reason, now);
        Ok(Admission::Park(work, park))
    }

    /// A quick receiver's queue has stayed full: something is wrong with it after all.
    pub(crate) fn stalled(&self, subscription: SubscriptionId) {
        self.lock().endpoints.entry(subscription).or_default().forget_mean();
    }

    /// An attempt has ended, after `took` if a request was made. Gives its place back, and hands out what is next.
    pub(crate) fn finished(&self, place: Place, took: Option<Duration>) -> Next {
        let mut state = self.lock();
        let State { endpoints, hosts, unproven, .. } = &mut *state;
        *unproven = unproven.saturating_sub(usize::from(place.is_unproven));
        let Some(host) = place.host else { return Next::Nothing };
        let at_host = hosts.entry(Arc::clone(&host)).or_default();
        at_host.in_flight = at_host.in_flight.saturating_sub(1);
        // It may be a new entry, if the subscription was forgotten in between.
        let endpoint = endpoints.entry(place.subscription).or_default();
        endpoint.in_flight = endpoint.in_flight.saturating_sub(1);
        if let Some(took) = took {
            endpoint.observe(took);
        }
        if !endpoint.queue.is_empty() && !std::mem::replace(&mut endpoint.is_in_line, true) {
            at_host.line.push_back(place.subscription);
        }
        drop(state);
        self.next_at(&host)
    }

    /// What waits for a place at `host`, if there is one.
    pub(crate) fn next_at(&self, host: &Arc<str>) -> Next {
        let now = clock::now();
        let mut state = self.lock();
        let State { endpoints, hosts, unproven, queued_bytes, resting, .. } = &mut *state;
        let Some(at_host) = hosts.get_mut(host) else { return Next::Nothing };
        while at_host.in_flight < self.bounds.per_host {
            let Some(subscription) = at_host.line.pop_front() else { break };
            let endpoint = endpoints.entry(subscription).or_default();
            endpoint.is_in_line = false;
            let allowance = endpoint.allowance(now);
            if allowance.is_ok_and(|allowed| endpoint.in_flight >= allowed) {
                continue; // whoever finishes an attempt there puts it in line again
            }
            let Some(work) = endpoint.queue.pop(|lane| may_start(&self.pace, resting, lane)) else {
                if !endpoint.queue.is_empty() {
                    self.rest(endpoint, resting, (subscription, host));
                }
                continue;
            };
            *queued_bytes = queued_bytes.saturating_sub(work.body.len());
            let behind = endpoint.queue.len_of(work.lane);
            if !endpoint.queue.is_empty() && !std::mem::replace(&mut endpoint.is_in_line, true) {
                at_host.line.push_back(subscription);
            }
            // It may have become slow since they were let in: then most of them are better off on the bus.
            let park = match allowance {
                Err((until, reason)) => Some(endpoint.park(&work, until, reason, now)),
                Ok(_) if behind > 0 && !endpoint.may_queue(behind + 1) => {
                    Some(endpoint.park(&work, now, Reason::EndpointBusy, now))
                }
                Ok(_) => None,
            };
            if let Some(park) = park {
                return Next::Park(work, park);
            }
            endpoint.in_flight += 1;
            at_host.in_flight += 1;
            let is_unproven = !endpoint.is_proven();
            *unproven += usize::from(is_unproven);
            return Next::Attempt(work, Place { subscription, host: Some(Arc::clone(host)), is_unproven });
        }
        if at_host.in_flight == 0 && at_host.line.is_empty() {
            hosts.remove(host);
        }
        Next::Nothing
    }

    /// Whether deliveries rest here to give way.
    pub(crate) fn is_resting(&self) -> bool {
        !self.lock().resting.is_empty()
    }

    /// Returns when a delivery has come to rest since the last call, or does. It has to be woken from then on.
    pub(crate) async fn rested(&self) {
        self.rested.notified().await;
    }

    /// Puts the endpoints in line again at which deliveries rested. Their hosts, for [`Endpoints::next_at`].
    pub(crate) fn wake_rested(&self) -> Vec<Arc<str>> {
        let mut state = self.lock();
        let State { endpoints, hosts, resting, .. } = &mut *state;
        let mut woken = Vec::new();
        for (subscription, host) in resting.drain(..) {
            let Some(endpoint) = endpoints.get_mut(&subscription) else { continue };
            endpoint.is_resting = false;
            if !endpoint.queue.is_empty() && !std::mem::replace(&mut endpoint.is_in_line, true) {
                hosts.entry(Arc::clone(&host)).or_default().line.push_back(subscription);
            }
            if !woken.contains(&host) {
                woken.push(host);
            }
        }
        woken
    }

    /// Lets those rest on that stand in line at `host` with nothing under way there that would take them up.
    pub(crate) fn rest_unattended(&self, host: &Arc<str>) {
        let mut state = self.lock();
        let State { endpoints, hosts, resting, .. } = &mut *state;
        let Some(at_host) = hosts.get_mut(host).filter(|it| it.in_flight == 0) else { return };
        for subscription in at_host.line.drain(..) {
            let endpoint = endpoints.entry(subscription).or_default();
            endpoint.is_in_line = false;
            self.rest(endpoint, resting, (subscription, host));
        }
    }

    /// Notes that an endpoint has deliveries that give way, and nobody who takes them up.
    fn rest(
        &self,
        endpoint: &mut Endpoint,
        resting: &mut Vec<(SubscriptionId, Arc<str>)>,
        (subscription, host): (SubscriptionId, &Arc<str>),
    ) {
        if !std::mem::replace(&mut endpoint.is_resting, true) {
            resting.push((subscription, Arc::clone(host)));
            self.rested.notify_one();
        }
    }

    /// The host of a place, for [`Endpoints::next_at`].
    pub(crate) fn host_of(place: &Place) -> Option<Arc<str>> {
        place.host.clone()
    }

    /// Whether more could start at `host` than its workers take up one after another.
    pub(crate) fn has_more_at(&self, host: &Arc<str>) -> bool {
        let state = self.lock();
        state.hosts.get(host).is_some_and(|it| !it.line.is_empty() && it.in_flight < self.bounds.per_host)
    }

    /// Takes in how an attempt at `subscription` ended. What the registry should be told about it, if anything.
    pub(crate) fn ended(
        &self,
        subscription: &Subscription,
        ended: Ended,
        started_at: Timestamp,
        now: Timestamp,
    ) -> Option<EndpointChange> {
        let mut state = self.lock();
        let State { endpoints, open, .. } = &mut *state;
        let endpoint = endpoints.entry(subscription.id).or_default();
        let change = match ended {
            Ended::Success | Ended::Refusal => endpoint.breaker.succeeded(endpoint.in_flight_max),
            Ended::Failure => endpoint.breaker.failed(started_at, now),
            Ended::Throttled => Change::None,
        };
        match change {
            Change::Opened => {
                counter!(names::BREAKERS_OPENED).increment(1);
                *open += 1;
            }
            Change::Closed => *open = open.saturating_sub(1),
            Change::None => {}
        }
        if change != Change::None {
            gauge!(names::BREAKERS_OPEN).set(*open as f64);
        }
        match ended {
            Ended::Success => {
                endpoint.failures = 0;
                endpoint.failing_since = None;
                // What it has asked for stands: this attempt may have started before.
                endpoint.slowed_in_a_row = 0;
            }
            Ended::Refusal | Ended::Failure => {
                endpoint.failures = endpoint.failures.saturating_add(1);
                endpoint.failing_since = endpoint.failing_since.or(Some(started_at));
            }
            Ended::Throttled => {}
        }
        let change = match (subscription.health, ended) {
            (Health::Degraded(_), Ended::Success) => EndpointChange::Recovered,
            (Health::Healthy, Ended::Refusal | Ended::Failure) if endpoint.failures >= DEGRADED_AFTER => {
                EndpointChange::Degraded(endpoint.failing_since?)
            }
            _ => return None,
        };
        // Once; the record follows, with another revision.
        let told = endpoint.told_at_revision.replace(subscription.revision);
        (told != Some(subscription.revision)).then_some(change)
    }

    /// The registry could not be told after all.
    pub(crate) fn not_told(&self, subscription: SubscriptionId) {
        self.lock().endpoints.entry(subscription).or_default().told_at_revision = None;
    }

    /// The endpoint asked for less, in answer to an attempt that started at `started_at`. It is left alone as long as
    /// it said; or for longer each time it asks again after having been left alone.
    pub(crate) fn slow(&self, subscription: SubscriptionId, asked: SlowDown, started_at: Timestamp, now: Timestamp) {
        let mut state = self.lock();
        let endpoint = state.endpoints.entry(subscription).or_default();
        let asks_again = endpoint.slowed_until.is_none_or(|until| started_at >= until);
        if asks_again {
            endpoint.slowed_in_a_row = endpoint.slowed_in_a_row.saturating_add(1);
        }
        let until = now.after(asked.asked.unwrap_or_else(|| slow_down(endpoint.slowed_in_a_row.saturating_sub(1))));
        // The longest that was asked for stands.
        endpoint.slowed_until = endpoint.slowed_until.max(Some(until));
    }

    /// The endpoint answered 410 while the subscription was at `revision`.
    pub(crate) fn gone(&self, subscription: SubscriptionId, revision: i64) {
        self.lock().endpoints.entry(subscription).or_default().gone_at_revision = Some(revision);
    }

    /// Whether the endpoint answered 410 and the subscription has not changed since.
    pub(crate) fn is_gone(&self, subscription: &Subscription) -> bool {
        let state = self.lock();
        let gone_at = state.endpoints.get(&subscription.id).and_then(|endpoint| endpoint.gone_at_revision);
        gone_at.is_some_and(|revision| revision >= subscription.revision)
    }

    /// What an attempt needs of this subscription, made by `prepare` if it is new, has changed, or was still sealed.
    pub(crate) fn prepared(
        &self,
        subscription: &Subscription,
        prepare: impl FnOnce(&Subscription) -> Prepared,
    ) -> Arc<Prepared> {
        {
            let state = self.lock();
            let prepared = state.endpoints.get(&subscription.id).and_then(|endpoint| endpoint.prepared.as_ref());
            if let Some(prepared) =
                prepared.filter(|prepared| prepared.revision == subscription.revision && !prepared.is_sealed)
            {
                return Arc::clone(prepared);
            }
        }
        let prepared = Arc::new(prepare(subscription));
        let mut state = self.lock();
        let endpoint = state.endpoints.entry(subscription.id).or_default();
        let before = endpoint.prepared.replace(Arc::clone(&prepared));
        let was_gone = endpoint.gone_at_revision.take_if(|revision| *revision < subscription.revision).is_some();
        if was_gone || before.is_some_and(|before| before.uri != prepared.uri) {
            endpoint.forget_answers();
        }
        prepared
    }

    /// Everything that waits here, to be handed back at the end.
    pub(crate) fn drain(&self) -> Vec<Work> {
        let mut state = self.lock();
        state.queued_bytes = 0;
        state.endpoints.values_mut().flat_map(|endpoint| std::iter::from_fn(|| endpoint.queue.pop(|_| true))).collect()
    }

    /// Forgets endpoints that `is_known` does not know and nothing is under way at.
    fn forget_unless(&self, is_known: impl Fn(SubscriptionId) -> bool) {
        let mut state = self.lock();
        state.endpoints.retain(|subscription, endpoint| {
            endpoint.in_flight > 0 || !endpoint.queue.is_empty() || is_known(*subscription)
        });
        state.open = state.endpoints.values().filter(|endpoint| endpoint.breaker.is_open()).count();
        gauge!(names::BREAKERS_OPEN).set(state.open as f64);
    }
}

/// Whether a delivery of a lane may start. What gives way may not before what rests.
fn may_start(pace: &Pace, resting: &[(SubscriptionId, Arc<str>)], lane: Lane) -> bool {
    (lane != Lane::Normal || resting.is_empty()) && pace.may_start(lane)
}

impl Bounds {
    /// How many attempts may be under way at endpoints that have not proven that they answer.
    const fn unproven(&self) -> usize {
        self.total - self.total / 4
    }
}

/// Forgets endpoints whose subscription is gone.
pub(crate) async fn watch(
    endpoints: Arc<Endpoints>,
    directory: Directory,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut changes = directory.changed();
    while stop.run_until_cancelled(changes.changed()).await.is_some_and(|change| change.is_ok()) {
        let snapshot = directory.snapshot();
        endpoints.forget_unless(|subscription| snapshot.endpoint(subscription).is_some());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
