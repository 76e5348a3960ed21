//! The subscription registry as a process of its own.

use slipstream_service::program::Command;
use slipstream_subscription_registry::{Config, rotate_master_key};

fn main() -> anyhow::Result<()> {
    slipstream_service::program::main_with_commands(
        env!("CARGO_PKG_NAME"),
        "The configuration APIs of Slipstream: subscriptions, and the operator's organisations, sites and accounts",
        |config: &Config| &config.telemetry,
        slipstream_subscription_registry::run,
        [Command::new(
            "rotate-master-key",
            "Wraps all data keys by secrets.master_key_file; secrets.previous_master_key_file opens those that it does not",
            |config: Config| async move {
                let rotated = rotate_master_key(&config.secrets, &config.database, &config.bus).await?;
                tracing::info!(keys.rewrapped = rotated.rewrapped, keys.total = rotated.total, "master key rotated");
                Ok(())
            },
        )],
    )
}
