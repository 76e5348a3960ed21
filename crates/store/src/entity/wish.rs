//! Table `wishes`. Rows hold secrets (header values), sealed, as in `subscriptions`; the model does not print.

use std::fmt;

use sea_orm::entity::prelude::*;
use slipstream_core::config::SubscriptionHeader;
use slipstream_core::timestamp::Timestamp;

use super::{Row, to_json, to_sealed_json};
use crate::error::StoreError;
use crate::handshakes::wishes::Wish;

#[derive(Clone, DeriveEntityModel)]
#[sea_orm(table_name = "wishes")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) subscription: String,
    pub(crate) uri: String,
    /// JSON list of [`SubscriptionHeader`].
    pub(crate) headers: String,
    /// JSON list of event types.
    pub(crate) event_types: String,
    pub(crate) expires_at_ms: i64,
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model").field("subscription", &self.subscription).finish_non_exhaustive()
    }
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl TryFrom<&Wish> for Model {
    type Error = StoreError;

    fn try_from(wish: &Wish) -> Result<Self, StoreError> {
        Ok(Self {
            subscription: wish.subscription.to_string(),
            uri: wish.uri.clone(),
            headers: to_sealed_json(&wish.headers)?,
            event_types: to_json(&wish.event_types),
            expires_at_ms: wish.expires_at.as_millis(),
        })
    }
}

impl TryFrom<Model> for Wish {
    type Error = StoreError;

    fn try_from(model: Model) -> Result<Self, StoreError> {
        let row = Row { table: "wishes", key: &model.subscription };
        Ok(Self {
            subscription: row.parse("subscription", &model.subscription)?,
            headers: row.json::<Vec<SubscriptionHeader>>("headers", &model.headers)?,
            event_types: row.json::<Vec<String>>("event_types", &model.event_types)?,
            expires_at: Timestamp::from_millis(model.expires_at_ms),
            uri: model.uri,
        })
    }
}
