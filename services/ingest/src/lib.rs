//! Ingest: the publishing API of the Slipstream surface (SPEC 5.1 S1, S2), from HTTP to the bus.
//!
//! A request is checked (who, then what), its events are published as one commit, and only the stream's
//! acknowledgement makes it 204. No SQL, no knowledge of subscriptions: the sites and accounts come from the `config`
//! bucket and lie in memory.

mod handshake;
mod openapi;
mod outlet;
mod publish;
mod repeat;

use std::sync::Arc;

use anyhow::Context as _;
use http::Method;
use serde::Deserialize;
use slipstream_bus::{Bus, BusConfig};
use slipstream_service::access::{RouteError, Routers, Routes};
use slipstream_service::auth::{AuthConfig, Guards};
use slipstream_service::config::{HttpConfig, TelemetryConfig};
use slipstream_service::{Context, Directory};

pub use crate::openapi::documents;
use crate::outlet::Outlet;

/// Everything ingest can be told.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where to listen, and the limits of requests.
    pub http: HttpConfig,
    /// The bus.
    pub bus: BusConfig,
    /// Whose tokens are taken besides API keys.
    pub auth: AuthConfig,
    /// Logs and traces.
    pub telemetry: TelemetryConfig,
}

/// What every request needs.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) outlet: Outlet,
    pub(crate) body_timeout: std::time::Duration,
}

pub(crate) type SharedState = Arc<State>;

/// Connects to the bus, waits for the first sight of the configuration, and returns the routes.
///
/// # Errors
/// If the bus cannot be used, or the settings of an issuer.
pub async fn start(config: Config, ctx: &Context) -> anyhow::Result<Routers> {
    ctx.describe(documents());
    let bus = Bus::connect(&config.bus).await.context("ingest cannot use the bus")?;
    let directory = Directory::watch(&bus, ctx).await?;
    slipstream_service::watch_bus(ctx, "ingest.bus", &bus);
    let outlet = Outlet::new(&bus, config.bus.publish_deadline_ms);
    let guards = config.auth.start(directory, ctx).context("auth")?;
    let state = State { outlet, body_timeout: config.http.body_timeout };
    Ok(routes(&guards, Arc::new(state))?)
}

fn routes(guards: &Guards, state: SharedState) -> Result<Routers, RouteError> {
    Routes::new(guards)
        .add(Method::POST, "/sites/{site}/events", publish::publish)
        .add(Method::OPTIONS, "/sites/{site}/events", handshake::validate)
        .with_state(state)
}

/// Runs ingest as a process of its own until it is told to stop.
///
/// # Errors
/// If it cannot start, or a part of it fails.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let http = config.http.clone();
    slipstream_service::run("ingest", http, async |ctx: &Context| start(config, ctx).await).await
}
