//! What every `main` does, once its configuration is read.

use anyhow::Context as _;

use crate::config::TelemetryConfig;
use crate::telemetry;

/// Starts telemetry and the runtime, runs `service` to its end, and sends out the last spans.
///
/// # Errors
/// With the service's error, or if telemetry or the runtime cannot be started.
pub fn main(
    name: &'static str,
    config: &TelemetryConfig,
    service: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")?;
    runtime.block_on(async {
        let telemetry = telemetry::init(name, config)?;
        let result = service.await;
        telemetry.shutdown().await;
        result
    })
}
