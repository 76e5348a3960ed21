//! One delivery from event to outcome (SPEC 4.1–4.3, 5.5).

use std::time::Duration;

use slipstream_core::config::{DisabledReason, EndpointState};
use slipstream_core::contract::EndpointChanged;
use slipstream_core::delivery::{DeliveryState, Reason};
use slipstream_core::matching::SkipReason;
use slipstream_core::signing::{Key, verify};
use slipstream_service::clock;
use slipstream_test_support::builders::{self, event};
use slipstream_test_support::receiver::Reply;

use crate::world::{LIMIT, World, put, quick_retries, subscription};

#[tokio::test]
async fn a_public_letter_event_arrives_signed_with_all_its_attributes() {
    let header = builders::header("X-API-KEY", "s3cr3t");
    let mut world = World::with_subscription(quick_retries(), |subscription| subscription.headers = vec![header]).await;
    let letter = event();
    world.publish(&letter).await;
    let received = world.receiver.wait_for(1, LIMIT).await.remove(0);
    assert_eq!(received.method, "POST");
    assert_eq!(received.header("content-type"), "application/cloudevent+json");
    assert_eq!(received.header("x-api-key"), "s3cr3t");
    assert!(received.header("user-agent").starts_with("Slipstream/"), "{}", received.header("user-agent"));
    let body = received.json();
    let sent = letter.json();
    for name in ["id", "source", "type", "subject", "time", "data", "visibility"] {
        assert_eq!(body[name], sent[name], "{name}");
    }
    assert_eq!(body["siteslug"], "s8n6EzC");
    let key = Key::parse(builders::SIGNING_SECRET).unwrap();
    verify(
        &[key],
        received.header("webhook-id"),
        received.header("webhook-timestamp"),
        received.header("webhook-signature"),
        &received.body,
        clock::now().as_seconds(),
    )
    .unwrap();
    let outcomes = world.only_delivery().await;
    assert_eq!(outcomes.len(), 1);
    assert_eq!(outcomes[0].state, DeliveryState::Succeeded);
    assert_eq!(outcomes[0].delivery.webhook_id(), received.header("webhook-id"));
}

#[tokio::test]
async fn a_503_is_retried_under_the_same_webhook_id_until_it_is_taken() {
    let mut world = World::new(quick_retries()).await;
    world.receiver.script(|_, nth| {
        if nth < 2 { Reply::status(503).header("retry-after", "0").body("busy") } else { Reply::ok() }
    });
    world.publish(&event()).await;
    let received = world.receiver.wait_for(3, LIMIT).await;
    let mut ids: Vec<_> = received.iter().map(|request| request.header("webhook-id").to_owned()).collect();
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert!(received.iter().all(|request| request.body == received[0].body), "N12");
    let outcomes = world.only_delivery().await;
    let numbers: Vec<_> = outcomes.iter().filter_map(|o| o.attempt.as_ref().map(|a| (a.number, a.status))).collect();
    assert_eq!(numbers, [(1, Some(503)), (2, Some(503)), (3, Some(200))]);
    let retries: Vec<_> = outcomes.iter().filter(|o| o.state == DeliveryState::RetryWait).collect();
    assert!(retries.iter().all(|o| o.attempt.is_none() || o.next_attempt_at.is_some()));
}

#[tokio::test]
async fn a_404_is_final() {
    let mut world = World::new(quick_retries()).await;
    world.receiver.script(|_, _| Reply::status(404));
    world.publish(&event()).await;
    let outcomes = world.only_delivery().await;
    assert_eq!((outcomes[0].state, outcomes[0].reason), (DeliveryState::Failed, Some(Reason::FinalAnswer)));
    assert_eq!(world.receiver.count(), 1);
}

#[tokio::test]
async fn retry_after_is_observed() {
    let mut world = World::new(quick_retries()).await;
    world.receiver.script(|_, nth| if nth == 0 { Reply::status(429).header("retry-after", "2") } else { Reply::ok() });
    world.publish(&event()).await;
    let received = world.receiver.wait_for(2, LIMIT).await;
    let gap = received[1].at - received[0].at;
    assert!(gap >= Duration::from_secs(2), "only {gap:?}");
    assert_eq!(world.only_delivery().await.last().unwrap().state, DeliveryState::Succeeded);
}

