//! Table `outbox_posts`.

use sea_orm::entity::prelude::*;
use slipstream_core::contract::EcgPosted;

use super::{Row, to_json};
use crate::error::StoreError;

#[derive(Clone, Debug, DeriveEntityModel)]
#[sea_orm(table_name = "outbox_posts")]
pub(crate) struct Model {
    /// Its delivery's.
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: String,
    pub(crate) subscription: String,
    /// The message: JSON of [`EcgPosted`].
    pub(crate) body: String,
    pub(crate) at_ms: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    pub(crate) fn new(posted: &EcgPosted, subscription: String) -> Self {
        Self {
            id: posted.delivery.to_string(),
            subscription,
            body: to_json(posted),
            at_ms: posted.post.created_at.as_millis(),
        }
    }

    /// The post, and to which subscription.
    pub(crate) fn read(&self) -> Result<crate::outbox::posts::Noted, StoreError> {
        let row = Row { table: "outbox_posts", key: &self.id };
        Ok(crate::outbox::posts::Noted {
            subscription: row.parse("subscription", &self.subscription)?,
            posted: row.json("body", &self.body)?,
        })
    }
}
