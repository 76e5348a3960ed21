//! Replays of many deliveries, as durable jobs.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[derive(DeriveIden)]
enum ReplayJobs {
    Table,
    Id,
    // Which deliveries; what is missing does not matter.
    Site,
    Subscription,
    Type,
    EventId,
    /// Names of states, with commas between.
    States,
    SinceMs,
    UntilMs,
    // How, and how far.
    RatePerSecond,
    State,
    Matched,
    Published,
    NotKept,
    Skipped,
    /// The last delivery that is done with.
    Cursor,
    CreatedMs,
    UpdatedMs,
    FinishedMs,
    /// Grows with every claim: a worker that slept past its lease has an old one.
    Fence,
    LeaseUntilMs,
}

/// What workers look for every second, however many jobs there have been.
const RUNNING: &str = "CREATE INDEX replay_jobs_running ON replay_jobs (lease_until_ms) WHERE state = 'running'";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        use ColumnType::{BigInteger, Integer, Text, Uuid};

        let required = |name: ReplayJobs, kind: ColumnType| ColumnDef::new_with_type(name, kind).not_null().take();
        let optional = |name: ReplayJobs, kind: ColumnType| ColumnDef::new_with_type(name, kind);
        let jobs = Table::create()
            .table(ReplayJobs::Table)
            .col(required(ReplayJobs::Id, Uuid).primary_key().take())
            .col(optional(ReplayJobs::Site, Text))
            .col(optional(ReplayJobs::Subscription, Uuid))
            .col(optional(ReplayJobs::Type, Text))
            .col(optional(ReplayJobs::EventId, Text))
            .col(required(ReplayJobs::States, Text))
            .col(optional(ReplayJobs::SinceMs, BigInteger))
            .col(optional(ReplayJobs::UntilMs, BigInteger))
            .col(required(ReplayJobs::RatePerSecond, Integer))
            .col(required(ReplayJobs::State, Text))
            .col(required(ReplayJobs::Matched, BigInteger))
            .col(required(ReplayJobs::Published, BigInteger))
            .col(required(ReplayJobs::NotKept, BigInteger))
            .col(required(ReplayJobs::Skipped, BigInteger))
            .col(optional(ReplayJobs::Cursor, Uuid))
            .col(required(ReplayJobs::CreatedMs, BigInteger))
            .col(required(ReplayJobs::UpdatedMs, BigInteger))
            .col(optional(ReplayJobs::FinishedMs, BigInteger))
            .col(required(ReplayJobs::Fence, BigInteger))
            .col(required(ReplayJobs::LeaseUntilMs, BigInteger))
            .take();
        manager.create_table(jobs).await?;
        manager.get_connection().execute_unprepared(RUNNING).await?;
        Ok(())
    }
}
