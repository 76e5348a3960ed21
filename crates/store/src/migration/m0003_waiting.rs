//! What waits and what is repeated: times that were changed, cancelling, an event's place in its stream, replays.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[derive(DeriveIden)]
enum Events {
    Table,
    /// Its place in stream `EVENTS`, as long as that keeps it.
    Sequence,
    /// What its forwarded form hashed to when it was accepted.
    ContentHash,
    /// When its times were last changed while it was held.
    ChangedMs,
    /// When it was cancelled while it was held.
    CancelledMs,
    /// Which account published it, if its time was ahead then.
    PublishedBy,
}

#[derive(DeriveIden)]
enum Deliveries {
    Table,
    /// By which replay it was made.
    Replay,
}

/// Few of many events are scheduled, so these two cost the others nothing. The first has those that wait, in the order in
/// which they come due; by the second an event that was scheduled is found by its key alone.
const INDEXES: [&str; 2] = [
    "CREATE INDEX events_held ON events (site, intended_ms, key) WHERE routed_ms IS NULL AND cancelled_ms IS NULL",
    "CREATE INDEX events_scheduled ON events (key) WHERE intended_ms IS NOT NULL",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // One column each: SQLite knows no other way. All may be missing, so that the previous release can write.
        for name in [Events::Sequence, Events::ContentHash, Events::ChangedMs, Events::CancelledMs] {
            let column = ColumnDef::new_with_type(name, ColumnType::BigInteger);
            manager.alter_table(Table::alter().table(Events::Table).add_column(column).take()).await?;
        }
        let published_by = ColumnDef::new_with_type(Events::PublishedBy, ColumnType::Uuid);
        manager.alter_table(Table::alter().table(Events::Table).add_column(published_by).take()).await?;
        let replay = ColumnDef::new_with_type(Deliveries::Replay, ColumnType::Uuid);
        manager.alter_table(Table::alter().table(Deliveries::Table).add_column(replay).take()).await?;
        for index in INDEXES {
            manager.get_connection().execute_unprepared(index).await?;
        }
        Ok(())
    }
}
