//! SQL: what people configure and what people look up, on SQLite and PostgreSQL alike.
//!
//! One [`Store`] is one connection pool. Each aggregate has a module of functions that take any connection, so that a
//! caller may put several of them into one transaction ([`Store::begin`]):
//!
//! | what | module |
//! | --- | --- |
//! | organisations, sites, API accounts | [`organisations`], [`sites`], [`accounts`] |
//! | subscriptions and their endpoints | [`subscriptions`] |
//! | receivers that were asked for their consent and may still give it | [`handshakes`] |
//! | events of our own that are still to be published | [`outbox`] |
//! | the keys that their secrets are sealed under | [`data_keys`] |
//! | any of these by its key in the `config` bucket | [`records`] |
//! | events, deliveries, attempts | [`activity`] |
//! | what is configured and posted through the ECG surface | [`ecg`] |
//! | who did what | [`audit`] |
//! | keys of requests that may be sent again | [`Store`] as [`Keys`](slipstream_core::idempotency::Keys) |
//!
//! The tables are the same on both backends: slugs, ids and closed sets as text, lists as JSON text, instants as
//! `BIGINT` Unix milliseconds. Nothing here is on the path between accepting and delivering (DESIGN 1).

pub mod accounts;
pub mod activity;
pub mod audit;
pub mod data_keys;
pub mod ecg;
mod entity;
mod error;
pub mod handshakes;
mod idempotency;
mod migration;
pub mod organisations;
pub mod outbox;
mod page;
pub mod records;
pub mod sites;
mod store;
pub mod subscriptions;

pub use error::StoreError;
pub use page::Page;
pub use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend};
pub use store::{DatabaseConfig, Store};
