//! The tenants' data keys, each wrapped by the master key (THREATS 5). Without that key they are of no use to anybody.

use sea_orm::sea_query::{Expr, ExprTrait as _, LockType, OnConflict};
use sea_orm::{ColumnTrait as _, ConnectionTrait, DatabaseTransaction, EntityTrait as _, IntoActiveModel as _};
use sea_orm::{QueryFilter as _, QueryOrder as _, QuerySelect as _};
use slipstream_core::config::WrappedKey;
use slipstream_core::sealing::{KeyId, Sealed, Tenant};

use crate::entity::data_key::{Column, Entity, Model};
use crate::error::StoreError;

/// The key called `id`, if there is one.
pub async fn get(connection: &impl ConnectionTrait, id: KeyId) -> Result<Option<WrappedKey>, StoreError> {
    Entity::find_by_id(id.to_string()).one(connection).await?.map(WrappedKey::try_from).transpose()
}

/// The key of `tenant`, if it has one.
pub async fn of_tenant(connection: &impl ConnectionTrait, tenant: &Tenant) -> Result<Option<WrappedKey>, StoreError> {
    let row = Entity::find().filter(Column::Tenant.eq(tenant.to_string())).one(connection).await?;
    row.map(WrappedKey::try_from).transpose()
}

/// Every key, the oldest first.
pub async fn all(connection: &impl ConnectionTrait) -> Result<Vec<WrappedKey>, StoreError> {
    let rows = Entity::find().order_by_asc(Column::CreatedAtMs).order_by_asc(Column::Id).all(connection).await?;
    rows.into_iter().map(WrappedKey::try_from).collect()
}

/// Every key, to be changed in this transaction: nobody else changes them until that ends.
pub async fn lock_all(transaction: &DatabaseTransaction) -> Result<Vec<WrappedKey>, StoreError> {
    let rows = Entity::find().order_by_asc(Column::Id).lock_exclusive().all(transaction).await?;
    rows.into_iter().map(WrappedKey::try_from).collect()
}

/// Waits until nobody else has locked the key of `tenant` so, and keeps it locked until this transaction ends: for who
/// counts what a tenant has that has no row of its own. A key that is not there is not locked.
///
/// On SQLite the transaction itself is the lock ([`crate::Store::begin`]).
pub async fn lock(transaction: &DatabaseTransaction, tenant: &Tenant) -> Result<(), StoreError> {
    let key = Entity::find().filter(Column::Tenant.eq(tenant.to_string()));
    key.lock(LockType::NoKeyUpdate).one(transaction).await?;
    Ok(())
}

/// Keeps `wanted`, unless its tenant has a key by then; says which key the tenant has.
pub async fn create_or_get(connection: &impl ConnectionTrait, wanted: &WrappedKey) -> Result<WrappedKey, StoreError> {
    // An update that changes nothing gives the row back, whoever made it.
    let present =
        OnConflict::column(Column::Tenant).value(Column::Revision, Expr::col((Entity, Column::Revision))).to_owned();
    let row = Model::from(wanted).into_active_model();
    Entity::insert(row).on_conflict(present).exec_with_returning(connection).await?.try_into()
}

/// Puts `wrapped` in place of how the key called `id` is wrapped; its revision grows.
pub async fn rewrap(connection: &impl ConnectionTrait, id: KeyId, wrapped: &Sealed) -> Result<(), StoreError> {
    Entity::update_many()
        .col_expr(Column::Wrapped, Expr::value(wrapped.to_string()))
        .col_expr(Column::MasterId, Expr::value(wrapped.key().to_string()))
        .col_expr(Column::Revision, Expr::col(Column::Revision).add(1))
        .filter(Column::Id.eq(id.to_string()))
        .exec(connection)
        .await?;
    Ok(())
}
