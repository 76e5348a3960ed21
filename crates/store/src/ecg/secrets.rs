//! The secrets of ECG subscriptions: each good for what is made in its time, `[valid_from, valid_to)` (SPEC 6.6).
//!
//! The times of a subscription's secrets follow each other without a gap and none is empty; the last one has no end. What
//! is here is sealed.

use std::collections::HashMap;

use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait as _, ConnectionTrait, DatabaseTransaction, EntityTrait as _, IntoActiveModel as _};
use sea_orm::{
    FromQueryResult as _, PaginatorTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, Statement,
};
use slipstream_core::config::{EcgSecret, SECRETS_KNOWN_MAX, Stamps};
use slipstream_core::ids::{EcgSecretId, SubscriptionId};
use slipstream_core::sealing::SecretText;
use slipstream_core::timestamp::Timestamp;
use uuid::Uuid;

use super::{Listed, Slice};
use crate::entity::ecg_secret::{Column, Entity, Model};
use crate::error::StoreError;

/// A secret in the history of its subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Whose.
    pub subscription: SubscriptionId,
    /// The secret, and its time.
    pub secret: EcgSecret,
    /// Who made it and who ended its time, and when.
    pub stamps: Stamps,
}

/// A secret that is to be the current one from now on.
#[derive(Debug, Clone)]
pub struct NewSecret {
    /// Its id.
    pub id: EcgSecretId,
    /// The secret, sealed.
    pub secret: SecretText,
    /// Who makes it.
    pub by: Uuid,
    /// When.
    pub now: Timestamp,
}

/// The secret of a subscription that is good for what is made at `at`; none before the first.
pub async fn at(
    connection: &impl ConnectionTrait,
    subscription: SubscriptionId,
    at: Timestamp,
) -> Result<Option<EcgSecret>, StoreError> {
    let row = Entity::find()
        .filter(Column::Subscription.eq(subscription.to_string()))
        .filter(Column::ValidFromMs.lte(at.as_millis()))
        .order_by_desc(Column::ValidFromMs)
        .one(connection)
        .await?;
    Ok(row.map(Kept::try_from).transpose()?.map(|kept| kept.secret))
}

/// The current secret of a subscription; none of a deleted one.
pub async fn current(
    connection: &impl ConnectionTrait,
    subscription: SubscriptionId,
) -> Result<Option<Kept>, StoreError> {
    let open =
        Entity::find().filter(Column::Subscription.eq(subscription.to_string())).filter(Column::ValidToMs.is_null());
    open.one(connection).await?.map(Kept::try_from).transpose()
}

/// The secret of a subscription with this id, if there is one.
pub async fn get(
    connection: &impl ConnectionTrait,
    subscription: SubscriptionId,
    id: EcgSecretId,
) -> Result<Option<Kept>, StoreError> {
    let row = Entity::find_by_id(id.to_string()).filter(Column::Subscription.eq(subscription.to_string()));
    row.one(connection).await?.map(Kept::try_from).transpose()
}

/// A part of a subscription's history of secrets, by the beginning of their times.
pub async fn page(
    connection: &impl ConnectionTrait,
    subscription: SubscriptionId,
    slice: Slice,
) -> Result<Listed<Kept>, StoreError> {
    let all = Entity::find().filter(Column::Subscription.eq(subscription.to_string()));
    let total = all.clone().count(connection).await?;
    let rows = all
        .order_by(Column::ValidFromMs, slice.order.into())
        .offset(slice.offset)
        .limit(slice.limit)
        .all(connection)
        .await?;
    Ok(Listed { items: rows.into_iter().map(Kept::try_from).collect::<Result<_, _>>()?, total })
}

/// Makes `new` the current secret of a subscription, and ends the time of the one before where the new one's begins.
///
/// That is now, or a millisecond after the one before began, if that is later: so that of two within a millisecond, or by
/// two clocks, each has a time. The history is locked by [`super::subscriptions::lock`], which comes first.
///
/// # Errors
/// [`StoreError::NotSealed`] when it is not sealed; [`StoreError::Conflict`] when its id is taken.
pub async fn replace(
    transaction: &DatabaseTransaction,
    subscription: SubscriptionId,
    new: NewSecret,
) -> Result<Kept, StoreError> {
    let NewSecret { id, secret, by, now } = new;
    let before = current(transaction, subscription).await?;
    let valid_from = before.map_or(now, |before| {
        let earliest = before.secret.valid_from.as_millis().saturating_add(1);
        Timestamp::from_millis(now.as_millis().max(earliest))
    });
    Entity::update_many()
        .col_expr(Column::ValidToMs, Expr::value(valid_from.as_millis()))
        .col_expr(Column::UpdatedAtMs, Expr::value(now.as_millis()))
        .col_expr(Column::UpdatedBy, Expr::value(by.to_string()))
        .filter(Column::Subscription.eq(subscription.to_string()))
        .filter(Column::ValidToMs.is_null())
        .exec(transaction)
        .await?;
    let secret = EcgSecret { id, secret, valid_from, valid_to: None };
    let kept = Kept { subscription, secret, stamps: Stamps::new(by, now) };
    Entity::insert(Model::new(&kept)?.into_active_model()).exec_without_returning(transaction).await?;
    Ok(kept)
}

/// Forgets all secrets of a subscription.
pub(super) async fn remove_all(
    transaction: &DatabaseTransaction,
    subscription: SubscriptionId,
) -> Result<(), StoreError> {
    Entity::delete_many().filter(Column::Subscription.eq(subscription.to_string())).exec(transaction).await?;
    Ok(())
}

/// Which secrets of a subscription are wanted with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The current one.
    Current,
    /// The newest [`SECRETS_KNOWN_MAX`].
    Known,
}

/// The secrets of the subscriptions called `ids`, or of all, the newest of each in front.
pub(super) async fn by_subscription(
    connection: &impl ConnectionTrait,
    ids: Option<&[String]>,
    wanted: Wanted,
) -> Result<HashMap<String, Vec<EcgSecret>>, StoreError> {
    let rows = match (ids, wanted) {
        (None, Wanted::Known) => newest(connection).await?,
        (ids, wanted) => {
            let mut query = Entity::find().order_by_desc(Column::ValidFromMs);
            if let Some(ids) = ids {
                query = query.filter(Column::Subscription.is_in(ids.iter().map(String::as_str)));
            }
            if wanted == Wanted::Current {
                query = query.filter(Column::ValidToMs.is_null());
            } else if let Some([_]) = ids {
                query = query.limit(SECRETS_KNOWN_MAX as u64);
            }
            query.all(connection).await?
        }
    };
    let mut secrets: HashMap<String, Vec<EcgSecret>> = HashMap::new();
    for row in rows {
        let of = secrets.entry(row.subscription.clone()).or_default();
        if of.len() < SECRETS_KNOWN_MAX {
            of.push(Kept::try_from(row)?.secret);
        }
    }
    Ok(secrets)
}

/// The newest secrets of every subscription.
async fn newest(connection: &impl ConnectionTrait) -> Result<Vec<Model>, StoreError> {
    let sql = "SELECT * FROM (SELECT s.*, ROW_NUMBER() OVER (PARTITION BY subscription ORDER BY valid_from_ms DESC) AS place \
               FROM ecg_secrets s) ranked WHERE place <= $1 ORDER BY valid_from_ms DESC";
    let most = i64::try_from(SECRETS_KNOWN_MAX).expect("a small number");
    let statement = Statement::from_sql_and_values(connection.get_database_backend(), sql, [most.into()]);
    Ok(Model::find_by_statement(statement).all(connection).await?)
}
