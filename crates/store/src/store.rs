//! One connection pool, on either backend.

use std::time::Duration;

use sea_orm::sqlx::postgres::PgConnectOptions;
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sea_orm::{
    ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection, DatabaseTransaction, DbBackend,
    SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait as _,
};
use sea_orm_migration::MigratorTrait as _;
use serde::Deserialize;
use slipstream_core::sealing::SecretUrl;

use crate::error::StoreError;
use crate::migration::Migrator;

/// How long a statement may wait for a connection, a lock or an answer (THREATS 8).
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);

/// The advisory lock that lets one replica migrate a PostgreSQL database at a time. Any number that only we use.
const MIGRATION_LOCK: i64 = 0x736c_6970_7374_726d;

/// Where the database is.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DatabaseConfig {
    /// `sqlite://path?mode=rwc` or `postgres://user:password@host/database`.
    pub url: SecretUrl,
    /// Connections in the pool.
    pub max_connections: u32,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self { url: "sqlite://slipstream.db?mode=rwc".into(), max_connections: 4 }
    }
}

/// A connection pool. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    connection: DatabaseConnection,
}

impl Store {
    /// Opens the pool. Does not migrate: see [`Store::migrate`].
    ///
    /// On SQLite every connection has write-ahead logging, `synchronous=FULL` (a committed change survives a power
    /// cut), foreign keys, and waits up to 5 s for another writer.
    ///
    /// # Errors
    /// [`StoreError::UnknownBackend`] unless the URL is of SQLite or PostgreSQL, [`StoreError::BadUrl`] when it is malformed;
    /// [`StoreError::Unavailable`] when the
    /// database does not answer.
    pub async fn connect(config: &DatabaseConfig) -> Result<Self, StoreError> {
        let known = ["sqlite:", "postgres:", "postgresql:"];
        if !known.iter().any(|scheme| config.url.expose().starts_with(scheme)) {
            return Err(StoreError::UnknownBackend);
        }
        // Looked at here, since an error of the driver would repeat it whole.
        let (url, is_sqlite) = (config.url.expose(), config.url.expose().starts_with("sqlite:"));
        let is_good = if is_sqlite {
            url.parse::<SqliteConnectOptions>().is_ok()
        } else {
            url.parse::<PgConnectOptions>().is_ok()
        };
        if !is_good {
            return Err(StoreError::BadUrl);
        }
        let mut options = ConnectOptions::new(config.url.expose());
        options
            .max_connections(config.max_connections)
            .acquire_timeout(STATEMENT_TIMEOUT)
            .connect_timeout(STATEMENT_TIMEOUT)
            .statement_timeout(STATEMENT_TIMEOUT)
            .record_stmt_in_spans(false)
            .sqlx_logging(false)
            .map_sqlx_sqlite_opts(|sqlite| {
                sqlite
                    .journal_mode(SqliteJournalMode::Wal)
                    .synchronous(SqliteSynchronous::Full)
                    .busy_timeout(STATEMENT_TIMEOUT)
                    .foreign_keys(true)
            });
        let connection = Database::connect(options).await.map_err(StoreError::from)?;
        Ok(Self { connection })
    }

    /// Brings the tables up to date. Safe to call from several processes at once: one migrates, the others wait.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        if transaction.get_database_backend() == DbBackend::Postgres {
            let lock = format!("SELECT pg_advisory_xact_lock({MIGRATION_LOCK})");
            // Waiting for another replica, or changing a large table, may take longer than a statement usually may.
            for sql in ["SET LOCAL statement_timeout = 0", &lock] {
                transaction.execute_raw(Statement::from_string(DbBackend::Postgres, sql)).await?;
            }
        }
        Migrator::up(&transaction, None).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// The names of the migrations that the database has, in order. Changes nothing; none before the first.
    pub async fn applied_migrations(&self) -> Result<Vec<String>, StoreError> {
        let applied = Migrator::get_applied_migrations_read_only(&self.connection).await?;
        Ok(applied.iter().map(|migration| migration.name().to_owned()).collect())
    }

    /// Begins a transaction that may write.
    ///
    /// On SQLite it is `IMMEDIATE`: a transaction that reads first and then writes would otherwise fail at once
    /// ("database is locked") whenever another one wrote in between, busy timeout or not.
    pub async fn begin(&self) -> Result<DatabaseTransaction, StoreError> {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        Ok(self.connection.begin_with_options(options).await?)
    }

    /// The pool itself, for single statements.
    pub fn connection(&self) -> &DatabaseConnection {
        &self.connection
    }

    /// Whether the database answers; for health checks.
    pub async fn ping(&self) -> Result<(), StoreError> {
        Ok(self.connection.ping().await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_does_not_print() {
        let config = DatabaseConfig { url: "postgres://me:canary@db/x".into(), max_connections: 4 };
        assert!(!format!("{config:?}").contains("canary"));
    }

    #[tokio::test]
    async fn no_error_of_a_connection_tells_the_password() {
        for rest in ["127.0.0.1:1/x", "127.0.0.1:port/x", "[::1/x", "127.0.0.1:1/x?sslmode=canary"] {
            let config = DatabaseConfig { url: format!("postgres://me:canary@{rest}").into(), max_connections: 1 };
            let error = Store::connect(&config).await.unwrap_err();
            let sources = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
            let told: Vec<_> = sources.map(|error| format!("{error} {error:?}")).collect();
            let told = told.join(": ");
            assert!(!told.contains("canary"), "{told}");
        }
    }

    #[tokio::test]
    async fn other_backends_are_refused() {
        let config = DatabaseConfig { url: "mysql://me@db/x".into(), max_connections: 4 };
        assert!(matches!(Store::connect(&config).await, Err(StoreError::UnknownBackend)));
    }
}
