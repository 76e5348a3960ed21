//! Events: E12 to E20.

use http::{Method, Request};
use serde_json::{Value, json};
use slipstream_core::config::{EcgEvent, Record};
use slipstream_store::ConnectionTrait as _;

use super::{ADMIN, CATEGORIES, NOBODY, ORGANIZATION, World, done, listed, refused};
use crate::harness::{Answer, Harness, with_body};

crate::on_both_databases!(
    an_event_is_made_shown_and_put_in_force_with_its_category,
    code_and_version_belong_to_one_event_over_all_categories,
    an_event_is_addressed_under_its_own_category,
    events_are_switched_patched_and_listed,
    an_event_with_subscriptions_is_not_deleted,
    what_was_made_and_never_heard_of_is_not_made_twice,
);

fn id(path: &str) -> &str {
    path.rsplit('/').next().unwrap()
}

async fn in_bucket(world: &World, path: &str) -> EcgEvent {
    let record = world.service.bucket().await.get(&format!("ecg_event.{}", id(path))).await.unwrap();
    let Some(Record::EcgEvent(event)) = record else { panic!("{record:?}") };
    event
}

async fn an_event_is_made_shown_and_put_in_force_with_its_category(service: Harness) {
    let world = World::on(service).await;
    let category = world.category("vitals").await;
    let wanted = json!({ "name": "Created", "code": "Vitals.Created", "version": "v2", "description": "New" });
    let made = world.admin(Method::POST, &format!("{category}/webhook-events"), wanted).await;
    done(&made, 201);
    let path = made.headers["location"].to_str().unwrap();
    assert_eq!(path, format!("{category}/webhook-events/{}", made.body["id"].as_str().unwrap()));
    let at = made.body["auditInfo"]["createdAt"].clone();
    let expected = json!({
        "id": id(path), "name": "Created", "description": "New", "version": "v2", "code": "Vitals.Created",
        "archiveInfo": { "archived": false, "archivedStatusChangedAt": at },
        "activeInfo": { "active": true, "activeStatusChangedAt": at },
        "auditInfo": { "createdAt": at, "createdBy": ADMIN, "updatedAt": at, "updatedBy": ADMIN },
        "webhookCategory": world.manager(Method::GET, &category, Value::Null).await.body,
    });
    assert_eq!(made.body, expected);
    assert_eq!(world.manager(Method::GET, path, Value::Null).await.body, expected);
    let known = in_bucket(&world, path).await;
    assert_eq!((known.code.as_str(), known.version.as_str(), known.revision), ("Vitals.Created", "v2", 1));
    assert_eq!(known.category.to_string(), id(&category));

    for (body, expected) in [
        (json!({ "code": "a", "version": "v1" }), "name is required"),
        (json!({ "name": "a", "code": "a" }), "version is required"),
        (json!({ "name": "a", "code": "a", "version": "1" }), "version must be `v` and a number"),
        (json!({ "name": "a", "code": "a", "version": 1 }), "version must be a string"),
        (json!({ "name": "a", "code": "a/b", "version": "v1" }), "code must be of letters"),
    ] {
        let answer = world.admin(Method::POST, &format!("{category}/webhook-events"), body.clone()).await;
        let messages = refused(&answer, 400);
        assert!(messages.len() == 1 && messages[0].starts_with(expected), "{body}: {messages:?}");
    }
    let nowhere = format!("{CATEGORIES}/{NOBODY}/webhook-events");
    refused(&world.admin(Method::POST, &nowhere, json!({ "name": "a", "code": "a", "version": "v1" })).await, 404);
    refused(&world.manager(Method::GET, &nowhere, Value::Null).await, 404);
    refused(&world.manager(Method::POST, &format!("{category}/webhook-events"), json!({})).await, 403);
}

