//! The same event more than once (SPEC 4.7).

use futures::future::join_all;
use serde_json::json;
use slipstream_bus::{Outgoing, StreamName};
use slipstream_core::contract::Meta;
use slipstream_service::clock;
use slipstream_test_support::Receiver;
use slipstream_test_support::builders::event;
use slipstream_tests::{LIMIT, Mode, Shape, System};

slipstream_tests::journeys![
    the_same_source_and_id_published_a_hundred_times_at_once_gives_one_delivery,
    a_repeat_in_another_mode_or_with_other_data_is_no_new_event,
    an_event_that_the_broker_has_forgotten_is_still_no_new_one,
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

/// The broker knows a message's id for two hours; the activity log, which is asked before anybody receives an event,
/// knows the event for a week (DESIGN 3.6).
async fn an_event_that_the_broker_has_forgotten_is_still_no_new_one(shape: Shape) {
    let system = System::start(shape).await;
    let receiver = Receiver::start().await;
    let account = system.external().await;
    account.subscribe(receiver.url("/")).await;
    let same = event();
    account.publish(&same).await;
    system.operator.ended(1).await;

    let bus = system.bus().await;
    let stored = bus.stored_event(1).await.expect("the broker answers").expect("it is kept");
    let other_data =
        String::from_utf8(stored.payload.to_vec()).expect("an event is text").replace("Created", "Printing");
    assert_ne!(other_data.as_bytes(), stored.payload);
    let events = bus.publisher(StreamName::Events);
    for (number, payload) in [stored.payload.clone(), other_data.into()].into_iter().enumerate() {
        let meta = Meta::new(stored.meta.site.clone(), clock::now());
        let repeat = Outgoing::new(stored.subject.clone(), payload).id(&format!("forgotten.{number}")).meta(&meta);
        assert!(!events.publish(repeat).await.expect("the broker takes it").duplicate, "the broker does not know it");
    }
    // What comes after them has arrived and is recorded: so would they be.
    let last = event();
    account.publish(&last).await;
    let recorded = system.operator.ended(2).await;
    assert_eq!(recorded.len(), 2, "{recorded:#?}");
    let ids: Vec<_> = receiver.received().iter().map(|it| it.json()["id"].clone()).collect();
    assert_eq!(ids, [same.text("id"), last.text("id")]);
    let explained = system.operator.explained(&account, &same, |_| true).await;
    assert_eq!(explained.matched.len(), 1, "{explained:?}");
}
