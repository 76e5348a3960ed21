//! The operator API.

use axum::body::Body;
use http::{Method, Request};
use serde_json::{Value, json};
use slipstream_core::config::{EndpointLimits, EndpointState, Record};
use slipstream_test_support::secrets;

use crate::harness::{Harness, PATH, SITE};

crate::on_both_databases!(
    tenants_are_made_and_changed,
    endpoints_are_listed_and_switched,
    an_operator_limits_an_endpoint_until_it_is_removed,
);

async fn tenants_are_made_and_changed(service: Harness) {
    let put = |path: &'static str, body| service.operator(Method::PUT, path, body);
    let get = async |path: &str| service.operator(Method::GET, path, Value::Null).await;
    get("/admin/v1/organisations/o4fKq2").await.expect(404);
    let made = put("/admin/v1/organisations/o4fKq2", json!({"name": "Smiles"})).await;
    assert_eq!(made.body, json!({"slug": "o4fKq2", "name": "Smiles", "revision": 1}));
    put("/admin/v1/organisations/o4fKq2", json!({"name": "Smiles & Co"})).await.expect(200);
    let now = json!({"slug": "o4fKq2", "name": "Smiles & Co", "revision": 2});
    assert_eq!(get("/admin/v1/organisations/o4fKq2").await.body, now);

    let site = json!({"name": "Mill Lane", "organisation": "o4fKq2", "product": "Dentally", "pmsSpecificId": "17"});
    let made = put("/admin/v1/sites/s8n6EzC", site).await;
    let expected = json!({
        "slug": "s8n6EzC", "name": "Mill Lane", "organisation": "o4fKq2", "billingOrganisation": "o4fKq2",
        "product": "Dentally", "pmsSpecificId": "17", "ecgOrganization": null, "revision": 1,
    });
    assert_eq!((&made.body, get("/admin/v1/sites/s8n6EzC").await.body), (&expected, expected.clone()));
    // An ECG organization gets its public events from when it is linked until it is not told any more.
    let link = "784600d0-5b0f-4d0e-9c8c-0a8f8f3d7c11";
    let linked = json!({"name": "x", "organisation": "o4fKq2", "product": "Exact", "ecgOrganization": link});
    assert_eq!(put("/admin/v1/sites/s8n6EzC", linked).await.body["ecgOrganization"], link);
    let record = service.bucket().await.get("site.s8n6EzC").await.unwrap();
    let Some(Record::Site(site)) = record else { panic!("{record:?}") };
    assert_eq!(site.ecg_organization.map(|id| id.to_string()).as_deref(), Some(link));
    let odd = json!({"name": "x", "organisation": "o4fKq2", "product": "Exact", "ecgOrganization": "all"});
    let refused = put("/admin/v1/sites/s8n6EzC", odd).await;
    refused.expect(400);
    assert_eq!(refused.pointers(), ["#/ecgOrganization"]);
    let unlinked = json!({"name": "x", "organisation": "o4fKq2", "product": "Exact"});
    assert_eq!(put("/admin/v1/sites/s8n6EzC", unlinked).await.body["ecgOrganization"], Value::Null);

    let stray = json!({"name": "x", "organisation": "oNone1", "billingOrganisation": "o4fKq2", "product": "Exact"});
    let refused = put("/admin/v1/sites/s8n6EzC", stray).await;
    refused.expect(422);
    assert_eq!(refused.pointers(), ["#/organisation"]);

    let created = service.new_account(json!({"kind": "internal", "sites": [SITE]})).await;
    let id = created.body["id"].as_str().unwrap().to_owned();
    assert_eq!(created.headers["location"], format!("/admin/v1/accounts/{id}"));
    assert_eq!(created.headers["cache-control"], "no-store");
    let [primary, secondary] = ["primary", "secondary"].map(|slot| created.body["keys"][slot].as_str().unwrap());
    assert!(primary.starts_with(&format!("{id}_")) && primary.len() == 36 + 1 + 43);
    let shown = get(&format!("/admin/v1/accounts/{id}")).await;
    let expected = json!({
        "id": id, "displayName": "Post", "kind": "internal", "sites": [SITE],
        "permissions": ["Events.Publish", "Webhooks.Manage"], "quota": null, "revision": 1,
    });
    assert_eq!(shown.body, expected);

    // A rotated key is refused at once, its successor and the other key work at once.
    let path = format!("/admin/v1/accounts/{id}/keys/primary");
    let rotated = service.operator(Method::PUT, &path, Value::Null).await;
    rotated.expect(200);
    assert_eq!(rotated.headers["cache-control"], "no-store");
    let successor = rotated.body["key"].as_str().unwrap();
    for (key, status) in [(primary, 401), (successor, 404), (secondary, 404)] {
        service.account(Method::GET, PATH, key, Value::Null).await.expect(status);
    }
    // A quota is set and lifted, and a body that says neither changes nothing.
    let path = format!("/admin/v1/accounts/{id}/quota");
    let quota = json!({"burstCapacity": 500, "tokensPerSecond": 50});
    let limited = service.operator(Method::PUT, &path, json!({"quota": quota})).await;
    limited.expect(200);
    assert_eq!(limited.body["quota"], quota);
    for (body, pointer) in [
        (json!({}), "#/quota"),
        (json!({"quota": {"burstCapacity": 0, "tokensPerSecond": 1}}), "#/quota/burstCapacity"),
        (json!({"quota": null, "Quota": null}), "#/Quota"),
    ] {
        let refused = service.operator(Method::PUT, &path, body).await;
        refused.expect(400);
        assert_eq!(refused.pointers(), [pointer]);
    }
    assert_eq!(get(&format!("/admin/v1/accounts/{id}")).await.body["quota"], quota);
    let lifted = service.operator(Method::PUT, &path, json!({"quota": null})).await;
    lifted.expect(200);
    assert_eq!((&lifted.body["quota"], &lifted.body["revision"]), (&Value::Null, &json!(4)));

    // Neither SQL nor the bucket holds a key.
    let record = service.bucket().await.get(&format!("account.{id}")).await.unwrap().unwrap();
    let stored = serde_json::to_string(&record).unwrap();
    assert!(![primary, secondary, successor].iter().any(|key| stored.contains(&key[37..])));
}

