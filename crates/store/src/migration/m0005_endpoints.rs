//! How endpoints fare: their health, the receivers' consent, limits of their own; and what is to be told of them.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[derive(DeriveIden)]
enum Subscriptions {
    Table,
    Id,
}

#[derive(DeriveIden)]
enum Handshakes {
    Table,
    KeyHash,
    Subscription,
    Uri,
    Origin,
    RatePerMinute,
    ExpiresAtMs,
}

#[derive(DeriveIden)]
enum Wishes {
    Table,
    Subscription,
    Uri,
    Headers,
    EventTypes,
    ExpiresAtMs,
}

#[derive(DeriveIden)]
enum Unanswered {
    Table,
    Subscription,
    Uri,
    AskedAtMs,
}

#[derive(DeriveIden)]
enum Outbox {
    Table,
    Key,
    Site,
    Type,
    Body,
    AtMs,
}

/// Read the same on both backends. Every column has a default or may be missing, so that the previous release can go on
/// writing; what it writes reads as healthy, not asked, and without limits of its own.
const SUBSCRIPTIONS: [&str; 5] = [
    "ALTER TABLE subscriptions ADD COLUMN degraded_since_ms BIGINT",
    "ALTER TABLE subscriptions ADD COLUMN health_at_ms BIGINT NOT NULL DEFAULT 0",
    "ALTER TABLE subscriptions ADD COLUMN consent TEXT NOT NULL DEFAULT '\"off\"'",
    "ALTER TABLE subscriptions ADD COLUMN limits TEXT NOT NULL DEFAULT '{}'",
    "UPDATE subscriptions SET health_at_ms = enabled_at_ms",
];

/// A column of text that must have a value.
fn text(name: impl IntoIden) -> ColumnDef {
    ColumnDef::new(name).text().not_null().take()
}

/// A column of a 64-bit number that must have a value.
fn number(name: impl IntoIden) -> ColumnDef {
    ColumnDef::new(name).big_integer().not_null().take()
}

/// With its subscription goes every question that is still open, and what it was about.
fn of_subscription(table: impl IntoIden, column: impl IntoIden) -> ForeignKeyCreateStatement {
    ForeignKey::create()
        .from(table.into_iden(), column.into_iden())
        .to(Subscriptions::Table, Subscriptions::Id)
        .on_delete(ForeignKeyAction::Cascade)
        .take()
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for statement in SUBSCRIPTIONS {
            manager.get_connection().execute_unprepared(statement).await?;
        }

        let handshakes = Table::create()
            .table(Handshakes::Table)
            .col(text(Handshakes::KeyHash).primary_key())
            .col(text(Handshakes::Subscription))
            .col(text(Handshakes::Uri))
            .col(text(Handshakes::Origin))
            .col(ColumnDef::new(Handshakes::RatePerMinute).big_integer())
            .col(number(Handshakes::ExpiresAtMs))
            .foreign_key(&mut of_subscription(Handshakes::Table, Handshakes::Subscription))
            .take();
        manager.create_table(handshakes).await?;
        let by_subscription = Index::create()
            .name("handshakes_subscription")
            .table(Handshakes::Table)
            .col(Handshakes::Subscription)
            .take();
        manager.create_index(by_subscription).await?;

        let wishes = Table::create()
            .table(Wishes::Table)
            .col(text(Wishes::Subscription).primary_key())
            .col(text(Wishes::Uri))
            .col(text(Wishes::Headers))
            .col(text(Wishes::EventTypes))
            .col(number(Wishes::ExpiresAtMs))
            .foreign_key(&mut of_subscription(Wishes::Table, Wishes::Subscription))
            .take();
        manager.create_table(wishes).await?;
        let unanswered = Table::create()
            .table(Unanswered::Table)
            .col(text(Unanswered::Subscription).primary_key())
            .col(text(Unanswered::Uri))
            .col(number(Unanswered::AskedAtMs))
            .foreign_key(&mut of_subscription(Unanswered::Table, Unanswered::Subscription))
            .take();
        manager.create_table(unanswered).await?;

        // No foreign key: what happened is told, also when its subscription is gone by then.
        let outbox = Table::create()
            .table(Outbox::Table)
            .col(text(Outbox::Key).primary_key())
            .col(text(Outbox::Site))
            .col(text(Outbox::Type))
            .col(text(Outbox::Body))
            .col(number(Outbox::AtMs))
            .take();
        manager.create_table(outbox).await
    }
}
