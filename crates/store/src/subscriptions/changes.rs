//! What happens to a subscription between its making and its end.
//!
//! Each change is one statement that says in its condition when it has a say, so that a repeat, or a message that comes
//! too late, changes nothing, not even the revision.

use sea_orm::sea_query::{CaseStatement, Expr, ExprTrait as _, SimpleExpr};
use sea_orm::{ColumnTrait as _, ConnectionTrait, EntityTrait as _, QueryFilter as _, UpdateMany};
use slipstream_core::config::{Consent, DisabledReason, EndpointLimits, EndpointState, SigningKey, Subscription};
use slipstream_core::ids::SubscriptionId;
use slipstream_core::timestamp::Timestamp;

use crate::entity::subscription::{ACTIVE, Column, DISABLED, Entity, PENDING, reason_name, state_columns};
use crate::entity::{to_json, to_sealed_json};
use crate::error::StoreError;
use crate::handshakes::wishes::Wish;

/// What a change found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// It was made; this is how the subscription stands now.
    Changed(Subscription),
    /// There was nothing to change, or the change comes too late; this is how the subscription stands.
    Unchanged(Subscription),
    /// There is no such subscription.
    Missing,
}

impl Applied {
    /// How the subscription stands now, changed or not.
    pub fn into_subscription(self) -> Option<Subscription> {
        match self {
            Self::Changed(subscription) | Self::Unchanged(subscription) => Some(subscription),
            Self::Missing => None,
        }
    }

    /// How it stands now, if it was changed.
    pub fn changed(&self) -> Option<&Subscription> {
        match self {
            Self::Changed(subscription) => Some(subscription),
            Self::Unchanged(_) | Self::Missing => None,
        }
    }
}

/// When, and by which revision of its subscription, something was seen of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// When.
    pub at: Timestamp,
    /// The revision with whose target the attempt was made; none if that is not known.
    pub revision: Option<i64>,
}

impl Seen {
    /// Of the target that the subscription has. Without a revision the instants are compared, which are of two clocks, and
    /// who attempts may not have heard of a new target yet.
    fn is_of_the_target(self) -> SimpleExpr {
        match self.revision {
            Some(revision) => Column::TargetRevision.lte(revision),
            None => Column::EnabledAtMs.lte(self.at.as_millis()),
        }
    }
}

/// Every change of the subscription `id`: its revision grows.
fn update(id: SubscriptionId) -> UpdateMany<Entity> {
    Entity::update_many()
        .col_expr(Column::Revision, Expr::col(Column::Revision).add(1))
        .filter(Column::Id.eq(id.to_string()))
}

async fn apply(
    connection: &impl ConnectionTrait,
    id: SubscriptionId,
    update: UpdateMany<Entity>,
) -> Result<Applied, StoreError> {
    if let Some(row) = update.exec_with_returning(connection).await?.into_iter().next() {
        return Ok(Applied::Changed(row.try_into()?));
    }
    Ok(super::get(connection, id).await?.map_or(Applied::Missing, Applied::Unchanged))
}

/// Ends a disabling at `now`: the endpoint is healthy and in the state `to`, which is active, or pending if its receiver
/// has yet to consent, and then still counts as one that was disabled ([`super::was_disabled`]). One that is not disabled
/// is left alone.
pub async fn enable(
    connection: &impl ConnectionTrait,
    id: SubscriptionId,
    to: EndpointState,
    now: Timestamp,
) -> Result<Applied, StoreError> {
    let update = begin_at(now, to, update(id)).filter(Column::State.eq(DISABLED));
    apply(connection, id, update).await
}

/// Puts what was wished in the place of what stands, at `now`, in the state `to`, active or pending, with `consent`. What
/// was seen of the endpoint before has no say any more. Id, signing keys and limits stay.
pub async fn replace(
    connection: &impl ConnectionTrait,
    wish: &Wish,
    to: EndpointState,
    consent: &Consent,
    now: Timestamp,
) -> Result<Applied, StoreError> {
    let update = begin_at(now, to, update(wish.subscription))
        .col_expr(Column::Uri, Expr::value(wish.uri.as_str()))
        .col_expr(Column::Headers, Expr::value(to_sealed_json(&wish.headers)?))
        .col_expr(Column::EventTypes, Expr::value(to_json(&wish.event_types)))
        .col_expr(Column::Consent, Expr::value(to_json(consent)));
    apply(connection, wish.subscription, update).await
}

/// From `now` on the endpoint is healthy and in the state `to`.
fn begin_at(now: Timestamp, to: EndpointState, update: UpdateMany<Entity>) -> UpdateMany<Entity> {
    let (state, reason) = state_columns(to);
    let update = update
        .col_expr(Column::State, Expr::value(state))
        .col_expr(Column::EnabledAtMs, Expr::value(now.as_millis()))
        // That of this change: an expression sees the row as it was.
        .col_expr(Column::TargetRevision, Expr::col(Column::Revision).add(1))
        .col_expr(Column::DegradedSinceMs, Expr::value(None::<i64>))
        .col_expr(Column::HealthAtMs, Expr::value(now.as_millis()));
    // One that is only pending has yet to come back.
    if to == EndpointState::Pending { update } else { update.col_expr(Column::DisabledReason, Expr::value(reason)) }
}

