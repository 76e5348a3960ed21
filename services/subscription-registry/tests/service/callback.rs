//! Receivers that were asked and grant later, by callback (SPEC 3.7).

use std::time::Duration;

use axum::body::Body;
use http::{Method, Request, header};
use serde_json::{Value, json};
use slipstream_core::config::{Consent, EndpointState, KeyHash, Subscription};
use slipstream_core::timestamp::Timestamp;
use slipstream_service::clock;
use slipstream_store::handshakes::{self, Handshake};
use slipstream_subscription_registry::HandshakePolicy;
use slipstream_test_support::{Received, Receiver, Reply, eventually};

use crate::consent::settings;
use crate::harness::{Answer, Harness, PATH};

crate::on_both_databases!(
    a_key_grants_once,
    a_key_is_for_the_uri_it_was_sent_to,
    a_key_of_one_subscription_grants_nothing_to_another,
);

/// The path of the callback that a receiver was asked with.
pub(crate) fn path_of(asked: &Received) -> String {
    let url = asked.header("webhook-request-callback");
    url.strip_prefix("https://hooks.slipstream.example").unwrap_or_else(|| panic!("{url:?}")).to_owned()
}

pub(crate) async fn put(service: &Harness, key: &str, uri: &str) -> Answer {
    service.account(Method::PUT, PATH, key, json!({ "Uri": uri })).await
}

/// A receiver that does not agree when it is asked.
pub(crate) async fn hesitant() -> Receiver {
    let receiver = Receiver::start().await;
    receiver.consent_by(|_| Reply::ok());
    receiver
}

/// Calls back, as a stranger without any credential.
pub(crate) async fn call(service: &Harness, method: Method, path: &str, rates: &[&str]) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for rate in rates {
        request = request.header("WebHook-Allowed-Rate", *rate);
    }
    service.send(request.body(Body::empty()).unwrap()).await
}

async fn subscription(service: &Harness) -> Subscription {
    service.subscription_in_bucket().await.unwrap()
}

async fn a_key_grants_once(service: Harness) {
    let service = service.with(settings(HandshakePolicy::Required)).await;
    let key = service.tenants().await;
    let receiver = hesitant().await;
    put(&service, &key, &receiver.url("/post")).await.expect(424);
    let path = path_of(&receiver.consents()[0]);

    // Nothing that is wrong uses the key up.
    for rates in [&["0"][..], &["-1"], &[""], &["1e3"], &["*", "*"], &["5", "6"], &["many"]] {
        call(&service, Method::GET, &path, rates).await.expect(400);
    }
    for method in [Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS] {
        assert_eq!(call(&service, method.clone(), &path, &[]).await.status, 405, "{method}");
    }
    let made_up = format!("/webhooks/handshakes/{}", "A".repeat(43));
    for path in [made_up.as_str(), "/webhooks/handshakes/short", &format!("{path}A"), &path[..path.len() - 1]] {
        call(&service, Method::GET, path, &[]).await.expect(404);
    }
    assert_eq!(subscription(&service).await.state, EndpointState::Pending);

    let granted = call(&service, Method::POST, &path, &["240"]).await;
    granted.expect(204);
    assert_eq!((&granted.headers[header::CACHE_CONTROL], &granted.body), (&"no-store".parse().unwrap(), &Value::Null));
    let active = subscription(&service).await;
    let consent = Consent::Granted { origin: "hooks.slipstream.example".into(), rate_per_minute: Some(240) };
    assert_eq!((active.state, &active.consent), (EndpointState::Active, &consent));
    for rates in [&[][..], &["*"]] {
        call(&service, Method::POST, &path, rates).await.expect(404);
    }
    assert_eq!(subscription(&service).await, active);
    // It has agreed, so nobody asks again.
    put(&service, &key, &receiver.url("/post")).await.expect(200);
    assert_eq!(receiver.consents().len(), 1);
    // Neither SQL nor the bucket ever held the key.
    let random = path.rsplit('/').next().unwrap();
    assert!(!serde_json::to_string(&service.sealed_in_bucket().await.unwrap()).unwrap().contains(random));
}

