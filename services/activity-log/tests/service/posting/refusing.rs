//! What is refused, by whom it is asked and what it is about; and targets that refuse because they are asked to.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use slipstream_core::config::{EcgCategory, EcgEvent, EcgSubscription, Record};
use slipstream_core::ids::SubscriptionId;
use uuid::Uuid;

use super::office::{
    CODE, ORGANIZATION, OTHER_ORGANIZATION, Office, SUBSCRIPTION, activity_in, category, event, hsh, in_offices, read,
    sub, subscription,
};

in_offices!(
    every_route_of_an_organization_refuses_strangers_and_what_is_not_there,
    what_is_switched_off_is_not_posted_to,
    what_does_not_belong_together_is_refused,
    targets_take_or_refuse_whatever_is_sent,
);

/// Every route of an organization with a body that it takes; `{a}` stands for an activity.
fn routes() -> Vec<(Method, String, Value)> {
    let payload = json!({ "eventType": CODE, "version": "v1", "data": {} });
    let hash = json!({ "payload": {}, "hash": "ab".repeat(32), "createdAt": 1 });
    let outcome = json!({
        "originalActivityId": Uuid::nil(), "success": true, "httpStatusCode": 200, "error": "", "rawResponse": "",
    });
    vec![
        (Method::GET, sub("/activations"), Value::Null),
        (Method::GET, sub("/activations/{a}"), Value::Null),
        (Method::POST, sub("/activity"), activity_in()),
        (Method::GET, sub("/activity"), Value::Null),
        (Method::POST, sub("/activity/{a}/retry"), Value::Null),
        (Method::POST, sub("/activity/{a}/outcomes"), outcome),
        (Method::GET, sub("/activity/{a}?mode=flat"), Value::Null),
        (Method::POST, hsh("/webhooks-payloads?mode=new"), payload),
        (Method::POST, hsh("/validate-hash"), hash),
        (Method::GET, hsh("/activity/{a}/get-hash"), Value::Null),
    ]
}

async fn every_route_of_an_organization_refuses_strangers_and_what_is_not_there(office: Office) {
    let (ours, theirs) =
        (office.token_of("webhookManager", ORGANIZATION), office.token_of("webhookManager", OTHER_ORGANIZATION));
    let admin = office.token_of("webhookAdmin", OTHER_ORGANIZATION);
    let nobody = office.token_of("somethingElse", ORGANIZATION);
    for (method, path, body) in routes() {
        let ask = async |path: &str, token: Option<&str>| {
            let mut request = office.to(method.clone(), path);
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            if method == Method::POST {
                request = request.json(&body);
            }
            read(request.send().await.unwrap()).await
        };
        let existing = path.replace("{a}", &Uuid::from_u128(7).to_string());
        Office::refused(&ask(&existing, None).await, 401, "");
        Office::refused(&ask(&existing, Some("nonsense")).await, 401, "");
        Office::refused(&ask(&existing, Some(&nobody)).await, 403, "role");
        Office::refused(&ask(&existing, Some(&theirs)).await, 403, "organization");
        let unknown = existing.replace(&SUBSCRIPTION.to_string(), &Uuid::from_u128(9).to_string());
        Office::refused(&ask(&unknown, Some(&ours)).await, 404, "no such subscription");
        // Of another organization, which an admin may act for: not there, either.
        let elsewhere = existing.replace(&ORGANIZATION.to_string(), &OTHER_ORGANIZATION.to_string());
        Office::refused(&ask(&elsewhere, Some(&admin)).await, 404, "no such subscription");
        let malformed = existing.replace(&SUBSCRIPTION.to_string(), "7");
        Office::refused(&ask(&malformed, Some(&ours)).await, 400, "subscriptionId must be a UUID");
        if path.contains("{a}") {
            Office::refused(&ask(&existing, Some(&ours)).await, 404, "no such activ");
            Office::refused(&ask(&path.replace("{a}", "7"), Some(&ours)).await, 400, "must be a UUID");
        }
        if !body.is_null() {
            for (text, words) in [("{", "not valid JSON"), ("[]", "must be an object"), ("{}", "is required")] {
                let request = office.to(Method::POST, &existing).bearer_auth(&ours).body(text);
                let answer = read(request.header("content-type", "application/json").send().await.unwrap()).await;
                Office::refused(&answer, 400, words);
            }
            let request = office.to(Method::POST, &existing).bearer_auth(&ours).body(body.to_string());
            let answer = read(request.header("content-type", "text/plain").send().await.unwrap()).await;
            Office::refused(&answer, 415, "application/json");
        }
    }
    office.close().await;
}

