//! The tenants' data keys, wrapped by the master key.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[derive(DeriveIden)]
enum DataKeys {
    Table,
    Id,
    Tenant,
    Wrapped,
    MasterId,
    CreatedAtMs,
    Revision,
}

/// A column of text that must have a value.
fn text(name: impl IntoIden) -> ColumnDef {
    ColumnDef::new(name).text().not_null().take()
}

/// A column of a 64-bit number that must have a value.
fn number(name: impl IntoIden) -> ColumnDef {
    ColumnDef::new(name).big_integer().not_null().take()
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let data_keys = Table::create()
            .table(DataKeys::Table)
            .col(text(DataKeys::Id).primary_key())
            // One key per tenant, whoever races.
            .col(text(DataKeys::Tenant).unique_key())
            .col(text(DataKeys::Wrapped))
            .col(text(DataKeys::MasterId))
            .col(number(DataKeys::CreatedAtMs))
            .col(number(DataKeys::Revision))
            .take();
        manager.create_table(data_keys).await
    }
}
