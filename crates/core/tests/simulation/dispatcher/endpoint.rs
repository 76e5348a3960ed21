//! What a dispatcher keeps of each endpoint, as `deliver/endpoint.rs` of the dispatcher, without the places of hosts.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use slipstream_core::breaker::{Breaker, Permit};
use slipstream_core::config::{Health, Subscription};
use slipstream_core::contract::EndpointChange;
use slipstream_core::delivery::{Reason, SlowDown};
use slipstream_core::ids::SubscriptionId;
use slipstream_core::rate::{Pace, Place};
use slipstream_core::retry::slow_down;
use slipstream_core::timestamp::Timestamp;

use super::super::chance::Chance;
use super::super::node::Node;
use super::work::Work;

/// In flight to one subscription. Few, since worlds are small.
const IN_FLIGHT_MAX: usize = 3;
/// Failures in a row after which an endpoint counts as degraded (SPEC 4.4).
const DEGRADED_AFTER: u32 = 5;
/// Deliveries that may queue here before the first attempt has ended.
const UNKNOWN_QUEUE_LEN_MAX: usize = 3;
const QUICK_QUEUE_LEN_MAX: usize = 6;
const QUICK_MEAN_MAX: Duration = Duration::from_millis(50);
const SLOW_QUEUE_WAIT_MAX: Duration = Duration::from_millis(500);
const PARK_MIN: Duration = Duration::from_secs(1);
const PARK_MAX: Duration = Duration::from_mins(10);

pub(crate) struct Endpoints {
    by_subscription: RefCell<BTreeMap<SubscriptionId, Endpoint>>,
    /// Dispatchers that share the endpoints' rates.
    sharers: usize,
}

#[derive(Default)]
struct Endpoint {
    in_flight: usize,
    in_flight_max: usize,
    queue: VecDeque<Work>,
    mean: Option<Duration>,
    breaker: Breaker,
    pace: Pace,
    slowed_until: Option<Timestamp>,
    slowed_in_a_row: u32,
    failures: u32,
    failing_since: Option<Timestamp>,
    told_at_revision: Option<i64>,
    gone_at_revision: Option<i64>,
    prepared: Option<Rc<Prepared>>,
}

/// What an attempt needs of a subscription, made once per revision.
pub(crate) struct Prepared {
    pub(crate) revision: i64,
    pub(crate) keys: Vec<(slipstream_core::signing::Key, Option<Timestamp>)>,
}

/// What happens to a delivery that came due.
pub(crate) enum Admission {
    /// It is attempted now; and whether it has a place in flight, which it has not if its subscription is not known.
    Start(Box<Work>, bool),
    Queued,
    Park(Box<Work>, Park),
}

/// What a worker does after an attempt.
pub(crate) enum Next {
    Attempt(Box<Work>),
    Park(Box<Work>, Park),
    Nothing,
}

/// Until when a delivery is put off without an attempt, and why.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Park {
    pub(crate) at: Timestamp,
    pub(crate) reason: Option<Reason>,
    /// Whether it waits for its place in the endpoint's rate.
    pub(crate) keeps_place: bool,
}

impl Park {
    /// Up to a fifth of the wait later than `until`.
    pub(crate) fn until(node: &Node, until: Timestamp, now: Timestamp, reason: Option<Reason>) -> Self {
        let share = node.world.chance(Chance::share);
        Self { at: until.after(until.since(now).mul_f64(0.2 * share)), reason, keeps_place: false }
    }
}

/// How an attempt ended, as far as its endpoint is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Success,
    Refusal,
    Failure,
    Throttled,
}

impl Endpoints {
    pub(crate) fn new(sharers: usize) -> Self {
        Self { by_subscription: RefCell::default(), sharers }
    }

    fn with<T>(&self, subscription: SubscriptionId, act: impl FnOnce(&mut Endpoint) -> T) -> T {
        act(self.by_subscription.borrow_mut().entry(subscription).or_default())
    }

