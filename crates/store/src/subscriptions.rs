//! Subscriptions: who wants which events at which endpoint (SPEC 5.4).

mod changes;

use sea_orm::sea_query::{Expr, ExprTrait as _, OnConflict};
use sea_orm::{ColumnTrait as _, ConnectionTrait, EntityTrait as _, IntoActiveModel as _};
use sea_orm::{DatabaseTransaction, PaginatorTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _};
use slipstream_core::config::{EndpointState, Subscription};
use slipstream_core::feature::FeatureRef;
use slipstream_core::ids::{AccountId, SubscriptionId};
use slipstream_core::slug::Slug;
use slipstream_core::timestamp::Timestamp;

pub use self::changes::{
    Applied, Grant, Seen, degrade, disable, enable, grant, recover, replace, replace_secrets, replace_signing_keys,
    set_limits,
};
use crate::entity::subscription::{ACTIVE, Column, DISABLED, Entity, Model, PENDING};
use crate::error::StoreError;
use crate::page::Page;

/// What there is at most one subscription of.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    /// The site whose events are wanted.
    pub site: &'a Slug,
    /// The feature.
    pub feature: FeatureRef,
    /// Whose subscription it is.
    pub account: AccountId,
}

impl Owner<'_> {
    fn condition(&self) -> sea_orm::Condition {
        sea_orm::Condition::all()
            .add(Column::Site.eq(self.site.as_str()))
            .add(Column::Feature.eq(self.feature.name))
            .add(Column::Account.eq(self.account.to_string()))
    }
}

/// A state to filter by, whatever the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateFilter {
    /// Endpoints that take deliveries, degraded ones among them.
    Active,
    /// Endpoints that wait for their receiver's consent.
    Pending,
    /// Endpoints that take none.
    Disabled,
    /// Endpoints that take deliveries and have been failing.
    Degraded,
}

/// Which subscriptions. What is none restricts nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Filter {
    /// In this state.
    pub state: Option<StateFilter>,
    /// Of this account, which may be a deleted one.
    pub account: Option<AccountId>,
}

/// The subscription with this id, if there is one.
pub async fn get(connection: &impl ConnectionTrait, id: SubscriptionId) -> Result<Option<Subscription>, StoreError> {
    Entity::find_by_id(id.to_string()).one(connection).await?.map(Subscription::try_from).transpose()
}

/// The subscription of `owner`, if there is one.
pub async fn find(connection: &impl ConnectionTrait, owner: Owner<'_>) -> Result<Option<Subscription>, StoreError> {
    let row = Entity::find().filter(owner.condition()).one(connection).await?;
    row.map(Subscription::try_from).transpose()
}

/// The subscription with this id, to be changed in this transaction: nobody else changes it until that ends.
///
/// On PostgreSQL the row is locked; on SQLite the transaction itself is the lock ([`crate::Store::begin`]).
pub async fn lock(transaction: &DatabaseTransaction, id: SubscriptionId) -> Result<Option<Subscription>, StoreError> {
    let row = Entity::find_by_id(id.to_string()).lock_exclusive().one(transaction).await?;
    row.map(Subscription::try_from).transpose()
}

/// The subscription of `owner`, to be changed in this transaction; see [`lock`].
pub async fn lock_of(transaction: &DatabaseTransaction, owner: Owner<'_>) -> Result<Option<Subscription>, StoreError> {
    let row = Entity::find().filter(owner.condition()).lock_exclusive().one(transaction).await?;
    row.map(Subscription::try_from).transpose()
}

/// The subscription of `wanted`'s owner, to be changed in this transaction as after [`lock`]: `wanted`, made at `now`, or
/// the one that there is by then, as it stands.
///
/// # Errors
/// [`StoreError::Conflict`] when its site or account does not exist; [`StoreError::NotSealed`] when a secret of it is not
/// sealed.
pub async fn create_or_lock(
    transaction: &DatabaseTransaction,
    wanted: &Subscription,
    now: Timestamp,
) -> Result<Subscription, StoreError> {
    // An update that changes nothing locks the row and gives it back, whoever made it meanwhile.
    let lock = one_each().value(Column::Revision, Expr::col((Entity, Column::Revision))).to_owned();
    let row = Model::new(wanted, now)?.into_active_model();
    Entity::insert(row).on_conflict(lock).exec_with_returning(transaction).await?.try_into()
}

