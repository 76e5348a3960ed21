//! Who may publish what, and who sees it (SPEC 5.2 "Visibility").

use slipstream_core::matching::SkipReason;
use slipstream_test_support::Receiver;
use slipstream_test_support::builders::event;
use slipstream_tests::{LIMIT, Shape, System};

slipstream_tests::journeys![
    internal_events_reach_no_webhook_and_the_record_says_why,
    work_queue_and_private_events_are_for_internal_publishers_and_reach_no_webhook,
];

async fn internal_events_reach_no_webhook_and_the_record_says_why(shape: Shape) {
    let system = System::start(shape).await;
    let receiver = Receiver::start().await;
    let account = system.external().await;
    account.subscribe(receiver.url("/")).await;
    // Internal is also what an event is that says nothing of it.
    for hidden in [event().with("visibility", 0), event().without("visibility")] {
        account.publish(&hidden).await;
        let explained = system.operator.explained(&account, &hidden, |it| it.state == "routed").await;
        assert_eq!(explained.summary, "Nobody receives the event: none of 1 subscription matched.");
        assert_eq!(explained.not_matched[0].reason, SkipReason::Visibility);
        assert!(explained.not_matched[0].explanation.contains("public events only"), "{explained:?}");
    }
    account.publish(&event()).await;
    receiver.wait_for(1, LIMIT).await;
    assert_eq!(receiver.count(), 1);
}

async fn work_queue_and_private_events_are_for_internal_publishers_and_reach_no_webhook(shape: Shape) {
    let system = System::start(shape).await;
    let receiver = Receiver::start().await;
    let (stranger, ours) = (system.external().await, system.internal().await);
    stranger.subscribe(receiver.url("/")).await;
    let mut hidden = Vec::new();
    for visibility in [2, 3] {
        let event = event().with("visibility", visibility);
        let refused = stranger.try_publish(&event).await;
        assert_eq!((refused.status, refused.problem().as_str()), (400, "visibility-not-allowed"), "{refused}");
        assert_eq!(refused.pointers(), ["#/visibility"]);
        ours.publish(&event).await;
        hidden.push(event);
    }
    // What is published afterwards has arrived and is recorded: so would they be.
    let public = event();
    ours.publish(&public).await;
    receiver.wait_for(1, LIMIT).await;
    system.operator.ended(1).await;
    for event in hidden {
        let explained = system.operator.explain(&ours.site, event.text("source"), event.text("id")).await;
        assert!(explained.is_none(), "{explained:?}");
    }
    assert_eq!(receiver.count(), 1);
    assert_eq!(receiver.received()[0].json()["id"], public.text("id"));
}
