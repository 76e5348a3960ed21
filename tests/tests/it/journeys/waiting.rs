//! Events with a time (SPEC 5.2 `intendeddeliverytime`, `expirytime`).

use std::time::Duration;

use slipstream_core::delivery::{DeliveryState, Reason};
use slipstream_service::clock;
use slipstream_test_support::builders::event;
use slipstream_test_support::{Receiver, Reply};
use slipstream_tests::{LIMIT, Shape, System};

slipstream_tests::journeys![
    an_event_intended_for_later_arrives_then_and_not_before,
    an_event_past_its_expirytime_is_recorded_and_never_sent,
    a_retry_that_would_come_after_the_expirytime_is_not_made,
];

async fn an_event_intended_for_later_arrives_then_and_not_before(shape: Shape) {
    let system = System::start(shape).await;
    let receiver = Receiver::start().await;
    let account = system.external().await;
    account.subscribe(receiver.url("/")).await;
    let intended = clock::now().after(Duration::from_secs(2));
    let expiry = intended.after(Duration::from_hours(1));
    let later = event()
        .with("intendeddeliverytime", intended.to_string())
        .with("expirytime", expiry.to_string())
        .with("priority", 2);
    account.publish(&later).await;
    let held = system.operator.explained(&account, &later, |_| true).await;
    assert_eq!((held.state.as_str(), held.matched.len()), ("held", 0), "{held:?}");
    // Who receives it is decided when it is due: this one subscribed after it was accepted.
    let second = system.external().await;
    second.subscribe(receiver.url("/second")).await;

    for request in receiver.wait_for(2, LIMIT).await {
        assert!(request.timestamp >= intended, "{} is before {intended}", request.timestamp);
        let late = request.timestamp.since(intended);
        assert!(late < Duration::from_secs(2), "{late:?} late");
        assert_eq!(request.json()["intendeddeliverytime"], intended.to_string());
    }
    let routed = system.operator.explained(&account, &later, |it| it.matched.len() == 2).await;
    assert_eq!(routed.state, "routed");
    let recorded = system.operator.ended(2).await;
    assert!(recorded.iter().all(|it| it.state == DeliveryState::Succeeded && it.attempt_count == 1), "{recorded:#?}");
    assert_eq!(receiver.count(), 2);
}

async fn an_event_past_its_expirytime_is_recorded_and_never_sent(shape: Shape) {
    let system = System::start(shape).await;
    let receiver = Receiver::start().await;
    let account = system.external().await;
    account.subscribe(receiver.url("/")).await;
    let (expired, fresh) = (event().with("expirytime", "2020-01-01T00:00:00Z"), event());
    account.publish(&expired).await;
    account.publish(&fresh).await;
    let recorded = system.operator.ended(2).await;
    let of = |id: &str| recorded.iter().find(|it| it.event_id.as_deref() == Some(id)).expect("it is recorded");
    let ended = of(expired.text("id"));
    assert_eq!((ended.state, ended.reason), (DeliveryState::Expired, Some(Reason::ExpiryTime)));
    assert_eq!(ended.attempt_count, 0);
    assert_eq!(of(fresh.text("id")).state, DeliveryState::Succeeded);
    assert_eq!(receiver.count(), 1);
}

async fn a_retry_that_would_come_after_the_expirytime_is_not_made(shape: Shape) {
    let system = System::start(shape).await;
    let receiver = Receiver::start().await;
    receiver.script(|_, _| Reply::status(503).header("retry-after", "2"));
    let account = system.external().await;
    account.subscribe(receiver.url("/")).await;
    let soon = clock::now().after(Duration::from_secs(1));
    account.publish(&event().with("expirytime", soon.to_string())).await;
    let recorded = system.operator.ended(1).await.remove(0);
    assert_eq!((recorded.state, recorded.attempt_count), (DeliveryState::Expired, 1));
    assert_eq!(receiver.count(), 1);
}