/// Whether the subscription is disabled, or was and has not been active since: if it becomes active, that is a recovery.
pub async fn was_disabled(connection: &impl ConnectionTrait, id: SubscriptionId) -> Result<bool, StoreError> {
    let disabled = Entity::find_by_id(id.to_string()).filter(Column::DisabledReason.is_not_null());
    Ok(disabled.count(connection).await? > 0)
}

/// How many subscriptions a site has, over all features and accounts.
pub async fn count_of_site(connection: &impl ConnectionTrait, site: &Slug) -> Result<u64, StoreError> {
    Ok(Entity::find().filter(Column::Site.eq(site.as_str())).count(connection).await?)
}

/// Every subscription.
pub async fn all(connection: &impl ConnectionTrait) -> Result<Vec<Subscription>, StoreError> {
    Entity::find().all(connection).await?.into_iter().map(Subscription::try_from).collect()
}

/// How many subscriptions this account has, which may be a deleted one.
pub async fn count_of(connection: &impl ConnectionTrait, account: AccountId) -> Result<u64, StoreError> {
    Ok(Entity::find().filter(Column::Account.eq(account.to_string())).count(connection).await?)
}

/// Subscriptions by id, `limit` of them, those after the id `after` that `filter` lets through.
pub async fn page(
    connection: &impl ConnectionTrait,
    filter: Filter,
    after: Option<SubscriptionId>,
    limit: usize,
) -> Result<Page<Subscription>, StoreError> {
    let mut query = Entity::find().order_by_asc(Column::Id).limit(limit as u64 + 1);
    if let Some(after) = after {
        query = query.filter(Column::Id.gt(after.to_string()));
    }
    if let Some(account) = filter.account {
        query = query.filter(Column::Account.eq(account.to_string()));
    }
    if let Some(state) = filter.state {
        let name = match state {
            StateFilter::Active | StateFilter::Degraded => ACTIVE,
            StateFilter::Pending => PENDING,
            StateFilter::Disabled => DISABLED,
        };
        query = query.filter(Column::State.eq(name));
        if state == StateFilter::Degraded {
            query = query.filter(Column::DegradedSinceMs.is_not_null());
        }
    }
    let rows = query.all(connection).await?.into_iter().map(Subscription::try_from).collect::<Result<_, _>>()?;
    Ok(Page::of(rows, limit, |subscription: &Subscription| subscription.id.to_string()))
}

/// Creates `wanted` at `now`, or makes its owner's present subscription like it; says what now stands.
///
/// One statement, so that two callers at once cannot both create. A replaced subscription keeps its id, signing keys and
/// limits, takes target, headers, event types, state, health and consent from `wanted`, and its revision grows by one.
/// What was seen of its endpoint before `now` has no say any more.
///
/// # Errors
/// [`StoreError::Conflict`] when its site or account does not exist; [`StoreError::NotSealed`] when a secret of it is not
/// sealed.
pub async fn put(
    connection: &impl ConnectionTrait,
    wanted: &Subscription,
    now: Timestamp,
) -> Result<Subscription, StoreError> {
    let mut replace = one_each()
        .update_columns([
            Column::Uri,
            Column::Headers,
            Column::EventTypes,
            Column::State,
            Column::EnabledAtMs,
            Column::DegradedSinceMs,
            Column::HealthAtMs,
            Column::Consent,
        ])
        .value(Column::Revision, Expr::col((Entity, Column::Revision)).add(1))
        .value(Column::TargetRevision, Expr::col((Entity, Column::Revision)).add(1))
        .to_owned();
    // One that is only pending has yet to come back.
    if wanted.state != EndpointState::Pending {
        replace.update_column(Column::DisabledReason);
    }
    let row = Model::new(wanted, now)?.into_active_model();
    Entity::insert(row).on_conflict(replace).exec_with_returning(connection).await?.try_into()
}

/// What there is one of.
fn one_each() -> OnConflict {
    OnConflict::columns([Column::Site, Column::Feature, Column::Account])
}

/// Deletes the subscription of `owner`; says which it was, or none.
pub async fn delete(connection: &impl ConnectionTrait, owner: Owner<'_>) -> Result<Option<SubscriptionId>, StoreError> {
    let Some(subscription) = find(connection, owner).await? else { return Ok(None) };
    let deleted = Entity::delete_by_id(subscription.id.to_string()).exec(connection).await?;
    Ok((deleted.rows_affected > 0).then_some(subscription.id))
}
