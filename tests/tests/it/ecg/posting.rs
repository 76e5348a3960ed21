//! Posts, and what becomes of them (SPEC 6.7, 6.8).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::{Value, json};
use slipstream_core::delivery::DeliveryState;
use slipstream_service::clock;
use slipstream_test_support::{Received, Reply, eventually};
use slipstream_tests::interop::Verifier;
use slipstream_tests::{LIMIT, Shape};

use super::world::{Signed, World, each, texts};

slipstream_tests::journeys_of_programs![
    failing_twice_and_succeeding_then_gives_a_tree_of_three_levels_in_which_nothing_waits,
    a_retry_by_hand_takes_the_place_of_the_one_that_waits,
    what_is_posted_verifies_by_its_hash_and_by_its_signature,
    a_payload_keeps_its_order_and_its_numbers,
    a_410_deactivates_the_subscription,
    a_post_to_a_development_subscription_is_attempted_three_times,
];

/// The secret of an ECG subscription as libraries of Standard Webhooks want it: theirs are bytes in Base64.
pub(crate) fn whsec(secret: &str) -> String {
    format!("whsec_{}", STANDARD.encode(secret))
}

/// Checks requests with other people's libraries.
pub(crate) async fn verify(requests: &[(&Received, &str)]) {
    for verifier in Verifier::ALL {
        assert_eq!(verifier.verify(requests).await, vec!["ok"; requests.len()], "{verifier:?}");
    }
}

