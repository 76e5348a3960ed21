//! Bodies, right and wrong ones.

use serde_json::{Value, json};
use slipstream_tests::api::unique;
use uuid::Uuid;

use super::Wrong;
use crate::ecg::things::{self, Things};

/// More than one payload may have (SPEC 2.1).
const TOO_LONG: usize = 256 * 1024 + 1;

fn wrong<const N: usize>(cases: [(&'static str, u16, Value); N]) -> Vec<Wrong> {
    cases.into_iter().map(|(what, status, body)| Wrong { what, body, status }).collect()
}

/// `right` with one member replaced.
fn but(right: &Value, member: &str, value: impl Into<Value>) -> Value {
    let mut body = right.clone();
    body[member] = value.into();
    body
}

fn too_long() -> Value {
    json!({ "text": "x".repeat(TOO_LONG) })
}

pub(super) fn category(_: &Things) -> Value {
    json!({ "name": "Vitals", "code": unique("Vitals"), "description": "Of devices", "id": Uuid::new_v4() })
}

pub(super) fn wrong_categories(things: &Things) -> Vec<Wrong> {
    let right = category(things);
    let mut cases = wrong_names(&right);
    cases.extend(wrong([(
        "a code that is taken, in capitals",
        409,
        but(&right, "code", things.category_code.to_uppercase()),
    )]));
    cases
}

fn wrong_names(right: &Value) -> Vec<Wrong> {
    wrong([
        ("a name that is empty", 400, but(right, "name", "")),
        ("a name that is too long", 400, but(right, "name", "n".repeat(201))),
        ("a name that is a number", 400, but(right, "name", 7)),
        ("a code with a space", 400, but(right, "code", "a b")),
        ("a code that ends in a dot", 400, but(right, "code", "a.")),
        ("a code that is too long", 400, but(right, "code", "c".repeat(101))),
        ("a code that is null", 400, but(right, "code", Value::Null)),
        ("a description that is a number", 400, but(right, "description", 7)),
    ])
}

/// A patch of categories and events.
pub(super) fn rename(_: &Things) -> Value {
    json!([
        { "op": "test", "path": "/archiveInfo/archived", "value": false },
        { "op": "replace", "path": "/name", "value": "Another name" },
        { "op": "copy", "from": "/name", "path": "/description" },
    ])
}

fn wrong_patches() -> Vec<Wrong> {
    wrong([
        ("no list", 400, json!({ "op": "replace", "path": "/name", "value": "x" })),
        ("no object in the list", 400, json!(["replace"])),
        ("an unknown operation", 400, json!([{ "op": "rename", "path": "/name", "value": "x" }])),
        ("no path", 400, json!([{ "op": "replace", "value": "x" }])),
        ("a path that is no pointer", 400, json!([{ "op": "replace", "path": "name", "value": "x" }])),
        ("no value", 400, json!([{ "op": "replace", "path": "/name" }])),
        ("no place to move from", 400, json!([{ "op": "move", "path": "/name" }])),
        ("a member that is ours", 422, json!([{ "op": "replace", "path": "/id", "value": Uuid::new_v4() }])),
        ("the flags", 422, json!([{ "op": "replace", "path": "/activeInfo/active", "value": false }])),
        ("a member that is not there", 422, json!([{ "op": "replace", "path": "/nothing", "value": 1 }])),
        ("a test that fails", 422, json!([{ "op": "test", "path": "/archiveInfo/archived", "value": true }])),
    ])
}

fn wrong_named_patches() -> Vec<Wrong> {
    let mut cases = wrong_patches();
    cases.extend(wrong([
        ("a name that is empty", 400, json!([{ "op": "replace", "path": "/name", "value": "" }])),
        ("a name that is taken away", 400, json!([{ "op": "remove", "path": "/name" }])),
        ("a code with a space", 400, json!([{ "op": "replace", "path": "/code", "value": "a b" }])),
        (
            "a good operation before a bad one",
            422,
            json!([{ "op": "replace", "path": "/name", "value": "x" }, { "op": "remove", "path": "/nothing" }]),
        ),
    ]));
    cases
}

pub(super) fn wrong_category_patches(things: &Things) -> Vec<Wrong> {
    let mut cases = wrong_named_patches();
    let taken = json!([{ "op": "replace", "path": "/code", "value": things.free_category_code }]);
    cases.extend(wrong([("a code that is taken", 409, taken)]));
    cases
}

pub(super) fn event(_: &Things) -> Value {
    json!({ "name": "Created", "code": unique("vitals"), "version": "v1", "description": null })
}

pub(super) fn wrong_events(things: &Things) -> Vec<Wrong> {
    let right = event(things);
    let mut cases = wrong_names(&right);
    cases.extend(wrong([
        ("a version without its v", 400, but(&right, "version", "1")),
        ("a version that is a number", 400, but(&right, "version", 1)),
        ("a code and version that are taken, in capitals", 409, but(&right, "code", things.code.to_uppercase())),
    ]));
    cases
}

pub(super) fn wrong_event_patches(things: &Things) -> Vec<Wrong> {
    let mut cases = wrong_named_patches();
    cases.extend(wrong([
        ("a version without its v", 400, json!([{ "op": "replace", "path": "/version", "value": "2" }])),
        ("a code that is taken", 409, json!([{ "op": "replace", "path": "/code", "value": things.free_code }])),
        (
            "another category",
            422,
            json!([{ "op": "replace", "path": "/webhookCategory/id", "value": things.free_category }]),
        ),
    ]));
    cases
}

pub(super) fn subscription(things: &Things) -> Value {
    json!({ "events": [things.event, things.free_code], "isDevelopment": true, "version": "v2" })
}

pub(super) fn wrong_subscriptions(things: &Things) -> Vec<Wrong> {
    let right = subscription(things);
    wrong([
        ("an environment that is a text", 400, but(&right, "isDevelopment", "yes")),
        ("a version that is not there", 400, but(&right, "version", "v3")),
        ("an event that is not there", 400, but(&right, "events", json!([Uuid::new_v4()]))),
        ("a code that is not there", 400, but(&right, "events", json!(["no.such.event"]))),
        ("an event that is a number", 400, but(&right, "events", json!([7]))),
        ("events that are a text", 400, but(&right, "events", things.event.clone())),
        ("a target that is a number", 400, but(&right, "postUri", 7)),
    ])
}

pub(super) fn version(_: &Things) -> Value {
    json!([{ "op": "replace", "path": "/version", "value": "v2" }])
}

pub(super) fn wrong_subscription_patches(things: &Things) -> Vec<Wrong> {
    let mut cases = wrong_patches();
    cases.extend(wrong([
        ("the secret", 422, json!([{ "op": "replace", "path": "/secretKey", "value": "another-secret" }])),
        ("the organization", 422, json!([{ "op": "replace", "path": "/organizationId", "value": Uuid::new_v4() }])),
        ("an event's name", 422, json!([{ "op": "replace", "path": "/events/0/name", "value": things.code }])),
        ("an event that it does not have", 422, json!([{ "op": "remove", "path": "/events/9" }])),
        ("a version that is not there", 400, json!([{ "op": "replace", "path": "/version", "value": "v3" }])),
        ("a target that is a number", 400, json!([{ "op": "replace", "path": "/postUri", "value": 7 }])),
        ("an event that is not there", 400, json!([{ "op": "add", "path": "/events/-", "value": Uuid::new_v4() }])),
    ]));
    cases
}

pub(super) fn sample(things: &Things) -> Value {
    json!({ "payload": things::payload(&things.code), "version": "v1" })
}

pub(super) fn wrong_samples(things: &Things) -> Vec<Wrong> {
    let right = sample(things);
    wrong([
        ("a payload that is a text", 400, but(&right, "payload", "{}")),
        ("a payload that is a list", 400, but(&right, "payload", json!([]))),
        ("a version without its v", 400, but(&right, "version", "1")),
        ("a payload that is too long", 413, but(&right, "payload", too_long())),
    ])
}

pub(super) fn sample_patch(_: &Things) -> Value {
    json!([{ "op": "add", "path": "/payload/data/pulse", "value": 72 }])
}

pub(super) fn wrong_sample_patches(_: &Things) -> Vec<Wrong> {
    wrong([
        ("no list", 400, json!({})),
        ("no value", 400, json!([{ "op": "add", "path": "/payload/x" }])),
        ("the event", 422, json!([{ "op": "replace", "path": "/event/name", "value": "x" }])),
        ("a member that is not there", 422, json!([{ "op": "remove", "path": "/payload/nothing" }])),
        ("a payload that is a number", 400, json!([{ "op": "replace", "path": "/payload", "value": 7 }])),
        ("a version without its v", 400, json!([{ "op": "replace", "path": "/version", "value": "1" }])),
    ])
}

pub(super) fn activity(things: &Things) -> Value {
    json!({ "type": 1, "eventId": things.event, "payload": things::payload(&things.code), "rawMessage": {} })
}

pub(super) fn wrong_activities(things: &Things) -> Vec<Wrong> {
    let right = activity(things);
    wrong([
        ("an unknown type", 400, but(&right, "type", 2)),
        ("a payload that is a list", 400, but(&right, "payload", json!([]))),
        ("a message that is a text", 400, but(&right, "rawMessage", "{}")),
        ("an event that is no id", 400, but(&right, "eventId", "nonsense")),
        ("an event that is not the subscription's", 400, but(&right, "eventId", things.free_event.clone())),
        ("an original that is no id", 400, but(&right, "retryingFromPostId", "nonsense")),
        ("an original that is not there", 400, but(&right, "retryingFromPostId", json!(Uuid::new_v4()))),
        ("a time that is none", 400, but(&right, "postedAt", "yesterday")),
        ("a payload that is too long", 413, but(&right, "payload", too_long())),
    ])
}

/// Numbers and booleans may be texts: the documented example has them so.
pub(super) fn outcome(things: &Things) -> Value {
    json!({ "originalActivityId": things.pending.id, "success": "true", "httpStatusCode": "200", "error": "",
        "rawResponse": { "ok": true } })
}

pub(super) fn wrong_outcomes(things: &Things) -> Vec<Wrong> {
    let right = outcome(things);
    wrong([
        ("an outcome that is neither", 400, but(&right, "success", "maybe")),
        ("a status that is none", 400, but(&right, "httpStatusCode", "fine")),
        ("an error that is a number", 400, but(&right, "error", 7)),
        ("an original that is no id", 400, but(&right, "originalActivityId", "nonsense")),
        ("an original of another tree", 422, but(&right, "originalActivityId", things.activity.clone())),
    ])
}

pub(super) fn payload(things: &Things) -> Value {
    things::payload(&things.code)
}

pub(super) fn wrong_payloads(things: &Things) -> Vec<Wrong> {
    let right = payload(things);
    wrong([
        ("a version that is not there", 400, but(&right, "version", "v3")),
        ("data that is a text", 400, but(&right, "data", "{}")),
        ("an event that is a number", 400, but(&right, "eventType", 7)),
        ("an event that is not there", 404, but(&right, "eventType", "no.such.event")),
        ("an event that is not the subscription's", 404, but(&right, "eventType", things.free_code.clone())),
        ("data that is too long", 413, but(&right, "data", too_long())),
    ])
}

/// The payload as a text, which is hashed as it stands: as JSON its members would come in another order here.
pub(super) fn hash(things: &Things) -> Value {
    let signed = &things.pending;
    json!({ "payload": signed.payload.get(), "hash": signed.hash, "createdAt": signed.created_at })
}

pub(super) fn wrong_hashes(things: &Things) -> Vec<Wrong> {
    let right = hash(things);
    wrong([
        ("a hash that is a number", 400, but(&right, "hash", 7)),
        ("a hash that is too short", 400, but(&right, "hash", &things.pending.hash[..63])),
        ("a hash that is not hex", 400, but(&right, "hash", "g".repeat(64))),
        ("a payload that is a list", 400, but(&right, "payload", json!([]))),
        ("a payload that is a number", 400, but(&right, "payload", 7)),
        ("a time that is a text", 400, but(&right, "createdAt", "now")),
        ("a time that is no whole number", 400, but(&right, "createdAt", 1.5)),
    ])
}

pub(super) fn secret(_: &Things) -> Value {
    json!({ "secretKey": "ecg-secret-key" })
}

pub(super) fn wrong_secrets(things: &Things) -> Vec<Wrong> {
    wrong([
        ("a secret that is too short", 400, json!({ "secretKey": "7-bytes" })),
        ("a secret that is too long", 400, json!({ "secretKey": "s".repeat(257) })),
        ("a secret that is not ASCII", 400, json!({ "secretKey": "naïve-secret" })),
        ("a secret that is a number", 400, json!({ "secretKey": 12_345_678 })),
        ("the secret that it has", 409, json!({ "secretKey": things.secret })),
    ])
}