async fn endpoints_are_listed_and_switched(service: Harness) {
    let key = service.tenants().await;
    let mut keys = vec![key];
    for _ in 0..2 {
        let account = service.new_account(json!({})).await;
        keys.push(account.body["keys"]["primary"].as_str().unwrap().to_owned());
    }
    let body = json!({"Uri": "https://receiver.example/", "Headers": [{"Name": "X-A", "Value": "canary"}]});
    for key in &keys {
        service.account(Method::PUT, PATH, key, body.clone()).await.expect(200);
    }
    let get = async |path: &str| service.operator(Method::GET, path, Value::Null).await;
    let post = async |path: String| service.operator(Method::POST, &path, Value::Null).await;
    let ids = |list: &Value| list.as_array().unwrap().iter().map(|it| it["id"].clone()).collect::<Vec<_>>();

    let first = get("/admin/v1/endpoints?limit=2").await;
    assert_eq!(first.body["items"].as_array().unwrap().len(), 2);
    assert!(!first.body.to_string().contains("canary"));
    let next = first.body["next"].as_str().unwrap();
    let second = get(&format!("/admin/v1/endpoints?limit=2&cursor={next}")).await;
    assert_eq!((second.body["items"].as_array().unwrap().len(), &second.body["next"]), (1, &Value::Null));
    let all = get("/admin/v1/endpoints").await;
    assert_eq!(ids(&all.body["items"]), [ids(&first.body["items"]), ids(&second.body["items"])].concat());

    let id = all.body["items"][0]["id"].as_str().unwrap();
    let disabled = post(format!("/admin/v1/endpoints/{id}/disable")).await;
    disabled.expect(200);
    assert_eq!((&disabled.body["state"], &disabled.body["disabledReason"]), (&json!("disabled"), &json!("operator")));
    let again = post(format!("/admin/v1/endpoints/{id}/disable")).await;
    assert_eq!(again.body, disabled.body);
    assert_eq!(ids(&get("/admin/v1/endpoints?state=disabled").await.body["items"]), [json!(id)]);
    assert_eq!(ids(&get("/admin/v1/endpoints?state=active").await.body["items"]).len(), 2);
    let record = service.bucket().await.get(&format!("subscription.{id}")).await.unwrap();
    let Some(Record::Subscription(subscription)) = record else { panic!("{record:?}") };
    let subscription = secrets::opened(*subscription, &service.data_keys().await);
    assert_ne!(subscription.state, EndpointState::Active);

    let secret = get(&format!("/admin/v1/endpoints/{id}/secret")).await;
    assert_eq!(secret.headers["cache-control"], "no-store");
    assert_eq!(secret.body["keys"][0]["secret"], json!(subscription.signing_keys[0].secret.expose().unwrap()));

    let enabled = post(format!("/admin/v1/endpoints/{id}/enable")).await;
    assert_eq!((&enabled.body["state"], enabled.body.get("disabledReason")), (&json!("active"), None));
    assert_eq!(get(&format!("/admin/v1/endpoints/{id}")).await.body, enabled.body);
}

