//! What every `main` does: arguments, settings, telemetry, runtime, and the service to its end.

use std::path::PathBuf;

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
    // Before anything else: without it every TLS client panics when it is built (DEPENDENCIES 5.3).
    let _ = rustls::crypto::ring::default_provider().install_default();
    let matches = Arguments::command().name(package).about(about).get_matches();
    let arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let config: C = config::load(arguments.config.as_deref())?;
    let name = package.strip_prefix(PACKAGE_PREFIX).unwrap_or(package);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")?;
    runtime.block_on(async {
        let telemetry = telemetry::init(name, telemetry(&config))?;
        let result = run(config).await;
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
