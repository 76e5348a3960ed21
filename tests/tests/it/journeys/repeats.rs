//! The same event more than once (SPEC 4.7).

use futures::future::join_all;
use serde_json::json;
use slipstream_test_support::Receiver;
use slipstream_test_support::builders::event;
use slipstream_tests::{LIMIT, Mode, Shape, System};

slipstream_tests::journeys![
    the_same_source_and_id_published_a_hundred_times_at_once_gives_one_delivery,
    a_repeat_in_another_mode_or_with_other_data_is_no_new_event,
];

async fn the_same_source_and_id_published_a_hundred_times_at_once_gives_one_delivery(shape: Shape) {
    let system = System::start(shape).await;
    let receiver = Receiver::start().await;
    let (first, second) = (system.external().await, system.external().await);
    first.subscribe(receiver.url("/first")).await;
    second.subscribe(receiver.url("/second")).await;
    let same = event();
    let answers = join_all((0..100).map(|_| first.try_publish(&same))).await;
    for answer in answers {
        answer.expect(204);
    }
    // What comes after them has arrived and is recorded: so would a second one be.
    let last = event();
    first.publish(&last).await;
    let recorded = system.operator.ended(4).await;
    assert_eq!(recorded.len(), 4, "{recorded:#?}");
    for path in ["/first", "/second"] {
        let ids: Vec<_> = receiver.received_at(path).iter().map(|it| it.json()["id"].clone()).collect();
        assert_eq!(ids, [same.text("id"), last.text("id")], "{path}");
    }
}

async fn a_repeat_in_another_mode_or_with_other_data_is_no_new_event(shape: Shape) {
    let system = System::start(shape).await;
    let receiver = Receiver::start().await;
    let account = system.external().await;
    account.subscribe(receiver.url("/")).await;
    let same = event();
    account.publish(&same).await;
    receiver.wait_for(1, LIMIT).await;
    account.publish_in(Mode::Binary, std::slice::from_ref(&same)).await;
    account.publish_in(Mode::Batch, &[same.clone(), same.clone()]).await;
    account.publish(&same.clone().with("data", json!({ "recordId": "another" }))).await;
    // The same id of another source, and the same event at another site, are others.
    let other_source = same.clone().with("source", "https://post.example/parcels");
    account.publish(&other_source).await;
    let received = receiver.wait_for(2, LIMIT).await;
    system.operator.ended(2).await;
    assert_eq!(received[1].json()["source"], other_source.text("source"));
    assert_eq!(receiver.count(), 2);
    assert_eq!(received[0].json()["data"], same.json()["data"]);
}
