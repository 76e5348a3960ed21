//! Activations: a post that says that a subscription was activated (SPEC 6.5, E27, E32, E33).

use serde_json::{Value, json};
use slipstream_test_support::{Reply, eventually};
use slipstream_tests::{LIMIT, Shape};

use super::world::World;

slipstream_tests::journeys_of_programs![an_activation_is_posted_once_and_blocks_nothing_if_it_fails];

const ACTIVATED: &str = "webhook.subscription.activated";

async fn an_activation_is_posted_once_and_blocks_nothing_if_it_fails(shape: Shape) {
    let world = World::retrying(shape, &[0, 50, 50]).await;
    world.receiver.script_path("/failing", |_, _| Reply::status(500));
    let event = world.event().await;
    let subscription = world.subscribe_by(&json!({ "events": [event.code], "isDevelopment": true })).await;
    let shown = async || -> Value { world.manager.get(&subscription.path).await.parsed(200) };
    let made = shown().await;
    assert_eq!((&made["activeInfo"]["active"], &made["postUri"]), (&json!(false), &Value::Null));
    assert_eq!(made["events"][0]["id"], event.id, "codes are taken in the place of ids");
    let activate = format!("{}/activate", subscription.path);
    world.manager.act(&activate).await.expect(409);

    let to = |path: &str| json!([{ "op": "add", "path": "/postUri", "value": world.receiver.url(path) }]);
    world.manager.patch(&subscription.path, &to("/failing")).await.expect(200);
    assert_eq!(world.manager.act(&activate).await.expect(200).json(), json!({ "value": true }));
    assert_eq!(shown().await["activeInfo"]["active"], true);
    let activations = format!("{}/activations", subscription.path);
    let newest_when = async |success: bool| -> Value {
        eventually(LIMIT, async || {
            let page: Value = world.manager.get(&activations).await.parsed(200);
            let newest = page["items"][0].clone();
            if newest["success"] == success { Ok(newest) } else { Err(page) }
        })
        .await
    };
    let failed = newest_when(false).await;
    assert_eq!((&failed["type"], &failed["nextRetryAt"], &failed["level"]), (&json!(0), &Value::Null, &json!(1)));
    assert_eq!((&failed["payload"]["eventType"], &failed["httpStatusCode"]), (&json!(ACTIVATED), &json!(500)));
    assert_eq!(shown().await["activeInfo"]["active"], true, "its result blocks nothing");

    // What is active already is not activated once more.
    world.manager.act(&activate).await.expect(200);
    world.manager.act(&format!("{}/deactivate", subscription.path)).await.expect(200);
    world.manager.patch(&subscription.path, &to("/fine")).await.expect(200);
    world.manager.act(&activate).await.expect(200);
    let succeeded = newest_when(true).await;
    assert_ne!(succeeded["id"], failed["id"]);
    let path = format!("{activations}/{}", succeeded["id"].as_str().unwrap());
    let one: Value = world.manager.get(&path).await.parsed(200);
    assert_eq!((&one["id"], &one["success"]), (&succeeded["id"], &json!(true)));
    let posted = world.receiver.received_at("/fine");
    assert_eq!(posted.len(), 1);
    assert_eq!(
        (posted[0].header("x-ecg-event"), &posted[0].json()["payload"]["eventType"]),
        (ACTIVATED, &json!(ACTIVATED))
    );
    assert!(world.is_good(&subscription, posted[0].body.to_vec()).await);
    for (status, count) in [("all", 2), ("failed", 1), ("succeeded", 1)] {
        let page: Value = world.manager.get(&format!("{activations}?status={status}")).await.parsed(200);
        assert_eq!(page["totalRecords"], count, "{status}: {page}");
    }
    // They are no posts of events.
    let page: Value = world.manager.get(&format!("{}/activity", subscription.path)).await.parsed(200);
    assert_eq!(page["totalRecords"], 0);
    // Attempted once, also if that fails: longer than the schedule would have waited has passed since.
    assert_eq!(world.system.operator.ended(2).await.len(), 2);
    assert_eq!(world.receiver.received_at("/failing").len(), 1);
}
