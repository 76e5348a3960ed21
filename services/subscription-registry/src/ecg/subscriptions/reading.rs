//! E21, E23, E25: subscriptions as they stand.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use slipstream_core::config::{EcgEvent, PayloadVersion};
use slipstream_core::ids::SubscriptionId;
use slipstream_core::problem::Problem;
use slipstream_service::ApiError;
use slipstream_service::ecg::{AtOrganization, Caller, ListOf, Paging, PagingParameters, Query, not_found, path_id};
use slipstream_service::list::bad_parameter;
use slipstream_service::openapi::NotFound;
use slipstream_store::ecg::subscriptions::{self, Filter};
use slipstream_store::ecg::{categories, events};
use slipstream_store::{ConnectionTrait, StoreError};

use super::view::{Subscription, shown, views};
use crate::ecg::list::{StatusParameter, slice, status};
use crate::ecg::{OrganizationPath, SubscriptionPath};
use crate::operator::NO_STORE;
use crate::registry::RegistryError;
use crate::state::AppState;

/// E21. Those of every organization that the caller may act for, without their secrets.
#[utoipa::path(
    get,
    path = "/api/webhook-events/{eventCode}/subscriptions",
    tag = "Subscriptions",
    operation_id = "listSubscriptionsOfEvent",
    summary = "List the subscriptions that posts of an event go to",
    description = "Of every organization that the caller may act for: those that are active, not archived, and for a \
                   dispatchable event with this code, in any version. Without their secrets.",
    params(("eventCode" = String, Path, description = "The event's code, without case")),
    responses((status = 200, description = "They, the latest changed first.", body = Vec<Subscription>), NotFound)
)]
pub(in crate::ecg) async fn by_event(
    State(state): State<AppState>,
    caller: Caller,
    Path(code): Path<String>,
) -> Result<Json<Vec<Subscription>>, ApiError> {
    let connection = state.registry.store().connection();
    let of_code = events::of_code(connection, &code).await.map_err(RegistryError::from)?;
    if of_code.is_empty() {
        return Err(not_found("webhook event").into());
    }
    let mut dispatchable = Vec::new();
    for event in of_code {
        if is_dispatchable(connection, &event).await.map_err(RegistryError::from)? {
            dispatchable.push(event.id);
        }
    }
    let mut found = subscriptions::on_for(connection, &dispatchable).await.map_err(RegistryError::from)?;
    found.retain(|subscription| caller.may_at(subscription.organization));
    Ok(Json(views(&state.registry, found, false).await?))
}

/// Whether posts of it are dispatched: it and its category are active and not archived (SPEC 6.4).
async fn is_dispatchable(connection: &impl ConnectionTrait, event: &EcgEvent) -> Result<bool, StoreError> {
    let category = categories::get(connection, event.category).await?;
    Ok(event.flags.is_on() && category.is_some_and(|category| category.flags.is_on()))
}

/// E23.
#[utoipa::path(
    get,
    path = "/api/organizations/{organizationId}/webhook-subscriptions",
    tag = "Subscriptions",
    operation_id = "listWebhookSubscriptions",
    summary = "List an organization's subscriptions, by their last change",
    params(
        OrganizationPath,
        ("version" = Option<String>, Query, description = "With payloads of this version", pattern = "^v[12]$"),
        ("eventId" = inline(Option<slipstream_core::ids::EcgEventId>), Query, description = "For this event"),
        StatusParameter,
        PagingParameters,
    ),
    responses((status = 200, description = "A page of them.", body = ListOf<Subscription>))
)]
pub(in crate::ecg) async fn list(
    State(state): State<AppState>,
    at: AtOrganization,
    query: Query,
    paging: Paging,
) -> Result<impl IntoResponse, ApiError> {
    let filter = filter(&query)?;
    let page = subscriptions::page(state.registry.store().connection(), at.organization, filter, slice(&paging)).await;
    let page = page.map_err(RegistryError::from)?;
    let items = views(&state.registry, page.items, true).await?;
    Ok((NO_STORE, Json(paging.list(items, page.total))))
}

fn filter(query: &Query) -> Result<Filter, Problem> {
    let versions = [("v1", PayloadVersion::V1), ("v2", PayloadVersion::V2)];
    let event =
        query.one("eventId")?.map(|id| path_id(id, "eventId").map_err(|_| bad_parameter("eventId", "must be a UUID")));
    Ok(Filter { status: status(query)?, version: query.choice("version", &versions)?, event: event.transpose()? })
}

/// E25.
#[utoipa::path(
    get,
    path = "/api/organizations/{organizationId}/webhook-subscriptions/{subscriptionId}",
    tag = "Subscriptions",
    operation_id = "getWebhookSubscription",
    summary = "Get a subscription",
    params(SubscriptionPath),
    responses((status = 200, description = "It.", body = Subscription), NotFound)
)]
pub(in crate::ecg) async fn get(
    State(state): State<AppState>,
    at: AtOrganization,
    Path((_, id)): Path<(String, String)>,
) -> Result<impl IntoResponse, ApiError> {
    let id: SubscriptionId = path_id(&id, "subscriptionId")?;
    let found = subscriptions::get(state.registry.store().connection(), at.organization, id).await;
    let found = found.map_err(RegistryError::from)?.ok_or_else(|| not_found("webhook subscription"))?;
    Ok((NO_STORE, Json(shown(&state.registry, found).await?)))
}
