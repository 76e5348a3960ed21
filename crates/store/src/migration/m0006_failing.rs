//! Whether an endpoint only fails: when it last took something, and what it has not taken, without looking at the rest of
//! its site.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// Read the same on both backends. The column may be missing, so that the previous release can go on writing; 60 is the
/// code of `succeeded`, the state of nearly all rows, which this index does not have.
const STATEMENTS: [&str; 2] = [
    "ALTER TABLE delivery_subscriptions ADD COLUMN succeeded_ms BIGINT",
    "CREATE INDEX deliveries_not_taken ON deliveries (subscription, created_ms) WHERE state <> 60",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for statement in STATEMENTS {
            manager.get_connection().execute_unprepared(statement).await?;
        }
        Ok(())
    }
}
