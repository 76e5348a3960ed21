//! What people change and which secrets they read: each leaves its records on the bus, and nothing happens without.

use std::time::Duration;

use axum::body::Body;
use http::{Method, Request};
use serde_json::{Value, json};
use slipstream_bus::{Consumer, ConsumerName};
use slipstream_core::contract::{AuditOutcome, Audited};
use slipstream_store::organisations;
use tokio::time::timeout;

use crate::harness::{Answer, Harness, PATH, SITE};
use crate::on_both_databases;

on_both_databases!(
    everything_that_changes_something_or_shows_a_secret_is_recorded,
    without_the_bus_nothing_is_changed_and_no_secret_shown,
    an_account_is_made_once_under_a_key_and_its_keys_are_not_shown_again,
    a_repeat_under_a_key_is_no_second_act,
);

/// How long a record may take; far more than it does.
const SOON: Duration = Duration::from_secs(20);

pub(crate) struct Records(Consumer);

impl Records {
    pub(crate) async fn of(harness: &Harness) -> Self {
        Self(harness.bus.consume(ConsumerName::Audit).await.unwrap())
    }

    /// The next record.
    pub(crate) async fn next(&mut self) -> Audited {
        loop {
            let message = timeout(SOON, self.0.next()).await.expect("a record comes");
            message.ack().await;
            if message.subject.starts_with("audited.") {
                assert_eq!(message.subject.as_str(), "audited.subscription-registry");
                return serde_json::from_slice(&message.payload).unwrap();
            }
        }
    }

    /// The next act of somebody: what, to which one, of which site, how it ended.
    async fn act(&mut self, actor: &str) -> (String, Option<String>, Option<String>, u16) {
        let begun = self.next().await;
        let end = if begun.outcome == AuditOutcome::Begun { self.next().await } else { begun.clone() };
        assert_eq!((begun.actor.as_str(), end.actor.as_str()), (actor, actor));
        assert_eq!((begun.action, begun.kind, &begun.trace), (end.action, end.kind, &end.trace));
        assert_eq!(end.begun, (begun.outcome == AuditOutcome::Begun).then_some(begun.id));
        let status = end.status.expect("an end has one");
        let expected = if status < 400 { AuditOutcome::Done } else { AuditOutcome::Refused };
        assert_eq!(end.outcome, expected);
        (end.action.as_str().to_owned(), end.target, end.site.map(|site| site.to_string()), status)
    }
}

fn body() -> Value {
    json!({ "Uri": "https://receiver.example/post" })
}

/// Sends a request of the operator under a key.
async fn under_key(harness: &Harness, path: &str, key: &str, body: &Value) -> Answer {
    let request = Request::post(path)
        .header("authorization", "Bearer operator-token-of-the-tests")
        .header("content-type", "application/json")
        .header("idempotency-key", format!("\"{key}\""));
    harness.send(request.body(Body::from(body.to_string())).unwrap()).await
}

async fn everything_that_changes_something_or_shows_a_secret_is_recorded(harness: Harness) {
    let mut records = Records::of(&harness).await;
    let key = harness.tenants().await;
    let account = key.split_once('_').unwrap().0.to_owned();
    let act = |action: &str, target: &str, site: Option<&str>, status: u16| {
        (action.to_owned(), Some(target.to_owned()), site.map(ToOwned::to_owned), status)
    };
    assert_eq!(records.act("operator").await, act("organisation.put", "o4fKq2", None, 200));
    assert_eq!(records.act("operator").await, act("site.put", SITE, Some(SITE), 200));
    assert_eq!(records.act("operator").await, act("account.create", &account, None, 201));

    let caller = format!("account:{account}");
    let put = harness.account(Method::PUT, PATH, &key, body()).await;
    put.expect(200);
    let (action, id, site, status) = records.act(&caller).await;
    assert_eq!((action.as_str(), site.as_deref(), status), ("subscription.put", Some(SITE), 200));
    let id = id.expect("the subscription is named");
    harness.account(Method::PUT, PATH, &key, json!({ "Uri": "no" })).await.expect(422);
    assert_eq!(records.act(&caller).await, ("subscription.put".into(), None, Some(SITE.into()), 422));

    let endpoint = format!("/admin/v1/endpoints/{id}");
    // What shows no secret is not recorded.
    harness.operator(Method::GET, &endpoint, Value::Null).await.expect(200);
    let shown = harness.operator(Method::GET, &format!("{endpoint}/secret"), Value::Null).await;
    shown.expect(200);
    assert_eq!(records.act("operator").await, act("secret.read", &id, Some(SITE), 200));
    let limits = json!({ "ratePerMinute": 7 });
    for (method, path, body, action, status) in [
        (Method::POST, "disable", Value::Null, "endpoint.disable", 200),
        (Method::POST, "enable", Value::Null, "endpoint.enable", 200),
        (Method::PUT, "limits", limits, "endpoint.limit", 200),
        (Method::PUT, "limits", json!({ "ratePerMinute": 0 }), "endpoint.limit", 400),
        (Method::POST, "rotate-secret", Value::Null, "secret.rotate", 200),
    ] {
        harness.operator(method, &format!("{endpoint}/{path}"), body).await.expect(status);
        assert_eq!(records.act("operator").await, act(action, &id, Some(SITE), status));
    }
    let old = shown.body["keys"][0]["keyId"].as_str().unwrap();
    harness.operator(Method::DELETE, &format!("{endpoint}/secrets/{old}"), Value::Null).await.expect(204);
    assert_eq!(records.act("operator").await, act("secret.revoke", &id, Some(SITE), 204));
    let nobody = "018f2b1e-0000-7000-8000-000000000001";
    let path = format!("/admin/v1/endpoints/{nobody}/disable");
    harness.operator(Method::POST, &path, Value::Null).await.expect(404);
    assert_eq!(records.act("operator").await, act("endpoint.disable", nobody, None, 404));

    harness.account(Method::DELETE, PATH, &key, Value::Null).await.expect(204);
    assert_eq!(records.act(&caller).await, act("subscription.delete", &id, Some(SITE), 204));
    let path = format!("/admin/v1/accounts/{account}");
    let details = json!({ "displayName": "P", "kind": "external", "sites": "all", "permissions": [] });
    for (method, path, body, action, status) in [
        (Method::PUT, format!("{path}/keys/secondary"), Value::Null, "account.rotate-key", 200),
        (Method::PUT, format!("{path}/quota"), json!({ "quota": null }), "account.set-quota", 200),
        (Method::PUT, path.clone(), details, "account.put", 200),
        (Method::PUT, path.clone(), json!({}), "account.put", 400),
        (Method::DELETE, path.clone(), Value::Null, "account.delete", 200),
    ] {
        harness.operator(method, &path, body).await.expect(status);
        assert_eq!(records.act("operator").await, act(action, &account, None, status));
    }
}

