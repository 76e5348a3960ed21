//! Categories: E2 to E10.

use axum::body::Body;
use http::{Method, Request};
use serde_json::{Value, json};
use slipstream_core::config::Record;

use super::{ADMIN, CATEGORIES, NOBODY, World, done, listed, refused};
use crate::harness::{Answer, Harness};

crate::on_both_databases!(
    a_category_is_made_shown_and_put_in_force,
    a_code_belongs_to_one_category_until_that_is_deleted,
    the_four_verbs_switch_two_flags_and_a_repeat_changes_nothing,
    a_patch_changes_all_or_nothing,
    a_category_with_events_is_not_deleted,
    lists_are_pages_by_last_change,
);

async fn in_bucket(world: &World, id: &str) -> slipstream_core::config::EcgCategory {
    let record = world.service.bucket().await.get(&format!("ecg_category.{id}")).await.unwrap();
    let Some(Record::EcgCategory(category)) = record else { panic!("{record:?}") };
    category
}

fn id(answer: &Answer) -> String {
    answer.body["id"].as_str().unwrap().to_owned()
}

async fn a_category_is_made_shown_and_put_in_force(service: Harness) {
    let world = World::on(service).await;
    let wanted = json!({ "name": "Vitals é", "code": "Vitals.All-1", "description": "One\ntwo", "id": NOBODY });
    let made = world.admin(Method::POST, CATEGORIES, wanted).await;
    done(&made, 201);
    let path = format!("{CATEGORIES}/{}", id(&made));
    assert_eq!(made.headers["location"], path);
    let at = made.body["auditInfo"]["createdAt"].clone();
    let expected = json!({
        "id": id(&made), "name": "Vitals é", "description": "One\ntwo", "code": "Vitals.All-1",
        "archiveInfo": { "archived": false, "archivedStatusChangedAt": at },
        "activeInfo": { "active": true, "activeStatusChangedAt": at },
        "auditInfo": { "createdAt": at, "createdBy": ADMIN, "updatedAt": at, "updatedBy": ADMIN },
    });
    assert_eq!(made.body, expected);
    assert_ne!(id(&made), NOBODY, "ids are ours to choose");
    // Managers read what admins write.
    let path_in_capitals = format!("{CATEGORIES}/{}", id(&made).to_uppercase());
    let shown = world.manager(Method::GET, &path_in_capitals, Value::Null).await;
    done(&shown, 200);
    assert_eq!(shown.body, expected);
    let known = in_bucket(&world, &id(&made)).await;
    assert_eq!((known.code.as_str(), known.revision, known.deleted), ("Vitals.All-1", 1, false));
    // Without a description there is none.
    let plain = world.admin(Method::POST, CATEGORIES, json!({ "name": "x", "code": "x", "description": null })).await;
    assert_eq!(plain.body["description"], Value::Null);
}

async fn a_code_belongs_to_one_category_until_that_is_deleted(service: Harness) {
    let world = World::on(service).await;
    let path = world.category("vitals").await;
    let again = json!({ "name": "Other", "code": "VITALS" });
    let clash = world.admin(Method::POST, CATEGORIES, again.clone()).await;
    assert_eq!(refused(&clash, 409), ["another webhook category has this code"]);
    let other = world.category("calls").await;
    let patch = json!([{ "op": "replace", "path": "/code", "value": "Vitals" }]);
    refused(&world.patch(&other, patch).await, 409);

    let deleted = world.admin(Method::DELETE, &path, Value::Null).await;
    done(&deleted, 200);
    assert_eq!(deleted.body, json!({ "value": true }));
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(refused(&world.admin(method, &path, Value::Null).await, 404), ["there is no such webhook category"]);
    }
    refused(&world.admin(Method::POST, &format!("{path}/archive"), Value::Null).await, 404);
    refused(&world.patch(&path, json!([])).await, 404);
    let tombstone = in_bucket(&world, path.rsplit('/').next().unwrap()).await;
    assert_eq!((tombstone.deleted, tombstone.revision, tombstone.code.as_str()), (true, 2, "vitals"));
    done(&world.admin(Method::POST, CATEGORIES, again).await, 201);
    // The history of posts names it, also after a restart.
    let World { mut service, .. } = world;
    service.restart().await;
    let record = service.bucket().await.get(&format!("ecg_category.{}", tombstone.id)).await.unwrap();
    assert_eq!(record, Some(Record::EcgCategory(tombstone)));
}