#[tokio::test]
async fn the_last_failure_exhausts() {
    let mut world = World::new(quick_retries()).await;
    world.receiver.script(|_, _| Reply::status(500));
    world.publish(&event()).await;
    let outcomes = world.only_delivery().await;
    let last = outcomes.last().unwrap();
    assert_eq!((last.state, last.reason), (DeliveryState::Exhausted, Some(Reason::NoAttemptsLeft)));
    assert_eq!(world.receiver.count(), 3);
}

#[tokio::test]
async fn a_410_ends_the_delivery_and_disables_the_endpoint_at_once() {
    let mut world = World::new(quick_retries()).await;
    world.receiver.script(|_, _| Reply::status(410));
    world.publish(&event()).await;
    let outcomes = world.only_delivery().await;
    assert_eq!((outcomes[0].state, outcomes[0].reason), (DeliveryState::Failed, Some(Reason::EndpointGone)));
    let told = world.bus.consume(slipstream_bus::ConsumerName::RegistryEndpoints).await.unwrap().next().await;
    let told: EndpointChanged = serde_json::from_slice(&told.payload).unwrap();
    assert_eq!(
        told.change,
        slipstream_core::contract::EndpointChange::Disabled(slipstream_core::config::DisabledReason::Gone)
    );
    // Before the registry has done anything, the next event makes no attempt.
    world.publish(&event()).await;
    let ended = world.ended(2).await;
    assert!(ended.values().any(|o| o.reason == Some(Reason::EndpointDisabled)), "{ended:?}");
    assert_eq!(world.receiver.count(), 1);
}

#[tokio::test]
async fn an_expired_event_is_recorded_and_never_sent() {
    let mut world = World::new(quick_retries()).await;
    world.publish(&event().with("expirytime", "2020-01-01T00:00:00Z")).await;
    let outcomes = world.only_delivery().await;
    assert_eq!((outcomes[0].state, outcomes[0].reason), (DeliveryState::Expired, Some(Reason::ExpiryTime)));
    assert_eq!(world.receiver.count(), 0);
}

#[tokio::test]
async fn a_retry_that_would_come_after_expiry_ends_as_expired() {
    let mut world = World::new(quick_retries()).await;
    world.receiver.script(|_, _| Reply::status(500));
    let soon = clock::now().after(Duration::from_millis(600));
    world.receiver.script(|_, _| Reply::status(503).header("retry-after", "1"));
    world.publish(&event().with("expirytime", soon.to_string())).await;
    let outcomes = world.only_delivery().await;
    assert_eq!(outcomes.last().unwrap().state, DeliveryState::Expired);
    assert_eq!(world.receiver.count(), 1, "N4");
}

#[tokio::test]
async fn what_does_not_match_is_explained_and_not_sent() {
    let only = "communications.letter.created";
    let mut world =
        World::with_subscription(quick_retries(), |subscription| subscription.event_types = vec![only.into()]).await;
    world.publish(&event().with("visibility", 0)).await;
    world.publish(&event().kind("Slipstream.UrlShortener.UrlCreated")).await;
    world.publish(&event().kind("communications.letter.status_updated")).await;
    let routed = world.routed(3).await;
    let mut reasons: Vec<_> = routed.iter().flat_map(|event| &event.skipped).map(|skipped| skipped.reason).collect();
    reasons.sort_by_key(|reason| reason.as_str());
    let expected = [SkipReason::TypeNotInFeature, SkipReason::TypeNotSubscribed, SkipReason::Visibility];
    assert_eq!(reasons, expected);
    assert!(routed.iter().all(|event| event.matched.is_empty()));
    assert_eq!(world.receiver.count(), 0);
}

