//! Table `ecg_categories`. Rows of deleted ones stay.

use sea_orm::entity::prelude::*;
use slipstream_core::config::{EcgCategory, Flags, Stamps};
use slipstream_core::timestamp::Timestamp;

use super::Row;
use crate::error::StoreError;

#[derive(Clone, Debug, DeriveEntityModel)]
#[sea_orm(table_name = "ecg_categories")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) code: String,
    /// The code in lower case: unique among those that are not deleted.
    pub(crate) code_lower: String,
    pub(crate) description: Option<String>,
    pub(crate) active: bool,
    pub(crate) active_changed_at_ms: i64,
    pub(crate) archived: bool,
    pub(crate) archived_changed_at_ms: i64,
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

impl From<&EcgCategory> for Model {
    fn from(it: &EcgCategory) -> Self {
        Self {
            id: it.id.to_string(),
            name: it.name.clone(),
            code: it.code.clone(),
            code_lower: it.code.to_ascii_lowercase(),
            description: it.description.clone(),
            active: it.flags.active,
            active_changed_at_ms: it.flags.active_changed_at.as_millis(),
            archived: it.flags.archived,
            archived_changed_at_ms: it.flags.archived_changed_at.as_millis(),
            created_at_ms: it.stamps.created_at.as_millis(),
            created_by: it.stamps.created_by.to_string(),
            updated_at_ms: it.stamps.updated_at.as_millis(),
            updated_by: it.stamps.updated_by.to_string(),
            deleted_at_ms: it.deleted.then(|| it.stamps.updated_at.as_millis()),
            revision: it.revision,
        }
    }
}

impl TryFrom<Model> for EcgCategory {
    type Error = StoreError;

    fn try_from(model: Model) -> Result<Self, StoreError> {
        let row = Row { table: "ecg_categories", key: &model.id };
        Ok(Self {
            id: row.parse("id", &model.id)?,
            flags: Flags {
                active: model.active,
                active_changed_at: Timestamp::from_millis(model.active_changed_at_ms),
                archived: model.archived,
                archived_changed_at: Timestamp::from_millis(model.archived_changed_at_ms),
            },
            stamps: Stamps {
                created_at: Timestamp::from_millis(model.created_at_ms),
                created_by: row.parse("created_by", &model.created_by)?,
                updated_at: Timestamp::from_millis(model.updated_at_ms),
                updated_by: row.parse("updated_by", &model.updated_by)?,
            },
            name: model.name,
            code: model.code,
            description: model.description,
            deleted: model.deleted_at_ms.is_some(),
            revision: model.revision,
        })
    }
}
