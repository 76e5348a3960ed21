//! Questions without an answer: the receiver could not be asked, did not answer, or is being asked right now.
//!
//! Noted before a question is asked and forgotten when it is answered, whatever the answer, so that a crash in between
//! leaves none that nobody asks again. At most one per subscription: the newest.

use sea_orm::sea_query::{Expr, ExprTrait as _, OnConflict, Query};
use sea_orm::{ColumnTrait as _, ConnectionTrait, EntityTrait as _, IntoActiveModel as _};
use sea_orm::{QueryFilter as _, QueryOrder as _, QuerySelect as _};
use slipstream_core::ids::SubscriptionId;
use slipstream_core::timestamp::Timestamp;

use crate::entity::subscription;
use crate::entity::unanswered::{Column, Entity, Model};
use crate::error::StoreError;

/// A question without an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unanswered {
    /// For which subscription.
    pub subscription: SubscriptionId,
    /// Whose receiver was asked.
    pub uri: String,
    /// When it was last asked.
    pub asked_at: Timestamp,
}

/// Notes a question in place of the one that its subscription had.
///
/// # Errors
/// [`StoreError::Conflict`] when the subscription does not exist.
pub async fn put(connection: &impl ConnectionTrait, unanswered: &Unanswered) -> Result<(), StoreError> {
    let replace = OnConflict::column(Column::Subscription).update_columns([Column::Uri, Column::AskedAtMs]).to_owned();
    let row = Model::from(unanswered).into_active_model();
    Entity::insert(row).on_conflict(replace).exec_without_returning(connection).await?;
    Ok(())
}

/// The questions last asked at or before `asked_at`, longest ago first, at most `limit` of them. Not those about the
/// target of a disabled subscription, to which nothing goes whatever the answer.
pub async fn due(
    connection: &impl ConnectionTrait,
    asked_at: Timestamp,
    limit: usize,
) -> Result<Vec<Unanswered>, StoreError> {
    let column = |column: subscription::Column| Expr::col((subscription::Entity, column));
    let disabled = Query::select()
        .expr(Expr::val(1))
        .from(subscription::Entity)
        .and_where(column(subscription::Column::Id).eq(Expr::col((Entity, Column::Subscription))))
        .and_where(column(subscription::Column::Uri).eq(Expr::col((Entity, Column::Uri))))
        .and_where(column(subscription::Column::State).eq(subscription::DISABLED))
        .take();
    let rows = Entity::find()
        .filter(Column::AskedAtMs.lte(asked_at.as_millis()))
        .filter(Expr::exists(disabled).not())
        .order_by_asc(Column::AskedAtMs)
        .order_by_asc(Column::Subscription)
        .limit(limit as u64)
        .all(connection)
        .await?;
    rows.into_iter().map(Unanswered::try_from).collect()
}

/// Notes that the question is asked again at `now`; says whether that is ours to do: not if it was answered, or asked
/// again by somebody else, since it was read.
pub async fn claim(
    connection: &impl ConnectionTrait,
    unanswered: &Unanswered,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let claimed = Entity::update_many()
        .col_expr(Column::AskedAtMs, Expr::value(now.as_millis()))
        .filter(Column::Subscription.eq(unanswered.subscription.to_string()))
        .filter(Column::Uri.eq(unanswered.uri.as_str()))
        .filter(Column::AskedAtMs.eq(unanswered.asked_at.as_millis()))
        .exec(connection)
        .await?;
    Ok(claimed.rows_affected > 0)
}

/// Forgets the question that the receiver at `uri` was asked: it has an answer, or is not to be asked again.
pub async fn answered(
    connection: &impl ConnectionTrait,
    subscription: SubscriptionId,
    uri: &str,
) -> Result<(), StoreError> {
    Entity::delete_many()
        .filter(Column::Subscription.eq(subscription.to_string()))
        .filter(Column::Uri.eq(uri))
        .exec(connection)
        .await?;
    Ok(())
}

/// Forgets the subscription's question, whoever was asked.
pub async fn remove(connection: &impl ConnectionTrait, subscription: SubscriptionId) -> Result<(), StoreError> {
    Entity::delete_by_id(subscription.to_string()).exec(connection).await?;
    Ok(())
}
