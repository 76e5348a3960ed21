//! Endpoints that fail, and what is told of them (SPEC 4.4; issue 3, "Health").

use std::time::Duration;

use serde_json::{Value, json};
use slipstream_core::delivery::{DeliveryState, Reason};
use slipstream_core::lane::Visibility;
use slipstream_test_support::builders::{SITE, event};
use slipstream_test_support::{Receiver, Reply, eventually};
use slipstream_tests::{Account, LIMIT, Settings, Shape, System};

slipstream_tests::journeys![
    an_endpoint_that_keeps_failing_is_degraded_and_recovers_and_anybody_can_hear_of_it,
    a_410_disables_the_endpoint_and_anybody_can_hear_of_it,
    an_endpoint_that_did_nothing_but_fail_for_long_enough_is_disabled,
];

const DISABLED: &str = "slipstream.endpoint.disabled";
const RECOVERED: &str = "slipstream.endpoint.recovered";
const EXHAUSTED: &str = "slipstream.delivery.exhausted";

/// Waits until our own events on the bus have these types, and gives them, in the order of their types: who tells of
/// what first is nobody's promise.
#[track_caller]
fn told(system: &System, types: &[&str]) -> impl Future<Output = Vec<Value>> {
    let types: Vec<_> = types.iter().map(|&kind| kind.to_owned()).collect();
    eventually(LIMIT, move || {
        let types = types.clone();
        async move {
            let stored = system.stored_events("slipstream.").await;
            let mut events: Vec<Value> =
                stored.iter().map(|it| serde_json::from_slice(&it.payload).expect("an event is JSON")).collect();
            events.sort_by_key(|it| it["type"].to_string());
            let kinds: Vec<_> = events.iter().map(|it| it["type"].as_str().unwrap_or_default()).collect();
            if kinds == types { Ok(events) } else { Err(format!("{kinds:?}")) }
        }
    })
}

/// Waits until an endpoint's member has this value.
#[track_caller]
fn endpoint_has(
    system: &System,
    endpoint: &str,
    member: &'static str,
    value: &'static str,
) -> impl Future<Output = Value> {
    eventually(LIMIT, move || async move {
        let view = system.operator.endpoint(endpoint).await;
        if view[member] == value { Ok(view) } else { Err(view) }
    })
}

async fn subscribed(system: &System, receiver: &Receiver) -> (Account, String) {
    let account = system.external().await;
    account.subscribe(receiver.url("/")).await;
    let endpoint = system.operator.endpoint_of(&account).await;
    (account, endpoint)
}

/// Ten attempts at once, more or less: ten failures in a row open the breaker, five degrade.
fn ten_attempts() -> Settings {
    Settings { retry_schedule_ms: vec![0, 20, 20, 20, 20, 20, 20, 20, 20, 20], ..Settings::default() }
}

async fn an_endpoint_that_keeps_failing_is_degraded_and_recovers_and_anybody_can_hear_of_it(shape: Shape) {
    let system = System::with(shape, ten_attempts()).await;
    let receiver = Receiver::start().await;
    receiver.script(|_, nth| if nth < 10 { Reply::status(500) } else { Reply::ok() });
    let (account, endpoint) = subscribed(&system, &receiver).await;
    assert_eq!(system.operator.endpoint(&endpoint).await["health"], "healthy");
    account.publish(&event()).await;
    let view = endpoint_has(&system, &endpoint, "health", "degraded").await;
    assert_eq!(view["state"], "active");
    assert!(view["degradedSince"].is_string(), "{view}");
    let exhausted = system.operator.ended(1).await.remove(0);
    assert_eq!((exhausted.state, exhausted.attempt_count), (DeliveryState::Exhausted, 10));
    let events = told(&system, &[EXHAUSTED]).await;
    assert_eq!((&events[0]["subject"], &events[0]["siteslug"]), (&json!(exhausted.id), &json!(SITE)));
    assert_eq!(events[0]["data"]["subscription"], endpoint.as_str());

    // The breaker is open: this one waits for its probe, without an attempt of its own being used up.
    account.publish(&event()).await;
    let waiting = |it: &slipstream_tests::api::Delivery| it.reason == Some(Reason::BreakerOpen);
    system.operator.recorded(1, waiting).await;
    let received = receiver.wait_for(11, LIMIT).await;
    let pause = received[10].at - received[9].at;
    assert!(pause > Duration::from_secs(4), "probed after {pause:?}");
    endpoint_has(&system, &endpoint, "health", "healthy").await;
    let recovered = told(&system, &[EXHAUSTED, RECOVERED]).await.remove(1);
    assert_eq!((&recovered["subject"], &recovered["source"]), (&json!(endpoint), &json!("/slipstream")));
    // They are internal: on the bus for anything of ours, and for no webhook.
    let stored = system.stored_events("slipstream.").await;
    for event in stored {
        let subject = slipstream_bus::subject::parse_event(&event.subject).expect("it is an event that is due");
        assert_eq!((subject.0, subject.2.as_str()), (Visibility::Internal, SITE));
    }
    let ended = system.operator.ended(2).await;
    assert_eq!((ended.len(), receiver.count()), (2, 11));
}

