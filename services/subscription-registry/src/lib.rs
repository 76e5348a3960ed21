//! What people configure: the Slipstream subscriptions of SPEC 5.4 and the operator API of SPEC 4.9.
//!
//! HTTP to SQL to the `config` bucket (DESIGN 4 "Configure"). A request changes SQL, mirrors the change into the bucket
//! and only then answers; all services, this one too, watch the bucket. Nothing here delivers.
//!
//! | question | module |
//! | --- | --- |
//! | how SQL and the bucket stay equal | `registry`, `reconcile` |
//! | which subscriptions are accepted | `slipstream`, `slipstream::body` |
//! | what operators can do | `operator` |
//! | how a body is read, and how a refusal names the member | `json` |
//! | what happens when a receiver answers 410 | `endpoints` |

mod config;
mod demo;
mod endpoints;
mod json;
mod keys;
mod operator;
mod reconcile;
mod registry;
mod slipstream;
mod state;

use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use slipstream_bus::{Bus, ConsumerName};
use slipstream_service::{Context, Directory};
use slipstream_store::Store;

pub use self::config::Config;
pub use self::demo::{DemoCredentials, seed_demo};
use self::registry::Registry;
use self::state::AppState;

/// Connects, migrates the database, brings the bucket up to date, spawns the loops and returns the routes.
///
/// # Errors
/// When the database or the bus cannot be used.
pub async fn start(config: Config, ctx: &Context) -> anyhow::Result<Router> {
    let check = ctx.health.add("registry");
    let store = Store::connect(&config.database).await.context("cannot open the database")?;
    store.migrate().await.context("cannot migrate the database")?;
    let bus = Bus::connect(&config.bus).await.context("cannot use the bus")?;
    slipstream_service::watch_bus(ctx, "registry.bus", &bus);
    let bucket = bus.config_bucket().await.context("cannot open the config bucket")?;
    let registry = Registry::new(store, bucket, &bus);

    reconcile::once(&registry).await.context("cannot bring the config bucket up to date")?;
    check.set_ready();
    ctx.spawn("registry reconciler", reconcile::run(registry.clone(), check, ctx.stop.clone()));
    let changes = bus.consume(ConsumerName::RegistryEndpoints).await.context("cannot consume endpoint changes")?;
    ctx.spawn("registry endpoint changes", endpoints::run(registry.clone(), changes, ctx.stop.clone()));

    let state = AppState {
        registry,
        directory: Directory::watch(&bus, ctx).await?,
        targets: Arc::new(config.targets),
        body_timeout: config.http.body_timeout,
    };
    Ok(router(state, &config.operator))
}

/// All routes.
fn router(state: AppState, operator: &slipstream_service::config::OperatorConfig) -> Router {
    slipstream::router().merge(operator::router(operator)).with_state(state)
}

/// Runs this service as a process of its own: signals, listener, drain.
///
/// # Errors
/// When it cannot start, or one of its parts failed.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let http = config.http.clone();
    slipstream_service::run("subscription-registry", http, async |ctx: &Context| start(config, ctx).await).await
}
