//! Making an activity: one that we post now, or one that somebody else has posted (SPEC 6.8, E41).

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use serde_json::value::RawValue;
use slipstream_core::contract::PostKind;
use slipstream_core::ecg::canonical;
use slipstream_core::ids::{ActivityId, EcgEventId};
use slipstream_core::problem::Problem;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::ApiError;
use slipstream_service::audit::Note;
use slipstream_service::ecg::body::{self, Raw, wrong};
use slipstream_service::ecg::{AtOrganization, path_id, uuid};
use slipstream_service::idempotency::NewId;
use slipstream_service::openapi::{Conflict, NotFound, TooLarge};
use slipstream_store::ecg::activities::{Content, Post};
use utoipa::ToSchema;
use uuid::Uuid;

use super::post::{Draft, Identity};
use super::view::ActivityView;
use super::{SharedState, SubscriptionInPath};

/// An activity to be made.
#[derive(Debug, ToSchema)]
#[schema(as = ActivityIn, rename_all = "camelCase")]
#[expect(dead_code, reason = "documents take its fields' names and rules; `Asked` reads the body")]
pub(super) struct ActivityIn {
    /// 0: says that the subscription was activated. 1: of an event.
    #[schema(maximum = 1)]
    r#type: u8,
    #[schema(value_type = Object)]
    payload: serde_json::Value,
    /// What led to it.
    #[schema(value_type = Object)]
    raw_message: serde_json::Value,
    /// An event of the subscription.
    #[schema(value_type = String, format = "uuid")]
    event_id: Uuid,
    /// The activity of the same subscription that this one repeats.
    #[schema(value_type = Option<String>, format = "uuid", nullable = false)]
    retrying_from_post_id: Option<Uuid>,
    /// When the caller has posted it. Absent or empty: it is posted for the caller, now.
    #[schema(value_type = Option<String>, nullable = false)]
    posted_at: Option<Timestamp>,
}

/// What is asked for, read.
#[derive(Debug)]
struct Asked {
    kind: PostKind,
    payload: Box<RawValue>,
    raw_message: Box<RawValue>,
    event: EcgEventId,
    repeats: Option<ActivityId>,
    posted_at: Option<Timestamp>,
}

impl Asked {
    fn read(mut body: Raw) -> Result<Self, Problem> {
        let kind: serde_json::Number = body.required("type")?;
        let kind = kind.as_u64().and_then(|kind| u8::try_from(kind).ok()).and_then(|kind| kind.try_into().ok());
        let kind = kind.ok_or_else(|| wrong("type", "must be 0 or 1"))?;
        let id = |name: &str, text: &str| uuid(text).ok_or_else(|| wrong(name, "must be a UUID"));
        let event: String = body.required("eventId")?;
        let repeats: Option<String> = body.optional("retryingFromPostId")?;
        let posted_at: Option<String> = body.optional("postedAt")?;
        let posted_at = posted_at.filter(|text| !text.is_empty()).map(|text| text.parse());
        Ok(Self {
            kind,
            payload: object(&mut body, "payload")?,
            raw_message: object(&mut body, "rawMessage")?,
            event: EcgEventId(id("eventId", &event)?),
            repeats: repeats.map(|text| id("retryingFromPostId", &text)).transpose()?.map(ActivityId),
            posted_at: posted_at
                .transpose()
                .map_err(|_| wrong("postedAt", "must be an RFC 3339 timestamp, or empty"))?,
        })
    }
}

/// An object, in the form that is hashed.
pub(super) fn object(body: &mut Raw, name: &str) -> Result<Box<RawValue>, Problem> {
    let given = body.object(name)?;
    canonical(&given).map_err(|error| wrong(name, format!("is not valid: {error}")))
}

