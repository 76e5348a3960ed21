//! Signing keys: made, rotated, revoked, and the public ones served (SPEC 4.6).

use std::time::Duration;

use axum::body::Body;
use http::{Method, Request, header};
use serde_json::{Value, json};
use slipstream_core::config::Subscription;
use slipstream_core::ids::SubscriptionId;
use slipstream_core::signing::{Key, sign, verify};
use slipstream_core::timestamp::Timestamp;
use slipstream_service::clock;
use slipstream_subscription_registry::SigningConfig;

use crate::harness::{Answer, Harness, PATH, Settings};

crate::on_both_databases!(a_rotated_key_signs_on_for_its_grace, a_revoked_key_is_gone_when_that_is_answered);

async fn subscribed(service: &Harness) -> SubscriptionId {
    let key = service.tenants().await;
    service.account(Method::PUT, PATH, &key, json!({"Uri": "https://receiver.example/"})).await.expect(200);
    service.subscription_in_bucket().await.unwrap().id
}

async fn rotate(service: &Harness, id: SubscriptionId, body: Value) -> Answer {
    service.operator(Method::POST, &format!("/admin/v1/endpoints/{id}/rotate-secret"), body).await
}

async fn listed(service: &Harness, id: SubscriptionId) -> Value {
    let answer = service.operator(Method::GET, &format!("/admin/v1/endpoints/{id}/secret"), Value::Null).await;
    answer.expect(200);
    assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
    answer.body["keys"].clone()
}

/// What a receiver sees, without any credential.
async fn key_set(service: &Harness, id: SubscriptionId) -> Answer {
    let request = Request::builder().uri(format!("/webhooks/keys/{id}")).body(Body::empty()).unwrap();
    service.send(request).await
}

async fn in_bucket(service: &Harness) -> Subscription {
    service.subscription_in_bucket().await.unwrap()
}

/// Whether deliveries, signed as the bucket says, verify with `key` alone.
async fn verifies(service: &Harness, key: &str) -> bool {
    let keys: Vec<_> = in_bucket(service)
        .await
        .signing_keys
        .iter()
        .map(|key| Key::parse(key.secret.expose().unwrap()).unwrap())
        .collect();
    let now = clock::now().as_seconds();
    let signature = sign(&keys, "msg_1", now, b"{}");
    verify(&[Key::parse(key).unwrap()], "msg_1", &now.to_string(), &signature, b"{}", now).is_ok()
}

async fn a_rotated_key_signs_on_for_its_grace(service: Harness) {
    let id = subscribed(&service).await;
    let before = listed(&service, id).await;
    let first = before[0].clone();
    assert_eq!(before.as_array().unwrap().len(), 1);
    assert_eq!((&first["scheme"], &first["until"], first.get("publicKey")), (&json!("v1"), &Value::Null, None));
    assert_eq!(first["keyId"].as_str().unwrap().len(), 16);

    // No body at all: v1, with a day's grace.
    let asked = clock::now();
    let rotated = rotate(&service, id, Value::Null).await;
    rotated.expect(200);
    assert_eq!(rotated.headers[header::CACHE_CONTROL], "no-store");
    assert_eq!(rotated.body["keys"], listed(&service, id).await);
    let [second, old] = [0, 1].map(|nth| rotated.body["keys"][nth].clone());
    assert_eq!((&second["until"], &old["secret"]), (&Value::Null, &first["secret"]));
    assert_eq!(old["keyId"], first["keyId"]);
    let until: Timestamp = old["until"].as_str().unwrap().parse().unwrap();
    let grace = until.since(asked);
    assert!(grace >= Duration::from_hours(24) && grace < Duration::from_hours(25), "{grace:?}");
    let bucket = in_bucket(&service).await;
    assert_eq!((bucket.revision, bucket.signing_keys.len()), (2, 2));
    for key in [&first, &second] {
        assert!(verifies(&service, key["secret"].as_str().unwrap()).await);
    }

    // Another scheme is added; what there is stays.
    let added = rotate(&service, id, json!({"scheme": "v1a"})).await;
    added.expect(200);
    let pair = added.body["keys"][0].clone();
    assert_eq!((&pair["scheme"], &pair["until"]), (&json!("v1a"), &Value::Null));
    assert_eq!(pair.get("secret"), None);
    assert_eq!(added.body["keys"][1], second);
    assert_eq!(added.body["keys"][2], old);
    assert!(verifies(&service, pair["publicKey"].as_str().unwrap()).await);

    // Without grace the others of the scheme are gone at once, and only they.
    let cut = rotate(&service, id, json!({"scheme": "v1", "graceSeconds": 0})).await;
    cut.expect(200);
    assert_eq!(cut.body["keys"].as_array().unwrap().len(), 2);
    for (key, is_in_force) in [(&first, false), (&second, false), (&cut.body["keys"][0], true), (&pair, true)] {
        assert_eq!(verifies(&service, verifying(key)).await, is_in_force);
    }

    // At most eight.
    for _ in 0..6 {
        rotate(&service, id, json!({"scheme": "v1", "graceSeconds": 604_800})).await.expect(200);
    }
    let bucket = in_bucket(&service).await;
    rotate(&service, id, json!({"scheme": "v1"})).await.expect(409);
    assert_eq!(in_bucket(&service).await, bucket);
    rotate(&service, id, json!({"scheme": "v1", "graceSeconds": 0})).await.expect(200);
}

