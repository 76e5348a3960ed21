//! Kinds of events that can be subscribed to (SPEC 6.4).

use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{ColumnTrait as _, ConnectionTrait, DatabaseTransaction, EntityTrait as _, IntoActiveModel as _};
use sea_orm::{PaginatorTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _};
use slipstream_core::config::EcgEvent;
use slipstream_core::ids::{EcgCategoryId, EcgEventId};

use super::{Listed, Slice, Status};
use crate::entity::ecg_event::{Column, Entity, Model};
use crate::error::StoreError;

/// The event with this id, if there is one that is not deleted.
pub async fn get(connection: &impl ConnectionTrait, id: EcgEventId) -> Result<Option<EcgEvent>, StoreError> {
    Ok(get_any(connection, id).await?.filter(|event| !event.deleted))
}

/// The event with this id, deleted or not.
pub async fn get_any(connection: &impl ConnectionTrait, id: EcgEventId) -> Result<Option<EcgEvent>, StoreError> {
    Entity::find_by_id(id.to_string()).one(connection).await?.map(EcgEvent::try_from).transpose()
}

/// The event with this id, to be changed in this transaction: nobody else changes it, or makes something of it, until that
/// ends. None if it is deleted.
///
/// On PostgreSQL the row is locked; on SQLite the transaction itself is the lock ([`crate::Store::begin`]).
pub async fn lock(transaction: &DatabaseTransaction, id: EcgEventId) -> Result<Option<EcgEvent>, StoreError> {
    let there = Entity::find_by_id(id.to_string()).filter(Column::DeletedAtMs.is_null());
    there.lock_exclusive().one(transaction).await?.map(EcgEvent::try_from).transpose()
}

/// Those of the events called `ids` that are not deleted, by id. Nobody changes them until this transaction ends, nor this
/// one: for whoever makes something of them.
pub async fn hold(transaction: &DatabaseTransaction, ids: &[EcgEventId]) -> Result<Vec<EcgEvent>, StoreError> {
    let there = Entity::find()
        .filter(Column::Id.is_in(ids.iter().map(ToString::to_string)))
        .filter(Column::DeletedAtMs.is_null())
        // Always in the same order, so that two transactions do not wait for each other.
        .order_by_asc(Column::Id);
    let rows = there.lock_shared().all(transaction).await?;
    rows.into_iter().map(EcgEvent::try_from).collect()
}

/// Those that have one of `codes`, which are read without case, in any version and not deleted; held as by [`hold`].
pub async fn hold_of_codes(transaction: &DatabaseTransaction, codes: &[String]) -> Result<Vec<EcgEvent>, StoreError> {
    let there = Entity::find()
        .filter(Column::CodeLower.is_in(codes.iter().map(|code| code.to_ascii_lowercase())))
        .filter(Column::DeletedAtMs.is_null())
        .order_by_asc(Column::Id);
    let rows = there.lock_shared().all(transaction).await?;
    rows.into_iter().map(EcgEvent::try_from).collect()
}

/// The events called `ids`, deleted ones among them, in no order.
pub async fn with_ids(connection: &impl ConnectionTrait, ids: &[EcgEventId]) -> Result<Vec<EcgEvent>, StoreError> {
    let mut events = Vec::with_capacity(ids.len());
    // A statement takes so many values only.
    for ids in ids.chunks(1000) {
        let called = Entity::find().filter(Column::Id.is_in(ids.iter().map(ToString::to_string)));
        for row in called.all(connection).await? {
            events.push(row.try_into()?);
        }
    }
    Ok(events)
}

/// The events with this code, in any version and not deleted; the code is read without case.
pub async fn of_code(connection: &impl ConnectionTrait, code: &str) -> Result<Vec<EcgEvent>, StoreError> {
    let there = Entity::find()
        .filter(Column::CodeLower.eq(code.to_ascii_lowercase()))
        .filter(Column::DeletedAtMs.is_null())
        .order_by_asc(Column::Id);
    there.all(connection).await?.into_iter().map(EcgEvent::try_from).collect()
}

/// Every event, the deleted ones among them.
pub async fn all(connection: &impl ConnectionTrait) -> Result<Vec<EcgEvent>, StoreError> {
    Entity::find().all(connection).await?.into_iter().map(EcgEvent::try_from).collect()
}

/// How many events a category has that are not deleted.
pub async fn count_of_category(connection: &impl ConnectionTrait, category: EcgCategoryId) -> Result<u64, StoreError> {
    let there = Entity::find().filter(Column::Category.eq(category.to_string())).filter(Column::DeletedAtMs.is_null());
    Ok(there.count(connection).await?)
}

/// A part of the list of a category's events, by their last change.
pub async fn page(
    connection: &impl ConnectionTrait,
    category: EcgCategoryId,
    status: Status,
    slice: Slice,
) -> Result<Listed<EcgEvent>, StoreError> {
    let there = Entity::find()
        .filter(Column::Category.eq(category.to_string()))
        .filter(Column::DeletedAtMs.is_null())
        .filter(status.condition(Column::Active, Column::Archived));
    let total = there.clone().count(connection).await?;
    let rows = there
        .order_by(Column::UpdatedAtMs, slice.order.into())
        .order_by(Column::Id, slice.order.into())
        .offset(slice.offset)
        .limit(slice.limit)
        .all(connection)
        .await?;
    Ok(Listed { items: rows.into_iter().map(EcgEvent::try_from).collect::<Result<_, _>>()?, total })
}

/// Creates `event` as it stands. Its category is not deleted meanwhile if [`super::categories::hold`] comes first.
///
/// # Errors
/// [`StoreError::Conflict`] when there is no such category, its id is taken, or its code and version are by another one
/// that is not deleted.
pub async fn create(connection: &impl ConnectionTrait, event: &EcgEvent) -> Result<(), StoreError> {
    Entity::insert(Model::from(event).into_active_model()).exec_without_returning(connection).await?;
    Ok(())
}

/// Puts `changed` in place of the event with its id, in the category that it is of; its revision is one more than that
/// which stands. It is made from the one that stands, so [`lock`] comes first. One that is marked as deleted becomes a
/// tombstone, as of its last change, and its sample payloads go.
///
/// # Errors
/// [`StoreError::Conflict`] when its code and version are taken by another one that is not deleted.
pub async fn replace(transaction: &DatabaseTransaction, changed: &EcgEvent) -> Result<Option<EcgEvent>, StoreError> {
    if changed.deleted {
        super::samples::delete_all(transaction, changed.id).await?;
    }
    let row = Model::from(changed);
    let replaced = Entity::update_many()
        .col_expr(Column::Name, Expr::value(row.name))
        .col_expr(Column::Code, Expr::value(row.code))
        .col_expr(Column::CodeLower, Expr::value(row.code_lower))
        .col_expr(Column::Version, Expr::value(row.version))
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
    replaced.into_iter().next().map(EcgEvent::try_from).transpose()
}
