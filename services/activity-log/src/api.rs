//! The operator's questions, under `/admin/v1` (SPEC 4.9).
//!
//! | path | answers |
//! | --- | --- |
//! | `GET /deliveries` | deliveries, newest first, filtered, in pages |
//! | `GET /deliveries/{id}` | one, with every attempt; `{id}` is a UUID or a webhook id (`msg_…`) |
//! | `GET /dead-letters` | those that failed or ran out of attempts |
//! | `GET /events/{site}/{source…}/{id}` | one event: who received it, who did not, and why |

mod events;
mod parameters;
mod path;
mod view;

use axum::extract::{Path, Query, State};
use axum::routing::get;
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
    let id = delivery_id(&id).ok_or_else(|| {
        Problem::new(ProblemKind::BadRequest, "the path must end in a delivery's UUID or its webhook id, msg_…")
    })?;
    match ask(delivery(store.connection(), id)).await? {
        Some((delivery, attempts)) => Ok(Json(DeliveryDetail::new(delivery, attempts))),
        None => Err(Problem::new(ProblemKind::NotFound, "no such delivery is recorded").into()),
    }
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
