//! The subscription registry as a process of its own.

use std::path::PathBuf;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The configuration APIs of Slipstream: subscriptions, and the operator's organisations, sites and accounts.
#[derive(clap::Parser)]
#[command(version)]
struct Arguments {
    /// Configuration file (TOML). Variables `SLIPSTREAM__…` go before it.
    #[arg(long)]
    config: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let arguments = <Arguments as clap::Parser>::parse();
    let config: slipstream_subscription_registry::Config =
        slipstream_service::config::load(arguments.config.as_deref())?;
    slipstream_service::main(
        "subscription-registry",
        &config.telemetry.clone(),
        slipstream_subscription_registry::run(config),
    )
}