/// E41.
#[utoipa::path(
    post,
    path = "/api/organizations/{organizationId}/webhook-subscriptions/{subscriptionId}/activity",
    tag = "Activities",
    operation_id = "createActivity",
    summary = "Post something, or write down what was posted",
    params(SubscriptionInPath),
    request_body = ActivityIn,
    responses((status = 201, description = "The activity.", body = ActivityView), NotFound, Conflict, TooLarge)
)]
pub(super) async fn create(
    State(state): State<SharedState>,
    at: AtOrganization,
    note: Note,
    new_id: NewId,
    Path((_, subscription)): Path<(String, String)>,
    request: Request,
) -> Result<(StatusCode, Json<ActivityView>), ApiError> {
    let subscription = path_id(&subscription, "subscriptionId")?;
    let asked = Asked::read(body::raw(request, state.body_timeout).await?)?;
    let living = state.known.living(&at, subscription, Some(asked.event)).await?;
    let event = living.event(asked.event)?;
    let identity = match asked.repeats {
        None => Identity::first(&living.subscription.site(), subscription, new_id),
        Some(repeats) => {
            let parent = state.find(subscription, repeats).await?;
            let none = || wrong("retryingFromPostId", "must be an activity of the subscription");
            Identity::repeating(&parent.ok_or_else(none)?, new_id)?
        }
    };
    let post = if asked.posted_at.is_some() {
        Post::External { posted_at: asked.posted_at }
    } else {
        living.check_dispatchable(Some(asked.event))?;
        identity.by_platform()
    };
    let hash = living.hash(&asked.payload, identity.created_at)?;
    let content = Content::Own { payload: asked.payload, raw_message: asked.raw_message };
    let (kind, made_by) = (asked.kind, at.caller);
    note.target(identity.id);
    let draft = Draft { identity, kind, event: Some(asked.event), post, made_by, hash, content };
    let activity = state.make(draft.for_subscription(&living), Some(&event)).await?;
    Ok((StatusCode::CREATED, Json(state.view(activity))))
}

#[cfg(test)]
mod tests {
    use slipstream_core::problem::ProblemKind;

    use super::*;

    const EVENT: &str = "363e9bd3-9c7c-4a54-b0b7-0b9f2d1c1a11";

    fn read(json: &str) -> Result<Asked, Problem> {
        Asked::read(Raw::read(json.as_bytes()).unwrap())
    }

    #[test]
    fn what_is_optional_may_be_absent_null_or_for_a_time_empty() {
        let full = format!(
            r#"{{"type":1,"payload":{{ "n" : 1.50 }},"rawMessage":{{}},"eventId":"{EVENT}","other":1,
                "retryingFromPostId":"{EVENT}","postedAt":"2022-08-18T10:03:03.750+02:00"}}"#
        );
        let asked = read(&full).unwrap();
        assert_eq!(
            (asked.kind, asked.payload.get(), asked.event.to_string()),
            (PostKind::Event, r#"{"n":1.50}"#, EVENT.into())
        );
        assert_eq!(asked.repeats.unwrap().to_string(), EVENT);
        assert_eq!(asked.posted_at.unwrap().to_string(), "2022-08-18T08:03:03.750Z");
        for rest in ["", r#","postedAt":"","retryingFromPostId":null"#, r#","postedAt":null"#] {
            let asked =
                read(&format!(r#"{{"type":0,"payload":{{}},"rawMessage":{{}},"eventId":"{EVENT}"{rest}}}"#)).unwrap();
            assert_eq!((asked.kind, asked.repeats, asked.posted_at), (PostKind::Activation, None, None), "{rest}");
        }
    }

    #[test]
    fn each_member_that_is_wrong_is_named() {
        for (member, value) in [
            ("type", "2"),
            ("type", "-1"),
            ("type", "1.5"),
            ("type", "\"1\""),
            ("type", "null"),
            ("payload", "[]"),
            ("payload", "\"{}\""),
            ("payload", "null"),
            ("rawMessage", "7"),
            ("eventId", "7"),
            ("eventId", "\"vitals.created\""),
            ("retryingFromPostId", "\"7\""),
            ("retryingFromPostId", "\"\""),
            ("postedAt", "\"yesterday\""),
            ("postedAt", "1660816984086"),
        ] {
            let mut members = vec![
                ("type", "1".to_owned()),
                ("payload", "{}".to_owned()),
                ("rawMessage", "{}".to_owned()),
                ("eventId", format!("\"{EVENT}\"")),
            ];
            members.retain(|(name, _)| *name != member);
            members.push((member, value.to_owned()));
            let members: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
            let refused = read(&format!("{{{}}}", members.join(","))).unwrap_err();
            assert_eq!(refused.kind, ProblemKind::BadRequest, "{member} {value}");
            assert_eq!(refused.errors[0].pointer, format!("#/{member}"), "{value}");
        }
        assert_eq!(read("{}").unwrap_err().errors[0].pointer, "#/type");
    }
}