#[tokio::test]
async fn without_a_scheme_the_one_that_signs_is_rotated() {
    let schemes = vec!["v1a".to_owned()].try_into().unwrap();
    let signing = SigningConfig { schemes };
    let service = Harness::on_sqlite().await.with(Settings { signing, ..Settings::default() }).await;
    let id = subscribed(&service).await;
    let leaked = listed(&service, id).await[0].clone();
    let leaked = leaked["publicKey"].as_str().unwrap();
    assert!(verifies(&service, leaked).await);
    let cut = rotate(&service, id, json!({"graceSeconds": 0})).await;
    cut.expect(200);
    assert!(!verifies(&service, leaked).await);
    assert_eq!((in_bucket(&service).await.signing_keys.len(), &cut.body["keys"][0]["scheme"]), (1, &json!("v1a")));

    // Of two it must say which: a leaked key must not sign on because the other was meant.
    rotate(&service, id, json!({"scheme": "v1"})).await.expect(200);
    let before = in_bucket(&service).await;
    for body in [Value::Null, json!({}), json!({"scheme": null, "graceSeconds": 0})] {
        let refused = rotate(&service, id, body).await;
        refused.expect(400);
        assert_eq!(refused.pointers(), ["#/scheme"]);
    }
    assert_eq!(in_bucket(&service).await, before);
}

#[tokio::test]
async fn no_answer_shows_a_private_half() {
    let schemes = vec!["v1a".to_owned(), "v1".to_owned()].try_into().unwrap();
    let signing = SigningConfig { schemes };
    let service = Harness::on_sqlite().await.with(Settings { signing, ..Settings::default() }).await;
    let id = subscribed(&service).await;
    let secrets: Vec<_> = in_bucket(&service).await.signing_keys.into_iter().map(|key| key.secret).collect();
    let secrets: Vec<_> = secrets.iter().map(|secret| secret.expose().unwrap()).collect();
    assert!(secrets[0].starts_with("whsk_") && secrets[1].starts_with("whsec_"));
    let list = listed(&service, id).await;
    let rotated = rotate(&service, id, json!({"scheme": "v1a"})).await;
    rotated.expect(200);
    for keys in [&list, &rotated.body["keys"]] {
        assert!(!keys.to_string().contains("whsk_"));
        for key in keys.as_array().unwrap() {
            let (is_pair, members) = (key["scheme"] == "v1a", key.as_object().unwrap());
            assert_eq!((members.contains_key("secret"), members.contains_key("publicKey")), (!is_pair, is_pair));
        }
    }
    assert_eq!(list[1]["secret"], json!(secrets[1]));
    assert!(list[0]["publicKey"].as_str().unwrap().starts_with("whpk_"));
    let endpoint = service.operator(Method::GET, &format!("/admin/v1/endpoints/{id}"), Value::Null).await;
    let endpoints = service.operator(Method::GET, "/admin/v1/endpoints", Value::Null).await;
    for answer in [endpoint, endpoints, key_set(&service, id).await] {
        assert!(!answer.body.to_string().contains("whsk_") && !answer.body.to_string().contains("whsec_"));
    }
}

