//! The subscription registry as a process of its own.

fn main() -> anyhow::Result<()> {
    slipstream_service::main(
        env!("CARGO_PKG_NAME"),
        "The configuration APIs of Slipstream: subscriptions, and the operator's organisations, sites and accounts",
        |config: &slipstream_subscription_registry::Config| &config.telemetry,
        slipstream_subscription_registry::run,
    )
}
