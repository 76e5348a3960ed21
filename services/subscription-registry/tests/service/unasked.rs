//! What happens without anybody's credential, and is recorded all the same.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use slipstream_bus::StreamName;
use slipstream_core::config::{DisabledReason, EndpointState};
use slipstream_core::contract::{Action, AuditOutcome, Audited, EndpointChange, TargetKind};
use slipstream_core::ids::{AuditId, SubscriptionId};
use slipstream_core::timestamp::Timestamp;
use slipstream_service::clock;
use slipstream_service::config::SecretsConfig;
use slipstream_store::outbox;
use slipstream_subscription_registry::{HandshakePolicy, rotate_master_key};
use slipstream_test_support::{Reply, secrets};
use uuid::Uuid;

use crate::audited::Records;
use crate::harness::{Harness, PATH, SITE};
use crate::health::{all_taken, report};
use crate::{callback, consent};

crate::on_both_databases!(
    what_deliveries_find_is_recorded_when_it_disables_an_endpoint_and_once,
    a_receiver_that_agrees_is_recorded,
    a_record_that_was_noted_before_a_crash_is_published_at_the_next_start,
    a_rotation_of_the_master_key_is_recorded,
);

impl Records {
    /// The next record of an act that no request of a credential is the cause of.
    async fn unasked(&mut self) -> Audited {
        loop {
            let record = self.next().await;
            if record.actor != "operator" && !record.actor.starts_with("account:") {
                assert_eq!(record.status, None, "nobody was answered");
                return record;
            }
        }
    }
}

/// Who did what to which thing of which site.
fn told(record: &Audited) -> (&str, &str, &str, Option<&str>, Option<&str>) {
    let Audited { actor, action, kind, target, site, .. } = record;
    let site = site.as_ref().map(slipstream_core::slug::Slug::as_str);
    (actor, action.as_str(), kind.as_str(), target.as_deref(), site)
}

async fn subscribed(service: &Harness) -> SubscriptionId {
    let key = service.tenants().await;
    service.account(Method::PUT, PATH, &key, json!({"Uri": "https://receiver.example/post"})).await.expect(200);
    service.subscription_in_bucket().await.unwrap().id
}

async fn what_deliveries_find_is_recorded_when_it_disables_an_endpoint_and_once(service: Harness) {
    let mut records = Records::of(&service).await;
    let id = subscribed(&service).await;
    let endpoint = id.to_string();
    let expected = |actor| (actor, "endpoint.disable", "endpoint", Some(endpoint.as_str()), Some(SITE));
    // In flight together, all of them find the receiver gone.
    for _ in 0..3 {
        report(&service, id, clock::now(), EndpointChange::Disabled(DisabledReason::Gone)).await;
    }
    all_taken(&service).await;
    let gone = records.unasked().await;
    assert_eq!((told(&gone), gone.outcome, gone.begun), (expected("receiver"), AuditOutcome::Done, None));

    service.operator(Method::POST, &format!("/admin/v1/endpoints/{id}/enable"), Value::Null).await.expect(200);
    let since = clock::now();
    report(&service, id, since.after(Duration::from_millis(1)), EndpointChange::Degraded(since)).await;
    let failing = EndpointChange::Disabled(DisabledReason::Failing);
    report(&service, id, since.after(Duration::from_millis(2)), failing).await;
    all_taken(&service).await;
    // The next one: so the others of the first made none, and neither does what is no decision.
    assert_eq!(told(&records.unasked().await), expected("system"));
    let store = service.store().await;
    assert_eq!(outbox::audited::oldest(store.connection(), 9).await.unwrap(), []);
}