    /// Decides what happens to a delivery that came due.
    pub(crate) fn admit(&self, node: &Node, work: Work, known: Option<&Subscription>) -> Admission {
        let Some(subscription) = known else { return Admission::Start(Box::new(work), false) };
        let now = node.now();
        self.with(subscription.id, |endpoint| {
            let own = subscription.limits.in_flight_max.map_or(usize::MAX, |max| max as usize);
            endpoint.in_flight_max = IN_FLIGHT_MAX.min(own).max(1);
            let allowed = match endpoint.allowance(now) {
                Ok(allowed) => allowed,
                Err((until, reason)) => {
                    let park = endpoint.park(node, &work, until, reason, now);
                    return Admission::Park(Box::new(work), park);
                }
            };
            if let Some(rate) = subscription.rate_per_minute()
                && let Some(park) = endpoint.pace(node, &work, rate, self.sharers, now)
            {
                return Admission::Park(Box::new(work), park);
            }
            if endpoint.in_flight < allowed {
                endpoint.in_flight += 1;
                return Admission::Start(Box::new(work), true);
            }
            // A probe is alone: what waits behind it waits on the bus.
            let is_probed = allowed == 1 && endpoint.in_flight_max > 1;
            if !is_probed && endpoint.may_queue(endpoint.queue.len() + 1) {
                endpoint.queue.push_back(work);
                return Admission::Queued;
            }
            let reason = if is_probed { Reason::BreakerOpen } else { Reason::EndpointBusy };
            let park = endpoint.park(node, &work, now, reason, now);
            Admission::Park(Box::new(work), park)
        })
    }

    /// An attempt has ended. Gives its place back, and hands out what is next.
    pub(crate) fn finished(&self, node: &Node, subscription: SubscriptionId, took: Option<Duration>) -> Next {
        self.with(subscription, |endpoint| {
            endpoint.in_flight = endpoint.in_flight.saturating_sub(1);
            if let Some(took) = took {
                endpoint.mean = Some(endpoint.mean.map_or(took, |mean| (mean * 7 + took) / 8));
            }
        });
        self.next_at(node, subscription)
    }

    /// What waits for a place, if there is one.
    pub(crate) fn next_at(&self, node: &Node, subscription: SubscriptionId) -> Next {
        let now = node.now();
        self.with(subscription, |endpoint| {
            let allowance = endpoint.allowance(now);
            if allowance.is_ok_and(|allowed| endpoint.in_flight >= allowed) {
                return Next::Nothing;
            }
            let Some(work) = endpoint.queue.pop_front() else { return Next::Nothing };
            let park = match allowance {
                Err((until, reason)) => Some(endpoint.park(node, &work, until, reason, now)),
                Ok(_) if !endpoint.may_queue(endpoint.queue.len() + 1) => {
                    Some(endpoint.park(node, &work, now, Reason::EndpointBusy, now))
                }
                Ok(_) => None,
            };
            if let Some(park) = park {
                return Next::Park(Box::new(work), park);
            }
            endpoint.in_flight += 1;
            Next::Attempt(Box::new(work))
        })
    }

