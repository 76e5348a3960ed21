//! SQL and the bucket, when something comes between them.

use std::time::Duration;

use async_nats::jetstream::stream::Config;
use http::Method;
use serde_json::{Value, json};
use slipstream_bus::ConsumerName;
use slipstream_core::config::{KeyHash, OpenDentalKey, OpenDentalPermission, Record, Site};
use slipstream_core::contract::{EndpointChange, EndpointChanged};
use slipstream_core::ids::OpenDentalKeyId;
use slipstream_store::Store;
use slipstream_store::subscriptions::{self, Owner};
use slipstream_test_support::{builders, secrets};

use crate::harness::{Harness, PATH, SITE, next_change};

crate::on_both_databases!(a_start_repairs_whatever_happened_to_the_bucket);

fn body() -> Value {
    json!({"Uri": "https://receiver.example/post"})
}

async fn site_in_bucket(service: &Harness) -> Site {
    match service.bucket().await.get(&format!("site.{SITE}")).await.unwrap() {
        Some(Record::Site(site)) => site,
        other => panic!("{other:?}"),
    }
}

async fn a_start_repairs_whatever_happened_to_the_bucket(mut service: Harness) {
    let key = service.tenants().await;
    service.account(Method::PUT, PATH, &key, body()).await.expect(200);
    let subscription = service.subscription_in_bucket().await.unwrap();
    let original = site_in_bucket(&service).await;
    let bucket = service.bucket().await;
    let subscription_key = format!("subscription.{}", subscription.id);

    // Lost.
    bucket.delete(&subscription_key).await.unwrap();
    // Edited by hand, in revisions below, equal to and above the database's; and nonsense.
    for (revision, repaired_to) in [(0, 1), (1, 2), (7, 8)] {
        bucket.put(&Record::Site(Site { name: "Edited".into(), revision, ..original.clone() })).await.unwrap();
        service.restart().await;
        let site = site_in_bucket(&service).await;
        assert_eq!((site.name.as_str(), site.revision), (original.name.as_str(), repaired_to));
    }
    assert_eq!(service.subscription_in_bucket().await, Some(subscription.clone()));
    let raw = async_nats::jetstream::new(service.nats.client().await).get_key_value("config").await.unwrap();
    raw.put(format!("site.{SITE}"), "nonsense".into()).await.unwrap();

    // Orphans: a subscription that nobody made, and a key that is not ours.
    let orphan = builders::subscription(SITE, subscription.account, "https://orphan.example/");
    bucket.put(&secrets::records(&orphan)[1]).await.unwrap();
    raw.put("site.nowhere", "{}".into()).await.unwrap();
    service.stop().await;
    let mut recorded = service.bus.consume(ConsumerName::ActivityLog).await.unwrap();
    service.restart().await;
    let mut keys = bucket.keys().await.unwrap();
    keys.retain(|key| !key.starts_with("data_key."));
    keys.sort();
    let expected = [
        format!("account.{}", subscription.account),
        "organisation.o4fKq2".to_owned(),
        format!("site.{SITE}"),
        subscription_key,
    ];
    assert_eq!(keys, expected);
    assert_eq!(site_in_bucket(&service).await.revision, 8);
    let message = next_change(&mut recorded).await;
    let change: EndpointChanged = serde_json::from_slice(&message.payload).unwrap();
    assert_eq!((change.subscription, change.change), (orphan.id, EndpointChange::Removed));

    // And a pass with nothing to do changes nothing.
    let before = raw.status().await.unwrap().info.state.last_sequence;
    service.restart().await;
    assert_eq!(raw.status().await.unwrap().info.state.last_sequence, before);
    assert!(service.is_ready());
}

#[tokio::test]
async fn a_bus_that_does_not_answer_is_503_and_the_repeat_succeeds() {
    let mut service = Harness::on_sqlite().await;
    let key = service.tenants().await;
    service.nats.pause();
    // The audit waits 5 s for the bus (`bus.publish_deadline`), and what comes after it is not begun. How late a busy machine
    // is with that says nothing; only a hang takes so long as this.
    let asking = service.account(Method::PUT, PATH, &key, body());
    let answer = tokio::time::timeout(Duration::from_secs(30), asking).await.expect("it is answered");
    answer.expect(503);
    assert!(answer.headers.contains_key("retry-after"));
    let detail = answer.body["detail"].as_str().unwrap();
    assert!(detail.contains("could not be recorded"), "{detail}");
    service.nats.resume();
    service.account(Method::PUT, PATH, &key, body()).await.expect(200);
    let subscription = service.subscription_in_bucket().await.unwrap();
    assert_eq!(subscription.uri, "https://receiver.example/post");
}

