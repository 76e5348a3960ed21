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
//! | what can be configured on the ECG surface | `ecg` |
//! | how a body is read, and how a refusal names the member | `json` |
//! | how a receiver is asked for its consent, and how it gives it later | `handshake` |
//! | what happens when a receiver fails, recovers or answers 410 | `endpoints` |
//! | how anybody hears of that | `events` |
//! | how that is recorded, since nobody did it with a credential | `audited` |
//! | how secrets are sealed, and the master key replaced | `secrets` |
//! | how signing keys are made, rotated and revoked, and where receivers find them | `keys`, `signing`, `key_set` |

mod audited;
mod config;
mod demo;
mod ecg;
mod endpoints;
mod events;
mod handshake;
mod key_set;
mod keys;
mod openapi;
mod operator;
mod reconcile;
mod registry;
mod secrets;
mod signing;
mod slipstream;
mod state;

use std::sync::Arc;

use anyhow::Context as _;
use http::Method;
use slipstream_bus::{Bus, ConsumerName};
use slipstream_core::sealing::Tenant;
use slipstream_service::access::{Around, RouteError, Routers, Routes};
use slipstream_service::audit::Audit;
use slipstream_service::auth::Guards;
use slipstream_service::ecg::{refuse, shape};
use slipstream_service::idempotency::Idempotency;
use slipstream_service::{Context, Directory, Vault, idempotency};
use slipstream_store::Store;

pub use self::config::{
    BadCallbackUrl, BadSchemes, CallbackUrl, Config, HandshakeConfig, HandshakePolicy, LimitsConfig, NotADnsName,
    Origin, Schemes, SigningConfig,
};
pub use self::demo::{DemoCredentials, seed_demo};
use self::ecg::health::Indicators;
use self::handshake::Handshake;
pub use self::openapi::documents;
use self::registry::Registry;
pub use self::secrets::{Rotated, check_master_key, has_data_keys, rotate_master_key};
use self::state::AppState;

/// Connects, migrates the database, brings the bucket up to date, spawns the loops and returns the routes.
///
/// # Errors
/// When the database, the bus or a setting cannot be used.
pub async fn start(config: Config, ctx: &Context) -> anyhow::Result<Routers> {
    // Boxed: with all that it awaits it would make the future of whoever starts several services a large one.
    Box::pin(connect(config, ctx)).await
}

async fn connect(config: Config, ctx: &Context) -> anyhow::Result<Routers> {
    ctx.describe(documents());
    let check = ctx.health.add("registry");
    let vault = Vault::open(&config.secrets)?;
    let store = Store::connect(&config.database).await.context("cannot open the database")?;
    // Before anything is written.
    secrets::check_database(&store, &vault).await?;
    store.migrate().await.context("cannot migrate the database")?;
    ecg::seeds::apply(&store).await.context("cannot apply the reference data")?;
    let bus = Bus::connect(&config.bus).await.context("cannot use the bus")?;
    slipstream_service::watch_bus(ctx, "registry.bus", &bus);
    let bucket = bus.config_bucket().await.context("cannot open the config bucket")?;
    let once = Idempotency::new(store.clone(), &config.http, &ctx.to_the_end);
    ctx.spawn("registry idempotency keys", idempotency::forget_old(store.clone(), ctx.stop.clone()));
    secrets::check_bucket(&store, &bucket, &vault).await?;
    let registry = Registry::new(store, bucket, &bus, vault.clone(), config.limits);
    registry.ensure_key(&Tenant::System).await.context("cannot make the first data key")?;

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
    let directory = Directory::watch_and_open(&bus, &vault, ctx).await?;
    let guards = config.auth.start(directory.clone(), ctx).context("auth")?.with_operator(&config.operator);
    let indicators = Indicators::start(registry.store(), &bus, ctx).await.context("cannot listen for dispatchers")?;
    let state = AppState {
        registry,
        directory,
        handshake,
        indicators,
        schemes: config.signing.schemes.as_slice().into(),
        targets,
        body_timeout: config.http.body_timeout,
    };
    // From the outermost to the innermost: a repeat of a request is no second act.
    let around: [Arc<dyn Around>; 2] = [Arc::new(once), Arc::new(Audit::new(&bus, registry::NAME, &ctx.to_the_end))];
    Ok(routes(&guards, &around, &state)?)
}

/// All routes. What receivers use needs no credential; a caller of a surface with a quota pays a token for each request.
fn routes(guards: &Guards, around: &[Arc<dyn Around>], state: &AppState) -> Result<Routers, RouteError> {
    let with = |routes: Routes<AppState>| around.iter().cloned().fold(routes, Routes::around);
    let routes = operator::add(slipstream::add(with(Routes::new(guards))))
        .add(Method::GET, handshake::callback::PATH, handshake::callback::grant)
        .add(Method::POST, handshake::callback::PATH, handshake::callback::grant_by_post)
        .add(Method::GET, key_set::PATH, key_set::get);
    // Outermost: whatever is refused further in gets the shape that refusals of this surface have.
    let of_ecg = Routes::new(guards).refusing_with(refuse).around(shape());
    Ok(routes.with_state(state.clone())?.merge(ecg::add(with(of_ecg)).with_state(state.clone())?))
}

/// Runs this service as a process of its own: signals, listener, drain.
///
/// # Errors
/// When it cannot start, or one of its parts failed.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let http = config.http.clone();
    slipstream_service::run(registry::NAME, http, async |ctx: &Context| start(config, ctx).await).await
}
