//! Posting again what has failed (E43).

use std::time::Duration;

use serde_json::{Value, json};
use slipstream_core::ids::{ActivityId, DeliveryId};
use slipstream_service::clock;
use slipstream_store::ecg::activities::{self, Content, New, Post, Repeats, TREE_ACTIVITIES_MAX};
use slipstream_test_support::eventually;
use uuid::Uuid;

use super::office::{
    CALLER, Office, SUBSCRIPTION, activity_in, event, in_offices, in_offices_on_both_backends, read, sub,
};
use super::once::forget_answers;
use crate::world::SOON;

in_offices_on_both_backends!(
    a_retry_takes_the_place_of_the_one_that_waits,
    what_was_under_way_when_another_was_taken_is_not_repeated,
);
in_offices!(
    what_somebody_else_posted_is_retried_by_us,
    only_what_failed_is_retried,
    what_is_switched_off_is_not_retried,
    a_post_can_be_repeated_from_any_place_but_not_for_ever,
    a_retry_in_a_tree_that_was_taken_is_one_attempt,
    a_retry_that_was_left_waiting_by_a_crash_is_taken_away_by_a_repeat,
    a_history_that_is_too_large_is_refused,
);

fn retry(activity: &Value) -> String {
    sub(&format!("/activity/{}/retry", activity["id"].as_str().unwrap()))
}

async fn a_retry_takes_the_place_of_the_one_that_waits(mut office: Office) {
    let made = Office::made(office.post(&sub("/activity"), &activity_in()).await);
    let first = office.due().await;
    let later = clock::now().after(Duration::from_hours(1));
    office.waits(&first, 2, later).await;
    office.attempted(&first, 1, 503, Some(later)).await;
    let path = sub(&format!("/activity/{}?mode=nested", made["id"].as_str().unwrap()));
    office.get_until(&path, |it| it["nextRetryAt"].is_string()).await;
    assert_eq!(office.waiting().await, 1);

    let child = Office::made(office.post(&retry(&made), &Value::Null).await);
    assert_eq!((&child["level"], &child["retryingFromPostId"]), (&json!(2), &made["id"]));
    assert_eq!((&child["payload"], &child["rawMessage"]), (&made["payload"], &made["rawMessage"]));
    assert_eq!((&child["success"], &child["dispatch"]), (&Value::Null, &json!("platform")));
    assert_eq!(child["auditInfo"]["createdBy"], json!(CALLER));
    assert_eq!(office.waiting().await, 0);
    let history = office.history(&made["id"], "nested").await;
    assert_eq!((&history["nextRetryAt"], &history["childPostHistory"][0]["id"]), (&Value::Null, &child["id"]));

    // A replay of the first delivery: under its key and its webhook id.
    let second = office.due().await;
    let (one, two) = (first.meta.as_ref().unwrap(), second.meta.as_ref().unwrap());
    assert_eq!((&first.subject, one.accepted_at, two.attempt), (&second.subject, two.accepted_at, 1));
    let (_, _, key) = slipstream_bus::subject::parse_delivery(&second.subject).unwrap();
    let delivery = DeliveryId::derive_replay(two.accepted_at, SUBSCRIPTION, &key, two.replay.unwrap());
    assert_eq!(child["id"], json!(delivery));

    // What is still told of the first changes nothing, and its delivery has ended.
    office.attempted(&first, 1, 503, Some(later)).await;
    office.attempted(&second, 1, 200, None).await;
    let child_path = sub(&format!("/activity/{}?mode=flat", child["id"].as_str().unwrap()));
    office.get_until(&child_path, |it| it["success"] == json!(true)).await;
    let history = office.history(&made["id"], "nested").await;
    assert_eq!((&history["success"], &history["nextRetryAt"]), (&json!(false), &Value::Null));
    let path = format!("/deliveries/{}", made["id"].as_str().unwrap());
    slipstream_test_support::eventually(crate::world::SOON, async || {
        let (_, told) = office.as_operator(reqwest::Method::GET, &path).await;
        if told["state"] == "cancelled" { Ok(()) } else { Err(told.to_string()) }
    })
    .await;
    office.nothing_is_due().await;
    office.close().await;
}

/// An activity that somebody else posted and told to have failed.
async fn failed(office: &Office) -> Value {
    let body = json!({
        "type": 1, "payload": { "n": 1 }, "rawMessage": {}, "eventId": event().id, "postedAt": "2022-08-18T10:03:03.750Z",
    });
    let made = Office::made(office.post(&sub("/activity"), &body).await);
    let outcome = json!({
        "originalActivityId": made["id"], "success": false, "httpStatusCode": 500, "error": "", "rawResponse": null,
    });
    let path = sub(&format!("/activity/{}/outcomes", made["id"].as_str().unwrap()));
    Office::made(office.post(&path, &outcome).await)
}

