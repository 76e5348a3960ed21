//! Table `ecg_seeds`.

use sea_orm::entity::prelude::*;
use slipstream_core::timestamp::Timestamp;

use crate::ecg::seeds::Seed;

#[derive(Clone, Debug, DeriveEntityModel)]
#[sea_orm(table_name = "ecg_seeds")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) version: String,
    pub(crate) description: String,
    pub(crate) applied_at_ms: i64,
    pub(crate) checksum: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl From<&Seed> for Model {
    fn from(it: &Seed) -> Self {
        Self {
            version: it.version.clone(),
            description: it.description.clone(),
            applied_at_ms: it.applied_at.as_millis(),
            checksum: it.checksum.clone(),
        }
    }
}

impl From<Model> for Seed {
    fn from(model: Model) -> Self {
        Self {
            version: model.version,
            description: model.description,
            applied_at: Timestamp::from_millis(model.applied_at_ms),
            checksum: model.checksum,
        }
    }
}
