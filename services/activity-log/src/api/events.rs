//! `GET /admin/v1/events/{site}/{source…}/{id}`: what became of an event, in words.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use serde::Serialize;
use slipstream_core::contract::Skipped;
use slipstream_core::ids::{EventKey, SubscriptionId};
use slipstream_core::lane::{Lane, Visibility};
use slipstream_core::matching::SkipReason;
use slipstream_core::problem::{Problem, ProblemKind};
use slipstream_core::slug::Slug;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::ApiError;
use slipstream_service::openapi::NotFound;
use slipstream_store::Store;
use slipstream_store::activity::{EventRecord, ExplainedEvent, event};
use utoipa::ToSchema;

use super::path::EventPath;
use super::view::DeliveryView;
use crate::database::ask;

/// Answers with the event that the path names.
#[utoipa::path(
    get,
    path = "/admin/v1/events/{site}/{source}/{id}",
    tag = "Deliveries",
    operation_id = "getEvent",
    summary = "Get what became of an event",
    params(
        ("site" = inline(Slug), Path, description = "The site"),
        ("source" = String, Path, description = "The source; slashes may stand as they are"),
        ("id" = String, Path, description = "The id"),
    ),
    responses((status = 200, description = "The event, explained.", body = EventView), NotFound)
)]
pub(super) async fn explain(State(store): State<Store>, uri: Uri) -> Result<Json<EventView>, ApiError> {
    if uri.query().is_some() {
        let detail = "this path takes no query; write a ? in the source or id as %3F";
        return Err(Problem::new(ProblemKind::BadRequest, detail).into());
    }
    let EventPath { site, source, id } = EventPath::parse(uri.path())?;
    match ask(event(store.connection(), &site, &source, &id)).await? {
        Some(explained) => Ok(Json(explained.into())),
        None => Err(Problem::new(ProblemKind::NotFound, "no such event is recorded for this site").into()),
    }
}

/// Whether an event waits for its time, is on its way, or was cancelled while it waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum EventState {
    Held,
    Routed,
    Cancelled,
}

impl EventState {
    /// The state of `event`. A delivery may be recorded before the routing that made it, so one that has some is routed.
    pub(super) fn of(event: &EventRecord, has_deliveries: bool) -> Self {
        if has_deliveries {
            Self::Routed
        } else if event.cancelled_at.is_some() {
            Self::Cancelled
        } else if event.routed_at.is_some() {
            Self::Routed
        } else {
            Self::Held
        }
    }
}

/// An event, explained.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Event)]
pub(super) struct EventView {
    site: Slug,
    key: EventKey,
    source: String,
    id: String,
    r#type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    visibility: Visibility,
    lane: Lane,
    state: EventState,
    /// One sentence for people.
    summary: String,
    accepted_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    intended_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    routed_at: Option<Timestamp>,
    /// When its times were last changed while it was held.
    #[serde(skip_serializing_if = "Option::is_none")]
    changed_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancelled_at: Option<Timestamp>,
    /// Its deliveries, those of replays among them.
    matched: Vec<DeliveryView>,
    not_matched: Vec<NotMatched>,
}

/// A subscription that does not receive the event.
#[derive(Debug, Serialize, ToSchema)]
struct NotMatched {
    subscription: SubscriptionId,
    reason: SkipReason,
    explanation: String,
}

impl From<ExplainedEvent> for EventView {
    fn from(explained: ExplainedEvent) -> Self {
        let ExplainedEvent { event, deliveries } = explained;
        // An event that was routed twice, with a change of subscriptions between, may have both for one of them.
        let receives = |it: &Skipped| deliveries.iter().any(|delivery| delivery.record.subscription == it.subscription);
        let not_matched: Vec<_> =
            event.skipped.iter().filter(|it| !receives(it)).map(|it| NotMatched::new(it, &event)).collect();
        let own = deliveries.iter().filter(|delivery| delivery.record.replay.is_none()).count();
        let state = EventState::of(&event, own > 0);
        Self {
            state,
            summary: summary(&event, state, own, deliveries.len() - own, not_matched.len()),
            site: event.site,
            key: event.key,
            source: event.source,
            id: event.id,
            r#type: event.event_type,
            subject: event.subject,
            visibility: event.visibility,
            lane: event.lane,
            accepted_at: event.accepted_at,
            intended_at: event.intended_at,
            expires_at: event.expires_at,
            routed_at: event.routed_at,
            changed_at: event.changed_at,
            cancelled_at: event.cancelled_at,
            matched: deliveries.into_iter().map(DeliveryView::from).collect(),
            not_matched,
        }
    }
}

/// What became of an event, of whose deliveries `own` were made when it was routed and `replayed` by replays.
fn summary(event: &EventRecord, state: EventState, own: usize, replayed: usize, not_matched: usize) -> String {
    let summary = match (state, own, not_matched) {
        (EventState::Held, ..) => held(event),
        (EventState::Cancelled, ..) => {
            let at = event.cancelled_at.map_or_else(String::new, |at| format!(" at {at}"));
            format!("Nobody receives the event: it was cancelled{at}, before it came due.")
        }
        (EventState::Routed, 0, 0) => "Nobody receives the event: its site had no subscription.".to_owned(),
        (EventState::Routed, 0, _) => {
            format!("Nobody receives the event: none of {} matched.", subscriptions(not_matched))
        }
        (EventState::Routed, _, 0) => format!("The event goes to {}.", subscriptions(own)),
        (EventState::Routed, ..) => {
            format!("The event goes to {}, and not to {not_matched} of its site.", subscriptions(own))
        }
    };
    match replayed {
        0 => summary,
        1 => format!("{summary} It was replayed once."),
        _ => format!("{summary} Replays made {replayed} further deliveries."),
    }
}

fn held(event: &EventRecord) -> String {
    let summary = match event.intended_at {
        Some(at) => format!("The event is held until {at}; who receives it is decided then."),
        None => "The event is held; who receives it is not yet decided.".to_owned(),
    };
    match event.changed_at {
        None => summary,
        Some(at) => format!("{summary} Its times were changed at {at}."),
    }
}

fn subscriptions(count: usize) -> String {
    if count == 1 { "1 subscription".to_owned() } else { format!("{count} subscriptions") }
}

impl NotMatched {
    fn new(skipped: &Skipped, event: &EventRecord) -> Self {
        let explanation = match skipped.reason {
            SkipReason::Visibility => format!(
                "The event's visibility is {}; webhooks receive public events only (visibility 1).",
                event.visibility.as_str()
            ),
            SkipReason::TypeNotInFeature => {
                format!("The feature that was subscribed to has no event type {}.", event.event_type)
            }
            SkipReason::TypeNotSubscribed => {
                format!("The subscriber asked for other event types than {}.", event.event_type)
            }
        };
        Self { subscription: skipped.subscription, reason: skipped.reason, explanation }
    }
}
