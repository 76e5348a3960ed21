//! The activity log as a process of its own.

fn main() -> anyhow::Result<()> {
    slipstream_service::main(
        env!("CARGO_PKG_NAME"),
        "Records what became of events and deliveries, and answers questions about it",
        |config: &slipstream_activity_log::Config| &config.telemetry,
        slipstream_activity_log::run,
    )
}
