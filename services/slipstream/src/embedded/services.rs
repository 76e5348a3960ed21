//! The four services, each with the settings it has in common with the others.

use std::net::SocketAddr;

use anyhow::Context as _;
use slipstream_bus::BusConfig;
use slipstream_service::Context;
use slipstream_service::access::Routers;
use slipstream_service::config::{HttpConfig, OperatorConfig, Secret};
use slipstream_store::DatabaseConfig;
use {
    slipstream_activity_log as activity_log, slipstream_dispatcher as dispatcher, slipstream_ingest as ingest,
    slipstream_subscription_registry as registry,
};

use crate::settings::Settings;

/// What the services need.
pub(super) struct Parts {
    pub(super) http: HttpConfig,
    pub(super) bus: BusConfig,
    pub(super) registry_database: DatabaseConfig,
    pub(super) activity_database: DatabaseConfig,
    pub(super) operator_token: String,
    /// Where everybody connects.
    pub(super) address: SocketAddr,
    pub(super) settings: Settings,
}

impl Parts {
    /// Starts all four in `ctx`, and merges their routes.
    ///
    /// One after the other: each declares the same streams, and the first has them made for all.
    pub(super) async fn start(self, ctx: &Context) -> anyhow::Result<Routers> {
        let Self { http, bus, registry_database, activity_database, operator_token, address, settings } = self;
        let telemetry = settings.telemetry;
        let auth = settings.auth;
        let operator = OperatorConfig { token: Secret::new(operator_token) };
        let activity_log = activity_log::start(
            activity_log::Config {
                http: http.clone(),
                bus: bus.clone(),
                database: activity_database,
                secrets: settings.secrets.clone(),
                operator: operator.clone(),
                auth: auth.clone(),
                retention: activity_log::RetentionConfig::default(),
                health: settings.health,
                delivery: activity_log::DeliveryConfig {
                    retry_schedule_ms: settings.delivery.retry_schedule_ms.clone(),
                },
                telemetry: telemetry.clone(),
            },
            ctx,
        )
        .await
        .context("the activity log does not start")?;
        let registry = registry::start(
            registry::Config {
                http: http.clone(),
                bus: bus.clone(),
                database: registry_database,
                secrets: settings.secrets.clone(),
                operator,
                auth: auth.clone(),
                targets: settings.targets.clone(),
                handshake: reachable(settings.handshake, address)?,
                limits: settings.limits,
                signing: settings.signing,
                telemetry: telemetry.clone(),
            },
            ctx,
        )
        .await
        .context("the subscription registry does not start")?;
        let dispatcher = dispatcher::start(
            dispatcher::Config {
                http: http.clone(),
                bus: bus.clone(),
                secrets: settings.secrets,
                telemetry: telemetry.clone(),
                targets: settings.targets,
                delivery: settings.delivery,
            },
            ctx,
        )
        .await
        .context("the dispatcher does not start")?;
        let ingest = ingest::start(ingest::Config { http, bus, auth, telemetry }, ctx).await;
        let ingest = ingest.context("ingest does not start")?;
        Ok(ingest.merge(registry).merge(dispatcher).merge(activity_log))
    }
}

/// The handshake's settings, with a URL at which receivers of this machine can grant later, unless one is set. Others
/// could not reach it, so a listener that is not on loopback has none by itself.
fn reachable(
    mut handshake: registry::HandshakeConfig,
    address: SocketAddr,
) -> anyhow::Result<registry::HandshakeConfig> {
    if handshake.callback_url.is_none() && address.ip().is_loopback() {
        handshake.callback_url = Some(registry::CallbackUrl::try_from(format!("http://{address}"))?);
    }
    Ok(handshake)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callback_goes_to_the_listener_if_that_is_on_loopback_and_nothing_else_is_set() {
        let url = |text: &str| registry::CallbackUrl::try_from(text.to_owned()).ok();
        let made = |callback_url, address: &str| {
            let handshake = registry::HandshakeConfig { callback_url, ..registry::HandshakeConfig::default() };
            reachable(handshake, address.parse().unwrap()).unwrap().callback_url
        };
        assert_eq!(made(None, "127.0.0.1:8080"), url("http://127.0.0.1:8080"));
        assert_eq!(made(None, "[::1]:8080"), url("http://[::1]:8080"));
        assert_eq!(made(None, "0.0.0.0:8080"), None);
        let set = url("https://events.example");
        assert_eq!(made(set.clone(), "127.0.0.1:8080"), set);
    }
}
