//! Forgetting posts: a tree goes as a whole.
//!
//! It goes when its deliveries are forgotten, which is some time after they have ended, and nothing of it was changed for as
//! long; so does what nobody has heard of but by its outcomes.

use std::collections::BTreeSet;

use sea_orm::{ConnectionTrait, FromQueryResult, Statement, Value};
use uuid::Uuid;

use super::counts::Counts;
use super::row::{ActivityRow, COLUMNS, lock_roots};
use crate::activity::Retention;
use crate::activity::query::{big, of_ids};
use crate::error::StoreError;
use crate::store::Store;

/// Whether the tree of root `r` is old, before `$1`. Its deliveries were accepted when the root was made.
///
/// Counted per root, by its own index: as a join of all trees this would look at every activity there is.
const IS_OLD: &str = "r.parent IS NULL AND r.created_ms < $1 AND (SELECT COUNT(*) FROM ecg_activities a \
                      WHERE a.root = r.id AND (a.updated_ms >= $1 OR a.next_retry_ms >= $1 \
                      OR (SELECT COUNT(*) FROM ecg_unsent u WHERE u.id = a.id) > 0 \
                      OR (SELECT COUNT(*) FROM deliveries d WHERE d.created_ms = r.created_ms \
                      AND d.id = a.delivery) > 0)) = 0";

#[derive(FromQueryResult)]
struct Old {
    id: Uuid,
}

/// The first bytes of answers that we got. What others tell of theirs is part of their history.
const FORGET_RESPONSES: &str = "UPDATE ecg_activities SET raw_response = NULL WHERE id IN (SELECT id FROM ecg_activities \
                                WHERE raw_response IS NOT NULL AND dispatch = 0 AND posted_ms < $1 \
                                ORDER BY posted_ms LIMIT $2)";

/// Forgets at most `limit` trees in which nothing has happened since `before`, counts of nothing, and answers to posts that
/// were made before `responses_before`; says how many rows that were.
pub(crate) async fn expire(store: &Store, retention: Retention, limit: usize) -> Result<u64, StoreError> {
    let before = retention.records_before;
    let values = vec![big(retention.responses_before.as_millis()), big(limit as i64)];
    let responses = execute(store.connection(), FORGET_RESPONSES, values).await?;
    let transaction = store.begin().await?;
    let sql = format!("SELECT r.id FROM ecg_activities r WHERE {IS_OLD} ORDER BY r.created_ms LIMIT $2");
    let values = vec![big(before.as_millis()), big(limit as i64)];
    let old = ids(&transaction, sql, values).await?;
    lock_roots(&transaction, &old.iter().copied().collect::<Vec<_>>()).await?;
    // Looked at again: until it was locked, one of its tree may have been made.
    let mut still = BTreeSet::new();
    for id in old {
        let sql = format!("SELECT r.id FROM ecg_activities r WHERE {IS_OLD} AND r.id = $2");
        still.extend(ids(&transaction, sql, vec![big(before.as_millis()), Value::Uuid(Some(id))]).await?);
    }
    let mut touched = forget(&transaction, &still.into_iter().collect::<Vec<_>>()).await?;
    let sql = "DELETE FROM ecg_activity_counts WHERE total = 0 AND bucket_ms < $1";
    touched += execute(&transaction, sql, vec![big(before.as_millis())]).await?;
    transaction.commit().await?;
    Ok(touched + responses)
}

async fn ids(
    transaction: &impl ConnectionTrait,
    sql: String,
    values: Vec<Value>,
) -> Result<BTreeSet<Uuid>, StoreError> {
    let statement = Statement::from_sql_and_values(transaction.get_database_backend(), sql, values);
    Ok(Old::find_by_statement(statement).all(transaction).await?.into_iter().map(|old| old.id).collect())
}

/// Forgets the trees of these roots.
async fn forget(transaction: &impl ConnectionTrait, roots: &[Uuid]) -> Result<u64, StoreError> {
    // What is not needed to count them is left where it is.
    let columns =
        COLUMNS.replace("error, raw_response", "CAST(NULL AS TEXT) AS error, CAST(NULL AS TEXT) AS raw_response");
    let (mut counts, mut touched) = (Counts::default(), 0);
    let mut contents = BTreeSet::new();
    for (places, values) in of_ids(roots) {
        let sql = format!("DELETE FROM ecg_activities WHERE root IN ({places}) RETURNING {columns}");
        let statement = Statement::from_sql_and_values(transaction.get_database_backend(), sql, values);
        let removed = ActivityRow::find_by_statement(statement).all(transaction).await?;
        touched += removed.len() as u64;
        for row in &removed {
            counts.removed(row);
            contents.insert(row.content);
        }
    }
    // Only activities of a tree share what they say.
    for (places, values) in of_ids(&contents.into_iter().collect::<Vec<_>>()) {
        touched += execute(transaction, &format!("DELETE FROM ecg_contents WHERE id IN ({places})"), values).await?;
    }
    counts.add(transaction).await?;
    Ok(touched)
}

async fn execute(transaction: &impl ConnectionTrait, sql: &str, values: Vec<Value>) -> Result<u64, StoreError> {
    let statement = Statement::from_sql_and_values(transaction.get_database_backend(), sql, values);
    Ok(transaction.execute_raw(statement).await?.rows_affected())
}
