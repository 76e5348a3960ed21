//! The operator's questions, under `/admin/v1` (SPEC 4.9).
//!
//! | path | answers |
//! | --- | --- |
//! | `GET /deliveries` | deliveries, newest first, filtered, in pages |
//! | `GET /deliveries/{id}` | one, with every attempt; `{id}` is a UUID or a webhook id (`msg_…`) |
//! | `GET /dead-letters` | those that failed or ran out of attempts |
//! | `GET /endpoints/{id}/statistics` | what the deliveries to one endpoint amount to |
//! | `GET /events/{site}/{source…}/{id}` | one event: who received it, who did not, and why |
//! | `GET /explain` | why an event was, or was not, delivered to a subscription |
//! | `GET /audit` | who did what, and whether the record of it is whole |
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

mod audit;
mod body;
mod deliveries;
mod events;
mod explain;
mod parameters;
mod path;
pub(crate) mod reconcile;
mod replays;
pub(crate) mod statistics;
mod view;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::Method;
use slipstream_core::delivery::DeliveryState;
use slipstream_core::ids::DeliveryId;
use slipstream_core::problem::{Problem, ProblemKind};
use slipstream_service::ApiError;
use slipstream_service::access::{RouteError, Routers};
use slipstream_service::audit::Note;
use slipstream_service::list::Pairs;
use slipstream_service::openapi::{NotFound, Paging, Times};
use slipstream_store::Store;
use slipstream_store::activity::{delivery, list};
use utoipa::{IntoParams, OpenApi};
use uuid::Uuid;

use self::parameters::{DeliveriesFilter, ListParameters};
use self::view::{DeliveryDetail, DeliveryPage};
use crate::database::ask;
use crate::entrance::Entrance;
use crate::replay::Replayer;

/// The operations, in the order of the routes.
#[derive(OpenApi)]
#[openapi(paths(
    deliveries,
    one_delivery,
    dead_letters,
    audit::answer,
    events::explain,
    replays::start,
    deliveries::reschedule,
    deliveries::cancel,
    deliveries::deliver_now,
    deliveries::replay,
    deliveries::replay_event,
    explain::answer,
    replays::list,
    replays::get,
    replays::pause,
    replays::resume,
    replays::cancel,
    reconcile::answer,
    statistics::answer
))]
pub(crate) struct Operations;

/// What the path of a delivery names.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "documents take its fields' names and rules; `path_delivery_id` reads the path")]
struct DeliveryInPath {
    /// The delivery: its UUID, or its webhook id (`msg_…`).
    #[param(example = "msg_018f2b1e000070008000000000000001")]
    id: String,
}

/// The states a dead letter is in.
const DEAD: [DeliveryState; 2] = [DeliveryState::Failed, DeliveryState::Exhausted];

/// The routes of what is asked.
pub(crate) fn routes(entrance: &Entrance, store: Store) -> Result<Routers, RouteError> {
    entrance
        .routes()
        .add(Method::GET, "/admin/v1/deliveries", deliveries)
        .add(Method::GET, "/admin/v1/deliveries/{id}", one_delivery)
        .add(Method::GET, "/admin/v1/dead-letters", dead_letters)
        .add(Method::GET, "/admin/v1/audit", audit::answer)
        .add(Method::GET, &format!("{}{{*path}}", path::PREFIX), events::explain)
        .with_state(store)
}

/// The routes of what is done.
pub(crate) fn acting(entrance: &Entrance, replayer: Replayer) -> Result<Routers, RouteError> {
    entrance
        .routes()
        .add(Method::POST, "/admin/v1/deliveries/replay", replays::start)
        .add(Method::PATCH, "/admin/v1/deliveries/{id}", deliveries::reschedule)
        .add(Method::DELETE, "/admin/v1/deliveries/{id}", deliveries::cancel)
        .add(Method::POST, "/admin/v1/deliveries/{id}/deliver-now", deliveries::deliver_now)
        .add(Method::POST, "/admin/v1/deliveries/{id}/replay", deliveries::replay)
        .add(Method::POST, &format!("{}replay", path::PREFIX), deliveries::replay_event)
        .add(Method::GET, "/admin/v1/explain", explain::answer)
        .add(Method::GET, "/admin/v1/replays", replays::list)
        .add(Method::GET, "/admin/v1/replays/{id}", replays::get)
        .add(Method::POST, "/admin/v1/replays/{id}/pause", replays::pause)
        .add(Method::POST, "/admin/v1/replays/{id}/resume", replays::resume)
        .add(Method::POST, "/admin/v1/replays/{id}/cancel", replays::cancel)
        .with_state(replayer)
}

#[utoipa::path(
    get,
    path = "/admin/v1/deliveries",
    tag = "Deliveries",
    operation_id = "listDeliveries",
    summary = "List deliveries, newest first",
    params(Paging, Times, DeliveriesFilter),
    responses((status = 200, description = "A page of them.", body = DeliveryPage))
)]
async fn deliveries(State(store): State<Store>, Query(pairs): Query<Pairs>) -> Result<Json<DeliveryPage>, ApiError> {
    page(&store, ListParameters::parse(pairs, &DeliveryState::ALL)?).await
}

#[utoipa::path(
    get,
    path = "/admin/v1/dead-letters",
    tag = "Deliveries",
    operation_id = "listDeadLetters",
    summary = "List deliveries that failed or ran out of attempts, newest first",
    description = "`state` may be `failed` or `exhausted`.",
    params(Paging, Times, DeliveriesFilter),
    responses((status = 200, description = "A page of them.", body = DeliveryPage))
)]
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

#[utoipa::path(
    get,
    path = "/admin/v1/deliveries/{id}",
    tag = "Deliveries",
    operation_id = "getDelivery",
    summary = "Get a delivery with all its attempts",
    params(DeliveryInPath),
    responses((status = 200, description = "It.", body = DeliveryDetail), NotFound)
)]
async fn one_delivery(
    State(store): State<Store>,
    note: Note,
    Path(id): Path<String>,
) -> Result<Json<DeliveryDetail>, ApiError> {
    let id = path_delivery_id(&id)?;
    match ask(delivery(store.connection(), id)).await? {
        Some((delivery, attempts)) => {
            note.site(&delivery.record.site);
            Ok(Json(DeliveryDetail::new(delivery, attempts)))
        }
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
