//! Table `organisations`.

use sea_orm::entity::prelude::*;
use slipstream_core::config::Organisation;

use super::Row;
use crate::error::StoreError;

#[derive(Clone, Debug, DeriveEntityModel)]
#[sea_orm(table_name = "organisations")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) slug: String,
    pub(crate) name: String,
    pub(crate) revision: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl TryFrom<Model> for Organisation {
    type Error = StoreError;

    fn try_from(model: Model) -> Result<Self, StoreError> {
        let row = Row { table: "organisations", key: &model.slug };
        Ok(Self { slug: row.parse("slug", &model.slug)?, name: model.name, revision: model.revision })
    }
}
