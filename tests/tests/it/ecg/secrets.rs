//! Secrets and their history (SPEC 6.6).

use serde_json::{Value, json};
use slipstream_test_support::eventually;
use slipstream_tests::{LIMIT, Shape};

use super::posting::{verify, whsec};
use super::world::{Signed, World, each};

slipstream_tests::journeys_of_programs![a_hash_made_before_a_rotation_is_still_good_for_its_time];

async fn a_hash_made_before_a_rotation_is_still_good_for_its_time(shape: Shape) {
    let world = World::new(shape).await;
    let event = world.event().await;
    let subscription = world.subscribe(&event, "/post").await;
    let is_good = async |signed: &Signed, at: i64| world.is_good(&subscription, signed.body_made_at(at)).await;
    let secret_now = async || -> String {
        let answer: Value = world.manager.get(&format!("{}/secrets", subscription.path)).await.parsed(200);
        answer["secretKey"].as_str().expect("a secret is a text").to_owned()
    };

    let before = world.sign(&subscription, &event).await;
    assert!(is_good(&before, before.created_at).await);
    assert_eq!(secret_now().await, subscription.secret);
    world.manager.put(&format!("{}/secrets", subscription.path)).await.expect(200);
    let second = secret_now().await;
    assert_ne!(second, subscription.secret);
    assert_eq!(second.len(), 43, "32 bytes as Base64url without padding");
    let shown: Value = world.manager.get(&subscription.path).await.parsed(200);
    assert_eq!(shown["secretKey"], second);

    // The activity log learns of it by itself; until then it signs with the secret that was there when it did not know.
    let after = eventually(LIMIT, async || {
        let signed = world.sign(&subscription, &event).await;
        let path = format!("{}/secrets?createdAt={}", subscription.path, signed.created_at);
        let by: Value = world.manager.get(&path).await.parsed(200);
        let is_by_second = by["secretKey"] == second && is_good(&signed, signed.created_at).await;
        if is_by_second { Ok(signed) } else { Err(by) }
    })
    .await;
    assert!(is_good(&before, before.created_at).await, "made before the rotation");
    assert!(!is_good(&before, after.created_at).await);
    assert!(!is_good(&after, before.created_at).await);
    assert!(!is_good(&before, 1).await, "before the first secret there is none");

    // As a date as well as in milliseconds.
    let created: Value = {
        let page: Value =
            world.manager.get(&format!("{}/activity?order_by=ASC&take=1", subscription.path)).await.parsed(200);
        page["items"][0]["auditInfo"]["createdAt"].clone()
    };
    let path = format!("{}/secrets?createdAt={}", subscription.path, created.as_str().unwrap());
    let at_first: Value = world.manager.get(&path).await.parsed(200);
    assert_eq!(at_first["secretKey"], subscription.secret);

    // Who still has the old secret verifies for a day.
    world.post(&subscription, &event).await;
    let posted = world.receiver.wait_for(1, LIMIT).await.remove(0);
    verify(&[(&posted, &whsec(&second)), (&posted, &whsec(&subscription.secret))]).await;

    let histories = format!("{}/webhook-secret-histories", subscription.path);
    let own = json!({ "secretKey": "ecg-secret-key" });
    let third: Value = world.manager.post(&histories, &own).await.parsed(201);
    assert_eq!((&third["secretKey"], &third["validTo"]), (&own["secretKey"], &Value::Null));
    world.manager.post(&histories, &own).await.expect(409);
    let page: Value = world.manager.get(&histories).await.parsed(200);
    let items = page["items"].as_array().expect("a page has items");
    assert_eq!(each(items, "secretKey"), [&third["secretKey"], &json!(second), &json!(subscription.secret)]);
    assert_eq!((&items[1]["validTo"], &items[2]["validTo"]), (&items[0]["validFrom"], &items[1]["validFrom"]));
    let oldest: Value = world.manager.get(&format!("{histories}?order_by=ASC&take=1")).await.parsed(200);
    assert_eq!((&oldest["items"][0]["id"], &oldest["totalPages"]), (&items[2]["id"], &json!(3)));
}