async fn code_and_version_belong_to_one_event_over_all_categories(service: Harness) {
    let world = World::on(service).await;
    let (one, other) = (world.category("one").await, world.category("other").await);
    let first = world.event(&one, "created", "v1").await;
    let second = world.event(&other, "created", "v2").await;
    let again = json!({ "name": "It", "code": "CREATED", "version": "v1" });
    let clash = world.admin(Method::POST, &format!("{other}/webhook-events"), again.clone()).await;
    assert_eq!(refused(&clash, 409), ["another webhook event has this code and version"]);
    let patch = json!([{ "op": "replace", "path": "/version", "value": "v1" }]);
    refused(&world.patch(&second, patch.clone()).await, 409);
    assert_eq!(in_bucket(&world, &second).await.version, "v2");

    done(&world.admin(Method::DELETE, &first, Value::Null).await, 200);
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(refused(&world.admin(method, &first, Value::Null).await, 404), ["there is no such webhook event"]);
    }
    let tombstone = in_bucket(&world, &first).await;
    assert_eq!((tombstone.deleted, tombstone.revision), (true, 2));
    done(&world.patch(&second, patch).await, 200);
    refused(&world.admin(Method::POST, &format!("{other}/webhook-events"), again).await, 409);
}

async fn an_event_is_addressed_under_its_own_category(service: Harness) {
    let world = World::on(service).await;
    let (one, other) = (world.category("one").await, world.category("other").await);
    let event = world.event(&one, "created", "v1").await;
    let elsewhere = format!("{other}/webhook-events/{}", id(&event));
    for (method, rest, body) in [
        (Method::GET, "", Value::Null),
        (Method::DELETE, "", Value::Null),
        (Method::PATCH, "", json!([])),
        (Method::POST, "/archive", Value::Null),
        (Method::POST, "/sample-payloads", json!({ "payload": {} })),
        (Method::GET, "/sample-payloads?version=v1", Value::Null),
        (Method::GET, "/sample-payloads-examples?type=ack", Value::Null),
    ] {
        let answer = world.admin(method.clone(), &format!("{elsewhere}{rest}"), body).await;
        assert_eq!(refused(&answer, 404), ["there is no such webhook event"], "{method} {rest}");
    }
    assert_eq!(in_bucket(&world, &event).await.revision, 1);
    let of = async |category: &str| {
        listed(&world.manager(Method::GET, &format!("{category}/webhook-events"), Value::Null).await)
    };
    assert_eq!((of(&one).await, of(&other).await), ((vec![id(&event).to_owned()], 1), (vec![], 0)));
}

async fn events_are_switched_patched_and_listed(service: Harness) {
    let world = World::on(service).await;
    let category = world.category("vitals").await;
    let (one, two) = (world.event(&category, "one", "v1").await, world.event(&category, "two", "v1").await);
    for (verb, status, flags, revision) in [
        ("deactivate", 200, (false, false), 2),
        ("archive", 200, (false, true), 3),
        ("archive", 200, (false, true), 3),
        ("activate", 409, (false, true), 3),
        ("restore", 200, (false, false), 4),
        ("activate", 200, (true, false), 5),
        ("archive", 200, (true, true), 6),
    ] {
        let answer = world.admin(Method::POST, &format!("{one}/{verb}"), Value::Null).await;
        if status == 409 {
            drop(refused(&answer, 409));
        } else {
            done(&answer, 200);
        }
        let known = in_bucket(&world, &one).await;
        assert_eq!(((known.flags.active, known.flags.archived), known.revision), (flags, revision), "{verb}");
    }
    let list = async |query: &str| {
        listed(&world.manager(Method::GET, &format!("{category}/webhook-events?{query}"), Value::Null).await)
    };
    assert_eq!(list("").await, (vec![id(&two).to_owned()], 1));
    assert_eq!(list("status=archived").await, (vec![id(&one).to_owned()], 1));

    let patch = json!([
        { "op": "test", "path": "/webhookCategory/code", "value": "vitals" },
        { "op": "replace", "path": "/name", "value": "Two" },
        { "op": "replace", "path": "/code", "value": "Two" },
        { "op": "replace", "path": "/version", "value": "v7" },
        { "op": "add", "path": "/description", "value": "It" },
    ]);
    let patched = world.patch(&two, patch).await;
    done(&patched, 200);
    let known = in_bucket(&world, &two).await;
    assert_eq!((known.name.as_str(), known.code.as_str(), known.version.as_str()), ("Two", "Two", "v7"));
    assert_eq!((&patched.body["description"], known.revision), (&json!("It"), 2));
    for (patch, status) in [
        (json!([{ "op": "replace", "path": "/version", "value": "7" }]), 400),
        (json!([{ "op": "remove", "path": "/version" }]), 400),
        (json!([{ "op": "replace", "path": "/webhookCategory/name", "value": "x" }]), 422),
        (json!([{ "op": "move", "from": "/id", "path": "/name" }]), 422),
    ] {
        refused(&world.patch(&two, patch).await, status);
    }
    assert_eq!(in_bucket(&world, &two).await, known);
}

