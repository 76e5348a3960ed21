//! Table `sites`.

use sea_orm::entity::prelude::*;
use slipstream_core::config::{Product, Site};

use super::Row;
use crate::error::StoreError;

#[derive(Clone, Debug, DeriveEntityModel)]
#[sea_orm(table_name = "sites")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) slug: String,
    pub(crate) name: String,
    pub(crate) organisation: String,
    pub(crate) billing_organisation: String,
    pub(crate) product: String,
    pub(crate) pms_specific_id: Option<String>,
    /// A UUID.
    pub(crate) ecg_organization: Option<String>,
    pub(crate) revision: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl TryFrom<Model> for Site {
    type Error = StoreError;

    fn try_from(model: Model) -> Result<Self, StoreError> {
        let row = Row { table: "sites", key: &model.slug };
        Ok(Self {
            slug: row.parse("slug", &model.slug)?,
            organisation: row.parse("organisation", &model.organisation)?,
            billing_organisation: row.parse("billing_organisation", &model.billing_organisation)?,
            product: row.name("product", Product::from_name(&model.product))?,
            ecg_organization: match &model.ecg_organization {
                Some(id) => Some(row.parse("ecg_organization", id)?),
                None => None,
            },
            name: model.name,
            pms_specific_id: model.pms_specific_id,
            revision: model.revision,
        })
    }
}
