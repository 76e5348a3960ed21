//! Whether the chain is whole.

use sea_orm::{ConnectionTrait, FromQueryResult, Statement, Value};

use super::{AuditRow, BEGINNING, COLUMNS};
use crate::error::StoreError;

/// Rows that are read at a time.
const ROWS: i64 = 1000;

/// What was found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Chain {
    /// How many records are as they were appended, one after the other, from the first that there is.
    pub intact: u64,
    /// The number of the first record: 1, unless the oldest were removed after their time.
    pub first: Option<u64>,
    /// The number of the first record that is not what was appended, or does not follow the one before it.
    pub broken_at: Option<u64>,
    /// The hash of the last record that is intact.
    pub head: Option<[u8; 32]>,
}

/// Goes through all records. Takes a statement per 1,000 of them, and holds no more in memory; what is appended meanwhile is
/// looked at too.
///
/// The first record may be a later one than number 1, because the oldest may be removed after 6 years: what it says of the
/// one before it is believed then.
pub async fn verify(connection: &impl ConnectionTrait) -> Result<Chain, StoreError> {
    let mut chain = Chain::default();
    let mut number = 0;
    loop {
        let rows = after(connection, number).await?;
        let is_last = (rows.len() as i64) < ROWS;
        for row in rows {
            number = row.number;
            let before = match (chain.first, chain.head) {
                (Some(first), Some(head)) if row.number.cast_unsigned() == first + chain.intact => Some(head),
                (None, _) if row.number == 1 => Some(BEGINNING),
                (None, _) => row.previous.as_slice().try_into().ok(),
                _ => None,
            };
            chain.first.get_or_insert(row.number.cast_unsigned());
            match before.filter(|before| row.previous == before).map(|before| row.link().hash(&before)) {
                Some(hash) if row.hash == hash => (chain.intact, chain.head) = (chain.intact + 1, Some(hash)),
                _ => {
                    chain.broken_at = Some(row.number.cast_unsigned());
                    return Ok(chain);
                }
            }
        }
        if is_last {
            return Ok(chain);
        }
    }
}

async fn after(connection: &impl ConnectionTrait, number: i64) -> Result<Vec<AuditRow>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM audit WHERE number > $1 ORDER BY number LIMIT $2");
    let values = [Value::BigInt(Some(number)), Value::BigInt(Some(ROWS))];
    let statement = Statement::from_sql_and_values(connection.get_database_backend(), sql, values);
    Ok(AuditRow::find_by_statement(statement).all(connection).await?)
}
