use slipstream_core::config::{Consent, EndpointLimits};
use slipstream_core::contract::Meta;
use slipstream_core::lane::Lane;
use slipstream_test_support::builders;

use super::*;

fn endpoints(bounds: Bounds) -> Endpoints {
    Endpoints::new(bounds, watch::channel(1).1)
}

const BOUNDS: Bounds = Bounds { total: 512, per_subscription: 8, per_host: 64 };

fn subscription() -> Subscription {
    builders::subscription("s8n6EzC", slipstream_core::ids::AccountId(uuid::Uuid::nil()), "https://receiver.example/")
}

fn host(name: &str) -> Arc<str> {
    Arc::from(name)
}

fn admit(endpoints: &Endpoints, subscription: &Subscription, host: &Arc<str>, now: Timestamp) -> Admission {
    endpoints.admit(Work::for_tests(subscription.id), Some((subscription, host)), now).expect("there is room")
}

/// Starts one attempt; gives its place.
fn start(endpoints: &Endpoints, subscription: &Subscription, host: &Arc<str>, now: Timestamp) -> Place {
    match admit(endpoints, subscription, host, now) {
        Admission::Start(_, place) => place,
        other => panic!("it may start: {other:?}"),
    }
}

/// Starts as many attempts as may start; gives their places.
fn start_all(endpoints: &Endpoints, subscription: &Subscription, host: &Arc<str>, now: Timestamp) -> Vec<Place> {
    let mut places = Vec::new();
    while let Admission::Start(_, place) = admit(endpoints, subscription, host, now) {
        places.push(place);
    }
    places
}

/// One attempt that is taken at once.
fn succeed(endpoints: &Endpoints, subscription: &Subscription, host: &Arc<str>, now: Timestamp) {
    let Admission::Start(_, place) = admit(endpoints, subscription, host, now) else { panic!("it may start") };
    endpoints.ended(subscription, Ended::Success, now, now);
    assert!(matches!(endpoints.finished(place, Some(Duration::from_millis(1))), Next::Nothing));
}

#[tokio::test]
async fn an_endpoint_begins_with_two_in_flight_and_earns_the_rest() {
    let (endpoints, subscription, host, now) = (endpoints(BOUNDS), subscription(), host("a"), clock::now());
    assert_eq!(start_all(&endpoints, &subscription, &host, now).len(), 2);
    let (endpoints, other) = (self::endpoints(BOUNDS), self::subscription());
    for _ in 0..8 {
        succeed(&endpoints, &other, &host, now);
    }
    assert_eq!(start_all(&endpoints, &other, &host, now).len(), 8);
}

#[tokio::test]
async fn an_operators_bound_holds_below_ours() {
    let mut subscription = subscription();
    subscription.limits = EndpointLimits { in_flight_max: Some(1), rate_per_minute: None };
    let (endpoints, host, now) = (endpoints(BOUNDS), host("a"), clock::now());
    for _ in 0..8 {
        succeed(&endpoints, &subscription, &host, now);
    }
    assert_eq!(start_all(&endpoints, &subscription, &host, now).len(), 1);
}

#[tokio::test]
async fn endpoints_of_one_host_share_its_places_and_take_turns() {
    let endpoints = endpoints(Bounds { per_host: 2, ..BOUNDS });
    let (host, now) = (host("a"), clock::now());
    let three = [subscription(), subscription(), subscription()];
    let mut places = start_all(&endpoints, &three[0], &host, now);
    assert_eq!(places.len(), 2, "the host has no more places");
    for subscription in &three[1..] {
        assert!(matches!(admit(&endpoints, subscription, &host, now), Admission::Queued));
    }
    // Whoever finishes takes up the next endpoint in line, each in its turn.
    let mut order = Vec::new();
    while let Some(place) = places.pop() {
        if let Next::Attempt(work, place) = endpoints.finished(place, None) {
            order.push(three.iter().position(|it| it.id == work.subscription).unwrap());
            places.insert(0, place);
        }
    }
    assert_eq!(order.iter().filter(|it| **it == 1).count(), 1);
    assert_eq!(order.iter().filter(|it| **it == 2).count(), 1);
    assert_eq!(endpoints.lock().hosts.len(), 0, "an idle host is forgotten");
    // Another host is not concerned at any time.
    assert_eq!(start_all(&endpoints, &subscription(), &self::host("b"), now).len(), 2);
}

#[tokio::test]
async fn many_silent_endpoints_leave_places_for_those_that_answer() {
    let endpoints = endpoints(Bounds { total: 8, ..BOUNDS });
    let now = clock::now();
    let good = subscription();
    succeed(&endpoints, &good, &host("good"), now);
    succeed(&endpoints, &good, &host("good"), now);
    for number in 0..3 {
        let silent = subscription();
        assert_eq!(start_all(&endpoints, &silent, &host(&format!("silent-{number}")), now).len(), 2);
    }
    let one_more = admit(&endpoints, &subscription(), &host("silent-3"), now);
    assert!(matches!(one_more, Admission::Park(..)), "six of eight places is all they get: {one_more:?}");
    assert!(matches!(admit(&endpoints, &good, &host("good"), now), Admission::Start(..)));
}

