//! Held events against a real server: lists, alarms, and what is left afterwards. (What an alarm leads to is the
//! dispatcher's, and so are its tests.)

use std::time::Duration;

use bytes::Bytes;
use slipstream_bus::held::END_KEPT;
use slipstream_bus::held::due::{due_at, parse_ringing};
use slipstream_bus::{Bus, BusConfig, ConsumerName, Held, Holding, subject};
use slipstream_core::contract::Meta;
use slipstream_core::ids::EventKey;
use slipstream_core::lane::{Lane, Visibility};
use slipstream_core::slug::Slug;
use slipstream_core::timestamp::Timestamp;
use slipstream_test_support::nats::NatsServer;

#[expect(clippy::disallowed_methods, reason = "this stands for the service's clock, which the bus must not know")]
fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_millis(since.as_millis() as i64)
}

fn site() -> Slug {
    "s8n6EzC".parse().unwrap()
}

/// Event `id`, to be held until `at`.
fn event(id: &str, lane: Lane, at: Timestamp) -> Held {
    Held {
        site: site(),
        key: EventKey::new(&site(), "/tests", id),
        lane,
        payload: Bytes::from(id.to_owned()),
        meta: Meta { intended_at: Some(at), ..Meta::new(site(), Timestamp::from_millis(1)) },
        trace: None,
        due_subject: subject::event(Visibility::Public, lane, &site(), "tests"),
    }
}

async fn bus(server: &NatsServer) -> Bus {
    Bus::connect(&BusConfig { url: server.url().into(), ..BusConfig::default() }).await.unwrap()
}

#[tokio::test]
async fn events_of_one_time_stand_on_lists_of_their_lane_and_have_one_alarm() {
    let server = NatsServer::start().await;
    let (bus, at) = (bus(&server).await, now().after(Duration::from_millis(900)));
    let waiting = bus.held_events();
    let held: Vec<_> = (0..1200).map(|number| event(&number.to_string(), Lane::Normal, at)).collect();
    let urgent = event("urgent", Lane::Realtime, at);
    let all: Vec<_> = held.iter().chain([&urgent]).collect();
    for holding in waiting.hold(&all, now).await {
        assert_eq!(holding.unwrap(), Holding::Held);
    }
    let due = due_at(at, None);
    for (lane, expected) in [(Lane::Realtime, 1), (Lane::Normal, 1200), (Lane::High, 0)] {
        if expected > 0 {
            let mut ringing = bus.consume(ConsumerName::Release(lane)).await.unwrap();
            let alarm = tokio::time::timeout(Duration::from_secs(5), ringing.next()).await.expect("it rings");
            assert_eq!(parse_ringing(&alarm.subject), Some((lane, due)));
            assert!(now() >= due, "never early");
            alarm.ack().await;
        }
        let found = waiting.due(lane, due).await.unwrap();
        let Some(found) = found else {
            assert_eq!(expected, 0);
            continue;
        };
        let read = waiting.read(&found.places).await.unwrap();
        assert_eq!((found.places.len(), read.len()), (expected, expected));
        if lane == Lane::Normal {
            let ids: std::collections::HashSet<_> = held.iter().map(|held| held.payload.clone()).collect();
            assert_eq!(read.into_iter().map(|(_, held)| held.payload).collect::<std::collections::HashSet<_>>(), ids);
        }
        waiting.remove(found.places.clone()).await.unwrap();
        waiting.remove(found.places.clone()).await.expect("what is gone already does no harm");
        waiting.remove_lists(lane, due, &found).await.unwrap();
        assert_eq!(waiting.due(lane, due).await.unwrap(), None);
    }
    assert!(waiting.get(&site(), &held[0].key).await.unwrap().is_none());
}

#[tokio::test]
async fn a_list_names_an_event_only_as_it_was_when_it_was_written() {
    let server = NatsServer::start().await;
    let bus = bus(&server).await;
    let waiting = bus.held_events();
    let far = now().after(Duration::from_hours(1));
    let (first, gone) = (event("moved", Lane::High, far), event("cancelled", Lane::High, far));
    for holding in waiting.hold(&[&first, &gone], now).await {
        holding.unwrap();
    }
    let mut moved = event("moved", Lane::High, far.after(Duration::from_hours(1)));
    moved.meta.generation = 1;
    assert_eq!(waiting.hold_one(&moved, now).await.unwrap(), Holding::Held);
    assert_eq!(waiting.hold_one(&first, now).await.unwrap(), Holding::Changed);
    waiting.forget(&gone).await.unwrap();

    let before = waiting.due(Lane::High, due_at(far, None)).await.unwrap().unwrap();
    assert_eq!(before.places.len(), 2);
    assert!(waiting.read(&before.places).await.unwrap().is_empty());
    let due = due_at(moved.meta.intended_at.unwrap(), None);
    let after = waiting.due(Lane::High, due).await.unwrap().unwrap();
    let read = waiting.read(&after.places).await.unwrap();
    assert_eq!(read.len(), 1);
    assert_eq!((read[0].1.meta.generation, read[0].1.lane), (1, Lane::High));
}

#[tokio::test]
async fn a_list_without_an_alarm_can_be_woken() {
    let server = NatsServer::start().await;
    let bus = bus(&server).await;
    let waiting = bus.held_events();
    let at = now().after(Duration::from_millis(300));
    waiting.wake(&event("a", Lane::High, at), now).await.unwrap();
    let mut ringing = bus.consume(ConsumerName::Release(Lane::High)).await.unwrap();
    let alarm = tokio::time::timeout(Duration::from_secs(5), ringing.next()).await.expect("it rings");
    assert_eq!(parse_ringing(&alarm.subject), Some((Lane::High, due_at(at, None))));
}

