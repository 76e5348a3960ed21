//! What people configure: organisations, sites, API accounts, subscriptions.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[derive(DeriveIden)]
enum Organisations {
    Table,
    Slug,
    Name,
    Revision,
}

#[derive(DeriveIden)]
enum Sites {
    Table,
    Slug,
    Name,
    Organisation,
    BillingOrganisation,
    Product,
    PmsSpecificId,
    Revision,
}

#[derive(DeriveIden)]
enum Accounts {
    Table,
    Id,
    DisplayName,
    Kind,
    Sites,
    Permissions,
    Quota,
    PrimaryKey,
    SecondaryKey,
    Revision,
}

#[derive(DeriveIden)]
enum Subscriptions {
    Table,
    Id,
    Surface,
    Site,
    Feature,
    Account,
    Uri,
    Headers,
    EventTypes,
    State,
    DisabledReason,
    EnabledAtMs,
    SigningKeys,
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
        let organisations = Table::create()
            .table(Organisations::Table)
            .col(text(Organisations::Slug).primary_key())
            .col(text(Organisations::Name))
            .col(number(Organisations::Revision))
            .take();
        manager.create_table(organisations).await?;

        let mut owner = ForeignKey::create()
            .from(Sites::Table, Sites::Organisation)
            .to(Organisations::Table, Organisations::Slug)
            .take();
        let mut billed = ForeignKey::create()
            .from(Sites::Table, Sites::BillingOrganisation)
            .to(Organisations::Table, Organisations::Slug)
            .take();
        let sites = Table::create()
            .table(Sites::Table)
            .col(text(Sites::Slug).primary_key())
            .col(text(Sites::Name))
            .col(text(Sites::Organisation))
            .col(text(Sites::BillingOrganisation))
            .col(text(Sites::Product))
            .col(ColumnDef::new(Sites::PmsSpecificId).text())
            .col(number(Sites::Revision))
            .foreign_key(&mut owner)
            .foreign_key(&mut billed)
            .take();
        manager.create_table(sites).await?;

        let accounts = Table::create()
            .table(Accounts::Table)
            .col(text(Accounts::Id).primary_key())
            .col(text(Accounts::DisplayName))
            .col(text(Accounts::Kind))
            .col(text(Accounts::Sites))
            .col(text(Accounts::Permissions))
            .col(ColumnDef::new(Accounts::Quota).text())
            .col(text(Accounts::PrimaryKey))
            .col(text(Accounts::SecondaryKey))
            .col(number(Accounts::Revision))
            .take();
        manager.create_table(accounts).await?;

        let mut site =
            ForeignKey::create().from(Subscriptions::Table, Subscriptions::Site).to(Sites::Table, Sites::Slug).take();
        let mut account = ForeignKey::create()
            .from(Subscriptions::Table, Subscriptions::Account)
            .to(Accounts::Table, Accounts::Id)
            .take();
        let subscriptions = Table::create()
            .table(Subscriptions::Table)
            .col(text(Subscriptions::Id).primary_key())
            .col(text(Subscriptions::Surface))
            .col(text(Subscriptions::Site))
            .col(text(Subscriptions::Feature))
            .col(text(Subscriptions::Account))
            .col(text(Subscriptions::Uri))
            .col(text(Subscriptions::Headers))
            .col(text(Subscriptions::EventTypes))
            .col(text(Subscriptions::State))
            .col(ColumnDef::new(Subscriptions::DisabledReason).text())
            .col(number(Subscriptions::EnabledAtMs))
            .col(text(Subscriptions::SigningKeys))
            .col(number(Subscriptions::Revision))
            .foreign_key(&mut site)
            .foreign_key(&mut account)
            .take();
        manager.create_table(subscriptions).await?;

        // One subscription per site, feature and account (SPEC 5.4): the database keeps it so, whoever races.
        let one_each = Index::create()
            .name("subscriptions_site_feature_account")
            .table(Subscriptions::Table)
            .col(Subscriptions::Site)
            .col(Subscriptions::Feature)
            .col(Subscriptions::Account)
            .unique()
            .take();
        manager.create_index(one_each).await
    }
}
