//! With an `Idempotency-Key`: what was made, and whose maker never heard of it, is not made twice.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use slipstream_core::delivery::DeliveryState;
use slipstream_store::{ConnectionTrait as _, DatabaseConfig, Store};

use super::{LATER, ended};
use crate::stage::{Stage, staged_on_both_backends};
use crate::world::{SOURCE, site, subscription};

staged_on_both_backends!(a_replay_that_nobody_heard_of_is_not_made_twice, a_job_that_nobody_heard_of_is_not_made_twice,);

/// As after an answer of 503: what was asked for is done, and nobody knows.
async fn unheard(stage: &Stage) {
    let url = stage.database.as_str().into();
    let store = Store::connect(&DatabaseConfig { url, max_connections: 1 }).await.unwrap();
    let sql = "UPDATE idempotency_keys SET status = NULL, headers = NULL, body = NULL, lease_until_ms = 0";
    assert!(store.connection().execute_unprepared(sql).await.unwrap().rows_affected() > 0);
}

/// Done for the first time, as far as the key tells.
async fn done(stage: &Stage, path: &str, body: Option<&Value>) -> Value {
    let request = stage.request(Method::POST, path).header("idempotency-key", r#""k""#);
    let response = body.iter().fold(request, reqwest::RequestBuilder::json).send().await.unwrap();
    let is_replayed = response.headers().contains_key("idempotent-replayed");
    let (status, answer) = (response.status(), response.json::<Value>().await.unwrap());
    assert_eq!((status, is_replayed), (StatusCode::ACCEPTED, false), "{answer}");
    answer
}

async fn a_replay_that_nobody_heard_of_is_not_made_twice(mut stage: Stage) {
    for id in [subscription(1), LATER] {
        stage.subscribe(id, |_| {}).await;
    }
    let original = ended(&stage, "1", DeliveryState::Failed, |_| {}).await;
    let replay = (format!("/deliveries/{original}/replay"), None);
    // To one that has had a delivery of it, and to one that has not.
    let event = |to| json!({ "site": site(), "source": SOURCE, "id": "1", "subscription": to });
    let events = [subscription(1), LATER].map(|to| ("/events/replay".to_owned(), Some(event(to))));
    for (path, body) in [replay].into_iter().chain(events) {
        let first = done(&stage, &path, body.as_ref()).await;
        stage.take(1).await;
        let made = format!("/deliveries/{}", first["delivery"].as_str().unwrap());
        stage.get_until(&made, |it| it["state"] == "scheduled").await;
        unheard(&stage).await;
        assert_eq!(done(&stage, &path, body.as_ref()).await, first);
        unheard(&stage).await;
        assert!(stage.take_rest().await.is_empty());
    }
    stage.stop().await;
}

async fn a_job_that_nobody_heard_of_is_not_made_twice(stage: Stage) {
    let ask = json!({ "state": ["failed"] });
    let first = done(&stage, "/deliveries/replay", Some(&ask)).await;
    unheard(&stage).await;
    let again = done(&stage, "/deliveries/replay", Some(&ask)).await;
    assert_eq!((&again["id"], &again["createdAt"]), (&first["id"], &first["createdAt"]));
    unheard(&stage).await;
    // Another request under the key that is free again.
    let other = done(&stage, "/deliveries/replay", Some(&json!({ "state": ["expired"] }))).await;
    assert_ne!(other["id"], first["id"]);
    let (_, jobs) = stage.get("/replays").await;
    assert_eq!(jobs["items"].as_array().unwrap().len(), 2, "{jobs}");
    stage.stop().await;
}
