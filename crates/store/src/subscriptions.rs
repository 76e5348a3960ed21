//! Subscriptions: who wants which events at which endpoint (SPEC 5.4).

use sea_orm::sea_query::{Expr, ExprTrait as _, OnConflict};
use sea_orm::{ColumnTrait as _, ConnectionTrait, EntityTrait as _, IntoActiveModel as _};
use sea_orm::{QueryFilter as _, QueryOrder as _, QuerySelect as _};
use slipstream_core::config::{DisabledReason, Subscription};
use slipstream_core::feature::FeatureRef;
use slipstream_core::ids::{AccountId, SubscriptionId};
use slipstream_core::slug::Slug;
use slipstream_core::timestamp::Timestamp;

use crate::entity::subscription::{ACTIVE, Column, DISABLED, Entity, Model, reason_name};
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
    /// Endpoints that take deliveries.
    Active,
    /// Endpoints that do not.
    Disabled,
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

/// Every subscription.
pub async fn all(connection: &impl ConnectionTrait) -> Result<Vec<Subscription>, StoreError> {
    Entity::find().all(connection).await?.into_iter().map(Subscription::try_from).collect()
}

/// Subscriptions by id, `limit` of them, those after the id `after`, in `state` if one is given.
pub async fn page(
    connection: &impl ConnectionTrait,
    state: Option<StateFilter>,
    after: Option<SubscriptionId>,
    limit: usize,
) -> Result<Page<Subscription>, StoreError> {
    let mut query = Entity::find().order_by_asc(Column::Id).limit(limit as u64 + 1);
    if let Some(after) = after {
        query = query.filter(Column::Id.gt(after.to_string()));
    }
    if let Some(state) = state {
        let name = match state {
            StateFilter::Active => ACTIVE,
            StateFilter::Disabled => DISABLED,
        };
        query = query.filter(Column::State.eq(name));
    }
    let rows = query.all(connection).await?.into_iter().map(Subscription::try_from).collect::<Result<_, _>>()?;
    Ok(Page::of(rows, limit, |subscription: &Subscription| subscription.id.to_string()))
}

/// Creates `wanted` at `now`, or makes its owner's present subscription like it; says what now stands.
///
/// One statement, so that two callers at once cannot both create. A replaced subscription keeps its id and signing
/// keys, takes target, headers, event types and state from `wanted`, and its revision grows by one.
///
/// # Errors
/// [`StoreError::Conflict`] when its site or account does not exist.
pub async fn put(
    connection: &impl ConnectionTrait,
    wanted: &Subscription,
    now: Timestamp,
) -> Result<Subscription, StoreError> {
    let replace = OnConflict::columns([Column::Site, Column::Feature, Column::Account])
        .update_columns([
            Column::Uri,
            Column::Headers,
            Column::EventTypes,
            Column::State,
            Column::DisabledReason,
            Column::EnabledAtMs,
        ])
        .value(Column::Revision, Expr::col((Entity, Column::Revision)).add(1))
        .to_owned();
    let row = Model::new(wanted, now).into_active_model();
    Entity::insert(row).on_conflict(replace).exec_with_returning(connection).await?.try_into()
}

/// Lets the endpoint take deliveries again, from `now` on; none if there is no such subscription.
///
/// A repeat changes nothing, not even the revision.
pub async fn enable(
    connection: &impl ConnectionTrait,
    id: SubscriptionId,
    now: Timestamp,
) -> Result<Option<Subscription>, StoreError> {
    let changed = Entity::update_many()
        .col_expr(Column::State, Expr::value(ACTIVE))
        .col_expr(Column::DisabledReason, Expr::value(None::<String>))
        .col_expr(Column::EnabledAtMs, Expr::value(now.as_millis()))
        .col_expr(Column::Revision, Expr::col(Column::Revision).add(1))
        .filter(Column::Id.eq(id.to_string()))
        .filter(Column::State.ne(ACTIVE))
        .exec_with_returning(connection)
        .await?;
    changed_or_present(connection, changed, id).await
}

/// Lets the endpoint take no more deliveries; none if there is no such subscription.
///
/// `seen_at` is when the reason was seen, if it was seen by a delivery: a subscription that has been made or enabled
/// since is left alone, so that a late message cannot undo what its owner did after it. A repeat changes nothing, not
/// even the revision.
pub async fn disable(
    connection: &impl ConnectionTrait,
    id: SubscriptionId,
    reason: DisabledReason,
    seen_at: Option<Timestamp>,
) -> Result<Option<Subscription>, StoreError> {
    let reason = reason_name(reason);
    let mut update = Entity::update_many()
        .col_expr(Column::State, Expr::value(DISABLED))
        .col_expr(Column::DisabledReason, Expr::value(reason))
        .col_expr(Column::Revision, Expr::col(Column::Revision).add(1))
        .filter(Column::Id.eq(id.to_string()))
        .filter(Column::State.ne(DISABLED).or(Column::DisabledReason.ne(reason)));
    if let Some(seen_at) = seen_at {
        update = update.filter(Column::EnabledAtMs.lte(seen_at.as_millis()));
    }
    let changed = update.exec_with_returning(connection).await?;
    changed_or_present(connection, changed, id).await
}

/// The changed row, or the one that needed no change.
async fn changed_or_present(
    connection: &impl ConnectionTrait,
    changed: Vec<Model>,
    id: SubscriptionId,
) -> Result<Option<Subscription>, StoreError> {
    match changed.into_iter().next() {
        Some(row) => row.try_into().map(Some),
        None => get(connection, id).await,
    }
}

/// Deletes the subscription of `owner`; says which it was, or none.
pub async fn delete(connection: &impl ConnectionTrait, owner: Owner<'_>) -> Result<Option<SubscriptionId>, StoreError> {
    let Some(subscription) = find(connection, owner).await? else { return Ok(None) };
    let deleted = Entity::delete_by_id(subscription.id.to_string()).exec(connection).await?;
    Ok((deleted.rows_affected > 0).then_some(subscription.id))
}
