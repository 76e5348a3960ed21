//! Table `outbox`.

use sea_orm::entity::prelude::*;
use slipstream_core::timestamp::Timestamp;

use super::Row;
use crate::error::StoreError;
use crate::outbox::Entry;

#[derive(Clone, Debug, DeriveEntityModel)]
#[sea_orm(table_name = "outbox")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) key: String,
    pub(crate) site: String,
    pub(crate) r#type: String,
    /// The event's forwarded form: JSON.
    pub(crate) body: String,
    pub(crate) at_ms: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl From<&Entry> for Model {
    fn from(entry: &Entry) -> Self {
        Self {
            key: entry.key.to_string(),
            site: entry.site.to_string(),
            r#type: entry.event_type.clone(),
            body: entry.body.clone(),
            at_ms: entry.at.as_millis(),
        }
    }
}

impl TryFrom<Model> for Entry {
    type Error = StoreError;

    fn try_from(model: Model) -> Result<Self, StoreError> {
        let row = Row { table: "outbox", key: &model.key };
        Ok(Self {
            key: row.parse("key", &model.key)?,
            site: row.parse("site", &model.site)?,
            event_type: model.r#type,
            body: model.body,
            at: Timestamp::from_millis(model.at_ms),
        })
    }
}
