//! A subscription that works and is to go elsewhere: what stands, stands until the new target agrees (SPEC 3.7).

use std::time::Duration;

use http::{Method, header};
use serde_json::{Value, json};
use slipstream_core::config::{Consent, DisabledReason, EndpointState, Health, Subscription};
use slipstream_core::contract::EndpointChange;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::clock;
use slipstream_store::handshakes::wishes;
use slipstream_subscription_registry::HandshakePolicy;
use slipstream_test_support::{Receiver, Reply, eventually};

use crate::callback::{call, hesitant, path_of, put};
use crate::consent::settings;
use crate::harness::{Harness, PATH};
use crate::health::{all_taken, report};

crate::on_both_databases!(
    a_target_that_has_not_agreed_takes_the_place_of_none_that_works,
    what_was_put_later_or_switched_off_stands_against_a_late_grant,
    what_is_found_of_the_target_before_does_not_touch_the_new_one,
    whoever_never_agreed_gets_nothing_any_more_once_it_says_so,
);

const LIMIT: Duration = Duration::from_secs(10);

async fn subscription(service: &Harness) -> Subscription {
    service.subscription_in_bucket().await.unwrap()
}

/// A service that requires consent, a key, and a receiver that has agreed at `/old` and will not elsewhere.
async fn agreed(service: Harness) -> (Harness, String, Receiver) {
    let service = service.with(settings(HandshakePolicy::Required)).await;
    let key = service.tenants().await;
    let receiver = Receiver::start().await;
    receiver.consent_by(|_| Reply::granted_rate("120"));
    put(&service, &key, &receiver.url("/old")).await.expect(200);
    receiver.consent_by(|_| Reply::ok());
    (service, key, receiver)
}

async fn a_target_that_has_not_agreed_takes_the_place_of_none_that_works(service: Harness) {
    let (service, key, receiver) = agreed(service).await;
    let before = subscription(&service).await;
    receiver.consent_by(|_| Reply::ok().delay(Duration::from_secs(1)));
    let body = json!({
        "Uri": receiver.url("/new"),
        "Headers": [{"Name": "X-Key", "Value": "n3w"}],
        "EventTypes": ["communications.letter.created"],
    });
    let moving = service.account(Method::PUT, PATH, &key, body.clone());
    let meanwhile = async {
        eventually(LIMIT, async || receiver.consents().len() == 2).await;
        // Whatever is in SQL by now is put in force by this.
        let path = format!("/admin/v1/endpoints/{}/limits", before.id);
        service.operator(Method::PUT, &path, json!({"inFlightMax": 2})).await.expect(200);
        subscription(&service).await
    };
    let (refused, meanwhile) = tokio::join!(moving, meanwhile);
    let stands = Subscription { limits: meanwhile.limits, revision: before.revision + 1, ..before.clone() };
    assert_eq!(meanwhile, stands);
    refused.expect(424);
    let detail = refused.body["detail"].as_str().unwrap();
    assert!(detail.contains("as it was") && detail.contains("or by the callback"), "{detail}");
    assert_eq!(subscription(&service).await, stands);
    let shown = service.account(Method::GET, PATH, &key, Value::Null).await.body;
    assert_eq!((&shown["Uri"], &shown["Labels"]), (&json!(receiver.url("/old")), &json!(["state:active"])));

    // Not even asked: the same.
    let closed = Receiver::start().await.url("/post");
    let refused = put(&service, &key, &closed).await;
    refused.expect(424);
    let detail = refused.body["detail"].as_str().unwrap();
    assert!(detail.contains("as it was") && detail.contains("every 10 minutes"), "{detail}");
    assert_eq!(subscription(&service).await, stands);

    // It grants later, and that brings about all that was asked for.
    service.account(Method::PUT, PATH, &key, body).await.expect(424);
    let path = path_of(receiver.consents().last().unwrap());
    call(&service, Method::POST, &path, &["240"]).await.expect(204);
    let moved = subscription(&service).await;
    let consent = Consent::Granted { origin: "hooks.slipstream.example".into(), rate_per_minute: Some(240) };
    assert_eq!(
        (moved.uri.as_str(), moved.state, &moved.consent),
        (&*receiver.url("/new"), EndpointState::Active, &consent)
    );
    assert_eq!((moved.headers[0].value.expose(), moved.event_types.len()), (Ok("n3w"), 1));
    assert_eq!((moved.id, &moved.signing_keys, moved.limits), (before.id, &before.signing_keys, stands.limits));
    call(&service, Method::POST, &path, &[]).await.expect(404);
}