async fn a_410_disables_the_endpoint_and_anybody_can_hear_of_it(shape: Shape) {
    let system = System::start(shape).await;
    let receiver = Receiver::start().await;
    receiver.script(|_, _| Reply::status(410));
    let (account, endpoint) = subscribed(&system, &receiver).await;
    account.publish(&event()).await;
    let view = endpoint_has(&system, &endpoint, "state", "disabled").await;
    assert_eq!(view["disabledReason"], "gone");
    let events = told(&system, &[DISABLED]).await;
    assert_eq!(events[0]["subject"], endpoint.as_str());
    assert_eq!(events[0]["data"]["reason"], "gone");
    // To put it again is to enable it again, and is told as well.
    account.subscribe(receiver.url("/")).await;
    assert_eq!(account.webhook_labels().await, ["state:active"]);
    told(&system, &[DISABLED, RECOVERED]).await;
}

async fn an_endpoint_that_did_nothing_but_fail_for_long_enough_is_disabled(shape: Shape) {
    let after = Duration::from_millis(500);
    let system = System::with(shape, Settings { disabled_after: (after, 10), ..ten_attempts() }).await;
    let (failing, refusing) = (Receiver::start_on([127, 0, 0, 2]).await, Receiver::start_on([127, 0, 0, 3]).await);
    failing.script(|_, _| Reply::status(500));
    refusing.script(|_, _| Reply::status(404));
    let (created, updated) = ("communications.letter.created", "communications.letter.status_updated");
    let (account, other) = (system.external().await, system.external().await);
    for (account, receiver, kind) in [(&account, &failing, created), (&other, &refusing, updated)] {
        account.put_webhook(json!({ "Uri": receiver.url("/"), "EventTypes": [kind] })).await.expect(200);
    }
    let (endpoint, other) = (system.operator.endpoint_of(&account).await, system.operator.endpoint_of(&other).await);
    // Enough to be degraded, and too few to be judged by.
    for _ in 0..6 {
        account.publish(&event().kind(updated)).await;
    }
    let degraded = endpoint_has(&system, &other, "health", "degraded").await;
    account.publish(&event()).await;
    let view = endpoint_has(&system, &endpoint, "state", "disabled").await;
    assert_eq!(view["disabledReason"], "failing");
    let events = told(&system, &[EXHAUSTED, DISABLED]).await;
    assert_eq!((&events[1]["subject"], &events[1]["data"]["reason"]), (&json!(endpoint), &json!("failing")));
    let view = system.operator.endpoint(&other).await;
    assert_eq!((&view["state"], &view["degradedSince"]), (&json!("active"), &degraded["degradedSince"]));

    system.operator.enable(&endpoint).await;
    failing.script(|_, _| Reply::ok());
    let before = failing.count();
    eventually(LIMIT, async || {
        account.publish(&event()).await;
        failing.count() > before
    })
    .await;
    let view = endpoint_has(&system, &endpoint, "health", "healthy").await;
    assert_eq!(view["state"], "active");
}
