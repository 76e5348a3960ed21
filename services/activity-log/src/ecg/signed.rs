//! Payloads for those who post themselves (SPEC 6.7, E48): made, hashed and written down as an activity of theirs.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::value::RawValue;
use slipstream_core::config::PayloadVersion;
use slipstream_core::contract::PostKind;
use slipstream_core::ecg::{PayloadParts, payload};
use slipstream_core::ids::ActivityId;
use slipstream_core::problem::Problem;
use slipstream_service::ApiError;
use slipstream_service::audit::Note;
use slipstream_service::ecg::body::{self, Raw, wrong};
use slipstream_service::ecg::{AtOrganization, Query, path_id};
use slipstream_service::idempotency::NewId;
use slipstream_service::openapi::{Conflict, NotFound, TooLarge};
use slipstream_store::ecg::activities::{Activity, Content, Json as Shown, Post};
use utoipa::ToSchema;

use super::create::object;
use super::history::no_activity;
use super::parameters::PayloadMode;
use super::post::{Draft, Identity};
use super::{SharedState, SubscriptionInPath};

/// What a payload is made of.
#[derive(Debug, ToSchema)]
#[schema(as = PayloadIn, rename_all = "camelCase")]
#[expect(dead_code, reason = "documents take its fields' names and rules; `Asked` reads the body")]
pub(super) struct PayloadIn {
    /// The code of an event of the subscription.
    event_type: String,
    /// How it is laid out: `v1` as an object of its own, `v2` as a CloudEvents event.
    version: PayloadVersion,
    #[schema(value_type = Object)]
    data: serde_json::Value,
}

/// What is asked for, read.
#[derive(Debug)]
struct Asked {
    event_type: String,
    version: PayloadVersion,
    data: Box<RawValue>,
}

impl Asked {
    fn read(mut body: Raw) -> Result<Self, Problem> {
        let event_type = body.required("eventType")?;
        let version: String = body.required("version")?;
        let version = PayloadVersion::from_name(&version).ok_or_else(|| wrong("version", "must be v1 or v2"))?;
        Ok(Self { event_type, version, data: object(&mut body, "data")? })
    }

    /// The request itself, as what led to the post.
    fn raw_message(&self) -> Box<RawValue> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Message<'a> {
            event_type: &'a str,
            version: PayloadVersion,
            data: &'a RawValue,
        }
        let Self { event_type, version, data } = self;
        let message = Message { event_type, version: *version, data };
        serde_json::value::to_raw_value(&message).expect("texts and JSON serialise")
    }
}

/// A payload that is ready to be posted.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SignedPayload {
    /// The activity.
    #[schema(inline)]
    id: ActivityId,
    /// In Unix milliseconds.
    created_at: i64,
    /// 64 hex digits.
    hash: String,
    #[schema(value_type = Object)]
    payload: Shown,
}

impl TryFrom<Activity> for SignedPayload {
    type Error = ApiError;

    fn try_from(activity: Activity) -> Result<Self, ApiError> {
        let Activity { id, created_at, hash, payload, .. } = activity;
        let hash =
            hash.ok_or_else(|| ApiError::internal(anyhow::anyhow!("activity {id} was made without its hash")))?;
        Ok(Self { id, created_at: created_at.as_millis(), hash, payload })
    }
}

/// E48.
#[utoipa::path(
    post,
    path = "/api/organizations/{organizationId}/subscriptions/{subscriptionId}/webhooks-payloads",
    tag = "Hashes",
    operation_id = "createSignedPayload",
    summary = "Make and hash a payload that the caller will post",
    params(
        SubscriptionInPath,
        ("mode" = String, Query, pattern = "^(new|retry)$", description = "`new`: a first post. `retry`: one that repeats another"),
        ("originalActivityId" = Option<String>, Query, format = "uuid", description = "The activity that is repeated; required where `mode` is `retry`"),
    ),
    request_body = PayloadIn,
    responses((status = 201, description = "The payload, its hash, and the activity that stands for it.", body = SignedPayload), NotFound, Conflict, TooLarge)
)]
pub(super) async fn create(
    State(state): State<SharedState>,
    at: AtOrganization,
    note: Note,
    new_id: NewId,
    query: Query,
    Path((_, subscription)): Path<(String, String)>,
    request: Request,
) -> Result<(StatusCode, Json<SignedPayload>), ApiError> {
    let subscription = path_id(&subscription, "subscriptionId")?;
    let mode = PayloadMode::read(&query)?;
    let asked = Asked::read(body::raw(request, state.body_timeout).await?)?;
    let living = state.known.living(&at, subscription, None).await?;
    let event = living.event_by_code(&asked.event_type)?;
    let identity = match mode {
        PayloadMode::New => Identity::first(&living.subscription.site(), subscription, new_id),
        PayloadMode::Retry(original) => {
            let parent = state.find(subscription, original).await?;
            Identity::repeating(&parent.ok_or_else(no_activity)?, new_id)?
        }
    };
    let parts = PayloadParts {
        root: identity.root,
        organization: at.organization,
        subscription,
        event_type: &event.code,
        at: identity.created_at,
        data: &asked.data,
    };
    let payload = payload(asked.version, parts);
    let draft = Draft {
        identity,
        kind: PostKind::Event,
        event: Some(event.id),
        post: Post::External { posted_at: None },
        made_by: at.caller,
        hash: living.hash(&payload, identity.created_at)?,
        content: Content::Own { payload, raw_message: asked.raw_message() },
    };
    note.target(identity.id);
    let activity = state.make(draft.for_subscription(&living), Some(&event)).await?;
    Ok((StatusCode::CREATED, Json(activity.try_into()?)))
}

#[cfg(test)]
mod tests {
    use slipstream_core::problem::ProblemKind;

    use super::*;

    fn read(json: &str) -> Result<Asked, Problem> {
        Asked::read(Raw::read(json.as_bytes()).unwrap())
    }

    #[test]
    fn what_led_to_the_post_is_the_request_as_it_was_written() {
        let asked =
            read(r#"{ "data" : {"b":1.50, "a":"\u00e9"}, "version":"v2", "eventType":"vitals.created", "x":1 }"#);
        let message = asked.unwrap().raw_message();
        assert_eq!(message.get(), r#"{"eventType":"vitals.created","version":"v2","data":{"b":1.50,"a":"é"}}"#);
    }

    #[test]
    fn each_member_that_is_wrong_is_named() {
        for (json, pointer) in [
            (r#"{"version":"v1","data":{}}"#, "#/eventType"),
            (r#"{"eventType":7,"version":"v1","data":{}}"#, "#/eventType"),
            (r#"{"eventType":"a","data":{}}"#, "#/version"),
            (r#"{"eventType":"a","version":"v3","data":{}}"#, "#/version"),
            (r#"{"eventType":"a","version":1,"data":{}}"#, "#/version"),
            (r#"{"eventType":"a","version":"v1"}"#, "#/data"),
            (r#"{"eventType":"a","version":"v1","data":"text"}"#, "#/data"),
        ] {
            let refused = read(json).unwrap_err();
            assert_eq!(
                (refused.kind, refused.errors[0].pointer.as_str()),
                (ProblemKind::BadRequest, pointer),
                "{json}"
            );
        }
    }
}
