//! The activity log dies, and records each attempt once all the same.

use std::time::Duration;

use slipstream_core::delivery::DeliveryState;
use slipstream_test_support::builders::{EventBuilder, event};
use slipstream_test_support::{Receiver, Reply};
use slipstream_tests::api::Delivery;
use slipstream_tests::{LIMIT, Mode, Service, System};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_of_the_activity_log_in_the_middle_record_each_attempt_once() {
    let mut system = System::four_processes().await;
    let receiver = Receiver::start().await;
    // Every other delivery is refused once, and all are taken in the end. Not all of them: ten failures in a row would
    // open the endpoint's breaker.
    let seen = std::sync::Mutex::new(std::collections::HashSet::new());
    receiver.script(move |request, _| {
        let mut seen = seen.lock().expect("nobody panics here");
        let is_first = seen.insert(request.header("webhook-id").to_owned());
        let reply = if is_first && seen.len() % 2 == 1 { Reply::status(500) } else { Reply::ok() };
        reply.delay(Duration::from_millis(5))
    });
    let account = system.external().await;
    account.subscribe(receiver.url("/")).await;
    let events: Vec<EventBuilder> = (0..300).map(|_| event()).collect();
    for (index, events) in events.chunks(50).enumerate() {
        account.publish_in(Mode::Batch, events).await;
        let expected = 75 * index;
        receiver.wait_for(expected + 20, LIMIT).await;
        if index % 2 == 0 {
            system.kill9(Service::ActivityLog);
        } else {
            system.terminate(Service::ActivityLog).await;
        }
        receiver.wait_for(expected + 55, LIMIT).await;
        system.restart(Service::ActivityLog).await;
        receiver.wait_for(expected + 75, LIMIT).await;
    }
    // What the dead ones had in hand comes again after a lease, which `Settings` makes short.
    let is_whole = |it: &Delivery| it.state == DeliveryState::Succeeded && it.event_id.is_some();
    let recorded = system.operator.recorded_within(LIMIT, 300, is_whole).await;
    assert_eq!(recorded.len(), 300);
    let mut refused_once = 0;
    for delivery in recorded {
        let attempts = system.operator.delivery(&delivery.id).await.attempts;
        let told: Vec<_> = attempts.iter().map(|it| (it.number, it.status)).collect();
        match told[..] {
            [(1, Some(200))] => {}
            [(1, Some(500)), (2, Some(200))] => refused_once += 1,
            _ => panic!("{told:?}"),
        }
    }
    assert_eq!((refused_once, receiver.count()), (150, 450));
}
