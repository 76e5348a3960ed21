//! Hashes: whether one is that of a payload, and that of an activity (SPEC 6.7, E49, E50).

use axum::Json;
use axum::extract::{Path, Request, State};
use serde::Serialize;
use serde_json::value::RawValue;
use slipstream_core::ecg::{hash, hashed_text, hashes_match};
use slipstream_core::problem::{Problem, ProblemKind};
use slipstream_core::timestamp::Timestamp;
use slipstream_service::ApiError;
use slipstream_service::ecg::body::{self, Raw, wrong};
use slipstream_service::ecg::{AtOrganization, Value, path_id};
use slipstream_service::openapi::{NotFound, TooLarge};
use utoipa::ToSchema;

use super::{ActivityInPath, SharedState, SubscriptionInPath};

/// A hash to be checked.
#[derive(Debug, ToSchema)]
#[schema(as = HashIn, rename_all = "camelCase")]
#[expect(dead_code, reason = "documents take its fields' names and rules; `Asked` reads the body")]
pub(super) struct HashIn {
    /// As it was received, an object or a string: the order of members and the digits of numbers count.
    #[schema(value_type = serde_json::Value)]
    payload: serde_json::Value,
    /// 64 hex digits, in any case.
    #[schema(pattern = "^[0-9A-Fa-f]{64}$")]
    hash: String,
    /// In Unix milliseconds.
    created_at: i64,
}

/// Hex digits of a hash.
const HASH_DIGITS: usize = 64;

/// What is asked, read.
#[derive(Debug)]
struct Asked {
    /// What is hashed of the payload.
    hashed: String,
    hash: String,
    created_at: Timestamp,
}

impl Asked {
    fn read(mut body: Raw) -> Result<Self, Problem> {
        let payload: Box<RawValue> = body.value("payload")?;
        if !payload.get().starts_with(['{', '"']) {
            return Err(wrong("payload", "must be an object or a string"));
        }
        let hashed = hashed_text(&payload).map_err(|error| wrong("payload", format!("is not valid: {error}")))?;
        let created_at = Timestamp::from_millis(body.required("createdAt")?);
        let hash: String = body.required("hash")?;
        if hash.len() != HASH_DIGITS || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong("hash", format!("must be {HASH_DIGITS} hex digits")));
        }
        Ok(Self { hashed, hash, created_at })
    }
}

/// E49.
#[utoipa::path(
    post,
    path = "/api/organizations/{organizationId}/subscriptions/{subscriptionId}/validate-hash",
    tag = "Hashes",
    operation_id = "validateHash",
    summary = "Check that a payload is ours",
    description = "`value` is false, too, where no secret was valid at `createdAt`.",
    params(SubscriptionInPath),
    request_body = HashIn,
    responses((status = 200, description = "Whether it is.", body = Value), NotFound, TooLarge)
)]
pub(super) async fn validate(
    State(state): State<SharedState>,
    at: AtOrganization,
    Path((_, subscription)): Path<(String, String)>,
    request: Request,
) -> Result<Json<Value>, ApiError> {
    let subscription = path_id(&subscription, "subscriptionId")?;
    let asked = Asked::read(body::raw(request, state.body_timeout).await?)?;
    let living = state.known.living(&at, subscription, None).await?;
    let secret = living.find_secret(asked.created_at)?;
    let value = secret.is_some_and(|secret| {
        let ours = hash(secret, asked.created_at, &asked.hashed);
        hashes_match(&ours, &asked.hash)
    });
    Ok(Json(Value { value }))
}

/// The hash of an activity.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct HashOut {
    /// 64 hex digits.
    hash: String,
    /// In Unix milliseconds.
    created_at: i64,
}

