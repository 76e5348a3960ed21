//! The database dies: nobody needs it for accepting and delivering (DESIGN 5).

use std::time::{Duration, Instant};

use serde_json::json;
use slipstream_core::delivery::DeliveryState;
use slipstream_test_support::builders::{EventBuilder, event};
use slipstream_test_support::{Receiver, eventually};
use slipstream_tests::{LIMIT, Mode, Service, System};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_outage_does_not_stop_accepting_and_delivering_and_the_log_catches_up() {
    let mut system = System::four_processes().await;
    let receiver = Receiver::start().await;
    let account = system.external().await;
    account.subscribe(receiver.url("/")).await;
    account.publish(&event()).await;
    system.operator.ended(1).await;

    system.cut_database().await;
    let events: Vec<EventBuilder> = (0..100).map(|_| event()).collect();
    account.publish_in(Mode::Batch, &events[..50]).await;
    account.publish_in(Mode::Structured, &events[50..]).await;
    receiver.wait_for(101, LIMIT).await;
    // Who needs the database says so, soon; who does not stays ready.
    let asked = Instant::now();
    system.operator.ask_deliveries().await.expect(503);
    let answered = Instant::now();
    account.put_webhook(json!({ "Uri": receiver.url("/other") })).await.expect(503);
    for took in [answered - asked, answered.elapsed()] {
        assert!(took < Duration::from_secs(7), "{took:?}");
    }
    let (ingest, activity_log) = (system.bases().operator.ingest, system.bases().operator.activity_log);
    eventually(LIMIT, async || account.status_of(activity_log, "/readyz").await == 503).await;
    assert_eq!(account.status_of(ingest, "/readyz").await, 200);

    system.mend_database().await;
    let recorded = system.operator.ended(101).await;
    assert_eq!(recorded.len(), 101);
    for delivery in recorded {
        assert_eq!((delivery.state, delivery.attempt_count), (DeliveryState::Succeeded, 1));
    }
    eventually(LIMIT, async || account.status_of(activity_log, "/readyz").await == 200).await;
    account.subscribe(receiver.url("/other")).await;
    assert_eq!(receiver.count(), 101);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_registry_and_activity_log_dead_events_are_still_accepted_and_delivered() {
    let mut system = System::four_processes().await;
    let receiver = Receiver::start().await;
    let account = system.external().await;
    account.subscribe(receiver.url("/")).await;
    account.publish(&event()).await;
    receiver.wait_for(1, LIMIT).await;
    system.kill9(Service::Registry);
    system.kill9(Service::ActivityLog);
    for _ in 0..20 {
        account.publish(&event()).await;
    }
    receiver.wait_for(21, LIMIT).await;
    // Whoever starts now finds the configuration on the bus.
    system.kill9(Service::Ingest);
    system.restart(Service::Ingest).await;
    system.restart(Service::Dispatcher).await;
    account.publish(&event()).await;
    receiver.wait_for(22, LIMIT).await;
}
