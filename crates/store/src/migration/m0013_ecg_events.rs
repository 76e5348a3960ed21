//! What there is to subscribe to on the ECG surface: categories, events, sample payloads; which reference data was
//! applied; and the ECG organization of a site.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[derive(DeriveIden)]
enum EcgCategories {
    Table,
    Id,
    Name,
    Code,
    CodeLower,
    Description,
    Active,
    ActiveChangedAtMs,
    Archived,
    ArchivedChangedAtMs,
    CreatedAtMs,
    CreatedBy,
    UpdatedAtMs,
    UpdatedBy,
    DeletedAtMs,
    Revision,
}

#[derive(DeriveIden)]
enum EcgEvents {
    Table,
    Id,
    Category,
    Name,
    Code,
    CodeLower,
    Version,
    Description,
    Active,
    ActiveChangedAtMs,
    Archived,
    ArchivedChangedAtMs,
    CreatedAtMs,
    CreatedBy,
    UpdatedAtMs,
    UpdatedBy,
    DeletedAtMs,
    Revision,
}

#[derive(DeriveIden)]
enum EcgSamples {
    Table,
    Id,
    Event,
    Version,
    Payload,
    CreatedAtMs,
    CreatedBy,
    UpdatedAtMs,
    UpdatedBy,
}

#[derive(DeriveIden)]
enum EcgSeeds {
    Table,
    Version,
    Description,
    AppliedAtMs,
    Checksum,
}

/// Read the same on both backends.
const STATEMENTS: [&str; 5] = [
    // May be missing, so that the previous release can go on writing; what it writes keeps the link that there is.
    "ALTER TABLE sites ADD COLUMN ecg_organization TEXT",
    // The database keeps codes unique, whoever races, and lets them be used again when their owner is deleted.
    "CREATE UNIQUE INDEX ecg_categories_code ON ecg_categories (code_lower) WHERE deleted_at_ms IS NULL",
    "CREATE UNIQUE INDEX ecg_events_code ON ecg_events (code_lower, version) WHERE deleted_at_ms IS NULL",
    // What lists go by.
    "CREATE INDEX ecg_categories_list ON ecg_categories (updated_at_ms, id) WHERE deleted_at_ms IS NULL",
    "CREATE INDEX ecg_events_list ON ecg_events (category, updated_at_ms, id) WHERE deleted_at_ms IS NULL",
];

/// A column of text that must have a value.
fn text(name: impl IntoIden) -> ColumnDef {
    ColumnDef::new(name).text().not_null().take()
}

/// A column of a 64-bit number that must have a value.
fn number(name: impl IntoIden) -> ColumnDef {
    ColumnDef::new(name).big_integer().not_null().take()
}

/// A column of true or false that must have a value.
fn flag(name: impl IntoIden) -> ColumnDef {
    ColumnDef::new(name).boolean().not_null().take()
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.create_table(categories()).await?;
        manager.create_table(events()).await?;
        manager.create_table(samples()).await?;
        let one_each = Index::create()
            .name("ecg_samples_event_version")
            .table(EcgSamples::Table)
            .col(EcgSamples::Event)
            .col(EcgSamples::Version)
            .unique()
            .take();
        manager.create_index(one_each).await?;
        let seeds = Table::create()
            .table(EcgSeeds::Table)
            .col(text(EcgSeeds::Version).primary_key())
            .col(text(EcgSeeds::Description))
            .col(number(EcgSeeds::AppliedAtMs))
            .col(text(EcgSeeds::Checksum))
            .take();
        manager.create_table(seeds).await?;
        for statement in STATEMENTS {
            manager.get_connection().execute_unprepared(statement).await?;
        }
        Ok(())
    }
}

fn categories() -> TableCreateStatement {
    Table::create()
        .table(EcgCategories::Table)
        .col(text(EcgCategories::Id).primary_key())
        .col(text(EcgCategories::Name))
        .col(text(EcgCategories::Code))
        .col(text(EcgCategories::CodeLower))
        .col(ColumnDef::new(EcgCategories::Description).text())
        .col(flag(EcgCategories::Active))
        .col(number(EcgCategories::ActiveChangedAtMs))
        .col(flag(EcgCategories::Archived))
        .col(number(EcgCategories::ArchivedChangedAtMs))
        .col(number(EcgCategories::CreatedAtMs))
        .col(text(EcgCategories::CreatedBy))
        .col(number(EcgCategories::UpdatedAtMs))
        .col(text(EcgCategories::UpdatedBy))
        .col(ColumnDef::new(EcgCategories::DeletedAtMs).big_integer())
        .col(number(EcgCategories::Revision))
        .take()
}

fn events() -> TableCreateStatement {
    let mut category = ForeignKey::create()
        .from(EcgEvents::Table, EcgEvents::Category)
        .to(EcgCategories::Table, EcgCategories::Id)
        .take();
    Table::create()
        .table(EcgEvents::Table)
        .col(text(EcgEvents::Id).primary_key())
        .col(text(EcgEvents::Category))
        .col(text(EcgEvents::Name))
        .col(text(EcgEvents::Code))
        .col(text(EcgEvents::CodeLower))
        .col(text(EcgEvents::Version))
        .col(ColumnDef::new(EcgEvents::Description).text())
        .col(flag(EcgEvents::Active))
        .col(number(EcgEvents::ActiveChangedAtMs))
        .col(flag(EcgEvents::Archived))
        .col(number(EcgEvents::ArchivedChangedAtMs))
        .col(number(EcgEvents::CreatedAtMs))
        .col(text(EcgEvents::CreatedBy))
        .col(number(EcgEvents::UpdatedAtMs))
        .col(text(EcgEvents::UpdatedBy))
        .col(ColumnDef::new(EcgEvents::DeletedAtMs).big_integer())
        .col(number(EcgEvents::Revision))
        .foreign_key(&mut category)
        .take()
}

fn samples() -> TableCreateStatement {
    let mut event =
        ForeignKey::create().from(EcgSamples::Table, EcgSamples::Event).to(EcgEvents::Table, EcgEvents::Id).take();
    Table::create()
        .table(EcgSamples::Table)
        .col(text(EcgSamples::Id).primary_key())
        .col(text(EcgSamples::Event))
        .col(text(EcgSamples::Version))
        .col(text(EcgSamples::Payload))
        .col(number(EcgSamples::CreatedAtMs))
        .col(text(EcgSamples::CreatedBy))
        .col(number(EcgSamples::UpdatedAtMs))
        .col(text(EcgSamples::UpdatedBy))
        .foreign_key(&mut event)
        .take()
}
