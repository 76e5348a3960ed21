//! Categories and events, as answers show them (SPEC 6.4).

use serde::Serialize;
use slipstream_core::config::{EcgCategory, EcgEvent};
use slipstream_core::ids::{EcgCategoryId, EcgEventId};
use utoipa::ToSchema;

use super::{ActiveInfo, ArchiveInfo, AuditInfo};

/// A category of events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = WebhookCategory)]
pub struct Category {
    /// Its id.
    #[schema(inline)]
    pub id: EcgCategoryId,
    /// Its name, for people.
    pub name: String,
    /// What it is, for people.
    #[schema(required)]
    pub description: Option<String>,
    /// Its code; unique without case.
    pub code: String,
    /// Whether it is put away.
    pub archive_info: ArchiveInfo,
    /// Who and when.
    pub audit_info: AuditInfo,
    /// Whether it is switched on.
    pub active_info: ActiveInfo,
}

impl From<&EcgCategory> for Category {
    fn from(it: &EcgCategory) -> Self {
        Self {
            id: it.id,
            name: it.name.clone(),
            description: it.description.clone(),
            code: it.code.clone(),
            archive_info: (&it.flags).into(),
            audit_info: (&it.stamps).into(),
            active_info: (&it.flags).into(),
        }
    }
}

/// A kind of event that can be subscribed to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = WebhookEvent)]
pub struct Event {
    /// Its id.
    #[schema(inline)]
    pub id: EcgEventId,
    /// Its name, for people.
    pub name: String,
    /// What it is, for people.
    #[schema(required)]
    pub description: Option<String>,
    /// The version of what it means; not that of a payload.
    pub version: String,
    /// Its code; unique together with the version, without case.
    pub code: String,
    /// Whether it is put away.
    pub archive_info: ArchiveInfo,
    /// Who and when.
    pub audit_info: AuditInfo,
    /// Whether it is switched on.
    pub active_info: ActiveInfo,
    /// Its category, where it is not nested in something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub webhook_category: Option<Category>,
}

impl Event {
    /// The event with its category.
    pub fn of_category(event: &EcgEvent, category: &EcgCategory) -> Self {
        Self { webhook_category: Some(category.into()), ..event.into() }
    }
}

/// The event without its category, as it is nested in subscriptions (SPEC 6.5).
impl From<&EcgEvent> for Event {
    fn from(it: &EcgEvent) -> Self {
        Self {
            id: it.id,
            name: it.name.clone(),
            description: it.description.clone(),
            version: it.version.clone(),
            code: it.code.clone(),
            archive_info: (&it.flags).into(),
            audit_info: (&it.stamps).into(),
            active_info: (&it.flags).into(),
            webhook_category: None,
        }
    }
}
