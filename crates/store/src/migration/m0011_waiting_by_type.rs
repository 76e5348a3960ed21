//! Events that wait, by their type: a tenant may ask for a type that none of its many events has.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// Like `events_held`, it costs nothing for the many events that do not wait.
const BY_TYPE: &str = "CREATE INDEX events_held_type ON events (site, type, intended_ms, key) \
                       WHERE routed_ms IS NULL AND cancelled_ms IS NULL";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared(BY_TYPE).await.map(drop)
    }
}