async fn what_somebody_else_posted_is_retried_by_us(mut office: Office) {
    let parent = failed(&office).await;
    assert!(parent["nextRetryAt"].is_string(), "{parent}");
    office.nothing_is_due().await;
    let child = Office::made(office.post(&retry(&parent), &Value::Null).await);
    let message = office.due().await;
    let meta = message.meta.as_ref().unwrap();
    let (_, _, key) = slipstream_bus::subject::parse_delivery(&message.subject).unwrap();
    // The root is no delivery, but its id is that of the webhook: receivers know the tree by it.
    assert_eq!(parent["id"], json!(DeliveryId::derive(meta.accepted_at, SUBSCRIPTION, &key)));
    assert_eq!(office.history(&parent["id"], "flat").await["nextRetryAt"], Value::Null);
    office.attempted(&message, 1, 204, None).await;
    let path = sub(&format!("/activity/{}?mode=nested", parent["id"].as_str().unwrap()));
    let history = office.get_until(&path, |it| it["childPostHistory"][0]["success"] == json!(true)).await;
    assert_eq!(history["childPostHistory"][0]["id"], child["id"]);
    office.close().await;
}

async fn only_what_failed_is_retried(mut office: Office) {
    let made = Office::made(office.post(&sub("/activity"), &activity_in()).await);
    let message = office.due().await;
    Office::refused(&office.post(&retry(&made), &Value::Null).await, 409, "nothing has come of the activity yet");
    office.attempted(&message, 1, 200, None).await;
    let path = sub(&format!("/activity/{}?mode=flat", made["id"].as_str().unwrap()));
    office.get_until(&path, |it| it["success"] == json!(true)).await;
    Office::refused(&office.post(&retry(&made), &Value::Null).await, 409, "the activity succeeded");
    Office::refused(
        &office.post(&sub(&format!("/activity/{SUBSCRIPTION}/retry")), &Value::Null).await,
        404,
        "activity",
    );
    office.nothing_is_due().await;
    office.close().await;
}

async fn what_is_switched_off_is_not_retried(mut office: Office) {
    let parent = failed(&office).await;
    office.change(2, |it| it.flags.active = false).await;
    Office::refused(&office.post(&retry(&parent), &Value::Null).await, 409, "the subscription is not active");
    office.change(3, |it| it.flags.archived = true).await;
    Office::refused(&office.post(&retry(&parent), &Value::Null).await, 409, "the subscription is archived");
    office.change(4, |it| it.deleted = true).await;
    Office::refused(&office.post(&retry(&parent), &Value::Null).await, 404, "subscription");
    office.nothing_is_due().await;
    assert_eq!(office.history(&parent["id"], "flat").await["childPostHistory"], json!([]));
    office.close().await;
}

async fn a_post_can_be_repeated_from_any_place_but_not_for_ever(mut office: Office) {
    let root = failed(&office).await;
    let mut last = root.clone();
    for level in 2..=30 {
        last = Office::made(office.post(&retry(&last), &Value::Null).await);
        assert_eq!(last["level"], json!(level));
        let message = office.due().await;
        office.attempted(&message, 1, 500, None).await;
        let path = sub(&format!("/activity/{}?mode=flat", last["id"].as_str().unwrap()));
        office.get_until(&path, |it| it["success"] == json!(false)).await;
    }
    Office::refused(&office.post(&retry(&last), &Value::Null).await, 409, "30th in a row");
    let child = Office::made(office.post(&retry(&root), &Value::Null).await);
    assert_eq!(child["level"], json!(2));
    let history = office.history(&root["id"], "nested").await;
    assert_eq!(history["childPostHistory"].as_array().unwrap().len(), 2);
    office.close().await;
}

/// What operators are told of the delivery of an activity.
async fn state(office: &Office, activity: &Value) -> Value {
    let path = format!("/deliveries/{}", activity["id"].as_str().unwrap());
    office.as_operator(reqwest::Method::GET, &path).await.1["state"].clone()
}

async fn until_state(office: &Office, activity: &Value, wanted: &str) {
    eventually(SOON, async || {
        let state = state(office, activity).await;
        if state == wanted { Ok(()) } else { Err(state) }
    })
    .await;
}

async fn nothing_waits(office: &Office) {
    eventually(SOON, async || match office.waiting().await {
        0 => Ok(()),
        waiting => Err(waiting),
    })
    .await;
}

