//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::environment::variable;
use crate::{demo, ecg_token, listen, migrate, publish, rotate, up};

/// CloudEvents in, signed webhooks out: durable, observable, yours.
#[derive(Debug, Parser)]
#[command(name = "slipstream", version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs everything in this process: all services on two ports, an embedded nats-server, SQLite.
    Up(up::Arguments),
    /// Publishes events and prints the answer.
    Publish(publish::Arguments),
    /// Receives webhooks, checks their signatures and prints what arrives.
    Listen(listen::Arguments),
    /// Makes a token for the ECG surface of a running `slipstream up`, and prints it.
    EcgToken(ecg_token::Arguments),
    /// Shows the main job end to end on a system of its own, and checks each step.
    Demo(demo::Arguments),
    /// Brings a database's tables up to date.
    Migrate(migrate::Arguments),
    /// Puts another master key in the place of the one in the data directory.
    RotateMasterKey(rotate::Arguments),
}

impl Cli {
    /// Does what was asked.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Up(arguments) => up::run(arguments).await,
            Command::Publish(arguments) => publish::run(arguments).await,
            Command::Listen(arguments) => listen::run(arguments).await,
            Command::EcgToken(arguments) => ecg_token::run(arguments).await,
            Command::Demo(arguments) => demo::run(arguments).await,
            Command::Migrate(arguments) => migrate::run(arguments).await,
            Command::RotateMasterKey(arguments) => rotate::run(arguments).await,
        }
    }
}

/// Where the data is; the same for `up` and for the commands that look for a running one.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct DataDirArgument {
    /// Directory of all data. Default: $XDG_DATA_HOME/slipstream, or ~/.local/share/slipstream
    #[arg(long, env = "SLIPSTREAM_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl DataDirArgument {
    /// The directory; it may not exist yet.
    ///
    /// # Errors
    /// When none is named and the environment names no home.
    pub(crate) fn path(&self) -> anyhow::Result<PathBuf> {
        if let Some(named) = &self.data_dir {
            return Ok(named.clone());
        }
        // An empty or relative value counts as none, says the specification of XDG_DATA_HOME.
        let absolute = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        absolute("XDG_DATA_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
            .map(|data| data.join("slipstream"))
            .ok_or_else(|| anyhow::anyhow!("neither XDG_DATA_HOME nor HOME is set: name a directory with --data-dir"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn a_named_directory_wins() {
        let named = DataDirArgument { data_dir: Some("here".into()) };
        assert_eq!(named.path().unwrap(), PathBuf::from("here"));
    }
}
