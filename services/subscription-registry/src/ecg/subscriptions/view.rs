//! A subscription as answers show it.

use std::collections::HashMap;

use serde::Serialize;
use slipstream_core::config::{EcgSubscription, PayloadVersion};
use slipstream_core::ids::{EcgEventId, SubscriptionId};
use slipstream_service::ecg::{ActiveInfo, ArchiveInfo, AuditInfo, Event};
use slipstream_store::ecg::events;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::registry::{Registry, RegistryError};

/// A subscription of an organization.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = EcgSubscription)]
pub(in crate::ecg) struct Subscription {
    #[schema(inline)]
    id: SubscriptionId,
    #[schema(value_type = String, format = "uuid")]
    organization_id: Uuid,
    /// Where posts go.
    #[schema(required)]
    post_uri: Option<String>,
    /// How payloads are laid out.
    version: PayloadVersion,
    /// The current secret; left out where it is not for the caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    secret_key: Option<String>,
    /// The events that it is for.
    events: Vec<Event>,
    /// Whether it is for trying out.
    is_development: bool,
    audit_info: AuditInfo,
    active_info: ActiveInfo,
    archive_info: ArchiveInfo,
}

/// A subscription with its secret, for who may see that.
pub(super) async fn shown(registry: &Registry, subscription: EcgSubscription) -> Result<Subscription, RegistryError> {
    let mut views = views(registry, vec![subscription], true).await?;
    Ok(views.remove(0))
}

/// Subscriptions, in their order, with their current secrets if `with_secrets`.
pub(in crate::ecg) async fn views(
    registry: &Registry,
    subscriptions: Vec<EcgSubscription>,
    with_secrets: bool,
) -> Result<Vec<Subscription>, RegistryError> {
    let mut ids: Vec<EcgEventId> = subscriptions.iter().flat_map(|it| it.events.iter().copied()).collect();
    ids.sort_unstable();
    ids.dedup();
    let known = events::with_ids(registry.store().connection(), &ids).await?;
    let known: HashMap<_, _> = known.into_iter().map(|event| (event.id, event)).collect();
    if with_secrets {
        // Another replica may have made it a moment ago.
        for tenant in subscriptions.iter().map(EcgSubscription::tenant) {
            registry.ensure_key(&tenant).await?;
        }
    }
    let view = |it: EcgSubscription| {
        // None where it has been deleted just now.
        let secret = it.secret().filter(|_| with_secrets);
        let secret_key = secret.map(|secret| registry.opened_ecg_secret(it.id, secret)).transpose()?;
        Ok(Subscription {
            id: it.id,
            organization_id: it.organization,
            version: it.version,
            secret_key,
            events: it.events.iter().filter_map(|id| known.get(id)).map(Event::from).collect(),
            is_development: it.is_development,
            audit_info: (&it.stamps).into(),
            active_info: (&it.flags).into(),
            archive_info: (&it.flags).into(),
            post_uri: it.post_uri,
        })
    };
    subscriptions.into_iter().map(view).collect()
}
