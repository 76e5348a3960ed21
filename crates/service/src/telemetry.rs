//! Logs to standard output, and traces by OTLP where an endpoint is configured.
//!
//! Two kinds of spans. Those of start-up, tasks and rare work are ordinary and show in logs. Those of the hot path
//! have a target under [`names::SPAN_TARGET`]: logs leave them out whatever the filter says, so that without an
//! endpoint nobody wants them and they cost one relaxed load each.

use std::io::IsTerminal as _;

use anyhow::Context as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Subscriber;
use tracing_subscriber::filter::{EnvFilter, LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use url::Url;

use crate::config::{LogFormat, TelemetryConfig};
use crate::names;

/// Libraries whose own events are noise, and, for those below the exporter, would make it trace itself
/// (DEPENDENCIES 5.5); and the broker's client, which writes answers into its own, and so what is in events. Stronger
/// than the configured filter's general level, weaker than what it says of them.
const QUIET: [&str; 7] =
    ["async_nats=info", "opentelemetry=warn", "hyper=warn", "hyper_util=warn", "h2=warn", "reqwest=warn", "sqlx=warn"];

/// Ends the export of traces in order. Keep it until the process ends.
#[derive(Debug)]
#[must_use = "the last spans are lost if they are not flushed"]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

/// Starts logs and traces for the process named `service_name`. Once per process, first of all.
///
/// # Errors
/// When the filter is malformed, the exporter cannot be made, or there is a subscriber already.
pub fn init(service_name: &'static str, config: &TelemetryConfig) -> anyhow::Result<Telemetry> {
    let provider = config.otlp_endpoint.as_ref().map(|url| provider(service_name, url)).transpose()?;
    let export = provider.as_ref().map(|provider| {
        let tracer = provider.tracer("slipstream");
        // Only our own spans, and what they log as a warning or worse.
        let ours = Targets::new().with_target("slipstream", LevelFilter::INFO);
        let ours = ours.with_target(names::SPAN_TARGET, LevelFilter::DEBUG);
        tracing_opentelemetry::layer().with_tracer(tracer).with_location(false).with_threads(false).with_filter(ours)
    });
    let subscriber = tracing_subscriber::registry().with(export).with(logs(config)?);
    subscriber.try_init().context("logs are set up already")?;
    Ok(Telemetry { provider })
}

/// The layer that writes log lines.
fn logs<S>(config: &TelemetryConfig) -> anyhow::Result<Box<dyn Layer<S> + Send + Sync>>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let layer = tracing_subscriber::fmt::layer();
    let layer = match config.log_format {
        LogFormat::Text => layer.with_ansi(std::io::stdout().is_terminal()).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    Ok(layer.with_filter(log_filter(&config.filter)?).boxed())
}

fn log_filter(filter: &str) -> anyhow::Result<EnvFilter> {
    let mut directives = QUIET.join(",");
    directives = format!("{directives},{filter},{}=off", names::SPAN_TARGET);
    EnvFilter::builder().parse(directives).with_context(|| format!("telemetry.filter: `{filter}` is not a filter"))
}

fn provider(service_name: &'static str, url: &Url) -> anyhow::Result<SdkTracerProvider> {
    // The exporter's HTTP client panics without one; a main that has installed it already has the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut url = url.clone();
    if matches!(url.path(), "" | "/") {
        url.set_path("/v1/traces");
    }
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(url)
        .build()
        .context("cannot make the exporter of traces (telemetry.otlp_endpoint)")?;
    let resource = Resource::builder().with_service_name(service_name).build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

impl Telemetry {
    /// Sends the last spans. After the servers have stopped; blocks a thread of its own, not the runtime's.
    pub async fn shutdown(self) {
        let Some(provider) = self.provider else { return };
        match tokio::task::spawn_blocking(move || provider.shutdown()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(error = error.to_string(), "the last spans were not exported"),
            Err(error) => tracing::warn!(error = error.to_string(), "the exporter of traces broke"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_malformed_filter_is_refused_and_named() {
        let error = log_filter("info,slip=stream=x").unwrap_err();
        assert!(format!("{error:#}").contains("telemetry.filter"), "{error:#}");
        log_filter("debug,hyper=trace,slipstream_ingest=trace").unwrap();
    }
}
