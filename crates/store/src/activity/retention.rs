//! Forgetting what is old (SPEC 4.7), a little at a time.

use sea_orm::{ConnectionTrait as _, FromQueryResult, Statement, Value};
use slipstream_core::timestamp::Timestamp;
use uuid::Uuid;

use crate::ecg::activities;
use crate::error::StoreError;
use crate::store::Store;

/// What is older than these instants is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Deliveries with their attempts that came into a final state before; events without deliveries; quarantine; what
    /// endpoints' deliveries amounted to; posts of the ECG surface, in whole trees; 30 days later, which subscriptions were
    /// removed.
    pub records_before: Timestamp,
    /// Response bytes of attempts that started before, also of posts.
    pub responses_before: Timestamp,
}

#[derive(FromQueryResult)]
struct Old {
    created_ms: i64,
    id: Uuid,
    event_key: String,
}

/// How much longer than records it is remembered that a subscription was removed: records of its deliveries wait on the bus
/// for as long as the database is away.
const REMOVALS_KEPT_MS: i64 = 30 * 24 * 3600 * 1000;

/// Whether event `e` is old. It goes after its deliveries: they are what keeps it, by (`created_ms`, `event_key`).
const IS_OLD: &str = "e.accepted_ms < $1 AND COALESCE(e.routed_ms, e.cancelled_ms, e.intended_ms, e.accepted_ms) < $1 \
                      AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.created_ms = e.accepted_ms \
                      AND d.event_key = e.key)";

/// Forgets at most `limit` of each kind, in transactions of their own; says how many rows it touched in all. Call it
/// again until that is 0.
///
/// `limit` bounds how long a writer may have to wait for us; at most 10,000.
pub async fn expire(store: &Store, retention: Retention, limit: usize) -> Result<u64, StoreError> {
    let (limit, before) = (limit.clamp(1, 10_000), retention.records_before);
    let mut touched = forget_deliveries(store, before, limit).await?;
    touched += activities::expire(store, retention, limit).await?;
    // Those that never had a delivery.
    let sql = format!(
        "DELETE FROM events WHERE (accepted_ms, key) IN (SELECT e.accepted_ms, e.key FROM events e \
         WHERE {IS_OLD} ORDER BY e.accepted_ms LIMIT $2)"
    );
    touched += forget(store, &sql, before, limit).await?;
    touched += forget(
        store,
        "UPDATE attempts SET response = NULL WHERE (delivery_id, number) IN (SELECT delivery_id, number \
         FROM attempts WHERE response IS NOT NULL AND started_ms < $1 ORDER BY started_ms LIMIT $2)",
        retention.responses_before,
        limit,
    )
    .await?;
    touched += forget(
        store,
        "DELETE FROM quarantine WHERE id IN (SELECT id FROM quarantine WHERE received_ms < $1 LIMIT $2)",
        before,
        limit,
    )
    .await?;
    // What waits is counted until it has ended.
    touched += forget(
        store,
        "DELETE FROM endpoint_hours WHERE (subscription, hour_ms) IN (SELECT subscription, hour_ms FROM endpoint_hours \
         WHERE hour_ms < $1 - 3600000 AND waiting <= 0 LIMIT $2)",
        before,
        limit,
    )
    .await?;
    touched += forget(
        store,
        "DELETE FROM removed_subscriptions WHERE subscription IN (SELECT subscription FROM removed_subscriptions \
         WHERE removed_ms < $1 LIMIT $2)",
        Timestamp::from_millis(before.as_millis().saturating_sub(REMOVALS_KEPT_MS)),
        limit,
    )
    .await?;
    Ok(touched)
}

async fn forget(store: &Store, sql: &str, before: Timestamp, limit: usize) -> Result<u64, StoreError> {
    let connection = store.connection();
    let values = [Value::BigInt(Some(before.as_millis())), Value::BigInt(Some(limit as i64))];
    let statement = Statement::from_sql_and_values(connection.get_database_backend(), sql, values);
    Ok(connection.execute_raw(statement).await?.rows_affected())
}

/// Forgets deliveries, and in the same transaction the events that have none left by that: between the two they would
/// count as events that nobody matched.
async fn forget_deliveries(store: &Store, before: Timestamp, limit: usize) -> Result<u64, StoreError> {
    let connection = store.connection();
    let backend = connection.get_database_backend();
    // A delivery ends after it is made, so `created_ms` bounds the search and the key finds the oldest.
    let sql = "SELECT created_ms, id, event_key FROM deliveries WHERE created_ms < $1 AND updated_ms < $1 AND state >= 20 \
               ORDER BY created_ms, id LIMIT $2";
    let values = [Value::BigInt(Some(before.as_millis())), Value::BigInt(Some(limit as i64))];
    let old = Old::find_by_statement(Statement::from_sql_and_values(backend, sql, values)).all(connection).await?;
    if old.is_empty() {
        return Ok(0);
    }
    let list = |each: &dyn Fn(usize) -> String| (0..old.len()).map(each).collect::<Vec<_>>().join(", ");
    let transaction = store.begin().await?;
    let sql = format!("DELETE FROM attempts WHERE delivery_id IN ({})", list(&|row| format!("${}", row + 1)));
    let values = old.iter().map(|key| Value::Uuid(Some(key.id)));
    transaction.execute_raw(Statement::from_sql_and_values(backend, sql, values)).await?;
    let pairs = list(&|row| format!("(${}, ${})", row * 2 + 1, row * 2 + 2));
    let sql = format!("DELETE FROM deliveries WHERE (created_ms, id) IN (VALUES {pairs})");
    let values = old.iter().flat_map(|key| [Value::BigInt(Some(key.created_ms)), Value::Uuid(Some(key.id))]);
    let deleted = transaction.execute_raw(Statement::from_sql_and_values(backend, sql, values)).await?.rows_affected();
    let pairs = list(&|row| format!("(${}, ${})", row * 2 + 2, row * 2 + 3));
    let sql = format!(
        "DELETE FROM events WHERE (accepted_ms, key) IN (SELECT e.accepted_ms, e.key FROM events e \
         WHERE (e.accepted_ms, e.key) IN (VALUES {pairs}) AND {IS_OLD})"
    );
    let keys =
        old.into_iter().flat_map(|key| [Value::BigInt(Some(key.created_ms)), Value::String(Some(key.event_key))]);
    let values = std::iter::once(Value::BigInt(Some(before.as_millis()))).chain(keys);
    let events = transaction.execute_raw(Statement::from_sql_and_values(backend, sql, values)).await?.rows_affected();
    transaction.commit().await?;
    Ok(deleted + events)
}
