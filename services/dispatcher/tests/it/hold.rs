//! `intendeddeliverytime` (SPEC 5.2, N3).

use std::time::Duration;

use slipstream_core::delivery::DeliveryState;
use slipstream_service::clock;
use slipstream_test_support::builders::event;

use crate::world::{LIMIT, World, put, quick_retries, subscription};

#[tokio::test]
async fn an_event_arrives_at_its_intended_time_and_not_before() {
    let mut world = World::new(quick_retries()).await;
    let intended = clock::now().after(Duration::from_millis(1500));
    world.publish(&event().with("intendeddeliverytime", intended.to_string())).await;
    let held = world.routed(1).await;
    assert_eq!((held[0].intended_at, held[0].routed_at), (Some(intended), None));
    let received = world.receiver.wait_for(1, LIMIT).await.remove(0);
    assert!(received.timestamp >= intended, "early by {:?}", intended.since(received.timestamp));
    assert_eq!(world.only_delivery().await[0].state, DeliveryState::Succeeded);
    assert!(world.routed(2).await[1].routed_at.is_some());
}

#[tokio::test]
async fn who_receives_a_held_event_is_decided_when_it_is_due() {
    let mut world = World::new(quick_retries()).await;
    let intended = clock::now().after(Duration::from_millis(1500));
    world.publish(&event().with("intendeddeliverytime", intended.to_string())).await;
    world.routed(1).await;
    put(&world.bucket, &subscription(&world.receiver, "/made-later")).await;
    world.receiver.wait_for_at("/made-later", 1, LIMIT).await;
    world.receiver.wait_for_at("/hook", 1, LIMIT).await;
}

#[tokio::test]
async fn a_held_event_survives_a_killed_bus() {
    let mut world = World::new(quick_retries()).await;
    let intended = clock::now().after(Duration::from_millis(1500));
    world.publish(&event().with("intendeddeliverytime", intended.to_string())).await;
    world.routed(1).await;
    world.restart_bus().await;
    let received = world.receiver.wait_for(1, LIMIT).await.remove(0);
    assert!(received.timestamp >= intended);
}
