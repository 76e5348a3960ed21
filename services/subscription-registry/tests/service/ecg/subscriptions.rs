//! Subscriptions: making, reading, changing and deleting them.

use std::collections::BTreeSet;

use http::{HeaderMap, Method};
use serde_json::{Value, json};
use slipstream_bus::ConsumerName;
use slipstream_core::config::{EcgSubscription, Record};
use slipstream_core::contract::{EndpointChange, EndpointChanged};
use slipstream_core::sealing::SecretText;
use slipstream_store::{ConnectionTrait as _, records};
use slipstream_subscription_registry::LimitsConfig;

use super::{NOBODY, ORGANIZATION, World, done, listed, refused};
use crate::harness::{Answer, Harness, Settings, next_change};

crate::on_both_databases!(
    a_subscription_is_made_read_listed_and_deleted,
    what_breaks_a_rule_is_refused_and_named,
    events_are_named_by_id_or_by_code,
    a_patch_changes_what_may_be_patched_and_all_of_it_is_judged,
    a_list_shows_what_is_asked_for,
    posts_of_an_event_go_to_those_that_are_on,
    an_event_is_taken_from_a_subscription,
    what_was_deleted_long_ago_goes_for_good,
);

/// An event that there are subscriptions to, and another organization's subscription.
pub(super) const OTHER: &str = "1c8b5c1e-0d5f-4c8f-a6e0-2f4d8b7c1e93";
pub(super) const CODE: &str = "vitals.observations.created";

pub(super) fn subscriptions_of(organization: &str) -> String {
    format!("/api/organizations/{organization}/webhook-subscriptions")
}

/// A subscription of [`ORGANIZATION`] as its manager asks for it.
pub(super) fn wanted() -> Value {
    json!({ "postUri": "https://receiver.example/ecg", "events": [CODE], "isDevelopment": false })
}

impl World {
    /// A world with an event; gives the path of the event.
    pub(super) async fn with_event(service: Harness) -> (Self, String) {
        let world = Self::on(service).await;
        let event = world.category("vitals").await;
        let event = world.event(&event, CODE, "v1").await;
        (world, event)
    }

    /// Makes a subscription; gives its path.
    pub(super) async fn subscribed(&self, body: Value) -> String {
        let made = self.manager(Method::POST, &subscriptions_of(ORGANIZATION), body).await;
        done(&made, 201);
        path_of(&made.body)
    }

