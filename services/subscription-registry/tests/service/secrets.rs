//! Secrets at rest: in SQL and in the bucket they are sealed, and nothing starts with the wrong master key (THREATS 5).

use std::path::PathBuf;

use http::Method;
use serde_json::{Value, json};
use slipstream_core::config::{Record, Subscription};
use slipstream_core::sealing::{SecretText, Tenant};
use slipstream_service::Vault;
use slipstream_service::config::SecretsConfig;
use slipstream_store::handshakes::wishes;
use slipstream_store::{ConnectionTrait as _, data_keys, records, subscriptions};
use slipstream_subscription_registry::{Rotated, rotate_master_key};
use slipstream_test_support::builders::SIGNING_SECRET;
use slipstream_test_support::{builders, secrets};
use tempfile::TempDir;

use crate::harness::{Harness, PATH, Settings};

crate::on_both_databases!(
    secrets_rest_and_travel_sealed_and_are_shown_to_those_who_may_see_them,
    what_an_older_release_wrote_in_clear_is_sealed_at_the_start,
    another_master_key_ends_the_start_and_changes_nothing,
    a_rotated_master_key_takes_over_while_services_hold_both,
    many_at_once_make_one_key,
);

const CANARY: &str = "canary-4711-header";

fn body() -> Value {
    json!({"Uri": "https://receiver.example/post", "Headers": [{"Name": "X-Key", "Value": CANARY}]})
}

async fn subscribed(service: &Harness) -> Subscription {
    let key = service.tenants().await;
    let answer = service.account(Method::PUT, PATH, &key, body()).await;
    answer.expect(200);
    assert_eq!(answer.body["Headers"][0]["Value"], CANARY, "its owner sees it");
    service.sealed_in_bucket().await.unwrap()
}

/// A file with a master key that nothing is wrapped by.
fn another_master_key(directory: &TempDir) -> PathBuf {
    let path = directory.path().join("another.key");
    std::fs::write(&path, "5".repeat(64)).unwrap();
    path
}

fn with_keys(current: Option<PathBuf>, previous: Option<PathBuf>) -> Settings {
    let secrets = SecretsConfig { master_key_file: current, previous_master_key_file: previous };
    Settings { secrets, ..Settings::default() }
}

async fn secrets_rest_and_travel_sealed_and_are_shown_to_those_who_may_see_them(service: Harness) {
    let sealed = subscribed(&service).await;
    let opened = service.subscription_in_bucket().await.unwrap();
    assert_eq!(opened.headers[0].value, SecretText::new(CANARY));
    let secret = opened.signing_keys[0].secret.expose().unwrap();
    let shown = service.operator(Method::GET, &format!("/admin/v1/endpoints/{}/secret", opened.id), Value::Null).await;
    assert_eq!(shown.body["keys"][0]["secret"], secret);

    let store = service.store().await;
    let row = records::get(store.connection(), &format!("subscription.{}", opened.id)).await.unwrap().unwrap();
    assert_eq!(
        row,
        Record::Subscription(Box::new(sealed)),
        "the bucket is the rows' image, sealed value by sealed value"
    );
    let text = serde_json::to_string(&row).unwrap();
    assert!(text.contains("sealed.v1.") && !text.contains(CANARY) && !text.contains(secret), "{text}");

    // Rotated keys too; those that stay are sealed anew and stay what they are.
    let path = format!("/admin/v1/endpoints/{}/rotate-secret", opened.id);
    let rotated = service.operator(Method::POST, &path, Value::Null).await;
    rotated.expect(200);
    let keys = service.subscription_in_bucket().await.unwrap().signing_keys;
    assert_eq!(keys[0].secret, SecretText::new(rotated.body["keys"][0]["secret"].as_str().unwrap()));
    assert_eq!(keys[1].secret, SecretText::new(secret));
    // What a replaced subscription keeps opens beside what it gets.
    let key = service.new_account(json!({})).await.body["keys"]["primary"].as_str().unwrap().to_owned();
    for value in ["first", "second"] {
        let body = json!({"Uri": "https://receiver.example/post", "Headers": [{"Name": "X-Key", "Value": value}]});
        let answer = service.account(Method::PUT, PATH, &key, body).await;
        answer.expect(200);
        assert_eq!(answer.body["Headers"][0]["Value"], value);
    }
    let store = service.store().await;
    let keys = data_keys::all(store.connection()).await.unwrap();
    for row in subscriptions::all(store.connection()).await.unwrap() {
        secrets::opened(row, &keys);
    }
}

