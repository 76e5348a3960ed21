//! What answers of the ECG surface look like (SPEC 6): every member, and none besides.
//!
//! Each function panics with the answer that is not as it should be.

use std::collections::BTreeSet;

use serde_json::Value;
use slipstream_core::timestamp::Timestamp;
use uuid::Uuid;

/// A check of one value.
pub(crate) type Check = fn(&Value);

/// Checks that `value` is an object with exactly these members, each as its check wants it.
#[track_caller]
pub(crate) fn object(value: &Value, members: &[(&str, Check)]) {
    let there: BTreeSet<&str> =
        value.as_object().unwrap_or_else(|| panic!("no object: {value}")).keys().map(String::as_str).collect();
    let wanted: BTreeSet<&str> = members.iter().map(|(name, _)| *name).collect();
    assert_eq!(there, wanted, "{value}");
    for (name, check) in members {
        check(&value[name]);
    }
}

#[track_caller]
pub(crate) fn list(value: &Value, check: Check) {
    value.as_array().unwrap_or_else(|| panic!("no list: {value}")).iter().for_each(check);
}

#[track_caller]
pub(crate) fn text(value: &Value) {
    assert!(value.as_str().is_some_and(|text| !text.is_empty()), "no text: {value}");
}

#[track_caller]
fn flag(value: &Value) {
    assert!(value.is_boolean(), "neither true nor false: {value}");
}

#[track_caller]
fn number(value: &Value) {
    assert!(value.as_u64().is_some(), "no number: {value}");
}

#[track_caller]
fn any(_: &Value) {}

#[track_caller]
fn any_object(value: &Value) {
    assert!(value.is_object(), "no object: {value}");
}

/// Lower case, with hyphens (SPEC 2.1).
#[track_caller]
pub(crate) fn id(value: &Value) {
    let text = value.as_str().unwrap_or_else(|| panic!("no id: {value}"));
    assert_eq!(text.parse::<Uuid>().map(|id| id.to_string()).ok().as_deref(), Some(text), "no id: {value}");
}

/// RFC 3339 in UTC with milliseconds and `Z` (SPEC 2.1).
#[track_caller]
pub(crate) fn time(value: &Value) {
    let text = value.as_str().unwrap_or_else(|| panic!("no time: {value}"));
    let parsed: Timestamp = text.parse().unwrap_or_else(|error| panic!("no time ({error}): {value}"));
    assert_eq!((parsed.to_string().as_str(), text.len()), (text, 24), "not with milliseconds and Z: {value}");
}

#[track_caller]
pub(crate) fn hash(value: &Value) {
    let is_hash = |text: &str| text.len() == 64 && text.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'));
    assert!(value.as_str().is_some_and(is_hash), "no hash: {value}");
}

macro_rules! or_null {
    ($($name:ident: $check:ident),+ $(,)?) => {$(
        #[track_caller]
        fn $name(value: &Value) {
            if !value.is_null() {
                $check(value);
            }
        }
    )+};
}

or_null! {
    text_or_null: text, flag_or_null: flag, number_or_null: number, id_or_null: id, time_or_null: time,
    hash_or_null: hash, event_or_null: event,
}

fn archive_info(value: &Value) {
    object(value, &[("archived", flag), ("archivedStatusChangedAt", time)]);
}

fn active_info(value: &Value) {
    object(value, &[("active", flag), ("activeStatusChangedAt", time)]);
}

fn audit_info(value: &Value) {
    object(value, &[("createdAt", time), ("createdBy", id), ("updatedAt", time), ("updatedBy", id)]);
}

const COMMON: [(&str, Check); 3] =
    [("archiveInfo", archive_info), ("auditInfo", audit_info), ("activeInfo", active_info)];

pub(crate) fn value(answer: &Value) {
    assert_eq!(*answer, serde_json::json!({ "value": true }));
}

/// E1: 200.
pub(crate) fn health(answer: &Value) {
    fn indicators(value: &Value) {
        let up = serde_json::json!({ "status": "up" });
        assert_eq!((&value["database"], &value["dispatcher"]), (&up, &up), "{value}");
    }
    fn empty(value: &Value) {
        object(value, &[]);
    }
    object(answer, &[("status", text), ("info", indicators), ("error", empty), ("details", indicators)]);
    assert_eq!(answer["status"], "ok");
}

/// E11.
pub(crate) fn seed_versions(answer: &Value) {
    assert!(!answer.as_array().expect("a list").is_empty(), "a deployment has reference data: {answer}");
    list(answer, |version| {
        object(version, &[("version", text), ("description", text), ("appliedAt", time), ("checksum", text)]);
    });
}

pub(crate) fn category(answer: &Value) {
    let own: [(&str, Check); 4] = [("id", id), ("name", text), ("description", text_or_null), ("code", text)];
    object(answer, &[&own[..], &COMMON].concat());
}

const EVENT: [(&str, Check); 5] =
    [("id", id), ("name", text), ("description", text_or_null), ("version", text), ("code", text)];

pub(crate) fn event(answer: &Value) {
    object(answer, &[&EVENT[..], &COMMON, &[("webhookCategory", category)]].concat());
}

/// An event without its category.
pub(crate) fn bare_event(answer: &Value) {
    object(answer, &[&EVENT[..], &COMMON].concat());
}

const SUBSCRIPTION: [(&str, Check); 6] = [
    ("id", id),
    ("organizationId", id),
    ("postUri", text_or_null),
    ("version", text),
    ("events", |events| list(events, bare_event)),
    ("isDevelopment", flag),
];

