//! Record, search and explain: bus to SQL to HTTP.
//!
//! What the dispatcher says of events and deliveries travels on the stream `OUTCOMES`. This service writes it down and
//! answers the operator's questions about it. Nobody needs it for accepting or delivering: while it or its database
//! is away, messages wait on the bus (DESIGN 5).
//!
//! | what | module |
//! | --- | --- |
//! | messages to rows | [`fold`](mod@fold) |
//! | the loop: take, fold, write, acknowledge | `recorder` |
//! | forgetting | `retention` |
//! | `/admin/v1/deliveries`, `/dead-letters`, `/events` | `api` |

mod api;
mod config;
mod database;
pub mod fold;
mod recorder;
mod retention;

use anyhow::Context as _;
use axum::Router;
use slipstream_bus::{Bus, ConsumerName};
use slipstream_service::auth::operator_only;
use slipstream_service::{Context, lifecycle};
use slipstream_store::Store;

pub use self::config::{Config, RetentionConfig};
use self::recorder::Recorder;

/// Starts the service in `ctx`: connects, brings the tables up to date, spawns its loops, returns its routes.
///
/// # Errors
/// When the bus or the database does not answer now; later outages heal by themselves.
pub async fn start(config: Config, ctx: &Context) -> anyhow::Result<Router> {
    let store = Store::connect(&config.database).await.context("cannot open the database (database.url)")?;
    store.migrate().await.context("cannot bring the tables up to date")?;
    let bus = Bus::connect(&config.bus).await.context("cannot connect to the bus (bus.url)")?;
    slipstream_service::watch_bus(ctx, "activity-log.bus", &bus);
    let consumer = bus.consume(ConsumerName::ActivityLog).await.context("cannot consume outcomes")?;
    let recorder = Recorder::new(consumer, store.clone(), ctx.health.add("activity-log.recorder"));
    ctx.spawn("activity-log.recorder", recorder.run(ctx.stop.clone()));
    ctx.spawn("activity-log.retention", retention::run(store.clone(), config.retention, ctx.stop.clone()));
    let check = ctx.health.add("activity-log.database");
    ctx.spawn("activity-log.database", database::watch(store.clone(), check, ctx.stop.clone()));
    Ok(operator_only(api::router(store), &config.operator))
}

/// Runs the service as a process of its own, until a signal stops it.
///
/// # Errors
/// When it cannot start, or a loop failed.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let http = config.http.clone();
    lifecycle::run("activity-log", http, async |ctx: &Context| start(config, ctx).await).await
}