#[tokio::test]
async fn an_endpoint_that_keeps_failing_is_left_alone_and_probed() {
    let (endpoints, subscription, host, now) = (endpoints(BOUNDS), subscription(), host("a"), clock::now());
    for _ in 0..slipstream_core::breaker::FAILURES_MAX {
        let Admission::Start(_, place) = admit(&endpoints, &subscription, &host, now) else { panic!("it may start") };
        endpoints.ended(&subscription, Ended::Failure, now, now);
        endpoints.finished(place, None);
    }
    let Admission::Park(_, park) = admit(&endpoints, &subscription, &host, now) else { panic!("the breaker is open") };
    assert_eq!(park.reason, Some(Reason::BreakerOpen));
    assert!(park.at >= now.after(slipstream_core::breaker::OPEN_MIN));
    let later = now.after(slipstream_core::breaker::OPEN_MIN);
    assert_eq!(start_all(&endpoints, &subscription, &host, later).len(), 1, "one probe and nothing beside it");
}

#[tokio::test]
async fn a_rate_spreads_deliveries_and_each_keeps_its_place() {
    let mut subscription = subscription();
    subscription.consent = Consent::NotGranted { origin: "slipstream.example".into() };
    let (endpoints, host, now) = (endpoints(BOUNDS), host("a"), clock::now());
    assert!(matches!(admit(&endpoints, &subscription, &host, now), Admission::Start(..)));
    for seconds in 1..4 {
        let Admission::Park(work, park) = admit(&endpoints, &subscription, &host, now) else { panic!("not yet") };
        assert_eq!((park.at, park.reason), (now.after(Duration::from_secs(seconds)), Some(Reason::RateLimited)));
        assert!(park.keeps_place);
        // Coming back with its place, it need not ask again.
        let work = Work { meta: Meta { has_place: true, ..work.meta.clone() }, ..work };
        let again = endpoints.admit(work, Some((&subscription, &host)), now).unwrap();
        assert!(!matches!(again, Admission::Park(..)), "{again:?}");
    }
}

#[tokio::test]
async fn parked_deliveries_never_come_before_their_time() {
    let now = clock::now();
    let until = now.after(Duration::from_secs(10));
    for _ in 0..100 {
        let park = Park::until(until, now, Some(Reason::EndpointBusy));
        assert!(park.at >= until && park.at <= until.after(Duration::from_secs(2)));
    }
}

#[tokio::test]
async fn many_answers_of_one_outage_slow_the_endpoint_once() {
    let (endpoints, subscription) = (endpoints(BOUNDS), subscription());
    let start = clock::now();
    let asked = SlowDown { asked: None };
    for _ in 0..8 {
        endpoints.slow(subscription.id, asked, start, start.after(Duration::from_millis(5)));
    }
    let slowed_until = || endpoints.lock().endpoints[&subscription.id].slowed_until.unwrap();
    assert_eq!(slowed_until(), start.after(Duration::from_millis(10_005)));
    // Asked again by an attempt made after that: twice as long.
    let later = slowed_until();
    endpoints.slow(subscription.id, asked, later, later);
    assert_eq!(slowed_until(), later.after(Duration::from_secs(20)));
    // A success in between says nothing about what was asked for.
    endpoints.ended(&subscription, Ended::Success, later, later);
    assert_eq!(slowed_until(), later.after(Duration::from_secs(20)));
}

#[tokio::test]
async fn the_registry_is_told_once_of_what_changed() {
    let (endpoints, mut subscription) = (endpoints(BOUNDS), subscription());
    let at = |seconds: i64| Timestamp::from_millis(1_772_443_800_000 + seconds * 1000);
    let mut told = Vec::new();
    for number in 1..=8 {
        told.extend(endpoints.ended(&subscription, Ended::Refusal, at(number), at(number)));
    }
    assert_eq!(told, [EndpointChange::Degraded(at(1))]);
    // The record says so now.
    subscription.health = Health::Degraded(at(1));
    subscription.revision += 1;
    assert_eq!(endpoints.ended(&subscription, Ended::Failure, at(9), at(9)), None);
    assert_eq!(endpoints.ended(&subscription, Ended::Throttled, at(9), at(9)), None);
    assert_eq!(endpoints.ended(&subscription, Ended::Success, at(10), at(10)), Some(EndpointChange::Recovered));
    assert_eq!(endpoints.ended(&subscription, Ended::Success, at(11), at(11)), None);
}

#[tokio::test]
async fn what_is_urgent_finds_room_in_a_queue_full_of_what_is_not_and_goes_first() {
    let (endpoints, subscription, host, now) = (endpoints(BOUNDS), subscription(), host("a"), clock::now());
    for _ in 0..8 {
        succeed(&endpoints, &subscription, &host, now);
    }
    let mut places = (0..8).map(|_| start(&endpoints, &subscription, &host, now)).collect::<Vec<_>>();
    let admit = |lane| {
        let work = Work { lane, ..Work::for_tests(subscription.id) };
        endpoints.admit(work, Some((&subscription, &host)), now).ok()
    };
    while let Some(admission) = admit(Lane::Normal) {
        assert!(matches!(admission, Admission::Queued));
    }
    assert!(matches!(admit(Lane::Realtime), Some(Admission::Queued)));
    for turn in 0..8 {
        let next = endpoints.finished(places.pop().unwrap(), Some(Duration::from_millis(1)));
        let Next::Attempt(work, place) = next else { panic!("turn {turn}: {next:?}") };
        places.insert(0, place);
        if work.lane == Lane::Realtime {
            return;
        }
    }
    panic!("it was not among the first");
}