async fn what_is_switched_off_is_not_posted_to(mut office: Office) {
    let path = sub("/activity");
    let refused = async |office: &Office, words: &str| {
        Office::refused(&office.post(&path, &activity_in()).await, 409, words);
    };
    office.change(2, |it| it.flags.active = false).await;
    refused(&office, "the subscription is not active").await;
    office.change(3, |it| it.flags.archived = true).await;
    refused(&office, "the subscription is archived").await;
    office.change(4, |it| it.post_uri = None).await;
    refused(&office, "the subscription is not active").await;
    office.change(5, |_| {}).await;
    for (record, words) in [
        (
            Record::EcgEvent(EcgEvent { revision: 2, ..with(event(), |it| it.flags.active = false) }),
            "inactive or archived",
        ),
        (
            Record::EcgEvent(EcgEvent { revision: 3, ..with(event(), |it| it.flags.archived = true) }),
            "inactive or archived",
        ),
        (Record::EcgEvent(EcgEvent { revision: 4, ..event() }), ""),
        (
            Record::EcgCategory(EcgCategory { revision: 2, ..with(category(), |it| it.flags.archived = true) }),
            "inactive or archived",
        ),
        (Record::EcgCategory(EcgCategory { revision: 3, ..category() }), ""),
    ] {
        office.put(&record).await;
        if words.is_empty() {
            Office::made(office.post(&path, &activity_in()).await);
            office.due().await;
        } else {
            refused(&office, words).await;
        }
    }
    office.nothing_is_due().await;
    office.close().await;
}

fn with<T>(mut it: T, change: impl FnOnce(&mut T)) -> T {
    change(&mut it);
    it
}

async fn what_does_not_belong_together_is_refused(office: Office) {
    let other = EcgSubscription { id: SubscriptionId(Uuid::from_u128(0x52)), ..subscription() };
    office.subscribe(&other).await;
    let there = sub("/activity").replace(&SUBSCRIPTION.to_string(), &other.id.to_string());
    let theirs = Office::made(office.post(&there, &activity_in()).await);
    let id = theirs["id"].as_str().unwrap();
    let body = |member: &str, value: Value| with(activity_in(), |it| it[member] = value);
    let refused =
        async |body: Value, words: &str| Office::refused(&office.post(&sub("/activity"), &body).await, 400, words);
    refused(body("eventId", json!(Uuid::nil())), "eventId must be an event of the subscription").await;
    refused(body("retryingFromPostId", json!(id)), "retryingFromPostId must be an activity of the subscription").await;
    refused(body("type", json!(2)), "type must be 0 or 1").await;
    refused(body("postedAt", json!("yesterday")), "postedAt").await;
    Office::refused(&office.get(&sub(&format!("/activity/{id}?mode=flat"))).await, 404, "activity");
    Office::refused(&office.get(&hsh(&format!("/activity/{id}/get-hash"))).await, 404, "activity");
    Office::refused(&office.get(&sub(&format!("/activity/{id}"))).await, 400, "mode");
    let large = body("payload", json!({ "text": "x".repeat(256 * 1024) }));
    Office::refused(&office.post(&sub("/activity"), &large).await, 413, "payload");
    let larger = body("other", json!("x".repeat(1024 * 1024)));
    Office::refused(&office.post(&sub("/activity"), &larger).await, 413, "");
    office.close().await;
}

async fn targets_take_or_refuse_whatever_is_sent(office: Office) {
    let send = async |path: &str, body: Vec<u8>, encoding: &str| {
        let request = office.to(Method::POST, &format!("/api/webhook-processors/{path}")).body(body);
        read(request.header("content-encoding", encoding).send().await.unwrap()).await
    };
    let megabyte = vec![0_u8; 1024 * 1024];
    for body in [Vec::new(), b"{".to_vec(), megabyte.clone()] {
        let taken = send("success-response", body.clone(), "gzip").await;
        assert_eq!(taken, (StatusCode::OK, json!({ "value": true })));
        Office::refused(&send("failed-response", body.clone(), "br").await, 500, "fails");
        Office::refused(&send("failed-response?status=410", body, "identity").await, 410, "fails");
    }
    for status in [400, 418, 503, 599] {
        let (answered, body) = send(&format!("failed-response?status={status}"), Vec::new(), "identity").await;
        assert_eq!((answered.as_u16(), &body["statusCode"]), (status, &json!(status)));
    }
    for wrong in ["200", "600", "x", ""] {
        Office::refused(&send(&format!("failed-response?status={wrong}"), Vec::new(), "identity").await, 400, "status");
    }
    let too_much = [megabyte, vec![0]].concat();
    Office::refused(&send("success-response", too_much.clone(), "identity").await, 413, "larger");
    Office::refused(&send("failed-response", too_much, "identity").await, 413, "larger");
    office.close().await;
}
