//! The settings of this service.

mod handshake;
mod limits;
mod signing;

use serde::Deserialize;
use slipstream_bus::BusConfig;
use slipstream_service::auth::AuthConfig;
use slipstream_service::config::{HttpConfig, OperatorConfig, SecretsConfig, TelemetryConfig};
use slipstream_store::DatabaseConfig;
use slipstream_webhook::AddressPolicy;

pub use self::handshake::{BadCallbackUrl, CallbackUrl, HandshakeConfig, HandshakePolicy, NotADnsName, Origin};
pub use self::limits::LimitsConfig;
pub use self::signing::{BadSchemes, Schemes, SigningConfig};

/// Everything that can be set. Only `operator.token` and `secrets.master_key_file` must be.
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
    /// The master key. Required.
    #[serde(default)]
    pub secrets: SecretsConfig,
    /// Who may use the operator API.
    pub operator: OperatorConfig,
    /// Whose tokens are taken besides API keys.
    #[serde(default)]
    pub auth: AuthConfig,
    /// Which targets subscriptions may name; the same as the dispatcher's.
    #[serde(default)]
    pub targets: AddressPolicy,
    /// Whether and how receivers are asked for their consent.
    #[serde(default)]
    pub handshake: HandshakeConfig,
    /// How much one tenant may have.
    #[serde(default)]
    pub limits: LimitsConfig,
    /// How new subscriptions sign.
    #[serde(default)]
    pub signing: SigningConfig,
    /// Logs and traces.
    #[serde(default)]
    pub telemetry: TelemetryConfig,
}
