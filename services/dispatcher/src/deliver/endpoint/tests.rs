use slipstream_core::config::{Consent, EndpointLimits};
use slipstream_core::contract::Meta;
use slipstream_core::lane::Lane;
use slipstream_test_support::builders;

use super::*;

fn endpoints(bounds: Bounds) -> Endpoints {
    Endpoints::new(bounds, watch::channel(1).1, Arc::new(Pace::new()))
}

/// Endpoints of which normal has to give way: seven urgent deliveries that start earn it one.
fn giving_way() -> Endpoints {
    Endpoints::new(BOUNDS, watch::channel(1).1, Arc::new(Pace::at_a_standstill()))
}

/// Starts so many realtime deliveries, each of which succeeds.
fn realtime(endpoints: &Endpoints, times: usize, now: Timestamp) {
    let (other, host) = (subscription(), host("of realtime"));
    for _ in 0..times {
        let work = Work { lane: Lane::Realtime, ..Work::for_tests(other.id) };
        let Ok(Admission::Start(_, place)) = endpoints.admit(work, Some((&other, &host)), now) else {
            panic!("realtime does not give way")
        };
        endpoints.ended(&other, Ended::Success, now, now);
        assert!(matches!(endpoints.finished(place, Some(Duration::from_millis(1))), Next::Nothing));
    }
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

#[tokio::test]
async fn what_gives_way_rests_here_until_it_may_start() {
    let (endpoints, subscription, host, now) = (giving_way(), subscription(), host("a"), clock::now());
    for _ in 0..3 {
        assert!(matches!(admit(&endpoints, &subscription, &host, now), Admission::Queued));
    }
    endpoints.rested().await;
    assert!(endpoints.is_resting());
    assert_eq!(endpoints.wake_rested(), [Arc::clone(&host)]);
    assert!(matches!(endpoints.next_at(&host), Next::Nothing));
    assert!(endpoints.is_resting(), "nothing has been earned");
    realtime(&endpoints, 7, now);
    endpoints.wake_rested();
    let Next::Attempt(_, place) = endpoints.next_at(&host) else { panic!("one was earned") };
    assert!(matches!(endpoints.next_at(&host), Next::Nothing));
    realtime(&endpoints, 7, now);
    assert!(matches!(endpoints.finished(place, None), Next::Nothing), "who rests is woken, and is the first");
    endpoints.wake_rested();
    assert!(matches!(endpoints.next_at(&host), Next::Attempt(..)));
    assert_eq!(endpoints.drain().len(), 1);
}

#[tokio::test]
async fn realtime_starts_at_an_endpoint_whose_normal_deliveries_rest() {
    let (endpoints, subscription, host, now) = (giving_way(), subscription(), host("a"), clock::now());
    assert!(matches!(admit(&endpoints, &subscription, &host, now), Admission::Queued));
    let work = Work { lane: Lane::Realtime, ..Work::for_tests(subscription.id) };
    assert!(matches!(endpoints.admit(work, Some((&subscription, &host)), now), Ok(Admission::Start(..))));
}

#[tokio::test]
async fn endpoints_that_rest_start_in_turn() {
    let (endpoints, now) = (giving_way(), clock::now());
    let two = [(subscription(), host("a")), (subscription(), host("b"))];
    for _ in 0..4 {
        for (subscription, host) in &two {
            assert!(matches!(admit(&endpoints, subscription, host, now), Admission::Queued));
        }
    }
    let mut started = Vec::new();
    for _ in 0..4 {
        realtime(&endpoints, 7, now);
        let (mut hosts, mut places) = (endpoints.wake_rested(), Vec::new());
        while !hosts.is_empty() {
            hosts.retain(|host| match endpoints.next_at(host) {
                Next::Attempt(work, place) => {
                    started.push(work.subscription);
                    places.push(place);
                    true
                }
                _ => false,
            });
        }
        for place in places {
            assert!(matches!(endpoints.finished(place, None), Next::Nothing));
        }
    }
    let [a, b] = two.map(|(subscription, _)| subscription.id);
    assert_eq!(started, [a, b, a, b]);
}

/// It has a place, so it is not busy: that it rests is our doing.
#[tokio::test]
async fn a_delivery_to_a_slow_endpoint_that_rested_is_not_put_off() {
    let (endpoints, subscription, host, now) = (giving_way(), subscription(), host("a"), clock::now());
    let work = Work { lane: Lane::Realtime, ..Work::for_tests(subscription.id) };
    let Ok(Admission::Start(_, place)) = endpoints.admit(work, Some((&subscription, &host)), now) else {
        panic!("realtime does not give way")
    };
    endpoints.finished(place, Some(Duration::from_secs(20)));
    assert!(matches!(admit(&endpoints, &subscription, &host, now), Admission::Queued));
    realtime(&endpoints, 7, now);
    endpoints.wake_rested();
    assert!(matches!(endpoints.next_at(&host), Next::Attempt(..)));
}

#[tokio::test]
async fn what_was_woken_and_nobody_takes_up_rests_on() {
    let (endpoints, subscription, host, now) = (giving_way(), subscription(), host("a"), clock::now());
    assert!(matches!(admit(&endpoints, &subscription, &host, now), Admission::Queued));
    endpoints.wake_rested();
    assert!(!endpoints.is_resting());
    endpoints.rest_unattended(&host);
    assert!(endpoints.is_resting());
}
