//! What happens to a subscription between its making and its end.
//!
//! Whatever its owner changes is made from what stands, so [`super::lock`] comes first. What a delivery found has a say
//! only about the target that the subscription has, so that a repeat, or a message that comes too late, changes nothing.

use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{ColumnTrait as _, DatabaseTransaction, EntityTrait as _, IntoActiveModel as _};
use sea_orm::{QueryFilter as _, QuerySelect as _};
use slipstream_core::config::EcgSubscription;
use slipstream_core::ids::{EcgEventId, SubscriptionId};
use slipstream_core::timestamp::Timestamp;

use super::super::secrets::{self, Kept, Wanted};
use super::one;
use crate::entity::ecg_secret;
use crate::entity::ecg_subscription::{Column, Entity, Model};
use crate::entity::ecg_subscription_event as event;
use crate::error::StoreError;
use crate::subscriptions::Seen;

/// Creates `subscription` as it stands, with its secrets, which are sealed. Its events are not deleted meanwhile if
/// [`super::super::events::hold`] comes first.
///
/// # Errors
/// [`StoreError::Conflict`] when its id is taken; [`StoreError::NotSealed`].
pub async fn create(transaction: &DatabaseTransaction, subscription: &EcgSubscription) -> Result<(), StoreError> {
    Entity::insert(Model::new(subscription).into_active_model()).exec_without_returning(transaction).await?;
    insert_events(transaction, subscription.id, &subscription.events).await?;
    for secret in &subscription.secrets {
        let kept = Kept { subscription: subscription.id, secret: secret.clone(), stamps: subscription.stamps };
        let row = ecg_secret::Model::new(&kept)?.into_active_model();
        ecg_secret::Entity::insert(row).exec_without_returning(transaction).await?;
    }
    Ok(())
}

/// Puts `changed` in place of the subscription with its id; its revision is one more than that which stands. Organization
/// and secrets stay as they are, and so does its health, unless it `begins`: is switched on, or gets another target. Then
/// it is healthy, and what was seen of its endpoint until its last change has no say any more.
pub async fn replace(
    transaction: &DatabaseTransaction,
    changed: &EcgSubscription,
    begins: bool,
) -> Result<EcgSubscription, StoreError> {
    let row = Model::new(changed);
    let mut update = Entity::update_many()
        .col_expr(Column::PostUri, Expr::value(row.post_uri))
        .col_expr(Column::Version, Expr::value(row.version))
        .col_expr(Column::IsDevelopment, Expr::value(row.is_development))
        .col_expr(Column::Active, Expr::value(row.active))
        .col_expr(Column::ActiveChangedAtMs, Expr::value(row.active_changed_at_ms))
        .col_expr(Column::Archived, Expr::value(row.archived))
        .col_expr(Column::ArchivedChangedAtMs, Expr::value(row.archived_changed_at_ms))
        .col_expr(Column::UpdatedAtMs, Expr::value(row.updated_at_ms))
        .col_expr(Column::UpdatedBy, Expr::value(row.updated_by))
        .col_expr(Column::DeletedAtMs, Expr::value(row.deleted_at_ms))
        .col_expr(Column::Revision, Expr::col(Column::Revision).add(1))
        .filter(Column::Id.eq(row.id.as_str()));
    if begins {
        update = update
            .col_expr(Column::EnabledAtMs, Expr::value(row.enabled_at_ms))
            // That of this change: an expression sees the row as it was.
            .col_expr(Column::TargetRevision, Expr::col(Column::Revision).add(1))
            .col_expr(Column::DegradedSinceMs, Expr::value(None::<i64>))
            .col_expr(Column::HealthAtMs, Expr::value(row.health_at_ms));
    }
    update.exec(transaction).await?;
    event::Entity::delete_many().filter(event::Column::Subscription.eq(row.id.as_str())).exec(transaction).await?;
    insert_events(transaction, changed.id, &changed.events).await?;
    let row = Entity::find_by_id(row.id).one(transaction).await?;
    let now = one(transaction, row, Wanted::Current).await?;
    // Nobody deletes a row.
    now.ok_or_else(|| StoreError::Refused(sea_orm::DbErr::RecordNotUpdated))
}

