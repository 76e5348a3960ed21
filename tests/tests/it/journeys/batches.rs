//! A batch is all or nothing (SPEC 5.2 "Semantics").

use slipstream_test_support::Receiver;
use slipstream_test_support::builders::{EventBuilder, event};
use slipstream_tests::{LIMIT, Mode, Shape, System};

slipstream_tests::journeys![
    a_batch_with_one_bad_event_stores_nothing,
    the_largest_batch_is_accepted_and_delivered_whole,
];

async fn a_batch_with_one_bad_event_stores_nothing(shape: Shape) {
    let system = System::start(shape).await;
    let receiver = Receiver::start().await;
    let account = system.external().await;
    account.subscribe(receiver.url("/")).await;
    let mut events: Vec<EventBuilder> = (0..10).map(|_| event()).collect();
    let good = std::mem::replace(&mut events[7], event().with("time", "lunchtime"));
    let refused = account.try_publish_batch(&events).await;
    assert_eq!((refused.status, refused.problem().as_str()), (400, "invalid-event"), "{refused}");
    assert_eq!(refused.pointers(), ["#/7/time"]);
    let trace = refused.json()["traceId"].as_str().unwrap_or_default().to_owned();
    assert!(trace.starts_with("00-") && trace.len() == 55, "{refused}");

    // What is published afterwards has arrived and is recorded: so would any of the batch be.
    account.publish(&event()).await;
    receiver.wait_for(1, LIMIT).await;
    assert_eq!(system.operator.ended(1).await.len(), 1);
    for event in &events {
        assert!(system.operator.explain(&account.site, event.text("source"), event.text("id")).await.is_none());
    }
    // Nothing of it was kept, so nothing of it is a repeat.
    events[7] = good;
    account.publish_in(Mode::Batch, &events).await;
    receiver.wait_for(11, LIMIT).await;
    assert_eq!(system.operator.ended(11).await.len(), 11);
    assert_eq!(receiver.count(), 11);
    account.empty_batch().await.expect(204);
}

async fn the_largest_batch_is_accepted_and_delivered_whole(shape: Shape) {
    let system = System::start(shape).await;
    let receiver = Receiver::start().await;
    let account = system.external().await;
    account.subscribe(receiver.url("/")).await;
    let events: Vec<EventBuilder> = (0..1000).map(|_| event()).collect();
    account.publish_in(Mode::Batch, &events).await;
    let received = receiver.wait_for(1000, LIMIT).await;
    let mut ids: Vec<_> = received.iter().map(|it| it.json()["id"].as_str().map(str::to_owned)).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 1000);
    let more: Vec<EventBuilder> = (0..1001).map(|_| event()).collect();
    account.try_publish_batch(&more).await.expect(413);
}
