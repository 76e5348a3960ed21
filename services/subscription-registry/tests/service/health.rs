//! What deliveries find of an endpoint, what operators and owners do about it, and what is told of that.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use slipstream_bus::{Outgoing, StreamName, subject};
use slipstream_core::config::{DisabledReason, EndpointState, Health, Subscription, Surface};
use slipstream_core::contract::{EndpointChange, EndpointChanged, Meta, header};
use slipstream_core::event::json as events;
use slipstream_core::ids::{EventKey, SubscriptionId};
use slipstream_core::timestamp::Timestamp;
use slipstream_service::clock;
use slipstream_store::outbox;
use slipstream_subscription_registry::HandshakePolicy;
use slipstream_test_support::{Reply, eventually};

use crate::callback;
use crate::harness::{Harness, PATH, SITE};

crate::on_both_databases!(
    an_endpoint_is_degraded_and_recovers_and_that_is_told_once,
    an_endpoint_that_is_switched_is_told_once_per_switch,
    an_endpoint_that_comes_back_by_a_later_grant_is_told,
    failing_for_days_is_believed_while_it_is_degraded,
    what_was_noted_before_a_crash_is_told_at_the_next_start,
);

const LIMIT: Duration = Duration::from_secs(10);

fn body() -> Value {
    json!({"Uri": "https://receiver.example/post"})
}

async fn subscribed(service: &Harness) -> (String, Subscription) {
    let key = service.tenants().await;
    service.account(Method::PUT, PATH, &key, body()).await.expect(200);
    (key, service.subscription_in_bucket().await.unwrap())
}

/// Says what a delivery found, as the dispatcher does.
pub(crate) async fn report(service: &Harness, id: SubscriptionId, at: Timestamp, change: EndpointChange) {
    let payload = serde_json::to_vec(&EndpointChanged { subscription: id, at, change, revision: None }).unwrap();
    let message = Outgoing::new(subject::endpoint(Surface::Slipstream, id), payload.into());
    service.bus.publisher(StreamName::Outcomes).publish(message).await.unwrap();
}

/// The reports so far have been taken: one more, that is seen to take effect. Changes are taken in their order.
pub(crate) async fn all_taken(service: &Harness) {
    let marker = clock::now();
    let id = SubscriptionId("00000000-0000-4000-8000-00000000000a".parse().unwrap());
    report(service, id, marker, EndpointChange::Recovered).await;
    let jetstream = async_nats::jetstream::new(service.nats.client().await);
    let stream = jetstream.get_stream(StreamName::Outcomes.as_str()).await.unwrap();
    eventually(LIMIT, async || {
        let info = stream.consumer_info("registry-endpoints").await.unwrap();
        if info.num_pending == 0 && info.num_ack_pending == 0 { Ok(()) } else { Err(info) }
    })
    .await;
}

/// What was told of endpoints so far, in order: each an event in its stored form.
async fn told(service: &Harness) -> Vec<Value> {
    let jetstream = async_nats::jetstream::new(service.nats.client().await);
    let mut stream = jetstream.get_stream(StreamName::Events.as_str()).await.unwrap();
    let state = stream.info().await.unwrap().state.clone();
    let mut told = Vec::new();
    for sequence in state.first_sequence.max(1)..=state.last_sequence {
        let message = stream.get_raw_message(sequence).await.unwrap();
        let event: Value = serde_json::from_slice(&message.payload).unwrap();
        events::parse(&message.payload).expect("a CloudEvent");
        let event_type = event["type"].as_str().unwrap();
        assert_eq!(message.subject.as_str(), format!("events.internal.normal.{SITE}.{event_type}"));
        let meta: Meta = message.headers.get(header::META).unwrap().as_str().parse().unwrap();
        assert_eq!((meta.site.as_str(), json!(meta.accepted_at)), (SITE, event["time"].clone()));
        told.push(event);
    }
    told
}

async fn types_told(service: &Harness) -> Vec<(String, Value)> {
    let short = |event: &Value| {
        let name = event["type"].as_str().unwrap().rsplit('.').next().unwrap().to_owned();
        (name, event["data"]["reason"].clone())
    };
    told(service).await.iter().map(short).collect()
}

async fn eventually_health(service: &Harness, wanted: Health) -> Subscription {
    eventually(LIMIT, async || {
        let seen = service.subscription_in_bucket().await.unwrap();
        if seen.health == wanted { Ok(seen) } else { Err(seen) }
    })
    .await
}

