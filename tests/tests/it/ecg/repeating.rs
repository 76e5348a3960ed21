//! Posts that are sent again (SPEC 2.3).

use reqwest::Method;
use serde_json::Value;
use slipstream_tests::{LIMIT, Shape};

use super::world::{World, activity};

slipstream_tests::journeys_of_programs![a_post_with_an_idempotency_key_is_made_once];

async fn a_post_with_an_idempotency_key_is_made_once(shape: Shape) {
    let world = World::new(shape).await;
    let event = world.event().await;
    let subscription = world.subscribe(&event, "/post").await;
    let path = format!("{}/activity", subscription.path);
    let post = async |key: &str, body: &Value| {
        let request = world.manager.request(Method::POST, &path).header("idempotency-key", key).json(body);
        world.manager.send(request).await
    };
    let body = activity(&event);
    let first = post("\"one\"", &body).await;
    let made: Value = first.parsed(201);
    assert_eq!(first.header("idempotent-replayed"), "");
    let again = post("\"one\"", &body).await;
    assert_eq!((again.status, again.header("idempotent-replayed"), &again.body), (201, "true", &first.body));

    let mut other = body.clone();
    other["rawMessage"]["device"] = "another".into();
    let refused = post("\"one\"", &other).await;
    refused.expect(422);
    super::shapes::refusal(&refused.json(), 422);
    let malformed = post("one", &body).await;
    malformed.expect(400);
    super::shapes::refusal(&malformed.json(), 400);

    // As long as a payload may be, and what led to it as well.
    let mut large = body.clone();
    for member in ["payload", "rawMessage"] {
        large[member]["filler"] = "x".repeat(200 * 1024).into();
    }
    large["postedAt"] = "2026-01-02T03:04:05.678Z".into();
    let first = post("\"large\"", &large).await;
    let external: Value = first.parsed(201);
    let again = post("\"large\"", &large).await;
    assert_eq!((again.status, again.header("idempotent-replayed"), &again.body), (201, "true", &first.body));

    // The query counts, too.
    let payloads = format!("{}/webhooks-payloads", subscription.hashes);
    let signed = async |query: &str| {
        let body = serde_json::json!({ "eventType": event.code, "version": "v1", "data": {} });
        let request = world.manager.request(Method::POST, &format!("{payloads}{query}"));
        world.manager.send(request.header("idempotency-key", "\"mode\"").json(&body)).await
    };
    let first = signed("?mode=new").await;
    first.expect(201);
    let again = signed("?mode=new").await;
    assert_eq!((again.status, again.header("idempotent-replayed"), &again.body), (201, "true", &first.body));
    let original = external["id"].as_str().unwrap();
    let retried = signed(&format!("?mode=retry&originalActivityId={original}")).await;
    retried.expect(422);
    super::shapes::refusal(&retried.json(), 422);

    let second: Value = post("\"two\"", &body).await.parsed(201);
    assert_ne!(second["id"], made["id"]);
    world.receiver.wait_for(2, LIMIT).await;
    assert_eq!(world.system.operator.ended(2).await.len(), 2);
    let page: Value = world.manager.get(&path).await.parsed(200);
    // Two that were posted, and two that were not for us to post.
    assert_eq!((&page["totalRecords"], world.receiver.count()), (&4.into(), 2));
}
