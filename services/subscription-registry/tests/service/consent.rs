//! Asking receivers for their consent when somebody subscribes (SPEC 3.7).

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use http::{Method, header};
use serde_json::{Value, json};
use slipstream_bus::StreamName;
use slipstream_core::config::{Consent, EndpointState};
use slipstream_subscription_registry::{HandshakeConfig, HandshakePolicy};
use slipstream_test_support::{Receiver, Reply};
use slipstream_webhook::AddressPolicy;

use crate::harness::{Answer, Harness, PATH, Settings};

crate::on_both_databases!(
    whoever_agrees_is_not_asked_again,
    whoever_does_not_agree_is_called_slowly_where_consent_is_optional,
    nothing_is_active_without_consent_where_it_is_required,
);

const ORIGIN: &str = "hooks.slipstream.example";

/// Receivers on loopback are asked under `policy`, for 600 deliveries a minute.
pub(crate) fn settings(policy: HandshakePolicy) -> Settings {
    let handshake = HandshakeConfig {
        policy,
        origin: Some(ORIGIN.to_owned().try_into().unwrap()),
        callback_url: Some("https://hooks.slipstream.example/api/v1/".to_owned().try_into().unwrap()),
        rate_per_minute: NonZeroU32::new(600),
        timeout: Duration::from_secs(5),
    };
    Settings { targets: AddressPolicy::with_loopback(), handshake, ..Settings::default() }
}

async fn put(service: &Harness, key: &str, uri: &str) -> Answer {
    service.account(Method::PUT, PATH, key, json!({ "Uri": uri })).await
}

async fn label(service: &Harness, key: &str) -> Value {
    service.account(Method::GET, PATH, key, Value::Null).await.body["Labels"][0].clone()
}

fn granted(rate_per_minute: Option<u32>) -> Consent {
    Consent::Granted { origin: ORIGIN.into(), rate_per_minute }
}

async fn whoever_agrees_is_not_asked_again(service: Harness) {
    let service = service.with(settings(HandshakePolicy::Optional)).await;
    let key = service.tenants().await;
    let receiver = Receiver::start().await;
    receiver.consent_by(|_| Reply::granted_rate("120"));
    let uri = receiver.url("/post?q=1");
    put(&service, &key, &uri).await.expect(200);
    let consents = receiver.consents();
    let [asked] = consents.as_slice() else { panic!("{consents:?}") };
    assert_eq!((asked.path.as_str(), asked.query.as_deref()), ("/post", Some("q=1")));
    assert_eq!(asked.header("webhook-request-origin"), ORIGIN);
    assert_eq!(asked.header("webhook-request-rate"), "600");
    let callback = asked.header("webhook-request-callback");
    let random = callback.strip_prefix("https://hooks.slipstream.example/api/v1/webhooks/handshakes/").unwrap();
    assert_eq!(random.len(), 43, "256 bits in base64url");
    let first = service.subscription_in_bucket().await.unwrap();
    assert_eq!((&first.consent, first.state), (&granted(Some(120)), EndpointState::Active));
    assert_eq!(first.rate_per_minute(), Some(120));
    let path = format!("/admin/v1/endpoints/{}", first.id);
    let shown = service.operator(Method::GET, &path, Value::Null).await;
    let consent = json!({"state": "granted", "origin": ORIGIN, "ratePerMinute": 120});
    assert_eq!((&shown.body["consent"], &shown.body["ratePerMinute"]), (&consent, &json!(120)));

    // The same URI under the same name: what it agreed to stands.
    put(&service, &key, &uri).await.expect(200);
    assert_eq!(receiver.consents().len(), 1);
    assert_eq!(service.subscription_in_bucket().await.unwrap().consent, granted(Some(120)));
    // Another URI, though of the same receiver, has not agreed to anything.
    receiver.consent_by(|_| Reply::ok());
    put(&service, &key, &receiver.url("/other")).await.expect(200);
    assert_eq!(receiver.consents().len(), 2);
    let moved = service.subscription_in_bucket().await.unwrap();
    assert_eq!((moved.id, moved.consent), (first.id, Consent::NotGranted { origin: ORIGIN.into() }));

    // Another name has to ask for itself.
    receiver.consent_by(|_| Reply::granted());
    put(&service, &key, &uri).await.expect(200);
    let mut settings = settings(HandshakePolicy::Optional);
    settings.handshake.origin = Some("events.slipstream.example".to_owned().try_into().unwrap());
    let service = service.with(settings).await;
    put(&service, &key, &uri).await.expect(200);
    assert_eq!(receiver.consents().len(), 4);
    let consent = Consent::Granted { origin: "events.slipstream.example".into(), rate_per_minute: None };
    assert_eq!(service.subscription_in_bucket().await.unwrap().consent, consent);
    // And nobody is asked, or remembered as having agreed, where it is off.
    let service = service.with(Settings { targets: AddressPolicy::with_loopback(), ..Settings::default() }).await;
    put(&service, &key, &uri).await.expect(200);
    assert_eq!(receiver.consents().len(), 4);
    assert_eq!(service.subscription_in_bucket().await.unwrap().consent, Consent::Off);
}

