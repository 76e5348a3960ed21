//! What the whole engine keeps to: late repeats, replays, rates, breakers, health, consent (issue 3).

use std::time::Duration;

use futures::StreamExt as _;
use slipstream_bus::{Outgoing, StreamName, subject};
use slipstream_core::config::{Consent, EndpointState, Health};
use slipstream_core::contract::{EndpointChange, EndpointChanged, Meta, SeenAnswer};
use slipstream_core::delivery::{DeliveryState, Reason};
use slipstream_core::ids::{DeliveryId, EventKey, ReplayId};
use slipstream_core::lane::Lane;
use slipstream_dispatcher::DeliveryConfig;
use slipstream_test_support::builders::event;
use slipstream_test_support::receiver::Reply;

use crate::world::{LIMIT, SITE, World, put, quick_retries, subscription};

#[tokio::test]
async fn an_event_that_was_seen_days_ago_makes_no_delivery_and_no_record() {
    let mut world = World::new(quick_retries()).await;
    let (repeat, fresh) = (event(), event());
    let mut requests = Box::pin(world.bus.seen_requests().await.unwrap());
    let key = |event: &slipstream_test_support::builders::EventBuilder| {
        EventKey::new(&SITE.parse().unwrap(), event.text("source"), event.text("id"))
    };
    let (repeated, days) = (key(&repeat), Duration::from_hours(100));
    tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            let seen = request.questions.iter().filter(|question| question.key == repeated);
            let answers: Vec<_> = seen
                .map(|question| SeenAnswer {
                    key: question.key,
                    accepted_at: slipstream_core::timestamp::Timestamp::from_millis(
                        question.accepted_at.as_millis() - days.as_millis() as i64,
                    ),
                    content_hash: Some(1),
                })
                .collect();
            request.answer(&answers).await;
        }
    });
    world.publish(&repeat).await;
    world.publish(&fresh).await;
    let received = world.receiver.wait_for(1, LIMIT).await;
    assert_eq!(received[0].json()["id"], fresh.text("id"));
    let routed = world.routed(1).await;
    assert_eq!((routed.len(), routed[0].key), (1, key(&fresh)));
    assert_eq!((routed[0].sequence, routed[0].content_hash.is_some()), (Some(2), true));
    world.stop().await;
    assert_eq!(world.receiver.count(), 1);
}

#[tokio::test]
async fn a_replay_is_a_delivery_of_its_own_under_the_webhook_id_of_the_first() {
    let mut world = World::new(quick_retries()).await;
    world.receiver.script(|_, nth| if nth == 0 { Reply::status(404) } else { Reply::ok() });
    world.publish(&event()).await;
    let failed = world.only_delivery().await.remove(0);
    let first = world.receiver.wait_for(1, LIMIT).await.remove(0);
    let subscription = world.subscription().id;
    let replay = ReplayId(uuid::Uuid::from_u128(5));
    let meta = Meta { replay: Some(replay), ..Meta::new(SITE.parse().unwrap(), failed.accepted_at) };
    let message = Outgoing::new(subject::delivery(Lane::Normal, subscription, &failed.key), first.body.clone());
    world.bus.publisher(StreamName::Work).publish(message.meta(&meta)).await.unwrap();
    let second = world.receiver.wait_for(2, LIMIT).await.remove(1);
    assert_eq!(second.header("webhook-id"), first.header("webhook-id"));
    let ended = world.ended(2).await;
    let id = DeliveryId::derive_replay(failed.accepted_at, subscription, &failed.key, replay);
    assert_eq!((ended[&id].state, ended[&id].replay), (DeliveryState::Succeeded, Some(replay)));
}

#[tokio::test]
async fn a_receiver_that_has_not_agreed_gets_one_delivery_a_second() {
    let consent = Consent::NotGranted { origin: "slipstream.example".into() };
    let mut world = World::with_subscription(quick_retries(), |subscription| subscription.consent = consent).await;
    for _ in 0..4 {
        world.publish(&event()).await;
    }
    let received = world.receiver.wait_for(4, LIMIT).await;
    let took = received[3].at - received[0].at;
    assert!(took >= Duration::from_millis(2700), "four deliveries within {took:?}");
    assert!(received.iter().all(|request| request.header("webhook-request-origin").is_empty()));
    world.recorded_until("why one waits", |world| world.reasons().contains(&Reason::RateLimited)).await;
}

#[tokio::test]
async fn a_receiver_that_has_agreed_is_called_by_the_origin_it_agreed_to() {
    let consent = Consent::Granted { origin: "slipstream.example".into(), rate_per_minute: None };
    let world = World::with_subscription(quick_retries(), |subscription| subscription.consent = consent).await;
    world.publish(&event()).await;
    let received = world.receiver.wait_for(1, LIMIT).await;
    assert_eq!(received[0].header("webhook-request-origin"), "slipstream.example");
}

#[tokio::test]
async fn without_the_consent_that_is_required_nothing_is_sent() {
    let mut world = World::with_subscription(quick_retries(), |it| it.state = EndpointState::Pending).await;
    world.publish(&event()).await;
    let outcomes = world.only_delivery().await;
    assert_eq!((outcomes[0].state, outcomes[0].reason), (DeliveryState::Cancelled, Some(Reason::ConsentPending)));
    assert_eq!(world.receiver.count(), 0);
}

