//! Hashes, and the secrets that they are made with.

use serde_json::{Value, json};
use slipstream_core::config::Record;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::clock;
use slipstream_test_support::eventually;
use slipstream_test_support::secrets::{data_key, ecg_records, nonce};

use super::office::{MADE_AT, Office, SECRET, activity_in, hsh, in_offices, secret, sub, subscription};
use crate::world::SOON;

in_offices!(
    the_published_vectors_are_validated,
    a_hash_stays_good_after_its_secret_was_replaced,
    nothing_is_hashed_while_secrets_are_sealed,
    the_history_of_a_deleted_subscription_stays_readable,
);

/// SPEC 9.2.
async fn the_published_vectors_are_validated(office: Office) {
    let vitals = r#"{"eventType":"vitals.observations.created","version":"v1","data":{"vitals":100}}"#;
    let note = r#"{"eventType":"vitals.observations.created","version":"v1","data":{"note":"café \"ok\"","n":1.50}}"#;
    let vitals_hash = "d0cee4b8858a2f892f64c0f5d0c1521d6a8100f81e27198d363aa88d79228ea6";
    let note_hash = "79ada30e8c0fb65a74da198831664f4cc02be9318cfc6e7f5a6a1c9c0432eabc";
    let text_hash = "b92ed841709ee2abf3cab29aa35f34d2b94341b3eb628bbdf442c0d8378282e3";
    // The third vector is older than every secret of the tests.
    office.change(2, |it| it.secrets[0].valid_from = Timestamp::from_millis(0)).await;
    let check = async |payload: &str, hash: &str, created_at: i64| {
        let body = format!(r#"{{"payload":{payload},"hash":"{hash}","createdAt":{created_at}}}"#);
        let token = office.token_of("webhookManager", super::office::ORGANIZATION);
        let request = office.to(reqwest::Method::POST, &hsh("/validate-hash")).bearer_auth(token);
        let answer = request.header("content-type", "application/json").body(body).send().await.unwrap();
        Office::shown(super::office::read(answer).await)["value"].clone()
    };
    let at = 1_660_816_984_086;
    assert_eq!(check(vitals, vitals_hash, at).await, json!(true));
    assert_eq!(check(vitals, &vitals_hash.to_uppercase(), at).await, json!(true));
    assert_eq!(check(&vitals.replace(',', " ,\n "), vitals_hash, at).await, json!(true));
    assert_eq!(check(note, note_hash, at).await, json!(true));
    assert_eq!(check(&note.replace("1.50", "1.5"), note_hash, at).await, json!(false));
    assert_eq!(check(r#""{vitals:100}""#, text_hash, 12345).await, json!(true));
    assert_eq!(check(vitals, vitals_hash, at + 1).await, json!(false));
    // No secret was good then.
    assert_eq!(check(vitals, vitals_hash, -1).await, json!(false));
    office.close().await;
}

async fn check(office: &Office, made: &Value) -> Value {
    let body = json!({ "payload": made["payload"], "hash": made["hash"], "createdAt": made["createdAt"] });
    Office::shown(office.post(&hsh("/validate-hash"), &body).await)["value"].clone()
}

async fn a_hash_stays_good_after_its_secret_was_replaced(office: Office) {
    let old = Office::made(office.post(&sub("/activity"), &activity_in()).await);
    let now = Timestamp::from_millis(old["createdAt"].as_i64().unwrap() + 1);
    eventually(SOON, async || (clock::now() >= now).then_some(())).await;
    office
        .change(2, |it| it.secrets = vec![secret("a new secret", now, None), secret(SECRET, MADE_AT, Some(now))])
        .await;
    // At once under the new one.
    let new = Office::made(office.post(&sub("/activity"), &activity_in()).await);
    let created_at = Timestamp::from_millis(new["createdAt"].as_i64().unwrap());
    let hash = slipstream_core::ecg::hash("a new secret", created_at, r#"{"vitals":100}"#);
    assert_eq!(new["hash"], json!(hash));
    assert_eq!((check(&office, &old).await, check(&office, &new).await), (json!(true), json!(true)));
    let mut mixed = old.clone();
    mixed["hash"] = new["hash"].clone();
    assert_eq!(check(&office, &mixed).await, json!(false));
    office.close().await;
}

async fn nothing_is_hashed_while_secrets_are_sealed(mut office: Office) {
    // Sealed under a key that has not arrived.
    let organization = super::office::OTHER_ORGANIZATION;
    let mut other = subscription();
    (other.id, other.organization) = (slipstream_core::ids::SubscriptionId(uuid::Uuid::from_u128(0x52)), organization);
    let sealed = other.clone().with_secrets(|secret, place| {
        Ok::<_, std::convert::Infallible>(secret.seal(&data_key(&other.tenant()), place, nonce()))
    });
    office.put(&Record::EcgSubscription(Box::new(sealed.unwrap()))).await;
    let token = office.token_of("webhookManager", organization);
    let path = format!("/api/organizations/{organization}/webhook-subscriptions/{}/activity", other.id);
    let post = async || {
        let request = office.to(reqwest::Method::POST, &path).bearer_auth(&token).json(&activity_in());
        super::office::read(request.send().await.unwrap()).await
    };
    Office::refused(&post().await, 503, "cannot be opened yet");
    office.put(&ecg_records(&other)[0]).await;
    eventually(SOON, async || {
        let (status, body) = post().await;
        if status.as_u16() == 201 { Ok(()) } else { Err(body.to_string()) }
    })
    .await;
    office.due().await;
    office.nothing_is_due().await;
    office.close().await;
}

async fn the_history_of_a_deleted_subscription_stays_readable(office: Office) {
    let made = Office::made(office.post(&sub("/activity"), &activity_in()).await);
    let body = json!({ "type": 0, "payload": {}, "rawMessage": {}, "eventId": super::office::event().id });
    let activation = Office::made(office.post(&sub("/activity"), &body).await);
    office.change(2, |it| (it.deleted, it.secrets) = (true, Vec::new())).await;
    let refused =
        async |path: String, body: Value| Office::refused(&office.post(&path, &body).await, 404, "subscription");
    let id = made["id"].as_str().unwrap();
    refused(sub("/activity"), activity_in()).await;
    refused(sub(&format!("/activity/{id}/retry")), Value::Null).await;
    let outcome =
        json!({ "originalActivityId": id, "success": true, "httpStatusCode": 200, "error": "", "rawResponse": "" });
    refused(sub(&format!("/activity/{id}/outcomes")), outcome).await;
    let payload = json!({ "eventType": super::office::CODE, "version": "v1", "data": {} });
    refused(hsh("/webhooks-payloads?mode=new"), payload).await;
    let hash = json!({ "payload": {}, "hash": made["hash"], "createdAt": made["createdAt"] });
    refused(hsh("/validate-hash"), hash).await;

    let list = Office::shown(office.get(&sub("/activity?include=subscription")).await);
    assert_eq!(list["items"][0]["subscription"]["id"], json!(super::office::SUBSCRIPTION));
    assert_eq!(office.history(&made["id"], "nested").await["id"], made["id"]);
    assert_eq!(Office::shown(office.get(&sub("/activations")).await)["totalRecords"], json!(1));
    let path = sub(&format!("/activations/{}", activation["id"].as_str().unwrap()));
    assert_eq!(Office::shown(office.get(&path).await)["id"], activation["id"]);
    let hash = Office::shown(office.get(&hsh(&format!("/activity/{id}/get-hash"))).await);
    assert_eq!((&hash["hash"], &hash["createdAt"]), (&made["hash"], &made["createdAt"]));
    office.close().await;
}
