//! Reading single activities and trees.

use sea_orm::{ConnectionTrait, FromQueryResult, Statement, Value};
use slipstream_core::delivery::DeliveryState;
use slipstream_core::ids::{ActivityId, DeliveryId};
use uuid::Uuid;

use super::contents::activities;
use super::row::{ActivityRow, UNHEARD, lock_roots, rows};
use super::{Activity, TREE_ACTIVITIES_MAX};
use crate::activity::DeliveryRecord;
use crate::activity::query::{big, of_deliveries, of_ids};
use crate::error::StoreError;

/// Other deliveries that one statement of [`others_waiting`] finds.
const OTHERS_MAX: usize = 2000;

/// The activity with this id.
///
/// # Errors
/// As any question to the database.
pub async fn get(connection: &impl ConnectionTrait, id: ActivityId) -> Result<Option<Activity>, StoreError> {
    let found: Vec<ActivityRow> = row(connection, id.0).await?.into_iter().filter(ActivityRow::is_heard_of).collect();
    Ok(activities(connection, found).await?.pop())
}

/// The same, with its whole tree locked until the end of the transaction: nobody makes, changes or removes one of it.
///
/// # Errors
/// As any question to the database.
pub async fn lock(transaction: &impl ConnectionTrait, id: ActivityId) -> Result<Option<Activity>, StoreError> {
    lock_row(transaction, id).await?;
    get(transaction, id).await
}

/// Locks the tree of an activity, and reads its row as it is then.
pub(super) async fn lock_row(
    transaction: &impl ConnectionTrait,
    id: ActivityId,
) -> Result<Option<ActivityRow>, StoreError> {
    let Some(found) = row(transaction, id.0).await? else { return Ok(None) };
    lock_roots(transaction, &[found.root]).await?;
    row(transaction, id.0).await
}

async fn row(connection: &impl ConnectionTrait, id: Uuid) -> Result<Option<ActivityRow>, StoreError> {
    Ok(rows(connection, " WHERE id = $1", vec![Value::Uuid(Some(id))]).await?.pop())
}

/// The activities of the tree of `root`, by level and then by creation; of one that has more than [`TREE_ACTIVITIES_MAX`],
/// one more than that.
///
/// # Errors
/// As any question to the database.
pub async fn tree(connection: &impl ConnectionTrait, root: ActivityId) -> Result<Vec<Activity>, StoreError> {
    let rest = " WHERE root = $1 AND kind <> $2 ORDER BY level, created_ms, id LIMIT $3";
    let values = vec![Value::Uuid(Some(root.0)), Value::SmallInt(Some(UNHEARD)), big(TREE_ACTIVITIES_MAX as i64 + 1)];
    activities(connection, rows(connection, rest, values).await?).await
}

/// How much there is to read of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeSize {
    /// How many activities; of more than [`TREE_ACTIVITIES_MAX`], one more than that.
    pub activities: usize,
    /// Bytes of their payloads and of what they were answered, each as often as it is shown.
    pub bytes: u64,
}

/// The size of the [`tree`] of `root`, before it is read: it may be more than its reader wants to hold.
///
/// # Errors
/// As any question to the database.
pub async fn weigh_tree(connection: &impl ConnectionTrait, root: ActivityId) -> Result<TreeSize, StoreError> {
    #[derive(FromQueryResult)]
    struct Found {
        activities: i64,
        bytes: i64,
    }
    let sql = "SELECT CAST(COUNT(*) AS BIGINT) AS activities, \
               CAST(COALESCE(SUM(octet_length(c.payload) + COALESCE(octet_length(a.raw_response), 0)), 0) AS BIGINT) AS bytes \
               FROM (SELECT content, raw_response FROM ecg_activities WHERE root = $1 AND kind <> $2 LIMIT $3) a \
               JOIN ecg_contents c ON c.id = a.content";
    let values = [Value::Uuid(Some(root.0)), Value::SmallInt(Some(UNHEARD)), big(TREE_ACTIVITIES_MAX as i64 + 1)];
    let statement = Statement::from_sql_and_values(connection.get_database_backend(), sql, values);
    let found = Found::find_by_statement(statement).one(connection).await?;
    let Found { activities, bytes } = found.unwrap_or(Found { activities: 0, bytes: 0 });
    Ok(TreeSize { activities: usize::try_from(activities).unwrap_or(usize::MAX), bytes: bytes.unsigned_abs() })
}

/// Whether one of the tree of `root` was taken: then nothing of it is to be repeated (SPEC 6.8).
///
/// # Errors
/// As any question to the database.
pub async fn has_succeeded(connection: &impl ConnectionTrait, root: ActivityId) -> Result<bool, StoreError> {
    Ok(row(connection, root.0).await?.is_some_and(|row| row.tree_success != 0))
}

/// Of the trees in which these deliveries are, or activities that somebody else posts, under their ids: the other deliveries,
/// as far as they are recorded as waiting, or as cancelled: whoever did that may not have come to take them off the bus. For
/// whoever has seen one succeed, and does so; some may be left out where there are thousands.
///
/// # Errors
/// As any question to the database.
pub async fn others_waiting(
    connection: &impl ConnectionTrait,
    succeeded: &[DeliveryId],
) -> Result<Vec<DeliveryRecord>, StoreError> {
    #[derive(FromQueryResult)]
    struct Found {
        delivery: Uuid,
    }
    let succeeded: Vec<_> = succeeded.iter().map(|delivery| delivery.0).collect();
    let mut others = Vec::new();
    for (places, values) in of_ids(&succeeded) {
        // Most trees have one delivery, and the index says so.
        let sql = format!(
            "SELECT a.delivery FROM ecg_activities me JOIN ecg_activities a ON a.root = me.root AND a.delivery <> me.id \
             WHERE me.id IN ({places}) AND a.number = 1 LIMIT {OTHERS_MAX}"
        );
        let statement = Statement::from_sql_and_values(connection.get_database_backend(), sql, values);
        others.extend(
            Found::find_by_statement(statement).all(connection).await?.iter().map(|it| DeliveryId(it.delivery)),
        );
    }
    others.sort_unstable();
    others.dedup();
    let mut waiting = of_deliveries(connection, &others).await?;
    waiting.retain(|record| !record.state.is_terminal() || record.state == DeliveryState::Cancelled);
    Ok(waiting)
}
