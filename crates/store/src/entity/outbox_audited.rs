//! Table `outbox_audited`.

use sea_orm::entity::prelude::*;
use slipstream_core::contract::Audited;

use super::{Row, to_json};
use crate::error::StoreError;

#[derive(Clone, Debug, DeriveEntityModel)]
#[sea_orm(table_name = "outbox_audited")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: String,
    /// The message: JSON of [`Audited`].
    pub(crate) body: String,
    pub(crate) at_ms: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl From<&Audited> for Model {
    fn from(record: &Audited) -> Self {
        Self { id: record.id.to_string(), body: to_json(record), at_ms: record.at.as_millis() }
    }
}

impl TryFrom<Model> for Audited {
    type Error = StoreError;

    fn try_from(model: Model) -> Result<Self, StoreError> {
        Row { table: "outbox_audited", key: &model.id }.json("body", &model.body)
    }
}