#[tokio::test]
async fn an_endpoint_that_fails_again_and_again_is_reported_left_alone_and_reported_well_again() {
    let schedule = vec![0; 10].try_into().unwrap();
    let mut world = World::new(DeliveryConfig { retry_schedule_ms: schedule, ..DeliveryConfig::default() }).await;
    world.receiver.script(|_, nth| Reply::status(if nth < 10 { 500 } else { 200 }));
    world.publish(&event()).await;
    world.recorded_until("that it is degraded", |world| !world.changes().is_empty()).await;
    let [EndpointChanged { change: EndpointChange::Degraded(since), .. }] = world.changes()[..] else {
        panic!("{:?}", world.changes());
    };
    // As the registry would.
    let mut degraded = world.subscription().clone();
    (degraded.health, degraded.revision) = (Health::Degraded(since), 2);
    put(&world.bucket, &degraded).await;
    world.ended(1).await; // ten attempts, exhausted
    world.publish(&event()).await;
    world.recorded_until("that it is left alone", |world| world.reasons().contains(&Reason::BreakerOpen)).await;
    assert_eq!(world.receiver.count(), 10);
    world.receiver.wait_for(11, LIMIT).await;
    world.recorded_until("that it recovered", |world| world.changes().len() == 2).await;
    assert_eq!(world.changes()[1].change, EndpointChange::Recovered);
}

#[tokio::test]
async fn dead_hosts_leave_the_others_their_places() {
    // All places together are less than what the dead ones would take.
    let delivery = DeliveryConfig { attempts_in_flight_max: 8, ..quick_retries() };
    let world = World::new(delivery).await;
    world.publish(&event()).await;
    world.receiver.wait_for(1, LIMIT).await; // it has proven that it answers
    let mut dead = Vec::new();
    for number in 2..8 {
        let receiver = slipstream_test_support::receiver::Receiver::start_on([127, 0, 0, number]).await;
        receiver.script(|_, _| Reply::hang());
        put(&world.bucket, &subscription(&receiver, "/dead")).await;
        dead.push(receiver);
    }
    tokio::time::sleep(Duration::from_secs(1)).await; // until they are in force
    for _ in 0..50 {
        world.publish(&event()).await;
    }
    world.receiver.wait_for_at("/hook", 51, Duration::from_secs(10)).await;
    assert!(dead.iter().map(slipstream_test_support::receiver::Receiver::count).sum::<usize>() <= 6);
    world.ctx.stop.cancel();
}

#[tokio::test]
async fn one_host_never_gets_more_at_once_than_its_bound_whoever_asks() {
    let delivery = DeliveryConfig { attempts_in_flight_per_host: 3, ..quick_retries() };
    let mut world = World::new(delivery).await;
    world.receiver.script(|_, _| Reply { delay: Duration::from_millis(10), ..Reply::ok() });
    for path in ["/b", "/c", "/d"] {
        put(&world.bucket, &subscription(&world.receiver, path)).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await; // until they are in force
    for _ in 0..20 {
        world.publish(&event()).await;
    }
    let ended = world.ended(80).await;
    assert!(ended.values().all(|outcome| outcome.state == DeliveryState::Succeeded));
    assert!(world.receiver.in_flight_max() <= 3, "{} at once", world.receiver.in_flight_max());
    assert_eq!(world.receiver.count(), 80);
}

#[tokio::test]
async fn the_bytes_of_an_event_that_failed_are_kept_and_those_of_one_that_was_taken_are_not() {
    let mut world = World::new(quick_retries()).await;
    world.receiver.script(|_, nth| Reply::status(if nth == 0 { 404 } else { 200 }));
    let (failed, taken) = (event(), event());
    world.publish(&failed).await;
    world.ended(1).await;
    world.publish(&taken).await;
    world.ended(2).await;
    let site = SITE.parse().unwrap();
    let key = |event: &slipstream_test_support::builders::EventBuilder| {
        EventKey::new(&site, event.text("source"), event.text("id"))
    };
    let kept = world.bus.dead_letter(&site, &key(&failed)).await.unwrap().expect("it is kept");
    assert_eq!(kept.payload, world.receiver.received()[0].body);
    assert_eq!((kept.meta.attempt, kept.meta.site), (1, site.clone()));
    assert!(world.bus.dead_letter(&site, &key(&taken)).await.unwrap().is_none());
}

#[tokio::test]
async fn a_new_target_is_not_held_to_what_the_old_one_asked_for() {
    let mut world = World::new(quick_retries()).await;
    world.receiver.script_path("/hook", |_, _| Reply::status(503).header("retry-after", "3600"));
    world.publish(&event()).await;
    world.receiver.wait_for_at("/hook", 1, LIMIT).await;
    world.recorded_until("the 503", |world| !world.states().is_empty()).await;
    let mut moved = world.subscription().clone();
    (moved.uri, moved.revision) = (world.receiver.url("/moved"), 2);
    put(&world.bucket, &moved).await;
    tokio::time::sleep(Duration::from_secs(1)).await; // until it is in force
    world.publish(&event()).await;
    world.receiver.wait_for_at("/moved", 1, Duration::from_secs(5)).await;
}