async fn without_the_bus_nothing_is_changed_and_no_secret_shown(mut harness: Harness) {
    let key = harness.tenants().await;
    harness.account(Method::PUT, PATH, &key, body()).await.expect(200);
    let id = harness.subscription_in_bucket().await.expect("it is there").id;
    harness.nats.kill9();
    let secret = format!("/admin/v1/endpoints/{id}/secret");
    let read = harness.operator(Method::GET, &secret, Value::Null);
    let change = harness.operator(Method::PUT, "/admin/v1/organisations/o4fKq2", json!({ "name": "Changed" }));
    let (read, change) = tokio::join!(read, change);
    read.expect(503);
    assert_eq!(read.body.get("keys"), None);
    change.expect(503);
    let store = harness.store().await;
    let organisation = organisations::get(store.connection(), &"o4fKq2".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(organisation.name, "Smiles");
}

async fn an_account_is_made_once_under_a_key_and_its_keys_are_not_shown_again(harness: Harness) {
    let path = "/admin/v1/accounts";
    let wanted = json!({ "displayName": "Post", "sites": "all", "permissions": [] });
    let (one, other) =
        tokio::join!(under_key(&harness, path, "once", &wanted), under_key(&harness, path, "once", &wanted));
    let (made, refused) = if one.status == 201 { (one, other) } else { (other, one) };
    made.expect(201);
    refused.expect(409);
    let repeat = under_key(&harness, path, "once", &wanted).await;
    repeat.expect(409);
    assert!(repeat.body["detail"].as_str().unwrap().contains("answered 201"), "{}", repeat.body);
    under_key(&harness, path, "once", &json!({ "displayName": "Other" })).await.expect(422);
    let accounts = harness.operator(Method::GET, path, Value::Null).await;
    assert_eq!(accounts.body["items"].as_array().unwrap().len(), 1, "{}", accounts.body);
}

async fn a_repeat_under_a_key_is_no_second_act(harness: Harness) {
    let key = harness.tenants().await;
    harness.account(Method::PUT, PATH, &key, body()).await.expect(200);
    let id = harness.subscription_in_bucket().await.expect("it is there").id;
    let mut records = Records::of(&harness).await;
    let disable = format!("/admin/v1/endpoints/{id}/disable");
    let first = under_key(&harness, &disable, "off", &Value::Null).await;
    first.expect(200);
    harness.operator(Method::POST, &format!("/admin/v1/endpoints/{id}/enable"), Value::Null).await.expect(200);
    let repeat = under_key(&harness, &disable, "off", &Value::Null).await;
    assert_eq!((repeat.status, &repeat.body), (first.status, &first.body));
    assert_eq!(repeat.headers["idempotent-replayed"], "true");
    let now = harness.operator(Method::GET, &format!("/admin/v1/endpoints/{id}"), Value::Null).await;
    assert_eq!(now.body["state"], "active", "it was not disabled again");
    harness.operator(Method::GET, &format!("/admin/v1/endpoints/{id}/secret"), Value::Null).await.expect(200);
    let mut actions = Vec::new();
    while actions.last().is_none_or(|last| last != "secret.read") {
        let record = records.next().await;
        if record.outcome != AuditOutcome::Begun {
            actions.push(record.action.as_str().to_owned());
        }
    }
    assert_eq!(actions[actions.len() - 3..], ["endpoint.disable", "endpoint.enable", "secret.read"]);
}
