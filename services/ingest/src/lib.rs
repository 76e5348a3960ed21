//! Ingest: the publishing API of the Slipstream surface (SPEC 5.1 S1, S2), from HTTP to the bus.
//!
//! A request is checked (who, then what), its events are published as one commit, and only the stream's
//! acknowledgement makes it 204. No SQL, no knowledge of subscriptions: the sites and accounts come from the `config`
//! bucket and lie in memory.

mod handshake;
mod outlet;
mod publish;
mod repeat;

use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::routing::post;
use serde::Deserialize;
use slipstream_bus::{Bus, BusConfig};
use slipstream_service::config::{HttpConfig, TelemetryConfig};
use slipstream_service::{Context, Directory};

use crate::outlet::Outlet;

/// Everything ingest can be told.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where to listen, and the limits of requests.
    pub http: HttpConfig,
    /// The bus.
    pub bus: BusConfig,
    /// Logs and traces.
    pub telemetry: TelemetryConfig,
}

/// What every request needs.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) directory: Directory,
    pub(crate) outlet: Outlet,
    pub(crate) body_timeout: std::time::Duration,
}

pub(crate) type SharedState = Arc<State>;

/// Connects to the bus, waits for the first sight of the configuration, and returns the routes.
///
/// # Errors
/// If the bus cannot be used.
pub async fn start(config: Config, ctx: &Context) -> anyhow::Result<Router> {
    let bus = Bus::connect(&config.bus).await.context("ingest cannot use the bus")?;
    let directory = Directory::watch(&bus, ctx).await?;
    slipstream_service::watch_bus(ctx, "ingest.bus", &bus);
    let outlet = Outlet::new(&bus, config.bus.publish_deadline_ms);
    Ok(router(Arc::new(State { directory, outlet, body_timeout: config.http.body_timeout })))
}

/// The routes, under their own path and again under the public base path (SPEC 1.1).
fn router(state: SharedState) -> Router {
    let sites = Router::new()
        .route("/sites/{slug}/events", post(publish::publish).options(handshake::validate))
        .with_state(state);
    Router::new().merge(sites.clone()).nest("/api/v1", sites)
}

/// Runs ingest as a process of its own until it is told to stop.
///
/// # Errors
/// If it cannot start, or a part of it fails.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let http = config.http.clone();
    slipstream_service::run("ingest", http, async |ctx: &Context| start(config, ctx).await).await
}