async fn an_operator_limits_an_endpoint_until_it_is_removed(service: Harness) {
    let key = service.tenants().await;
    let body = json!({"Uri": "https://receiver.example/"});
    service.account(Method::PUT, PATH, &key, body.clone()).await.expect(200);
    let id = service.subscription_in_bucket().await.unwrap().id;
    let path = format!("/admin/v1/endpoints/{id}");
    let plain = service.operator(Method::GET, &path, Value::Null).await;
    assert_eq!(
        (&plain.body["limits"], &plain.body["ratePerMinute"]),
        (&json!({"ratePerMinute": null, "inFlightMax": null}), &Value::Null,)
    );
    assert_eq!((&plain.body["health"], &plain.body["consent"]), (&json!("healthy"), &json!({"state": "off"})));
    assert_eq!(plain.body.get("degradedSince"), None);

    let limits_path = format!("{path}/limits");
    let limit = |body| service.operator(Method::PUT, &limits_path, body);
    let limited = limit(json!({"ratePerMinute": 120, "inFlightMax": 2})).await;
    limited.expect(200);
    assert_eq!((&limited.body["ratePerMinute"], &limited.body["revision"]), (&json!(120), &json!(2)));
    let wanted = EndpointLimits { rate_per_minute: Some(120), in_flight_max: Some(2) };
    assert_eq!(service.subscription_in_bucket().await.unwrap().limits, wanted);
    assert_eq!(limit(json!({"ratePerMinute": 120, "inFlightMax": 2})).await.body, limited.body);

    for (body, pointers) in [
        (json!({"ratePerMinute": 0}), vec!["#/ratePerMinute"]),
        (json!({"ratePerMinute": 1_000_001, "inFlightMax": 65}), vec!["#/ratePerMinute", "#/inFlightMax"]),
        (json!({"inFlightMax": 0}), vec!["#/inFlightMax"]),
        (json!({"ratePerMinute": -1}), vec!["#/ratePerMinute"]),
        (json!({"ratePerMinute": 1.5}), vec!["#/ratePerMinute"]),
        (json!({"inFlightMax": "2"}), vec!["#/inFlightMax"]),
        (json!({"inFlightMax": 1_u64 << 40}), vec!["#/inFlightMax"]),
        (json!([]), vec!["#"]),
    ] {
        let refused = limit(body.clone()).await;
        refused.expect(400);
        assert_eq!(refused.pointers(), pointers, "{body}");
    }
    let nobody = "/admin/v1/endpoints/00000000-0000-4000-8000-00000000000a/limits";
    service.operator(Method::PUT, nobody, json!({})).await.expect(404);

    // Its owner's next PUT does not lift what the operator has set; null does.
    service.account(Method::PUT, PATH, &key, body).await.expect(200);
    assert_eq!(service.subscription_in_bucket().await.unwrap().limits, wanted);
    limit(json!({"ratePerMinute": null, "inFlightMax": 64})).await.expect(200);
    let wanted = EndpointLimits { rate_per_minute: None, in_flight_max: Some(64) };
    assert_eq!(service.subscription_in_bucket().await.unwrap().limits, wanted);
    limit(json!({})).await.expect(200);
    assert_eq!(service.subscription_in_bucket().await.unwrap().limits, EndpointLimits::default());
}

