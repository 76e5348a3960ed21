//! Messages that nobody could read: kept, so that somebody can find out why and replay them.

use sea_orm::{ConnectionTrait, FromQueryResult, Statement, Value};
use slipstream_core::timestamp::Timestamp;
use uuid::Uuid;

use super::upsert::{Upsert, text};
use crate::error::StoreError;

/// A message that could not be read or not be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// The same for a repeat of the message, so that it is kept once.
    pub id: Uuid,
    /// When it was put here.
    pub received_at: Timestamp,
    /// The subject it came under.
    pub subject: String,
    /// What is wrong with it.
    pub error: String,
    /// Its bytes.
    pub payload: Vec<u8>,
}

pub(super) const UPSERT: Upsert = Upsert {
    table: "quarantine",
    columns: &["id", "received_ms", "subject", "error", "payload"],
    on_conflict: "(id) DO NOTHING",
};

pub(super) fn bind(message: Quarantined, values: &mut Vec<Value>) {
    values.extend([
        Value::Uuid(Some(message.id)),
        Value::BigInt(Some(message.received_at.as_millis())),
        text(message.subject),
        text(message.error),
        Value::Bytes(Some(message.payload)),
    ]);
}

#[derive(FromQueryResult)]
struct QuarantineRow {
    id: Uuid,
    received_ms: i64,
    subject: String,
    error: String,
    payload: Vec<u8>,
}

/// The newest `limit` messages in quarantine.
pub async fn quarantined(connection: &impl ConnectionTrait, limit: usize) -> Result<Vec<Quarantined>, StoreError> {
    let sql = "SELECT id, received_ms, subject, error, payload FROM quarantine ORDER BY received_ms DESC, id LIMIT $1";
    let values = [Value::BigInt(Some(limit as i64))];
    let statement = Statement::from_sql_and_values(connection.get_database_backend(), sql, values);
    let rows = QuarantineRow::find_by_statement(statement).all(connection).await?;
    let message = |row: QuarantineRow| Quarantined {
        id: row.id,
        received_at: Timestamp::from_millis(row.received_ms),
        subject: row.subject,
        error: row.error,
        payload: row.payload,
    };
    Ok(rows.into_iter().map(message).collect())
}
