use slipstream_core::config::{Consent, DisabledReason, EndpointLimits, EndpointState, Health, Surface};
use slipstream_core::contract::Skipped;
use slipstream_core::feature::FeatureRef;
use slipstream_core::ids::{AccountId, DeliveryId, EventKey, ReplayId};
use slipstream_core::lane::{Lane, Visibility};
use slipstream_core::slug::Slug;
use uuid::Uuid;

use super::*;

const NOW: i64 = 1_772_443_800_000;
const CREATED: &str = "communications.letter.created";
const UPDATED: &str = "communications.letter.status_updated";

fn at(offset: i64) -> Timestamp {
    Timestamp::from_millis(NOW + offset)
}

fn site() -> Slug {
    "s8n6EzC".parse().unwrap()
}

/// A subscription's id that was made at this time.
fn made(offset: i64) -> SubscriptionId {
    let mut bytes = [7; 16];
    bytes[..6].copy_from_slice(&(NOW + offset).to_be_bytes()[2..]);
    (bytes[6], bytes[8]) = (0x70, 0x80);
    SubscriptionId(Uuid::from_bytes(bytes))
}

/// What is known, to be changed by each test: a public event that was routed 5 s after acceptance, and an active
/// subscription that is a minute older and has not received it yet.
struct Known {
    event: Option<EventRecord>,
    subscription: Option<Subscription>,
    own: Option<DeliveryRecord>,
    attempts: Vec<AttemptRecord>,
    replays: Vec<Delivery>,
}

impl Known {
    fn new() -> Self {
        let event = EventRecord {
            accepted_at: at(0),
            key: EventKey::new(&site(), "/s", "1"),
            site: site(),
            source: "/s".into(),
            id: "1".into(),
            event_type: CREATED.into(),
            subject: None,
            visibility: Visibility::Public,
            lane: Lane::Normal,
            intended_at: None,
            expires_at: None,
            routed_at: Some(at(5000)),
            published_by: None,
            changed_at: None,
            cancelled_at: None,
            sequence: Some(1),
            content_hash: None,
            skipped: Vec::new(),
        };
        let subscription = Subscription {
            id: made(-60_000),
            surface: Surface::Slipstream,
            site: site(),
            feature: FeatureRef::by_name("physicalpost").unwrap(),
            account: AccountId(Uuid::nil()),
            uri: "https://receiver.example/".into(),
            headers: Vec::new(),
            event_types: Vec::new(),
            state: EndpointState::Active,
            health: Health::Healthy,
            consent: Consent::Off,
            limits: EndpointLimits::default(),
            signing_keys: Vec::new(),
            revision: 1,
        };
        let (event, subscription) = (Some(event), Some(subscription));
        Self { event, subscription, own: None, attempts: Vec::new(), replays: Vec::new() }
    }

    fn delivery(state: DeliveryState, reason: Option<Reason>) -> DeliveryRecord {
        let key = EventKey::new(&site(), "/s", "1");
        DeliveryRecord {
            id: DeliveryId::derive(at(0), made(-60_000), &key),
            site: site(),
            event_key: key,
            subscription: made(-60_000),
            surface: Surface::Slipstream,
            lane: Lane::Normal,
            state,
            reason,
            next_attempt_at: (!state.is_terminal()).then(|| at(70_000)),
            updated_at: at(6000),
            replay: None,
        }
    }

    fn with(state: DeliveryState, reason: Option<Reason>) -> Self {
        Self { own: Some(Self::delivery(state, reason)), ..Self::new() }
    }

    fn attempted(mut self, status: u16) -> Self {
        self.attempts = vec![AttemptRecord {
            delivery: DeliveryId(Uuid::nil()),
            number: 1,
            started_at: at(5500),
            duration_us: 7,
            status: Some(status),
            error: None,
            response: None,
        }];
        self
    }

    fn event(&mut self) -> &mut EventRecord {
        self.event.as_mut().unwrap()
    }

    fn subscription(&mut self) -> &mut Subscription {
        self.subscription.as_mut().unwrap()
    }

