//! Sample payloads, examples, reference data and random payloads: E11, E36 to E40, E53.

use axum::body::Body;
use http::{Method, Request};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use super::{ADMIN, World, done, refused};
use crate::harness::Harness;

crate::on_both_databases!(
    an_event_has_a_sample_of_each_version,
    a_sample_is_patched_by_its_version_and_in_its_payload,
    whatever_can_be_made_can_be_patched,
    reference_data_is_applied_when_the_service_first_starts_with_it,
);

/// With an event; gives its path.
async fn with_event(service: Harness) -> (World, String) {
    let world = World::on(service).await;
    let category = world.category("vitals").await;
    let event = world.event(&category, "vitals.created", "v1").await;
    (world, event)
}

async fn an_event_has_a_sample_of_each_version(service: Harness) {
    let (world, event) = with_event(service).await;
    let path = format!("{event}/sample-payloads");
    let made = world.admin(Method::POST, &path, json!({ "payload": { "vitals": 100 } })).await;
    done(&made, 201);
    let at = made.body["auditInfo"]["createdAt"].clone();
    let expected = json!({
        "id": made.body["id"], "version": "v1", "payload": { "vitals": 100 },
        "event": world.manager(Method::GET, &event, Value::Null).await.body,
        "auditInfo": { "createdAt": at, "createdBy": ADMIN, "updatedAt": at, "updatedBy": ADMIN },
    });
    assert_eq!(made.body, expected);
    let clash = world.admin(Method::POST, &path, json!({ "payload": {}, "version": "v1" })).await;
    assert_eq!(refused(&clash, 409), ["the webhook event has a sample payload of this version"]);
    done(&world.admin(Method::POST, &path, json!({ "payload": {}, "version": "v2" })).await, 201);

    let get = async |query: &str| world.manager(Method::GET, &format!("{path}{query}"), Value::Null).await;
    assert_eq!(get("?version=v1").await.body, expected);
    assert_eq!(get("?version=v2").await.body["payload"], json!({}));
    assert_eq!(refused(&get("?version=v3").await, 404), ["there is no such sample payload"]);
    for query in ["", "?version=", "?version=1", "?version=v1&version=v1"] {
        refused(&get(query).await, 400);
        refused(&world.admin(Method::DELETE, &format!("{path}{query}"), Value::Null).await, 400);
        refused(&world.patch(&format!("{path}{query}"), json!([])).await, 400);
    }
    for (body, message) in [
        (json!({}), "payload is required"),
        (json!({ "payload": [] }), "payload must be an object"),
        (json!({ "payload": "{}" }), "payload must be an object"),
        (json!({ "payload": {}, "version": "1" }), "version must be `v` and a number"),
        (json!({ "payload": {}, "version": 1 }), "version must be a string"),
    ] {
        assert_eq!(refused(&world.admin(Method::POST, &path, body.clone()).await, 400), [message], "{body}");
    }
    let large = json!({ "payload": { "x": "x".repeat(256 * 1024) }, "version": "v9" });
    refused(&world.admin(Method::POST, &path, large).await, 413);
    for method in [Method::POST, Method::PATCH, Method::DELETE] {
        refused(&world.manager(method, &format!("{path}?version=v1"), json!([])).await, 403);
    }

    let deleted = world.admin(Method::DELETE, &format!("{path}?version=v1"), Value::Null).await;
    done(&deleted, 200);
    assert_eq!(deleted.body, json!({ "value": true }));
    refused(&world.admin(Method::DELETE, &format!("{path}?version=v1"), Value::Null).await, 404);
    refused(&get("?version=v1").await, 404);
    done(&get("?version=v2").await, 200);
    done(&world.admin(Method::POST, &path, json!({ "payload": {} })).await, 201);
}

