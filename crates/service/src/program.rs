//! What every `main` does: arguments, settings, telemetry, runtime, and the service to its end.

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;

use anyhow::Context as _;
use clap::{CommandFactory as _, FromArgMatches as _};
use serde::de::DeserializeOwned;

use crate::config::{self, TelemetryConfig};
use crate::telemetry;

/// What our packages' names begin with, and their services' do not.
const PACKAGE_PREFIX: &str = "slipstream-";

/// The command line of every service.
#[derive(Debug, clap::Parser)]
#[command(version)]
struct Arguments {
    /// Configuration file (TOML). Variables `SLIPSTREAM__…` go before it.
    #[arg(long)]
    config: Option<PathBuf>,
}

/// A command at work.
type Done = Pin<Box<dyn Future<Output = anyhow::Result<()>>>>;

/// Something else that a program does with its settings, when it is named on the command line.
pub struct Command<C> {
    name: &'static str,
    about: &'static str,
    run: Box<dyn FnOnce(C) -> Done>,
}

impl<C> Command<C> {
    /// The command called `name`; `about` is what `--help` says of it.
    pub fn new<F>(name: &'static str, about: &'static str, run: impl FnOnce(C) -> F + 'static) -> Self
    where
        F: Future<Output = anyhow::Result<()>> + 'static,
    {
        Self { name, about, run: Box::new(|config| Box::pin(run(config))) }
    }
}

impl<C> fmt::Debug for Command<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Reads arguments and settings, starts telemetry and the runtime, runs the service to its end, and sends out the
/// last spans.
///
/// `package` is the program's name (`slipstream-ingest`), `about` what `--help` says of it; `telemetry` finds its
/// settings among the service's, `run` is the service.
///
/// # Errors
/// With the service's error, or if the settings cannot be used, or telemetry or the runtime cannot be started.
pub fn main<C, F>(
    package: &'static str,
    about: &'static str,
    telemetry: fn(&C) -> &TelemetryConfig,
    run: impl FnOnce(C) -> F,
) -> anyhow::Result<()>
where
    C: DeserializeOwned,
    F: Future<Output = anyhow::Result<()>>,
{
    main_with_commands(package, about, telemetry, run, [])
}

/// As [`main`], for a program that also has commands: `program [--config FILE] command`.
///
/// # Errors
/// As [`main`].
pub fn main_with_commands<C, F, const N: usize>(
    package: &'static str,
    about: &'static str,
    telemetry: fn(&C) -> &TelemetryConfig,
    run: impl FnOnce(C) -> F,
    commands: [Command<C>; N],
) -> anyhow::Result<()>
where
    C: DeserializeOwned,
    F: Future<Output = anyhow::Result<()>>,
{
    // Before anything else: without it every TLS client panics when it is built (DEPENDENCIES 5.3).
    let _ = rustls::crypto::ring::default_provider().install_default();
    let named = commands.iter().map(|command| clap::Command::new(command.name).about(command.about));
    let matches = Arguments::command().name(package).about(about).subcommands(named).get_matches();
    let arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let config: C = config::load(arguments.config.as_deref())?;
    let name = package.strip_prefix(PACKAGE_PREFIX).unwrap_or(package);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")?;
    runtime.block_on(async {
        let telemetry = telemetry::init(name, telemetry(&config))?;
        let mut commands = commands.into_iter();
        let result = match commands.find(|command| matches.subcommand_name() == Some(command.name)) {
            Some(command) => (command.run)(config).await,
            None => run(config).await,
        };
        telemetry.shutdown().await;
        result
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().name("slipstream-ingest").about("What it does.").debug_assert();
    }
}
