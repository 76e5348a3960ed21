//! The service's settings.

use std::time::Duration;

use serde::Deserialize;
use slipstream_bus::BusConfig;
use slipstream_core::retry::RetrySchedule;
use slipstream_service::auth::AuthConfig;
use slipstream_service::config::{HttpConfig, OperatorConfig, SecretsConfig, TelemetryConfig, duration};
use slipstream_store::DatabaseConfig;

/// All settings, one field per concern.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to listen.
    #[serde(default)]
    pub http: HttpConfig,
    /// Where the bus is.
    #[serde(default)]
    pub bus: BusConfig,
    /// Where the records go.
    #[serde(default)]
    pub database: DatabaseConfig,
    /// The master key, which opens the secrets that ECG payloads are hashed with. Required.
    #[serde(default)]
    pub secrets: SecretsConfig,
    /// Who may ask.
    pub operator: OperatorConfig,
    /// Whose tokens are taken besides API keys, and on the ECG surface.
    #[serde(default)]
    pub auth: AuthConfig,
    /// How long records are kept.
    #[serde(default)]
    pub retention: RetentionConfig,
    /// When endpoints that fail are disabled.
    #[serde(default)]
    pub health: HealthConfig,
    /// How deliveries are made.
    #[serde(default)]
    pub delivery: DeliveryConfig,
    /// Logs and traces.
    #[serde(default)]
    pub telemetry: TelemetryConfig,
}

/// How deliveries are made: by the dispatcher, whose settings these are too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeliveryConfig {
    /// Delays before attempts 1, 2, 3 … in milliseconds: what those are told who make posts themselves. Default: SPEC 4.3, ten
    /// attempts over 75 hours.
    pub retry_schedule_ms: RetrySchedule,
}

/// When endpoints that do nothing but fail are disabled (SPEC 4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HealthConfig {
    /// How often to look for them. Default 1 minute.
    #[serde(with = "duration")]
    pub every: Duration,
    /// For how long nothing but failures. Default 5 days.
    #[serde(with = "duration")]
    pub disable_after: Duration,
    /// How many attempts in that time, at least. Default 20.
    pub attempts_min: u32,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self { every: Duration::from_mins(1), disable_after: 5 * DAY, attempts_min: 20 }
    }
}

/// How long records are kept (SPEC 4.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionConfig {
    /// Events and deliveries, from the delivery's final state on. Default 30 days. With less than 7 days, repeats of an
    /// event are recognised for as long only.
    #[serde(with = "duration")]
    pub records: Duration,
    /// The first bytes of receivers' answers, from the attempt on. Default 7 days.
    #[serde(with = "duration")]
    pub responses: Duration,
    /// How often to look for what is too old. Default 10 minutes.
    #[serde(with = "duration")]
    pub every: Duration,
}

const DAY: Duration = Duration::from_hours(24);

impl Default for RetentionConfig {
    fn default() -> Self {
        Self { records: 30 * DAY, responses: 7 * DAY, every: Duration::from_mins(10) }
    }
}
