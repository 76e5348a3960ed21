//! `slipstream-bench`: measures the whole platform from outside. Figures, no verdict.
//!
//! It starts `slipstream up`, a receiver in another process, and publishes 1 KiB events; broker, platform, receiver and
//! driver share the machine, so driver and receiver are made to cost as little as possible (see [`http`]).

mod api;
mod batch;
mod broker;
mod cli;
mod clock;
mod count;
mod document;
mod driver;
mod ecg;
mod event;
mod harness;
mod http;
mod isolation;
mod lanes;
mod ledger;
mod open_loop;
mod phases;
mod procfs;
mod raw;
mod receiver;
mod report;
mod resources;
mod schedule;
mod stage;
mod stats;
mod system;
mod wanted;

use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{Cli, Command, Throughput};
use crate::phases::Plan;
use crate::procfs::Machine;
use crate::report::Report;
use crate::system::{Launch, filesystem_of};

/// One thread for everything: what the driver does not use is left to what it measures.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        // Dropping the run stops what it started and removes its files.
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        _ = terminate.recv() => bail!("terminated"),
        result = run(cli) => result,
    }
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        None => throughput(cli.arguments).await,
        Some(Command::Lanes(told)) => lanes::run(told).await,
        Some(Command::Schedule(told)) => schedule::run(told).await,
        Some(Command::Isolation(told)) => isolation::run(told).await,
        Some(Command::Ecg(told)) => ecg::run(told).await,
        Some(Command::Receiver { addresses }) => receiver::run(addresses).await,
    }
}

/// The measurement without a command.
async fn throughput(arguments: Throughput) -> anyhow::Result<()> {
    let launch = arguments.common.launch("")?;
    let filesystem = filesystem_of(&launch.scratch);
    let plan = plan(&arguments);
    let begun = Instant::now();
    let harness = harness::measure(plan.events).await?;
    println!("{}", report::harness(&harness));
    let mut modes = Vec::new();
    for sync in arguments.sync.modes() {
        let launch = Launch { sync: (*sync).to_owned(), ..launch.clone() };
        let say = |doing: &str| eprintln!("[{:>5.1} s] sync {sync}: {doing}", begun.elapsed().as_secs_f64());
        let mode = phases::measure(&launch, &plan, say).await?;
        println!("{}", report::table(&mode));
        modes.push(mode);
    }
    let report = Report {
        version: env!("CARGO_PKG_VERSION"),
        machine: Machine::this(),
        filesystem,
        event_bytes: event::EVENT_BYTES,
        harness,
        modes,
    };
    document::finish(&report, arguments.common.json.as_deref())
}

fn plan(arguments: &Throughput) -> Plan {
    let share = if arguments.common.quick { 10 } else { 1 };
    Plan {
        events: (arguments.events / share).max(5),
        limit: Duration::from_mins(2),
        accept_limit: Duration::from_secs(8),
        raw: (50_000 / u64::from(share), Duration::from_secs(5)),
        open_loop_rate: 200,
        open_loop_time: Duration::from_secs(30) / share,
    }
}