/// E50.
#[utoipa::path(
    get,
    path = "/api/organizations/{organizationId}/subscriptions/{subscriptionId}/activity/{activityId}/get-hash",
    tag = "Hashes",
    operation_id = "getHash",
    summary = "Get the hash of a post",
    params(ActivityInPath),
    responses((status = 200, description = "It.", body = HashOut), NotFound)
)]
pub(super) async fn get(
    State(state): State<SharedState>,
    at: AtOrganization,
    Path((_, subscription, activity)): Path<(String, String, String)>,
) -> Result<Json<HashOut>, ApiError> {
    let (subscription, id) = (path_id(&subscription, "subscriptionId")?, path_id(&activity, "activityId")?);
    state.known.had(&at, subscription).await?;
    let activity = state.activity(subscription, id).await?;
    let created_at = activity.created_at;
    // Kept, so that it is known after the secret is gone.
    let hash = if let Some(hash) = activity.hash {
        hash
    } else {
        let none = || Problem::new(ProblemKind::NotFound, "no secret was valid when the activity was made");
        let living = state.known.living(&at, subscription, None).await?;
        let hashed = hashed_text(&activity.payload).map_err(ApiError::internal)?;
        hash(living.find_secret(created_at)?.ok_or_else(none)?, created_at, &hashed)
    };
    Ok(Json(HashOut { hash, created_at: created_at.as_millis() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Asked, Problem> {
        Asked::read(Raw::read(json.as_bytes()).unwrap())
    }

    #[test]
    fn a_payload_may_be_a_string_and_is_hashed_as_its_characters() {
        let hash = "aB".repeat(32);
        let asked = read(&format!(r#"{{"payload":"{{vitals:100}}","hash":"{hash}","createdAt":12345}}"#)).unwrap();
        assert_eq!(
            (asked.hashed.as_str(), asked.hash, asked.created_at.as_millis()),
            ("{vitals:100}", hash.clone(), 12345)
        );
        let asked = read(&format!(r#"{{"createdAt":-1,"hash":"{hash}","payload":{{ "n" : 1.50 }}}}"#)).unwrap();
        assert_eq!(asked.hashed, r#"{"n":1.50}"#);
    }

    #[test]
    fn each_member_that_is_wrong_is_named() {
        let hash = "ab".repeat(32);
        for (json, pointer) in [
            (r#"{"hash":"ab","createdAt":1}"#, "#/payload"),
            (r#"{"payload":null,"hash":"ab","createdAt":1}"#, "#/payload"),
            (r#"{"payload":7,"hash":"ab","createdAt":1}"#, "#/payload"),
            (r#"{"payload":[{}],"hash":"ab","createdAt":1}"#, "#/payload"),
            (r#"{"payload":true,"hash":"ab","createdAt":1}"#, "#/payload"),
            (r#"{"payload":{},"hash":"","createdAt":1}"#, "#/hash"),
            (r#"{"payload":{},"hash":"abc","createdAt":1}"#, "#/hash"),
            (r#"{"payload":{},"hash":"abab","createdAt":1}"#, "#/hash"),
            (r#"{"payload":{},"hash":"ab g","createdAt":1}"#, "#/hash"),
            (r#"{"payload":{},"hash":"abé","createdAt":1}"#, "#/hash"),
            (r#"{"payload":{},"createdAt":1}"#, "#/hash"),
            (r#"{"payload":{},"hash":7,"createdAt":1}"#, "#/hash"),
            (r#"{"payload":{},"hash":"ab"}"#, "#/createdAt"),
            (r#"{"payload":{},"hash":"ab","createdAt":1.5}"#, "#/createdAt"),
            (r#"{"payload":{},"hash":"ab","createdAt":"1"}"#, "#/createdAt"),
            (r#"{"payload":{},"hash":"ab","createdAt":1e300}"#, "#/createdAt"),
        ] {
            // All but the digits of the hash are as they should be; then those are, too.
            let whole = json.replace(r#""hash":"ab""#, &format!(r#""hash":"{hash}""#));
            let long = whole.replace(r#""abab""#, &format!(r#""{hash}ab""#));
            let refused = read(&long.replace("ab g", &format!("{}g", &hash[1..]))).unwrap_err();
            assert_eq!(
                (refused.kind, refused.errors[0].pointer.as_str()),
                (ProblemKind::BadRequest, pointer),
                "{json}"
            );
        }
    }
}