async fn a_receiver_that_agrees_is_recorded(service: Harness) {
    let service = service.with(consent::settings(HandshakePolicy::Required)).await;
    let mut records = Records::of(&service).await;
    let key = service.tenants().await;
    let receiver = callback::hesitant().await;
    callback::put(&service, &key, &receiver.url("/post")).await.expect(424);
    let id = service.subscription_in_bucket().await.unwrap().id.to_string();
    let expected = ("receiver", "consent.grant", "endpoint", Some(id.as_str()), Some(SITE));
    let path = callback::path_of(&receiver.consents()[0]);
    callback::call(&service, Method::POST, &path, &[]).await.expect(204);
    let granted = records.unasked().await;
    assert_eq!((told(&granted), granted.outcome), (expected, AuditOutcome::Done));
    assert!(granted.trace.is_some_and(|trace| trace.len() == 32), "the request can be found");
    // The key is used up: nothing is granted, and nothing recorded.
    callback::call(&service, Method::POST, &path, &[]).await.expect(404);

    // And when it is asked, in its answer.
    receiver.consent_by(|_| Reply::granted());
    callback::put(&service, &key, &receiver.url("/other")).await.expect(200);
    let granted = records.unasked().await;
    assert_eq!((told(&granted), granted.trace.as_deref()), (expected, None));
}

async fn a_record_that_was_noted_before_a_crash_is_published_at_the_next_start(mut service: Harness) {
    let mut records = Records::of(&service).await;
    service.stop().await;
    let record = |number: u128| Audited {
        id: AuditId(Uuid::from_u128(number)),
        at: Timestamp::from_millis(1_772_443_800_000 + i64::try_from(number).unwrap()),
        actor: "system".into(),
        action: Action::EndpointDisable,
        kind: TargetKind::Endpoint,
        target: Some("018f2b1e-0000-7000-8000-000000000001".into()),
        site: Some(SITE.parse().unwrap()),
        trace: None,
        outcome: AuditOutcome::Done,
        status: None,
        begun: None,
    };
    let store = service.store().await;
    // More than are published at once.
    for number in 0..120 {
        outbox::audited::put(store.connection(), &record(number)).await.unwrap();
    }
    service.restart().await;
    let mut seen = Vec::new();
    for _ in 0..120 {
        seen.push(records.unasked().await);
    }
    seen.sort_by_key(|record| record.id);
    assert_eq!(seen, (0..120).map(record).collect::<Vec<_>>());
    assert_eq!(outbox::audited::oldest(store.connection(), 1).await.unwrap(), []);
}

async fn a_rotation_of_the_master_key_is_recorded(service: Harness) {
    let mut records = Records::of(&service).await;
    subscribed(&service).await;
    let directory = tempfile::tempdir().unwrap();
    let next = directory.path().join("next.key");
    std::fs::write(&next, "5".repeat(64)).unwrap();
    let config =
        SecretsConfig { master_key_file: Some(next), previous_master_key_file: Some(secrets::master_key_file()) };
    rotate_master_key(&config, &service.database, &service.bus_config()).await.unwrap();
    let (begun, end) = (records.unasked().await, records.unasked().await);
    let key = service.data_keys().await[0].wrapped.key().to_string();
    for record in [&begun, &end] {
        assert_eq!(told(record), ("command", "master-key.rotate", "master-key", Some(key.as_str()), None));
    }
    assert_eq!((begun.outcome, begun.begun), (AuditOutcome::Begun, None));
    assert_eq!((end.outcome, end.begun), (AuditOutcome::Done, Some(begun.id)));
}

#[tokio::test]
async fn what_is_found_is_in_force_though_the_bus_takes_no_record_and_is_recorded_later() {
    let mut service = Harness::on_sqlite().await;
    let mut records = Records::of(&service).await;
    let id = subscribed(&service).await;
    let jetstream = async_nats::jetstream::new(service.nats.client().await);
    let mut audit = jetstream.get_stream(StreamName::Audit.as_str()).await.unwrap();
    let mut deaf = audit.info().await.unwrap().config.clone();
    deaf.subjects = vec!["elsewhere.>".into()];
    jetstream.update_stream(deaf).await.unwrap();
    report(&service, id, clock::now(), EndpointChange::Disabled(DisabledReason::Gone)).await;
    all_taken(&service).await;
    let gone = EndpointState::Disabled(DisabledReason::Gone);
    assert_eq!(service.subscription_in_bucket().await.unwrap().state, gone);
    let store = service.store().await;
    let noted = outbox::audited::oldest(store.connection(), 9).await.unwrap();
    assert_eq!(noted.len(), 1);
    // The next start mends the stream, and publishes.
    service.restart().await;
    assert_eq!(records.unasked().await, noted[0]);
    assert_eq!(outbox::audited::oldest(store.connection(), 9).await.unwrap(), []);
}
