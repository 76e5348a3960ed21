//! Requests that are sent again with their `Idempotency-Key` (SPEC 2.3): they make one activity.

use serde_json::{Value, json};
use slipstream_store::ConnectionTrait as _;

use super::office::{CODE, Office, activity_in, event, hsh, in_offices, read, sub};

in_offices!(a_repeat_makes_no_second_activity, what_was_made_before_a_crash_is_not_made_again);

/// What was kept of answers is lost, as when the process died before it could keep one.
pub(super) async fn forget_answers(office: &Office) {
    let sql = "UPDATE idempotency_keys SET status = NULL, headers = NULL, body = NULL, lease_until_ms = 1";
    office.store.connection().execute_unprepared(sql).await.unwrap();
}

async fn a_repeat_makes_no_second_activity(mut office: Office) {
    let path = sub("/activity");
    let first = office.post_with_key(&path, &activity_in(), "one").await;
    let again = office.post_with_key(&path, &activity_in(), "one").await;
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    assert_eq!(Office::made(read(first).await), Office::made(read(again).await));
    let other = json!({ "type": 1, "payload": {}, "rawMessage": {}, "eventId": event().id });
    let reused = read(office.post_with_key(&path, &other, "one").await).await;
    Office::refused(&reused, 422, "another query or body");
    office.due().await;
    office.nothing_is_due().await;
    // A payload of the largest kind may have a key, too.
    let large =
        json!({ "type": 1, "payload": { "text": "x".repeat(250_000) }, "rawMessage": {}, "eventId": event().id });
    Office::made(read(office.post_with_key(&path, &large, "large").await).await);
    office.due().await;
    office.close().await;
}

async fn what_was_made_before_a_crash_is_not_made_again(mut office: Office) {
    let payload = json!({ "eventType": CODE, "version": "v1", "data": {} });
    let mut posted_before = activity_in();
    posted_before["postedAt"] = json!("2022-08-18T10:00:00Z");
    for (number, (path, body)) in [
        (sub("/activity"), activity_in()),
        (sub("/activity"), posted_before.clone()),
        (hsh("/webhooks-payloads?mode=new"), payload),
    ]
    .into_iter()
    .enumerate()
    {
        let key = format!("key-{number}");
        let first = Office::made(read(office.post_with_key(&path, &body, &key).await).await);
        forget_answers(&office).await;
        let again = office.post_with_key(&path, &body, &key).await;
        assert!(!again.headers().contains_key("idempotent-replayed"), "{path}");
        let again = Office::made(read(again).await);
        assert_eq!((&again["id"], &again["hash"]), (&first["id"], &first["hash"]), "{path}");
    }
    assert_eq!(Office::shown(office.get(&sub("/activity")).await)["totalRecords"], json!(3));
    office.due().await;
    office.nothing_is_due().await;

    let failed = Office::made(office.post(&sub("/activity"), &posted_before).await);
    let id = failed["id"].as_str().unwrap();
    let outcome =
        json!({ "originalActivityId": id, "success": false, "httpStatusCode": 0, "error": "x", "rawResponse": null });
    Office::made(office.post(&sub(&format!("/activity/{id}/outcomes")), &outcome).await);
    let path = sub(&format!("/activity/{id}/retry"));
    let first = Office::made(read(office.post_with_key(&path, &Value::Null, "retry").await).await);
    forget_answers(&office).await;
    let again = Office::made(read(office.post_with_key(&path, &Value::Null, "retry").await).await);
    assert_eq!(again["id"], first["id"]);
    office.due().await;
    office.nothing_is_due().await;
    let history = office.history(&failed["id"], "flat").await;
    assert_eq!(history["childPostHistory"].as_array().unwrap().len(), 1);
    office.close().await;
}