#[tokio::test]
async fn a_repeat_puts_a_removal_in_force_that_could_not_be() {
    let service = Harness::on_sqlite().await;
    let key = service.tenants().await;
    service.account(Method::PUT, PATH, &key, body()).await.expect(200);
    let bucket = refusing(&service).await;
    for _ in 0..2 {
        let answer = service.account(Method::DELETE, PATH, &key, Value::Null).await;
        answer.expect(503);
        assert!(answer.body["detail"].as_str().unwrap().contains("repeat it"), "{}", answer.body);
    }
    assert!(service.subscription_in_bucket().await.is_some());
    bucket.restore().await;
    let mut recorded = service.bus.consume(ConsumerName::ActivityLog).await.unwrap();
    service.account(Method::DELETE, PATH, &key, Value::Null).await.expect(404);
    assert_eq!(service.subscription_in_bucket().await, None);
    let message = next_change(&mut recorded).await;
    let change: EndpointChanged = serde_json::from_slice(&message.payload).unwrap();
    assert_eq!(change.change, EndpointChange::Removed);
    service.account(Method::DELETE, PATH, &key, Value::Null).await.expect(404);
}

#[tokio::test]
async fn a_repeat_puts_a_removal_in_force_that_another_replica_could_not() {
    let service = Harness::on_sqlite().await;
    let key = service.tenants().await;
    service.account(Method::PUT, PATH, &key, body()).await.expect(200);
    let stands = service.subscription_in_bucket().await.unwrap();
    // Its SQL, and no more.
    let owner = Owner { site: &stands.site, feature: stands.feature, account: stands.account };
    subscriptions::delete(service.store().await.connection(), owner).await.unwrap();
    service.account(Method::DELETE, PATH, &key, Value::Null).await.expect(404);
    assert_eq!(service.subscription_in_bucket().await, None);
}

#[tokio::test]
async fn a_repeat_puts_a_revocation_in_force_that_could_not_be() {
    let service = Harness::on_sqlite().await;
    let key = service.tenants().await;
    service.account(Method::PUT, PATH, &key, body()).await.expect(200);
    let id = service.subscription_in_bucket().await.unwrap().id;
    let path = format!("/admin/v1/endpoints/{id}");
    let rotated = service.operator(Method::POST, &format!("{path}/rotate-secret"), Value::Null).await;
    rotated.expect(200);
    let leaked = rotated.body["keys"][1]["keyId"].as_str().unwrap();
    let bucket = refusing(&service).await;
    let revoke = async || service.operator(Method::DELETE, &format!("{path}/secrets/{leaked}"), Value::Null).await;
    for _ in 0..2 {
        revoke().await.expect(503);
    }
    assert_eq!(service.subscription_in_bucket().await.unwrap().signing_keys.len(), 2, "it signs on");
    bucket.restore().await;
    revoke().await.expect(404);
    assert_eq!(service.subscription_in_bucket().await.unwrap().signing_keys.len(), 1);
}

/// A config bucket that takes nothing.
struct Refusing {
    jetstream: async_nats::jetstream::Context,
    usual: Config,
}

async fn refusing(service: &Harness) -> Refusing {
    let jetstream = async_nats::jetstream::new(service.nats.client().await);
    let mut stream = jetstream.get_stream("KV_config").await.unwrap();
    let usual = stream.info().await.unwrap().config.clone();
    // Headers count.
    jetstream.update_stream(Config { max_message_size: 1, ..usual.clone() }).await.unwrap();
    Refusing { jetstream, usual }
}

impl Refusing {
    async fn restore(self) {
        self.jetstream.update_stream(self.usual).await.unwrap();
    }
}

#[tokio::test]
async fn the_service_goes_on_after_a_restart_of_the_bus() {
    let mut service = Harness::on_sqlite().await;
    let key = service.tenants().await;
    service.nats.restart().await;
    slipstream_test_support::eventually(Duration::from_secs(20), async || {
        let answer = service.account(Method::PUT, PATH, &key, body()).await;
        if answer.status == 200 { Ok(()) } else { Err(answer.body) }
    })
    .await;
    assert!(service.subscription_in_bucket().await.is_some());
}

#[tokio::test]
async fn a_locked_database_is_503() {
    let service = Harness::on_sqlite().await;
    let key = service.tenants().await;
    let store = Store::connect(&service.database).await.unwrap();
    let writer = store.begin().await.unwrap();
    let answer = service.account(Method::PUT, PATH, &key, body()).await;
    answer.expect(503);
    assert!(answer.headers.contains_key("retry-after"));
    drop(writer);
    service.account(Method::PUT, PATH, &key, body()).await.expect(200);
}

/// They have no row: whoever wrote them removes them.
#[tokio::test]
async fn keys_of_open_dental_are_left_where_they_are() {
    let mut service = Harness::on_sqlite().await;
    let bucket = service.bucket().await;
    let key = Record::OpenDentalKey(OpenDentalKey {
        id: OpenDentalKeyId(uuid::Uuid::from_u128(7)),
        developer: KeyHash::of("dev"),
        customer: KeyHash::of("cust"),
        practice: "mill-lane".into(),
        permissions: vec![OpenDentalPermission::Subscriptions],
        revision: 1,
    });
    bucket.put(&key).await.unwrap();
    service.restart().await;
    assert_eq!(bucket.get(&key.key()).await.unwrap(), Some(key));
    service.stop().await;
}
