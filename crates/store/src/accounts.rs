//! API accounts: who publishes and subscribes.

use sea_orm::sea_query::{Expr, ExprTrait as _, OnConflict};
use sea_orm::{ColumnTrait as _, ConnectionTrait, EntityTrait as _, IntoActiveModel as _};
use sea_orm::{QueryFilter as _, QueryOrder as _, QuerySelect as _};
use slipstream_core::config::{Account, KeyHash, Quota};
use slipstream_core::ids::AccountId;

use crate::entity::account::{Column, Entity, Model};
use crate::entity::to_json;
use crate::error::StoreError;
use crate::page::Page;

/// Which of the two keys of an account; both are valid at once, so that one can be rotated (SPEC 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeySlot {
    /// The first.
    Primary,
    /// The second.
    Secondary,
}

/// The account with this id, if there is one.
pub async fn get(connection: &impl ConnectionTrait, id: AccountId) -> Result<Option<Account>, StoreError> {
    Entity::find_by_id(id.to_string()).one(connection).await?.map(Account::try_from).transpose()
}

/// Every account.
pub async fn all(connection: &impl ConnectionTrait) -> Result<Vec<Account>, StoreError> {
    Entity::find().all(connection).await?.into_iter().map(Account::try_from).collect()
}

/// Accounts by id, `limit` of them, those after the id `after`.
pub async fn page(
    connection: &impl ConnectionTrait,
    after: Option<AccountId>,
    limit: usize,
) -> Result<Page<Account>, StoreError> {
    let mut query = Entity::find().order_by_asc(Column::Id).limit(limit as u64 + 1);
    if let Some(after) = after {
        query = query.filter(Column::Id.gt(after.to_string()));
    }
    let rows = query.all(connection).await?.into_iter().map(Account::try_from).collect::<Result<_, _>>()?;
    Ok(Page::of(rows, limit, |account: &Account| account.id.to_string()))
}

/// Creates `account` as it stands.
///
/// # Errors
/// [`StoreError::Conflict`] when its id is taken.
pub async fn create(connection: &impl ConnectionTrait, account: &Account) -> Result<(), StoreError> {
    Entity::insert(Model::from(account).into_active_model()).exec_without_returning(connection).await?;
    Ok(())
}

/// Creates `account` unless there is one with its id, which then stays as it is.
pub async fn ensure(connection: &impl ConnectionTrait, account: &Account) -> Result<(), StoreError> {
    Entity::insert(Model::from(account).into_active_model())
        .on_conflict(OnConflict::column(Column::Id).do_nothing().to_owned())
        .exec_without_returning(connection)
        .await?;
    Ok(())
}

/// Replaces one key; its old value is no longer valid. None if there is no such account.
pub async fn set_key(
    connection: &impl ConnectionTrait,
    id: AccountId,
    slot: KeySlot,
    key: &KeyHash,
) -> Result<Option<Account>, StoreError> {
    let column = match slot {
        KeySlot::Primary => Column::PrimaryKey,
        KeySlot::Secondary => Column::SecondaryKey,
    };
    let changed = Entity::update_many()
        .col_expr(column, Expr::value(key.to_hex()))
        .col_expr(Column::Revision, Expr::col(Column::Revision).add(1))
        .filter(Column::Id.eq(id.to_string()))
        .exec_with_returning(connection)
        .await?;
    changed.into_iter().next().map(Account::try_from).transpose()
}

/// Replaces the quota; none lifts it. None if there is no such account.
pub async fn set_quota(
    connection: &impl ConnectionTrait,
    id: AccountId,
    quota: Option<Quota>,
) -> Result<Option<Account>, StoreError> {
    let changed = Entity::update_many()
        .col_expr(Column::Quota, Expr::value(quota.as_ref().map(to_json)))
        .col_expr(Column::Revision, Expr::col(Column::Revision).add(1))
        .filter(Column::Id.eq(id.to_string()))
        .exec_with_returning(connection)
        .await?;
    changed.into_iter().next().map(Account::try_from).transpose()
}