/// What verifies with a key as it is shown: its secret, or its public half.
fn verifying(key: &Value) -> &str {
    key.get("secret").unwrap_or(&key["publicKey"]).as_str().unwrap()
}

async fn a_revoked_key_is_gone_when_that_is_answered(service: Harness) {
    let id = subscribed(&service).await;
    let keys = rotate(&service, id, json!({"scheme": "v1a"})).await.body["keys"].clone();
    let revoke = async |key: &Value| {
        let path = format!("/admin/v1/endpoints/{id}/secrets/{}", key.as_str().unwrap());
        service.operator(Method::DELETE, &path, Value::Null).await
    };
    revoke(&json!("AAAAAAAAAAAAAAAA")).await.expect(404);
    let [pair, symmetric] = [&keys[0], &keys[1]];
    assert_eq!(key_set(&service, id).await.body["keys"][0]["kid"], pair["keyId"]);
    revoke(&symmetric["keyId"]).await.expect(204);
    assert_eq!(in_bucket(&service).await.signing_keys.len(), 1);
    assert!(!verifies(&service, symmetric["secret"].as_str().unwrap()).await);
    revoke(&symmetric["keyId"]).await.expect(404);
    let last = revoke(&pair["keyId"]).await;
    last.expect(409);
    assert!(last.body["detail"].as_str().unwrap().contains("rotate first"));

    // One in grace can be revoked, the current one of which it is the forerunner cannot.
    let keys = rotate(&service, id, json!({"scheme": "v1a"})).await.body["keys"].clone();
    revoke(&keys[0]["keyId"]).await.expect(409);
    assert_eq!(key_set(&service, id).await.body["keys"].as_array().unwrap().len(), 2);
    revoke(&keys[1]["keyId"]).await.expect(204);
    assert_eq!(key_set(&service, id).await.body["keys"].as_array().unwrap().len(), 1);
    assert!(verifies(&service, keys[0]["publicKey"].as_str().unwrap()).await);
    assert!(!verifies(&service, keys[1]["publicKey"].as_str().unwrap()).await);
}

#[tokio::test]
async fn public_keys_stand_at_a_stable_url_newest_first() {
    let service = Harness::on_sqlite().await;
    let id = subscribed(&service).await;
    let empty = key_set(&service, id).await;
    empty.expect(200);
    assert_eq!(empty.body, json!({"keys": []}));
    assert_eq!(empty.headers[header::CONTENT_TYPE], "application/jwk-set+json");
    assert_eq!(empty.headers[header::CACHE_CONTROL], "public, max-age=60");

    let first = rotate(&service, id, json!({"scheme": "v1a"})).await.body["keys"][0].clone();
    let second = rotate(&service, id, json!({"scheme": "v1a"})).await.body["keys"][0].clone();
    let set = key_set(&service, id).await;
    let public = |key: &Value| {
        let public = Key::parse(key["publicKey"].as_str().unwrap()).unwrap().public().unwrap();
        json!({
            "kty": "OKP", "crv": "Ed25519", "x": public.jwk_x(), "kid": key["keyId"], "use": "sig", "alg": "EdDSA",
            "whpk": key["publicKey"],
        })
    };
    assert_eq!(set.body, json!({"keys": [public(&second), public(&first)]}));
    assert!(!set.body.to_string().contains("whsk_") && !set.body.to_string().contains("whsec_"));
    let same = service.account(Method::GET, &format!("/api/v1/webhooks/keys/{id}"), "", Value::Null).await;
    assert_eq!(same.body, set.body);

    for path in ["/webhooks/keys/nonsense", "/webhooks/keys/00000000-0000-4000-8000-00000000000a"] {
        service.account(Method::GET, path, "", Value::Null).await.expect(404);
    }
    service.account(Method::POST, &format!("/webhooks/keys/{id}"), "", Value::Null).await.expect(405);
}

