//! What can go wrong in SQL, sorted by what the caller may do about it.

use std::error::Error;

use sea_orm::sqlx;
use sea_orm::{DbErr, RuntimeErr};

/// A statement or transaction that did not succeed. Says nothing of the values that were in it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL is of neither backend.
    #[error("the database URL must begin with sqlite: or postgres:")]
    UnknownBackend,
    /// The URL cannot be read. It is not told, nor what is wrong with it: it may hold a password.
    #[error("the database URL is malformed")]
    BadUrl,
    /// The database did not answer in time, or another writer was in the way. A repeat may succeed.
    #[error("the database did not answer")]
    Unavailable(#[source] DbErr),
    /// A unique or foreign key does not allow it.
    #[error("the change breaks a constraint")]
    Conflict(#[source] DbErr),
    /// A row holds something that we never write.
    #[error("column {column} of {table} {key} is not readable")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The row's key.
        key: String,
        /// What is wrong with it.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// A secret that was to be stored is not sealed: our fault.
    #[error("a secret would be stored in clear")]
    NotSealed(#[source] serde_json::Error),
    /// Anything else: our fault.
    #[error("the database refused a statement")]
    Refused(#[source] DbErr),
}

impl StoreError {
    /// Whether the same statement may succeed a moment later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

impl From<DbErr> for StoreError {
    fn from(error: DbErr) -> Self {
        if error.sql_err().is_some() {
            Self::Conflict(error)
        } else if is_transient(&error) {
            Self::Unavailable(error)
        } else {
            Self::Refused(error)
        }
    }
}

fn is_transient(error: &DbErr) -> bool {
    match error {
        DbErr::ConnectionAcquire(_) | DbErr::Conn(_) => true,
        DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error)) => match &**error {
            sqlx::Error::Database(error) => error.code().is_some_and(|code| is_transient_code(&code)),
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => true,
            _ => false,
        },
        _ => false,
    }
}

/// SQLite: BUSY and LOCKED with their extended codes. PostgreSQL: connection, resources, operator intervention
/// (statement timeout among them), serialisation failure, deadlock, read-only standby.
fn is_transient_code(code: &str) -> bool {
    match code.parse::<u32>() {
        Ok(number) if code.len() < 5 => matches!(number & 0xff, 5 | 6),
        _ => {
            code.get(..2).is_some_and(|class| ["08", "53", "57", "58"].contains(&class))
                || matches!(code, "40001" | "40P01" | "25006")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_timeouts_and_lost_connections_are_worth_a_repeat() {
        for code in ["5", "517", "6", "57014", "57P01", "08006", "40P01", "53300"] {
            assert!(is_transient_code(code), "{code}");
        }
        for code in ["1", "19", "787", "42601", "23505", "22021", ""] {
            assert!(!is_transient_code(code), "{code}");
        }
    }
}
