//! The secrets of subscriptions: their history, who sees them, and that they rest and travel sealed.

use http::Method;
use serde_json::{Value, json};
use slipstream_core::config::EcgSubscription;
use slipstream_core::contract::AuditOutcome;
use slipstream_core::sealing::{Place, SecretText, Tenant};
use slipstream_core::slug::Slug;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::Vault;
use slipstream_service::config::SecretsConfig;
use slipstream_store::{ConnectionTrait as _, data_keys};
use slipstream_subscription_registry::{Rotated, rotate_master_key};
use slipstream_test_support::secrets;

use super::subscriptions::wanted;
use super::{MANAGER, ORGANIZATION, World, done, listed, refused};
use crate::audited::Records;
use crate::harness::{Answer, Harness};

crate::on_both_databases!(
    a_new_secret_takes_over_and_the_one_before_stays_good_for_its_time,
    a_history_shows_every_secret_once,
    a_given_secret_is_taken_by_its_rules,
    of_many_new_ones_at_once_each_has_its_time,
    secrets_rest_and_travel_sealed_and_survive_another_master_key,
);

const GIVEN: &str = "canary-4711-given";

async fn put(world: &World, path: &str, secret: &str) -> Answer {
    world.manager(Method::POST, &format!("{path}/webhook-secret-histories"), json!({ "secretKey": secret })).await
}

async fn renew(world: &World, path: &str) {
    let answer = world.manager(Method::PUT, &format!("{path}/secrets"), Value::Null).await;
    done(&answer, 200);
    assert_eq!(answer.body, json!({ "value": true }));
}

async fn secret(world: &World, path: &str, query: &str) -> String {
    let answer = world.manager(Method::GET, &format!("{path}/secrets{query}"), Value::Null).await;
    done(&answer, 200);
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert_eq!(answer.body.as_object().unwrap().len(), 1);
    answer.body["secretKey"].as_str().unwrap().to_owned()
}

/// All of the history, the oldest first.
async fn history(world: &World, path: &str) -> Vec<Value> {
    let path = format!("{path}/webhook-secret-histories?order_by=ASC&take=100");
    let answer = world.manager(Method::GET, &path, Value::Null).await;
    done(&answer, 200);
    assert_eq!(answer.headers["cache-control"], "no-store");
    answer.body["items"].as_array().unwrap().clone()
}

fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

/// Each ends where the next one begins, after it began, and one has no end.
#[track_caller]
fn well_formed(history: &[Value]) {
    for pair in history.windows(2) {
        assert_eq!(pair[0]["validTo"], pair[1]["validFrom"]);
        assert!(time(&pair[0]["validFrom"]) < time(&pair[1]["validFrom"]), "{history:?}");
    }
    assert_eq!(history.iter().filter(|it| it["validTo"].is_null()).count(), 1);
    assert!(history.last().unwrap()["validTo"].is_null());
}

async fn a_new_secret_takes_over_and_the_one_before_stays_good_for_its_time(service: Harness) {
    let (world, _) = World::with_event(service).await;
    let path = world.subscribed(wanted()).await;
    let made = world.get(&path).await;
    let first = secret(&world, &path, "").await;
    assert_eq!(made["secretKey"], first.as_str());
    renew(&world, &path).await;
    let second = secret(&world, &path, "").await;
    assert!(second.len() == 43 && second != first);
    let now = world.get(&path).await;
    assert_eq!(now["secretKey"], second.as_str());
    assert!(time(&now["auditInfo"]["updatedAt"]) > time(&made["auditInfo"]["updatedAt"]));
    done(&put(&world, &path, GIVEN).await, 201);

    let history = history(&world, &path).await;
    well_formed(&history);
    let shown: Vec<_> = history.iter().map(|it| it["secretKey"].as_str().unwrap()).collect();
    assert_eq!(shown, [&first, &second, GIVEN]);
    assert_eq!(history[0]["validFrom"], made["auditInfo"]["createdAt"]);
    // Half open: at the moment of a change it is the new one's time. As a date and time, and as a number.
    for (index, it) in history.iter().enumerate() {
        let from = time(&it["validFrom"]).as_millis();
        let before = if index == 0 { None } else { Some(shown[index - 1]) };
        assert_eq!(
            secret(&world, &path, &format!("?createdAt={}", it["validFrom"].as_str().unwrap())).await,
            shown[index]
        );
        assert_eq!(secret(&world, &path, &format!("?createdAt={from}")).await, shown[index]);
        let asked = format!("?createdAt={}", from - 1);
        if let Some(before) = before {
            assert_eq!(secret(&world, &path, &asked).await, before);
        } else {
            refused(&world.manager(Method::GET, &format!("{path}/secrets{asked}"), Value::Null).await, 404);
        }
    }
    assert_eq!(secret(&world, &path, "?createdAt=9999-12-31T23:59:59Z").await, GIVEN);
    for wrong in ["", "now", "2024-11-27", "1.5", "99999999999999999999", "1&createdAt=2"] {
        let asked = format!("{path}/secrets?createdAt={wrong}");
        let told = refused(&world.manager(Method::GET, &asked, Value::Null).await, 400);
        assert!(told[0].contains("`createdAt`"), "{told:?}");
    }
    // In force: all of them, the newest in front.
    let stands = opened(&world, world.in_bucket(&path).await).await;
    let known: Vec<_> = stands.secrets.iter().map(|it| it.secret.expose().unwrap()).collect();
    assert_eq!(known, [GIVEN, &second, &first]);
}