    /// The verdict, the summary, and the check that decided with its outcome.
    fn told_to(&self, to: SubscriptionId) -> (Verdict, String, Option<(&'static str, CheckOutcome)>) {
        let facts = Facts {
            event: self.event.as_ref(),
            to,
            subscription: self.subscription.as_ref(),
            posting: None,
            own: self.own.as_ref().map(|own| (own, self.attempts.as_slice())),
            replays: &self.replays,
            now: at(10_000),
        };
        let (verdict, summary, checks) = explain(&facts);
        let names: Vec<_> = checks.iter().map(|check| check.name).collect();
        assert_eq!(names, NAMES.map(|(name, _)| name), "all checks, in their order");
        let decided = checks.iter().position(|check| matches!(check.outcome, Failed | Waiting));
        let after = decided.map_or(&[][..], |at| &checks[at + 1..]);
        assert!(after.iter().all(|check| check.outcome == NotReached), "{checks:?}");
        assert!(checks.iter().all(|check| check.outcome == NotReached || !check.detail.is_empty()), "{checks:?}");
        (verdict, summary, decided.map(|at| (checks[at].name, checks[at].outcome)))
    }

    fn told(&self) -> (Verdict, String, Option<(&'static str, CheckOutcome)>) {
        self.told_to(made(-60_000))
    }

    #[track_caller]
    fn is(&self, verdict: Verdict, decided: (&'static str, CheckOutcome), words: &str) {
        let told = self.told();
        assert_eq!((told.0, told.2), (verdict, Some(decided)), "{}", told.1);
        assert!(told.1.contains(words), "{}", told.1);
    }
}

use Verdict::{Delivered, NotDelivered, Unknown};

#[test]
fn a_delivered_event_has_passed_everything() {
    let told = Known::with(DeliveryState::Succeeded, None).attempted(200).told();
    assert_eq!(told, (Delivered, format!("Delivered at {}.", at(6000)), None));
}

#[test]
fn what_is_not_recorded_is_not_known() {
    Known { event: None, ..Known::new() }.is(Unknown, ("accepted", Failed), "Not known: no such event is recorded");
    // It matches now, and was there; nobody wrote down why it was not delivered.
    let told = Known::new().told();
    assert_eq!((told.0, told.2), (Unknown, None));
    assert!(told.1.contains("as things are now it would match"), "{}", told.1);
}

#[test]
fn a_held_event_waits_and_a_cancelled_one_does_not() {
    let mut known = Known::new();
    (known.event().routed_at, known.event().intended_at) = (None, Some(at(60_000)));
    known.is(Verdict::Waiting, ("schedule", Waiting), &format!("is held until {}", at(60_000)));
    known.event().cancelled_at = Some(at(7000));
    known.is(NotDelivered, ("schedule", Failed), &format!("was cancelled at {}", at(7000)));
}

#[test]
fn what_did_not_match_says_which_rule_and_goes_by_the_record() {
    let mut known = Known::new();
    known.event().visibility = Visibility::Internal;
    known.is(NotDelivered, ("visibility", Failed), "visibility is internal");

    let mut known = Known::new();
    known.subscription().site = "sUkLWZg".parse().unwrap();
    known.is(NotDelivered, ("site", Failed), "is of site sUkLWZg, the event of s8n6EzC");

    for (rule, name) in [(SkipReason::TypeNotInFeature, "type"), (SkipReason::TypeNotSubscribed, "filter")] {
        // It would match now, and did not then.
        let mut known = Known::new();
        known.event().skipped = vec![Skipped { subscription: made(-60_000), reason: rule }];
        known.is(NotDelivered, (name, Failed), CREATED);
        // Even if the subscription does not exist any more.
        known.subscription = None;
        known.is(NotDelivered, (name, Failed), CREATED);
        // Somebody had it delivered all the same.
        known.own = Some(Known::delivery(DeliveryState::Succeeded, None));
        assert_eq!(known.told().0, Delivered);
    }
    // Nothing is recorded, so it goes by how things are.
    let mut known = Known::new();
    known.subscription().event_types = vec![UPDATED.into()];
    known.is(NotDelivered, ("filter", Failed), "asked for other event types");
    known.event().event_type = "Slipstream.UrlShortener.UrlCreated".into();
    known.is(NotDelivered, ("type", Failed), "feature has no event type");
}

#[test]
fn a_subscription_made_after_the_event_says_so() {
    let known = Known::new();
    for (made_at, relation) in [(9000, Some("after")), (4000, Some("at the moment")), (-1000, None)] {
        let told = known.told_to(made(made_at));
        match relation {
            Some(relation) => {
                assert_eq!((told.0, told.2), (NotDelivered, Some(("subscription", Failed))));
                assert!(told.1.contains(relation) && told.1.contains("can be replayed"), "{}", told.1);
            }
            None => assert_eq!((told.0, told.2), (Unknown, None)),
        }
    }
    // An id that holds no time says nothing.
    assert_eq!(known.told_to(SubscriptionId(Uuid::from_u128(5))).0, Unknown);
    let gone = Known { subscription: None, ..Known::new() };
    gone.is(NotDelivered, ("subscription", Failed), "no such subscription");
}

#[test]
fn deliveries_that_ended_without_an_answer_say_why() {
    for (state, reason, check, words) in [
        (DeliveryState::Cancelled, Reason::SubscriptionRemoved, "subscription", "was removed"),
        (DeliveryState::Cancelled, Reason::EndpointDisabled, "subscription", "was disabled"),
        (DeliveryState::Cancelled, Reason::ConsentPending, "consent", "had not agreed"),
        (DeliveryState::Cancelled, Reason::CancelledByRequest, "attempts", "cancelled by a request"),
        (DeliveryState::Failed, Reason::FinalAnswer, "attempts", "is final"),
        (DeliveryState::Failed, Reason::EndpointGone, "attempts", "gone for good"),
        (DeliveryState::Exhausted, Reason::NoAttemptsLeft, "attempts", "no attempts are left"),
    ] {
        let told = Known::with(state, Some(reason)).told();
        assert_eq!((told.0, told.2), (NotDelivered, Some((check, Failed))), "{reason:?}: {}", told.1);
        assert!(told.1.to_lowercase().contains(words), "{}", told.1);
    }
    let mut known = Known::with(DeliveryState::Expired, Some(Reason::ExpiryTime)).attempted(503);
    known.event().expires_at = Some(at(6000));
    known.is(NotDelivered, ("expiry", Failed), &format!("expired at {}", at(6000)));
    // Expired afterwards, which is no reason.
    known.own = Some(Known::delivery(DeliveryState::Failed, Some(Reason::FinalAnswer)));
    known.is(NotDelivered, ("attempts", Failed), "Attempt 1".to_lowercase().as_str());
}

#[test]
fn a_waiting_delivery_says_for_what_and_until_when() {
    let next = format!("next attempt is at {}", at(70_000));
    for (state, reason, check, words) in [
        (DeliveryState::Scheduled, None, "attempts", "no attempt was made yet"),
        (DeliveryState::Scheduled, Some(Reason::Rescheduled), "attempts", "a request moved it"),
        (DeliveryState::Scheduled, Some(Reason::BreakerOpen), "breaker_and_rate", "single probes"),
        (DeliveryState::RetryWait, Some(Reason::RateLimited), "breaker_and_rate", "as many requests a minute"),
        (DeliveryState::RetryWait, Some(Reason::EndpointSlowed), "breaker_and_rate", "fewer requests"),
        (DeliveryState::RetryWait, Some(Reason::EndpointBusy), "breaker_and_rate", "in hand"),
    ] {
        let told = Known::with(state, reason).told();
        assert_eq!((told.0, told.2), (Verdict::Waiting, Some((check, Waiting))), "{reason:?}: {}", told.1);
        let text = told.1.to_lowercase();
        assert!(text.contains(words) && text.contains(&next.to_lowercase()), "{}", told.1);
    }
    let retrying = Known::with(DeliveryState::RetryWait, None).attempted(503);
    retrying.is(Verdict::Waiting, ("attempts", Waiting), "was answered with 503. The next attempt is at");
}

#[test]
fn what_will_be_cancelled_says_so_before_it_is() {
    let mut known = Known::with(DeliveryState::RetryWait, None);
    known.subscription().state = EndpointState::Disabled(DisabledReason::Failing);
    known.is(Verdict::Waiting, ("subscription", Failed), "will be cancelled");
    known.subscription().state = EndpointState::Pending;
    known.is(Verdict::Waiting, ("consent", Failed), "will be cancelled");
    known.subscription = None;
    known.is(Verdict::Waiting, ("subscription", Failed), "will be cancelled");
    let mut known = Known::with(DeliveryState::RetryWait, None);
    known.event().expires_at = Some(at(9000));
    known.is(Verdict::Waiting, ("expiry", Failed), "is not attempted any more");
}

#[test]
fn replays_count() {
    let replay = |state| Delivery {
        record: DeliveryRecord { replay: Some(ReplayId(Uuid::from_u128(1))), ..Known::delivery(state, None) },
        event: None,
        attempt_count: 0,
    };
    let mut known = Known::with(DeliveryState::Failed, Some(Reason::FinalAnswer)).attempted(404);
    known.is(NotDelivered, ("attempts", Failed), "was answered with 404. That answer is final");
    known.replays = vec![replay(DeliveryState::RetryWait)];
    known.is(Verdict::Waiting, ("attempts", Failed), "a replay is on its way");
    known.replays.push(replay(DeliveryState::Succeeded));
    known.is(Delivered, ("attempts", Failed), &format!("by a replay at {}", at(6000)));
}

#[test]
fn what_holds_a_receiver_back_is_told_with_the_checks_it_passes() {
    let mut known = Known::with(DeliveryState::Succeeded, None);
    known.subscription().consent = Consent::NotGranted { origin: "slipstream.example".into() };
    known.subscription().health = Health::Degraded(at(-5));
    let facts = Facts {
        event: known.event.as_ref(),
        to: made(-60_000),
        subscription: known.subscription.as_ref(),
        posting: None,
        own: known.own.as_ref().map(|own| (own, &[][..])),
        replays: &[],
        now: at(10_000),
    };
    let (_, _, checks) = explain(&facts);
    let detail = |name| checks.iter().find(|check| check.name == name).unwrap().detail.as_str();
    assert!(detail("consent").contains("at most 60 times a minute"));
    assert!(detail("breaker_and_rate").contains("at most 60 requests a minute"));
    assert!(detail("subscription").contains(&format!("failing since {}", at(-5))));
}
