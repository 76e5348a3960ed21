//! The four services, each with the settings it has in common with the others.

use anyhow::Context as _;
use axum::Router;
use slipstream_bus::BusConfig;
use slipstream_service::Context;
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
    pub(super) settings: Settings,
}

impl Parts {
    /// Starts all four in `ctx`, and merges their routes.
    ///
    /// One after the other: each declares the same streams, and the first has them made for all.
    pub(super) async fn start(self, ctx: &Context) -> anyhow::Result<Router> {
        let Self { http, bus, registry_database, activity_database, operator_token, settings } = self;
        let telemetry = settings.telemetry;
        let operator = OperatorConfig { token: Secret::new(operator_token) };
        let activity_log = activity_log::start(
            activity_log::Config {
                http: http.clone(),
                bus: bus.clone(),
                database: activity_database,
                operator: operator.clone(),
                retention: activity_log::RetentionConfig::default(),
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
                operator,
                targets: settings.targets.clone(),
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
                telemetry: telemetry.clone(),
                targets: settings.targets,
                delivery: settings.delivery,
            },
            ctx,
        )
        .await
        .context("the dispatcher does not start")?;
        let ingest = ingest::start(ingest::Config { http, bus, telemetry }, ctx).await;
        let ingest = ingest.context("ingest does not start")?;
        Ok(ingest.merge(registry).merge(dispatcher).merge(activity_log))
    }
}