    /// Takes in how an attempt ended. What the registry should be told about it, if anything.
    pub(crate) fn ended(
        &self,
        subscription: &Subscription,
        ended: Ended,
        started_at: Timestamp,
        now: Timestamp,
    ) -> Option<EndpointChange> {
        self.with(subscription.id, |endpoint| {
            match ended {
                Ended::Success | Ended::Refusal => drop(endpoint.breaker.succeeded(endpoint.in_flight_max)),
                Ended::Failure => drop(endpoint.breaker.failed(started_at, now)),
                Ended::Throttled => {}
            }
            match ended {
                Ended::Success => {
                    endpoint.failures = 0;
                    endpoint.failing_since = None;
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
            let told = endpoint.told_at_revision.replace(subscription.revision);
            (told != Some(subscription.revision)).then_some(change)
        })
    }

    pub(crate) fn not_told(&self, subscription: SubscriptionId) {
        self.with(subscription, |endpoint| endpoint.told_at_revision = None);
    }

    /// The endpoint asked for less, in answer to an attempt that started at `started_at`.
    pub(crate) fn slow(&self, subscription: SubscriptionId, asked: SlowDown, started_at: Timestamp, now: Timestamp) {
        self.with(subscription, |endpoint| {
            if endpoint.slowed_until.is_none_or(|until| started_at >= until) {
                endpoint.slowed_in_a_row = endpoint.slowed_in_a_row.saturating_add(1);
            }
            let wait = asked.asked.unwrap_or_else(|| slow_down(endpoint.slowed_in_a_row.saturating_sub(1)));
            endpoint.slowed_until = endpoint.slowed_until.max(Some(now.after(wait)));
        });
    }

    pub(crate) fn gone(&self, subscription: SubscriptionId, revision: i64) {
        self.with(subscription, |endpoint| endpoint.gone_at_revision = Some(revision));
    }

    pub(crate) fn is_gone(&self, subscription: &Subscription) -> bool {
        self.with(subscription.id, |it| it.gone_at_revision).is_some_and(|revision| revision >= subscription.revision)
    }

    /// What an attempt needs of this subscription.
    pub(crate) fn prepared(&self, subscription: &Subscription) -> Rc<Prepared> {
        self.with(subscription.id, |endpoint| match &endpoint.prepared {
            Some(prepared) if prepared.revision == subscription.revision => Rc::clone(prepared),
            _ => {
                let key = |key: &slipstream_core::config::SigningKey| {
                    let secret = key.secret.expose().expect("nothing is sealed in this world");
                    (slipstream_core::signing::Key::parse(secret).expect("keys were made as keys"), key.until)
                };
                let keys = subscription.signing_keys.iter().map(key).collect();
                let prepared = Rc::new(Prepared { revision: subscription.revision, keys });
                Rc::clone(endpoint.prepared.insert(prepared))
            }
        })
    }
}

impl Endpoint {
    /// Why nothing may start at `now`, or how many may be in flight.
    fn allowance(&self, now: Timestamp) -> Result<usize, (Timestamp, Reason)> {
        if let Some(until) = self.slowed_until.filter(|until| *until > now) {
            return Err((until, Reason::EndpointSlowed));
        }
        match self.breaker.permit(now) {
            Permit::NotBefore(until) => Err((until, Reason::BreakerOpen)),
            Permit::UpTo(count) => Ok(count.min(self.in_flight_max)),
        }
    }

    /// Asks for a place in the endpoint's rate, unless `work` has one; none if it is now.
    fn pace(&mut self, node: &Node, work: &Work, rate: u32, sharers: usize, now: Timestamp) -> Option<Park> {
        if work.meta.has_place {
            return None;
        }
        let reason = Some(Reason::RateLimited);
        match self.pace.take(work.lane, rate, sharers, now) {
            Place::Now => None,
            Place::At(at) => Some(Park { at, reason, keeps_place: true }),
            Place::NotWithin(wait) => Some(Park::until(node, now.after(wait), now, reason)),
        }
    }

    fn may_queue(&self, count: usize) -> bool {
        match self.mean {
            None => count <= UNKNOWN_QUEUE_LEN_MAX,
            Some(mean) if mean <= QUICK_MEAN_MAX => count <= QUICK_QUEUE_LEN_MAX,
            Some(_) => self.serving_time(count) <= SLOW_QUEUE_WAIT_MAX,
        }
    }

    fn serving_time(&self, count: usize) -> Duration {
        self.mean.unwrap_or_default() * count as u32 / self.in_flight_max.max(1) as u32
    }

    /// Until when `work` is put off: twice as long each time the same delivery is put off.
    fn park(&self, node: &Node, work: &Work, until: Timestamp, reason: Reason, now: Timestamp) -> Park {
        let doubled = PARK_MIN.saturating_mul(1 << work.meta.parked.min(10));
        let wait = match reason {
            // It has said until when.
            Reason::EndpointSlowed => Duration::ZERO,
            _ => doubled.max(self.serving_time(self.queue.len() + 1)).min(PARK_MAX),
        };
        Park::until(node, until.max(now.after(wait)), now, Some(reason))
    }
}
