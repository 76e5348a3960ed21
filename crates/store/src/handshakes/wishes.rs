//! What a subscription is to become when its receiver agrees (SPEC 3.7).
//!
//! Asking takes time, and the answer may be no. Until it is yes, what stands goes on as it is, and what was asked for
//! stands here, beside it: the newest wish only, and until its time.

use sea_orm::sea_query::OnConflict;
use sea_orm::{ColumnTrait as _, ConnectionTrait, DatabaseTransaction, EntityTrait as _, IntoActiveModel as _};
use sea_orm::{QueryFilter as _, QuerySelect as _};
use slipstream_core::config::SubscriptionHeader;
use slipstream_core::ids::SubscriptionId;
use slipstream_core::timestamp::Timestamp;

use crate::entity::wish::{Column, Entity, Model};
use crate::error::StoreError;

/// What takes the place of a subscription's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Of which subscription.
    pub subscription: SubscriptionId,
    /// Where its deliveries are to go; whose receiver has to agree.
    pub uri: String,
    /// The headers to send with each delivery.
    pub headers: Vec<SubscriptionHeader>,
    /// The types that are wanted; none means all.
    pub event_types: Vec<String>,
    /// Until when an agreement brings it about.
    pub expires_at: Timestamp,
}

/// Keeps `wish` in place of the one that its subscription had.
///
/// # Errors
/// [`StoreError::Conflict`] when the subscription does not exist; [`StoreError::NotSealed`] when a header is not sealed.
pub async fn put(connection: &impl ConnectionTrait, wish: &Wish) -> Result<(), StoreError> {
    let replace = OnConflict::column(Column::Subscription)
        .update_columns([Column::Uri, Column::Headers, Column::EventTypes, Column::ExpiresAtMs])
        .to_owned();
    let row = Model::try_from(wish)?.into_active_model();
    Entity::insert(row).on_conflict(replace).exec_without_returning(connection).await?;
    Ok(())
}

/// What the subscription is to become, if that is open at `now`.
pub async fn find(
    connection: &impl ConnectionTrait,
    subscription: SubscriptionId,
    now: Timestamp,
) -> Result<Option<Wish>, StoreError> {
    let in_time = Column::ExpiresAtMs.gt(now.as_millis());
    let row = Entity::find_by_id(subscription.to_string()).filter(in_time).one(connection).await?;
    row.map(Wish::try_from).transpose()
}

/// Every wish, whether or not its time is over.
pub async fn all(connection: &impl ConnectionTrait) -> Result<Vec<Wish>, StoreError> {
    Entity::find().all(connection).await?.into_iter().map(Wish::try_from).collect()
}

/// The wish of a subscription, to be changed in this transaction: nobody else changes it until that ends.
pub async fn lock(transaction: &DatabaseTransaction, subscription: SubscriptionId) -> Result<Option<Wish>, StoreError> {
    let row = Entity::find_by_id(subscription.to_string()).lock_exclusive().one(transaction).await?;
    row.map(Wish::try_from).transpose()
}

/// Forgets what the subscription was to become: it is that by now, or is to stay as it is.
pub async fn remove(connection: &impl ConnectionTrait, subscription: SubscriptionId) -> Result<(), StoreError> {
    Entity::delete_by_id(subscription.to_string()).exec(connection).await?;
    Ok(())
}

/// Forgets every wish whose time is over at `now`; says how many there were.
pub async fn remove_expired(connection: &impl ConnectionTrait, now: Timestamp) -> Result<u64, StoreError> {
    let expired = Column::ExpiresAtMs.lte(now.as_millis());
    Ok(Entity::delete_many().filter(expired).exec(connection).await?.rows_affected)
}
