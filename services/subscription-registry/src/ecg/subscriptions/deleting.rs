//! E24: the end of a subscription. A tombstone stays, so that the history of its posts can name it.

use axum::Json;
use axum::extract::{Path, State};
use slipstream_core::config::EcgSubscription;
use slipstream_core::ids::SubscriptionId;
use slipstream_service::ecg::{AtOrganization, Value, not_found, path_id};
use slipstream_service::openapi::NotFound;
use slipstream_service::{ApiError, clock};
use slipstream_store::StoreError;
use slipstream_store::ecg::subscriptions;
use uuid::Uuid;

use crate::ecg::SubscriptionPath;
use crate::registry::{Registry, RegistryError};
use crate::state::AppState;

/// E24. What waits for it is cancelled, and its secrets are forgotten.
#[utoipa::path(
    delete,
    path = "/api/organizations/{organizationId}/webhook-subscriptions/{subscriptionId}",
    tag = "Subscriptions",
    operation_id = "deleteWebhookSubscription",
    summary = "Delete a subscription",
    description = "What waits for it is cancelled, and its secrets are forgotten. The history of its posts stays.",
    params(SubscriptionPath),
    responses((status = 200, description = "It is deleted.", body = Value), NotFound)
)]
pub(in crate::ecg) async fn delete(
    State(state): State<AppState>,
    at: AtOrganization,
    Path((_, id)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let id: SubscriptionId = path_id(&id, "subscriptionId")?;
    if state.registry.delete_ecg_subscription(at.organization, id, at.caller).await? {
        tracing::info!(subscription.id = %id, "ECG subscription deleted");
        return Ok(Json(Value::TRUE));
    }
    // What was deleted before, where that did not come into force then.
    let there = subscriptions::get_any(state.registry.store().connection(), id).await.map_err(RegistryError::from)?;
    if there.is_some_and(|it| it.organization == at.organization) {
        state.registry.mirror_ecg_subscription(id).await?;
        state.registry.finish_removals().await?;
    }
    Err(not_found("webhook subscription").into())
}

impl Registry {
    /// Makes a tombstone of a subscription of `organization`, in the name of `by`, and puts that in force. Says whether there
    /// was one.
    async fn delete_ecg_subscription(
        &self,
        organization: Uuid,
        id: SubscriptionId,
        by: Uuid,
    ) -> Result<bool, RegistryError> {
        let transaction = self.store().begin().await?;
        let Some(standing) = subscriptions::lock(&transaction, organization, id).await? else { return Ok(false) };
        let stamps = standing.stamps.changed(by, clock::now());
        subscriptions::delete(&transaction, &EcgSubscription { stamps, ..standing }).await?;
        transaction.commit().await.map_err(StoreError::from)?;
        self.remove_ecg_subscription(id).await?;
        Ok(true)
    }
}
