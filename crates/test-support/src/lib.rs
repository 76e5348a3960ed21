//! For tests: a nats-server, a database and a scriptable webhook receiver each.
//!
//! Everything here is a real part, private to the test that asked for it: its own port, its own directory, its own
//! database. Children die with the fixture that owns them, and also when the test process is killed.
//!
//! | need | call |
//! | --- | --- |
//! | a broker | [`nats::NatsServer::start`] |
//! | a PostgreSQL database | [`postgres::database`] |
//! | a SQLite database | [`sqlite::database`] |
//! | somebody who takes webhooks | [`receiver::Receiver::start`] |
//! | somebody who makes tokens | [`issuer::Issuer::start`] |
//! | one of our programs as a process | [`process::Program`] |
//! | to wait for something | [`eventually::eventually`] |
//! | sites, accounts, subscriptions, events | [`builders`] |
//! | a master key, and sealed records | [`secrets`] |
//!
//! Fixtures panic with an explanation instead of returning errors: a test can do nothing else with one.

pub mod builders;
pub mod child;
pub mod env;
pub mod eventually;
pub mod issuer;
pub mod nats;
pub mod postgres;
pub mod process;
pub mod receiver;
pub mod secrets;
pub mod sqlite;

pub use child::install_crypto;
pub use eventually::eventually;
pub use issuer::Issuer;
pub use nats::NatsServer;
pub use receiver::{Received, Receiver, Reply, Then};
