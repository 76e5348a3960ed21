//! Which versions of our reference data this deployment has been given (SPEC 6.3).

use sea_orm::sea_query::OnConflict;
use sea_orm::{ConnectionTrait, EntityTrait as _, IntoActiveModel as _, QueryOrder as _};
use slipstream_core::timestamp::Timestamp;

use crate::entity::ecg_seed::{Column, Entity, Model};
use crate::error::StoreError;

/// A version of the reference data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seed {
    /// Its name: `v` and a number.
    pub version: String,
    /// What it holds, for people.
    pub description: String,
    /// When this deployment was given it.
    pub applied_at: Timestamp,
    /// SHA-256 of what it holds, as 64 hex digits.
    pub checksum: String,
}

/// Notes that `seed` is applied; one of the same version that was before stays as it is.
pub async fn apply(connection: &impl ConnectionTrait, seed: &Seed) -> Result<(), StoreError> {
    Entity::insert(Model::from(seed).into_active_model())
        .on_conflict(OnConflict::column(Column::Version).do_nothing().to_owned())
        .exec_without_returning(connection)
        .await?;
    Ok(())
}

/// All versions that were applied, the oldest first.
pub async fn all(connection: &impl ConnectionTrait) -> Result<Vec<Seed>, StoreError> {
    let rows = Entity::find().order_by_asc(Column::AppliedAtMs).order_by_asc(Column::Version).all(connection).await?;
    Ok(rows.into_iter().map(Seed::from).collect())
}