/// Opened by the keys that stand in the bucket.
async fn opened(world: &World, sealed: EcgSubscription) -> EcgSubscription {
    let vault = Vault::new(secrets::master_key(), None);
    for key in world.service.data_keys().await {
        vault.learn(&key).unwrap();
    }
    vault.opened_ecg(sealed).unwrap()
}

async fn a_history_shows_every_secret_once(service: Harness) {
    let (world, _) = World::with_event(service).await;
    let path = world.subscribed(wanted()).await;
    for n in 1..=4 {
        let answer = put(&world, &path, &format!("{GIVEN}-{n}")).await;
        done(&answer, 201);
        assert_eq!(
            (&answer.body["secretKey"], &answer.body["validTo"]),
            (&format!("{GIVEN}-{n}").into(), &Value::Null)
        );
        assert_eq!(answer.body["auditInfo"]["createdBy"], MANAGER);
        assert!(answer.body.get("subscription").is_none());
    }
    let list = format!("{path}/webhook-secret-histories");
    let get = async |query: &str| world.manager(Method::GET, &format!("{list}?{query}"), Value::Null).await;
    let keys = |answer: &Answer| {
        let items = answer.body["items"].as_array().unwrap();
        items.iter().map(|it| it["secretKey"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let newest = get("take=2").await;
    assert_eq!((listed(&newest).1, keys(&newest)), (5, vec![format!("{GIVEN}-4"), format!("{GIVEN}-3")]));
    assert_eq!(newest.body["totalPages"], 3);
    assert_eq!(keys(&get("take=2&skip=1&order_by=ASC").await), [format!("{GIVEN}-2"), format!("{GIVEN}-3")]);
    let included = get("include=subscription&take=1").await;
    let item = &included.body["items"][0]["subscription"];
    assert_eq!(
        (&item["organizationId"], &item["postUri"]),
        (&ORGANIZATION.into(), &"https://receiver.example/ecg".into())
    );
    assert!(item.get("secretKey").is_none());
    refused(&get("include=event").await, 400);
    refused(&get("take=0").await, 400);
}

async fn a_given_secret_is_taken_by_its_rules(service: Harness) {
    let (world, _) = World::with_event(service).await;
    let path = world.subscribed(wanted()).await;
    let long = "x".repeat(256);
    for given in ["12345678", "ecg-secret-key", " spaces are fine ", &long] {
        done(&put(&world, &path, given).await, 201);
        assert_eq!(secret(&world, &path, "").await, given);
        refused(&put(&world, &path, given).await, 409);
    }
    let sealed = world.in_bucket(&path).await.secrets[0].secret.sealed().unwrap().to_string();
    for wrong in ["", "1234567", "secret-\u{e9}\u{e9}", "12345678\n", &"x".repeat(257), &sealed] {
        let told = refused(&put(&world, &path, wrong).await, 400);
        assert!(told[0].starts_with("secretKey ") && !told[0].contains("12345678"), "{told:?}");
    }
    let list = format!("{path}/webhook-secret-histories");
    for body in [json!({}), json!({ "secretKey": null }), json!({ "secretKey": 12_345_678 }), json!([])] {
        refused(&world.manager(Method::POST, &list, body).await, 400);
    }
    // An earlier one may come back.
    done(&put(&world, &path, "12345678").await, 201);
    well_formed(&history(&world, &path).await);
}

async fn of_many_new_ones_at_once_each_has_its_time(service: Harness) {
    let (world, _) = World::with_event(service).await;
    let path = world.subscribed(wanted()).await;
    let one = || renew(&world, &path);
    tokio::join!(one(), one(), one(), one(), one(), one());
    let history = history(&world, &path).await;
    assert_eq!(history.len(), 7);
    well_formed(&history);
    assert_eq!(world.in_bucket(&path).await.secrets.len(), 7);
}

async fn secrets_rest_and_travel_sealed_and_survive_another_master_key(service: Harness) {
    let (mut world, _) = World::with_event(service).await;
    let path = world.subscribed(wanted()).await;
    let made = secret(&world, &path, "").await;
    done(&put(&world, &path, GIVEN).await, 201);
    let sealed = world.in_bucket(&path).await;
    assert!(sealed.secrets.iter().all(|it| it.secret.is_sealed()));
    let opened = opened(&world, sealed.clone()).await;
    assert_eq!(opened.secrets[0].secret, SecretText::new(GIVEN));
    let tenants: Vec<_> = world.service.data_keys().await.into_iter().map(|key| key.tenant).collect();
    assert!(
        tenants.contains(&Tenant::Organization(ORGANIZATION.parse().unwrap())) && tenants.len() == 2,
        "{tenants:?}"
    );

    // Neither of them stands in SQL in clear, nor in the bucket.
    let store = world.service.store().await;
    let text = serde_json::to_string(&sealed).unwrap();
    assert!(text.contains("sealed.v1.") && !text.contains(GIVEN) && !text.contains(&made), "{text}");
    let touch = async |secrets: &str| {
        let statement = format!("UPDATE ecg_secrets SET secret = secret WHERE secret {secrets}");
        store.connection().execute_unprepared(&statement).await.unwrap().rows_affected()
    };
    assert_eq!((touch("LIKE 'sealed.v1.%'").await, touch("NOT LIKE 'sealed.v1.%'").await), (2, 0));
    // Sealed for their place: elsewhere they do not open.
    let vault = Vault::new(secrets::master_key(), None);
    for key in data_keys::all(store.connection()).await.unwrap() {
        vault.learn(&key).unwrap();
    }
    assert!(vault.unseal(&sealed.secrets[0].secret, &Place::signing_key(sealed.id)).is_err());

    let directory = tempfile::tempdir().unwrap();
    let new = directory.path().join("new.key");
    std::fs::write(&new, "5".repeat(64)).unwrap();
    let keys = |current: &std::path::Path, previous: Option<std::path::PathBuf>| SecretsConfig {
        master_key_file: Some(current.to_owned()),
        previous_master_key_file: previous,
    };
    world.service.settings.secrets = keys(&new, Some(secrets::master_key_file()));
    world.service.restart().await;
    let service = &world.service;
    let rotated = rotate_master_key(&service.settings.secrets, &service.database, &service.bus_config()).await.unwrap();
    assert_eq!(rotated, Rotated { rewrapped: 2, total: 2 });
    world.service.settings.secrets = keys(&new, None);
    world.service.restart().await;
    assert_eq!(world.in_bucket(&path).await, sealed, "what is sealed stays as it is");
    assert_eq!(secret(&world, &path, "").await, GIVEN);
    renew(&world, &path).await;
}

#[tokio::test]
async fn whoever_sees_or_changes_a_secret_is_on_record_and_sees_none_without() {
    let (mut world, _) = World::with_event(Harness::on_sqlite().await).await;
    let path = world.subscribed(wanted()).await;
    let id = path.rsplit('/').next().unwrap();
    let mut records = Records::of(&world.service).await;
    let organization = Slug::of_organization(ORGANIZATION.parse().unwrap());
    for (method, rest, body, action) in [
        (Method::GET, "", Value::Null, "ecg-subscription.read"),
        (Method::GET, "/secrets", Value::Null, "ecg-secret.read"),
        (Method::PUT, "/secrets", Value::Null, "ecg-secret.rotate"),
        (Method::POST, "/webhook-secret-histories", json!({ "secretKey": GIVEN }), "ecg-secret.set"),
        (Method::GET, "/webhook-secret-histories", Value::Null, "ecg-secret.list"),
    ] {
        let answer = world.manager(method, &format!("{path}{rest}"), body).await;
        assert!(answer.status.is_success(), "{}", answer.body);
        // Past what was done before.
        let record = loop {
            let record = records.next().await;
            let text = serde_json::to_string(&record).unwrap();
            assert!(!text.contains(GIVEN), "{text}");
            if record.action.as_str() == action && record.outcome == AuditOutcome::Done {
                break record;
            }
        };
        assert_eq!((record.target.as_deref(), record.site), (Some(id), Some(organization.clone())), "{action}");
        assert!(record.actor.ends_with(&format!("/{MANAGER}")), "{}", record.actor);
    }
    world.service.nats.pause();
    let answer = world.manager(Method::GET, &format!("{path}/secrets"), Value::Null).await;
    refused(&answer, 503);
    assert!(!answer.body.to_string().contains(GIVEN));
    world.service.nats.resume();
}
