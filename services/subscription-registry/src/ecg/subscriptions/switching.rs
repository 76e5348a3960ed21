//! E27, E28, E34, E35: the two flags of a subscription, which do not depend on each other.
//!
//! What is switched off or put away is not delivered to; what waits for it goes on waiting, until it is back.

use axum::Json;
use axum::extract::{Path, State};
use slipstream_core::config::EcgSubscription;
use slipstream_core::problem::{Problem, ProblemKind};
use slipstream_service::ApiError;
use slipstream_service::ecg::{AtOrganization, Value, path_id};
use slipstream_service::idempotency::NewId;
use slipstream_service::openapi::{Conflict, NotFound};

use super::Change;
use crate::ecg::switch::Verb;
use crate::ecg::{SubscriptionPath, activation};
use crate::registry::RegistryError;
use crate::state::AppState;

/// E27. Whoever is activated is told so by a post.
#[utoipa::path(
    post,
    path = "/api/organizations/{organizationId}/webhook-subscriptions/{subscriptionId}/activate",
    tag = "Subscriptions",
    operation_id = "activateWebhookSubscription",
    summary = "Let posts go to a subscription",
    description = "One post says so to its postUri, without being repeated. What has been waiting for it goes out. An active \
                   one stays as it is.",
    params(SubscriptionPath),
    responses((status = 200, description = "It is active.", body = Value), NotFound, Conflict)
)]
pub(in crate::ecg) async fn activate(
    State(state): State<AppState>,
    at: AtOrganization,
    new: NewId,
    Path((_, id)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    switch(&state, &at, new, &id, Verb::Activate).await
}

/// E28.
#[utoipa::path(
    post,
    path = "/api/organizations/{organizationId}/webhook-subscriptions/{subscriptionId}/deactivate",
    tag = "Subscriptions",
    operation_id = "deactivateWebhookSubscription",
    summary = "Let no posts go to a subscription",
    description = "What waits for it goes on waiting. An inactive one stays as it is.",
    params(SubscriptionPath),
    responses((status = 200, description = "It is inactive.", body = Value), NotFound)
)]
pub(in crate::ecg) async fn deactivate(
    State(state): State<AppState>,
    at: AtOrganization,
    new: NewId,
    Path((_, id)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    switch(&state, &at, new, &id, Verb::Deactivate).await
}

/// E34.
#[utoipa::path(
    post,
    path = "/api/organizations/{organizationId}/webhook-subscriptions/{subscriptionId}/archive",
    tag = "Subscriptions",
    operation_id = "archiveWebhookSubscription",
    summary = "Put a subscription away",
    description = "No posts go to it then, whether it is active or not, and lists leave it out. An archived one stays as it is.",
    params(SubscriptionPath),
    responses((status = 200, description = "It is archived.", body = Value), NotFound)
)]
pub(in crate::ecg) async fn archive(
    State(state): State<AppState>,
    at: AtOrganization,
    new: NewId,
    Path((_, id)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    switch(&state, &at, new, &id, Verb::Archive).await
}

/// E35.
#[utoipa::path(
    post,
    path = "/api/organizations/{organizationId}/webhook-subscriptions/{subscriptionId}/restore",
    tag = "Subscriptions",
    operation_id = "restoreWebhookSubscription",
    summary = "Take a subscription back from where it was put away",
    description = "It is as active as it was. One that is not archived stays as it is.",
    params(SubscriptionPath),
    responses((status = 200, description = "It is not archived.", body = Value), NotFound)
)]
pub(in crate::ecg) async fn restore(
    State(state): State<AppState>,
    at: AtOrganization,
    new: NewId,
    Path((_, id)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    switch(&state, &at, new, &id, Verb::Restore).await
}

async fn switch(
    state: &AppState,
    at: &AtOrganization,
    new: NewId,
    id: &str,
    verb: Verb,
) -> Result<Json<Value>, ApiError> {
    let mut change = Change::begin(state, at, path_id(id, "subscriptionId")?).await?;
    if let Some(flags) = verb.apply(change.standing.flags, change.now)? {
        let is_activated = verb == Verb::Activate;
        if is_activated && change.standing.post_uri.is_none() {
            return Err(Problem::new(ProblemKind::Conflict, "the webhook subscription has no postUri").into());
        }
        let switched = EcgSubscription { flags, ..change.standing.clone() };
        change.write(at, switched, is_activated).await?;
        if is_activated {
            let noted = activation::note(&change.transaction, &change.standing, at.caller, new, change.now).await;
            noted.map_err(RegistryError::from)?;
        }
    }
    let subscription = change.finish().await?;
    tracing::info!(subscription.id = %subscription.id, ?verb, "ECG subscription switched");
    if verb == Verb::Activate {
        // Once it is in force, and what a repeat finds unpublished too.
        state.registry.tell().await;
    }
    Ok(Json(Value::TRUE))
}
