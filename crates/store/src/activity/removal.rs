//! Subscriptions that were removed: what they have not received is cancelled, also what is recorded afterwards.
//!
//! The registry takes a removed subscription's waiting deliveries off the bus, so nothing more is said of them; but that
//! they were made, or put off, may still be on its way here, and would be recorded as waiting for ever. So removals are
//! remembered. A writer that records a delivery as waiting looks whether its subscription was removed, after it has
//! committed; one that records a removal looks for what waits, after it has committed. Whichever comes second sees the
//! other. If that one dies in between, its messages come again.
//!
//! A cancellation is the lowest of final states: what really became of a delivery holds against it whenever it is heard of.

use std::collections::HashMap;

use sea_orm::{ConnectionTrait, FromQueryResult, Statement, Value};
use slipstream_core::config::Surface;
use slipstream_core::delivery::{DeliveryState, Reason};
use slipstream_core::timestamp::Timestamp;
use uuid::Uuid;

use super::batch::{DeliveryRecord, Removal};
use super::code::Code;
use super::counting::Counts;
use super::query::{Conditions, KEYS_MAX, add_keys, big, of_ids};
use super::upsert::Upsert;
use crate::ecg::activities;
use crate::entity::Row;
use crate::error::StoreError;
use crate::store::Store;

/// How many deliveries of a removed subscription are cancelled by one transaction.
const CANCELLED_MAX: usize = 2000;

/// The first one that is heard of holds: there is one per subscription.
const REMOVED: Upsert = Upsert {
    table: "removed_subscriptions",
    columns: &["subscription", "removed_ms"],
    on_conflict: "(subscription) DO NOTHING",
};

/// Remembers removals; with the rest of their batch.
pub(super) async fn remember(connection: &impl ConnectionTrait, removals: &[Removal]) -> Result<(), StoreError> {
    let bind = |removal: Removal, values: &mut Vec<Value>| {
        values.extend([Value::Uuid(Some(removal.subscription.0)), big(removal.at.as_millis())]);
    };
    REMOVED.run(connection, removals.to_vec(), bind).await
}

/// A delivery that a batch says waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    subscription: Uuid,
    created_ms: i64,
    id: Uuid,
}

/// What waits, of `deliveries`, in the order of the subscriptions.
pub(super) fn waiting(deliveries: &[DeliveryRecord]) -> Vec<Waiting> {
    let waiting = deliveries.iter().filter(|delivery| !delivery.state.is_terminal());
    let mut waiting: Vec<_> = waiting
        .map(|it| Waiting { subscription: it.subscription.0, created_ms: it.created_at().as_millis(), id: it.id.0 })
        .collect();
    waiting.sort_unstable_by_key(|it| (it.subscription, it.id));
    waiting
}

/// Cancels what is recorded as waiting of the subscriptions that were just removed, and what was just recorded as waiting
/// of those that were removed before. What wrote either has been committed.
pub(super) async fn settle(store: &Store, removals: &[Removal], waiting: &[Waiting]) -> Result<(), StoreError> {
    for removal in removals {
        let subscription = removal.subscription.0;
        // `state <> 60` says nothing new; it lets both planners use the partial index.
        let which = "(created_ms, id) IN (SELECT created_ms, id FROM deliveries \
                     WHERE state IN (0, 10) AND state <> 60 AND subscription = $ LIMIT $)";
        let values = || [Value::Uuid(Some(subscription)), big(CANCELLED_MAX as i64)];
        while cancel(store, subscription, removal.at, |it| it.add(which, values())).await? == CANCELLED_MAX {}
    }
    for (subscription, at) in removed(store.connection(), waiting).await? {
        let of_it = waiting.iter().filter(|it| it.subscription == subscription);
        let keys: Vec<_> = of_it.map(|it| (it.created_ms, Value::Uuid(Some(it.id)))).collect();
        for keys in keys.chunks(KEYS_MAX) {
            cancel(store, subscription, at, |it| add_keys(it, "(created_ms, id)", keys)).await?;
        }
    }
    Ok(())
}

/// When those subscriptions of `waiting` that were removed were.
async fn removed(
    connection: &impl ConnectionTrait,
    waiting: &[Waiting],
) -> Result<HashMap<Uuid, Timestamp>, StoreError> {
    #[derive(FromQueryResult)]
    struct Removed {
        subscription: Uuid,
        removed_ms: i64,
    }
    let mut ids: Vec<_> = waiting.iter().map(|it| it.subscription).collect();
    ids.dedup();
    let mut removed = HashMap::new();
    for (places, values) in of_ids(&ids) {
        let sql =
            format!("SELECT subscription, removed_ms FROM removed_subscriptions WHERE subscription IN ({places})");
        let statement = Statement::from_sql_and_values(connection.get_database_backend(), sql, values);
        let rows = Removed::find_by_statement(statement).all(connection).await?;
        removed.extend(rows.into_iter().map(|it| (it.subscription, Timestamp::from_millis(it.removed_ms))));
    }
    Ok(removed)
}

#[derive(FromQueryResult)]
struct Cancelled {
    created_ms: i64,
    id: Uuid,
    surface: i16,
    state_before: i16,
}

/// Cancels those deliveries of a removed subscription that wait and that the conditions name; says how many.
async fn cancel(
    store: &Store,
    subscription: Uuid,
    at: Timestamp,
    which: impl FnOnce(&mut Conditions),
) -> Result<usize, StoreError> {
    let transaction = store.begin().await?;
    let mut conditions = Conditions::after(vec![
        Value::SmallInt(Some(DeliveryState::Cancelled.code())),
        Value::SmallInt(Some(Reason::SubscriptionRemoved.code())),
        big(at.as_millis()),
    ]);
    conditions.add("state IN (0, 10)", []);
    which(&mut conditions);
    let (condition, values) = conditions.into_where();
    let sql = format!(
        "UPDATE deliveries SET state_before = state, state = $1, reason = $2, next_attempt_ms = NULL, \
         updated_ms = $3{condition} RETURNING created_ms, id, surface, state_before"
    );
    let statement = Statement::from_sql_and_values(transaction.get_database_backend(), sql, values);
    let cancelled = Cancelled::find_by_statement(statement).all(&transaction).await?;
    let mut counts = Counts::default();
    for it in &cancelled {
        let from =
            Row { table: "deliveries", key: "*" }.name("state_before", DeliveryState::from_code(it.state_before))?;
        counts.moved(subscription, it.created_ms, Some(from), DeliveryState::Cancelled);
    }
    let posts = cancelled.iter().filter(|it| it.surface == Surface::Ecg.code()).map(|it| it.id);
    let of_posts = activities::settle(&transaction, posts.collect()).await?;
    counts.add(&transaction).await?;
    of_posts.add(&transaction).await?;
    transaction.commit().await?;
    Ok(cancelled.len())
}
