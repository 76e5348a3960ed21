//! Events of our own that are still to be published: noted in the transaction of the change that they tell, so that a
//! crash between the change and the publishing loses none.
//!
//! Publishing one twice is harmless, since its key is the same; it is removed once it is published. How many there can
//! be is bounded by how many changes are made while the bus refuses events.

pub mod audited;
pub mod posts;

use sea_orm::sea_query::OnConflict;
use sea_orm::{ColumnTrait as _, ConnectionTrait, EntityTrait as _, IntoActiveModel as _};
use sea_orm::{QueryFilter as _, QueryOrder as _, QuerySelect as _};
use slipstream_core::ids::EventKey;
use slipstream_core::slug::Slug;
use slipstream_core::timestamp::Timestamp;

use crate::entity::outbox::{Column, Entity, Model};
use crate::error::StoreError;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Identifies it; its id on the bus.
    pub key: EventKey,
    /// Its site.
    pub site: Slug,
    /// Its `type`.
    pub event_type: String,
    /// Its forwarded form, JSON.
    pub body: String,
    /// When it happened.
    pub at: Timestamp,
}

/// Notes an event. One that is noted already stays as it is.
pub async fn put(connection: &impl ConnectionTrait, entry: &Entry) -> Result<(), StoreError> {
    let known = OnConflict::column(Column::Key).do_nothing().to_owned();
    let row = Model::from(entry).into_active_model();
    Entity::insert(row).on_conflict(known).exec_without_returning(connection).await?;
    Ok(())
}

/// The oldest events, at most `limit` of them.
pub async fn oldest(connection: &impl ConnectionTrait, limit: usize) -> Result<Vec<Entry>, StoreError> {
    let rows =
        Entity::find().order_by_asc(Column::AtMs).order_by_asc(Column::Key).limit(limit as u64).all(connection).await?;
    rows.into_iter().map(Entry::try_from).collect()
}

/// Removes events that have been published.
pub async fn remove(connection: &impl ConnectionTrait, keys: &[EventKey]) -> Result<(), StoreError> {
    let keys = keys.iter().map(EventKey::as_str);
    Entity::delete_many().filter(Column::Key.is_in(keys)).exec(connection).await?;
    Ok(())
}
