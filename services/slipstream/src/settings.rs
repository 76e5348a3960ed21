//! The configuration file of `slipstream up`: all that the flags do not cover, with defaults for one machine.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use slipstream_activity_log::HealthConfig;
use slipstream_dispatcher::DeliveryConfig;
use slipstream_service::auth::AuthConfig;
use slipstream_service::config::{HttpConfig, SecretsConfig, TelemetryConfig};
use slipstream_subscription_registry::{HandshakeConfig, LimitsConfig, SigningConfig};
use slipstream_webhook::AddressPolicy;

/// What can be set, in TOML or by `SLIPSTREAM__…` variables (see [`slipstream_service::config`]).
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// The listeners and their limits. Here a stop does not wait for load balancers (`drain_min` is zero unless set to
    /// another value than its usual default), and one address may hold all connections: everybody is on loopback.
    pub(crate) http: HttpConfig,
    /// Whose tokens are taken besides API keys.
    pub(crate) auth: AuthConfig,
    /// The master key. Default: `master.key` in the data directory, made at the first start.
    pub(crate) secrets: SecretsConfig,
    /// Logs and traces. Default: warnings only; `filter = "info"` tells more.
    pub(crate) telemetry: TelemetryConfig,
    /// Which addresses webhooks may go to. Default: every public one, and loopback, also by `http`.
    pub(crate) targets: AddressPolicy,
    /// Whether and how receivers are asked for their consent. Here, if nothing else is said and the listener is on
    /// loopback, they may also grant later at the listener's own address.
    pub(crate) handshake: HandshakeConfig,
    /// How much one tenant may have.
    pub(crate) limits: LimitsConfig,
    /// How new subscriptions sign.
    pub(crate) signing: SigningConfig,
    /// How deliveries are made.
    pub(crate) delivery: DeliveryConfig,
    /// When an endpoint that only fails is disabled.
    pub(crate) health: HealthConfig,
    /// The embedded broker.
    pub(crate) broker: BrokerSettings,
}

/// The embedded broker's limits.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct BrokerSettings {
    /// Bytes of all streams together, beyond which the broker stores nothing more. Keep it well below what the disk
    /// has: a full disk is silence until a restart, a full store a clean refusal (DESIGN 3.5). Default: 8 GiB.
    pub(crate) max_file_store_bytes: u64,
    /// Bytes at which each of four streams refuses and a fifth lets the oldest go; the broker reserves them, so
    /// `max_file_store_bytes` must be more than five times as much. Default: 1 GiB.
    pub(crate) stream_max_bytes: i64,
}

impl Default for BrokerSettings {
    fn default() -> Self {
        Self { max_file_store_bytes: 8 << 30, stream_max_bytes: 1 << 30 }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            http: HttpConfig::default(),
            auth: AuthConfig::default(),
            secrets: SecretsConfig::default(),
            telemetry: TelemetryConfig { filter: "warn".to_owned(), ..TelemetryConfig::default() },
            targets: AddressPolicy::with_loopback(),
            handshake: HandshakeConfig::default(),
            limits: LimitsConfig::default(),
            signing: SigningConfig::default(),
            delivery: DeliveryConfig::default(),
            health: HealthConfig::default(),
            broker: BrokerSettings::default(),
        }
    }
}

impl Settings {
    /// Reads the file, if there is one, and the environment.
    ///
    /// # Errors
    /// At the first setting that is unknown or malformed.
    pub(crate) fn load(file: Option<&Path>) -> anyhow::Result<Self> {
        Ok(slipstream_service::config::load::<Self>(file)?.for_one_machine())
    }

    /// Gives the listener's settings that were left alone the values that fit one machine.
    pub(crate) fn for_one_machine(mut self) -> Self {
        let usual = HttpConfig::default();
        if self.http.drain_min == usual.drain_min {
            self.http.drain_min = Duration::ZERO;
        }
        if self.http.connections_per_address_max == usual.connections_per_address_max {
            self.http.connections_per_address_max = self.http.connections_max;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_changes_what_it_names_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("slipstream.toml");
        let text = "[delivery]\nretry_schedule_ms = [0, 1000]\n[http]\nconnections_max = 20\n[targets]\nallow = []\n";
        std::fs::write(&file, text).unwrap();
        let settings = Settings::load(Some(&file)).unwrap();
        assert_eq!(settings.delivery.retry_schedule_ms.attempts(), 2);
        assert_eq!(settings.targets, AddressPolicy::default());
        assert_eq!(settings.http.connections_per_address_max, 20);
        assert_eq!(settings.http.drain_min, Duration::ZERO);
        assert_eq!(settings.broker, BrokerSettings::default());
    }

    #[test]
    fn an_unknown_setting_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("slipstream.toml");
        std::fs::write(&file, "[delivery]\nretries = 3\n").unwrap();
        let error = Settings::load(Some(&file)).unwrap_err().to_string();
        assert!(error.contains("delivery") && error.contains("retries"), "{error}");
    }
}
