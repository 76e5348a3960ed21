//! E26 and E31: a subscription is changed in part.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::IntoResponse;
use serde_json::Value as Document;
use slipstream_core::config::EcgSubscription;
use slipstream_core::ids::EcgEventId;
use slipstream_service::ecg::{AtOrganization, Value, not_found, patch, path_id};
use slipstream_service::openapi::{NotFound, Unprocessable};
use slipstream_service::{ApiError, json};

use super::Change;
use super::body::{Checked, SubscriptionIn, check};
use super::view::{Subscription, shown};
use crate::ecg::switch::Verb;
use crate::ecg::{SubscribedEventPath, SubscriptionPath, patching};
use crate::operator::NO_STORE;
use crate::state::AppState;

/// What of a subscription may be patched.
const PATCHABLE: [&str; 4] = ["/postUri", "/version", "/isDevelopment", "/events"];

/// E26. The whole result is judged, by the rules that a new subscription is judged by.
#[utoipa::path(
    patch,
    path = "/api/organizations/{organizationId}/webhook-subscriptions/{subscriptionId}",
    tag = "Subscriptions",
    operation_id = "patchWebhookSubscription",
    summary = "Change a subscription in part, by JSON Patch",
    description = "Of /postUri, /version, /isDevelopment and /events, which holds ids or codes. One that loses its postUri \
                   becomes inactive. A patch that changes nothing leaves `updatedAt` as it is, too.",
    params(SubscriptionPath),
    request_body = patching::Body,
    responses((status = 200, description = "It, as it is now.", body = Subscription), NotFound, Unprocessable)
)]
pub(in crate::ecg) async fn patch(
    State(state): State<AppState>,
    at: AtOrganization,
    Path((_, id)): Path<(String, String)>,
    request: Request,
) -> Result<impl IntoResponse, ApiError> {
    let id = path_id(&id, "subscriptionId")?;
    let patch = patching::read(&state, request).await?;
    let mut change = Change::begin(&state, &at, id).await?;
    let patched = patch::apply(&patch, &document(&change.standing), &PATCHABLE)?;
    let patched: SubscriptionIn = json::read(patched.to_string().as_bytes())?;
    let Checked { post_uri, version, is_development, events } =
        check(patched, &state.targets, &change.transaction).await?;
    let standing = &change.standing;
    let is_elsewhere = post_uri != standing.post_uri;
    let flags = if post_uri.is_none() { Verb::Deactivate.apply(standing.flags, change.now)? } else { None };
    let flags = flags.unwrap_or(standing.flags);
    let changed = EcgSubscription { post_uri, version, is_development, events, flags, ..standing.clone() };
    change.write(&at, changed, is_elsewhere).await?;
    let stands = change.finish().await?;
    Ok((NO_STORE, Json(shown(&state.registry, stands).await?)))
}

/// What a patch sees: events by their ids, and no secret.
fn document(standing: &EcgSubscription) -> Document {
    let EcgSubscription { id, organization, post_uri, version, events, is_development, .. } = standing;
    serde_json::json!({
        "id": id,
        "organizationId": organization,
        "postUri": post_uri,
        "version": version,
        "events": events,
        "isDevelopment": is_development,
    })
}

/// E31.
#[utoipa::path(
    delete,
    path = "/api/organizations/{organizationId}/webhook-subscriptions/{subscriptionId}/events/{eventId}",
    tag = "Subscriptions",
    operation_id = "removeEventOfWebhookSubscription",
    summary = "Take an event from a subscription",
    params(SubscribedEventPath),
    responses((status = 200, description = "It is not for the event any more.", body = Value), NotFound)
)]
pub(in crate::ecg) async fn remove_event(
    State(state): State<AppState>,
    at: AtOrganization,
    Path((_, id, event)): Path<(String, String, String)>,
) -> Result<Json<Value>, ApiError> {
    let (id, event): (_, EcgEventId) = (path_id(&id, "subscriptionId")?, path_id(&event, "eventId")?);
    let mut change = Change::begin(&state, &at, id).await?;
    let mut changed = change.standing.clone();
    changed.events.retain(|it| *it != event);
    if changed.events.len() == change.standing.events.len() {
        return Err(not_found("webhook event of this subscription").into());
    }
    change.write(&at, changed, false).await?;
    change.finish().await?;
    Ok(Json(Value::TRUE))
}
