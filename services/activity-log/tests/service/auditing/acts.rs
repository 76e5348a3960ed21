//! What an operator does here, and what remains of it.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use slipstream_core::delivery::DeliveryState;
use slipstream_core::ids::EventKey;
use slipstream_test_support::eventually;

use crate::stage::{Stage, staged_on_both_backends};
use crate::world::{SOON, SOURCE, delivery_id, site, subscription};

staged_on_both_backends!(whatever_an_operator_does_is_recorded, what_endpoints_answered_is_not_shown_unrecorded);

/// The newest record of each act, as (action, target, site, outcome), newest first.
async fn acts(stage: &Stage, last: &str) -> Vec<(String, Option<String>, Option<String>, String)> {
    let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
    let ended = |page: &Value| page["items"][0]["action"] == last && page["items"][0]["outcome"] != "begun";
    let page = stage.get_until("/audit?limit=100", ended).await;
    let ends = page["items"].as_array().unwrap().iter().filter(|item| item["outcome"] != "begun");
    ends.map(|it| (text(&it["action"]).unwrap(), text(&it["target"]), text(&it["site"]), text(&it["outcome"]).unwrap()))
        .collect()
}

async fn whatever_an_operator_does_is_recorded(stage: Stage) {
    stage.subscribe(subscription(1), |_| {}).await;
    stage.ended(0, 1, DeliveryState::Failed).await;
    let id = delivery_id("0", 0).to_string();
    let key = EventKey::new(&site(), SOURCE, "0").to_string();
    let site = Some(site().to_string());
    let done =
        |action: &str, target: &str| (action.to_owned(), Some(target.to_owned()), site.clone(), "done".to_owned());
    let refused =
        |action: &str, target: &str| (action.to_owned(), Some(target.to_owned()), site.clone(), "refused".to_owned());

    assert_eq!(stage.get(&format!("/deliveries/{id}")).await.0, StatusCode::OK);
    assert_eq!(acts(&stage, "delivery.read").await[0], done("delivery.read", &id));
    let explained = format!("/explain?site=s8n6EzC&source={SOURCE}&id=0&subscription={}", subscription(1));
    assert_eq!(stage.get(&explained).await.0, StatusCode::OK);
    assert_eq!(acts(&stage, "event.explain").await[0], done("event.explain", &key));
    // It has ended, so it neither moves nor is cancelled; both were tried.
    let path = format!("/deliveries/{id}");
    let body = json!({ "nextAttemptAt": "2030-01-01T00:00:00Z" });
    assert_eq!(stage.send(Method::PATCH, &path, Some(body)).await.0, StatusCode::CONFLICT);
    assert_eq!(acts(&stage, "delivery.reschedule").await[0], refused("delivery.reschedule", &id));
    assert_eq!(stage.send(Method::DELETE, &path, None).await.0, StatusCode::CONFLICT);
    assert_eq!(acts(&stage, "delivery.cancel").await[0], refused("delivery.cancel", &id));
    assert_eq!(stage.post(&format!("{path}/deliver-now"), None).await.0, StatusCode::CONFLICT);
    assert_eq!(acts(&stage, "delivery.deliver-now").await[0], refused("delivery.deliver-now", &id));
    assert_eq!(stage.post(&format!("{path}/replay"), None).await.0, StatusCode::ACCEPTED);
    assert_eq!(acts(&stage, "delivery.replay").await[0], done("delivery.replay", &id));
    let body = json!({ "site": "s8n6EzC", "source": SOURCE, "id": "0", "subscription": subscription(1) });
    assert_eq!(stage.post("/events/replay", Some(body)).await.0, StatusCode::ACCEPTED);
    assert_eq!(acts(&stage, "event.replay").await[0], done("event.replay", &key));

    let (status, job) = stage.post("/deliveries/replay", Some(json!({ "site": "s8n6EzC" }))).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{job}");
    let job = job["id"].as_str().unwrap();
    assert_eq!(acts(&stage, "replay.start").await[0], done("replay.start", job));
    stage.get_until(&format!("/replays/{job}"), |it| it["state"] == "finished").await;
    for (step, action) in [("pause", "replay.pause"), ("resume", "replay.resume"), ("cancel", "replay.cancel")] {
        assert_eq!(stage.post(&format!("/replays/{job}/{step}"), None).await.0, StatusCode::CONFLICT);
        assert_eq!(acts(&stage, action).await[0], refused(action, job));
    }

    // Each change was recorded before it was made, by whom, and in which trace.
    let (_, page) = stage.get("/audit?limit=100&verify=true").await;
    let items = page["items"].as_array().unwrap();
    for end in items.iter().filter(|it| it["outcome"] != "begun" && !it["action"].as_str().unwrap().ends_with("read")) {
        if end["action"] == "event.explain" {
            continue;
        }
        let begun = items.iter().find(|it| it["id"] == end["begun"]).unwrap_or_else(|| panic!("{end}"));
        assert_eq!(
            (&begun["action"], &begun["actor"], &begun["outcome"]),
            (&end["action"], &end["actor"], &json!("begun"))
        );
        assert_eq!((&begun["traceId"], &end["actor"]), (&end["traceId"], &json!("operator")));
        assert!(begun["number"].as_u64() < end["number"].as_u64());
    }
    assert_eq!(page["chain"]["isIntact"], true);
    stage.stop().await;
}

async fn what_endpoints_answered_is_not_shown_unrecorded(mut stage: Stage) {
    stage.subscribe(subscription(1), |_| {}).await;
    stage.ended(0, 1, DeliveryState::Failed).await;
    let path = format!("/deliveries/{}", delivery_id("0", 0));
    assert!(stage.get(&path).await.1["attempts"][0]["response"].is_string());
    stage.nats.kill9();
    let (status, problem) = stage.get(&path).await;
    assert_eq!((status, problem.get("attempts")), (StatusCode::SERVICE_UNAVAILABLE, None), "{problem}");
    // What shows none of it is answered from the database alone.
    assert_eq!(stage.get("/deliveries").await.0, StatusCode::OK);
    stage.nats.restart().await;
    eventually(SOON, async || (stage.get(&path).await.0 == StatusCode::OK).then_some(())).await;
    stage.stop().await;
}
