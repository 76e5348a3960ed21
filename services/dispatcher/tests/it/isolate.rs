//! A slow or dead endpoint costs the others nothing (N7).

use std::time::{Duration, Instant};

use slipstream_core::delivery::DeliveryState;
use slipstream_dispatcher::DeliveryConfig;
use slipstream_test_support::builders::event;
use slipstream_test_support::receiver::Reply;

use crate::world::{LIMIT, World, put, quick_retries, subscription};

#[tokio::test]
async fn a_two_second_receiver_does_not_slow_another_subscription() {
    let world = World::new(quick_retries()).await;
    world.receiver.script_path("/hook", |_, _| Reply { delay: Duration::from_secs(2), ..Reply::ok() });
    put(&world.bucket, &subscription(&world.receiver, "/fast")).await;
    tokio::time::sleep(Duration::from_secs(1)).await; // until it is in force
    let start = Instant::now();
    for _ in 0..200 {
        world.publish(&event()).await;
    }
    let published = start.elapsed();
    let fast = world.receiver.wait_for_at("/fast", 200, LIMIT).await;
    let last = fast.iter().map(|received| received.at).max().unwrap() - start;
    // Two hundred at the slow one take 50 s; the fast one has them when they are published, and a little.
    assert!(last < published + Duration::from_secs(2), "the fast one waited {last:?}, published in {published:?}");
    world.ctx.stop.cancel();
}

#[tokio::test]
async fn above_its_bound_an_endpoint_gets_no_more_at_once() {
    let bound = 3;
    let delivery = DeliveryConfig { attempts_in_flight_per_subscription: bound, ..quick_retries() };
    let mut world = World::new(delivery).await;
    world.receiver.script(|_, _| Reply { delay: Duration::from_millis(30), ..Reply::ok() });
    for _ in 0..40 {
        world.publish(&event()).await;
    }
    let ended = world.ended(40).await;
    assert!(ended.values().all(|outcome| outcome.state == DeliveryState::Succeeded));
    assert!(world.receiver.in_flight_max() <= bound, "{} at once", world.receiver.in_flight_max());
}

#[tokio::test]
async fn an_endpoint_that_asked_for_less_is_left_alone() {
    let mut world = World::new(quick_retries()).await;
    world.receiver.script(|_, nth| if nth == 0 { Reply::status(503).header("retry-after", "2") } else { Reply::ok() });
    world.publish(&event()).await;
    let first = world.receiver.wait_for(1, LIMIT).await[0].at;
    world.recorded_until("the 503", |world| !world.states().is_empty()).await;
    for _ in 0..5 {
        world.publish(&event()).await;
    }
    let received = world.receiver.wait_for(6, LIMIT).await;
    let second = received[1].at - first;
    assert!(second >= Duration::from_secs(2), "another delivery came after {second:?}");
    world.ended(6).await;
}