#[tokio::test]
async fn a_disabled_subscription_gets_nothing_and_the_record_says_so() {
    let mut world = World::with_subscription(quick_retries(), |subscription| {
        subscription.state = EndpointState::Disabled(DisabledReason::Operator);
    })
    .await;
    world.publish(&event()).await;
    let outcomes = world.only_delivery().await;
    assert_eq!((outcomes[0].state, outcomes[0].reason), (DeliveryState::Cancelled, Some(Reason::EndpointDisabled)));
    assert_eq!(world.receiver.count(), 0);
}

#[tokio::test]
async fn a_new_subscription_is_in_force_within_a_second() {
    let world = World::new(quick_retries()).await;
    let second = subscription(&world.receiver, "/second");
    put(&world.bucket, &second).await;
    tokio::time::sleep(Duration::from_secs(1)).await; // the promise under test is this second
    world.publish(&event()).await;
    world.receiver.wait_for_at("/second", 1, LIMIT).await;
}

#[tokio::test]
async fn a_retry_of_a_removed_subscription_is_cancelled_when_it_is_due() {
    let mut world = World::with_subscription(quick_retries(), |_| {}).await;
    world.receiver.script(|_, _| Reply::status(503).header("retry-after", "1"));
    world.publish(&event()).await;
    world.recorded_until("the retry waits", |world| !world.states().is_empty()).await;
    let keys = world.bucket.keys().await.unwrap();
    let key = keys.iter().find(|key| key.starts_with("subscription.")).unwrap();
    world.bucket.delete(key).await.unwrap();
    let last = world.only_delivery().await.pop().unwrap();
    assert_eq!((last.state, last.reason), (DeliveryState::Cancelled, Some(Reason::SubscriptionRemoved)));
    assert_eq!(world.receiver.count(), 1);
}

#[tokio::test]
async fn an_answer_that_asks_for_less_stands_though_another_delivery_is_taken_meanwhile() {
    let mut world = World::new(quick_retries()).await;
    // The first two are under way together: one is refused at once, the other is taken a little later.
    world.receiver.script(|_, nth| match nth {
        0 => Reply { delay: Duration::from_millis(300), ..Reply::ok() },
        1 => Reply::status(429).header("retry-after", "3"),
        _ => Reply::ok(),
    });
    world.publish(&event()).await;
    world.publish(&event()).await;
    world.recorded_until("both answered", |world| world.states().len() >= 2).await;
    world.publish(&event()).await;
    let received = world.receiver.wait_for(3, LIMIT).await;
    let gap = received[2].at - received[1].at;
    assert!(gap >= Duration::from_secs(3), "another delivery after {gap:?}");
}

#[tokio::test]
async fn routing_an_event_twice_sends_it_once() {
    let mut world = World::new(quick_retries()).await;
    let letter = event();
    for _ in 0..5 {
        world.publish(&letter).await;
    }
    world.only_delivery().await;
    world.publish(&event()).await;
    world.ended(2).await;
    assert_eq!(world.receiver.count(), 2);
}

#[tokio::test]
async fn a_stopped_dispatcher_leaves_the_rest_to_another() {
    let mut world = World::new(quick_retries()).await;
    let other = world.another_dispatcher().await;
    world.receiver.script(|_, _| Reply { delay: Duration::from_millis(5), ..Reply::ok() });
    for n in 0..300 {
        world.publish(&event()).await;
        if n == 150 {
            world.ctx.stop.cancel();
        }
    }
    world.stop().await;
    let ended = world.ended(300).await;
    assert!(ended.values().all(|outcome| outcome.state == DeliveryState::Succeeded));
    assert_eq!(world.receiver.count(), 300, "a clean stop doubles nothing");
    other.stop.cancel();
}

#[tokio::test]
async fn deliveries_go_on_after_the_bus_was_killed() {
    let mut world = World::new(quick_retries()).await;
    for _ in 0..50 {
        world.publish(&event()).await;
    }
    world.restart_bus().await;
    for _ in 0..50 {
        world.publish(&event()).await;
    }
    let ended = world.ended(100).await;
    assert!(ended.values().all(|outcome| outcome.state == DeliveryState::Succeeded));
}