async fn the_four_verbs_switch_two_flags_and_a_repeat_changes_nothing(service: Harness) {
    let world = World::on(service).await;
    let path = world.category("vitals").await;
    let made = world.manager(Method::GET, &path, Value::Null).await.body;
    let mut revision = 1;
    for (verb, status, flags) in [
        ("activate", 200, (true, false)),
        ("deactivate", 200, (false, false)),
        ("deactivate", 200, (false, false)),
        ("archive", 200, (false, true)),
        ("archive", 200, (false, true)),
        ("activate", 409, (false, true)),
        ("restore", 200, (false, false)),
        ("restore", 200, (false, false)),
        ("activate", 200, (true, false)),
        ("archive", 200, (true, true)),
        ("activate", 409, (true, true)),
        ("deactivate", 200, (false, true)),
    ] {
        let before = world.manager(Method::GET, &path, Value::Null).await.body;
        let answer = world.admin(Method::POST, &format!("{path}/{verb}"), Value::Null).await;
        if status == 409 {
            assert_eq!(refused(&answer, 409), ["it is archived: restore it first"]);
        } else {
            done(&answer, 200);
            assert_eq!(answer.body, json!({ "value": true }));
        }
        let after = world.manager(Method::GET, &path, Value::Null).await.body;
        let now = (&after["activeInfo"]["active"], &after["archiveInfo"]["archived"]);
        assert_eq!(now, (&json!(flags.0), &json!(flags.1)), "{verb}");
        let known = in_bucket(&world, made["id"].as_str().unwrap()).await;
        assert_eq!((known.flags.active, known.flags.archived), flags, "{verb}");
        let is_change = (before["activeInfo"]["active"] != after["activeInfo"]["active"])
            || (before["archiveInfo"]["archived"] != after["archiveInfo"]["archived"]);
        revision += i64::from(is_change);
        assert_eq!(known.revision, revision, "{verb}");
        assert_eq!(before == after, !is_change, "{verb}: times change with what they are of, and only so");
    }
}

async fn a_patch_changes_all_or_nothing(service: Harness) {
    let world = World::on(service).await;
    let path = world.category("vitals").await;
    let before = world.manager(Method::GET, &path, Value::Null).await.body;
    for (patch, status) in [
        (json!([{ "op": "replace", "path": "/id", "value": NOBODY }]), 422),
        (
            json!([{ "op": "replace", "path": "/name", "value": "New" }, { "op": "test", "path": "/code", "value": "x" }]),
            422,
        ),
        (json!([{ "op": "remove", "path": "/nothing" }]), 422),
        (json!([{ "op": "replace", "path": "/activeInfo/active", "value": false }]), 422),
        (json!([{ "op": "remove", "path": "/name" }]), 400),
        (json!([{ "op": "replace", "path": "/name", "value": 7 }]), 400),
        (json!([{ "op": "replace", "path": "/name", "value": "" }]), 400),
        (json!([{ "op": "replace", "path": "/code", "value": "a b" }]), 400),
        (json!([{ "op": "replace", "path": "/description", "value": "x".repeat(2001) }]), 400),
        (json!([{ "op": "spam", "path": "/name" }]), 400),
        (json!([{ "op": "add", "path": "/name" }]), 400),
        (json!({ "name": "x" }), 400),
    ] {
        refused(&world.patch(&path, patch.clone()).await, status);
        assert_eq!(world.manager(Method::GET, &path, Value::Null).await.body, before, "{patch}");
    }
    let patch = json!([
        { "op": "test", "path": "/auditInfo/createdBy", "value": ADMIN },
        { "op": "copy", "from": "/name", "path": "/description" },
        { "op": "replace", "path": "/name", "value": "New" },
        { "op": "replace", "path": "/code", "value": "VITALS" },
    ]);
    let other = "99999999-5b0f-4d0e-9c8c-0a8f8f3d7c11";
    let token = world.token(other, "webhookAdmin", &[]);
    let request =
        Request::builder().method(Method::PATCH).uri(&path).header("authorization", format!("Bearer {token}"));
    let request = request.header("content-type", "application/json-patch+json").body(Body::from(patch.to_string()));
    let patched = world.service.send(request.unwrap()).await;
    done(&patched, 200);
    let mut expected = before.clone();
    expected["name"] = json!("New");
    expected["code"] = json!("VITALS");
    expected["description"] = json!("Vitals");
    expected["auditInfo"]["updatedBy"] = json!(other);
    expected["auditInfo"]["updatedAt"] = patched.body["auditInfo"]["updatedAt"].clone();
    assert_eq!(patched.body, expected);
    assert_eq!(world.manager(Method::GET, &path, Value::Null).await.body, expected);
    let known = in_bucket(&world, before["id"].as_str().unwrap()).await;
    assert_eq!((known.name.as_str(), known.revision), ("New", 2));
    let cleared = world.patch(&path, json!([{ "op": "remove", "path": "/description" }])).await;
    done(&cleared, 200);
    assert_eq!(cleared.body["description"], Value::Null);
}

