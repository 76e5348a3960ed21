//! Table `handshakes`. Holds the hashes of keys, never a key.

use sea_orm::entity::prelude::*;
use slipstream_core::timestamp::Timestamp;

use super::Row;
use crate::error::StoreError;
use crate::handshakes::Handshake;

#[derive(Clone, Debug, DeriveEntityModel)]
#[sea_orm(table_name = "handshakes")]
pub(crate) struct Model {
    /// SHA-256 of the callback's key, in hex.
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) key_hash: String,
    pub(crate) subscription: String,
    pub(crate) uri: String,
    pub(crate) origin: String,
    pub(crate) rate_per_minute: Option<i64>,
    pub(crate) expires_at_ms: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl From<&Handshake> for Model {
    fn from(handshake: &Handshake) -> Self {
        Self {
            key_hash: handshake.key_hash.to_hex(),
            subscription: handshake.subscription.to_string(),
            uri: handshake.uri.clone(),
            origin: handshake.origin.clone(),
            rate_per_minute: handshake.rate_per_minute.map(i64::from),
            expires_at_ms: handshake.expires_at.as_millis(),
        }
    }
}

impl TryFrom<Model> for Handshake {
    type Error = StoreError;

    fn try_from(model: Model) -> Result<Self, StoreError> {
        // Not the hash: an error's text goes to the log.
        let row = Row { table: "handshakes", key: &model.subscription };
        let rate = model.rate_per_minute.map(u32::try_from).transpose();
        Ok(Self {
            key_hash: row.parse("key_hash", &model.key_hash)?,
            subscription: row.parse("subscription", &model.subscription)?,
            rate_per_minute: rate.map_err(|error| row.corrupt("rate_per_minute", error))?,
            expires_at: Timestamp::from_millis(model.expires_at_ms),
            uri: model.uri,
            origin: model.origin,
        })
    }
}
