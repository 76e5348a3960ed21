//! Dispatcher: route, hold, deliver, retry (DESIGN 4), from bus to webhooks to bus.
//!
//! Loops, each a file:
//!
//! - [`route`]: an event that is due becomes one delivery per matching subscription, and a record of who matched.
//! - [`hold`]: an event whose time is ahead becomes a schedule; one whose time has come becomes due.
//! - [`deliver`]: a delivery becomes an attempt, and the attempt an outcome and, if need be, a schedule.
//! - [`housekeeping`]: processed messages are trimmed; when storage runs short, routing stops.
//!
//! Guarantees: every step publishes its effect and then acknowledges its message, so a crash repeats a step and never
//! loses one; keys make a repeated step harmless. Waiting is always a message on the bus, never a task that sleeps.
//! Correctness depends on none of the in-memory state here (in-flight counts, slow-downs, means): it makes us fast
//! and fair, and a restart begins without it.

mod deliver;
mod hold;
mod housekeeping;
mod pace;
mod route;
mod seen;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;
use slipstream_bus::{Bus, BusConfig, ConsumerName, StreamName};
use slipstream_core::lane::Lane;
use slipstream_core::retry::RetrySchedule;
use slipstream_service::access::Routers;
use slipstream_service::config::{HttpConfig, SecretsConfig, TelemetryConfig};
use slipstream_service::{Context, Directory, Vault};
use slipstream_webhook::AddressPolicy;

/// Everything the dispatcher can be told.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where probes and metrics are served.
    pub http: HttpConfig,
    /// The bus.
    pub bus: BusConfig,
    /// The master key, which opens the keys that sign and the headers that are sent. Required.
    pub secrets: SecretsConfig,
    /// Logs and traces.
    pub telemetry: TelemetryConfig,
    /// Which addresses may be called.
    pub targets: AddressPolicy,
    /// How deliveries are made.
    pub delivery: DeliveryConfig,
}

/// How deliveries are made.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeliveryConfig {
    /// Delays before attempts 1, 2, 3 … in milliseconds. Default: SPEC 4.3, ten attempts over 75 hours.
    pub retry_schedule_ms: RetrySchedule,
    /// Attempts under way at once, over all subscriptions. Default: 512.
    pub attempts_in_flight_max: usize,
    /// Attempts under way at once to one subscription. Default: 8.
    pub attempts_in_flight_per_subscription: usize,
    /// Attempts under way at once to one target host, over all subscriptions and tenants. Default: 64 (THREATS 3).
    pub attempts_in_flight_per_host: usize,
    /// Deadline of one attempt, from name to body, in milliseconds. Default: 30 s (SPEC 2.8).
    pub attempt_timeout_ms: u64,
}

impl Default for DeliveryConfig {
    fn default() -> Self {
        Self {
            retry_schedule_ms: RetrySchedule::default(),
            attempts_in_flight_max: 512,
            attempts_in_flight_per_subscription: 8,
            attempts_in_flight_per_host: 64,
            attempt_timeout_ms: 30_000,
        }
    }
}

impl DeliveryConfig {
    fn attempt_timeout(&self) -> Duration {
        Duration::from_millis(self.attempt_timeout_ms)
    }
}

/// Connects, starts the loops, and returns the routes: none beside the probes, which every service has.
///
/// # Errors
/// If the bus cannot be used.
pub async fn start(config: Config, ctx: &Context) -> anyhow::Result<Routers> {
    let vault = Vault::open(&config.secrets)?;
    let bus = Bus::connect(&config.bus).await.context("the dispatcher cannot use the bus")?;
    let directory = Directory::watch_and_open(&bus, &vault, ctx).await?;
    slipstream_service::watch_bus(ctx, "dispatcher.bus", &bus);
    let storage = housekeeping::start(&bus, ctx);
    let outcomes = bus.publisher(StreamName::Outcomes);
    let work = bus.publisher(StreamName::Work);
    let pace = Arc::new(pace::Pace::new());
    for lane in Lane::ALL {
        let router = Arc::new(route::Router {
            directory: directory.clone(),
            seen: seen::Seen::new(&bus),
            work: work.clone(),
            outcomes: outcomes.clone(),
            lane,
            pace: Arc::clone(&pace),
        });
        let events = bus.consume(ConsumerName::Route(lane)).await?.prefetch(route::BATCH_MAX);
        ctx.spawn("route", route::run(router, events, storage.clone(), ctx.stop.clone()));
    }
    hold::start(&bus, &outcomes, storage, ctx).await?;
    Box::pin(deliver::start(&config, &bus, directory, &outcomes, pace, ctx)).await?;
    Ok(Routers::default())
}

/// Runs the dispatcher as a process of its own until it is told to stop.
///
/// # Errors
/// If it cannot start, or a part of it fails.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let http = config.http.clone();
    slipstream_service::run("dispatcher", http, async |ctx: &Context| start(config, ctx).await).await
}
