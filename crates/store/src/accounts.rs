//! API accounts: who publishes and subscribes.
//!
//! One that was deleted keeps its row, so that its id is never used again and its subscriptions have somebody to belong
//! to. No function here finds it but [`is_deleted`] and [`delete`].

use sea_orm::sea_query::{Expr, ExprTrait as _, OnConflict};
use sea_orm::{ColumnTrait as _, ConnectionTrait, EntityTrait as _, IntoActiveModel as _};
use sea_orm::{PaginatorTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, UpdateMany};
use slipstream_core::config::{Account, AccountKind, KeyHash, Permission, Quota, SitesAllowed};
use slipstream_core::ids::AccountId;
use slipstream_core::timestamp::Timestamp;

use crate::entity::account::{Column, Entity, Model, kind_name};
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

/// What is changed of an account as a whole; its keys and its quota are changed each for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountDetails {
    /// See [`Account::display_name`], as all that follow.
    pub display_name: String,
    /// Ours or a stranger's.
    pub kind: AccountKind,
    /// The sites it may act for.
    pub sites: SitesAllowed,
    /// What it may do.
    pub permissions: Vec<Permission>,
}

/// The hash of a deleted account's keys: no text is known that has it.
const NO_KEY: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The account with this id, if there is one.
pub async fn get(connection: &impl ConnectionTrait, id: AccountId) -> Result<Option<Account>, StoreError> {
    let there = Entity::find_by_id(id.to_string()).filter(Column::DeletedAtMs.is_null());
    there.one(connection).await?.map(Account::try_from).transpose()
}

/// Every account.
pub async fn all(connection: &impl ConnectionTrait) -> Result<Vec<Account>, StoreError> {
    let rows = Entity::find().filter(Column::DeletedAtMs.is_null()).all(connection).await?;
    rows.into_iter().map(Account::try_from).collect()
}

/// Accounts by id, `limit` of them, those after the id `after`.
pub async fn page(
    connection: &impl ConnectionTrait,
    after: Option<AccountId>,
    limit: usize,
) -> Result<Page<Account>, StoreError> {
    let there = Entity::find().filter(Column::DeletedAtMs.is_null());
    let mut query = there.order_by_asc(Column::Id).limit(limit as u64 + 1);
    if let Some(after) = after {
        query = query.filter(Column::Id.gt(after.to_string()));
    }
    let rows = query.all(connection).await?.into_iter().map(Account::try_from).collect::<Result<_, _>>()?;
    Ok(Page::of(rows, limit, |account: &Account| account.id.to_string()))
}

/// Creates `account` as it stands.
///
/// # Errors
/// [`StoreError::Conflict`] when its id is taken, or was.
pub async fn create(connection: &impl ConnectionTrait, account: &Account) -> Result<(), StoreError> {
    Entity::insert(Model::from(account).into_active_model()).exec_without_returning(connection).await?;
    Ok(())
}

/// Creates `account` unless there is one with its id, which then stays as it is; a deleted one stays deleted.
pub async fn ensure(connection: &impl ConnectionTrait, account: &Account) -> Result<(), StoreError> {
    Entity::insert(Model::from(account).into_active_model())
        .on_conflict(OnConflict::column(Column::Id).do_nothing().to_owned())
        .exec_without_returning(connection)
        .await?;
    Ok(())
}

/// Every change of the account `id`: its revision grows. A deleted one is changed no more.
fn update(id: AccountId) -> UpdateMany<Entity> {
    Entity::update_many()
        .col_expr(Column::Revision, Expr::col(Column::Revision).add(1))
        .filter(Column::Id.eq(id.to_string()))
        .filter(Column::DeletedAtMs.is_null())
}

/// Replaces everything but keys and quota. None if there is no such account.
pub async fn change(
    connection: &impl ConnectionTrait,
    id: AccountId,
    details: &AccountDetails,
) -> Result<Option<Account>, StoreError> {
    let changed = update(id)
        .col_expr(Column::DisplayName, Expr::value(details.display_name.clone()))
        .col_expr(Column::Kind, Expr::value(kind_name(details.kind)))
        .col_expr(Column::Sites, Expr::value(to_json(&details.sites)))
        .col_expr(Column::Permissions, Expr::value(to_json(&details.permissions)))
        .exec_with_returning(connection)
        .await?;
    changed.into_iter().next().map(Account::try_from).transpose()
}

/// Deletes an account, now or at an earlier time; false if there never was one. Its id stays taken and its subscriptions
/// stay. Of its keys nothing is left, and it may do nothing: a release that does not know of deleted accounts, beside this
/// one or after it, takes it for one that lets nobody in.
pub async fn delete(connection: &impl ConnectionTrait, id: AccountId, now: Timestamp) -> Result<bool, StoreError> {
    let deleted = update(id)
        .col_expr(Column::DeletedAtMs, Expr::value(now.as_millis()))
        .col_expr(Column::PrimaryKey, Expr::value(NO_KEY))
        .col_expr(Column::SecondaryKey, Expr::value(NO_KEY))
        .col_expr(Column::Permissions, Expr::value("[]"))
        .exec(connection)
        .await?;
    if deleted.rows_affected > 0 { Ok(true) } else { is_deleted(connection, id).await }
}

/// Whether there was an account with this id that was deleted.
pub async fn is_deleted(connection: &impl ConnectionTrait, id: AccountId) -> Result<bool, StoreError> {
    let deleted = Entity::find_by_id(id.to_string()).filter(Column::DeletedAtMs.is_not_null());
    Ok(deleted.count(connection).await? > 0)
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
    let changed = update(id).col_expr(column, Expr::value(key.to_hex())).exec_with_returning(connection).await?;
    changed.into_iter().next().map(Account::try_from).transpose()
}

/// Replaces the quota; none lifts it. None if there is no such account.
pub async fn set_quota(
    connection: &impl ConnectionTrait,
    id: AccountId,
    quota: Option<Quota>,
) -> Result<Option<Account>, StoreError> {
    let quota = quota.as_ref().map(to_json);
    let changed = update(id).col_expr(Column::Quota, Expr::value(quota)).exec_with_returning(connection).await?;
    changed.into_iter().next().map(Account::try_from).transpose()
}