async fn a_key_is_for_the_uri_it_was_sent_to(service: Harness) {
    let service = service.with(settings(HandshakePolicy::Required)).await;
    let key = service.tenants().await;
    let receiver = hesitant().await;
    put(&service, &key, &receiver.url("/one")).await.expect(424);
    put(&service, &key, &receiver.url("/two")).await.expect(424);
    let [one, two] = [0, 1].map(|nth| path_of(&receiver.consents()[nth]));
    call(&service, Method::GET, &one, &[]).await.expect(410);
    call(&service, Method::GET, &one, &[]).await.expect(404);
    assert_eq!(subscription(&service).await.state, EndpointState::Pending);

    // A newer question takes the place of the one before.
    put(&service, &key, &receiver.url("/two")).await.expect(424);
    let newer = path_of(&receiver.consents()[2]);
    call(&service, Method::GET, &two, &[]).await.expect(404);
    call(&service, Method::GET, &newer, &["*"]).await.expect(204);
    let consent = Consent::Granted { origin: "hooks.slipstream.example".into(), rate_per_minute: None };
    assert_eq!(subscription(&service).await.consent, consent);

    // With the subscription goes its question.
    put(&service, &key, &receiver.url("/three")).await.expect(424);
    let orphan = path_of(&receiver.consents()[3]);
    service.account(Method::DELETE, PATH, &key, Value::Null).await.expect(204);
    call(&service, Method::GET, &orphan, &[]).await.expect(404);
    assert_eq!(service.subscription_in_bucket().await, None);
}

async fn a_key_of_one_subscription_grants_nothing_to_another(service: Harness) {
    let service = service.with(settings(HandshakePolicy::Required)).await;
    let keys = [
        service.tenants().await,
        service.new_account(json!({})).await.body["keys"]["primary"].as_str().unwrap().to_owned(),
    ];
    let receivers = [hesitant().await, hesitant().await];
    for (key, receiver) in keys.iter().zip(&receivers) {
        put(&service, key, &receiver.url("/post")).await.expect(424);
    }
    call(&service, Method::GET, &path_of(&receivers[1].consents()[0]), &[]).await.expect(204);
    for (key, label) in keys.iter().zip(["state:pending-handshake", "state:active"]) {
        let seen = service.account(Method::GET, PATH, key, Value::Null).await;
        assert_eq!(seen.body["Labels"], json!([label]));
    }
    // No rate in the callback is the rate that was asked for.
    let listed = service.operator(Method::GET, "/admin/v1/endpoints?state=active", Value::Null).await;
    assert_eq!(listed.body["items"][0]["consent"]["ratePerMinute"], 600);
}

#[tokio::test]
async fn a_key_serves_until_its_time_and_is_forgotten_after_it() {
    let mut service = Harness::on_sqlite().await.with(settings(HandshakePolicy::Required)).await;
    let key = service.tenants().await;
    let receiver = hesitant().await;
    put(&service, &key, &receiver.url("/post")).await.expect(424);
    let path = path_of(&receiver.consents()[0]);
    let random = path.rsplit('/').next().unwrap();

    let store = service.store().await;
    let kept = handshakes::take(store.connection(), KeyHash::of(random), clock::now()).await.unwrap().unwrap();
    let day = Duration::from_hours(24);
    let left = kept.expires_at.since(clock::now());
    assert!(left <= day && left > Duration::from_hours(23), "{left:?}");
    let ended = Handshake { expires_at: clock::now(), ..kept.clone() };
    handshakes::put(store.connection(), &ended).await.unwrap();
    call(&service, Method::GET, &path, &[]).await.expect(404);
    assert_eq!(subscription(&service).await.state, EndpointState::Pending);

    // A pass of the reconciler forgets it.
    service.restart().await;
    let long_ago = Timestamp::from_millis(0);
    assert_eq!(handshakes::find(store.connection(), KeyHash::of(random), long_ago).await.unwrap(), None);
    // And not one whose time is not over.
    handshakes::put(store.connection(), &kept).await.unwrap();
    service.restart().await;
    call(&service, Method::GET, &path, &[]).await.expect(204);
}

