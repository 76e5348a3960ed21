//! A subscription as it is shown beside an activity: as it is now, also when it was deleted, and without its secret.

use serde::Serialize;
use slipstream_core::config::PayloadVersion;
use slipstream_core::ids::{EcgEventId, SubscriptionId};
use slipstream_service::directory::EcgIndex;
use slipstream_service::ecg::{ActiveInfo, ArchiveInfo, AuditInfo, Event};
use utoipa::ToSchema;
use uuid::Uuid;

/// A subscription, without its secret.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ActivitySubscription)]
pub(in crate::ecg) struct SubscriptionView {
    #[schema(inline)]
    id: SubscriptionId,
    #[schema(value_type = String, format = "uuid")]
    organization_id: Uuid,
    #[schema(required)]
    post_uri: Option<String>,
    version: PayloadVersion,
    events: Vec<Event>,
    is_development: bool,
    audit_info: AuditInfo,
    active_info: ActiveInfo,
    archive_info: ArchiveInfo,
}

/// The subscription with this id; none if it is not known here.
pub(super) fn subscription(index: &EcgIndex, id: SubscriptionId) -> Option<SubscriptionView> {
    let subscription = index.subscription(id)?;
    let events = subscription.events.iter().filter_map(|id| index.event(*id));
    Some(SubscriptionView {
        id: subscription.id,
        organization_id: subscription.organization,
        post_uri: subscription.post_uri.clone(),
        version: subscription.version,
        events: events.map(|event| Event::from(&**event)).collect(),
        is_development: subscription.is_development,
        audit_info: (&subscription.stamps).into(),
        active_info: (&subscription.flags).into(),
        archive_info: (&subscription.flags).into(),
    })
}

/// The event with this id and its category; none if it is not known here.
pub(super) fn event(index: &EcgIndex, id: EcgEventId) -> Option<Event> {
    let event = index.event(id)?;
    Some(index.category(event.category).map_or_else(|| event.as_ref().into(), |it| Event::of_category(event, it)))
}
