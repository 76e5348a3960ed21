//! From what a request with an `Idempotency-Key` makes its ids: the same when it is done again.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// May be missing, so that the previous release can go on writing; what that has claimed gets an id of its own.
const MADE: &str = "ALTER TABLE idempotency_keys ADD COLUMN made_id UUID";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared(MADE).await.map(drop)
    }
}