pub(crate) fn subscription(answer: &Value) {
    object(answer, &[&SUBSCRIPTION[..], &COMMON, &[("secretKey", text)]].concat());
}

/// E21, and where a subscription stands inside something else: its secret is not for everybody who sees that.
pub(crate) fn subscription_without_secret(answer: &Value) {
    object(answer, &[&SUBSCRIPTION[..], &COMMON].concat());
}

pub(crate) fn subscriptions_without_secrets(answer: &Value) {
    assert!(!answer.as_array().expect("a list").is_empty(), "{answer}");
    list(answer, subscription_without_secret);
}

/// E29.
pub(crate) fn secret(answer: &Value) {
    object(answer, &[("secretKey", text)]);
}

const SECRET_HISTORY: [(&str, Check); 5] =
    [("id", id), ("secretKey", text), ("validFrom", time), ("validTo", time_or_null), ("auditInfo", audit_info)];

pub(crate) fn secret_history(answer: &Value) {
    object(answer, &SECRET_HISTORY);
}

/// E51 with `include=subscription`.
pub(crate) fn secret_history_with_subscription(answer: &Value) {
    object(answer, &[&SECRET_HISTORY[..], &[("subscription", subscription_without_secret)]].concat());
}

/// E36, E37, E39.
pub(crate) fn sample(answer: &Value) {
    object(
        answer,
        &[("id", id), ("event", event), ("payload", any_object), ("version", text), ("auditInfo", audit_info)],
    );
}

/// E40, E53.
pub(crate) fn payload(answer: &Value) {
    object(answer, &[("eventType", text), ("version", text), ("data", any_object)]);
    assert_eq!(answer["version"], "v1");
}

const ACTIVITY: [(&str, Check); 18] = [
    ("id", id),
    ("type", number),
    ("postedAt", time_or_null),
    ("httpStatusCode", number_or_null),
    ("payload", any_object),
    ("rawMessage", any_object),
    ("retryingFromPostId", id_or_null),
    ("nextRetryAt", time_or_null),
    ("rawResponse", any),
    ("error", any),
    ("success", flag_or_null),
    ("auditInfo", audit_info),
    ("subscriptionId", id),
    ("eventId", id_or_null),
    ("dispatch", text),
    ("hash", hash_or_null),
    ("createdAt", number),
    ("level", number),
];

/// One activity by itself: with what it is about.
pub(crate) fn activity(answer: &Value) {
    let about: [(&str, Check); 2] = [("subscription", subscription_without_secret), ("event", event_or_null)];
    object(answer, &[&ACTIVITY[..], &about].concat());
}

/// In a list that nobody asked to include anything in.
pub(crate) fn bare_activity(answer: &Value) {
    object(answer, &ACTIVITY);
}

/// E45.
pub(crate) fn tree(answer: &Value) {
    object(
        answer,
        &[
            ("id", id),
            ("level", number),
            ("type", number),
            ("posted_at", time_or_null),
            ("postedAt", time_or_null),
            ("httpStatusCode", number_or_null),
            ("payload", any_object),
            ("subscription", subscription_without_secret),
            ("event", event_or_null),
            ("retryingFromPostId", id_or_null),
            ("nextRetryAt", time_or_null),
            ("rawResponse", any),
            ("error", any),
            ("success", flag_or_null),
            ("childPostHistory", |children| list(children, tree)),
        ],
    );
    assert_eq!(answer["posted_at"], answer["postedAt"], "{answer}");
}

/// E48.
pub(crate) fn signed_payload(answer: &Value) {
    object(answer, &[("id", id), ("createdAt", number), ("hash", hash), ("payload", any_object)]);
}

/// E50.
pub(crate) fn hash_out(answer: &Value) {
    object(answer, &[("hash", hash), ("createdAt", number)]);
}

/// A page of a list.
#[track_caller]
pub(crate) fn page(answer: &Value, item: Check) {
    object(
        answer,
        &[
            ("items", any),
            ("currentPageNumber", number),
            ("recordsPerPage", number),
            ("totalRecords", number),
            ("totalPages", number),
        ],
    );
    let [take, total, pages] = ["recordsPerPage", "totalRecords", "totalPages"].map(|it| answer[it].as_u64().unwrap());
    assert_eq!(pages, total.div_ceil(take), "{answer}");
    let items = answer["items"].as_array().unwrap_or_else(|| panic!("no list: {answer}"));
    assert!(!items.is_empty() && items.len() as u64 <= take, "{answer}");
    items.iter().for_each(item);
}

/// A refusal (SPEC 2.2).
#[track_caller]
pub(crate) fn refusal(answer: &Value, status: u16) {
    object(answer, &[("statusCode", number), ("message", any), ("error", text), ("traceId", text)]);
    assert_eq!(answer["statusCode"], status, "{answer}");
    let reason = http::StatusCode::from_u16(status).ok().and_then(|it| it.canonical_reason());
    assert_eq!(answer["error"].as_str(), reason, "{answer}");
    match &answer["message"] {
        Value::Array(messages) => {
            assert!(!messages.is_empty(), "{answer}");
            messages.iter().for_each(text);
        }
        message => text(message),
    }
    let trace = answer["traceId"].as_str().unwrap_or_default();
    let lengths: Vec<_> = trace.split('-').map(str::len).collect();
    assert_eq!(lengths, [2, 32, 16, 2], "{answer}");
}
