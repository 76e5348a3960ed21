//! How an operator changes accounts, and puts an end to them.

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Harness, PATH, SITE};

crate::on_both_databases!(
    a_change_is_in_force_when_it_is_answered_and_leaves_keys_and_quota,
    a_deleted_account_lets_nobody_in_and_leaves_its_subscriptions,
    a_deletion_that_was_not_put_in_force_is_by_a_repeat,
);

fn path_of(account: &Answer) -> String {
    format!("/admin/v1/accounts/{}", account.body["id"].as_str().unwrap())
}

fn key_of<'a>(account: &'a Answer, slot: &str) -> &'a str {
    account.body["keys"][slot].as_str().unwrap()
}

/// What a change says, with other `members` than most.
fn change(members: &Value) -> Value {
    let mut body = json!({
        "displayName": "Post", "kind": "external", "sites": "all",
        "permissions": ["Events.Publish", "Webhooks.Manage"],
    });
    for (name, value) in members.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

async fn a_change_is_in_force_when_it_is_answered_and_leaves_keys_and_quota(service: Harness) {
    service.tenants().await;
    let quota = json!({"burstCapacity": 500, "tokensPerSecond": 50});
    let account = service.new_account(json!({ "quota": quota })).await;
    let (path, key) = (path_of(&account), key_of(&account, "secondary"));
    let ask = || service.account(Method::GET, PATH, key, Value::Null);
    let put = |body: Value| service.operator(Method::PUT, &path, body);
    ask().await.expect(404);
    for (members, status) in [
        // Not for this site; without the permission; and all of it again.
        (json!({"sites": [], "permissions": ["Webhooks.Manage"]}), 403),
        (json!({"permissions": ["Events.Publish"]}), 403),
        (json!({"sites": [SITE]}), 404),
    ] {
        put(change(&members)).await.expect(200);
        ask().await.expect(status);
    }
    let changed = put(change(&json!({"displayName": "Mill", "kind": "internal"}))).await;
    let expected = json!({
        "id": account.body["id"], "displayName": "Mill", "kind": "internal", "sites": "all",
        "permissions": ["Events.Publish", "Webhooks.Manage"], "quota": quota, "revision": 5,
    });
    assert_eq!(changed.body, expected);
    assert_eq!(service.operator(Method::GET, &path, Value::Null).await.body, expected);

    // What is left out or misspelt changes nothing.
    for (name, pointer) in [("displayName", "#/displayName"), ("kind", "#/kind"), ("sites", "#/sites")] {
        let mut body = change(&json!({}));
        body.as_object_mut().unwrap().remove(name);
        let refused = put(body).await;
        refused.expect(400);
        assert_eq!(refused.pointers(), [pointer]);
    }
    for (members, pointer) in [
        (json!({"quota": null}), "#/quota"),
        (json!({"Kind": "internal"}), "#/Kind"),
        (json!({"sites": ["o4fKq2"]}), "#/sites/0"),
        (json!({"displayName": ""}), "#/displayName"),
        (json!({"permissions": ["Everything"]}), "#/permissions/0"),
    ] {
        let refused = put(change(&members)).await;
        refused.expect(400);
        assert_eq!(refused.pointers(), [pointer], "{members}");
    }
    assert_eq!(service.operator(Method::GET, &path, Value::Null).await.body, expected);
    let nobody = "/admin/v1/accounts/00000000-0000-4000-8000-00000000000a";
    service.operator(Method::PUT, nobody, change(&json!({}))).await.expect(404);
}

async fn a_deleted_account_lets_nobody_in_and_leaves_its_subscriptions(mut service: Harness) {
    let other = service.tenants().await;
    let account = service.new_account(json!({})).await;
    let path = path_of(&account);
    let id = account.body["id"].clone();
    let body = json!({"Uri": "https://receiver.example/"});
    service.account(Method::PUT, PATH, key_of(&account, "primary"), body.clone()).await.expect(200);
    service.account(Method::PUT, PATH, &other, body).await.expect(200);
    let its = format!("/admin/v1/endpoints?account={}", id.as_str().unwrap());
    let endpoint = service.operator(Method::GET, &its, Value::Null).await.body["items"].clone();
    assert_eq!((endpoint.as_array().unwrap().len(), &endpoint[0]["account"]), (1, &id));

    // A repeat changes nothing.
    for _ in 0..2 {
        let deleted = service.operator(Method::DELETE, &path, Value::Null).await;
        deleted.expect(200);
        assert_eq!(deleted.body, json!({"id": id, "endpoints": 1}));
    }
    let is_gone = async |service: &Harness| {
        for slot in ["primary", "secondary"] {
            service.account(Method::GET, PATH, key_of(&account, slot), Value::Null).await.expect(401);
        }
        service.account(Method::GET, PATH, &other, Value::Null).await.expect(200);
        assert!(service.bucket().await.get(&path.replace("/admin/v1/accounts/", "account.")).await.unwrap().is_none());
        service.operator(Method::GET, &path, Value::Null).await.expect(404);
        let accounts = service.operator(Method::GET, "/admin/v1/accounts", Value::Null).await;
        assert!(accounts.body["items"].as_array().unwrap().iter().all(|it| it["id"] != id), "{}", accounts.body);
        let stays = service.operator(Method::GET, &its, Value::Null).await;
        assert_eq!(stays.body["items"], endpoint, "its subscription is as it was");
    };
    is_gone(&service).await;
    // Nothing brings it back.
    service.operator(Method::PUT, &path, change(&json!({}))).await.expect(404);
    service.operator(Method::PUT, &format!("{path}/keys/primary"), Value::Null).await.expect(404);
    service.operator(Method::PUT, &format!("{path}/quota"), json!({"quota": null})).await.expect(404);
    service.restart().await;
    is_gone(&service).await;
    // Its endpoint is still the operator's to disable.
    let disable = format!("/admin/v1/endpoints/{}/disable", endpoint[0]["id"].as_str().unwrap());
    assert_eq!(service.operator(Method::POST, &disable, Value::Null).await.body["state"], "disabled");
    let state = service.operator(Method::GET, &format!("{its}&state=active"), Value::Null).await;
    assert_eq!(state.body["items"], json!([]));

    let nobody = "/admin/v1/accounts/00000000-0000-4000-8000-00000000000a";
    for path in [nobody, "/admin/v1/accounts/nonsense"] {
        service.operator(Method::DELETE, path, Value::Null).await.expect(404);
    }
    let nonsense = service.operator(Method::GET, "/admin/v1/endpoints?account=nonsense", Value::Null).await;
    nonsense.expect(400);
}

async fn a_deletion_that_was_not_put_in_force_is_by_a_repeat(service: Harness) {
    service.tenants().await;
    let account = service.new_account(json!({})).await;
    let key = key_of(&account, "primary");
    // As after a crash between the two.
    let store = service.store().await;
    let id = account.body["id"].as_str().unwrap().parse().unwrap();
    let now = slipstream_service::clock::now();
    assert!(slipstream_store::accounts::delete(store.connection(), id, now).await.unwrap());
    service.account(Method::GET, PATH, key, Value::Null).await.expect(404);
    service.operator(Method::DELETE, &path_of(&account), Value::Null).await.expect(200);
    service.account(Method::GET, PATH, key, Value::Null).await.expect(401);
}

#[tokio::test]
async fn misspelt_members_are_named_and_change_nothing() {
    let service = Harness::on_sqlite().await;
    let key = service.tenants().await;
    service.account(Method::PUT, PATH, &key, json!({"Uri": "https://receiver.example/"})).await.expect(200);
    let endpoint = service.subscription_in_bucket().await.unwrap();
    let rotate = format!("/admin/v1/endpoints/{}/rotate-secret", endpoint.id);
    let limits = format!("/admin/v1/endpoints/{}/limits", endpoint.id);
    let site = json!({"name": "x", "organisation": "o4fKq2", "product": "Testing", "pmsSpecificID": "17"});
    let account = json!({"displayName": "x", "sites": "all", "permissions": [], "knd": "internal"});
    let quota = json!({"burstCapacity": 1, "tokensPerSecond": 1, "tokensPerMinute": 1});
    let limited = json!({"displayName": "x", "sites": "all", "permissions": [], "quota": quota});
    for (method, path, body, pointer) in [
        (Method::POST, rotate.as_str(), json!({"graceSecond": 0}), "#/graceSecond"),
        (Method::PUT, &limits, json!({"ratePerMinutes": 60}), "#/ratePerMinutes"),
        (Method::PUT, "/admin/v1/organisations/o4fKq2", json!({"name": "x", "Name": "y"}), "#/Name"),
        (Method::PUT, "/admin/v1/sites/s8n6EzC", site, "#/pmsSpecificID"),
        (Method::POST, "/admin/v1/accounts", account, "#/knd"),
        (Method::POST, "/admin/v1/accounts", limited, "#/quota/tokensPerMinute"),
    ] {
        let refused = service.operator(method, path, body.clone()).await;
        refused.expect(400);
        assert_eq!(refused.pointers(), [pointer], "{body}");
    }
    assert_eq!(service.subscription_in_bucket().await.unwrap(), endpoint);
    let organisation = service.operator(Method::GET, "/admin/v1/organisations/o4fKq2", Value::Null).await;
    assert_eq!(organisation.body["name"], "Smiles");
    let accounts = service.operator(Method::GET, "/admin/v1/accounts", Value::Null).await;
    assert_eq!(accounts.body["items"].as_array().unwrap().len(), 1);
}
