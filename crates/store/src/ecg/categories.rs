//! Categories of events (SPEC 6.4).

use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{ColumnTrait as _, ConnectionTrait, DatabaseTransaction, EntityTrait as _, IntoActiveModel as _};
use sea_orm::{PaginatorTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _};
use slipstream_core::config::EcgCategory;
use slipstream_core::ids::EcgCategoryId;

use super::{Listed, Slice, Status};
use crate::entity::ecg_category::{Column, Entity, Model};
use crate::error::StoreError;

/// The category with this id, if there is one that is not deleted.
pub async fn get(connection: &impl ConnectionTrait, id: EcgCategoryId) -> Result<Option<EcgCategory>, StoreError> {
    Ok(get_any(connection, id).await?.filter(|category| !category.deleted))
}

/// The category with this id, deleted or not.
pub async fn get_any(connection: &impl ConnectionTrait, id: EcgCategoryId) -> Result<Option<EcgCategory>, StoreError> {
    Entity::find_by_id(id.to_string()).one(connection).await?.map(EcgCategory::try_from).transpose()
}

/// The category with this id, to be changed in this transaction: nobody else changes it, or makes an event of it, until
/// that ends. None if it is deleted.
///
/// On PostgreSQL the row is locked; on SQLite the transaction itself is the lock ([`crate::Store::begin`]).
pub async fn lock(transaction: &DatabaseTransaction, id: EcgCategoryId) -> Result<Option<EcgCategory>, StoreError> {
    let there = Entity::find_by_id(id.to_string()).filter(Column::DeletedAtMs.is_null());
    there.lock_exclusive().one(transaction).await?.map(EcgCategory::try_from).transpose()
}

/// The category with this id, which nobody changes until this transaction ends, nor this one: for whoever makes something
/// of it. None if it is deleted.
pub async fn hold(transaction: &DatabaseTransaction, id: EcgCategoryId) -> Result<Option<EcgCategory>, StoreError> {
    let there = Entity::find_by_id(id.to_string()).filter(Column::DeletedAtMs.is_null());
    there.lock_shared().one(transaction).await?.map(EcgCategory::try_from).transpose()
}

/// Every category, the deleted ones among them.
pub async fn all(connection: &impl ConnectionTrait) -> Result<Vec<EcgCategory>, StoreError> {
    Entity::find().all(connection).await?.into_iter().map(EcgCategory::try_from).collect()
}

/// A part of the list of categories, by their last change.
pub async fn page(
    connection: &impl ConnectionTrait,
    status: Status,
    slice: Slice,
) -> Result<Listed<EcgCategory>, StoreError> {
    let there =
        Entity::find().filter(Column::DeletedAtMs.is_null()).filter(status.condition(Column::Active, Column::Archived));
    let total = there.clone().count(connection).await?;
    let rows = there
        .order_by(Column::UpdatedAtMs, slice.order.into())
        .order_by(Column::Id, slice.order.into())
        .offset(slice.offset)
        .limit(slice.limit)
        .all(connection)
        .await?;
    Ok(Listed { items: rows.into_iter().map(EcgCategory::try_from).collect::<Result<_, _>>()?, total })
}

/// Creates `category` as it stands.
///
/// # Errors
/// [`StoreError::Conflict`] when its id is taken, or its code by another one that is not deleted.
pub async fn create(connection: &impl ConnectionTrait, category: &EcgCategory) -> Result<(), StoreError> {
    Entity::insert(Model::from(category).into_active_model()).exec_without_returning(connection).await?;
    Ok(())
}

/// Puts `changed` in place of the category with its id; its revision is one more than that which stands. It is made from
/// the one that stands, so [`lock`] comes first. One that is marked as deleted becomes a tombstone, as of its last change.
///
/// # Errors
/// [`StoreError::Conflict`] when its code is taken by another one that is not deleted.
pub async fn replace(
    transaction: &DatabaseTransaction,
    changed: &EcgCategory,
) -> Result<Option<EcgCategory>, StoreError> {
    let row = Model::from(changed);
    let replaced = Entity::update_many()
        .col_expr(Column::Name, Expr::value(row.name))
        .col_expr(Column::Code, Expr::value(row.code))
        .col_expr(Column::CodeLower, Expr::value(row.code_lower))
        .col_expr(Column::Description, Expr::value(row.description))
        .col_expr(Column::Active, Expr::value(row.active))
        .col_expr(Column::ActiveChangedAtMs, Expr::value(row.active_changed_at_ms))
        .col_expr(Column::Archived, Expr::value(row.archived))
        .col_expr(Column::ArchivedChangedAtMs, Expr::value(row.archived_changed_at_ms))
        .col_expr(Column::UpdatedAtMs, Expr::value(row.updated_at_ms))
        .col_expr(Column::UpdatedBy, Expr::value(row.updated_by))
        .col_expr(Column::DeletedAtMs, Expr::value(row.deleted_at_ms))
        .col_expr(Column::Revision, Expr::col(Column::Revision).add(1))
        .filter(Column::Id.eq(row.id))
        .filter(Column::DeletedAtMs.is_null())
        .exec_with_returning(transaction)
        .await?;
    replaced.into_iter().next().map(EcgCategory::try_from).transpose()
}
