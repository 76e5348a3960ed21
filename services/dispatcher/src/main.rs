//! The dispatcher as a process of its own.

fn main() -> anyhow::Result<()> {
    slipstream_service::main(
        env!("CARGO_PKG_NAME"),
        "Routes events, delivers webhooks, retries",
        |config: &slipstream_dispatcher::Config| &config.telemetry,
        slipstream_dispatcher::run,
    )
}