    /// The subscription at this path, as it stands in the bucket.
    pub(super) async fn in_bucket(&self, path: &str) -> EcgSubscription {
        let id = path.rsplit('/').next().unwrap();
        match self.service.bucket().await.get(&format!("ecg_subscription.{id}")).await.unwrap() {
            Some(Record::EcgSubscription(subscription)) => *subscription,
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn get(&self, path: &str) -> Value {
        let answer = self.manager(Method::GET, path, Value::Null).await;
        done(&answer, 200);
        answer.body
    }
}

pub(super) fn path_of(subscription: &Value) -> String {
    format!("{}/{}", subscriptions_of(ORGANIZATION), subscription["id"].as_str().unwrap())
}

fn id_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap()
}

async fn a_subscription_is_made_read_listed_and_deleted(service: Harness) {
    let (world, event) = World::with_event(service).await;
    let list = subscriptions_of(ORGANIZATION);
    let made = world.manager(Method::POST, &list, wanted()).await;
    done(&made, 201);
    assert_eq!(made.headers["cache-control"], "no-store");
    let path = path_of(&made.body);
    assert_eq!(made.headers["location"], path.as_str());
    let secret = made.body["secretKey"].as_str().unwrap().to_owned();
    let is_base64url = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    assert!(secret.len() == 43 && secret.bytes().all(is_base64url), "{secret}");
    let expected = json!({
        "organizationId": ORGANIZATION, "postUri": "https://receiver.example/ecg", "version": "v1",
        "isDevelopment": false,
    });
    for (member, value) in expected.as_object().unwrap() {
        assert_eq!(&made.body[member], value, "{member}");
    }
    assert_eq!(made.body["activeInfo"]["active"], true);
    assert_eq!(made.body["archiveInfo"]["archived"], false);
    assert_eq!(made.body["auditInfo"]["createdBy"], super::MANAGER);
    let named = &made.body["events"];
    assert_eq!(
        (named.as_array().unwrap().len(), &named[0]["id"], &named[0]["code"]),
        (1, &id_of(&event).into(), &CODE.into())
    );
    assert!(named[0].get("webhookCategory").is_none());

    assert_eq!(world.get(&path).await, made.body);
    let all = world.manager(Method::GET, &list, Value::Null).await;
    assert_eq!(listed(&all), (vec![id_of(&path).to_owned()], 1));
    assert_eq!((&all.body["items"][0], &all.headers["cache-control"]), (&made.body, &"no-store".parse().unwrap()));
    // In force, and sealed.
    let sealed = world.in_bucket(&path).await;
    assert!(sealed.secrets.len() == 1 && sealed.secrets[0].secret.is_sealed() && !sealed.deleted);

    // An organization has its own only; what there is of others looks as if it were not there.
    let theirs = format!("{}/{}", subscriptions_of(OTHER), id_of(&path));
    refused(&world.manager(Method::GET, &theirs, Value::Null).await, 403);
    refused(&world.admin(Method::GET, &theirs, Value::Null).await, 404);
    refused(&world.admin(Method::DELETE, &theirs, Value::Null).await, 404);

    let mut recorded = world.service.bus.consume(ConsumerName::ActivityLog).await.unwrap();
    done(&world.manager(Method::DELETE, &path, Value::Null).await, 200);
    let message = next_change(&mut recorded).await;
    assert_eq!(message.subject.as_str(), format!("endpoints.ecg.{}", id_of(&path)));
    let change: EndpointChanged = serde_json::from_slice(&message.payload).unwrap();
    assert_eq!((change.subscription.to_string().as_str(), change.change), (id_of(&path), EndpointChange::Removed));
    let tombstone = world.in_bucket(&path).await;
    assert!(tombstone.deleted && tombstone.secrets.is_empty() && tombstone.events.len() == 1);
    for method in [Method::GET, Method::DELETE] {
        refused(&world.manager(method, &path, Value::Null).await, 404);
    }
    assert_eq!(listed(&world.manager(Method::GET, &list, Value::Null).await), (vec![], 0));
    // Nothing is for the event any more.
    done(&world.admin(Method::DELETE, &event, Value::Null).await, 200);
}

async fn what_breaks_a_rule_is_refused_and_named(service: Harness) {
    let (world, _) = World::with_event(service).await;
    let list = subscriptions_of(ORGANIZATION);
    let refusal = async |members: Value, status: u16| {
        let mut body = wanted();
        for (name, value) in members.as_object().unwrap() {
            body[name] = value.clone();
        }
        refused(&world.manager(Method::POST, &list, body).await, status)
    };
    for (members, member) in [
        (json!({ "isDevelopment": null }), "isDevelopment"),
        (json!({ "isDevelopment": "true" }), "isDevelopment"),
        (json!({ "version": "v3" }), "version"),
        (json!({ "events": "all" }), "events"),
        (json!({ "events": [CODE, "nothing.like.it"] }), "events.1"),
        (json!({ "events": [NOBODY] }), "events.0"),
        (json!({ "postUri": 7 }), "postUri"),
        (json!({ "postUri": "" }), "postUri"),
        (json!({ "postUri": "http://receiver.example/" }), "postUri"),
        (json!({ "postUri": "https://10.1.2.3/" }), "postUri"),
        (json!({ "postUri": "https://me@receiver.example/", "isDevelopment": true }), "postUri"),
        (json!({ "postUri": "http://10.1.2.3/", "isDevelopment": true }), "postUri"),
    ] {
        let told = refusal(members.clone(), 400).await;
        assert!(told[0].starts_with(&format!("{member} ")), "{members}: {told:?}");
    }
    let two = refusal(json!({ "postUri": "ftp://x/", "events": ["none"] }), 400).await;
    assert_eq!(two.len(), 2, "{two:?}");
    let missing = world.manager(Method::POST, &list, json!({ "events": [] })).await;
    assert!(refused(&missing, 400)[0].contains("isDevelopment"));
    // Nothing was made, not even the key of the organization.
    assert_eq!(listed(&world.manager(Method::GET, &list, Value::Null).await).1, 0);
    assert_eq!(world.service.data_keys().await.len(), 1);

    // For development, more is allowed.
    let lenient = json!({ "postUri": "http://receiver.example/", "isDevelopment": true });
    world.subscribed(lenient).await;
    let inactive = world.get(&world.subscribed(json!({ "isDevelopment": false })).await).await;
    assert_eq!((&inactive["activeInfo"]["active"], &inactive["postUri"]), (&json!(false), &Value::Null));
    assert_eq!(inactive["events"], json!([]));
}

async fn events_are_named_by_id_or_by_code(service: Harness) {
    let (world, event) = World::with_event(service).await;
    let category = event.split("/webhook-events").next().unwrap();
    let second = world.event(category, CODE, "v2").await;
    let other = world.event(category, "other", "v1").await;
    let ids = async |events: Value| {
        let path = world.subscribed(json!({ "events": events, "isDevelopment": true })).await;
        let events = world.get(&path).await["events"].clone();
        events.as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let [event, second, other] = [&event, &second, &other].map(|path| id_of(path).to_owned());
    // Of every version that there is, each once, and in the order that was given.
    let mut both = vec![event.clone(), second.clone()];
    let mut of_code = ids(json!([CODE.to_uppercase()])).await;
    of_code.sort();
    both.sort();
    assert_eq!(of_code, both);
    assert_eq!(ids(json!([other.to_uppercase(), second, "other", second])).await, [other, second]);
}

async fn a_patch_changes_what_may_be_patched_and_all_of_it_is_judged(service: Harness) {
    let (world, event) = World::with_event(service).await;
    let category = event.split("/webhook-events").next().unwrap();
    let other = world.event(category, "other", "v1").await;
    let (event, other) = (id_of(&event), id_of(&other));
    let path = world.subscribed(wanted()).await;
    let before = world.get(&path).await;
    let patch = async |operations: Value| world.manager(Method::PATCH, &path, operations).await;
    let one = async |op: &str, at: &str, value: Value| patch(json!([{ "op": op, "path": at, "value": value }])).await;

    let changed = patch(json!([
        { "op": "replace", "path": "/version", "value": "v2" },
        { "op": "add", "path": "/events/-", "value": "other" },
        { "op": "test", "path": "/events/0", "value": event },
        { "op": "replace", "path": "/postUri", "value": "https://elsewhere.example/" },
    ]))
    .await;
    done(&changed, 200);
    assert_eq!(changed.headers["cache-control"], "no-store");
    assert_eq!(
        (&changed.body["version"], &changed.body["postUri"]),
        (&json!("v2"), &json!("https://elsewhere.example/"))
    );
    assert_eq!((&changed.body["events"][0]["id"], &changed.body["events"][1]["id"]), (&json!(event), &json!(other)));
    assert_eq!(changed.body["secretKey"], before["secretKey"]);
    assert!(changed.body["auditInfo"]["updatedAt"].as_str() > before["auditInfo"]["updatedAt"].as_str());
    assert_eq!(changed.body["auditInfo"]["createdAt"], before["auditInfo"]["createdAt"]);
    assert_eq!(world.get(&path).await, changed.body);
    assert_eq!(world.in_bucket(&path).await.events.len(), 2);

    for (operations, status) in [
        (json!({ "op": "add" }), 400),
        (json!([{ "op": "add", "path": "/version" }]), 400),
        (json!([{ "op": "replace", "path": "/version", "value": "v9" }]), 400),
        (json!([{ "op": "remove", "path": "/isDevelopment" }]), 400),
        (json!([{ "op": "add", "path": "/events/0", "value": NOBODY }]), 400),
        (json!([{ "op": "replace", "path": "/postUri", "value": "http://receiver.example/" }]), 400),
        (json!([{ "op": "replace", "path": "/secretKey", "value": "another-secret" }]), 422),
        (json!([{ "op": "replace", "path": "/organizationId", "value": OTHER }]), 422),
        (json!([{ "op": "remove", "path": "/events/7" }]), 422),
        (json!([{ "op": "test", "path": "/version", "value": "v1" }]), 422),
        (
            json!([{ "op": "replace", "path": "/version", "value": "v1" }, { "op": "test", "path": "/version", "value": "v2" }]),
            422,
        ),
    ] {
        refused(&patch(operations).await, status);
    }
    assert_eq!(world.get(&path).await, changed.body, "all or nothing");

    // What is allowed for development only holds it back from being for anything else.
    let lenient = json!([
        { "op": "replace", "path": "/isDevelopment", "value": true },
        { "op": "replace", "path": "/postUri", "value": "http://receiver.example/" },
    ]);
    done(&patch(lenient).await, 200);
    let told = refused(&one("replace", "/isDevelopment", json!(false)).await, 400);
    assert!(told[0].starts_with("postUri "), "{told:?}");

    // Without a target it is not active any more; a target alone does not bring it back.
    let off = patch(json!([{ "op": "remove", "path": "/postUri" }])).await;
    done(&off, 200);
    assert_eq!((&off.body["postUri"], &off.body["activeInfo"]["active"]), (&Value::Null, &json!(false)));
    assert!(!world.in_bucket(&path).await.flags.active);
    let back = one("add", "/postUri", json!("https://receiver.example/")).await;
    done(&back, 200);
    assert_eq!(back.body["activeInfo"]["active"], false);
    done(&patch(json!([{ "op": "remove", "path": "/events/0" }])).await, 200);
    assert_eq!(world.get(&path).await["events"][0]["id"], other);
    done(&one("replace", "/events", json!([])).await, 200);
    refused(
        &world.manager(Method::PATCH, &format!("{}/{NOBODY}", subscriptions_of(ORGANIZATION)), json!([])).await,
        404,
    );
}

async fn a_list_shows_what_is_asked_for(service: Harness) {
    let (world, event) = World::with_event(service).await;
    let mut paths = Vec::new();
    for n in 0..3 {
        let version = if n == 1 { "v2" } else { "v1" };
        let events = if n == 2 { json!([]) } else { json!([CODE]) };
        let body =
            json!({ "events": events, "version": version, "isDevelopment": true, "postUri": "https://r.example/" });
        paths.push(world.subscribed(body).await);
    }
    done(&world.manager(Method::POST, &format!("{}/deactivate", paths[0]), Value::Null).await, 200);
    done(&world.manager(Method::POST, &format!("{}/archive", paths[1]), Value::Null).await, 200);
    let list = async |query: &str| {
        let path = format!("{}?{query}", subscriptions_of(ORGANIZATION));
        listed(&world.manager(Method::GET, &path, Value::Null).await)
    };
    let [first, second, third] = [0, 1, 2].map(|n| id_of(&paths[n]).to_owned());
    assert_eq!(list("").await, (vec![first.clone(), third.clone()], 2));
    assert_eq!(list("order_by=ASC&take=1&skip=1").await, (vec![first.clone()], 2));
    assert_eq!(list("status=archived").await, (vec![second], 1));
    assert_eq!(list("status=active").await, (vec![third.clone()], 1));
    assert_eq!(list("status=inactive").await, (vec![first.clone()], 1));
    assert_eq!(list("version=v1").await.1, 2);
    assert_eq!(list("version=v2").await.1, 0);
    assert_eq!(list(&format!("eventId={}", id_of(&event))).await, (vec![first], 1));
    assert_eq!(list(&format!("eventId={NOBODY}")).await.1, 0);
    for query in ["version=v3", "eventId=7", "status=gone", "take=0", "take=101", "skip=-1", "skip=x", "order_by=up"] {
        let path = format!("{}?{query}", subscriptions_of(ORGANIZATION));
        let told = refused(&world.manager(Method::GET, &path, Value::Null).await, 400);
        let name = query.split('=').next().unwrap();
        assert!(told[0].contains(&format!("`{name}`")), "{query}: {told:?}");
    }
    let empty = world.admin(Method::GET, &subscriptions_of(OTHER), Value::Null).await;
    assert_eq!(listed(&empty), (vec![], 0));
}

async fn posts_of_an_event_go_to_those_that_are_on(service: Harness) {
    let (world, event) = World::with_event(service).await;
    let ours = world.subscribed(wanted()).await;
    let theirs = world.admin(Method::POST, &subscriptions_of(OTHER), wanted()).await;
    done(&theirs, 201);
    world.subscribed(json!({ "events": [CODE], "isDevelopment": false })).await;
    let path = |code: &str| format!("/api/webhook-events/{code}/subscriptions");
    let found = |answer: &crate::harness::Answer| {
        done(answer, 200);
        let all = answer.body.as_array().unwrap().clone();
        assert!(all.iter().all(|it| it.get("secretKey").is_none() && it["events"][0]["code"] == CODE), "{all:?}");
        all.iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let ours = id_of(&ours).to_owned();
    assert_eq!(
        found(&world.manager(Method::GET, &path(&CODE.to_uppercase()), Value::Null).await),
        std::slice::from_ref(&ours)
    );
    let all = found(&world.admin(Method::GET, &path(CODE), Value::Null).await);
    assert_eq!(all, [theirs.body["id"].as_str().unwrap().to_owned(), ours], "the latest in front");
    for code in ["nothing", NOBODY, "a%2Fb"] {
        refused(&world.admin(Method::GET, &path(code), Value::Null).await, 404);
    }
    // An event that nothing is dispatched of is known all the same.
    for off in [event.clone(), event.split("/webhook-events").next().unwrap().to_owned()] {
        for (verb, count) in [("archive", 0), ("restore", 2), ("deactivate", 0), ("activate", 2)] {
            done(&world.admin(Method::POST, &format!("{off}/{verb}"), Value::Null).await, 200);
            assert_eq!(found(&world.admin(Method::GET, &path(CODE), Value::Null).await).len(), count, "{off}/{verb}");
        }
    }
}

async fn an_event_is_taken_from_a_subscription(service: Harness) {
    let (world, event) = World::with_event(service).await;
    let path = world.subscribed(wanted()).await;
    // As long as somebody is subscribed to it.
    refused(&world.admin(Method::DELETE, &event, Value::Null).await, 409);
    let taken = format!("{path}/events/{}", id_of(&event));
    done(&world.manager(Method::DELETE, &taken, Value::Null).await, 200);
    assert_eq!(world.get(&path).await["events"], json!([]));
    assert!(world.in_bucket(&path).await.events.is_empty());
    refused(&world.manager(Method::DELETE, &taken, Value::Null).await, 404);
    refused(&world.manager(Method::DELETE, &format!("{path}/events/7"), Value::Null).await, 400);
    done(&world.admin(Method::DELETE, &event, Value::Null).await, 200);
}

#[tokio::test]
async fn an_organization_has_so_many_subscriptions_at_most() {
    let limits = LimitsConfig { subscriptions_per_organization: 2, ..LimitsConfig::default() };
    let settings = Settings { limits, ..Settings::default() };
    let world = World::with(Harness::on_sqlite().await, settings).await;
    let list = subscriptions_of(ORGANIZATION);
    let body = || json!({ "isDevelopment": true });
    let first = world.subscribed(body()).await;
    let ask = || world.manager(Method::POST, &list, body());
    let answers = tokio::join!(ask(), ask(), ask());
    let mut statuses = [answers.0.status, answers.1.status, answers.2.status].map(|status| status.as_u16());
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 422, 422]);
    done(&world.admin(Method::POST, &subscriptions_of(OTHER), body()).await, 201);
    // One that is deleted takes room as long as its history can name it.
    done(&world.manager(Method::DELETE, &first, Value::Null).await, 200);
    let full = ask().await;
    assert!(refused(&full, 422)[0].contains("those deleted lately included"), "{}", full.body);
    deleted_long_ago(&world, "ecg_subscriptions").await;
    world.subscribed(body()).await;
}

/// Whatever of a table is deleted was so for 40 days.
async fn deleted_long_ago(world: &World, table: &str) {
    let age = 40_i64 * 24 * 60 * 60 * 1000;
    let sql = format!("UPDATE {table} SET deleted_at_ms = deleted_at_ms - {age} WHERE deleted_at_ms IS NOT NULL");
    world.service.store().await.connection().execute_unprepared(&sql).await.unwrap();
}

async fn what_was_deleted_long_ago_goes_for_good(service: Harness) {
    let (mut world, event) = World::with_event(service).await;
    let (path, other) = (world.subscribed(wanted()).await, world.subscribed(wanted()).await);
    let category = event.split("/webhook-events/").next().unwrap().to_owned();
    let id = id_of(&path).to_owned();
    let keys = [
        format!("ecg_subscription.{id}"),
        format!("ecg_event.{}", id_of(&event)),
        format!("ecg_category.{}", id_of(&category)),
    ];
    for path in [&path, &other, &event, &category] {
        let answer = if path.starts_with("/api/organizations") {
            world.manager(Method::DELETE, path, Value::Null).await
        } else {
            world.admin(Method::DELETE, path, Value::Null).await
        };
        done(&answer, 200);
    }
    let bucket = world.service.bucket().await;
    world.service.restart().await;
    for key in &keys {
        assert!(bucket.get(key).await.unwrap().is_some(), "{key} is young");
    }
    for table in ["ecg_subscriptions", "ecg_events", "ecg_categories"] {
        deleted_long_ago(&world, table).await;
    }
    world.service.restart().await;
    for key in &keys {
        assert_eq!(bucket.get(key).await.unwrap(), None, "{key}");
        assert_eq!(records::get(world.service.store().await.connection(), key).await.unwrap(), None, "{key}");
    }
    assert!(world.service.is_ready());
}

#[tokio::test]
async fn whoever_repeats_a_request_under_its_key_makes_one_subscription() {
    let world = World::on(Harness::on_sqlite().await).await;
    let list = subscriptions_of(ORGANIZATION);
    let token = world.token(super::MANAGER, "webhookManager", &[ORGANIZATION]);
    let post = async |path: &str, body: Value| {
        let request = http::Request::post(path)
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .header("idempotency-key", "\"one\"");
        world.service.send(request.body(axum::body::Body::from(body.to_string())).unwrap()).await
    };
    let ask = async || post(&list, json!({ "isDevelopment": true })).await;
    let first = ask().await;
    done(&first, 201);
    assert!(!first.headers.contains_key("idempotent-replayed"));
    assert!(first.body["secretKey"].is_string());
    let again = ask().await;
    is_replayed(&first, &again);
    assert!(again.headers.contains_key("location"));
    assert_eq!(listed(&world.manager(Method::GET, &list, Value::Null).await).1, 1);

    // E52 is the same.
    let path = format!("{list}/{}/webhook-secret-histories", first.body["id"].as_str().unwrap());
    let put = async || post(&path, json!({ "secretKey": "ecg-secret-key" })).await;
    let first = put().await;
    done(&first, 201);
    is_replayed(&first, &put().await);
    assert_eq!(listed(&world.manager(Method::GET, &path, Value::Null).await).1, 2);
    refused(&post(&path, json!({ "secretKey": "ecg-secret-kez" })).await, 422);

    // Nothing of a secret is kept with the keys.
    let sql = "DELETE FROM idempotency_keys WHERE body IS NOT NULL";
    let store = world.service.store().await;
    assert_eq!(store.connection().execute_unprepared(sql).await.unwrap().rows_affected(), 0);
}

/// The same answer as the first time, down to its headers, and marked.
#[track_caller]
fn is_replayed(first: &Answer, again: &Answer) {
    done(again, first.status.as_u16());
    assert_eq!(again.body, first.body);
    let mut headers = again.headers.clone();
    assert_eq!(headers.remove("idempotent-replayed").unwrap(), "true");
    let names = |headers: &HeaderMap| headers.keys().map(ToString::to_string).collect::<BTreeSet<_>>();
    assert_eq!(names(&headers), names(&first.headers));
    assert_eq!(headers.get("location"), first.headers.get("location"));
}

#[tokio::test]
async fn a_malformed_id_is_400_and_one_that_nothing_has_is_404() {
    let world = World::on(Harness::on_sqlite().await).await;
    for (id, status) in [("7", 400), ("g0000000-0000-4000-8000-00000000000a", 400), (NOBODY, 404)] {
        let path = format!("{}/{id}", subscriptions_of(ORGANIZATION));
        for (method, rest, body) in [
            (Method::GET, "", Value::Null),
            (Method::PATCH, "", json!([])),
            (Method::DELETE, "", Value::Null),
            (Method::POST, "/activate", Value::Null),
            (Method::POST, "/deactivate", Value::Null),
            (Method::POST, "/archive", Value::Null),
            (Method::POST, "/restore", Value::Null),
            (Method::GET, "/secrets", Value::Null),
            (Method::PUT, "/secrets", Value::Null),
            (Method::GET, "/webhook-secret-histories", Value::Null),
            (Method::POST, "/webhook-secret-histories", json!({ "secretKey": "ecg-secret-key" })),
            (Method::DELETE, "/events/00000000-0000-4000-8000-00000000000a", Value::Null),
        ] {
            refused(&world.manager(method, &format!("{path}{rest}"), body).await, status);
        }
    }
    // That nobody has anything leaves no key behind.
    assert_eq!(world.service.data_keys().await.len(), 1);
    let sealed = |it: &EcgSubscription| it.secrets.iter().all(|it| SecretText::is_sealed(&it.secret));
    assert!(sealed(&world.in_bucket(&world.subscribed(json!({ "isDevelopment": true })).await).await));
}