async fn an_event_with_subscriptions_is_not_deleted(service: Harness) {
    let world = World::on(service).await;
    let category = world.category("vitals").await;
    let event = world.event(&category, "created", "v1").await;
    let subscriptions = format!("/api/organizations/{ORGANIZATION}/webhook-subscriptions");
    let wanted = json!({ "events": [id(&event)], "isDevelopment": false });
    let made = world.manager(Method::POST, &subscriptions, wanted).await;
    done(&made, 201);
    let kept = world.admin(Method::DELETE, &event, Value::Null).await;
    assert_eq!(refused(&kept, 409), ["there are still subscriptions to the webhook event"]);
    assert!(!in_bucket(&world, &event).await.deleted);
    let subscription = format!("{subscriptions}/{}", made.body["id"].as_str().unwrap());
    done(&world.manager(Method::DELETE, &subscription, Value::Null).await, 200);
    done(&world.admin(Method::DELETE, &event, Value::Null).await, 200);
}

/// A request with an `Idempotency-Key` whose first answer nobody has heard, since the service ended before it was kept.
async fn unheard(world: &World, path: &str, body: Value) -> (Answer, Answer) {
    let send = async || {
        let token = world.token(ADMIN, "webhookAdmin", &[]);
        let request =
            Request::builder().method(Method::POST).uri(path).header("authorization", format!("Bearer {token}"));
        world.service.send(with_body(request.header("idempotency-key", r#""k""#), &body)).await
    };
    let first = send().await;
    let sql = "UPDATE idempotency_keys SET status = NULL, headers = NULL, body = NULL, lease_until_ms = 0";
    world.service.store().await.connection().execute_unprepared(sql).await.unwrap();
    (first, send().await)
}

async fn what_was_made_and_never_heard_of_is_not_made_twice(service: Harness) {
    let world = World::on(service).await;
    let (first, again) = unheard(&world, CATEGORIES, json!({ "name": "Vitals", "code": "vitals" })).await;
    done(&first, 201);
    done(&again, 201);
    assert_eq!(again.body, first.body);
    let category = format!("{CATEGORIES}/{}", first.body["id"].as_str().unwrap());
    let event = json!({ "name": "It", "code": "created", "version": "v1" });
    let (first, again) = unheard(&world, &format!("{category}/webhook-events"), event).await;
    done(&first, 201);
    done(&again, 201);
    assert_eq!(again.body, first.body);
    let samples = format!("{category}/webhook-events/{}/sample-payloads", first.body["id"].as_str().unwrap());
    let (first, again) = unheard(&world, &samples, json!({ "payload": { "a": 1 } })).await;
    done(&first, 201);
    done(&again, 201);
    assert_eq!(again.body, first.body);
    // Without a key, or with another one, it clashes as ever.
    refused(&world.admin(Method::POST, &samples, json!({ "payload": { "a": 1 } })).await, 409);
}