async fn what_was_under_way_when_another_was_taken_is_not_repeated(mut office: Office) {
    let made = Office::made(office.post(&sub("/activity"), &activity_in()).await);
    let first = office.due().await;
    // Its second attempt is under way: nothing waits, and its time has passed.
    office.attempted(&first, 1, 503, Some(clock::now())).await;
    let path = sub(&format!("/activity/{}?mode=nested", made["id"].as_str().unwrap()));
    office.get_until(&path, |it| it["success"] == json!(false)).await;
    let child = Office::made(office.post(&retry(&made), &Value::Null).await);
    let second = office.due().await;
    office.attempted(&second, 1, 204, None).await;
    until_state(&office, &child, "succeeded").await;
    // Whatever was told of its end would be recorded before this.
    let other = Office::made(office.post(&sub("/activity"), &activity_in()).await);
    let third = office.due().await;
    office.attempted(&third, 1, 500, None).await;
    until_state(&office, &other, "exhausted").await;
    assert_eq!(state(&office, &made).await, json!("retry_wait"), "it says itself what comes of it");

    let later = clock::now().after(Duration::from_hours(1));
    office.waits(&first, 3, later).await;
    office.attempted(&first, 2, 503, Some(later)).await;
    until_state(&office, &made, "cancelled").await;
    nothing_waits(&office).await;
    let history = office.history(&made["id"], "flat").await;
    let below = history["childPostHistory"].as_array().unwrap();
    assert_eq!(below.len(), 2);
    assert!(below.iter().all(|it| it["nextRetryAt"].is_null()), "{history}");
    office.nothing_is_due().await;
    office.close().await;
}

async fn a_retry_in_a_tree_that_was_taken_is_one_attempt(mut office: Office) {
    let root = failed(&office).await;
    let taken = Office::made(office.post(&retry(&root), &Value::Null).await);
    let message = office.due().await;
    office.attempted(&message, 1, 200, None).await;
    until_state(&office, &taken, "succeeded").await;
    let again = Office::made(office.post(&retry(&root), &Value::Null).await);
    let message = office.due().await;
    let later = clock::now().after(Duration::from_hours(1));
    // Told of first, as the dispatcher does; it waits a moment later.
    office.attempted(&message, 1, 503, Some(later)).await;
    office.waits(&message, 2, later).await;
    until_state(&office, &again, "cancelled").await;
    nothing_waits(&office).await;
    let history = office.history(&again["id"], "flat").await;
    assert_eq!((&history["success"], &history["nextRetryAt"]), (&json!(false), &Value::Null));
    office.nothing_is_due().await;
    office.close().await;
}

async fn a_retry_that_was_left_waiting_by_a_crash_is_taken_away_by_a_repeat(mut office: Office) {
    let made = Office::made(office.post(&sub("/activity"), &activity_in()).await);
    let first = office.due().await;
    let later = clock::now().after(Duration::from_hours(1));
    office.attempted(&first, 1, 503, Some(later)).await;
    let path = sub(&format!("/activity/{}?mode=nested", made["id"].as_str().unwrap()));
    office.get_until(&path, |it| it["nextRetryAt"].is_string()).await;
    let child = Office::made(read(office.post_with_key(&retry(&made), &Value::Null, "one").await).await);
    // As if whoever made the child had died before it came to take the other away.
    office.waits(&first, 2, later).await;
    assert_eq!(office.waiting().await, 1);
    forget_answers(&office).await;
    let again = Office::made(read(office.post_with_key(&retry(&made), &Value::Null, "one").await).await);
    assert_eq!(again["id"], child["id"]);
    assert_eq!(office.waiting().await, 0);
    until_state(&office, &made, "cancelled").await;
    office.due().await;
    office.nothing_is_due().await;
    office.close().await;
}

async fn a_history_that_is_too_large_is_refused(office: Office) {
    let root = failed(&office).await;
    let id = ActivityId(root["id"].as_str().unwrap().parse().unwrap());
    let parent = activities::get(office.store.connection(), id).await.unwrap().unwrap();
    let transaction = office.store.begin().await.unwrap();
    let add = async |number: u128| {
        let new = New {
            id: ActivityId(Uuid::from_u128(number)),
            repeats: Some(Repeats::of(&parent)),
            organization: parent.organization,
            subscription: parent.subscription,
            event: parent.event,
            kind: parent.kind,
            post: Post::External { posted_at: None },
            key: parent.key,
            created_at: clock::now(),
            made_by: Uuid::nil(),
            hash: None,
            content: Content::Of(parent.id),
        };
        activities::insert(&transaction, &new).await.unwrap();
    };
    for number in 1..TREE_ACTIVITIES_MAX as u128 {
        add(number).await;
    }
    transaction.commit().await.unwrap();
    let history = office.history(&root["id"], "flat").await;
    assert_eq!(history["childPostHistory"].as_array().unwrap().len(), TREE_ACTIVITIES_MAX - 1);
    Office::made(office.post(&retry(&root), &Value::Null).await);
    let path = |mode: &str| sub(&format!("/activity/{}?mode={mode}", root["id"].as_str().unwrap()));
    for mode in ["flat", "nested"] {
        Office::refused(&office.get(&path(mode)).await, 422, "more than 2000");
    }
    office.close().await;
}