async fn a_category_with_events_is_not_deleted(service: Harness) {
    let world = World::on(service).await;
    let path = world.category("vitals").await;
    let event = world.event(&path, "vitals.created", "v1").await;
    let kept = world.admin(Method::DELETE, &path, Value::Null).await;
    assert_eq!(refused(&kept, 409), ["the webhook category still has events"]);
    done(&world.manager(Method::GET, &path, Value::Null).await, 200);
    done(&world.admin(Method::DELETE, &event, Value::Null).await, 200);
    done(&world.admin(Method::DELETE, &path, Value::Null).await, 200);
    refused(&world.admin(Method::POST, &format!("{path}/webhook-events"), json!({})).await, 400);
    let late = json!({ "name": "x", "code": "x", "version": "v1" });
    refused(&world.admin(Method::POST, &format!("{path}/webhook-events"), late).await, 404);
}

async fn lists_are_pages_by_last_change(service: Harness) {
    let world = World::on(service).await;
    let mut paths = Vec::new();
    for code in ["a", "b", "c", "d", "e"] {
        paths.push(world.category(code).await);
    }
    let id_of = |path: &String| path.rsplit('/').next().unwrap().to_owned();
    // Each of its own: what is made within one millisecond is sorted by id.
    done(&world.patch(&paths[1], json!([{ "op": "replace", "path": "/name", "value": "B" }])).await, 200);
    done(&world.admin(Method::POST, &format!("{}/archive", paths[2]), Value::Null).await, 200);
    done(&world.admin(Method::POST, &format!("{}/deactivate", paths[3]), Value::Null).await, 200);
    let list = async |query: &str| world.manager(Method::GET, &format!("{CATEGORIES}?{query}"), Value::Null).await;
    let of = |numbers: &[usize]| numbers.iter().map(|number| id_of(&paths[*number])).collect::<Vec<_>>();
    assert_eq!(listed(&list("").await), (of(&[3, 1, 4, 0]), 4));
    assert_eq!(listed(&list("order_by=ASC").await), (of(&[0, 4, 1, 3]), 4));
    assert_eq!(listed(&list("status=restored").await).1, 4);
    assert_eq!(listed(&list("status=active").await), (of(&[1, 4, 0]), 3));
    assert_eq!(listed(&list("status=inactive").await), (of(&[3]), 1));
    assert_eq!(listed(&list("status=archived").await), (of(&[2]), 1));
    let page = list("skip=1&take=3").await;
    assert_eq!(listed(&page), (of(&[0]), 4));
    let place = json!({ "currentPageNumber": 1, "recordsPerPage": 3, "totalRecords": 4, "totalPages": 2 });
    for (member, value) in place.as_object().unwrap() {
        assert_eq!(page.body[member], *value, "{member}");
    }
    assert_eq!(listed(&list("skip=9").await), (vec![], 4));
    for query in ["status=deleted", "take=0", "take=101", "skip=-1", "order_by=up", "skip=x"] {
        refused(&list(query).await, 400);
    }
}

