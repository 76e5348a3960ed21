//! The command line.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::system::{Launch, filesystem_of};

/// The hidden subcommand with which the program starts itself as the receiver.
pub(crate) const RECEIVER_COMMAND: &str = "receiver";

/// Measures the whole platform from outside: figures, no verdict by exit code.
///
/// Without a command: throughput and latency.
#[derive(Debug, Parser)]
#[command(name = "slipstream-bench", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) arguments: Throughput,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Realtime while many normal events wait, and normal while realtime floods
    Lanes(Lanes),
    /// Scheduled events: how late they come, and what the requests about them take
    Schedule(Schedule),
    /// What receivers that never answer, or drip, cost the others
    Isolation(Isolation),
    /// The history of posts: lists with a million activities, on PostgreSQL and on SQLite
    Ecg(Ecg),
    /// Receives webhooks for a driver.
    #[command(hide = true)]
    Receiver {
        /// On how many addresses
        #[arg(value_parser = clap::value_parser!(u8).range(1..=254))]
        addresses: u8,
    },
}

/// What every measurement can be told.
#[derive(Debug, Clone, Args)]
pub(crate) struct Common {
    /// The platform's program, built for release. Default: `slipstream` beside this program
    #[arg(long, value_name = "PATH")]
    slipstream: Option<PathBuf>,
    /// Where to write the JSON document too
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// A tenth of everything, to see that it runs
    #[arg(long)]
    pub(crate) quick: bool,
    /// Where the data lies during the run; should be on a real disk. Default: the system's temporary directory
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
}

impl Common {
    /// What to start, with one dispatcher.
    ///
    /// # Errors
    /// If the platform's program is not there.
    pub(crate) fn launch(&self, sync: &str) -> anyhow::Result<Launch> {
        let program = match &self.slipstream {
            Some(program) => program.clone(),
            None => std::env::current_exe().context("cannot find this program")?.with_file_name("slipstream"),
        };
        ensure_built(&program)?;
        let dispatcher = program.with_file_name("slipstream-dispatcher");
        let scratch = self.scratch.clone().unwrap_or_else(std::env::temp_dir);
        if filesystem_of(&scratch) == "tmpfs" {
            eprintln!("note: {} is in memory, where a sync costs nothing; see --scratch", scratch.display());
        }
        Ok(Launch { program, dispatcher, dispatchers: 1, scratch, sync: sync.to_owned() })
    }
}

/// Checks that a program is there.
///
/// # Errors
/// If it is not.
pub(crate) fn ensure_built(program: &Path) -> anyhow::Result<()> {
    ensure!(program.is_file(), "{} is not there: build it for release, or name another", program.display());
    Ok(())
}

/// Throughput and latency.
#[derive(Debug, Args)]
pub(crate) struct Throughput {
    #[command(flatten)]
    pub(crate) common: Common,
    /// When the broker writes to disk
    #[arg(long, value_enum, default_value_t = Sync::Both)]
    pub(crate) sync: Sync,
    /// Events of each closed loop
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(5..=1_000_000))]
    pub(crate) events: u32,
}

/// The durability modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sync {
    /// Before each acknowledgement
    Always,
    /// Every 100 ms
    #[value(name = "100ms")]
    Every100Ms,
    /// First the one, then the other
    Both,
}

impl Sync {
    pub(crate) const fn modes(self) -> &'static [&'static str] {
        match self {
            Self::Always => &["always"],
            Self::Every100Ms => &["100ms"],
            Self::Both => &["always", "100ms"],
        }
    }
}

/// The history of posts.
#[derive(Debug, Args)]
pub(crate) struct Ecg {
    /// A database of PostgreSQL with nothing in it: `postgres://user@host:port/name`
    #[arg(long, value_name = "URL", default_value = "")]
    pub(crate) postgres: String,
    /// Activities of one subscription; others have 50,000 beside it
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(10_000..=20_000_000))]
    pub(crate) activities: u32,
    /// Leave out SQLite
    #[arg(long)]
    pub(crate) only_postgres: bool,
    /// Where to write the JSON document too
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// A tenth of everything, to see that it runs
    #[arg(long)]
    pub(crate) quick: bool,
    /// Where SQLite's database lies; should be on a real disk. Default: the system's temporary directory
    #[arg(long, value_name = "DIR")]
    pub(crate) scratch: Option<PathBuf>,
}

/// What the measurements of fairness and punctuality have in common.
#[derive(Debug, Clone, Args)]
pub(crate) struct Single {
    #[command(flatten)]
    pub(crate) common: Common,
    /// When the broker writes to disk: `always` or a time as 100ms
    #[arg(long, value_name = "WHEN", default_value = "always")]
    pub(crate) sync: String,
}

/// Realtime while normal waits.
#[derive(Debug, Args)]
pub(crate) struct Lanes {
    #[command(flatten)]
    pub(crate) single: Single,
    /// Dispatchers on one broker; several numbers are measured one after the other
    #[arg(long, value_name = "NUMBER", value_delimiter = ',', default_values_t = [1, 3],
        value_parser = clap::value_parser!(u8).range(1..=9))]
    pub(crate) dispatchers: Vec<u8>,
    /// Normal events that wait when each run of realtime events begins
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1000..=300_000))]
    pub(crate) waiting: u32,
    /// How long the receiver takes for each delivery, in milliseconds; several are measured one after the other. With 5
    /// what waits lasts for a minute; with 0 it is gone before the last run begins
    #[arg(long, value_name = "MS", value_delimiter = ',', default_values_t = [5])]
    pub(crate) receiver_ms: Vec<u16>,
    /// Runs of each kind; the median counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=20))]
    pub(crate) repeats: u8,
}

/// Scheduled events.
#[derive(Debug, Args)]
pub(crate) struct Schedule {
    #[command(flatten)]
    pub(crate) single: Single,
    /// Events scheduled, once over a time and once for the same second
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1000..=300_000))]
    pub(crate) events: u32,
    /// Seconds between the start of publishing and the first intended time: all should be held by then
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(5..=600))]
    pub(crate) lead_seconds: u32,
    /// Events pending while requests are measured
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1000..=100_000))]
    pub(crate) pending: u32,
    /// Requests of each kind
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(10..=150))]
    pub(crate) requests: u32,
}

/// Receivers that are no good.
#[derive(Debug, Args)]
pub(crate) struct Isolation {
    #[command(flatten)]
    pub(crate) single: Single,
    /// Events per second, spread evenly over 50 subscriptions
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(50..=5000))]
    pub(crate) per_second: u32,
    /// Length of a run. By default longer than an attempt may take (30 s), so that some end within it
    #[arg(long, default_value_t = 35, value_parser = clap::value_parser!(u32).range(2..=600))]
    pub(crate) seconds: u32,
    /// Runs of each kind, in turn; the median counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=20))]
    pub(crate) repeats: u8,
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

    #[test]
    fn lanes_are_measured_on_one_dispatcher_and_on_three() {
        let lanes = |arguments: &[&str]| match Cli::parse_from(arguments).command {
            Some(Command::Lanes(lanes)) => lanes,
            other => panic!("{other:?}"),
        };
        assert_eq!(lanes(&["slipstream-bench", "lanes"]).dispatchers, [1, 3]);
        let told = lanes(&["slipstream-bench", "lanes", "--dispatchers", "2", "--receiver-ms", "0,5", "--quick"]);
        assert_eq!((told.dispatchers, told.receiver_ms, told.single.common.quick), (vec![2], vec![0, 5], true));
    }
}
