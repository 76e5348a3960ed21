//! `slipstream demo`: the main job end to end, on a system of its own, through the public API only.
//!
//! It does not just show: each step is checked, and the process fails if any check does. What it shows is one of each:
//! a subscription, the three modes, a retry, a final refusal, an event that is cancelled while it waits, one that waits,
//! one that comes too late, one that is nobody's business, what the activity log says of all of them, and a replay.
//!
//! | what | module |
//! | --- | --- |
//! | the steps and their checks | [`play`] |
//! | who receives, and what arrived | [`desk`] |
//! | what is printed | [`timeline`], [`table`] |

mod desk;
mod play;
mod table;
mod timeline;

use std::net::Ipv4Addr;

use anyhow::Context as _;
use clap::Args;
use slipstream_dispatcher::DeliveryConfig;
use slipstream_service::config::TelemetryConfig;

use self::timeline::Timeline;
use crate::broker::Sync;
use crate::console::{Style, field, say};
use crate::data_dir::DataDir;
use crate::embedded::{Embedded, Options};
use crate::settings::Settings;

/// Delays before the attempts, in place of 0 s, 5 s, 5 min, 30 min … (SPEC 4.3), in milliseconds.
const SCHEDULE_MS: [u64; 4] = [0, 1000, 2000, 4000];

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// When the broker writes to disk: `always` (before it accepts), or every so often, as `100ms`
    #[arg(long, value_name = "WHEN", default_value = "always")]
    sync: Sync,
}

/// Starts a system, plays, stops it, and leaves nothing behind.
///
/// # Errors
/// When a step could not be made, or a check failed.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let defaults = Settings::default();
    let settings = Settings {
        telemetry: TelemetryConfig { filter: "error".to_owned(), ..defaults.telemetry },
        delivery: DeliveryConfig {
            retry_schedule_ms: SCHEDULE_MS.to_vec().try_into().context("the demo's schedule is one")?,
            ..defaults.delivery
        },
        ..defaults
    }
    .for_one_machine();
    let telemetry = slipstream_service::telemetry::init("slipstream", &settings.telemetry)?;
    let directory = tempfile::Builder::new().prefix("slipstream-demo-").tempdir();
    let directory = directory.context("cannot make a temporary directory")?;
    say(Style::Strong.paint("Slipstream demo: events become signed webhooks"));
    say("Everything runs here: all services in this process, nats-server as its child, SQLite, and three receivers.");
    say("For the demo, retries come after 1 s, 2 s and 4 s; normally after 5 s, 5 min, 30 min … up to 24 h.\n");

    let data = DataDir::open(directory.path()).await?;
    let listen = (Ipv4Addr::LOCALHOST, 0).into();
    let options = Options { listen, operator_listen: listen, sync: arguments.sync, nats_url: None, settings };
    let mut embedded = Embedded::start(data, options).await?;
    let facts = embedded.facts().clone();
    field("API", &facts.running.url);
    field("operator API", &facts.running.operator_url);
    field("broker", format_args!("{}, sync {}", facts.nats_url, facts.sync));
    field("data", directory.path().display());
    field("started in", format_args!("{:.2} s", facts.started_in.as_secs_f64()));
    say("");

    let timeline = Timeline::begin();
    let played = embedded.run_until(play::play(&facts.running, &timeline)).await;
    let stopped = embedded.stop().await;
    telemetry.shutdown().await;
    stopped?;
    played.context("the demo was interrupted")??;
    timeline.verdict()
}
