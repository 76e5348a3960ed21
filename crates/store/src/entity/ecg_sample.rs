//! Table `ecg_samples`.

use sea_orm::entity::prelude::*;
use serde_json::value::RawValue;
use slipstream_core::config::Stamps;
use slipstream_core::timestamp::Timestamp;

use super::Row;
use crate::ecg::samples::Sample;
use crate::error::StoreError;

#[derive(Clone, Debug, DeriveEntityModel)]
#[sea_orm(table_name = "ecg_samples")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: String,
    pub(crate) event: String,
    pub(crate) version: String,
    /// JSON object.
    pub(crate) payload: String,
    pub(crate) created_at_ms: i64,
    pub(crate) created_by: String,
    pub(crate) updated_at_ms: i64,
    pub(crate) updated_by: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl From<&Sample> for Model {
    fn from(it: &Sample) -> Self {
        Self {
            id: it.id.to_string(),
            event: it.event.to_string(),
            version: it.version.clone(),
            payload: it.payload.get().to_owned(),
            created_at_ms: it.stamps.created_at.as_millis(),
            created_by: it.stamps.created_by.to_string(),
            updated_at_ms: it.stamps.updated_at.as_millis(),
            updated_by: it.stamps.updated_by.to_string(),
        }
    }
}

impl TryFrom<Model> for Sample {
    type Error = StoreError;

    fn try_from(model: Model) -> Result<Self, StoreError> {
        let row = Row { table: "ecg_samples", key: &model.id };
        Ok(Self {
            id: row.parse("id", &model.id)?,
            event: row.parse("event", &model.event)?,
            payload: RawValue::from_string(model.payload).map_err(|error| row.corrupt("payload", error))?,
            stamps: Stamps {
                created_at: Timestamp::from_millis(model.created_at_ms),
                created_by: row.parse("created_by", &model.created_by)?,
                updated_at: Timestamp::from_millis(model.updated_at_ms),
                updated_by: row.parse("updated_by", &model.updated_by)?,
            },
            version: model.version,
        })
    }
}