async fn whoever_does_not_agree_is_called_slowly_where_consent_is_optional(service: Harness) {
    let service = service.with(settings(HandshakePolicy::Optional)).await;
    let key = service.tenants().await;
    let receiver = Receiver::start().await;
    receiver.consent_by(|_| Reply::status(405));
    let uri = receiver.url("/post");
    put(&service, &key, &uri).await.expect(200);
    let slow = service.subscription_in_bucket().await.unwrap();
    let not_granted = Consent::NotGranted { origin: ORIGIN.into() };
    assert_eq!((&slow.consent, slow.state), (&not_granted, EndpointState::Active));
    assert_eq!(slow.rate_per_minute(), Some(60));
    assert_eq!(label(&service, &key).await, "state:active");

    // A repeat asks again, and by now it agrees.
    receiver.consent_by(|_| Reply::granted());
    put(&service, &key, &uri).await.expect(200);
    assert_eq!(service.subscription_in_bucket().await.unwrap().consent, granted(None));
    assert_eq!(receiver.consents().len(), 2);
}

async fn nothing_is_active_without_consent_where_it_is_required(service: Harness) {
    let service = service.with(settings(HandshakePolicy::Required)).await;
    let key = service.tenants().await;
    let receiver = Receiver::start().await;
    receiver.consent_by(|_| Reply::ok());
    let uri = receiver.url("/post");
    let refused = put(&service, &key, &uri).await;
    refused.expect(424);
    assert!(refused.body["type"].as_str().unwrap().ends_with("/handshake-failed"));
    let detail = refused.body["detail"].as_str().unwrap();
    assert!(detail.contains("repeat of this request, or by the callback") && detail.contains("24 h"), "{detail}");
    let pending = service.subscription_in_bucket().await.unwrap();
    assert_eq!(pending.state, EndpointState::Pending);
    assert_eq!(label(&service, &key).await, "state:pending-handshake");
    let listed = service.operator(Method::GET, "/admin/v1/endpoints?state=pending", Value::Null).await;
    assert_eq!(listed.body["items"][0]["id"], json!(pending.id));
    assert_eq!(listed.body["items"][0]["consent"], json!({"state": "not_granted", "origin": ORIGIN}));

    // An operator cannot agree in the receiver's place.
    let operator = async |verb: &str| {
        let path = format!("/admin/v1/endpoints/{}/{verb}", pending.id);
        service.operator(Method::POST, &path, Value::Null).await.body["state"].clone()
    };
    assert_eq!(operator("enable").await, "pending");
    assert_eq!(operator("disable").await, "disabled");
    assert_eq!(operator("enable").await, "pending");
    assert_eq!(operator("disable").await, "disabled");

    receiver.consent_by(|_| Reply::granted_rate("30"));
    put(&service, &key, &uri).await.expect(200);
    let active = service.subscription_in_bucket().await.unwrap();
    assert_eq!((active.id, active.state, active.consent), (pending.id, EndpointState::Active, granted(Some(30))));
    // It was disabled before and is not any more.
    let jetstream = async_nats::jetstream::new(service.nats.client().await);
    let events = jetstream.get_stream(StreamName::Events.as_str()).await.unwrap();
    let subject = "events.internal.normal.s8n6EzC.slipstream.endpoint.recovered";
    let message = events.get_last_raw_message_by_subject(subject).await.unwrap();
    let event: Value = serde_json::from_slice(&message.payload).unwrap();
    assert_eq!(event["subject"], json!(pending.id));

    // With another URI it has to agree anew.
    receiver.consent_by(|_| Reply::ok());
    put(&service, &key, &receiver.url("/other")).await.expect(424);
    assert_eq!(service.subscription_in_bucket().await.unwrap().uri, uri);
}

#[tokio::test]
async fn hostile_answers_are_no_consent() {
    let service = Harness::on_sqlite().await.with(settings(HandshakePolicy::Required)).await;
    let key = service.tenants().await;
    let allowed = |origin: &str| Reply::ok().header("webhook-allowed-origin", origin);
    for (name, reply) in [
        ("no rate though one was asked for", allowed("*")),
        ("another's name", allowed("other.example").header("webhook-allowed-rate", "*")),
        ("two names", allowed("*").header("webhook-allowed-origin", ORIGIN).header("webhook-allowed-rate", "*")),
        ("no deliveries", Reply::granted_rate("0")),
        ("fewer than none", Reply::granted_rate("-1")),
        ("no number", Reply::granted_rate("many")),
        ("two rates", Reply::granted_rate("5").header("webhook-allowed-rate", "600")),
        ("a cut connection", Reply::granted().then(slipstream_test_support::Then::Reset)),
    ] {
        // A host of its own each time: one is asked ten times a minute only.
        let receiver = Receiver::start().await;
        receiver.consent_by(move |_| reply.clone());
        put(&service, &key, &receiver.url("/post")).await.expect(424);
        let stands = service.subscription_in_bucket().await.unwrap();
        assert_eq!(stands.state, EndpointState::Pending, "{name}");
        assert_eq!(receiver.consents().len(), 1, "{name}");
    }
    let receiver = Receiver::start().await;
    receiver.consent_by(|_| Reply::granted_rate(&"9".repeat(1000)));
    put(&service, &key, &receiver.url("/post")).await.expect(200);
    assert_eq!(service.subscription_in_bucket().await.unwrap().consent, granted(Some(u32::MAX)));
}

