//! Table `ecg_subscriptions`. Rows of deleted ones stay.

use sea_orm::entity::prelude::*;
use slipstream_core::config::{EcgSecret, EcgSubscription, Flags, Health, PayloadVersion, Stamps};
use slipstream_core::ids::EcgEventId;
use slipstream_core::timestamp::Timestamp;

use super::Row;
use crate::error::StoreError;

#[derive(Clone, Debug, DeriveEntityModel)]
#[sea_orm(table_name = "ecg_subscriptions")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: String,
    pub(crate) organization: String,
    pub(crate) post_uri: Option<String>,
    /// `v1` or `v2`.
    pub(crate) version: String,
    pub(crate) is_development: bool,
    pub(crate) active: bool,
    pub(crate) active_changed_at_ms: i64,
    pub(crate) archived: bool,
    pub(crate) archived_changed_at_ms: i64,
    /// When it was last switched on or got another target; what was seen of its endpoint before has no say.
    pub(crate) enabled_at_ms: i64,
    /// The revision that did so; what was found by an earlier one has no say.
    pub(crate) target_revision: i64,
    /// Since when it has been degraded, if it is.
    pub(crate) degraded_since_ms: Option<i64>,
    /// When its health was last told or reset; what was seen before has no say.
    pub(crate) health_at_ms: i64,
    pub(crate) created_at_ms: i64,
    pub(crate) created_by: String,
    pub(crate) updated_at_ms: i64,
    pub(crate) updated_by: String,
    pub(crate) deleted_at_ms: Option<i64>,
    pub(crate) revision: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    /// The row of a subscription that takes deliveries, if it does, from its last change on.
    pub(crate) fn new(it: &EcgSubscription) -> Self {
        let updated_at_ms = it.stamps.updated_at.as_millis();
        Self {
            id: it.id.to_string(),
            organization: it.organization.to_string(),
            post_uri: it.post_uri.clone(),
            version: it.version.as_str().to_owned(),
            is_development: it.is_development,
            active: it.flags.active,
            active_changed_at_ms: it.flags.active_changed_at.as_millis(),
            archived: it.flags.archived,
            archived_changed_at_ms: it.flags.archived_changed_at.as_millis(),
            enabled_at_ms: updated_at_ms,
            target_revision: it.revision,
            degraded_since_ms: match it.health {
                Health::Healthy => None,
                Health::Degraded(since) => Some(since.as_millis()),
            },
            health_at_ms: updated_at_ms,
            created_at_ms: it.stamps.created_at.as_millis(),
            created_by: it.stamps.created_by.to_string(),
            updated_at_ms,
            updated_by: it.stamps.updated_by.to_string(),
            deleted_at_ms: it.deleted.then_some(updated_at_ms),
            revision: it.revision,
        }
    }

    /// The subscription of this row, with its events and its secrets, the newest of these first.
    pub(crate) fn with(self, events: Vec<EcgEventId>, secrets: Vec<EcgSecret>) -> Result<EcgSubscription, StoreError> {
        let row = Row { table: "ecg_subscriptions", key: &self.id };
        Ok(EcgSubscription {
            id: row.parse("id", &self.id)?,
            organization: row.parse("organization", &self.organization)?,
            version: row.name("version", PayloadVersion::from_name(&self.version))?,
            flags: Flags {
                active: self.active,
                active_changed_at: Timestamp::from_millis(self.active_changed_at_ms),
                archived: self.archived,
                archived_changed_at: Timestamp::from_millis(self.archived_changed_at_ms),
            },
            stamps: Stamps {
                created_at: Timestamp::from_millis(self.created_at_ms),
                created_by: row.parse("created_by", &self.created_by)?,
                updated_at: Timestamp::from_millis(self.updated_at_ms),
                updated_by: row.parse("updated_by", &self.updated_by)?,
            },
            health: match self.degraded_since_ms {
                None => Health::Healthy,
                Some(since) => Health::Degraded(Timestamp::from_millis(since)),
            },
            post_uri: self.post_uri,
            is_development: self.is_development,
            events,
            secrets,
            deleted: self.deleted_at_ms.is_some(),
            revision: self.revision,
        })
    }
}
