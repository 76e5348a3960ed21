//! S3, S4 and S5 where all goes well.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};
use slipstream_bus::{ConsumerName, Outgoing, StreamName, subject};
use slipstream_core::config::{DisabledReason, EndpointState, Surface};
use slipstream_core::contract::{EndpointChange, EndpointChanged};
use slipstream_core::ids::SubscriptionId;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::{Context, Directory, clock};
use slipstream_test_support::eventually;

use crate::harness::{Harness, PATH, next_change};

crate::on_both_databases!(
    a_subscription_is_made_replaced_read_and_removed,
    a_receiver_that_is_gone_disables_the_subscription_until_it_is_put_again,
);

fn body() -> Value {
    json!({
        "Uri": "https://receiver.example/post",
        "Headers": [{"Name": "X-API-KEY", "Value": "s3cr3t"}],
        "EventTypes": ["communications.letter.created", "communications.letter.status_updated"],
        "SomethingNew": {"is": ["ignored"]},
    })
}

async fn a_subscription_is_made_replaced_read_and_removed(service: Harness) {
    let key = service.tenants().await;
    let call = |method: Method, body| service.account(method, PATH, &key, body);
    call(Method::GET, Value::Null).await.expect(404);

    let made = call(Method::PUT, body()).await;
    made.expect(200);
    let mut expected = body();
    expected.as_object_mut().unwrap().remove("SomethingNew");
    assert_eq!(made.body, expected);
    let first = service.subscription_in_bucket().await.unwrap();
    assert_eq!((first.uri.as_str(), first.revision), ("https://receiver.example/post", 1));
    assert!(
        first.signing_keys[0].secret.expose().unwrap().starts_with("whsec_") && first.signing_keys[0].until.is_none()
    );

    let read = call(Method::GET, Value::Null).await;
    read.expect(200);
    let expected = json!({
        "Uri": "https://receiver.example/post",
        "Headers": ["X-API-KEY"],
        "EventTypes": ["communications.letter.created", "communications.letter.status_updated"],
        "Labels": ["state:active"],
    });
    assert_eq!(read.body, expected);
    let same = service.account(Method::GET, &format!("/api/v1{PATH}"), &key, Value::Null).await;
    assert_eq!(same.body, read.body);

    // A repeat keeps what receivers know: the id and the signing key.
    let replaced = call(Method::PUT, json!({"Uri": "https://elsewhere.example/", "Headers": null})).await;
    assert_eq!(replaced.body, json!({"Uri": "https://elsewhere.example/", "Headers": [], "EventTypes": []}));
    let second = service.subscription_in_bucket().await.unwrap();
    assert_eq!((second.id, &second.signing_keys, second.revision), (first.id, &first.signing_keys, 2));

    let mut recorded = service.bus.consume(ConsumerName::ActivityLog).await.unwrap();
    call(Method::DELETE, Value::Null).await.expect(204);
    call(Method::GET, Value::Null).await.expect(404);
    call(Method::DELETE, Value::Null).await.expect(404);
    assert_eq!(service.subscription_in_bucket().await, None);
    let message = next_change(&mut recorded).await;
    assert_eq!(message.subject, subject::endpoint(Surface::Slipstream, first.id));
    let change: EndpointChanged = serde_json::from_slice(&message.payload).unwrap();
    assert_eq!((change.subscription, change.change), (first.id, EndpointChange::Removed));

    // One made anew is another one.
    call(Method::PUT, body()).await.expect(200);
    let third = service.subscription_in_bucket().await.unwrap();
    assert!(third.id != first.id && third.signing_keys != first.signing_keys);
}

async fn a_receiver_that_is_gone_disables_the_subscription_until_it_is_put_again(service: Harness) {
    let key = service.tenants().await;
    service.account(Method::PUT, PATH, &key, body()).await.expect(200);
    let subscription = service.subscription_in_bucket().await.unwrap();

    let unknown = SubscriptionId("00000000-0000-4000-8000-00000000000a".parse().unwrap());
    report_gone(&service, unknown, clock::now(), None).await;
    report_gone(&service, subscription.id, clock::now(), None).await;
    let disabled = EndpointState::Disabled(DisabledReason::Gone);
    let limit = Duration::from_secs(10);
    eventually(limit, async || {
        let seen = service.subscription_in_bucket().await.unwrap();
        if seen.state == disabled { Ok(()) } else { Err(seen.state) }
    })
    .await;
    let labels = service.account(Method::GET, PATH, &key, Value::Null).await.body["Labels"].clone();
    assert_eq!(labels, json!(["state:disabled"]));

    service.account(Method::PUT, PATH, &key, body()).await.expect(200);
    let again = service.subscription_in_bucket().await.unwrap();
    assert_eq!((again.id, again.state), (subscription.id, EndpointState::Active));

    // What was seen before it was put again comes too late; what is seen after it counts. The order in which the
    // two are handled is the order in which they were sent.
    let (minute, now) = (Duration::from_mins(1), clock::now());
    let before = Timestamp::from_millis(now.as_millis() - 60_000);
    report_gone(&service, subscription.id, before, None).await;
    // Seen later, by a dispatcher that had not heard of it yet; seen by one that had, and whose clock is behind.
    report_gone(&service, subscription.id, now.after(minute), Some(again.revision - 1)).await;
    assert_eq!(service.subscription_in_bucket().await.unwrap().state, EndpointState::Active);
    report_gone(&service, subscription.id, before, Some(again.revision)).await;
    eventually(limit, async || service.subscription_in_bucket().await.unwrap().state == disabled).await;
    // Made, disabled, put again, disabled: the late messages changed nothing.
    assert_eq!(service.subscription_in_bucket().await.unwrap().revision, 4);
}

/// Says, as the dispatcher does, that a receiver answered 410.
async fn report_gone(service: &Harness, id: SubscriptionId, at: Timestamp, revision: Option<i64>) {
    let change = EndpointChange::Disabled(DisabledReason::Gone);
    let payload = serde_json::to_vec(&EndpointChanged { subscription: id, at, change, revision }).unwrap();
    let message = Outgoing::new(subject::endpoint(Surface::Slipstream, id), payload.into());
    service.bus.publisher(StreamName::Outcomes).publish(message).await.unwrap();
}

#[tokio::test]
async fn a_change_is_in_force_elsewhere_within_a_second() {
    let service = Harness::on_sqlite().await;
    let key = service.tenants().await;
    let ctx = Context::new();
    let elsewhere = Directory::watch(&service.bus, &ctx).await.unwrap();
    let count = || elsewhere.load().subscriptions().len();
    assert_eq!(count(), 0);

    for (method, wanted) in [(Method::PUT, 1), (Method::DELETE, 0)] {
        let asked = Instant::now();
        let body = if method == Method::PUT { body() } else { Value::Null };
        assert!(service.account(method, PATH, &key, body).await.status.is_success());
        eventually(Duration::from_secs(5), async || count() == wanted).await;
        assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    }
    ctx.drained.cancel();
}

#[tokio::test]
async fn each_account_has_its_own_subscription() {
    let service = Harness::on_sqlite().await;
    let one = service.tenants().await;
    let other = service.new_account(json!({})).await.body["keys"]["secondary"].as_str().unwrap().to_owned();
    service.account(Method::PUT, PATH, &one, body()).await.expect(200);
    service.account(Method::GET, PATH, &other, Value::Null).await.expect(404);
    service.account(Method::DELETE, PATH, &other, Value::Null).await.expect(404);
    service.account(Method::GET, PATH, &one, Value::Null).await.expect(200);
}
