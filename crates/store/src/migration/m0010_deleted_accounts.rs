//! Accounts that were deleted, whose ids are never used again; and records of the audit that are still to be published.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[derive(DeriveIden)]
enum OutboxAudited {
    Table,
    Id,
    Body,
    AtMs,
}

/// Read the same on both backends. The row stays, for its subscriptions refer to it. The previous release, which does not
/// know the column, takes such an account for one that is there: see `accounts::delete` for what it has by then.
const DELETED: &str = "ALTER TABLE accounts ADD COLUMN deleted_at_ms BIGINT";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared(DELETED).await?;
        let outbox = Table::create()
            .table(OutboxAudited::Table)
            .col(ColumnDef::new(OutboxAudited::Id).text().not_null().primary_key())
            .col(ColumnDef::new(OutboxAudited::Body).text().not_null())
            .col(ColumnDef::new(OutboxAudited::AtMs).big_integer().not_null())
            .take();
        manager.create_table(outbox).await
    }
}
