//! Every refusal of S3 to S5 (SPEC 5.1, 5.4).

use axum::body::Body;
use http::{Method, Request, header};
use serde_json::{Value, json};

use crate::harness::{Harness, PATH, SITE};

const FINE: &str = r#"{"Uri":"https://receiver.example/post"}"#;

fn put(key: &str) -> http::request::Builder {
    Request::builder().method(Method::PUT).uri(PATH).header("x-api-key", key).header("content-type", "application/json")
}

#[tokio::test]
async fn callers_without_a_valid_key_are_401() {
    let service = Harness::on_sqlite().await;
    let key = service.tenants().await;
    let wrong = format!("{}_{}", &key[..36], "x".repeat(43));
    for method in [Method::PUT, Method::GET, Method::DELETE] {
        for key in [None, Some(""), Some("nonsense"), Some(wrong.as_str())] {
            let mut request = Request::builder().method(method.clone()).uri(PATH);
            if let Some(key) = key {
                request = request.header("x-api-key", key);
            }
            let answer = service.send(request.body(Body::from(FINE)).unwrap()).await;
            answer.expect(401);
            assert_eq!(answer.headers[header::WWW_AUTHENTICATE], "Bearer");
        }
    }
}

#[tokio::test]
async fn sites_and_features_are_told_apart() {
    let service = Harness::on_sqlite().await;
    let key = service.tenants().await;
    let site = json!({"name": "Elsewhere", "organisation": "o4fKq2", "product": "Exact"});
    service.operator(Method::PUT, "/admin/v1/sites/sUkLWZg", site).await.expect(200);
    let restricted = service.new_account(json!({"sites": [SITE]})).await;
    let publisher = service.new_account(json!({"permissions": ["Events.Publish"]})).await;
    let primary = |answer: &crate::harness::Answer| answer.body["keys"]["primary"].as_str().unwrap().to_owned();
    let (restricted, publisher) = (primary(&restricted), primary(&publisher));
    let path = |site: &str, feature: &str| format!("/sites/{site}/webhooks/features/{feature}");

    for method in [Method::PUT, Method::GET, Method::DELETE] {
        let body = if method == Method::PUT { json!({"Uri": "https://receiver.example/"}) } else { Value::Null };
        for (key, site, feature, status) in [
            (&key, "s!", "physicalpost", 400),
            (&key, "x8n6EzC", "physicalpost", 400),
            (&key, "sgbHJdm", "physicalpost", 404),
            (&key, SITE, "carrierpigeon", 404),
            (&restricted, "sUkLWZg", "physicalpost", 403),
            (&publisher, SITE, "physicalpost", 403),
        ] {
            let answer = service.account(method.clone(), &path(site, feature), key, body.clone()).await;
            answer.expect(status);
            if status == 400 {
                assert!(answer.body["type"].as_str().unwrap().ends_with("/slug-malformed"));
            }
        }
    }
    service.account(Method::POST, PATH, &key, json!({})).await.expect(405);
}

#[tokio::test]
async fn bodies_that_break_a_rule_name_the_member() {
    let service = Harness::on_sqlite().await;
    let key = service.tenants().await;
    let uri = "https://receiver.example/";
    for (body, pointer) in [
        (json!({}), "#/Uri"),
        (json!({"Uri": null}), "#/Uri"),
        (json!({"Uri": 5}), "#/Uri"),
        (json!({"Uri": uri, "Headers": {}}), "#/Headers"),
        (json!({"Uri": uri, "Headers": [{"Value": "x"}]}), "#/Headers/0/Name"),
        (json!({"Uri": uri, "Headers": [{"Name": "Host", "Value": "x"}]}), "#/Headers/0/Name"),
        (json!({"Uri": uri, "Headers": [{"Name": "X-A"}, {"Name": "webhook-id"}]}), "#/Headers/1/Name"),
        (json!({"Uri": uri, "Headers": [{"Name": "X-A", "Value": "a\r\nb"}]}), "#/Headers/0/Value"),
        (json!({"Uri": uri, "Headers": [{"Name": "X-A", "Value": "a".repeat(4097)}]}), "#/Headers/0/Value"),
        (json!({"Uri": uri, "Headers": [{"Name": "X-A", "Value": 1}]}), "#/Headers/0/Value"),
        (json!({"Uri": uri, "EventTypes": ["communications.letter.created", "other"]}), "#/EventTypes/1"),
        (json!({"Uri": uri, "EventTypes": [null]}), "#/EventTypes/0"),
        (json!({"Uri": uri, "EventTypes": "communications.letter.created"}), "#/EventTypes"),
    ] {
        let answer = service.account(Method::PUT, PATH, &key, body.clone()).await;
        answer.expect(400);
        assert_eq!(answer.pointers(), [pointer], "{body}");
    }
    let twice = put(&key).body(Body::from(r#"{"Uri":"https://a.example/","Uri":"https://b.example/"}"#)).unwrap();
    let answer = service.send(twice).await;
    answer.expect(400);
    assert_eq!(answer.pointers(), ["#/Uri"]);
    for text in ["", "{", "[]", "null", "\"x\"", "{\"Uri\":\"https://receiver.example/\"} {}"] {
        service.send(put(&key).body(Body::from(text)).unwrap()).await.expect(400);
    }
    service.account(Method::GET, PATH, &key, Value::Null).await.expect(404);
}

#[tokio::test]
async fn targets_outside_the_policy_are_422() {
    let service = Harness::on_sqlite().await;
    let key = service.tenants().await;
    for uri in ["http://receiver.example/", "https://127.0.0.1/", "https://[::ffff:10.0.0.1]/", "not a url", ""] {
        let answer = service.account(Method::PUT, PATH, &key, json!({ "Uri": uri })).await;
        answer.expect(422);
        assert_eq!(answer.pointers(), ["#/Uri"]);
        assert!(answer.body["type"].as_str().unwrap().ends_with("/target-not-allowed"));
    }
}

#[tokio::test]
async fn other_formats_and_sizes_are_refused() {
    let service = Harness::on_sqlite().await;
    let key = service.tenants().await;
    for content_type in ["text/plain", "application/json; charset=utf-16", "application/x-www-form-urlencoded"] {
        let request = Request::builder().method(Method::PUT).uri(PATH).header("x-api-key", &key);
        let request = request.header("content-type", content_type).body(Body::from(FINE)).unwrap();
        service.send(request).await.expect(415);
    }
    let untyped = Request::builder().method(Method::PUT).uri(PATH).header("x-api-key", &key);
    service.send(untyped.body(Body::from(FINE)).unwrap()).await.expect(415);
    let packed = put(&key).header("content-encoding", "gzip").body(Body::from(FINE)).unwrap();
    service.send(packed).await.expect(415);

    let padded = |bytes: usize| {
        let padding = " ".repeat(bytes - FINE.len());
        put(&key).body(Body::from(format!("{FINE}{padding}"))).unwrap()
    };
    service.send(padded(128 * 1024)).await.expect(200);
    service.send(padded(128 * 1024 + 1)).await.expect(413);
}
