//! The operator's questions, under `/admin/v1` (SPEC 4.9).
//!
//! | path | answers |
//! | --- | --- |
//! | `GET /deliveries` | deliveries, newest first, filtered, in pages |
//! | `GET /deliveries/{id}` | one, with every attempt; `{id}` is a UUID or a webhook id (`msg_…`) |
//! | `GET /dead-letters` | those that failed or ran out of attempts |
//! | `GET /events/{site}/{source…}/{id}` | one event: who received it, who did not, and why |
//! | `GET /explain` | why an event was, or was not, delivered to a subscription |
//! | `GET /reconcile` | everything accepted in a time, and what became of it |
//!
//! And what it does for them:
//!
//! | path | does |
//! | --- | --- |
//! | `PATCH`, `DELETE /deliveries/{id}`, `POST …/deliver-now` | moves, cancels, hurries one that waits |
//! | `POST /deliveries/{id}/replay` | makes one that has ended again |
//! | `POST /events/replay` | makes a delivery of an event to a subscription |
//! | `POST /deliveries/replay` | starts a job that makes many again, or counts them |
//! | `GET /replays`, `GET /replays/{id}`, `POST …/pause`, `…/resume`, `…/cancel` | such jobs |

mod body;
mod deliveries;
mod events;
mod explain;
mod parameters;
mod path;
pub(crate) mod reconcile;
mod replays;
mod view;

use axum::extract::{Path, Query, State};
use axum::routing::{get, patch, post};
use axum::{Json, Router};
use slipstream_core::delivery::DeliveryState;
use slipstream_core::ids::DeliveryId;
use slipstream_core::problem::{Problem, ProblemKind};
use slipstream_service::ApiError;
use slipstream_service::list::Pairs;
use slipstream_store::Store;
use slipstream_store::activity::{delivery, list};
use uuid::Uuid;

use self::parameters::ListParameters;
use self::view::{DeliveryDetail, DeliveryPage};
use crate::database::ask;
use crate::replay::Replayer;

/// The states a dead letter is in.
const DEAD: [DeliveryState; 2] = [DeliveryState::Failed, DeliveryState::Exhausted];

/// The routes, not yet guarded.
pub(crate) fn router(store: Store) -> Router {
    Router::new()
        .route("/admin/v1/deliveries", get(deliveries))
        .route("/admin/v1/deliveries/{id}", get(one_delivery))
        .route("/admin/v1/dead-letters", get(dead_letters))
        .route(&format!("{}{{*path}}", path::PREFIX), get(events::explain))
        .with_state(store)
}

/// The routes of what is done, not yet guarded.
pub(crate) fn acting(replayer: Replayer) -> Router {
    Router::new()
        .route("/admin/v1/deliveries/replay", post(replays::start))
        .route("/admin/v1/deliveries/{id}", patch(deliveries::reschedule).delete(deliveries::cancel))
        .route("/admin/v1/deliveries/{id}/deliver-now", post(deliveries::deliver_now))
        .route("/admin/v1/deliveries/{id}/replay", post(deliveries::replay))
        .route(&format!("{}replay", path::PREFIX), post(deliveries::replay_event))
        .route("/admin/v1/explain", get(explain::answer))
        .route("/admin/v1/replays", get(replays::list))
        .route("/admin/v1/replays/{id}", get(replays::get))
        .route("/admin/v1/replays/{id}/pause", post(replays::pause))
        .route("/admin/v1/replays/{id}/resume", post(replays::resume))
        .route("/admin/v1/replays/{id}/cancel", post(replays::cancel))
        .with_state(replayer)
}

async fn deliveries(State(store): State<Store>, Query(pairs): Query<Pairs>) -> Result<Json<DeliveryPage>, ApiError> {
    page(&store, ListParameters::parse(pairs, &DeliveryState::ALL)?).await
}

async fn dead_letters(State(store): State<Store>, Query(pairs): Query<Pairs>) -> Result<Json<DeliveryPage>, ApiError> {
    let mut parameters = ListParameters::parse(pairs, &DEAD)?;
    if parameters.filter.states.is_empty() {
        parameters.filter.states = DEAD.to_vec();
    }
    page(&store, parameters).await
}

async fn page(store: &Store, parameters: ListParameters) -> Result<Json<DeliveryPage>, ApiError> {
    let ListParameters { filter, limit, after } = parameters;
    let page = ask(list(store.connection(), &filter, limit, after)).await?;
    Ok(Json(page.into()))
}

async fn one_delivery(State(store): State<Store>, Path(id): Path<String>) -> Result<Json<DeliveryDetail>, ApiError> {
    let id = path_delivery_id(&id)?;
    match ask(delivery(store.connection(), id)).await? {
        Some((delivery, attempts)) => Ok(Json(DeliveryDetail::new(delivery, attempts))),
        None => Err(Problem::new(ProblemKind::NotFound, "no such delivery is recorded").into()),
    }
}

/// The delivery that a path names.
fn path_delivery_id(text: &str) -> Result<DeliveryId, Problem> {
    let rule = "the path must name a delivery by its UUID or its webhook id, msg_…";
    delivery_id(text).ok_or_else(|| Problem::new(ProblemKind::BadRequest, rule))
}

/// A delivery's id, in any of the forms it is shown in.
fn delivery_id(text: &str) -> Option<DeliveryId> {
    let text = text.strip_prefix("msg_").unwrap_or(text);
    Uuid::try_parse(text).ok().map(DeliveryId)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_found_by_its_id_and_its_webhook_id() {
        let id = DeliveryId(Uuid::from_u128(7));
        assert_eq!(delivery_id(&id.to_string()), Some(id));
        assert_eq!(delivery_id(&id.webhook_id()), Some(id));
        assert_eq!(delivery_id("msg_7"), None);
        assert_eq!(delivery_id(""), None);
    }
}
