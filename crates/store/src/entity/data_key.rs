//! Table `data_keys`. Holds keys that the master key has wrapped, never an open one.

use sea_orm::entity::prelude::*;
use slipstream_core::config::WrappedKey;
use slipstream_core::timestamp::Timestamp;

use super::Row;
use crate::error::StoreError;

#[derive(Clone, Debug, DeriveEntityModel)]
#[sea_orm(table_name = "data_keys")]
pub(crate) struct Model {
    /// As it is named in what is sealed under it.
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: String,
    pub(crate) tenant: String,
    pub(crate) wrapped: String,
    /// The master key that wrapped it, which `wrapped` names too: for people.
    pub(crate) master_id: String,
    pub(crate) created_at_ms: i64,
    pub(crate) revision: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl From<&WrappedKey> for Model {
    fn from(key: &WrappedKey) -> Self {
        Self {
            id: key.id.to_string(),
            tenant: key.tenant.to_string(),
            wrapped: key.wrapped.to_string(),
            master_id: key.wrapped.key().to_string(),
            created_at_ms: key.created_at.as_millis(),
            revision: key.revision,
        }
    }
}

impl TryFrom<Model> for WrappedKey {
    type Error = StoreError;

    fn try_from(model: Model) -> Result<Self, StoreError> {
        let row = Row { table: "data_keys", key: &model.id };
        Ok(Self {
            id: row.parse("id", &model.id)?,
            tenant: row.parse("tenant", &model.tenant)?,
            wrapped: row.parse("wrapped", &model.wrapped)?,
            created_at: Timestamp::from_millis(model.created_at_ms),
            revision: model.revision,
        })
    }
}