#[tokio::test]
async fn a_receiver_that_cannot_be_asked_is_told_apart_and_nobody_waits_for_long() {
    let mut hasty = settings(HandshakePolicy::Required);
    hasty.handshake.timeout = Duration::from_millis(300);
    let service = Harness::on_sqlite().await.with(hasty).await;
    let key = service.tenants().await;
    let closed = Receiver::start().await.url("/post");
    let hanging = Receiver::start().await;
    hanging.consent_by(|_| Reply::hang());
    for (uri, code, has_callback) in [(closed, "connect", false), (hanging.url("/post"), "timeout", true)] {
        let asked = Instant::now();
        let refused = put(&service, &key, &uri).await;
        refused.expect(424);
        assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
        let detail = refused.body["detail"].as_str().unwrap();
        assert!(detail.contains(&format!("({code})")), "{detail}");
        assert_eq!(detail.contains("callback"), has_callback, "{detail}");
        assert_eq!(service.subscription_in_bucket().await.unwrap().state, EndpointState::Pending);
    }
}

#[tokio::test]
async fn no_transaction_is_open_while_a_receiver_is_asked() {
    let service = Harness::on_sqlite().await.with(settings(HandshakePolicy::Optional)).await;
    let key = service.tenants().await;
    let other = service.new_account(json!({})).await.body["keys"]["primary"].as_str().unwrap().to_owned();
    let (slow, quick) = (Receiver::start().await, Receiver::start().await);
    slow.consent_by(|_| Reply::granted().delay(Duration::from_secs(4)));
    let (slow_uri, quick_uri) = (slow.url("/post"), quick.url("/post"));
    let asking = put(&service, &key, &slow_uri);
    let meanwhile = async {
        slipstream_test_support::eventually(Duration::from_secs(5), async || !slow.consents().is_empty()).await;
        let asked = Instant::now();
        put(&service, &other, &quick_uri).await.expect(200);
        service.account(Method::DELETE, PATH, &other, Value::Null).await.expect(204);
        asked.elapsed()
    };
    let (answer, took) = tokio::join!(asking, meanwhile);
    answer.expect(200);
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[tokio::test]
async fn the_eleventh_question_within_a_minute_is_not_asked() {
    let service = Harness::on_sqlite().await.with(settings(HandshakePolicy::Required)).await;
    let key = service.tenants().await;
    let receiver = Receiver::start().await;
    receiver.consent_by(|_| Reply::ok());
    let uri = receiver.url("/post");
    for _ in 0..10 {
        put(&service, &key, &uri).await.expect(424);
    }
    receiver.consent_by(|_| Reply::granted());
    for _ in 0..2 {
        let refused = put(&service, &key, &uri).await;
        refused.expect(424);
        let detail = refused.body["detail"].as_str().unwrap();
        assert!(detail.contains("asked too often") && !detail.contains("callback"), "{detail}");
        assert_eq!(refused.headers[header::RETRY_AFTER], "60");
    }
    assert_eq!(receiver.consents().len(), 10);
    assert_eq!(service.subscription_in_bucket().await.unwrap().state, EndpointState::Pending);

    // The key that the receiver has from the last question it was asked serves nonetheless; those before do not.
    let keys: Vec<_> = receiver.consents().iter().map(|asked| crate::callback::path_of(asked)).collect();
    let grant = async |path: &str| service.account(Method::GET, path, "", Value::Null).await;
    grant(&keys[8]).await.expect(404);
    grant(&keys[9]).await.expect(204);
    assert_eq!(service.subscription_in_bucket().await.unwrap().state, EndpointState::Active);
    // Where consent is optional, too many questions are no consent either.
    let service = service.with(settings(HandshakePolicy::Optional)).await;
    receiver.consent_by(|_| Reply::ok());
    for _ in 0..11 {
        put(&service, &key, &receiver.url("/other")).await.expect(200);
    }
    assert_eq!(receiver.consents().len(), 20, "a new process counts anew");
    assert_eq!(service.subscription_in_bucket().await.unwrap().rate_per_minute(), Some(60));
}
