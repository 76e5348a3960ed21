//! Ingest as a process of its own.

fn main() -> anyhow::Result<()> {
    slipstream_service::main(
        env!("CARGO_PKG_NAME"),
        "The publishing API of Slipstream",
        |config: &slipstream_ingest::Config| &config.telemetry,
        slipstream_ingest::run,
    )
}
