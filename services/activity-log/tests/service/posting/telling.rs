//! Posts that somebody else makes: a payload that is made for them (E48), one that they say they posted (E41), and what they
//! tell of it (E44).

use serde_json::{Value, json};
use slipstream_core::timestamp::Timestamp;

use super::office::{
    CODE, ORGANIZATION, Office, SCHEDULE_MS, SUBSCRIPTION, activity_in, event, hsh, in_offices,
    in_offices_on_both_backends, sub,
};

in_offices_on_both_backends!(
    a_payload_is_made_posted_by_somebody_else_and_its_outcome_told,
    an_outcome_is_told_once_and_may_be_repeated,
);
in_offices!(
    what_we_post_is_told_by_nobody_else,
    a_success_ends_the_retries_of_its_whole_tree,
    what_was_posted_before_is_only_written_down,
    payloads_of_both_versions_are_made,
);

fn outcome(of: &Value, success: bool) -> Value {
    json!({
        "originalActivityId": of["id"],
        "success": success,
        "httpStatusCode": if success { 200 } else { 503 },
        "error": if success { "" } else { "busy" },
        "rawResponse": { "answer": [1.5, "x"] },
    })
}

fn outcomes(of: &Value) -> String {
    sub(&format!("/activity/{}/outcomes", of["id"].as_str().unwrap()))
}

fn payload_in() -> Value {
    json!({ "eventType": CODE, "version": "v1", "data": { "vitals": 100 } })
}

async fn sign(office: &Office, query: &str) -> Value {
    Office::made(office.post(&hsh(&format!("/webhooks-payloads?{query}")), &payload_in()).await)
}

async fn a_payload_is_made_posted_by_somebody_else_and_its_outcome_told(mut office: Office) {
    let signed = sign(&office, "mode=new").await;
    assert_eq!(signed["payload"], json!({ "eventType": CODE, "version": "v1", "data": { "vitals": 100 } }));
    let pending = Office::shown(office.get(&sub("/activity")).await);
    let item = &pending["items"][0];
    assert_eq!((&item["id"], &item["dispatch"], &item["success"]), (&signed["id"], &json!("external"), &Value::Null));
    assert_eq!((&item["hash"], &item["createdAt"]), (&signed["hash"], &signed["createdAt"]));
    assert_eq!((&item["rawMessage"], &item["postedAt"]), (&payload_in(), &Value::Null));

    // As the documented example tells it: texts.
    let told = json!({
        "originalActivityId": signed["id"], "success": "false", "httpStatusCode": "503", "error": "busy", "rawResponse": "busy",
    });
    let failed = Office::made(office.post(&outcomes(&signed), &told).await);
    assert_eq!((&failed["success"], &failed["httpStatusCode"]), (&json!(false), &json!(503)));
    assert_eq!((&failed["error"], &failed["rawResponse"]), (&json!("busy"), &json!("busy")));
    let at = |member: &str| failed[member].as_str().unwrap().parse::<Timestamp>().unwrap();
    assert_eq!(at("nextRetryAt").since(at("postedAt")).as_millis(), u128::from(SCHEDULE_MS[1]));

    let again = sign(&office, &format!("mode=retry&originalActivityId={}", signed["id"].as_str().unwrap())).await;
    assert_ne!(again["id"], signed["id"]);
    let done = Office::made(office.post(&outcomes(&again), &outcome(&signed, true)).await);
    assert_eq!((&done["level"], &done["retryingFromPostId"]), (&json!(2), &signed["id"]));
    assert_eq!((&done["success"], &done["rawResponse"]), (&json!(true), &json!({ "answer": [1.5, "x"] })));
    assert_eq!(done["error"], Value::Null, "none, as of a post of ours");
    let history = office.history(&signed["id"], "nested").await;
    assert_eq!((&history["nextRetryAt"], &history["childPostHistory"][0]["id"]), (&Value::Null, &again["id"]));
    let of = async |status: &str| Office::shown(office.get(&sub(&format!("/activity?status={status}"))).await);
    assert_eq!(of("succeeded").await["items"][0]["id"], again["id"]);
    assert_eq!(of("failed").await["items"][0]["id"], signed["id"]);
    assert_eq!(of("all").await["totalRecords"], json!(2));
    office.nothing_is_due().await;
    office.close().await;
}

async fn an_outcome_is_told_once_and_may_be_repeated(office: Office) {
    let signed = sign(&office, "mode=new").await;
    let other = sign(&office, "mode=new").await;
    Office::refused(&office.post(&outcomes(&signed), &outcome(&other, false)).await, 422, "originalActivityId");
    let told = Office::made(office.post(&outcomes(&signed), &outcome(&signed, false)).await);
    let repeated = Office::made(office.post(&outcomes(&signed), &outcome(&signed, false)).await);
    assert_eq!(told, repeated);
    Office::refused(&office.post(&outcomes(&signed), &outcome(&signed, true)).await, 409, "another outcome");
    let mut changed = outcome(&signed, false);
    changed["rawResponse"] = json!({ "answer": [1.5, "y"] });
    Office::refused(&office.post(&outcomes(&signed), &changed).await, 409, "another outcome");
    let mut bad = outcome(&signed, false);
    bad["error"] = json!("\u{0}");
    Office::refused(&office.post(&outcomes(&signed), &bad).await, 400, "error must have");
    office.close().await;
}

