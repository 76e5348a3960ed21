//! The dispatcher as a process of its own.

use std::path::PathBuf;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Routes events, delivers webhooks, retries.
#[derive(clap::Parser)]
#[command(version)]
struct Arguments {
    /// Configuration file (TOML). Variables `SLIPSTREAM__…` go before it.
    #[arg(long)]
    config: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let arguments = <Arguments as clap::Parser>::parse();
    let config: slipstream_dispatcher::Config = slipstream_service::config::load(arguments.config.as_deref())?;
    slipstream_service::main("dispatcher", &config.telemetry.clone(), slipstream_dispatcher::run(config))
}