/// Makes a tombstone of the subscription, as of the last change of `changed`: without its secrets, and switched off by
/// nobody's having a use for it.
pub async fn delete(
    transaction: &DatabaseTransaction,
    changed: &EcgSubscription,
) -> Result<EcgSubscription, StoreError> {
    secrets::remove_all(transaction, changed.id).await?;
    let deleted = EcgSubscription { deleted: true, secrets: Vec::new(), ..changed.clone() };
    replace(transaction, &deleted, false).await
}

/// What a delivery found of a subscription's endpoint (SPEC 4.2, 4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// It answered 410.
    Gone,
    /// It has done nothing but fail for days.
    Failing,
    /// It has been failing since then.
    Degraded(Timestamp),
    /// It took a delivery.
    Recovered,
}

/// What became of a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// The subscription changed; this is how it stands now.
    Changed(Box<EcgSubscription>),
    /// There was nothing to change, or it comes too late.
    Unchanged,
    /// There is no such subscription, or it is deleted.
    Missing,
}

/// Takes in what a delivery found: one that is gone or failing is switched off, until its owner switches it on again. Who
/// last changed it stays who its owner is.
pub async fn found(
    transaction: &DatabaseTransaction,
    id: SubscriptionId,
    found: Found,
    seen: Seen,
) -> Result<Applied, StoreError> {
    let there = Entity::find_by_id(id.to_string()).filter(Column::DeletedAtMs.is_null());
    let Some(mut row) = there.lock_exclusive().one(transaction).await? else { return Ok(Applied::Missing) };
    let at = seen.at.as_millis();
    let is_of_the_target = match seen.revision {
        Some(revision) => row.target_revision <= revision,
        None => row.enabled_at_ms <= at,
    };
    let has_a_say = row.active
        && is_of_the_target
        && match found {
            Found::Gone => true,
            // Else it has taken a delivery since.
            Found::Failing => row.degraded_since_ms.is_some_and(|since| since <= at),
            Found::Degraded(_) => row.degraded_since_ms.is_none() && row.health_at_ms < at,
            Found::Recovered => row.degraded_since_ms.is_some() && row.health_at_ms <= at,
        };
    if !has_a_say {
        return Ok(Applied::Unchanged);
    }
    match found {
        Found::Gone | Found::Failing => {
            row.active = false;
            row.active_changed_at_ms = std::cmp::max(row.active_changed_at_ms, at);
        }
        // What failed before it was last healthy does not count.
        Found::Degraded(since) => row.degraded_since_ms = Some(std::cmp::max(since.as_millis(), row.health_at_ms)),
        Found::Recovered => row.degraded_since_ms = None,
    }
    if matches!(found, Found::Degraded(_) | Found::Recovered) {
        row.health_at_ms = at;
    }
    Entity::update_many()
        .col_expr(Column::Active, Expr::value(row.active))
        .col_expr(Column::ActiveChangedAtMs, Expr::value(row.active_changed_at_ms))
        .col_expr(Column::DegradedSinceMs, Expr::value(row.degraded_since_ms))
        .col_expr(Column::HealthAtMs, Expr::value(row.health_at_ms))
        .col_expr(Column::Revision, Expr::col(Column::Revision).add(1))
        .filter(Column::Id.eq(row.id.as_str()))
        .exec(transaction)
        .await?;
    row.revision += 1;
    let now = one(transaction, Some(row), Wanted::Current).await?;
    Ok(now.map_or(Applied::Missing, |now| Applied::Changed(Box::new(now))))
}

async fn insert_events(
    transaction: &DatabaseTransaction,
    subscription: SubscriptionId,
    events: &[EcgEventId],
) -> Result<(), StoreError> {
    if events.is_empty() {
        return Ok(());
    }
    let row = |(position, event): (usize, &EcgEventId)| event::Model {
        subscription: subscription.to_string(),
        event: event.to_string(),
        position: i32::try_from(position).unwrap_or(i32::MAX),
    };
    let rows = events.iter().enumerate().map(|it| row(it).into_active_model());
    event::Entity::insert_many(rows).exec_without_returning(transaction).await?;
    Ok(())
}