async fn a_sample_is_patched_by_its_version_and_in_its_payload(service: Harness) {
    let (world, event) = with_event(service).await;
    let path = format!("{event}/sample-payloads");
    // As it is written: order and digits stay.
    let text = r#"{"payload": {"z": 1.50, "a": {"list": [1]}}}"#;
    let token = world.token(ADMIN, "webhookAdmin", &[]);
    let request = Request::builder().method(Method::POST).uri(&path).header("authorization", format!("Bearer {token}"));
    let request = request.header("content-type", "application/json").body(Body::from(text)).unwrap();
    done(&world.service.send(request).await, 201);
    done(&world.admin(Method::POST, &path, json!({ "payload": {}, "version": "v2" })).await, 201);
    let written = async |version: &str| {
        let request = Request::builder().uri(format!("{path}?version={version}"));
        let request = request.header("authorization", format!("Bearer {token}")).body(Body::empty()).unwrap();
        let answer = world.service.raw(request).await;
        String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
    };
    assert!(written("v1").await.contains(r#""payload":{"z": 1.50, "a": {"list": [1]}}"#));

    let patch = async |version: &str, patch: Value| world.patch(&format!("{path}?version={version}"), patch).await;
    let moved = patch("v1", json!([{ "op": "replace", "path": "/version", "value": "v3" }])).await;
    done(&moved, 200);
    assert_eq!(moved.body["version"], "v3");
    assert!(written("v3").await.contains(r#""payload":{"z": 1.50, "a": {"list": [1]}}"#));
    let changed = patch("v3", json!([{ "op": "add", "path": "/payload/a/list/-", "value": 2 }])).await;
    done(&changed, 200);
    assert_eq!(changed.body["payload"], json!({ "z": 1.5, "a": { "list": [1, 2] } }));
    assert!(written("v3").await.contains(r#""payload":{"z":1.50,"a":{"list":[1,2]}}"#), "{}", written("v3").await);
    let before = written("v3").await;
    for (operations, status) in [
        (json!([{ "op": "replace", "path": "/version", "value": "v2" }]), 409),
        (json!([{ "op": "replace", "path": "/version", "value": "two" }]), 400),
        (json!([{ "op": "replace", "path": "/payload", "value": [] }]), 400),
        (json!([{ "op": "remove", "path": "/payload" }]), 400),
        (json!([{ "op": "remove", "path": "/payload/nothing" }]), 422),
        (json!([{ "op": "replace", "path": "/event/name", "value": "x" }]), 422),
        (json!([{ "op": "test", "path": "/payload/z", "value": 2 }]), 422),
        (json!([{ "op": "add", "path": "/payload/x", "value": "x".repeat(256 * 1024) }]), 413),
    ] {
        refused(&patch("v3", operations).await, status);
        assert_eq!(written("v3").await, before);
    }
    refused(&patch("v1", json!([])).await, 404);
    let whole = patch("v3", json!([{ "op": "replace", "path": "/payload", "value": { "new": null } }])).await;
    assert_eq!(whole.body["payload"], json!({ "new": null }));
}

async fn whatever_can_be_made_can_be_patched(service: Harness) {
    let (world, event) = with_event(service).await;
    let path = format!("{event}/sample-payloads");
    let send = async |method: Method, path: &str, text: String| {
        let request = Request::builder().method(method).uri(path);
        let request = request.header("authorization", format!("Bearer {}", world.token(ADMIN, "webhookAdmin", &[])));
        let request = request.header("content-type", "application/json").body(Body::from(text)).unwrap();
        let answer = world.service.raw(request).await;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes().to_vec();
        (status, String::from_utf8(body).unwrap())
    };
    // More values than other bodies may have, a number with more digits than a float, and about as deep as a body may be.
    let many = "7,".repeat(50_000) + "12345678901234567890123.10";
    let deep = "[".repeat(60) + &"]".repeat(60);
    let made = format!(r#"{{"payload":{{"z":[{many}],"y":{deep},"b":-0.0,"a":1}}}}"#);
    assert_eq!(send(Method::POST, &path, made).await.0, 201);
    let patch = r#"[{"op":"test","path":"/payload/a","value":1.0},{"op":"replace","path":"/payload/a","value":1.10},
        {"op":"add","path":"/payload/0","value":{"n":2.50,"c":null}}]"#;
    let (status, changed) = send(Method::PATCH, &format!("{path}?version=v1"), patch.to_owned()).await;
    assert_eq!(status, 200, "{}", &changed[..300]);
    let expected = format!(r#""payload":{{"z":[{many}],"y":{deep},"b":-0.0,"a":1.10,"0":{{"n":2.50,"c":null}}}}"#);
    assert!(changed.contains(&expected));
    // As before in another spelling: that is a change of the text, and so one.
    let (_, again) =
        send(Method::PATCH, &format!("{path}?version=v1"), patch.replace("1.10", "1.1").replace("1.0", "1.1")).await;
    assert!(again.contains(r#""a":1.1,"0":"#));
    let (_, same) = send(Method::PATCH, &format!("{path}?version=v1"), "[]".to_owned()).await;
    assert_eq!(same, again, "also when it was changed");
}

async fn reference_data_is_applied_when_the_service_first_starts_with_it(service: Harness) {
    let mut world = World::on(service).await;
    let path = "/api/seed-data/versions";
    let applied = world.manager(Method::GET, path, Value::Null).await;
    done(&applied, 200);
    assert_eq!(applied.body.as_array().unwrap().len(), 1);
    let first = &applied.body[0];
    assert_eq!((&first["version"], &first["description"]), (&json!("v1"), &json!("Examples of payloads")));
    assert_eq!(first["checksum"], "54e5829580e096413af93623e76774cae501e085c3d9cea7855083b863e517fa");
    world.service.restart().await;
    let again = world.eventually_lets_in(path).await;
    assert_eq!(again.body, applied.body, "when it was applied does not change");
    refused(&world.anybody(Method::GET, path).await, 401);
}

#[tokio::test]
async fn examples_are_rendered_for_their_event() {
    let (world, event) = with_event(Harness::on_sqlite().await).await;
    let path = format!("{event}/sample-payloads-examples");
    let get = async |query: &str| world.manager(Method::GET, &format!("{path}{query}"), Value::Null).await;
    for (kind, member) in
        [("ack", "status"), ("nack", "errors"), ("phone-log", "disposition"), ("vitals-observation", "measurements")]
    {
        let example = get(&format!("?type={kind}")).await;
        done(&example, 200);
        assert_eq!((&example.body["eventType"], &example.body["version"]), (&json!("vitals.created"), &json!("v1")));
        assert_eq!(example.body["data"]["type"], kind);
        assert!(example.body["data"].get(member).is_some(), "{}", example.body);
    }
    assert_eq!(get("").await.body, get("?type=ack").await.body);
    for query in ["?type=", "?type=Ack", "?type=ack&type=ack", "?type=other"] {
        refused(&get(query).await, 400);
    }
    refused(&world.anybody(Method::GET, &path).await, 401);
}

#[tokio::test]
async fn a_random_payload_is_another_one_each_time() {
    let world = World::on(Harness::on_sqlite().await).await;
    let path = "/api/webhook-deliveries/payload";
    let mut seen = Vec::new();
    for _ in 0..20 {
        let answer = world.manager(Method::GET, path, Value::Null).await;
        done(&answer, 200);
        assert_eq!(answer.body["eventType"], "vitals.observations.created");
        assert_eq!((&answer.body["version"], answer.body.as_object().unwrap().len()), (&json!("v1"), 3));
        let measured = |code: &str| {
            let all = answer.body["data"]["measurements"].as_array().unwrap();
            all.iter().find(|it| it["code"] == code).unwrap()["value"].as_f64().unwrap()
        };
        assert!((95.0..=150.0).contains(&measured("sys")) && measured("dia") < measured("sys"), "{}", answer.body);
        assert!((36.0..38.0).contains(&measured("temp")) && measured("spo2") <= 100.0, "{}", answer.body);
        assert!(!seen.contains(&answer.body), "{}", answer.body);
        seen.push(answer.body);
    }
    refused(&world.anybody(Method::GET, path).await, 401);
}