#[tokio::test]
async fn members_that_break_a_rule_are_named() {
    let world = World::on(Harness::on_sqlite().await).await;
    for (body, expected) in [
        (json!({ "code": "a" }), "name is required"),
        (json!({ "name": "a" }), "code is required"),
        (json!({ "name": null, "code": "a" }), "name must be a string"),
        (json!({ "name": " ", "code": "a" }), "name must not be empty"),
        (json!({ "name": "x".repeat(201), "code": "a" }), "name must have at most 200 characters"),
        (json!({ "name": "x", "code": "x".repeat(101) }), "code must have at most 100 characters"),
        (json!({ "name": "x", "code": "a", "description": "a\u{0}" }), "description must not hold control characters"),
        (json!([]), "the body must be an object"),
    ] {
        let messages = refused(&world.admin(Method::POST, CATEGORIES, body.clone()).await, 400);
        assert!(messages.len() == 1 && messages[0].starts_with(expected), "{body}: {messages:?}");
    }
    for code in ["", "a b", ".a", "a.", "a--b", "ä"] {
        let messages = refused(&world.admin(Method::POST, CATEGORIES, json!({ "name": "x", "code": code })).await, 400);
        assert!(messages[0].starts_with("code must "), "{code}: {messages:?}");
    }
    let two = refused(&world.admin(Method::POST, CATEGORIES, json!({ "name": "", "code": "" })).await, 400);
    assert_eq!(two.len(), 2, "{two:?}");
    assert_eq!(listed(&world.manager(Method::GET, CATEGORIES, Value::Null).await), (vec![], 0));
}

#[tokio::test]
async fn whoever_may_not_is_let_in_nowhere() {
    let world = World::on(Harness::on_sqlite().await).await;
    let path = world.category("vitals").await;
    let event = world.event(&path, "vitals.created", "v1").await;
    let nobody = format!("{CATEGORIES}/{NOBODY}");
    for path in [&path, &event] {
        refused(&world.anybody(Method::GET, path).await, 401);
        refused(&world.ask("nonsense", Method::GET, path, Value::Null).await, 401);
        let neither = world.token(ADMIN, "somebodyElse", &[]);
        refused(&world.ask(&neither, Method::GET, path, Value::Null).await, 403);
        // What everybody shares is changed by admins only.
        for method in [Method::DELETE, Method::PATCH] {
            refused(&world.manager(method, path, json!([])).await, 403);
        }
        for verb in ["archive", "restore", "activate", "deactivate"] {
            refused(&world.manager(Method::POST, &format!("{path}/{verb}"), Value::Null).await, 403);
        }
    }
    refused(&world.manager(Method::POST, CATEGORIES, json!({ "name": "x", "code": "x" })).await, 403);
    for (path, status) in [
        (nobody.clone(), 404),
        (format!("{CATEGORIES}/nonsense"), 400),
        (format!("{CATEGORIES}/{}", NOBODY.replace('-', "")), 400),
        (format!("{path}/webhook-events/{NOBODY}"), 404),
        (format!("{path}/webhook-events/nonsense"), 400),
        (format!("{CATEGORIES}/nonsense/webhook-events/{NOBODY}"), 400),
    ] {
        for (method, rest, body) in [
            (Method::GET, "", Value::Null),
            (Method::DELETE, "", Value::Null),
            (Method::PATCH, "", json!([])),
            (Method::POST, "/archive", Value::Null),
            (Method::POST, "/restore", Value::Null),
            (Method::POST, "/activate", Value::Null),
            (Method::POST, "/deactivate", Value::Null),
        ] {
            let answer = world.admin(method.clone(), &format!("{path}{rest}"), body).await;
            assert_eq!(refused(&answer, status).len(), 1, "{method} {path}{rest}");
        }
    }
}
