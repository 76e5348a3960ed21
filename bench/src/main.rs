//! `slipstream-bench`: measures the whole platform from outside. Figures, no verdict.
//!
//! It starts `slipstream up`, a receiver in another process, and publishes 1 KiB events; broker, platform, receiver and
//! driver share the machine, so driver and receiver are made to cost as little as possible (see [`http`]).

mod api;
mod broker;
mod clock;
mod count;
mod driver;
mod event;
mod harness;
mod http;
mod open_loop;
mod phases;
mod procfs;
mod raw;
mod receiver;
mod report;
mod resources;
mod stats;
mod system;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::{Parser, Subcommand, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use crate::phases::Plan;
use crate::procfs::Machine;
use crate::report::Report;
use crate::system::{Launch, filesystem_of};

/// The hidden subcommand with which the program starts itself as the receiver.
const RECEIVER_COMMAND: &str = "receiver";

/// Measures the whole platform from outside: figures, no verdict.
#[derive(Debug, Parser)]
#[command(name = "slipstream-bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    arguments: Arguments,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Receives webhooks for a driver.
    #[command(hide = true)]
    Receiver,
}

#[derive(Debug, clap::Args)]
struct Arguments {
    /// The platform's program, built for release. Default: `slipstream` beside this program
    #[arg(long, value_name = "PATH")]
    slipstream: Option<PathBuf>,
    /// When the broker writes to disk
    #[arg(long, value_enum, default_value_t = Sync::Both)]
    sync: Sync,
    /// Events of each closed loop
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(5..=1_000_000))]
    events: u32,
    /// Where to write the JSON document too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// A tenth of everything, to see that it runs
    #[arg(long)]
    quick: bool,
    /// Where the data lies during the run; should be on a real disk. Default: the system's temporary directory
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
}

/// The durability modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sync {
    /// Before each acknowledgement
    Always,
    /// Every 100 ms
    #[value(name = "100ms")]
    Every100Ms,
    /// First the one, then the other
    Both,
}

impl Sync {
    const fn modes(self) -> &'static [&'static str] {
        match self {
            Self::Always => &["always"],
            Self::Every100Ms => &["100ms"],
            Self::Both => &["always", "100ms"],
        }
    }
}

/// One thread for everything: what the driver does not use is left to what it measures.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    if let Some(Command::Receiver) = cli.command {
        return receiver::run().await;
    }
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        // Dropping the run stops what it started and removes its files.
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        _ = terminate.recv() => bail!("terminated"),
        result = run(cli.arguments) => result,
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let program = match &arguments.slipstream {
        Some(program) => program.clone(),
        None => std::env::current_exe().context("cannot find this program")?.with_file_name("slipstream"),
    };
    ensure!(program.is_file(), "{} is not there: build it for release, or name another", program.display());
    let scratch = arguments.scratch.clone().unwrap_or_else(std::env::temp_dir);
    let filesystem = filesystem_of(&scratch);
    if filesystem == "tmpfs" {
        eprintln!("note: {} is in memory, where a sync costs nothing; see --scratch", scratch.display());
    }
    let plan = plan(&arguments);
    let begun = Instant::now();
    let harness = harness::measure(plan.events).await?;
    println!("{}", report::harness(&harness));
    let mut modes = Vec::new();
    for sync in arguments.sync.modes() {
        let launch = Launch { program: program.clone(), scratch: scratch.clone(), sync: (*sync).to_owned() };
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
    finish(&report, arguments.json.as_deref())
}

fn plan(arguments: &Arguments) -> Plan {
    let share = if arguments.quick { 10 } else { 1 };
    Plan {
        events: (arguments.events / share).max(5),
        limit: Duration::from_mins(2),
        accept_limit: Duration::from_secs(8),
        raw: (50_000 / u64::from(share), Duration::from_secs(5)),
        open_loop_rate: 200,
        open_loop_time: Duration::from_secs(30) / share,
    }
}

/// Prints the document as the last line of the output, and writes it where told.
fn finish(report: &Report, file: Option<&Path>) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(report)?);
    if let Some(file) = file {
        let text = serde_json::to_string_pretty(report)? + "\n";
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn both_modes_run_unless_told_otherwise() {
        let cli = Cli::parse_from(["slipstream-bench"]);
        assert_eq!(cli.arguments.sync.modes(), ["always", "100ms"]);
        assert_eq!(Cli::parse_from(["slipstream-bench", "--sync", "100ms"]).arguments.sync.modes(), ["100ms"]);
    }
}
