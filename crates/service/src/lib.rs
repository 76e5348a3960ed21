//! What every service shares: config, telemetry, lifecycle, accept loop, auth, problem answers, health.
//!
//! A service is a library with a `start(config, &Context) -> Routers`. It connects what it needs, spawns its loops with
//! [`Context::spawn`], adds its checks to [`Context::health`] and returns its routes. [`run`] does the rest: signals,
//! the listeners, the accept loop with its limits, health routes and the drain. One process may hold several services:
//! they share one [`Context`], and the first failure stops them all.
//!
//! Where to look:
//!
//! | question | module |
//! | --- | --- |
//! | where a setting comes from | [`config`] |
//! | what happens at start and stop | [`lifecycle`] |
//! | which limits a connection, a head and a body have | [`http`] |
//! | how a JSON body is read | [`json`] |
//! | how a refusal is told | [`problem`] |
//! | which route needs what | [`access`] |
//! | who calls | [`auth`] |
//! | how much somebody may do | [`quota`] |
//! | who did what | [`audit`] |
//! | how a repeated request is done once | [`idempotency`] |
//! | where secrets are sealed and opened | [`vault`] |
//! | how the query of a list is read | [`list`] |
//! | what handlers of the ECG surface have in common | [`ecg`] |
//! | what other services configured | [`directory`] |
//! | how it is described to others | [`openapi`] |
//! | what is logged, traced and counted | [`telemetry`], [`metrics`], [`names`] |

pub mod access;
pub mod audit;
pub mod auth;
mod budget;
pub mod bus_check;
pub mod clock;
pub mod config;
pub mod directory;
pub mod ecg;
pub mod health;
pub mod http;
pub mod idempotency;
pub mod json;
pub mod lifecycle;
pub mod list;
pub mod metrics;
pub mod names;
pub mod openapi;
pub mod problem;
pub mod program;
pub mod quota;
pub mod telemetry;
pub mod trace;
pub mod vault;

pub use bus_check::watch_bus;
pub use directory::Directory;
pub use lifecycle::{Context, run};
pub use problem::ApiError;
pub use program::main;
pub use trace::RequestTrace;
pub use vault::Vault;