async fn what_was_put_later_or_switched_off_stands_against_a_late_grant(service: Harness) {
    let (service, key, receiver) = agreed(service).await;
    let keys = || receiver.consents().iter().map(|asked| path_of(asked)).collect::<Vec<_>>();
    put(&service, &key, &receiver.url("/one")).await.expect(424);
    put(&service, &key, &receiver.url("/two")).await.expect(424);
    call(&service, Method::GET, &keys()[1], &[]).await.expect(410);
    // The owner is content with what stands.
    put(&service, &key, &receiver.url("/old")).await.expect(200);
    let stands = subscription(&service).await;
    call(&service, Method::GET, &keys()[2], &[]).await.expect(410);
    assert_eq!(subscription(&service).await, stands);

    put(&service, &key, &receiver.url("/three")).await.expect(424);
    let path = format!("/admin/v1/endpoints/{}/disable", stands.id);
    service.operator(Method::POST, &path, Value::Null).await.expect(200);
    call(&service, Method::GET, &keys()[3], &[]).await.expect(410);
    let off = subscription(&service).await;
    assert_eq!((off.state, off.uri), (EndpointState::Disabled(DisabledReason::Operator), stands.uri));

    // A receiver that is gone is no reason to stay there.
    put(&service, &key, &receiver.url("/old")).await.expect(200);
    put(&service, &key, &receiver.url("/four")).await.expect(424);
    report(&service, stands.id, clock::now(), EndpointChange::Disabled(DisabledReason::Gone)).await;
    all_taken(&service).await;
    assert_eq!(subscription(&service).await.state, EndpointState::Disabled(DisabledReason::Gone));
    call(&service, Method::GET, &keys()[4], &[]).await.expect(204);
    let moved = subscription(&service).await;
    assert_eq!((moved.state, moved.uri), (EndpointState::Active, receiver.url("/four")));
}

async fn what_is_found_of_the_target_before_does_not_touch_the_new_one(mut service: Harness) {
    for policy in [HandshakePolicy::Required, HandshakePolicy::Optional] {
        service = service.with(settings(policy)).await;
        let key = service.tenants().await;
        let receiver = Receiver::start().await;
        let (old, new) = (receiver.url("/old"), receiver.url("/new"));
        put(&service, &key, &old).await.expect(200);
        let id = subscription(&service).await.id;
        receiver.consent_by(|_| Reply::granted().delay(Duration::from_millis(500)));
        let asking = async {
            eventually(LIMIT, async || receiver.consents().len() == 2).await;
            // The old one still stands, so deliveries still go there.
            assert_eq!(subscription(&service).await.uri, old);
            clock::now()
        };
        let (moved, started_at) = tokio::join!(put(&service, &key, &new), asking);
        moved.expect(200);
        report(&service, id, started_at, EndpointChange::Disabled(DisabledReason::Gone)).await;
        report(&service, id, started_at, EndpointChange::Degraded(started_at)).await;
        all_taken(&service).await;
        let stands = subscription(&service).await;
        assert_eq!((stands.state, stands.uri.as_str()), (EndpointState::Active, new.as_str()));
        assert_eq!(stands.health, Health::Healthy);
        service.account(Method::DELETE, PATH, &key, Value::Null).await.expect(204);
    }
}

async fn whoever_never_agreed_gets_nothing_any_more_once_it_says_so(service: Harness) {
    let service = service.with(settings(HandshakePolicy::Optional)).await;
    let key = service.tenants().await;
    let receiver = hesitant().await;
    let uri = receiver.url("/post");
    put(&service, &key, &uri).await.expect(200);
    let slow = subscription(&service).await;
    let mut required = settings(HandshakePolicy::Required);
    required.handshake.timeout = Duration::from_millis(300);
    let service = service.with(required).await;
    // That it cannot be asked says nothing about what it wants.
    receiver.consent_by(|_| Reply::hang());
    put(&service, &key, &uri).await.expect(424);
    assert_eq!(subscription(&service).await, slow);
    receiver.consent_by(|_| Reply::ok());
    let refused = put(&service, &key, &uri).await;
    refused.expect(424);
    assert!(refused.body["detail"].as_str().unwrap().contains("is stored"), "{}", refused.body);
    assert_eq!(subscription(&service).await.state, EndpointState::Pending);
}

#[tokio::test]
async fn a_wish_ends_after_a_day() {
    let (mut service, key, receiver) = agreed(Harness::on_sqlite().await).await;
    put(&service, &key, &receiver.url("/new")).await.expect(424);
    let stands = subscription(&service).await;
    let store = service.store().await;
    let wish = wishes::find(store.connection(), stands.id, clock::now()).await.unwrap().unwrap();
    let left = wish.expires_at.since(clock::now());
    assert!(left <= Duration::from_hours(24) && left > Duration::from_hours(23), "{left:?}");
    let ended = wishes::Wish { expires_at: clock::now(), ..wish };
    wishes::put(store.connection(), &ended).await.unwrap();
    call(&service, Method::GET, &path_of(&receiver.consents()[1]), &[]).await.expect(410);
    assert_eq!(subscription(&service).await, stands);
    service.restart().await;
    let long_ago = Timestamp::from_millis(0);
    assert_eq!(wishes::find(store.connection(), stands.id, long_ago).await.unwrap(), None);
}

#[tokio::test]
async fn a_target_that_was_asked_too_often_leaves_what_works() {
    let (service, key, receiver) = agreed(Harness::on_sqlite().await).await;
    let stands = subscription(&service).await;
    for _ in 0..10 {
        put(&service, &key, &receiver.url("/new")).await.expect(424);
    }
    let refused = put(&service, &key, &receiver.url("/new")).await;
    refused.expect(424);
    assert_eq!(refused.headers[header::RETRY_AFTER], "60");
    assert_eq!(subscription(&service).await, stands);
}
