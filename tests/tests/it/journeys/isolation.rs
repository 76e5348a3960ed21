//! Nobody waits for somebody else's receiver (DESIGN 4 "Isolate", SPEC 9.3).

use std::time::Duration;

use slipstream_test_support::builders::{EventBuilder, event};
use slipstream_test_support::{Receiver, Reply};
use slipstream_tests::{LIMIT, Mode, Shape, System};

slipstream_tests::journeys![
    a_two_second_receiver_does_not_slow_another_subscription,
    receivers_that_never_answer_do_not_slow_another_subscription,
];

/// Publishes 200 events, and checks that `/fast` gets all of them within `limit` of the last one's publishing.
async fn check_that_fast_is_done_within(limit: Duration, system: &System, receiver: &Receiver) {
    let publisher = system.external().await;
    let events: Vec<EventBuilder> = (0..200).map(|_| event()).collect();
    for events in events.chunks(20) {
        publisher.publish_in(Mode::Batch, events).await;
    }
    receiver.wait_for_at("/fast", events.len(), limit).await;
}

async fn a_two_second_receiver_does_not_slow_another_subscription(shape: Shape) {
    let system = System::start(shape).await;
    let receiver = Receiver::start().await;
    receiver.script_path("/slow", |_, _| Reply::ok().delay(Duration::from_secs(2)));
    for path in ["/slow", "/fast"] {
        system.external().await.subscribe(receiver.url(path)).await;
    }
    // The slow one, with 8 at once, needs 50 s for them.
    check_that_fast_is_done_within(Duration::from_secs(5), &system, &receiver).await;
    // Now it is known to be slow, and has a backlog. Behind any of it, an event would take 2 s and more.
    let slow = receiver.wait_for_at("/slow", 9, LIMIT).await.len();
    assert!(slow < 100, "no backlog after {slow}");
    let publisher = system.external().await;
    for number in 1..=20 {
        publisher.publish(&event()).await;
        receiver.wait_for_at("/fast", 200 + number, Duration::from_millis(1500)).await;
    }
}

async fn receivers_that_never_answer_do_not_slow_another_subscription(shape: Shape) {
    let system = System::start(shape).await;
    let receiver = Receiver::start().await;
    for number in 0..4 {
        let path = format!("/hangs/{number}");
        receiver.script_path(&path, |_, _| Reply::hang());
        system.external().await.subscribe(receiver.url(&path)).await;
    }
    system.external().await.subscribe(receiver.url("/fast")).await;
    // An attempt at those that hang is given up after 30 s.
    check_that_fast_is_done_within(Duration::from_secs(10), &system, &receiver).await;
}
