//! Subscriptions: E21 to E28, E31, E34, E35 (SPEC 6.5).
//!
//! Whatever changes one goes the same way, see [`change`]; a repeat of an action changes nothing, and makes sure that what
//! stands is in force.

mod body;
mod change;
pub(super) mod deleting;
pub(super) mod patching;
pub(super) mod reading;
pub(super) mod switching;
mod view;

use axum::Json as Answer;
use axum::extract::State;
use axum::response::IntoResponse;
use http::{StatusCode, header};
use slipstream_core::config::{EcgSecret, EcgSubscription, Flags, Health, Stamps};
use slipstream_core::ids::{EcgSecretId, SubscriptionId};
use slipstream_core::sealing::Tenant;
use slipstream_service::audit::Note;
use slipstream_service::ecg::AtOrganization;
use slipstream_service::idempotency::NewId;
use slipstream_service::openapi::Unprocessable;
use slipstream_service::{ApiError, clock};
use slipstream_store::ecg::subscriptions;
use slipstream_store::{DatabaseTransaction, StoreError, data_keys};
use uuid::Uuid;

use self::body::{Checked, SubscriptionIn};
pub(super) use self::change::Change;
use self::view::shown;
pub(super) use self::view::{Subscription, views};
use super::OrganizationPath;
use crate::keys;
use crate::operator::NO_STORE;
use crate::reconcile::tombstones_kept_since;
use crate::registry::{Registry, RegistryError};
use crate::state::{AppState, Json};

/// E22. A new subscription is active if it has a target, and has a secret of its own.
#[utoipa::path(
    post,
    path = "/api/organizations/{organizationId}/webhook-subscriptions",
    tag = "Subscriptions",
    operation_id = "createWebhookSubscription",
    summary = "Subscribe to events",
    description = "It is active if it has a postUri. Its secret is made here.",
    params(OrganizationPath),
    request_body(content = SubscriptionIn, example = json!(body::example())),
    responses(
        (
            status = 201,
            description = "It is in force.",
            body = Subscription,
            headers(("Location" = String, description = "Where it is")),
        ),
        Unprocessable,
    )
)]
pub(super) async fn create(
    State(state): State<AppState>,
    at: AtOrganization,
    note: Note,
    new: NewId,
    Json(body): Json<SubscriptionIn>,
) -> Result<impl IntoResponse, ApiError> {
    let registry = &state.registry;
    let id = SubscriptionId(new.get());
    note.target(id);
    let tenant = Tenant::Organization(at.organization);
    if !registry.vault().has_key_of(&tenant) {
        // Whoever only finds that it may not leaves nothing behind, not even a key.
        let transaction = registry.store().begin().await.map_err(RegistryError::from)?;
        body::check(body.clone(), &state.targets, &transaction).await?;
    }
    registry.ensure_key(&tenant).await?;
    let transaction = registry.store().begin().await.map_err(RegistryError::from)?;
    let mut made = None;
    if new.may_exist() {
        // By this very request, whose answer was not heard.
        let there = subscriptions::lock(&transaction, at.organization, id).await;
        made = there.map_err(RegistryError::from)?;
    }
    let subscription = if let Some(made) = made {
        made
    } else {
        let wanted = body::check(body, &state.targets, &transaction).await?;
        registry.check_organization_room(&transaction, &tenant, at.organization).await?;
        let subscription = subscription(registry, id, &at, wanted)?;
        subscriptions::create(&transaction, &subscription).await.map_err(RegistryError::from)?;
        subscription
    };
    transaction.commit().await.map_err(StoreError::from).map_err(RegistryError::from)?;
    state.put_ecg_in_force(&subscription).await?;
    tracing::info!(subscription.id = %id, organization = %at.organization, "subscribed on the ECG surface");
    let location = [(header::LOCATION, format!("/api/organizations/{}/webhook-subscriptions/{id}", at.organization))];
    Ok((StatusCode::CREATED, NO_STORE, location, Answer(shown(registry, subscription).await?)))
}

/// A new one, with a new secret, sealed.
fn subscription(
    registry: &Registry,
    id: SubscriptionId,
    at: &AtOrganization,
    wanted: Checked,
) -> Result<EcgSubscription, RegistryError> {
    let now = clock::now();
    let Checked { post_uri, version, is_development, events } = wanted;
    let secret =
        EcgSecret { id: EcgSecretId(clock::new_uuid()), secret: keys::ecg_secret(), valid_from: now, valid_to: None };
    let subscription = EcgSubscription {
        id,
        organization: at.organization,
        flags: Flags::new(post_uri.is_some(), now),
        post_uri,
        version,
        events,
        is_development,
        stamps: Stamps::new(at.caller, now),
        health: Health::Healthy,
        secrets: vec![secret],
        deleted: false,
        revision: 1,
    };
    Ok(registry.vault().sealed_ecg(subscription)?)
}

impl Registry {
    /// Checks that an organization has room for one more subscription, where those that it deleted lately take room as well:
    /// they stay in SQL and in every service's memory until nothing can name them. Whoever makes one at the same time waits until this
    /// transaction ends.
    ///
    /// # Errors
    /// [`RegistryError::OrganizationFull`].
    async fn check_organization_room(
        &self,
        transaction: &DatabaseTransaction,
        tenant: &Tenant,
        organization: Uuid,
    ) -> Result<(), RegistryError> {
        // It has no row of its own, but its key has one, which is there by now.
        data_keys::lock(transaction, tenant).await?;
        let limit = self.limits().subscriptions_per_organization;
        let there = subscriptions::count_of(transaction, organization, tombstones_kept_since()).await?;
        if there >= u64::from(limit) {
            return Err(RegistryError::OrganizationFull(limit));
        }
        Ok(())
    }
}
