//! Held events that are moved, cancelled or delivered at once, also while they come due (issue 3).

use std::collections::HashMap;
use std::time::Duration;

use slipstream_bus::held::END_KEPT;
use slipstream_bus::{HeldChange, HeldEvents, Holding, Replaced};
use slipstream_core::ids::EventKey;
use slipstream_core::reschedule::{Times, reschedule};
use slipstream_core::timestamp::Timestamp;
use slipstream_dispatcher::DeliveryConfig;
use slipstream_service::clock;
use slipstream_test_support::builders::{EventBuilder, event};
use slipstream_test_support::eventually::eventually;

use crate::world::{LIMIT, SITE, World};

fn in_ms(millis: u64) -> Timestamp {
    clock::now().after(Duration::from_millis(millis))
}

fn due_event(at: Timestamp) -> EventBuilder {
    event().with("intendeddeliverytime", at.to_string())
}

fn key(event: &EventBuilder) -> EventKey {
    let event = slipstream_core::event::json::parse(&event.bytes()).unwrap();
    EventKey::new(&SITE.parse().unwrap(), &event.source, &event.id)
}

async fn held(waiting: &HeldEvents, event: &EventBuilder) -> slipstream_bus::Held {
    let (site, key) = (SITE.parse().unwrap(), key(event));
    eventually(LIMIT, async || waiting.get(&site, &key).await.unwrap()).await
}

fn times(held: &slipstream_bus::Held, at: Timestamp) -> HeldChange {
    let payload = reschedule(&held.payload, Times { intended_at: at, expires_at: None }).unwrap().into();
    HeldChange::Times { payload, intended_at: at, expires_at: None }
}

#[tokio::test]
async fn a_held_event_that_is_moved_arrives_at_its_new_time_with_it() {
    let mut world = World::new(DeliveryConfig::default()).await;
    let waiting = world.bus.held_events();
    let event = due_event(in_ms(3_600_000));
    world.publish(&event).await;
    let seen = held(&waiting, &event).await;
    let at = in_ms(900);
    assert_eq!(waiting.change(&seen, times(&seen, at), clock::now(), clock::now).await.unwrap(), Replaced::Done);
    let stale = waiting.change(&seen, HeldChange::Cancel, clock::now(), clock::now).await.unwrap();
    assert_eq!(stale, Replaced::TooLate, "it is not what was seen");
    let received = world.receiver.wait_for(1, LIMIT).await;
    assert!(received[0].timestamp >= at, "never early");
    assert_eq!(received[0].json()["intendeddeliverytime"], at.to_string());
    world.ended(1).await;
    assert_eq!(world.receiver.count(), 1);
    world.stop().await;
}

#[tokio::test]
async fn a_held_event_can_be_delivered_at_once() {
    let world = World::new(DeliveryConfig::default()).await;
    let waiting = world.bus.held_events();
    let event = due_event(in_ms(3_600_000));
    world.publish(&event).await;
    let seen = held(&waiting, &event).await;
    let now = clock::now();
    assert_eq!(waiting.change(&seen, times(&seen, now), now, clock::now).await.unwrap(), Replaced::Done);
    world.receiver.wait_for(1, LIMIT).await;
    let (site, key) = (SITE.parse().unwrap(), key(&event));
    eventually(LIMIT, async || match waiting.get(&site, &key).await.unwrap() {
        None => Ok(()),
        Some(held) => Err(held),
    })
    .await;
    world.stop().await;
}

#[tokio::test]
async fn a_cancelled_event_reaches_nobody_and_its_record_says_so() {
    let mut world = World::new(DeliveryConfig::default()).await;
    let waiting = world.bus.held_events();
    let event = due_event(in_ms(1500));
    world.publish(&event).await;
    let seen = held(&waiting, &event).await;
    let cancelled_at = clock::now();
    assert_eq!(waiting.change(&seen, HeldChange::Cancel, cancelled_at, clock::now).await.unwrap(), Replaced::Done);
    let routed = world.routed(2).await;
    let last = routed.last().unwrap();
    assert_eq!((last.cancelled_at, last.routed_at), (Some(cancelled_at), None));
    let another = due_event(in_ms(2000));
    world.publish(&another).await;
    let received = world.receiver.wait_for(1, LIMIT).await;
    assert_ne!(received[0].json()["id"], seen_id(&event), "the one that was due earlier has not come");
    world.stop().await;
}