/// Lets the endpoint take no more deliveries.
///
/// `seen` is given if the reason was seen by a delivery: a subscription that has been made or enabled since, or is disabled
/// already, is left alone, so that a late message cannot undo what its owner or an operator did after it; and one that
/// failed for days must be degraded by then, or it has taken a delivery since. An operator's reason takes the place of
/// another.
pub async fn disable(
    connection: &impl ConnectionTrait,
    id: SubscriptionId,
    reason: DisabledReason,
    seen: Option<Seen>,
) -> Result<Applied, StoreError> {
    let name = reason_name(reason);
    let mut update =
        update(id).col_expr(Column::State, Expr::value(DISABLED)).col_expr(Column::DisabledReason, Expr::value(name));
    if let Some(seen) = seen {
        update = update.filter(Column::State.ne(DISABLED)).filter(seen.is_of_the_target());
        if reason == DisabledReason::Failing {
            update = update.filter(Column::DegradedSinceMs.lte(seen.at.as_millis()));
        }
    } else {
        update = update.filter(Column::State.ne(DISABLED).or(Column::DisabledReason.ne(name)));
    }
    apply(connection, id, update).await
}

/// Says that an active endpoint has been failing since `since`, as was `seen` (SPEC 4.4).
///
/// One that is degraded already stays so since when it was; one whose health was told or reset later is left alone. What
/// failed before it was last healthy does not count.
pub async fn degrade(
    connection: &impl ConnectionTrait,
    id: SubscriptionId,
    since: Timestamp,
    seen: Seen,
) -> Result<Applied, StoreError> {
    let since = since.as_millis();
    let since = CaseStatement::new()
        .case(Expr::col(Column::HealthAtMs).gt(since), Expr::col(Column::HealthAtMs))
        .finally(Expr::value(since));
    let update = update(id)
        .col_expr(Column::DegradedSinceMs, since.into())
        .col_expr(Column::HealthAtMs, Expr::value(seen.at.as_millis()))
        .filter(Column::State.eq(ACTIVE))
        .filter(Column::DegradedSinceMs.is_null())
        .filter(seen.is_of_the_target())
        .filter(Column::HealthAtMs.lt(seen.at.as_millis()));
    apply(connection, id, update).await
}

/// Says that a degraded endpoint took a delivery, as was `seen` (SPEC 4.4). One that is not degraded, not
/// active, or whose health was told or reset later is left alone.
pub async fn recover(connection: &impl ConnectionTrait, id: SubscriptionId, seen: Seen) -> Result<Applied, StoreError> {
    let update = update(id)
        .col_expr(Column::DegradedSinceMs, Expr::value(None::<i64>))
        .col_expr(Column::HealthAtMs, Expr::value(seen.at.as_millis()))
        .filter(Column::State.eq(ACTIVE))
        .filter(Column::DegradedSinceMs.is_not_null())
        .filter(seen.is_of_the_target())
        .filter(Column::HealthAtMs.lte(seen.at.as_millis()));
    apply(connection, id, update).await
}

/// What a receiver agreed to.
#[derive(Debug, Clone, Copy)]
pub struct Grant<'a> {
    /// Where it was asked; a subscription that has another target by now is left alone.
    pub uri: &'a str,
    /// In whose name.
    pub origin: &'a str,
    /// Requests per minute; none means any number.
    pub rate_per_minute: Option<u32>,
}

/// Says that the receiver agreed to be called (SPEC 3.7); a pending endpoint becomes active.
pub async fn grant(
    connection: &impl ConnectionTrait,
    id: SubscriptionId,
    grant: Grant<'_>,
) -> Result<Applied, StoreError> {
    let Grant { uri, origin, rate_per_minute } = grant;
    let consent = to_json(&Consent::Granted { origin: origin.to_owned(), rate_per_minute });
    let state = CaseStatement::new()
        .case(Expr::col(Column::State).eq(PENDING), Expr::value(ACTIVE))
        .finally(Expr::col(Column::State));
    // None for one that becomes active: it has come back.
    let reason = CaseStatement::new().case(Expr::col(Column::State).ne(PENDING), Expr::col(Column::DisabledReason));
    let update = update(id)
        .col_expr(Column::State, state.into())
        .col_expr(Column::DisabledReason, reason.into())
        .col_expr(Column::Consent, Expr::value(consent.as_str()))
        .filter(Column::Uri.eq(uri))
        .filter(Column::State.eq(PENDING).or(Column::Consent.ne(consent.as_str())));
    apply(connection, id, update).await
}

/// Sets what an operator allows the endpoint.
pub async fn set_limits(
    connection: &impl ConnectionTrait,
    id: SubscriptionId,
    limits: EndpointLimits,
) -> Result<Applied, StoreError> {
    let limits = to_json(&limits);
    let update =
        update(id).col_expr(Column::Limits, Expr::value(limits.as_str())).filter(Column::Limits.ne(limits.as_str()));
    apply(connection, id, update).await
}

/// Puts `keys` in place of the keys that sign. They are made from those that stand, so [`super::lock`] comes first.
pub async fn replace_signing_keys(
    connection: &impl ConnectionTrait,
    id: SubscriptionId,
    keys: &[SigningKey],
) -> Result<Applied, StoreError> {
    let update = update(id).col_expr(Column::SigningKeys, Expr::value(to_sealed_json(keys)?));
    apply(connection, id, update).await
}

/// Puts the headers and signing keys of `sealed` in place of those that stand, for one that was written in clear by a
/// release before sealing. They are made from those that stand, so [`super::lock`] comes first.
pub async fn replace_secrets(connection: &impl ConnectionTrait, sealed: &Subscription) -> Result<Applied, StoreError> {
    let update = update(sealed.id)
        .col_expr(Column::Headers, Expr::value(to_sealed_json(&sealed.headers)?))
        .col_expr(Column::SigningKeys, Expr::value(to_sealed_json(&sealed.signing_keys)?));
    apply(connection, sealed.id, update).await
}
