//! Receivers that were asked for their consent and may still give it by callback (SPEC 3.7).
//!
//! The callback's URL holds a key, of which only the hash is kept. A key serves once, for the URI it was sent to, and
//! until its time. What a receiver is asked about may stand beside its subscription until it agrees ([`wishes`]); which
//! questions have no answer yet is kept, too ([`unanswered`]), so that they can be asked again.

pub mod unanswered;
pub mod wishes;

use sea_orm::{ColumnTrait as _, ConnectionTrait, EntityTrait as _, IntoActiveModel as _};
use sea_orm::{QueryFilter as _, QueryOrder as _};
use slipstream_core::config::KeyHash;
use slipstream_core::ids::SubscriptionId;
use slipstream_core::timestamp::Timestamp;

use crate::entity::handshake::{Column, Entity, Model};
use crate::error::StoreError;

/// Keys that a subscription may have outstanding: one for its present URI, some of earlier ones, whose bearers are told
/// that it has moved on, and those of questions that are being asked.
pub const PER_SUBSCRIPTION_MAX: usize = 8;

/// A question that was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    /// What is kept of the callback's key.
    pub key_hash: KeyHash,
    /// For which subscription.
    pub subscription: SubscriptionId,
    /// Where it was asked.
    pub uri: String,
    /// In whose name.
    pub origin: String,
    /// The requests per minute it was asked for; none if for no certain number.
    pub rate_per_minute: Option<u32>,
    /// Until when the key serves.
    pub expires_at: Timestamp,
}

/// Keeps `handshake`; the oldest of its subscription beyond [`PER_SUBSCRIPTION_MAX`] go. To be called in a transaction.
///
/// # Errors
/// [`StoreError::Conflict`] when the subscription does not exist.
pub async fn put(connection: &impl ConnectionTrait, handshake: &Handshake) -> Result<(), StoreError> {
    let newest_first = Entity::find()
        .filter(Column::Subscription.eq(handshake.subscription.to_string()))
        .order_by_desc(Column::ExpiresAtMs)
        .order_by_asc(Column::KeyHash);
    let surplus: Vec<String> = newest_first
        .all(connection)
        .await?
        .into_iter()
        .skip(PER_SUBSCRIPTION_MAX - 1)
        .map(|row| row.key_hash)
        .collect();
    if !surplus.is_empty() {
        Entity::delete_many().filter(Column::KeyHash.is_in(surplus)).exec(connection).await?;
    }
    Entity::insert(Model::from(handshake).into_active_model()).exec_without_returning(connection).await?;
    Ok(())
}

/// Makes `handshake` the only one of its subscription and URI: the receiver has its key, having answered.
pub async fn supersede(connection: &impl ConnectionTrait, handshake: &Handshake) -> Result<(), StoreError> {
    Entity::delete_many()
        .filter(Column::Subscription.eq(handshake.subscription.to_string()))
        .filter(Column::Uri.eq(handshake.uri.as_str()))
        .filter(Column::KeyHash.ne(handshake.key_hash.to_hex()))
        .exec(connection)
        .await?;
    Ok(())
}

/// The question that a key belongs to, without using the key up.
pub async fn find(
    connection: &impl ConnectionTrait,
    key_hash: KeyHash,
    now: Timestamp,
) -> Result<Option<Handshake>, StoreError> {
    let in_time = Column::ExpiresAtMs.gt(now.as_millis());
    let row = Entity::find_by_id(key_hash.to_hex()).filter(in_time).one(connection).await?;
    row.map(Handshake::try_from).transpose()
}

/// Uses a key up: the question it belongs to, once and not at or after its end.
pub async fn take(
    connection: &impl ConnectionTrait,
    key_hash: KeyHash,
    now: Timestamp,
) -> Result<Option<Handshake>, StoreError> {
    let taken = Entity::delete_many()
        .filter(Column::KeyHash.eq(key_hash.to_hex()))
        .filter(Column::ExpiresAtMs.gt(now.as_millis()))
        .exec_with_returning(connection)
        .await?;
    taken.into_iter().next().map(Handshake::try_from).transpose()
}

/// Forgets what a subscription's receiver at `uri` was asked: it has answered.
pub async fn remove(
    connection: &impl ConnectionTrait,
    subscription: SubscriptionId,
    uri: &str,
) -> Result<(), StoreError> {
    Entity::delete_many()
        .filter(Column::Subscription.eq(subscription.to_string()))
        .filter(Column::Uri.eq(uri))
        .exec(connection)
        .await?;
    Ok(())
}

/// Forgets every question whose time is over at `now`; says how many there were.
pub async fn remove_expired(connection: &impl ConnectionTrait, now: Timestamp) -> Result<u64, StoreError> {
    let expired = Column::ExpiresAtMs.lte(now.as_millis());
    Ok(Entity::delete_many().filter(expired).exec(connection).await?.rows_affected)
}