#[tokio::test]
async fn only_the_operator_is_let_in() {
    let service = Harness::on_sqlite().await;
    let key = service.tenants().await;
    let endpoint = "/admin/v1/endpoints/00000000-0000-4000-8000-00000000000a";
    for (method, path) in [
        (Method::GET, "/admin/v1/endpoints".to_owned()),
        (Method::GET, "/admin/v1/accounts".to_owned()),
        (Method::GET, "/admin/v1/sites/s8n6EzC".to_owned()),
        (Method::GET, endpoint.to_owned()),
        (Method::POST, format!("{endpoint}/enable")),
        (Method::POST, format!("{endpoint}/disable")),
        (Method::PUT, format!("{endpoint}/limits")),
        (Method::GET, format!("{endpoint}/secret")),
        (Method::POST, format!("{endpoint}/rotate-secret")),
        (Method::DELETE, format!("{endpoint}/secrets/abc")),
    ] {
        for header in [("authorization", "Bearer wrong"), ("authorization", ""), ("x-api-key", key.as_str())] {
            let request = Request::builder().method(method.clone()).uri(&path).header(header.0, header.1);
            let request = request.body(Body::empty()).unwrap();
            let answer = service.send(request).await;
            answer.expect(401);
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
        }
    }
}

#[tokio::test]
async fn what_does_not_exist_is_404_and_what_is_malformed_is_400() {
    let service = Harness::on_sqlite().await;
    service.tenants().await;
    let nobody = "00000000-0000-4000-8000-00000000000a";
    for (method, path, status) in [
        (Method::GET, "/admin/v1/organisations/oNone1".to_owned(), 404),
        (Method::GET, "/admin/v1/organisations/s8n6EzC".to_owned(), 400),
        (Method::GET, "/admin/v1/sites/o4fKq2".to_owned(), 400),
        (Method::GET, "/admin/v1/sites/!!".to_owned(), 400),
        (Method::GET, "/admin/v1/sites/sNone1".to_owned(), 404),
        (Method::GET, format!("/admin/v1/accounts/{nobody}"), 404),
        (Method::GET, "/admin/v1/accounts/nonsense".to_owned(), 404),
        (Method::PUT, format!("/admin/v1/accounts/{nobody}/keys/primary"), 404),
        (Method::PUT, format!("/admin/v1/accounts/{nobody}/keys/third"), 404),
        (Method::GET, format!("/admin/v1/endpoints/{nobody}"), 404),
        (Method::GET, format!("/admin/v1/endpoints/{nobody}/secret"), 404),
        (Method::POST, format!("/admin/v1/endpoints/{nobody}/enable"), 404),
        (Method::POST, format!("/admin/v1/endpoints/{nobody}/disable"), 404),
        (Method::GET, "/admin/v1/endpoints?state=tired".to_owned(), 400),
        (Method::GET, "/admin/v1/endpoints?limit=101".to_owned(), 400),
        (Method::GET, "/admin/v1/endpoints?limit=0".to_owned(), 400),
        (Method::GET, "/admin/v1/endpoints?limit=1&limit=2".to_owned(), 400),
        (Method::GET, "/admin/v1/endpoints?stat=active".to_owned(), 400),
        (Method::GET, "/admin/v1/accounts?state=active".to_owned(), 400),
        (Method::GET, "/admin/v1/accounts?cursor=nonsense".to_owned(), 400),
    ] {
        service.operator(method, &path, Value::Null).await.expect(status);
    }
    for (method, path, body, pointer) in [
        (Method::PUT, "/admin/v1/organisations/o4fKq2", json!({}), "#/name"),
        (Method::PUT, "/admin/v1/organisations/o4fKq2", json!({"name": "a\u{0}b"}), "#/name"),
        (Method::PUT, "/admin/v1/sites/s8n6EzC", json!({"name": "x", "organisation": "o4fKq2"}), "#/product"),
        (
            Method::PUT,
            "/admin/v1/sites/s8n6EzC",
            json!({"name": "x", "organisation": "o4fKq2", "product": "Unknown"}),
            "#/product",
        ),
        (
            Method::PUT,
            "/admin/v1/sites/s8n6EzC",
            json!({"name": "x", "organisation": "?", "product": "Exact"}),
            "#/organisation",
        ),
        (Method::POST, "/admin/v1/accounts", json!({"displayName": "x", "permissions": []}), "#/sites"),
    ] {
        let answer = service.operator(method, path, body.clone()).await;
        answer.expect(400);
        assert_eq!(answer.pointers(), [pointer], "{body}");
    }
}
