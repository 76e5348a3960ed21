//! What an operator does to one delivery: move it, have it delivered now, cancel it, or make it again once it has ended
//! (SPEC 4.1, 4.9).
//!
//! A delivery that waits is a schedule on the bus, and can be changed until shortly before it is due. A change and its
//! coming due have one winner, and the answer says which.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use slipstream_bus::{Replaced, Waiting, WaitingChange};
use slipstream_core::contract::Outcome;
use slipstream_core::delivery::Reason;
use slipstream_core::ids::{DeliveryId, EventKey, ReplayId, SubscriptionId};
use slipstream_core::problem::{Problem, ProblemKind};
use slipstream_core::slug::Slug;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::audit::Note;
use slipstream_service::idempotency::NewId;
use slipstream_service::openapi::{Conflict, NotFound};
use slipstream_service::{ApiError, clock};
use slipstream_store::activity::{Delivery, delivery};
use utoipa::ToSchema;

use super::view::DeliveryView;
use super::{DeliveryInPath, body, path_delivery_id};
use crate::database::ask;
use crate::replay::{NO_BUS, Replayed, Replayer, conflict};

/// A new time for a delivery.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = NewAttemptTime)]
struct Move {
    next_attempt_at: Timestamp,
}

/// `PATCH /deliveries/{id}`: moves its next attempt. A time that has passed means at once.
#[utoipa::path(
    patch,
    path = "/admin/v1/deliveries/{id}",
    tag = "Deliveries",
    operation_id = "moveDelivery",
    summary = "Move the next attempt of a delivery that waits",
    description = "A time that has passed means at once.",
    params(DeliveryInPath),
    request_body = Move,
    responses((status = 200, description = "The delivery as it is now.", body = DeliveryView), NotFound, Conflict)
)]
pub(super) async fn reschedule(
    State(replayer): State<Replayer>,
    note: Note,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<DeliveryView>, ApiError> {
    let id = path_delivery_id(&id)?;
    let Move { next_attempt_at } = body::read(request, replayer.body_timeout).await?;
    let moved = replayer.put_off(&note, id, next_attempt_at).await?;
    tracing::info!(delivery.id = %id, delivery.next_attempt_at = %next_attempt_at, "delivery moved by an operator");
    Ok(Json(moved.into()))
}

/// `POST /deliveries/{id}/deliver-now`: has its next attempt made as soon as the endpoint takes it.
#[utoipa::path(
    post,
    path = "/admin/v1/deliveries/{id}/deliver-now",
    tag = "Deliveries",
    operation_id = "deliverNow",
    summary = "Have the next attempt of a delivery that waits made now",
    params(DeliveryInPath),
    responses((status = 202, description = "The delivery as it is now.", body = DeliveryView), NotFound, Conflict)
)]
pub(super) async fn deliver_now(
    State(replayer): State<Replayer>,
    note: Note,
    Path(id): Path<String>,
) -> Result<impl IntoResponse, ApiError> {
    let id = path_delivery_id(&id)?;
    let moved = replayer.put_off(&note, id, clock::now()).await?;
    tracing::info!(delivery.id = %id, "delivery hurried by an operator");
    Ok((StatusCode::ACCEPTED, Json(DeliveryView::from(moved))))
}

/// `DELETE /deliveries/{id}`: it is not attempted any more. The dispatcher records its end in a moment.
#[utoipa::path(
    delete,
    path = "/admin/v1/deliveries/{id}",
    tag = "Deliveries",
    operation_id = "cancelDelivery",
    summary = "Cancel a delivery that waits",
    params(DeliveryInPath),
    responses((status = 204, description = "It is not attempted any more."), NotFound, Conflict)
)]
pub(super) async fn cancel(
    State(replayer): State<Replayer>,
    note: Note,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let id = path_delivery_id(&id)?;
    let (_, waiting) = replayer.waiting(&note, id).await?;
    replayer.change(&waiting, WaitingChange::Cancel).await?;
    tracing::info!(delivery.id = %id, "delivery cancelled by an operator");
    Ok(StatusCode::NO_CONTENT)
}

/// What a replay made.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ReplayedDelivery)]
struct ReplayedView {
    /// Null: it is the event's own delivery.
    #[schema(required)]
    replay: Option<ReplayId>,
    delivery: DeliveryId,
    webhook_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    replay_of: Option<DeliveryId>,
}

fn accepted(replayed: &Replayed) -> impl IntoResponse + use<> {
    let Replayed { replay, delivery, own, replay_of, .. } = *replayed;
    let location = [(header::LOCATION, format!("/admin/v1/deliveries/{delivery}"))];
    let view = ReplayedView { replay, delivery, webhook_id: own.webhook_id(), replay_of };
    (StatusCode::ACCEPTED, location, Json(view))
}

