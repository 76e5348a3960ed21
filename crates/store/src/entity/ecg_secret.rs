//! Table `ecg_secrets`: what was and is good for a time, sealed.

use std::fmt;

use sea_orm::entity::prelude::*;
use slipstream_core::config::{EcgSecret, Stamps};
use slipstream_core::sealing::Sealed;
use slipstream_core::timestamp::Timestamp;

use super::Row;
use crate::ecg::secrets::Kept;
use crate::error::StoreError;

#[derive(Clone, DeriveEntityModel)]
#[sea_orm(table_name = "ecg_secrets")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: String,
    pub(crate) subscription: String,
    /// In its sealed form.
    pub(crate) secret: String,
    pub(crate) valid_from_ms: i64,
    /// None of the current one.
    pub(crate) valid_to_ms: Option<i64>,
    pub(crate) created_at_ms: i64,
    pub(crate) created_by: String,
    pub(crate) updated_at_ms: i64,
    pub(crate) updated_by: String,
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model").field("id", &self.id).finish_non_exhaustive()
    }
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    /// # Errors
    /// [`StoreError::NotSealed`] if the secret is not sealed.
    pub(crate) fn new(kept: &Kept) -> Result<Self, StoreError> {
        let Kept { subscription, secret, stamps } = kept;
        // Writing it is what fails while it is open.
        let sealed = serde_json::to_value(&secret.secret).map_err(StoreError::NotSealed)?;
        Ok(Self {
            id: secret.id.to_string(),
            subscription: subscription.to_string(),
            secret: sealed.as_str().expect("a sealed secret is written as a text").to_owned(),
            valid_from_ms: secret.valid_from.as_millis(),
            valid_to_ms: secret.valid_to.map(Timestamp::as_millis),
            created_at_ms: stamps.created_at.as_millis(),
            created_by: stamps.created_by.to_string(),
            updated_at_ms: stamps.updated_at.as_millis(),
            updated_by: stamps.updated_by.to_string(),
        })
    }
}

impl TryFrom<Model> for Kept {
    type Error = StoreError;

    fn try_from(model: Model) -> Result<Self, StoreError> {
        let row = Row { table: "ecg_secrets", key: &model.id };
        Ok(Self {
            subscription: row.parse("subscription", &model.subscription)?,
            secret: EcgSecret {
                id: row.parse("id", &model.id)?,
                // Nobody ever wrote one in clear here.
                secret: row.parse::<Sealed>("secret", &model.secret)?.into(),
                valid_from: Timestamp::from_millis(model.valid_from_ms),
                valid_to: model.valid_to_ms.map(Timestamp::from_millis),
            },
            stamps: Stamps {
                created_at: Timestamp::from_millis(model.created_at_ms),
                created_by: row.parse("created_by", &model.created_by)?,
                updated_at: Timestamp::from_millis(model.updated_at_ms),
                updated_by: row.parse("updated_by", &model.updated_by)?,
            },
        })
    }
}