async fn what_an_older_release_wrote_in_clear_is_sealed_at_the_start(mut service: Harness) {
    let before = subscribed(&service).await;
    service.stop().await;
    let store = service.store().await;
    let clear = format!(
        "UPDATE subscriptions SET headers = '[{{\"name\":\"X-Key\",\"value\":\"{CANARY}\"}}]', \
         signing_keys = '[{{\"secret\":\"{SIGNING_SECRET}\",\"until\":null}}]'"
    );
    let wish = format!(
        "INSERT INTO wishes (subscription, uri, headers, event_types, expires_at_ms) VALUES ('{}', \
         'https://new.example/', '[{{\"name\":\"X-Key\",\"value\":\"{CANARY}\"}}]', '[]', 9000000000000)",
        before.id
    );
    for statement in [clear, wish] {
        store.connection().execute_unprepared(&statement).await.unwrap();
    }
    service.restart().await;
    let row = subscriptions::get(store.connection(), before.id).await.unwrap().unwrap();
    assert!(row.secrets().all(SecretText::is_sealed) && row.revision > before.revision);
    let [wish] = &wishes::all(store.connection()).await.unwrap()[..] else { panic!("one wish") };
    let wished = Subscription { headers: wish.headers.clone(), ..row.clone() };
    assert!(wish.headers[0].value.is_sealed());
    let keys = service.data_keys().await;
    assert_eq!(secrets::opened(wished, &keys).headers[0].value, SecretText::new(CANARY));
    assert_eq!(service.sealed_in_bucket().await.as_ref(), Some(&row));
    let opened = service.subscription_in_bucket().await.unwrap();
    assert_eq!(opened.headers[0].value, SecretText::new(CANARY));
    assert_eq!(opened.signing_keys[0].secret, SecretText::new(SIGNING_SECRET));
    // Once.
    service.restart().await;
    assert_eq!(service.sealed_in_bucket().await, Some(row));
}

async fn another_master_key_ends_the_start_and_changes_nothing(mut service: Harness) {
    let before = subscribed(&service).await;
    service.stop().await;
    let directory = tempfile::tempdir().unwrap();
    let raw = async_nats::jetstream::new(service.nats.client().await).get_key_value("config").await.unwrap();
    let written = raw.status().await.unwrap().info.state.last_sequence;
    let another = another_master_key(&directory);
    let missing = directory.path().join("missing");
    for (current, told) in [
        (Some(another.clone()), "wrong master key"),
        (None, "secrets.master_key_file is required"),
        (Some(missing), "cannot read the master key file"),
    ] {
        let error = service.try_start(&with_keys(current, None)).await.unwrap_err();
        assert!(format!("{error:#}").contains(told), "{error:#}");
    }
    // A database that knows nothing of the bucket's keys does not make the wrong key right.
    let (_other, url) = slipstream_test_support::sqlite::database();
    let database = std::mem::replace(&mut service.database.url, url.into());
    let error = service.try_start(&with_keys(Some(another), None)).await.unwrap_err();
    assert!(format!("{error:#}").contains("wrong master key"), "{error:#}");
    service.database.url = database;

    assert_eq!(raw.status().await.unwrap().info.state.last_sequence, written);
    service.restart().await;
    assert_eq!(service.sealed_in_bucket().await, Some(before));
}

async fn a_rotated_master_key_takes_over_while_services_hold_both(mut service: Harness) {
    let before = subscribed(&service).await;
    let opened = service.subscription_in_bucket().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (old, new) = (secrets::master_key_file(), another_master_key(&directory));
    let both = with_keys(Some(new.clone()), Some(old.clone()));
    service = service.with(both).await;
    assert_eq!(service.sealed_in_bucket().await.as_ref(), Some(&before), "holding both changes nothing yet");

    let bus = service.bus_config();
    let rotate = async |secrets: &SecretsConfig| rotate_master_key(secrets, &service.database, &bus).await;
    let (only_old, only_new) = (with_keys(Some(old.clone()), None), with_keys(Some(new), None));
    let error = rotate(&only_new.secrets).await.unwrap_err();
    assert!(format!("{error:#}").contains("wrong master key"), "{error:#}");
    assert_eq!(rotate(&service.settings.secrets).await.unwrap(), Rotated { rewrapped: 2, total: 2 });
    assert_eq!(rotate(&service.settings.secrets).await.unwrap(), Rotated { rewrapped: 0, total: 2 });
    let vault = Vault::open(&only_new.secrets).unwrap();
    for key in service.data_keys().await {
        assert_eq!((key.revision, vault.learn(&key).unwrap()), (2, true), "the bucket has it wrapped anew");
    }
    // The running one goes on, and so does one that has the new key only; the old key alone opens nothing any more.
    service.account(Method::PUT, PATH, &service.tenants().await, body()).await.expect(200);
    assert!(service.try_start(&only_old).await.is_err());
    service = service.with(only_new).await;
    let store = service.store().await;
    let row = subscriptions::get(store.connection(), before.id).await.unwrap().unwrap();
    assert_eq!(row, before, "what is sealed stays as it is");
    assert_eq!(vault.opened(row).unwrap(), opened);
}

async fn many_at_once_make_one_key(service: Harness) {
    let key = service.tenants().await;
    let put = || service.account(Method::PUT, PATH, &key, body());
    let answers = tokio::join!(put(), put(), put(), put());
    for answer in [answers.0, answers.1, answers.2, answers.3] {
        answer.expect(200);
    }
    let mut tenants: Vec<_> = service.data_keys().await.into_iter().map(|key| key.tenant).collect();
    tenants.sort();
    assert_eq!(tenants, [Tenant::System, Tenant::Site(builders::slug(builders::SITE))]);
    assert_eq!(service.subscription_in_bucket().await.unwrap().headers[0].value, SecretText::new(CANARY));
}
