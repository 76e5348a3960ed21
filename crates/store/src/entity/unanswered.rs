//! Table `unanswered`.

use sea_orm::entity::prelude::*;
use slipstream_core::timestamp::Timestamp;

use super::Row;
use crate::error::StoreError;
use crate::handshakes::unanswered::Unanswered;

#[derive(Clone, Debug, DeriveEntityModel)]
#[sea_orm(table_name = "unanswered")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) subscription: String,
    pub(crate) uri: String,
    pub(crate) asked_at_ms: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl From<&Unanswered> for Model {
    fn from(unanswered: &Unanswered) -> Self {
        Self {
            subscription: unanswered.subscription.to_string(),
            uri: unanswered.uri.clone(),
            asked_at_ms: unanswered.asked_at.as_millis(),
        }
    }
}

impl TryFrom<Model> for Unanswered {
    type Error = StoreError;

    fn try_from(model: Model) -> Result<Self, StoreError> {
        let row = Row { table: "unanswered", key: &model.subscription };
        Ok(Self {
            subscription: row.parse("subscription", &model.subscription)?,
            asked_at: Timestamp::from_millis(model.asked_at_ms),
            uri: model.uri,
        })
    }
}
