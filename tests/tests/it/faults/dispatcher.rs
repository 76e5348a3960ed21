//! The dispatcher dies or is told to stop.

use std::time::Duration;

use slipstream_core::delivery::DeliveryState;
use slipstream_test_support::builders::{EventBuilder, event};
use slipstream_test_support::{Receiver, Reply, eventually};
use slipstream_tests::{LIMIT, Mode, Service, Settings, Shape, System};

use super::load::{check_all_arrived, webhook_ids};

/// A system with 500 events published, of which the receiver has 150 or more. It takes 20 ms for each delivery: at most
/// 8 at once, so 500 take more than a second.
async fn in_the_middle_of_500() -> (System, Receiver, Vec<EventBuilder>) {
    // What the dead one held comes again after its lease.
    let settings = Settings { delivery_lease: Duration::from_secs(3), ..Settings::default() };
    let system = System::with(Shape::FourProcesses, settings).await;
    let receiver = Receiver::start().await;
    receiver.script(|_, _| Reply::ok().delay(Duration::from_millis(20)));
    let account = system.external().await;
    account.subscribe(receiver.url("/")).await;
    let events: Vec<EventBuilder> = (0..500).map(|_| event()).collect();
    for events in events.chunks(100) {
        account.publish_in(Mode::Batch, events).await;
    }
    receiver.wait_for(150, LIMIT).await;
    (system, receiver, events)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_of_the_dispatcher_in_the_middle_of_500_deliveries_loses_none_and_keeps_every_webhook_id() {
    let (mut system, receiver, events) = in_the_middle_of_500().await;
    system.kill9(Service::Dispatcher);
    let at_kill = receiver.count();
    assert!(at_kill < 500, "killed too late: all {at_kill} had been sent");
    system.restart(Service::Dispatcher).await;

    let ids: Vec<_> = events.iter().map(|event| event.text("id").to_owned()).collect();
    eventually(LIMIT, async || {
        let arrived = webhook_ids(&receiver.received()).len();
        if arrived == 500 { Ok(()) } else { Err(arrived) }
    })
    .await;
    let recorded = system.operator.ended(500).await;
    check_all_arrived(&receiver, &ids);
    assert_eq!(recorded.len(), 500);
    let by_event = webhook_ids(&receiver.received());
    for delivery in recorded {
        assert_eq!(delivery.state, DeliveryState::Succeeded);
        let event = delivery.event_id.as_deref().expect("the event is recorded");
        assert_eq!(by_event[event][0], delivery.webhook_id);
    }
    // What was under way at the kill may come twice: at least once is what is promised, and one id for both.
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dispatcher_told_to_stop_in_the_middle_of_500_deliveries_loses_none_and_doubles_none() {
    let (mut system, receiver, _) = in_the_middle_of_500().await;
    system.terminate(Service::Dispatcher).await;
    let at_stop = receiver.count();
    assert!(at_stop < 500, "stopped too late: all {at_stop} had been sent");
    system.restart(Service::Dispatcher).await;
    let recorded = system.operator.ended(500).await;
    assert!(recorded.iter().all(|it| it.state == DeliveryState::Succeeded && it.attempt_count == 1));
    assert_eq!(receiver.count(), 500);
}