async fn an_endpoint_is_degraded_and_recovers_and_that_is_told_once(service: Harness) {
    let (_, subscription) = subscribed(&service).await;
    let id = subscription.id;
    let since = clock::now();
    let seen_at = since.after(Duration::from_secs(1));
    let too_early = Timestamp::from_millis(since.as_millis() - 60_000);
    report(&service, id, too_early, EndpointChange::Degraded(too_early)).await;
    for _ in 0..2 {
        report(&service, id, seen_at, EndpointChange::Degraded(since)).await;
    }
    let degraded = eventually_health(&service, Health::Degraded(since)).await;
    all_taken(&service).await;
    assert_eq!(service.subscription_in_bucket().await.unwrap().revision, 2, "the repeat changed nothing");
    assert_eq!(degraded.state, EndpointState::Active);
    let list = async |state: &str| {
        let answer = service.operator(Method::GET, &format!("/admin/v1/endpoints?state={state}"), Value::Null).await;
        answer.expect(200);
        answer.body["items"].clone()
    };
    let listed = list("degraded").await;
    assert_eq!((&listed[0]["health"], &listed[0]["degradedSince"]), (&json!("degraded"), &json!(since)));
    assert_eq!((list("active").await, list("disabled").await, list("pending").await), (listed, json!([]), json!([])));
    assert_eq!(told(&service).await, Vec::<Value>::new(), "only what ends is told");

    let recovered_at = seen_at.after(Duration::from_secs(1));
    for _ in 0..2 {
        report(&service, id, recovered_at, EndpointChange::Recovered).await;
    }
    eventually_health(&service, Health::Healthy).await;
    // What was seen before it recovered comes too late.
    report(&service, id, seen_at, EndpointChange::Degraded(since)).await;
    all_taken(&service).await;
    let now = service.subscription_in_bucket().await.unwrap();
    assert_eq!((now.health, now.revision), (Health::Healthy, 3));
    let events = told(&service).await;
    let [event] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(event["type"], "slipstream.endpoint.recovered");
    assert_eq!((&event["source"], &event["visibility"]), (&json!("/slipstream"), &json!(0)));
    assert_eq!((&event["siteslug"], &event["organisationslug"]), (&json!(SITE), &json!("o4fKq2")));
    assert_eq!((&event["subject"], &event["time"]), (&json!(id), &json!(recovered_at)));
    let data = json!({"subscription": id, "surface": "slipstream", "feature": "physicalpost"});
    assert_eq!(event["data"], data);
}

async fn an_endpoint_that_is_switched_is_told_once_per_switch(service: Harness) {
    let (key, subscription) = subscribed(&service).await;
    let id = subscription.id;
    let failing = EndpointChange::Disabled(DisabledReason::Failing);
    let since = clock::now();
    report(&service, id, since.after(Duration::from_millis(1)), EndpointChange::Degraded(since)).await;
    let seen_at = since.after(Duration::from_millis(2));
    for _ in 0..2 {
        report(&service, id, seen_at, failing).await;
    }
    report(&service, id, clock::now(), EndpointChange::Disabled(DisabledReason::Gone)).await;
    report(&service, id, clock::now(), EndpointChange::Recovered).await;
    all_taken(&service).await;
    let disabled = service.subscription_in_bucket().await.unwrap();
    assert_eq!((disabled.state, disabled.revision), (EndpointState::Disabled(DisabledReason::Failing), 3));
    let operator = async |verb: &str| {
        service.operator(Method::POST, &format!("/admin/v1/endpoints/{id}/{verb}"), Value::Null).await.expect(200);
    };
    for verb in ["enable", "enable", "disable", "disable"] {
        operator(verb).await;
    }
    // A late message does not undo what the operator did.
    report(&service, id, seen_at, failing).await;
    all_taken(&service).await;
    for _ in 0..2 {
        service.account(Method::PUT, PATH, &key, body()).await.expect(200);
    }
    let expected = [
        ("disabled".to_owned(), json!("failing")),
        ("recovered".to_owned(), Value::Null),
        ("disabled".to_owned(), json!("operator")),
        ("recovered".to_owned(), Value::Null),
    ];
    assert_eq!(types_told(&service).await, expected);
    let keys: Vec<_> = told(&service).await.iter().map(|event| event["id"].clone()).collect();
    let id_of = |revision: i64, what: &str| json!(format!("{id}.{revision}.{what}"));
    assert_eq!(keys, [id_of(3, "disabled"), id_of(4, "recovered"), id_of(5, "disabled"), id_of(6, "recovered")]);
}

async fn an_endpoint_that_comes_back_by_a_later_grant_is_told(service: Harness) {
    let service = service.with(crate::consent::settings(HandshakePolicy::Required)).await;
    let key = service.tenants().await;
    let receiver = callback::hesitant().await;
    let uri = receiver.url("/post");
    callback::put(&service, &key, &uri).await.expect(424);
    let pending = service.subscription_in_bucket().await.unwrap();
    let switch_off_and_on = async || {
        for verb in ["disable", "enable"] {
            let path = format!("/admin/v1/endpoints/{}/{verb}", pending.id);
            service.operator(Method::POST, &path, Value::Null).await.expect(200);
        }
        assert_eq!(service.subscription_in_bucket().await.unwrap().state, EndpointState::Pending);
    };
    let [off, on] = [("disabled".to_owned(), json!("operator")), ("recovered".to_owned(), Value::Null)];

    let path = callback::path_of(&receiver.consents()[0]);
    switch_off_and_on().await;
    assert_eq!(types_told(&service).await, std::slice::from_ref(&off));
    callback::call(&service, Method::POST, &path, &[]).await.expect(204);
    assert_eq!(service.subscription_in_bucket().await.unwrap().state, EndpointState::Active);
    assert_eq!(types_told(&service).await, [off.clone(), on.clone()]);

    // And by a later PUT.
    service.account(Method::DELETE, PATH, &key, Value::Null).await.expect(204);
    callback::put(&service, &key, &uri).await.expect(424);
    let pending = service.subscription_in_bucket().await.unwrap();
    for verb in ["disable", "enable"] {
        let path = format!("/admin/v1/endpoints/{}/{verb}", pending.id);
        service.operator(Method::POST, &path, Value::Null).await.expect(200);
    }
    callback::put(&service, &key, &receiver.url("/other")).await.expect(424);
    assert_eq!(types_told(&service).await.len(), 3, "it waits, as before");
    receiver.consent_by(|_| Reply::granted());
    callback::put(&service, &key, &uri).await.expect(200);
    assert_eq!(types_told(&service).await, [off.clone(), on.clone(), off, on]);
}