#[tokio::test]
async fn the_mark_of_an_end_is_taken_away_in_time_and_nobody_receives_it() {
    let world = World::new(DeliveryConfig::default()).await;
    let waiting = world.bus.held_events();
    let event = due_event(in_ms(3_600_000));
    world.publish(&event).await;
    let seen = held(&waiting, &event).await;
    let ended = seen.changed(HeldChange::Cancel, clock::now());
    // As if it had been cancelled almost as long ago as its mark is kept.
    let at = Timestamp::from_millis(clock::now().as_millis() - END_KEPT.as_millis() as i64 + 1500);
    waiting.end(&ended, || at).await.unwrap();
    assert!(waiting.get(&seen.site, &seen.key).await.unwrap().is_none());
    assert_eq!(waiting.hold_one(&seen, clock::now).await.unwrap(), Holding::Changed);
    // An hour ahead, so that nothing but the end of the mark lets it be held again.
    eventually(LIMIT, async || match waiting.hold_one(&seen, clock::now).await.unwrap() {
        Holding::Held => Ok(()),
        other => Err(other),
    })
    .await;
    assert_eq!(world.receiver.count(), 0);
    world.stop().await;
}

#[tokio::test]
async fn a_repeat_of_a_held_event_changes_nothing_whenever_it_comes() {
    let mut world = World::new(DeliveryConfig::default()).await;
    let waiting = world.bus.held_events();
    let event = due_event(in_ms(1500));
    world.publish(&event).await;
    let first = held(&waiting, &event).await;
    // As if it came when the broker has forgotten the first: with another time, and nobody who has a record of it.
    let repeat = event.clone().with("intendeddeliverytime", in_ms(3_600_000).to_string());
    world.publish_forgotten(&repeat).await;
    let received = world.receiver.wait_for(1, LIMIT).await;
    assert_eq!(received[0].json()["intendeddeliverytime"], first.meta.intended_at.unwrap().to_string());
    world.ended(1).await;
    world.stop().await;
}

fn seen_id(event: &EventBuilder) -> serde_json::Value {
    serde_json::from_slice::<serde_json::Value>(&event.bytes()).unwrap()["id"].clone()
}

/// Many events that come due while they are cancelled or moved: what becomes of each is what the answer said.
#[tokio::test]
async fn coming_due_and_being_changed_have_one_winner() {
    const RACES: u64 = 300;
    let mut world = World::new(DeliveryConfig::default()).await;
    let waiting = world.bus.held_events();
    let mut races = tokio::task::JoinSet::new();
    let (mut keys, mut ids) = (HashMap::new(), HashMap::new());
    for race in 0..RACES {
        let event = due_event(in_ms(400));
        keys.insert(key(&event), race);
        ids.insert(seen_id(&event).to_string(), race);
        world.publish(&event).await;
        let waiting = waiting.clone();
        races.spawn(async move {
            let (site, key) = (SITE.parse().unwrap(), key(&event));
            tokio::time::sleep(Duration::from_millis(350 + (race * 7) % 450)).await;
            let Some(held) = waiting.get(&site, &key).await.unwrap() else { return (race, None) };
            let at = in_ms(1500);
            let change = if race % 2 == 0 { HeldChange::Cancel } else { times(&held, at) };
            let replaced = waiting.change(&held, change, clock::now(), clock::now).await.unwrap();
            (race, (replaced == Replaced::Done).then_some(at))
        });
    }
    let changed: HashMap<u64, Option<Timestamp>> = races.join_all().await.into_iter().collect();
    let cancelled = |race: &u64| race.is_multiple_of(2) && changed[race].is_some();
    let expected = (0..RACES).filter(|race| !cancelled(race)).count();
    let received = world.receiver.wait_for(expected, LIMIT).await;
    // Whatever was cancelled has been recorded so; after that nothing more is to come.
    let all_cancelled = (0..RACES).filter(cancelled).count();
    world
        .recorded_until("every cancelled event", |world| {
            let ended = |it: &&slipstream_core::contract::RoutedEvent| it.cancelled_at.is_some();
            world.seen_routed().iter().filter(ended).map(|it| it.key).collect::<std::collections::HashSet<_>>().len()
                >= all_cancelled
        })
        .await;
    println!(
        "{RACES} races: {all_cancelled} cancelled, {} moved, {} came due first",
        changed.values().flatten().count() - all_cancelled,
        changed.values().filter(|it| it.is_none()).count()
    );
    assert_eq!(world.receiver.count(), expected, "nothing arrives twice, and nothing that was cancelled");
    for request in &received {
        let race = ids[&request.json()["id"].to_string()];
        assert!(!cancelled(&race), "race {race} was cancelled");
        if let Some(at) = changed[&race] {
            assert!(request.timestamp >= at, "race {race} was moved to {at} and came at {}", request.timestamp);
            assert_eq!(request.json()["intendeddeliverytime"], at.to_string());
        }
    }
    world.stop().await;
}
