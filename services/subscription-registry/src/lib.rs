//! What people configure: the Slipstream subscriptions of SPEC 5.4 and the operator API of SPEC 4.9.
//!
//! HTTP to SQL to the `config` bucket (DESIGN 4 "Configure"). A request changes SQL, mirrors the change into the bucket
//! and only then answers; all services, this one too, watch the bucket. Nothing here delivers; a receiver is only asked
//! whether it wants that.
//!
//! | question | module |
//! | --- | --- |
//! | how SQL and the bucket stay equal | `registry`, `reconcile` |
//! | which subscriptions are accepted | `slipstream`, `slipstream::body` |
//! | what operators can do | `operator` |
//! | how a body is read, and how a refusal names the member | `json` |
//! | how a receiver is asked for its consent, and how it gives it later | `handshake` |
//! | what happens when a receiver fails, recovers or answers 410 | `endpoints` |
//! | how anybody hears of that | `events` |
//! | how signing keys are made, rotated and revoked, and where receivers find them | `keys`, `signing`, `key_set` |

mod config;
mod demo;
mod endpoints;
mod events;
mod handshake;
mod key_set;
mod keys;
mod operator;
mod reconcile;
mod registry;
mod signing;
mod slipstream;
mod state;

use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::routing::get;
use slipstream_bus::{Bus, ConsumerName};
use slipstream_service::{Context, Directory};
use slipstream_store::Store;

pub use self::config::{
    BadCallbackUrl, BadSchemes, CallbackUrl, Config, HandshakeConfig, HandshakePolicy, NotADnsName, Origin, Schemes,
    SigningConfig,
};
pub use self::demo::{DemoCredentials, seed_demo};
use self::handshake::Handshake;
use self::registry::Registry;
use self::state::AppState;

/// Connects, migrates the database, brings the bucket up to date, spawns the loops and returns the routes.
///
/// # Errors
/// When the database or the bus cannot be used.
pub async fn start(config: Config, ctx: &Context) -> anyhow::Result<Router> {
    // Boxed: with all that it awaits it would make the future of whoever starts several services a large one.
    Box::pin(connect(config, ctx)).await
}

async fn connect(config: Config, ctx: &Context) -> anyhow::Result<Router> {
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

    let targets = Arc::new(config.targets);
    let handshake = Handshake::new(&config.handshake, &targets);
    if handshake.policy() != HandshakePolicy::Off {
        let (registry, handshake, targets) = (registry.clone(), handshake.clone(), Arc::clone(&targets));
        let again = handshake::again::Again { registry, handshake, targets };
        ctx.spawn("registry handshakes", handshake::again::run(again, ctx.stop.clone()));
    }
    let state = AppState {
        registry,
        directory: Directory::watch(&bus, ctx).await?,
        handshake,
        schemes: config.signing.schemes.as_slice().into(),
        targets,
        body_timeout: config.http.body_timeout,
    };
    Ok(router(state, &config.operator))
}

/// All routes.
fn router(state: AppState, operator: &slipstream_service::config::OperatorConfig) -> Router {
    slipstream::router().merge(public_router()).merge(operator::router(operator)).with_state(state)
}

/// What receivers may use, without a credential, under each of the two mount points (SPEC 1.1).
fn public_router() -> Router<AppState> {
    ["", "/api/v1"].into_iter().fold(Router::new(), |router, mount| {
        router
            .route(&format!("{mount}{}", handshake::callback::PATH), handshake::callback::methods())
            .route(&format!("{mount}{}", key_set::PATH), get(key_set::get))
    })
}

/// Runs this service as a process of its own: signals, listener, drain.
///
/// # Errors
/// When it cannot start, or one of its parts failed.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let http = config.http.clone();
    slipstream_service::run("subscription-registry", http, async |ctx: &Context| start(config, ctx).await).await
}
