//! Refusals that no handler makes have the shape of this surface, too (SPEC 2.2, 2.4).

use axum::body::Body;
use http::{Method, Request};
use serde_json::{Value, json};
use slipstream_service::auth::AuthConfig;

use super::subscriptions::{subscriptions_of, wanted};
use super::{ADMIN, CATEGORIES, MANAGER, ORGANIZATION, World, done, refused};
use crate::harness::{Harness, Settings};

crate::on_both_databases!(a_patch_that_changes_nothing_changes_nothing);

#[tokio::test]
async fn what_leads_nowhere_or_says_nothing_that_is_read_is_refused_in_the_shape_of_the_surface() {
    let world = World::on(Harness::on_sqlite().await).await;
    for path in ["/api/", "/api/nothing", "/api/webhook-categories/a/b/c/d", "/api/organizations"] {
        refused(&world.admin(Method::GET, path, Value::Null).await, 404);
    }
    let not_allowed = world.admin(Method::PUT, CATEGORIES, json!({})).await;
    refused(&not_allowed, 405);
    let allowed = not_allowed.headers["allow"].to_str().unwrap();
    assert!(allowed.contains("POST") && allowed.contains("GET"), "{allowed}");
    for (method, path) in [
        (Method::POST, CATEGORIES.to_owned()),
        (Method::POST, subscriptions_of(ORGANIZATION)),
        (Method::PATCH, format!("{CATEGORIES}/{ADMIN}")),
    ] {
        for content_type in [None, Some("text/plain"), Some("application/xml")] {
            let token = world.token(ADMIN, "webhookAdmin", &[]);
            let mut request = Request::builder().method(method.clone()).uri(&path);
            request = request.header("authorization", format!("Bearer {token}"));
            if let Some(content_type) = content_type {
                request = request.header("content-type", content_type);
            }
            refused(&world.service.send(request.body(Body::from("{}")).unwrap()).await, 415);
        }
    }
}

#[tokio::test]
async fn who_has_used_up_a_quota_of_one_token_is_told_when_to_come_again() {
    let quota = json!({ "quota": { "burst_capacity": 1, "tokens_per_second": 1 } });
    let auth: AuthConfig = serde_json::from_value(quota).unwrap();
    let world = World::with(Harness::on_sqlite().await, Settings { auth, ..Settings::default() }).await;
    let token = world.token(MANAGER, "webhookManager", &[ORGANIZATION]);
    let list = subscriptions_of(ORGANIZATION);
    let mut over = None;
    // A token comes back each second, so one of a few at once is refused.
    for _ in 0..20 {
        let answer = world.ask(&token, Method::GET, &list, Value::Null).await;
        if answer.status == 429 {
            over = Some(answer);
            break;
        }
        done(&answer, 200);
    }
    let over = over.expect("twenty requests at once are more than one token");
    refused(&over, 429);
    let header = |name: &str| over.headers[name].to_str().unwrap();
    assert_eq!((header("retry-after"), header("ratelimit-policy")), ("1", "\"requests\";q=1;w=1"));
    assert_eq!(header("ratelimit"), "\"requests\";r=0;t=1");
}

async fn a_patch_that_changes_nothing_changes_nothing(service: Harness) {
    let (world, event) = World::with_event(service).await;
    let category = event.split("/webhook-events/").next().unwrap().to_owned();
    let samples = format!("{event}/sample-payloads");
    done(&world.admin(Method::POST, &samples, json!({ "payload": { "b": 1.0, "a": [] } })).await, 201);
    let subscription = world.subscribed(wanted()).await;
    // Each with a patch of something that it has; by another one than who made it.
    for (path, patched) in [
        (category, "/name"),
        (event, "/code"),
        (format!("{samples}?version=v1"), "/payload/a"),
        (subscription, "/postUri"),
    ] {
        let other = world.token("00000000-0000-4000-8000-0000000000ff", "webhookAdmin", &[]);
        let before = world.admin(Method::GET, &path, Value::Null).await;
        let value = before.body.pointer(patched).unwrap().clone();
        for patch in [
            json!([]),
            json!([{ "op": "test", "path": patched, "value": value }]),
            json!([{ "op": "replace", "path": patched, "value": value }]),
            json!([{ "op": "replace", "path": patched, "value": "https://b.example/" },
                { "op": "add", "path": patched, "value": value }]),
        ] {
            let same = world.ask(&other, Method::PATCH, &path, patch.clone()).await;
            done(&same, 200);
            assert_eq!(same.body, before.body, "{patch}");
        }
        assert_eq!(world.admin(Method::GET, &path, Value::Null).await.body, before.body, "{path}");
    }
}
