//! Record, search and explain: bus to SQL to HTTP.
//!
//! What the dispatcher says of events and deliveries travels on the stream `OUTCOMES`, and who did what on `AUDIT`. This
//! service writes it down and
//! answers the operator's questions about it. Nobody needs it for accepting or delivering: while it or its database
//! is away, messages wait on the bus (DESIGN 5).
//!
//! | what | module |
//! | --- | --- |
//! | messages to rows | [`fold`](mod@fold) |
//! | the loop: take, fold, write, acknowledge | `recorder` |
//! | telling that a delivery has no attempts left | `exhausted` |
//! | which events were accepted before | `seen` |
//! | endpoints that do nothing but fail | `health` |
//! | events that wait: list, move, cancel | `scheduled` |
//! | forgetting | `retention` |
//! | delivering again | `replay` |
//! | credentials, quotas, idempotency and the audit around the routes | `entrance` |
//! | posts of the ECG surface | `ecg` |
//! | `/admin/v1/deliveries`, `/dead-letters`, `/events`, `/replays`, `/explain` | `api` |

mod api;
mod config;
mod database;
mod ecg;
mod entrance;
mod exhausted;
pub mod fold;
mod health;
mod openapi;
mod recorder;
mod replay;
mod retention;
mod scheduled;
mod seen;

use anyhow::Context as _;
use slipstream_bus::{Bus, ConsumerName, StreamName};
use slipstream_service::access::Routers;
use slipstream_service::{Context, Directory, Vault, idempotency, lifecycle};
use slipstream_store::Store;

pub use self::config::{Config, DeliveryConfig, HealthConfig, RetentionConfig};
use self::ecg::Poster;
use self::entrance::Entrance;
use self::exhausted::Exhausted;
use self::health::Sweep;
pub use self::openapi::documents;
use self::recorder::Recorder;
use self::replay::Replayer;
use self::scheduled::Lists;

/// Starts the service in `ctx`: connects, brings the tables up to date, spawns its loops, returns its routes.
///
/// # Errors
/// When the bus or the database does not answer now (later outages heal by themselves), or settings cannot be used.
pub async fn start(config: Config, ctx: &Context) -> anyhow::Result<Routers> {
    ctx.describe(documents());
    let vault = Vault::open(&config.secrets)?;
    let store = Store::connect(&config.database).await.context("cannot open the database (database.url)")?;
    store.migrate().await.context("cannot bring the tables up to date")?;
    let bus = Bus::connect(&config.bus).await.context("cannot connect to the bus (bus.url)")?;
    slipstream_service::watch_bus(ctx, "activity-log.bus", &bus);
    let consumer = bus.consume(ConsumerName::ActivityLog).await.context("cannot consume outcomes")?;
    let directory = Directory::watch_and_open(&bus, &vault, ctx).await?;
    let exhausted = Exhausted::new(&bus, store.clone(), directory.clone());
    ctx.spawn("activity-log.exhausted", exhausted::run(exhausted.clone(), ctx.stop.clone()));
    let poster = Poster::new(store.clone(), bus.clone(), directory.clone());
    ctx.spawn("activity-log.posts", poster.clone().run(ctx.stop.clone()));
    // Two of the same: however much there is to record of deliveries, who did what does not wait for it.
    let audited = bus.consume(ConsumerName::Audit).await.context("cannot consume the audit")?;
    for (name, consumer) in [("activity-log.recorder", consumer), ("activity-log.audit", audited)] {
        let recorder =
            Recorder::new(consumer, store.clone(), (exhausted.clone(), poster.clone()), ctx.health.add(name));
        ctx.spawn(name, recorder.run(ctx.stop.clone()));
    }
    ctx.spawn("activity-log.retention", retention::run(store.clone(), config.retention, ctx.stop.clone()));
    let check = ctx.health.add("activity-log.database");
    ctx.spawn("activity-log.database", database::watch(store.clone(), check, ctx.stop.clone()));
    ctx.spawn("activity-log.seen", seen::run(bus.clone(), store.clone(), ctx.stop.clone()));
    let sweep = Sweep {
        config: config.health,
        directory: directory.clone(),
        store: store.clone(),
        outcomes: bus.publisher(StreamName::Outcomes),
    };
    ctx.spawn("activity-log.health", health::run(sweep, ctx.stop.clone()));
    let guards = config.auth.start(directory.clone(), ctx).context("auth")?.with_operator(&config.operator);
    ctx.spawn("activity-log.idempotency", idempotency::forget_old(store.clone(), ctx.stop.clone()));
    let entrance = Entrance::new(guards.clone(), store.clone(), &bus, &config.http, &ctx.to_the_end);
    let lists = Lists::new(config.database.max_connections);
    let scheduled = scheduled::routes(&entrance, &bus, store.clone(), lists.clone(), &config)?;
    let reconcile = api::reconcile::routes(&guards, store.clone(), bus.clone(), config.retention)?;
    let statistics = api::statistics::routes(&guards, store.clone(), directory.clone())?;
    let posts = ecg::Parts {
        store: store.clone(),
        directory: directory.clone(),
        bucket: bus.config_bucket().await.context("cannot open the config bucket")?,
        poster,
        lists,
        schedule: config.delivery.retry_schedule_ms,
        body_timeout: config.http.body_timeout,
    };
    let posts = ecg::routes(&entrance, posts)?;
    let replayer = Replayer::new(store.clone(), bus, directory, config.http.body_timeout);
    ctx.spawn("activity-log.replays", replay::run(replayer.clone(), config.retention.records, ctx.stop.clone()));
    let asked = api::routes(&entrance, store)?.merge(reconcile).merge(statistics);
    Ok(asked.merge(api::acting(&entrance, replayer)?).merge(scheduled).merge(posts))
}

/// Runs the service as a process of its own, until a signal stops it.
///
/// # Errors
/// When it cannot start, or a loop failed.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let http = config.http.clone();
    lifecycle::run("activity-log", http, async |ctx: &Context| start(config, ctx).await).await
}