#[tokio::test]
async fn a_question_that_never_left_does_not_take_the_place_of_one_that_did() {
    let mut hasty = settings(HandshakePolicy::Required);
    hasty.handshake.timeout = Duration::from_millis(300);
    let service = Harness::on_sqlite().await.with(hasty).await;
    let key = service.tenants().await;
    for has_arrived_perhaps in [false, true] {
        let receiver = hesitant().await;
        let uri = receiver.url("/post");
        put(&service, &key, &uri).await.expect(424);
        let path = path_of(&receiver.consents()[0]);
        // Nobody listens there any more, or somebody who does not answer.
        if has_arrived_perhaps {
            receiver.consent_by(|_| Reply::hang());
        } else {
            drop(receiver);
        }
        let refused = put(&service, &key, &uri).await;
        refused.expect(424);
        let detail = refused.body["detail"].as_str().unwrap();
        assert!(detail.contains("could not be asked"), "{detail}");
        call(&service, Method::GET, &path, &[]).await.expect(204);
        let stands = subscription(&service).await;
        assert_eq!((stands.state, stands.uri), (EndpointState::Active, uri));
        call(&service, Method::GET, &path, &[]).await.expect(404);
        service.account(Method::DELETE, PATH, &key, Value::Null).await.expect(204);
    }
}

#[tokio::test]
async fn a_receiver_may_call_back_while_it_is_still_being_asked() {
    let service = Harness::on_sqlite().await.with(settings(HandshakePolicy::Required)).await;
    let key = service.tenants().await;
    let receiver = Receiver::start().await;
    receiver.consent_by(|_| Reply::ok().delay(Duration::from_secs(2)));
    let uri = receiver.url("/post");
    let granting = async {
        eventually(Duration::from_secs(5), async || !receiver.consents().is_empty()).await;
        call(&service, Method::GET, &path_of(&receiver.consents()[0]), &["5"]).await
    };
    let (subscribed, granted) = tokio::join!(put(&service, &key, &uri), granting);
    granted.expect(204);
    subscribed.expect(200);
    let stands = subscription(&service).await;
    assert_eq!((stands.state, stands.rate_per_minute()), (EndpointState::Active, Some(5)));
}

#[tokio::test]
async fn a_grant_stands_though_it_cannot_be_put_in_force_at_once() {
    let mut service = Harness::on_sqlite().await.with(settings(HandshakePolicy::Required)).await;
    let key = service.tenants().await;
    let receiver = hesitant().await;
    put(&service, &key, &receiver.url("/post")).await.expect(424);
    let path = path_of(&receiver.consents()[0]);
    service.nats.pause();
    let granted = call(&service, Method::GET, &path, &[]).await;
    service.nats.resume();
    granted.expect(204);
    service.restart().await;
    assert_eq!(subscription(&service).await.state, EndpointState::Active);
}

#[tokio::test]
async fn nobody_is_given_a_callback_where_none_is_configured() {
    let mut settings = settings(HandshakePolicy::Required);
    settings.handshake.callback_url = None;
    let service = Harness::on_sqlite().await.with(settings).await;
    let key = service.tenants().await;
    let receiver = hesitant().await;
    let refused = put(&service, &key, &receiver.url("/post")).await;
    refused.expect(424);
    assert!(!refused.body["detail"].as_str().unwrap().contains("callback"), "{}", refused.body);
    assert_eq!(receiver.consents()[0].header("webhook-request-callback"), "");
}
