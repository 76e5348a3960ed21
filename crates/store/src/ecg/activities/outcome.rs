//! What somebody tells of an activity: its outcome, that it is not repeated.

use sea_orm::{ConnectionTrait, Statement, Value};
use slipstream_core::ids::ActivityId;
use slipstream_core::timestamp::Timestamp;

use super::OutcomeOfPost;
use super::counts::Counts;
use super::read::lock_row;
use super::recording::succeeded;
use super::row::{WRITE, bind, lock_roots};
use crate::error::StoreError;

/// Writes down the outcome of an activity that somebody else posted. With a success, nothing of its tree is repeated by
/// itself any more. Nothing happens if there is no such activity.
///
/// Locks the tree. Counts are written too, so this comes last in its transaction.
///
/// # Errors
/// As any change of the database.
pub async fn set_outcome(
    transaction: &impl ConnectionTrait,
    id: ActivityId,
    outcome: &OutcomeOfPost,
) -> Result<(), StoreError> {
    let Some(before) = lock_row(transaction, id).await? else { return Ok(()) };
    let mut after = before.clone();
    after.posted_ms = before.posted_ms.or(Some(outcome.at.as_millis()));
    after.sort();
    // Known now, however long it took.
    after.took_us = Some(before.took_us.unwrap_or(0));
    after.status = outcome.status.map(i32::from);
    after.success = Some(i16::from(outcome.success));
    after.error.clone_from(&outcome.error);
    after.raw_response = outcome.raw_response.as_ref().map(|text| text.get().to_owned());
    after.next_retry_ms = outcome.next_retry_at.map(Timestamp::as_millis).filter(|_| !outcome.success);
    (after.updated_ms, after.updated_by) = (outcome.at.as_millis(), outcome.by);
    let root = after.root;
    let mut counts = Counts::default();
    counts.changed(&before, &after);
    WRITE.run(transaction, vec![after], bind).await?;
    if outcome.success {
        succeeded(transaction, root).await?;
    }
    counts.add(transaction).await
}

/// An activity is not repeated by itself any more, whatever is still told of it. Locks its tree.
///
/// # Errors
/// As any change of the database.
pub async fn clear_next_retry(transaction: &impl ConnectionTrait, id: ActivityId) -> Result<(), StoreError> {
    lock_row(transaction, id).await?;
    let sql = "UPDATE ecg_activities SET next_retry_ms = NULL, retry_off = 1 WHERE id = $1";
    let statement = Statement::from_sql_and_values(transaction.get_database_backend(), sql, [Value::Uuid(Some(id.0))]);
    transaction.execute_raw(statement).await?;
    Ok(())
}

/// Nothing of the tree of `root` is repeated by itself any more, because one of it was taken. Locks it.
///
/// # Errors
/// As any change of the database.
pub async fn clear_next_retries(transaction: &impl ConnectionTrait, root: ActivityId) -> Result<(), StoreError> {
    lock_roots(transaction, &[root.0]).await?;
    succeeded(transaction, root.0).await
}