#[tokio::test]
async fn a_key_whose_grace_is_over_is_shown_nowhere() {
    let service = Harness::on_sqlite().await;
    let id = subscribed(&service).await;
    let first = rotate(&service, id, json!({"scheme": "v1a"})).await.body["keys"][0].clone();
    rotate(&service, id, json!({"scheme": "v1a", "graceSeconds": 1})).await.expect(200);
    slipstream_test_support::eventually(Duration::from_secs(5), async || {
        key_set(&service, id).await.body["keys"].as_array().unwrap().len() == 1
    })
    .await;
    assert!(!listed(&service, id).await.to_string().contains(first["publicKey"].as_str().unwrap()));
    // The row still has it, until the next change.
    assert_eq!(in_bucket(&service).await.signing_keys.len(), 3);
    rotate(&service, id, json!({"scheme": "v1", "graceSeconds": 0})).await.expect(200);
    assert_eq!(in_bucket(&service).await.signing_keys.len(), 2);
}

#[tokio::test]
async fn a_new_subscription_signs_as_configured_and_an_old_one_as_before() {
    let service = Harness::on_sqlite().await;
    let id = subscribed(&service).await;
    let schemes = vec!["v1a".to_owned(), "v1".to_owned()].try_into().unwrap();
    let service = service.with(Settings { signing: SigningConfig { schemes }, ..Settings::default() }).await;
    let key = service.new_account(json!({})).await.body["keys"]["primary"].as_str().unwrap().to_owned();
    service.account(Method::PUT, PATH, &key, json!({"Uri": "https://receiver.example/"})).await.expect(200);
    let endpoints = service.operator(Method::GET, "/admin/v1/endpoints", Value::Null).await;
    let new: SubscriptionId = endpoints.body["items"][1]["id"].as_str().unwrap().parse().unwrap();
    let schemes = async |id| {
        let keys = listed(&service, id).await;
        keys.as_array().unwrap().iter().map(|key| key["scheme"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(schemes(new).await, ["v1a", "v1"]);
    assert_eq!(schemes(id).await, ["v1"]);
}

#[tokio::test]
async fn a_rotation_that_is_malformed_changes_nothing() {
    let service = Harness::on_sqlite().await;
    let id = subscribed(&service).await;
    let before = in_bucket(&service).await;
    for (body, pointers) in [
        (json!({"scheme": "v2"}), vec!["#/scheme"]),
        (json!({"scheme": "", "graceSeconds": 604_801}), vec!["#/scheme", "#/graceSeconds"]),
        (json!({"graceSeconds": -1}), vec!["#/graceSeconds"]),
        (json!({"graceSeconds": "0"}), vec!["#/graceSeconds"]),
        (json!({"scheme": 1}), vec!["#/scheme"]),
        (json!([]), vec!["#"]),
    ] {
        let refused = rotate(&service, id, body.clone()).await;
        refused.expect(400);
        assert_eq!(refused.pointers(), pointers, "{body}");
    }
    let nobody = SubscriptionId("00000000-0000-4000-8000-00000000000a".parse().unwrap());
    rotate(&service, nobody, json!({})).await.expect(404);
    service.operator(Method::POST, "/admin/v1/endpoints/nonsense/rotate-secret", Value::Null).await.expect(404);
    let path = format!("/admin/v1/endpoints/{nobody}/secrets/abc");
    service.operator(Method::DELETE, &path, Value::Null).await.expect(404);
    assert_eq!(in_bucket(&service).await, before);
}
