//! Posts that somebody else makes, and tells of (SPEC 6.7 E48, 6.8 E41 with `postedAt`, E44).

use serde_json::{Value, json};
use slipstream_test_support::Reply;
use slipstream_tests::{LIMIT, Shape};

use super::things::payload;
use super::world::{World, activity, each};

slipstream_tests::journeys_of_programs![
    who_posts_by_oneself_leaves_the_same_history_as_the_platform,
    what_was_posted_elsewhere_is_recorded_and_not_posted,
];

/// What a receiver says, to whomever posts.
const ANSWER: &str = "thanks";

/// What differs between two posts, whoever makes them: ids, times and what follows from them.
const OWN: [&str; 10] = [
    "id",
    "createdAt",
    "hash",
    "postedAt",
    "posted_at",
    "auditInfo",
    "dispatch",
    "rawMessage",
    "payload",
    "subscription",
];

/// Two histories read the same but for what is each post's own.
#[track_caller]
fn assert_alike(one: &Value, other: &Value) {
    let members = |value: &Value| value.as_object().expect("it is an object").keys().cloned().collect::<Vec<_>>();
    assert_eq!(members(one), members(other));
    for name in members(one) {
        let same = one[&name] == other[&name];
        assert!(same || OWN.contains(&name.as_str()), "{name}: {} and {}", one[&name], other[&name]);
    }
}

async fn who_posts_by_oneself_leaves_the_same_history_as_the_platform(shape: Shape) {
    let world = World::new(shape).await;
    world.receiver.script(|_, _| Reply::ok().body(ANSWER));
    let event = world.event().await;
    let subscription = world.subscribe(&event, "/post").await;

    // The platform.
    let platform = world.post(&subscription, &event).await;
    let platform = world.activity_when(&subscription, &platform["id"], |it| it["success"] == true).await;
    let platform_body = world.receiver.wait_for(1, LIMIT).await.remove(0).body.clone();

    // Somebody else: has it signed, posts it, tells what came of it.
    let signed = world.sign(&subscription, &event).await;
    let id = signed.id.clone();
    let pending = world.activity(&subscription, &json!(id)).await;
    assert_eq!((&pending["success"], &pending["postedAt"]), (&Value::Null, &Value::Null));
    let request = reqwest::Client::new().post(world.receiver.url("/post")).body(signed.body());
    let answer = request.header("content-type", "application/json").send().await.unwrap();
    let (status, answered) = (answer.status().as_u16(), answer.text().await.unwrap());
    let outcomes = format!("{}/activity/{id}/outcomes", subscription.path);
    let outcome = json!({ "originalActivityId": id, "success": "true", "httpStatusCode": status.to_string(), "error": "",
        "rawResponse": answered });
    let told: Value = world.manager.post(&outcomes, &outcome).await.parsed(201);
    let external = world.activity(&subscription, &json!(id)).await;
    assert_eq!((&told["success"], &external["dispatch"]), (&json!(true), &json!("external")));
    assert!(external["postedAt"].is_string());
    assert_alike(&external, &platform);
    for mode in ["flat", "nested"] {
        let [one, other] = [&external, &platform].map(|it| it["id"].clone());
        assert_alike(&world.tree(&subscription, &one, mode).await, &world.tree(&subscription, &other, mode).await);
    }
    let filtered: Value =
        world.manager.get(&format!("{}/activity?status=succeeded", subscription.path)).await.parsed(200);
    assert_eq!(filtered["totalRecords"], 2);
    // The hash is good, whoever has posted.
    assert!(world.is_good(&subscription, signed.body()).await);
    assert!(world.is_good(&subscription, platform_body.to_vec()).await);
    // A repeat is the same; another outcome is not.
    world.manager.post(&outcomes, &outcome).await.expect(201);
    let mut other = outcome.clone();
    other["success"] = json!(false);
    world.manager.post(&outcomes, &other).await.expect(409);

    // Its own second try, of one that failed.
    let failed = world.sign(&subscription, &event).await;
    let original = failed.id.as_str();
    let retry = format!("{}/webhooks-payloads?mode=retry&originalActivityId={original}", subscription.hashes);
    let child: Value = world.manager.post(&retry, &payload(&event.code)).await.parsed(201);
    let child_id = child["id"].as_str().unwrap();
    for (it, success) in [(original, false), (child_id, true)] {
        let told = json!({ "originalActivityId": original, "success": success, "httpStatusCode": 200, "error": "",
            "rawResponse": null });
        world.manager.post(&format!("{}/activity/{it}/outcomes", subscription.path), &told).await.expect(201);
    }
    let family = world.family_when(&subscription, &json!(original), |it| it.len() == 2).await;
    assert_eq!(
        (each(&family, "level"), each(&family, "success")),
        (vec![&json!(1), &json!(2)], vec![&json!(false), &json!(true)])
    );
    assert_eq!(each(&family, "nextRetryAt"), [&Value::Null; 2]);
    assert_eq!(world.receiver.count(), 2, "the platform posts nothing of somebody else's by itself");
}

async fn what_was_posted_elsewhere_is_recorded_and_not_posted(shape: Shape) {
    let world = World::new(shape).await;
    let event = world.event().await;
    let subscription = world.subscribe(&event, "/post").await;
    let path = format!("{}/activity", subscription.path);
    let mut body = activity(&event);
    body["postedAt"] = json!("2026-03-02T10:15:50.120Z");
    let made: Value = world.manager.post(&path, &body).await.parsed(201);
    assert_eq!((&made["dispatch"], &made["postedAt"]), (&json!("external"), &body["postedAt"]));
    // It failed; that it be posted once more is asked of the platform.
    let id = made["id"].as_str().unwrap();
    world.manager.act(&format!("{path}/{id}/retry")).await.expect(409);
    let outcome = json!({ "originalActivityId": id, "success": false, "httpStatusCode": 500, "error": "HTTP 500",
        "rawResponse": "" });
    let failed: Value = world.manager.post(&format!("{path}/{id}/outcomes"), &outcome).await.parsed(201);
    assert_eq!((&failed["success"], &failed["postedAt"]), (&json!(false), &body["postedAt"]));
    let child: Value = world.manager.act(&format!("{path}/{id}/retry")).await.parsed(201);
    assert_eq!((&child["dispatch"], &child["level"]), (&json!("platform"), &json!(2)));
    let posted = world.receiver.wait_for(1, LIMIT).await.remove(0);
    assert_eq!(posted.header("x-ecg-activity-id"), child["id"].as_str().unwrap());
    world.activity_when(&subscription, &child["id"], |it| it["success"] == true).await;
    let family = world.family_when(&subscription, &made["id"], |it| it.len() == 2).await;
    assert_eq!(each(&family, "nextRetryAt"), [&Value::Null; 2]);
    assert_eq!(world.receiver.count(), 1);
    // `""` is as if there were none.
    body["postedAt"] = json!("");
    let now: Value = world.manager.post(&path, &body).await.parsed(201);
    assert_eq!(now["dispatch"], "platform");
    world.receiver.wait_for(2, LIMIT).await;
}
