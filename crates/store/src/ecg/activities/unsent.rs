//! Posts that were made and are not known to be on the bus: whoever made them may have died in between.

use sea_orm::{ConnectionTrait, Statement, Value};
use slipstream_core::ids::{ActivityId, DeliveryId};
use slipstream_core::timestamp::Timestamp;

use super::Unsent;
use super::contents::activities;
use super::row::{ActivityRow, rows};
use crate::activity::query::{big, of_ids};
use crate::activity::upsert::Upsert;
use crate::error::StoreError;

const UNSENT: Upsert = Upsert { table: "ecg_unsent", columns: &["id", "made_ms"], on_conflict: "(id) DO NOTHING" };

/// A post was made that is still to be published.
pub(super) async fn note(transaction: &impl ConnectionTrait, row: &ActivityRow) -> Result<(), StoreError> {
    let bind = |row: &ActivityRow, values: &mut Vec<Value>| {
        values.extend([Value::Uuid(Some(row.id)), big(row.created_ms)]);
    };
    UNSENT.run(transaction, vec![row], bind).await
}

/// The oldest posts that were made before an instant and not [`sent`]; at most `limit`. Publishing one again is harmless,
/// under the same message id.
///
/// # Errors
/// As any question to the database.
pub async fn unsent(
    connection: &impl ConnectionTrait,
    made_before: Timestamp,
    limit: usize,
) -> Result<Vec<Unsent>, StoreError> {
    let rest = " WHERE id IN (SELECT id FROM ecg_unsent WHERE made_ms < $1 ORDER BY made_ms LIMIT $2) \
                ORDER BY created_ms, id";
    let found = rows(connection, rest, vec![big(made_before.as_millis()), big(limit as i64)]).await?;
    let unsent = activities(connection, found).await?.into_iter().map(|activity| Unsent {
        delivery: activity.delivery.unwrap_or(DeliveryId(activity.id.0)),
        replay: activity.replay,
        organization: activity.organization,
        subscription: activity.subscription,
        key: activity.key,
        event: activity.event,
        kind: activity.kind,
        created_at: activity.created_at,
        payload: activity.payload,
    });
    Ok(unsent.collect())
}

/// These are on the bus.
///
/// # Errors
/// As any change of the database.
pub async fn sent(connection: &impl ConnectionTrait, ids: &[ActivityId]) -> Result<(), StoreError> {
    let ids: Vec<_> = ids.iter().map(|id| id.0).collect();
    for (places, values) in of_ids(&ids) {
        let sql = format!("DELETE FROM ecg_unsent WHERE id IN ({places})");
        let statement = Statement::from_sql_and_values(connection.get_database_backend(), sql, values);
        connection.execute_raw(statement).await?;
    }
    Ok(())
}
