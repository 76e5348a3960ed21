//! Which subscriptions were removed; what each endpoint's deliveries amount to, hour by hour, so that nobody has to count
//! them; and since which revision a subscription has the target that it has.

use sea_orm::DbBackend;
use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[derive(DeriveIden)]
enum RemovedSubscriptions {
    Table,
    Subscription,
    RemovedMs,
}

#[derive(DeriveIden)]
enum EndpointHours {
    Table,
    Subscription,
    /// When the hour began in which the events were accepted.
    HourMs,
    // Deliveries by their state.
    Waiting,
    Succeeded,
    Failed,
    Exhausted,
    Expired,
    Cancelled,
    // Their attempts: how many, how many of these were no success, and how long all took.
    Attempts,
    AttemptsFailed,
    AttemptsUs,
    /// When the last attempt ended that was a success, and the last that was none.
    SucceededMs,
    FailedMs,
}

/// Read the same on both backends. The first two say whether a write made its row or changed one, and from what: only so
/// is a repeat not counted twice. All may be missing, so that the previous release can go on writing; what that writes is
/// not counted.
const COLUMNS: [&str; 3] = [
    "ALTER TABLE deliveries ADD COLUMN state_before SMALLINT",
    "ALTER TABLE attempts ADD COLUMN is_again SMALLINT",
    // 0: whatever is found of it counts.
    "ALTER TABLE subscriptions ADD COLUMN target_revision BIGINT NOT NULL DEFAULT 0",
];

/// For `?event=`: without it a search through 1,000,000 deliveries takes PostgreSQL 0.1 s, and as many times longer as there
/// are more of them; with it 1 to 5 ms, and writing costs no more that could be measured. SQLite has none: there it doubles
/// the time that writing takes, since keys are hashes and every one of them lands on another page, for a search that takes
/// 0.4 to 2.4 s without it, and next to nothing if a time is asked for as well.
const BY_EVENT: &str = "CREATE INDEX deliveries_event ON deliveries (event_key)";

/// What is recorded already.
const COUNT: [&str; 2] = [
    "INSERT INTO endpoint_hours (subscription, hour_ms, waiting, succeeded, failed, exhausted, expired, cancelled, \
     attempts, attempts_failed, attempts_us) \
     SELECT subscription, created_ms - created_ms % 3600000, \
     SUM(CASE WHEN state < 20 THEN 1 ELSE 0 END), SUM(CASE WHEN state = 60 THEN 1 ELSE 0 END), \
     SUM(CASE WHEN state = 50 THEN 1 ELSE 0 END), SUM(CASE WHEN state = 40 THEN 1 ELSE 0 END), \
     SUM(CASE WHEN state = 30 THEN 1 ELSE 0 END), SUM(CASE WHEN state = 20 THEN 1 ELSE 0 END), 0, 0, 0 \
     FROM deliveries GROUP BY 1, 2",
    "INSERT INTO endpoint_hours (subscription, hour_ms, waiting, succeeded, failed, exhausted, expired, cancelled, \
     attempts, attempts_failed, attempts_us, succeeded_ms, failed_ms) \
     SELECT d.subscription, d.created_ms - d.created_ms % 3600000, 0, 0, 0, 0, 0, 0, COUNT(*), \
     SUM(CASE WHEN a.status BETWEEN 200 AND 299 THEN 0 ELSE 1 END), SUM(a.duration_us), \
     MAX(CASE WHEN a.status BETWEEN 200 AND 299 THEN a.started_ms + a.duration_us / 1000 END), \
     MAX(CASE WHEN a.status BETWEEN 200 AND 299 THEN NULL ELSE a.started_ms + a.duration_us / 1000 END) \
     FROM deliveries d JOIN attempts a ON a.delivery_id = d.id GROUP BY 1, 2 \
     ON CONFLICT (subscription, hour_ms) DO UPDATE SET attempts = excluded.attempts, \
     attempts_failed = excluded.attempts_failed, attempts_us = excluded.attempts_us, \
     succeeded_ms = excluded.succeeded_ms, failed_ms = excluded.failed_ms",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        use ColumnType::{BigInteger, Uuid};

        let removed = Table::create()
            .table(RemovedSubscriptions::Table)
            .col(ColumnDef::new_with_type(RemovedSubscriptions::Subscription, Uuid).not_null().primary_key())
            .col(ColumnDef::new_with_type(RemovedSubscriptions::RemovedMs, BigInteger).not_null())
            .take();
        manager.create_table(removed).await?;

        let mut hours = Table::create()
            .table(EndpointHours::Table)
            .col(ColumnDef::new_with_type(EndpointHours::Subscription, Uuid).not_null())
            .col(ColumnDef::new_with_type(EndpointHours::HourMs, BigInteger).not_null())
            .primary_key(Index::create().col(EndpointHours::Subscription).col(EndpointHours::HourMs))
            .take();
        for name in [
            EndpointHours::Waiting,
            EndpointHours::Succeeded,
            EndpointHours::Failed,
            EndpointHours::Exhausted,
            EndpointHours::Expired,
            EndpointHours::Cancelled,
            EndpointHours::Attempts,
            EndpointHours::AttemptsFailed,
            EndpointHours::AttemptsUs,
        ] {
            hours.col(ColumnDef::new_with_type(name, BigInteger).not_null());
        }
        for name in [EndpointHours::SucceededMs, EndpointHours::FailedMs] {
            hours.col(ColumnDef::new_with_type(name, BigInteger));
        }
        manager.create_table(hours).await?;

        let by_event = Some(BY_EVENT).filter(|_| manager.get_database_backend() == DbBackend::Postgres);
        for statement in COLUMNS.into_iter().chain(COUNT).chain(by_event) {
            manager.get_connection().execute_unprepared(statement).await?;
        }
        Ok(())
    }
}
