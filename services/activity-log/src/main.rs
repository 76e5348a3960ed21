//! The activity log as a process of its own.

use std::path::PathBuf;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Records what became of events and deliveries, and answers questions about it.
#[derive(clap::Parser)]
#[command(version)]
struct Arguments {
    /// Configuration file (TOML). Variables `SLIPSTREAM__…` go before it.
    #[arg(long)]
    config: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let arguments = <Arguments as clap::Parser>::parse();
    let config: slipstream_activity_log::Config = slipstream_service::config::load(arguments.config.as_deref())?;
    slipstream_service::main("activity-log", &config.telemetry.clone(), slipstream_activity_log::run(config))
}