async fn failing_twice_and_succeeding_then_gives_a_tree_of_three_levels_in_which_nothing_waits(shape: Shape) {
    let world = World::retrying(shape, &[0, 200, 300]).await;
    world.receiver.script(|_, nth| match nth {
        0 => Reply::status(500).body("busy"),
        1 => Reply::status(404),
        _ => Reply::ok().body("thanks"),
    });
    let event = world.event().await;
    let subscription = world.subscribe(&event, "/post").await;
    let root = world.post(&subscription, &event).await;
    assert_eq!((&root["dispatch"], &root["level"], &root["success"]), (&json!("platform"), &json!(1), &Value::Null));

    let done = |family: &[Value]| family.len() == 3 && family.iter().all(|it| it["nextRetryAt"].is_null());
    let family = world.family_when(&subscription, &root["id"], done).await;
    assert_eq!(each(&family, "level"), [1, 2, 3]);
    assert_eq!(each(&family, "success"), [false, false, true]);
    assert_eq!(each(&family, "httpStatusCode"), [500, 404, 200]);
    assert_eq!(each(&family, "rawResponse"), [&json!("busy"), &json!(""), &json!("thanks")]);
    assert!(family[0]["error"].is_string() && family[1]["error"].is_string() && family[2]["error"].is_null());
    assert_eq!(family[0]["retryingFromPostId"], Value::Null);
    assert_eq!(family[1]["retryingFromPostId"], family[0]["id"]);
    assert_eq!(family[2]["retryingFromPostId"], family[1]["id"]);
    assert!(family.iter().all(|it| it["payload"] == family[0]["payload"]), "{family:#?}");
    assert!(family[1..].iter().all(|it| it["childPostHistory"] == json!([])), "{family:#?}");

    // The same as a tree, from the root and from the middle.
    let nested = world.tree(&subscription, &root["id"], "nested").await;
    assert_eq!(nested["childPostHistory"][0]["id"], family[1]["id"]);
    assert_eq!(nested["childPostHistory"][0]["childPostHistory"][0]["id"], family[2]["id"]);
    assert_eq!(nested["childPostHistory"][0]["childPostHistory"][0]["childPostHistory"], json!([]));
    let middle = world.tree(&subscription, &family[1]["id"], "nested").await;
    assert_eq!((&middle["level"], &middle["childPostHistory"][0]["id"]), (&json!(2), &family[2]["id"]));

    // What was posted: each attempt an activity with a time and a hash of its own, under one webhook id.
    let posted = world.receiver.received();
    assert_eq!(posted.len(), 3);
    let header = |name: &str| posted.iter().map(|it| it.header(name).to_owned()).collect::<Vec<_>>();
    assert_eq!(header("x-ecg-activity-id"), texts(&family, "id"));
    assert_eq!(header("x-ecg-event"), [event.code.as_str(); 3]);
    let ids = header("webhook-id");
    assert!(ids[0].starts_with("msg_") && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    for (request, listed) in posted.iter().zip(&family) {
        let body = request.json();
        let activity = world.activity(&subscription, &listed["id"]).await;
        assert_eq!((&body["createdAt"], &body["hash"]), (&activity["createdAt"], &activity["hash"]));
        assert_eq!(body["payload"], activity["payload"]);
    }
    let times: Vec<_> = posted.iter().map(|it| it.json()["createdAt"].as_i64()).collect();
    assert!(times.windows(2).all(|it| it[0] < it[1]), "{times:?}");

    // The filters of E42.
    let ids_of = async |status: &str| -> Vec<Value> {
        let path = format!("{}/activity?order_by=ASC&status={status}", subscription.path);
        let page: Value = world.manager.get(&path).await.parsed(200);
        let ids: Vec<_> = each(page["items"].as_array().unwrap(), "id").into_iter().cloned().collect();
        assert_eq!(page["totalRecords"], ids.len());
        ids
    };
    let all: Vec<_> = each(&family, "id").into_iter().cloned().collect();
    assert_eq!(ids_of("all").await, all);
    assert_eq!(ids_of("failed").await, all[..2]);
    assert_eq!(ids_of("succeeded").await, all[2..]);

    // No second engine: operators see it as a delivery.
    let delivery = world.system.operator.ended(1).await.remove(0);
    assert_eq!((delivery.state, delivery.attempt_count), (DeliveryState::Succeeded, 3));
    assert_eq!(delivery.webhook_id, ids[0]);
}

async fn a_retry_by_hand_takes_the_place_of_the_one_that_waits(shape: Shape) {
    const HOUR: i64 = 3_600_000;
    let world = World::retrying(shape, &[0, HOUR as u64, HOUR as u64]).await;
    world.receiver.script(|_, nth| if nth < 2 { Reply::status(500) } else { Reply::ok() });
    let event = world.event().await;
    let subscription = world.subscribe(&event, "/post").await;
    let began = clock::now();
    let root = world.post(&subscription, &event).await;
    let retry = |id: &Value| format!("{}/activity/{}/retry", subscription.path, id.as_str().unwrap());
    let waits = |it: &Value| it["success"] == false && it["nextRetryAt"].is_string();
    let failed = world.activity_when(&subscription, &root["id"], waits).await;
    let next: slipstream_core::timestamp::Timestamp = failed["nextRetryAt"].as_str().unwrap().parse().unwrap();
    let wait = next.as_millis() - began.as_millis();
    assert!((HOUR..HOUR * 13 / 10).contains(&wait), "{wait} ms");

    let first: Value = world.manager.act(&retry(&root["id"])).await.parsed(201);
    assert_eq!((&first["retryingFromPostId"], &first["level"]), (&root["id"], &json!(2)));
    assert_eq!(world.activity(&subscription, &root["id"]).await["nextRetryAt"], Value::Null);
    world.activity_when(&subscription, &first["id"], waits).await;
    let second: Value = world.manager.act(&retry(&first["id"])).await.parsed(201);
    let done = |family: &[Value]| {
        family.len() == 3
            && family.iter().any(|it| it["success"] == true)
            && family.iter().all(|it| it["nextRetryAt"].is_null())
    };
    let family = world.family_when(&subscription, &root["id"], done).await;
    assert_eq!(each(&family, "id"), [&root["id"], &first["id"], &second["id"]]);
    assert_eq!(each(&family, "level"), [1, 2, 3]);
    // What went well needs none.
    world.manager.act(&retry(&second["id"])).await.expect(409);
    let posted = world.receiver.wait_for(3, LIMIT).await;
    assert!(posted.iter().all(|it| it.header("webhook-id") == posted[0].header("webhook-id")));
    // Nothing of it waits any more.
    let deliveries = world.system.operator.ended(3).await;
    assert!(deliveries.iter().all(|it| it.state != DeliveryState::RetryWait), "{deliveries:#?}");
}

async fn what_is_posted_verifies_by_its_hash_and_by_its_signature(shape: Shape) {
    let world = World::new(shape).await;
    let event = world.event().await;
    let subscription = world.subscribe(&event, "/post").await;
    world.post(&subscription, &event).await;
    let posted = world.receiver.wait_for(1, LIMIT).await.remove(0);
    verify(&[(&posted, &whsec(&subscription.secret))]).await;

    // A receiver hands the body to E49 as it came.
    let signed = Signed::read(&posted.body);
    assert_eq!(signed.body().as_bytes(), &posted.body[..], "nothing else, in this order");
    assert!(world.is_good(&subscription, posted.body.to_vec()).await);
    let forged = signed.body().replace("\"vitals\":100", "\"vitals\":101");
    assert_ne!(forged, signed.body());
    assert!(!world.is_good(&subscription, forged).await);
    assert!(!world.is_good(&subscription, signed.body_made_at(signed.created_at + 1)).await);
    let shouted = signed.body().replace(&signed.hash, &signed.hash.to_uppercase());
    assert!(world.is_good(&subscription, shouted).await, "hex has no case");

    let hash: Value = {
        let id = posted.header("x-ecg-activity-id");
        world.manager.get(&format!("{}/activity/{id}/get-hash", subscription.hashes)).await.parsed(200)
    };
    assert_eq!((&hash["hash"], &hash["createdAt"]), (&json!(signed.hash), &json!(signed.created_at)));
}

async fn a_payload_keeps_its_order_and_its_numbers(shape: Shape) {
    const PAYLOAD: &str =
        r#"{"z":1.50,"a":{"y":1e2,"b":[123456789012345678901234567890, -0.0]},"text":"café \"ok\" 🦷"}"#;
    let world = World::new(shape).await;
    let event = world.event().await;
    let subscription = world.subscribe(&event, "/post").await;
    let body = format!(r#"{{"type":1,"eventId":"{}","payload":{PAYLOAD},"rawMessage":{{}}}}"#, event.id);
    let path = format!("{}/activity", subscription.path);
    let request = world.manager.request(Method::POST, &path).header("content-type", "application/json").body(body);
    world.manager.send(request).await.expect(201);
    let posted = world.receiver.wait_for(1, LIMIT).await.remove(0);
    let compact = PAYLOAD.replace(", ", ",");
    let text = String::from_utf8(posted.body.to_vec()).unwrap();
    assert!(text.starts_with(&format!(r#"{{"payload":{compact},"hash":""#)), "{text}");
    let listed = world.manager.get(&path).await;
    assert!(String::from_utf8_lossy(&listed.body).contains(&compact), "{listed}");
}

async fn a_410_deactivates_the_subscription(shape: Shape) {
    let world = World::new(shape).await;
    world.receiver.script_path("/post", |_, nth| if nth == 0 { Reply::status(410) } else { Reply::ok() });
    let event = world.event().await;
    let subscription = world.subscribe(&event, "/post").await;
    let root = world.post(&subscription, &event).await;
    let ended = |it: &Value| it["success"] == false && it["nextRetryAt"].is_null();
    let activity = world.activity_when(&subscription, &root["id"], ended).await;
    assert_eq!(activity["httpStatusCode"], 410);
    eventually(LIMIT, async || {
        let shown: Value = world.manager.get(&subscription.path).await.parsed(200);
        if shown["activeInfo"]["active"] == false { Ok(()) } else { Err(shown) }
    })
    .await;
    let again = super::world::activity(&event);
    let path = format!("{}/activity", subscription.path);
    // The activity log hears of it by itself; what comes in between is paused and waits for the activation.
    eventually(LIMIT, async || match world.manager.post(&path, &again).await.status {
        409 => Ok(()),
        other => Err(other),
    })
    .await;
    world.manager.act(&format!("{}/activate", subscription.path)).await.expect(200);
    eventually(LIMIT, async || match world.manager.post(&path, &again).await.status {
        201 => Ok(()),
        other => Err(other),
    })
    .await;
    let is_post = |it: &Received| it.header("x-ecg-event") == event.code;
    eventually(LIMIT, async || world.receiver.received().iter().filter(|it| is_post(it)).count() >= 2).await;
}

async fn a_post_to_a_development_subscription_is_attempted_three_times(shape: Shape) {
    let world = World::retrying(shape, &[0, 50, 50, 50, 50, 50]).await;
    world.receiver.script(|_, _| Reply::status(500));
    let event = world.event().await;
    let subscription = world.subscribe(&event, "/post").await;
    let root = world.post(&subscription, &event).await;
    let done =
        |family: &[Value]| family.len() == 3 && family[2]["success"] == false && family[2]["nextRetryAt"].is_null();
    let family = world.family_when(&subscription, &root["id"], done).await;
    assert_eq!(each(&family, "nextRetryAt"), [&Value::Null; 3]);
    let delivery = world.system.operator.ended(1).await.remove(0);
    assert_eq!((delivery.state, delivery.attempt_count), (DeliveryState::Exhausted, 3));
    assert_eq!(world.receiver.count(), 3);
}
