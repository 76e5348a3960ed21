//! Activities as the API shows them.

mod configured;

use serde::Serialize;
use serde_json::value::RawValue;
use slipstream_core::contract::PostKind;
use slipstream_core::ids::{ActivityId, EcgEventId, SubscriptionId};
use slipstream_core::timestamp::Timestamp;
use slipstream_service::directory::EcgIndex;
use slipstream_service::ecg::{AuditInfo, Event};
use slipstream_store::ecg::activities::{Activity, Dispatch, Json};
use utoipa::ToSchema;

use self::configured::{SubscriptionView, event, subscription};
use super::parameters::Include;

/// A post (SPEC 6.8).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Activity)]
#[expect(clippy::option_option, reason = "left out where nobody asked for it, null where there is none")]
pub(super) struct ActivityView {
    #[schema(inline)]
    id: ActivityId,
    /// 0: says that the subscription was activated. 1: of an event.
    #[schema(maximum = 1)]
    r#type: u8,
    #[schema(inline)]
    subscription_id: SubscriptionId,
    #[schema(required)]
    event_id: Option<EcgEventId>,
    dispatch: DispatchView,
    /// How deep in its tree: 1 is the first post.
    level: u32,
    /// When it was made, in Unix milliseconds: what its hash was made with.
    created_at: i64,
    /// When it was sent; null until then.
    #[schema(required)]
    posted_at: Option<Timestamp>,
    /// What it was answered; null until then.
    #[schema(required)]
    http_status_code: Option<u16>,
    /// Null while nothing has come of it.
    #[schema(required)]
    success: Option<bool>,
    #[schema(required)]
    error: Option<String>,
    /// What it was answered: of a post of ours the text.
    #[schema(value_type = serde_json::Value)]
    raw_response: Option<Box<RawValue>>,
    /// The post that it repeats.
    #[schema(required)]
    retrying_from_post_id: Option<ActivityId>,
    /// When it is repeated by itself, or should be by who posts it.
    #[schema(required)]
    next_retry_at: Option<Timestamp>,
    #[schema(value_type = Object)]
    payload: Json,
    /// What led to it.
    #[schema(value_type = Object)]
    raw_message: Json,
    /// 64 hex digits; null of a post of ours that waits for its first attempt.
    #[schema(required)]
    hash: Option<String>,
    audit_info: AuditInfo,
    /// Only where it is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<SubscriptionView>)]
    subscription: Option<Option<SubscriptionView>>,
    /// Only where it is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Event>)]
    event: Option<Option<Event>>,
}

/// Who posts an activity.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Dispatch)]
pub(super) enum DispatchView {
    /// We do.
    Platform,
    /// Whoever made it.
    External,
}

impl From<Dispatch> for DispatchView {
    fn from(dispatch: Dispatch) -> Self {
        match dispatch {
            Dispatch::Platform => Self::Platform,
            Dispatch::External => Self::External,
        }
    }
}

impl ActivityView {
    /// With what `include` says, as it is configured now.
    pub(super) fn new(activity: Activity, include: Include, index: &EcgIndex) -> Self {
        let subscription = include.subscription.then(|| subscription(index, activity.subscription));
        let event = include.event.then(|| activity.event.and_then(|id| event(index, id)));
        Self {
            id: activity.id,
            r#type: kind_number(activity.kind),
            subscription_id: activity.subscription,
            event_id: activity.event,
            dispatch: activity.dispatch.into(),
            level: activity.level,
            created_at: activity.created_at.as_millis(),
            posted_at: activity.posted_at,
            http_status_code: activity.status,
            success: activity.success,
            error: activity.error,
            raw_response: activity.raw_response,
            retrying_from_post_id: activity.parent,
            next_retry_at: activity.next_retry_at,
            payload: activity.payload,
            raw_message: activity.raw_message,
            hash: activity.hash,
            audit_info: (&activity.stamps).into(),
            subscription,
            event,
        }
    }
}

/// An activity with those that repeat it (SPEC 6.8, E45).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ActivityTree)]
pub(super) struct TreeView {
    #[schema(inline)]
    id: ActivityId,
    level: u32,
    #[schema(maximum = 1)]
    r#type: u8,
    #[serde(rename = "posted_at")]
    #[schema(required)]
    posted_at: Option<Timestamp>,
    /// The same again, spelt as everywhere.
    #[serde(rename = "postedAt")]
    #[schema(required)]
    posted_at_again: Option<Timestamp>,
    #[schema(required)]
    http_status_code: Option<u16>,
    #[schema(value_type = Object)]
    payload: Json,
    #[schema(required)]
    subscription: Option<SubscriptionView>,
    #[schema(required)]
    event: Option<Event>,
    #[schema(required)]
    retrying_from_post_id: Option<ActivityId>,
    #[schema(required)]
    next_retry_at: Option<Timestamp>,
    #[schema(value_type = serde_json::Value)]
    raw_response: Option<Box<RawValue>>,
    #[schema(required)]
    error: Option<String>,
    #[schema(required)]
    success: Option<bool>,
    #[schema(no_recursion)]
    child_post_history: Vec<TreeView>,
}

impl TreeView {
    /// With this history below it.
    pub(super) fn new(activity: Activity, index: &EcgIndex, child_post_history: Vec<Self>) -> Self {
        Self {
            id: activity.id,
            level: activity.level,
            r#type: kind_number(activity.kind),
            posted_at: activity.posted_at,
            posted_at_again: activity.posted_at,
            http_status_code: activity.status,
            payload: activity.payload,
            subscription: subscription(index, activity.subscription),
            event: activity.event.and_then(|id| event(index, id)),
            retrying_from_post_id: activity.parent,
            next_retry_at: activity.next_retry_at,
            raw_response: activity.raw_response,
            error: activity.error,
            success: activity.success,
            child_post_history,
        }
    }
}

/// How much is shown beside each activity of a subscription, at most.
pub(super) fn included_bytes(include: Include, of: SubscriptionId, index: &EcgIndex) -> u64 {
    let subscription = subscription(index, of).filter(|_| include.subscription || include.event);
    // Its events are part of it.
    subscription.and_then(|it| serde_json::to_vec(&it).ok()).map_or(0, |text| text.len() as u64)
}

/// `type`, as it is shown.
fn kind_number(kind: PostKind) -> u8 {
    kind.into()
}