#[tokio::test]
async fn many_lists_of_one_time_are_read_to_the_end() {
    let server = NatsServer::start().await;
    let bus = bus(&server).await;
    let (waiting, far) = (bus.held_events(), now().after(Duration::from_hours(1)));
    let held: Vec<_> = (0..1300).map(|number| event(&number.to_string(), Lane::Normal, far)).collect();
    // One at a time, as when they are accepted over a long time.
    let each = held.iter().map(async |held| assert_eq!(waiting.hold_one(held, now).await.unwrap(), Holding::Held));
    futures::future::join_all(each).await;
    let due = waiting.due(Lane::Normal, due_at(far, None)).await.unwrap().unwrap();
    assert_eq!(due.places.len(), 1300);
}

#[tokio::test]
async fn an_older_generation_is_forgotten_and_a_later_one_is_not() {
    let server = NatsServer::start().await;
    let bus = bus(&server).await;
    let (waiting, far) = (bus.held_events(), now().after(Duration::from_hours(1)));
    let first = event("a", Lane::Normal, far);
    let mut second = first.clone();
    second.meta.generation = 1;
    waiting.hold_one(&second, now).await.unwrap();
    waiting.forget(&first).await.unwrap();
    assert!(waiting.get(&site(), &first.key).await.unwrap().is_some());
    waiting.forget(&second).await.unwrap();
    assert!(waiting.get(&site(), &first.key).await.unwrap().is_none());
    waiting.forget(&second).await.expect("nothing to forget is as good");
}

#[tokio::test]
async fn a_list_that_is_long_overdue_gets_an_alarm() {
    let server = NatsServer::start().await;
    let bus = bus(&server).await;
    let waiting = bus.held_events();
    let long_ago = Timestamp::from_millis(now().as_millis() - 120_000);
    waiting.hold_one(&event("a", Lane::High, now().after(Duration::from_hours(1))), now).await.unwrap();
    assert_eq!(waiting.wake_overdue(now).await.unwrap(), 0);
    waiting.hold_one(&event("b", Lane::High, long_ago), now).await.unwrap();
    let mut ringing = bus.consume(ConsumerName::Release(Lane::High)).await.unwrap();
    let rings = async |ringing: &mut slipstream_bus::Consumer| {
        let alarm = tokio::time::timeout(Duration::from_secs(5), ringing.next()).await.expect("it rings");
        alarm.ack().await;
        parse_ringing(&alarm.subject)
    };
    let expected = Some((Lane::High, due_at(long_ago, None)));
    assert_eq!(rings(&mut ringing).await, expected);
    // As if nobody had heard it.
    assert_eq!(waiting.wake_overdue(now).await.unwrap(), 1);
    assert_eq!(rings(&mut ringing).await, expected);
}

#[tokio::test]
async fn what_has_ended_is_not_held_and_lets_no_earlier_generation_be_held() {
    let server = NatsServer::start().await;
    let bus = bus(&server).await;
    let (waiting, far) = (bus.held_events(), now().after(Duration::from_hours(1)));
    let first = event("a", Lane::Normal, far);
    let mut second = first.clone();
    (second.meta.generation, second.meta.cancelled_at) = (1, Some(now()));
    waiting.hold_one(&first, now).await.unwrap();
    let ended_at = now();
    // Twice, as when the first was not acknowledged.
    waiting.end(&second, || ended_at).await.unwrap();
    waiting.end(&second, now).await.unwrap();
    assert!(waiting.get(&site(), &first.key).await.unwrap().is_none());
    for earlier in [&first, &second] {
        assert_eq!(waiting.hold_one(earlier, now).await.unwrap(), Holding::Changed);
    }
    waiting.forget(&first).await.unwrap();
    assert_eq!(waiting.hold_one(&first, now).await.unwrap(), Holding::Changed, "the mark is of a later generation");
    let mut another = first.clone();
    another.meta.accepted_at = now();
    assert_eq!(waiting.hold_one(&another, now).await.unwrap(), Holding::Repeat);

    let until = due_at(ended_at.after(END_KEPT), None);
    let listed = waiting.due(Lane::Normal, until).await.unwrap().expect("the mark is listed");
    assert_eq!((listed.places.len(), &listed.ended[..]), (0, &[subject::held(&site(), &first.key)][..]));
    waiting.remove_marks(listed.ended.clone(), Timestamp::from_millis(until.as_millis() - 1)).await.unwrap();
    assert_eq!(waiting.hold_one(&first, now).await.unwrap(), Holding::Changed, "it is kept until then");
    waiting.remove_marks(listed.ended.clone(), until).await.unwrap();
    assert_eq!(waiting.hold_one(&first, now).await.unwrap(), Holding::Held);
    waiting.remove_marks(listed.ended.clone(), until).await.unwrap();
    assert!(waiting.get(&site(), &first.key).await.unwrap().is_some(), "what is held is not a mark");
}

#[tokio::test]
async fn an_end_takes_the_place_of_its_own_generation_and_never_of_a_later_one() {
    let server = NatsServer::start().await;
    let bus = bus(&server).await;
    let (waiting, far) = (bus.held_events(), now().after(Duration::from_hours(1)));
    let first = event("a", Lane::Normal, far);
    let mut second = first.clone();
    second.meta.generation = 1;
    waiting.hold_one(&second, now).await.unwrap();
    waiting.end(&first, now).await.unwrap();
    assert_eq!(waiting.get(&site(), &first.key).await.unwrap().map(|it| it.meta.generation), Some(1));
    // Who moved it had a clock by which its new time was ahead.
    waiting.end(&second, now).await.unwrap();
    assert!(waiting.get(&site(), &first.key).await.unwrap().is_none());
}