async fn what_we_post_is_told_by_nobody_else(mut office: Office) {
    let made = Office::made(office.post(&sub("/activity"), &activity_in()).await);
    Office::refused(&office.post(&outcomes(&made), &outcome(&made, true)).await, 409, "the platform posts");
    let message = office.due().await;
    office.attempted(&message, 1, 200, None).await;
    let path = sub(&format!("/activity/{}?mode=flat", made["id"].as_str().unwrap()));
    office.get_until(&path, |it| it["success"] == json!(true)).await;
    Office::refused(&office.post(&outcomes(&made), &outcome(&made, true)).await, 409, "another outcome");
    let same = json!({
        "originalActivityId": made["id"], "success": true, "httpStatusCode": 200, "error": "", "rawResponse": "ok",
    });
    assert_eq!(Office::made(office.post(&outcomes(&made), &same).await)["success"], json!(true));
    office.close().await;
}

async fn a_success_ends_the_retries_of_its_whole_tree(mut office: Office) {
    let made = Office::made(office.post(&sub("/activity"), &activity_in()).await);
    let first = office.due().await;
    let later = slipstream_service::clock::now().after(std::time::Duration::from_hours(1));
    office.waits(&first, 2, later).await;
    office.attempted(&first, 1, 503, Some(later)).await;
    let path = sub(&format!("/activity/{}?mode=flat", made["id"].as_str().unwrap()));
    office.get_until(&path, |it| it["nextRetryAt"].is_string()).await;
    // Somebody has posted it by other means.
    let body = json!({
        "type": 1, "payload": {}, "rawMessage": {}, "eventId": event().id, "retryingFromPostId": made["id"],
        "postedAt": "2022-08-18T10:03:03.750Z",
    });
    let child = Office::made(office.post(&sub("/activity"), &body).await);
    assert_eq!((&child["level"], &child["retryingFromPostId"]), (&json!(2), &made["id"]));
    assert_eq!(office.waiting().await, 1);
    Office::made(office.post(&outcomes(&child), &outcome(&made, true)).await);
    assert_eq!(office.waiting().await, 0);
    let history = office.history(&made["id"], "nested").await;
    assert_eq!((&history["success"], &history["nextRetryAt"]), (&json!(false), &Value::Null));
    // A later failure in the tree needs no advice.
    let body = json!({
        "type": 1, "payload": {}, "rawMessage": {}, "eventId": event().id, "retryingFromPostId": made["id"],
        "postedAt": "2022-08-18T11:03:03.750Z",
    });
    let late = Office::made(office.post(&sub("/activity"), &body).await);
    let late = Office::made(office.post(&outcomes(&late), &outcome(&late, false)).await);
    assert_eq!((&late["success"], &late["nextRetryAt"]), (&json!(false), &Value::Null));
    office.nothing_is_due().await;
    office.close().await;
}

async fn what_was_posted_before_is_only_written_down(mut office: Office) {
    // Whatever is switched off: it has happened.
    office.change(2, |it| (it.flags.active, it.flags.archived) = (false, true)).await;
    let mut body = activity_in();
    body["postedAt"] = json!("2022-08-18T10:03:03.7505+02:00");
    let made = Office::made(office.post(&sub("/activity"), &body).await);
    assert_eq!((&made["dispatch"], &made["postedAt"]), (&json!("external"), &json!("2022-08-18T08:03:03.750Z")));
    let told = Office::made(office.post(&outcomes(&made), &outcome(&made, true)).await);
    assert_eq!(told["postedAt"], made["postedAt"]);
    office.nothing_is_due().await;
    office.close().await;
}

async fn payloads_of_both_versions_are_made(office: Office) {
    let first = sign(&office, "mode=new").await;
    let body = json!({ "eventType": CODE.to_uppercase(), "version": "v2", "data": { "vitals": 100 } });
    let path = format!("/webhooks-payloads?mode=retry&originalActivityId={}", first["id"].as_str().unwrap());
    let signed = Office::made(office.post(&hsh(&path), &body).await);
    let at = Timestamp::from_millis(signed["createdAt"].as_i64().unwrap());
    let expected = json!({
        "specversion": "1.0", "id": first["id"], "source": format!("/organizations/{ORGANIZATION}"), "type": CODE,
        "time": at, "subject": SUBSCRIPTION, "datacontenttype": "application/json", "data": { "vitals": 100 },
    });
    assert_eq!(signed["payload"], expected);
    let check = json!({ "payload": signed["payload"], "hash": signed["hash"], "createdAt": signed["createdAt"] });
    // Members in another order are another payload.
    assert_eq!(Office::shown(office.post(&hsh("/validate-hash"), &check).await), json!({ "value": false }));
    let body = |event_type: &str| json!({ "eventType": event_type, "version": "v1", "data": {} });
    let refused = async |query: &str, event_type: &str| {
        office.post(&hsh(&format!("/webhooks-payloads{query}")), &body(event_type)).await
    };
    Office::refused(&refused("?mode=new", "vitals.unknown").await, 404, "no webhook event with this code");
    Office::refused(&refused("", CODE).await, 400, "mode");
    Office::refused(&refused("?mode=other", CODE).await, 400, "mode");
    Office::refused(&refused("?mode=retry", CODE).await, 400, "originalActivityId");
    Office::refused(&refused("?mode=retry&originalActivityId=7", CODE).await, 400, "originalActivityId");
    let unknown = format!("?mode=retry&originalActivityId={SUBSCRIPTION}");
    Office::refused(&refused(&unknown, CODE).await, 404, "activity");
    office.change(2, |it| it.events.clear()).await;
    Office::refused(&refused("?mode=new", CODE).await, 404, "no webhook event with this code");
    office.close().await;
}
