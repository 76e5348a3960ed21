//! The settings of this service.

use serde::Deserialize;
use slipstream_bus::BusConfig;
use slipstream_service::config::{HttpConfig, OperatorConfig, TelemetryConfig};
use slipstream_store::DatabaseConfig;
use slipstream_webhook::AddressPolicy;

/// Everything that can be set. Only `operator.token` must be.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The listener.
    #[serde(default)]
    pub http: HttpConfig,
    /// NATS.
    #[serde(default)]
    pub bus: BusConfig,
    /// The database. Migrated at start.
    #[serde(default)]
    pub database: DatabaseConfig,
    /// Who may use the operator API.
    pub operator: OperatorConfig,
    /// Which targets subscriptions may name; the same as the dispatcher's.
    #[serde(default)]
    pub targets: AddressPolicy,
    /// Logs and traces.
    #[serde(default)]
    pub telemetry: TelemetryConfig,
}
