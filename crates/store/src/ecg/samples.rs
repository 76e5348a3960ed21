//! Sample payloads of events, one for each version of them (SPEC 6.9).

use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait as _, ConnectionTrait, DatabaseTransaction, EntityTrait as _, IntoActiveModel as _};
use sea_orm::{QueryFilter as _, QuerySelect as _};
use serde_json::value::RawValue;
use slipstream_core::config::Stamps;
use slipstream_core::ids::{EcgEventId, EcgSampleId};

use crate::entity::ecg_sample::{Column, Entity, Model};
use crate::error::StoreError;

/// What a payload of an event looks like.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Its id.
    pub id: EcgSampleId,
    /// Of which event.
    pub event: EcgEventId,
    /// The version of the payload: `v` and a number. An event has one sample of each.
    pub version: String,
    /// The payload: a JSON object, as it was given.
    pub payload: Box<RawValue>,
    /// Who and when.
    pub stamps: Stamps,
}

/// The sample of `event` in `version`, if there is one.
pub async fn get(
    connection: &impl ConnectionTrait,
    event: EcgEventId,
    version: &str,
) -> Result<Option<Sample>, StoreError> {
    let there = Entity::find().filter(Column::Event.eq(event.to_string())).filter(Column::Version.eq(version));
    there.one(connection).await?.map(Sample::try_from).transpose()
}

/// The sample of `event` in `version`, to be changed in this transaction; see [`super::events::lock`].
pub async fn lock(
    transaction: &DatabaseTransaction,
    event: EcgEventId,
    version: &str,
) -> Result<Option<Sample>, StoreError> {
    let there = Entity::find().filter(Column::Event.eq(event.to_string())).filter(Column::Version.eq(version));
    there.lock_exclusive().one(transaction).await?.map(Sample::try_from).transpose()
}

/// Creates `sample` as it stands. Its event is not deleted meanwhile if [`super::events::hold`] comes first.
///
/// # Errors
/// [`StoreError::Conflict`] when there is no such event, its id is taken, or its event has a sample of this version.
pub async fn create(connection: &impl ConnectionTrait, sample: &Sample) -> Result<(), StoreError> {
    Entity::insert(Model::from(sample).into_active_model()).exec_without_returning(connection).await?;
    Ok(())
}

/// Puts version, payload and last change of `changed` in place of those of the sample with its id, which is made from the
/// one that stands, so [`lock`] comes first.
///
/// # Errors
/// [`StoreError::Conflict`] when its event has another sample of this version.
pub async fn replace(transaction: &DatabaseTransaction, changed: &Sample) -> Result<(), StoreError> {
    let row = Model::from(changed);
    Entity::update_many()
        .col_expr(Column::Version, Expr::value(row.version))
        .col_expr(Column::Payload, Expr::value(row.payload))
        .col_expr(Column::UpdatedAtMs, Expr::value(row.updated_at_ms))
        .col_expr(Column::UpdatedBy, Expr::value(row.updated_by))
        .filter(Column::Id.eq(row.id))
        .exec(transaction)
        .await?;
    Ok(())
}

/// Deletes the sample of `event` in `version`; false if there is none.
pub async fn delete(connection: &impl ConnectionTrait, event: EcgEventId, version: &str) -> Result<bool, StoreError> {
    let there = Entity::delete_many().filter(Column::Event.eq(event.to_string())).filter(Column::Version.eq(version));
    Ok(there.exec(connection).await?.rows_affected > 0)
}

/// Deletes every sample of `event`.
pub(super) async fn delete_all(connection: &impl ConnectionTrait, event: EcgEventId) -> Result<(), StoreError> {
    Entity::delete_many().filter(Column::Event.eq(event.to_string())).exec(connection).await?;
    Ok(())
}
