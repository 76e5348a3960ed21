//! ECG posts that are still to be published: noted in the transaction of the change that they tell of. As with events,
//! publishing one twice is harmless, since its delivery is the same.

use sea_orm::sea_query::OnConflict;
use sea_orm::{ColumnTrait as _, ConnectionTrait, EntityTrait as _, IntoActiveModel as _};
use sea_orm::{QueryFilter as _, QueryOrder as _, QuerySelect as _};
use slipstream_core::contract::EcgPosted;
use slipstream_core::ids::{DeliveryId, SubscriptionId};

use crate::entity::outbox_post::{Column, Entity, Model};
use crate::error::StoreError;

/// One post.
#[derive(Debug, Clone)]
pub struct Noted {
    /// To which subscription.
    pub subscription: SubscriptionId,
    /// The post.
    pub posted: EcgPosted,
}

/// Notes a post. One that is noted already stays as it is.
pub async fn put(connection: &impl ConnectionTrait, noted: &Noted) -> Result<(), StoreError> {
    let known = OnConflict::column(Column::Id).do_nothing().to_owned();
    let row = Model::new(&noted.posted, noted.subscription.to_string()).into_active_model();
    Entity::insert(row).on_conflict(known).exec_without_returning(connection).await?;
    Ok(())
}

/// The oldest posts, at most `limit` of them.
pub async fn oldest(connection: &impl ConnectionTrait, limit: usize) -> Result<Vec<Noted>, StoreError> {
    let rows =
        Entity::find().order_by_asc(Column::AtMs).order_by_asc(Column::Id).limit(limit as u64).all(connection).await?;
    rows.iter().map(Model::read).collect()
}

/// Removes posts that have been published.
pub async fn remove(connection: &impl ConnectionTrait, ids: &[DeliveryId]) -> Result<(), StoreError> {
    let ids = ids.iter().map(DeliveryId::to_string);
    Entity::delete_many().filter(Column::Id.is_in(ids)).exec(connection).await?;
    Ok(())
}