async fn failing_for_days_is_believed_while_it_is_degraded(service: Harness) {
    let (_, subscription) = subscribed(&service).await;
    let id = subscription.id;
    let failing = EndpointChange::Disabled(DisabledReason::Failing);
    let start = clock::now();
    let at = |millis| start.after(Duration::from_millis(millis));
    report(&service, id, at(1), failing).await;
    report(&service, id, at(3), EndpointChange::Degraded(at(2))).await;
    report(&service, id, at(4), EndpointChange::Recovered).await;
    report(&service, id, at(5), failing).await;
    report(&service, id, at(8), EndpointChange::Degraded(at(7))).await;
    report(&service, id, at(6), failing).await;
    all_taken(&service).await;
    let stands = service.subscription_in_bucket().await.unwrap();
    assert_eq!((stands.state, stands.health), (EndpointState::Active, Health::Degraded(at(7))));
    report(&service, id, at(9), failing).await;
    all_taken(&service).await;
    let disabled = EndpointState::Disabled(DisabledReason::Failing);
    assert_eq!(service.subscription_in_bucket().await.unwrap().state, disabled);
}

async fn what_was_noted_before_a_crash_is_told_at_the_next_start(mut service: Harness) {
    subscribed(&service).await;
    service.stop().await;
    let at = clock::now();
    let event = |id: &str| {
        let key = EventKey::new(&SITE.parse().unwrap(), "/slipstream", id);
        let event_type = "slipstream.endpoint.disabled".to_owned();
        let body = json!({"specversion": "1.0", "id": id, "source": "/slipstream", "type": event_type, "time": at});
        outbox::Entry { key, site: SITE.parse().unwrap(), event_type, body: body.to_string(), at }
    };
    let store = service.store().await;
    // More than are published at once.
    for number in 0..120 {
        outbox::put(store.connection(), &event(&number.to_string())).await.unwrap();
    }
    service.restart().await;
    assert_eq!(told(&service).await.len(), 120);
    assert_eq!(outbox::oldest(store.connection(), 1).await.unwrap(), []);
    // A crash after publishing and before forgetting: told twice, and one event all the same.
    outbox::put(store.connection(), &event("7")).await.unwrap();
    service.restart().await;
    assert_eq!(told(&service).await.len(), 120);
    assert_eq!(outbox::oldest(store.connection(), 1).await.unwrap(), []);
}

#[tokio::test]
async fn a_switch_is_in_force_though_the_bus_takes_no_events_and_is_told_later() {
    let mut service = Harness::on_sqlite().await;
    let (_, subscription) = subscribed(&service).await;
    let jetstream = async_nats::jetstream::new(service.nats.client().await);
    let mut events = jetstream.get_stream(StreamName::Events.as_str()).await.unwrap();
    let usual = events.info().await.unwrap().config.clone();
    let full = async_nats::jetstream::stream::Config { max_messages: 1, ..usual.clone() };
    jetstream.update_stream(full).await.unwrap();
    // The first takes the only place there is.
    let operator = async |verb: &str| {
        let path = format!("/admin/v1/endpoints/{}/{verb}", subscription.id);
        service.operator(Method::POST, &path, Value::Null).await.expect(200);
    };
    operator("disable").await;
    operator("enable").await;
    assert_eq!(service.subscription_in_bucket().await.unwrap().state, EndpointState::Active);
    report(&service, subscription.id, clock::now(), EndpointChange::Disabled(DisabledReason::Gone)).await;
    all_taken(&service).await;
    let gone = EndpointState::Disabled(DisabledReason::Gone);
    assert_eq!(service.subscription_in_bucket().await.unwrap().state, gone);
    assert_eq!(types_told(&service).await.len(), 1);

    jetstream.update_stream(usual).await.unwrap();
    service.restart().await;
    assert!(service.is_ready());
    let types: Vec<_> = types_told(&service).await.into_iter().map(|(name, _)| name).collect();
    assert_eq!(types, ["disabled", "recovered", "disabled"]);
}
