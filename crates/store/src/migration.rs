//! The tables, one set of migrations for both backends. A migration that has been released is never edited.

#![expect(elided_lifetimes_in_paths, reason = "the trait's own method is written so, and async_trait compares")]

mod m0001_registry;
mod m0002_activity;
mod m0003_waiting;
mod m0004_replays;
mod m0005_endpoints;
mod m0006_failing;
mod m0007_data_keys;
mod m0008_audit;
mod m0009_counting;
mod m0010_deleted_accounts;
mod m0011_waiting_by_type;
mod m0012_made_ids;
mod m0013_ecg_events;
mod m0014_ecg_subscriptions;
mod m0015_ecg_activities;

use sea_orm_migration::{MigrationTrait, MigratorTrait};

/// All migrations, in order.
pub(crate) struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_registry::Migration),
            Box::new(m0002_activity::Migration),
            Box::new(m0003_waiting::Migration),
            Box::new(m0004_replays::Migration),
            Box::new(m0005_endpoints::Migration),
            Box::new(m0006_failing::Migration),
            Box::new(m0007_data_keys::Migration),
            Box::new(m0008_audit::Migration),
            Box::new(m0009_counting::Migration),
            Box::new(m0010_deleted_accounts::Migration),
            Box::new(m0011_waiting_by_type::Migration),
            Box::new(m0012_made_ids::Migration),
            Box::new(m0013_ecg_events::Migration),
            Box::new(m0014_ecg_subscriptions::Migration),
            Box::new(m0015_ecg_activities::Migration),
        ]
    }
}
