//! What people look up: events, their deliveries, and every attempt.
//!
//! These tables are written at the speed of delivering, so there are as few indexes and as narrow columns as the
//! questions allow; `activity` says which question uses which index.

use sea_orm::DbBackend;
use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[derive(DeriveIden)]
enum Events {
    Table,
    AcceptedMs,
    Key,
    Site,
    Source,
    Id,
    IdHash,
    Type,
    Subject,
    Visibility,
    Lane,
    IntendedMs,
    ExpiresMs,
    RoutedMs,
    Skipped,
}

#[derive(DeriveIden)]
enum Deliveries {
    Table,
    CreatedMs,
    Id,
    Site,
    EventKey,
    Subscription,
    Surface,
    Lane,
    State,
    Reason,
    NextAttemptMs,
    UpdatedMs,
}

#[derive(DeriveIden)]
enum Attempts {
    Table,
    DeliveryId,
    Number,
    StartedMs,
    DurationUs,
    Status,
    Error,
    Response,
}

#[derive(DeriveIden)]
enum DeliverySubscriptions {
    Table,
    Subscription,
    Site,
}

#[derive(DeriveIden)]
enum Quarantine {
    Table,
    Id,
    ReceivedMs,
    Subject,
    Error,
    Payload,
}

/// A column that must have a value.
fn required(name: impl IntoIden, kind: ColumnType) -> ColumnDef {
    ColumnDef::new_with_type(name, kind).not_null().take()
}

/// A column that may have none.
fn optional(name: impl IntoIden, kind: ColumnType) -> ColumnDef {
    ColumnDef::new_with_type(name, kind)
}

/// Partial indexes read the same on both backends; 60 is the code of `succeeded`, the state of nearly all rows.
const INDEXES: [&str; 4] = [
    "CREATE INDEX events_id_hash ON events (id_hash)",
    "CREATE INDEX deliveries_site ON deliveries (site, created_ms)",
    "CREATE INDEX deliveries_state ON deliveries (state, created_ms) WHERE state <> 60",
    "CREATE INDEX attempts_response ON attempts (started_ms) WHERE response IS NOT NULL",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        use ColumnType::{BigInteger, Blob, Integer, SmallInteger, Text, Uuid};

        let events = Table::create()
            .table(Events::Table)
            .col(required(Events::AcceptedMs, BigInteger))
            .col(required(Events::Key, Text))
            .col(required(Events::Site, Text))
            .col(required(Events::Source, Text))
            .col(required(Events::Id, Text))
            .col(required(Events::IdHash, Integer))
            .col(required(Events::Type, Text))
            .col(optional(Events::Subject, Text))
            .col(required(Events::Visibility, SmallInteger))
            .col(required(Events::Lane, SmallInteger))
            .col(optional(Events::IntendedMs, BigInteger))
            .col(optional(Events::ExpiresMs, BigInteger))
            .col(optional(Events::RoutedMs, BigInteger))
            .col(optional(Events::Skipped, Text))
            .primary_key(Index::create().col(Events::AcceptedMs).col(Events::Key))
            .take();
        manager.create_table(events).await?;

        let deliveries = Table::create()
            .table(Deliveries::Table)
            .col(required(Deliveries::CreatedMs, BigInteger))
            .col(required(Deliveries::Id, Uuid))
            .col(required(Deliveries::Site, Text))
            .col(required(Deliveries::EventKey, Text))
            .col(required(Deliveries::Subscription, Uuid))
            .col(required(Deliveries::Surface, SmallInteger))
            .col(required(Deliveries::Lane, SmallInteger))
            .col(required(Deliveries::State, SmallInteger))
            .col(optional(Deliveries::Reason, SmallInteger))
            .col(optional(Deliveries::NextAttemptMs, BigInteger))
            .col(required(Deliveries::UpdatedMs, BigInteger))
            .primary_key(Index::create().col(Deliveries::CreatedMs).col(Deliveries::Id))
            .take();
        manager.create_table(deliveries).await?;

        let mut attempts = Table::create()
            .table(Attempts::Table)
            .col(required(Attempts::DeliveryId, Uuid))
            .col(required(Attempts::Number, Integer))
            .col(required(Attempts::StartedMs, BigInteger))
            .col(required(Attempts::DurationUs, BigInteger))
            .col(optional(Attempts::Status, SmallInteger))
            .col(optional(Attempts::Error, SmallInteger))
            .col(optional(Attempts::Response, Blob))
            .primary_key(Index::create().col(Attempts::DeliveryId).col(Attempts::Number))
            .take();
        if manager.get_database_backend() == DbBackend::Sqlite {
            // One tree instead of two: attempts are only ever looked up by their key.
            attempts.extra("WITHOUT ROWID");
        }
        manager.create_table(attempts).await?;

        let subscriptions = Table::create()
            .table(DeliverySubscriptions::Table)
            .col(required(DeliverySubscriptions::Subscription, Uuid).primary_key().take())
            .col(required(DeliverySubscriptions::Site, Text))
            .take();
        manager.create_table(subscriptions).await?;

        let quarantine = Table::create()
            .table(Quarantine::Table)
            .col(required(Quarantine::Id, Uuid).primary_key().take())
            .col(required(Quarantine::ReceivedMs, BigInteger))
            .col(required(Quarantine::Subject, Text))
            .col(required(Quarantine::Error, Text))
            .col(required(Quarantine::Payload, Blob))
            .take();
        manager.create_table(quarantine).await?;

        for index in INDEXES {
            manager.get_connection().execute_unprepared(index).await?;
        }
        Ok(())
    }
}
