//! Who subscribes on the ECG surface, to what, and with which secrets; and posts that are still to be published.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[derive(DeriveIden)]
enum EcgSubscriptions {
    Table,
    Id,
    Organization,
    PostUri,
    Version,
    IsDevelopment,
    Active,
    ActiveChangedAtMs,
    Archived,
    ArchivedChangedAtMs,
    EnabledAtMs,
    TargetRevision,
    DegradedSinceMs,
    HealthAtMs,
    CreatedAtMs,
    CreatedBy,
    UpdatedAtMs,
    UpdatedBy,
    DeletedAtMs,
    Revision,
}

#[derive(DeriveIden)]
enum EcgSubscriptionEvents {
    Table,
    Subscription,
    Event,
    Position,
}

#[derive(DeriveIden)]
enum EcgSecrets {
    Table,
    Id,
    Subscription,
    Secret,
    ValidFromMs,
    ValidToMs,
    CreatedAtMs,
    CreatedBy,
    UpdatedAtMs,
    UpdatedBy,
}

#[derive(DeriveIden)]
enum EcgEvents {
    Table,
    Id,
}

#[derive(DeriveIden)]
enum OutboxPosts {
    Table,
    Id,
    Subscription,
    Body,
    AtMs,
}

/// Read the same on both backends.
const STATEMENTS: [&str; 4] = [
    // What lists go by.
    "CREATE INDEX ecg_subscriptions_list ON ecg_subscriptions (organization, updated_at_ms, id) \
     WHERE deleted_at_ms IS NULL",
    "CREATE INDEX ecg_subscription_events_event ON ecg_subscription_events (event)",
    // The secret at a time is found by one look; no two begin at once.
    "CREATE UNIQUE INDEX ecg_secrets_time ON ecg_secrets (subscription, valid_from_ms)",
    // One is without an end, whoever races.
    "CREATE UNIQUE INDEX ecg_secrets_current ON ecg_secrets (subscription) WHERE valid_to_ms IS NULL",
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
        manager.create_table(subscriptions()).await?;
        manager.create_table(events()).await?;
        manager.create_table(secrets()).await?;
        let posts = Table::create()
            .table(OutboxPosts::Table)
            .col(text(OutboxPosts::Id).primary_key())
            .col(text(OutboxPosts::Subscription))
            .col(text(OutboxPosts::Body))
            .col(number(OutboxPosts::AtMs))
            .take();
        manager.create_table(posts).await?;
        for statement in STATEMENTS {
            manager.get_connection().execute_unprepared(statement).await?;
        }
        Ok(())
    }
}

fn subscriptions() -> TableCreateStatement {
    Table::create()
        .table(EcgSubscriptions::Table)
        .col(text(EcgSubscriptions::Id).primary_key())
        .col(text(EcgSubscriptions::Organization))
        .col(ColumnDef::new(EcgSubscriptions::PostUri).text())
        .col(text(EcgSubscriptions::Version))
        .col(flag(EcgSubscriptions::IsDevelopment))
        .col(flag(EcgSubscriptions::Active))
        .col(number(EcgSubscriptions::ActiveChangedAtMs))
        .col(flag(EcgSubscriptions::Archived))
        .col(number(EcgSubscriptions::ArchivedChangedAtMs))
        .col(number(EcgSubscriptions::EnabledAtMs))
        .col(number(EcgSubscriptions::TargetRevision))
        .col(ColumnDef::new(EcgSubscriptions::DegradedSinceMs).big_integer())
        .col(number(EcgSubscriptions::HealthAtMs))
        .col(number(EcgSubscriptions::CreatedAtMs))
        .col(text(EcgSubscriptions::CreatedBy))
        .col(number(EcgSubscriptions::UpdatedAtMs))
        .col(text(EcgSubscriptions::UpdatedBy))
        .col(ColumnDef::new(EcgSubscriptions::DeletedAtMs).big_integer())
        .col(number(EcgSubscriptions::Revision))
        .take()
}

fn events() -> TableCreateStatement {
    let mut subscription = ForeignKey::create()
        .from(EcgSubscriptionEvents::Table, EcgSubscriptionEvents::Subscription)
        .to(EcgSubscriptions::Table, EcgSubscriptions::Id)
        .take();
    let mut event = ForeignKey::create()
        .from(EcgSubscriptionEvents::Table, EcgSubscriptionEvents::Event)
        .to(EcgEvents::Table, EcgEvents::Id)
        .take();
    Table::create()
        .table(EcgSubscriptionEvents::Table)
        .col(text(EcgSubscriptionEvents::Subscription))
        .col(text(EcgSubscriptionEvents::Event))
        .col(ColumnDef::new(EcgSubscriptionEvents::Position).integer().not_null())
        .primary_key(Index::create().col(EcgSubscriptionEvents::Subscription).col(EcgSubscriptionEvents::Event))
        .foreign_key(&mut subscription)
        .foreign_key(&mut event)
        .take()
}

fn secrets() -> TableCreateStatement {
    let mut subscription = ForeignKey::create()
        .from(EcgSecrets::Table, EcgSecrets::Subscription)
        .to(EcgSubscriptions::Table, EcgSubscriptions::Id)
        .take();
    Table::create()
        .table(EcgSecrets::Table)
        .col(text(EcgSecrets::Id).primary_key())
        .col(text(EcgSecrets::Subscription))
        .col(text(EcgSecrets::Secret))
        .col(number(EcgSecrets::ValidFromMs))
        .col(ColumnDef::new(EcgSecrets::ValidToMs).big_integer())
        .col(number(EcgSecrets::CreatedAtMs))
        .col(text(EcgSecrets::CreatedBy))
        .col(number(EcgSecrets::UpdatedAtMs))
        .col(text(EcgSecrets::UpdatedBy))
        .foreign_key(&mut subscription)
        .take()
}