/// `POST /deliveries/{id}/replay`: makes a delivery that has ended again.
#[utoipa::path(
    post,
    path = "/admin/v1/deliveries/{id}/replay",
    tag = "Replays",
    operation_id = "replayDelivery",
    summary = "Make a delivery again that has ended",
    params(DeliveryInPath),
    responses(
        (
            status = 202,
            description = "The new delivery.",
            body = ReplayedView,
            headers(("Location" = String, description = "Where it is")),
        ),
        NotFound,
        Conflict,
    )
)]
pub(super) async fn replay(
    State(replayer): State<Replayer>,
    note: Note,
    new_id: NewId,
    Path(id): Path<String>,
) -> Result<impl IntoResponse, ApiError> {
    let replayed = replayer.replay_delivery(path_delivery_id(&id)?, new_id).await?;
    note.site(&replayed.site);
    Ok(accepted(&replayed))
}

/// Which event, and to whom.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EventToSubscription {
    site: Slug,
    #[schema(min_length = 1)]
    source: String,
    #[schema(min_length = 1)]
    id: String,
    subscription: SubscriptionId,
}

/// `POST /events/replay`: makes a delivery of an event to a subscription.
#[utoipa::path(
    post,
    path = "/admin/v1/events/replay",
    tag = "Replays",
    operation_id = "replayEvent",
    summary = "Make a delivery of an event to a subscription",
    request_body = EventToSubscription,
    responses(
        (
            status = 202,
            description = "The new delivery.",
            body = ReplayedView,
            headers(("Location" = String, description = "Where it is")),
        ),
        NotFound,
        Conflict,
    )
)]
pub(super) async fn replay_event(
    State(replayer): State<Replayer>,
    note: Note,
    new_id: NewId,
    request: Request,
) -> Result<impl IntoResponse, ApiError> {
    let wanted: EventToSubscription = body::read(request, replayer.body_timeout).await?;
    for (name, text) in [("source", &wanted.source), ("id", &wanted.id)] {
        if text.is_empty() || text.contains('\0') {
            return Err(body::bad_member(name, "must not be empty or contain NUL").into());
        }
    }
    let event = (wanted.source.as_str(), wanted.id.as_str());
    note.site(&wanted.site);
    note.target(EventKey::new(&wanted.site, event.0, event.1));
    Ok(accepted(&replayer.replay_event(&wanted.site, event, wanted.subscription, new_id).await?))
}

impl Replayer {
    /// Puts a waiting delivery's next attempt at `at`; the delivery as it is then.
    async fn put_off(&self, note: &Note, id: DeliveryId, at: Timestamp) -> Result<Delivery, ApiError> {
        let (mut found, waiting) = self.waiting(note, id).await?;
        if let Some(expires_at) = waiting.meta.expires_at
            && at >= expires_at
        {
            return Err(conflict(format!("the event expires at {expires_at}, before that")).into());
        }
        self.change(&waiting, WaitingChange::At(at)).await?;
        let now = clock::now();
        let record = &mut found.record;
        (record.reason, record.next_attempt_at, record.updated_at) =
            (Some(Reason::Rescheduled), Some(at.max(now)), now);
        let outcome = Outcome {
            delivery: id,
            site: record.site.clone(),
            key: record.event_key,
            lane: record.lane,
            accepted_at: record.created_at(),
            state: record.state,
            reason: record.reason,
            at: now,
            attempt: None,
            next_attempt_at: record.next_attempt_at,
            replay: record.replay,
        };
        self.tell(record.surface, record.subscription, outcome).await;
        Ok(found)
    }

    /// The delivery, and how it waits.
    async fn waiting(&self, note: &Note, id: DeliveryId) -> Result<(Delivery, Waiting), ApiError> {
        let Some((found, _)) = ask(delivery(self.store.connection(), id)).await? else {
            return Err(Problem::new(ProblemKind::NotFound, "no such delivery is recorded").into());
        };
        let record = &found.record;
        note.site(&record.site);
        if record.state.is_terminal() {
            return Err(conflict(format!("the delivery has ended: it is {}", record.state.as_str())).into());
        }
        let waiting = self.schedules.waiting(record.subscription, &record.event_key, record.id).await;
        let waiting = waiting.map_err(|error| ApiError::unavailable(NO_BUS, error))?;
        match waiting {
            Some(waiting) if waiting.meta.cancelled_at.is_none() => Ok((found, waiting)),
            Some(_) => Err(conflict("the delivery was cancelled just now").into()),
            None => Err(conflict("the delivery is not waiting now: it is about to be attempted, or just was").into()),
        }
    }

    async fn change(&self, waiting: &Waiting, change: WaitingChange) -> Result<(), ApiError> {
        match self.schedules.change_waiting(waiting, change, clock::now).await {
            Ok(Replaced::Done) => Ok(()),
            Ok(Replaced::TooLate) => {
                let detail = "too late: the delivery came due or is about to, or somebody else changed it before this";
                Err(conflict(detail).into())
            }
            Err(error) => Err(ApiError::unavailable(NO_BUS, error)),
        }
    }
}
