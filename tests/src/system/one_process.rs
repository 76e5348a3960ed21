//! The four services in this very process, as `slipstream up` has them: one context, two ports, SQLite.

use std::net::SocketAddr;
use std::path::Path;

use slipstream_service::access::Routers;
use slipstream_service::config::{HttpConfig, TelemetryConfig};
use slipstream_service::lifecycle::Listeners;
use slipstream_service::{Context, telemetry};

use super::port::free_port;
use super::settings::Surroundings;
use super::{Service, Settings};

/// Told to stop when dropped; the test's runtime ends what is left.
#[derive(Debug)]
pub(super) struct OneProcess {
    ctx: Context,
    pub(super) address: SocketAddr,
    pub(super) operator_address: SocketAddr,
}

impl OneProcess {
    pub(super) async fn start(settings: &Settings, directory: &Path, nats_url: &str) -> Self {
        // The log of a failed test says more; an error means that another test of this process has started it.
        let _ = telemetry::init("tests", &TelemetryConfig::default());
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let surroundings = Surroundings { directory, nats_url, registry: address };
        let config = |service: Service| {
            let database = directory.join(format!("{}.db", service.program()));
            settings.write(service, &surroundings, &format!("sqlite://{}?mode=rwc", database.display()))
        };
        let ctx = Context::new();
        let started = async {
            let routes = [
                slipstream_activity_log::start(config(Service::ActivityLog).load(), &ctx).await?,
                slipstream_subscription_registry::start(config(Service::Registry).load(), &ctx).await?,
                slipstream_dispatcher::start(config(Service::Dispatcher).load(), &ctx).await?,
                slipstream_ingest::start(config(Service::Ingest).load(), &ctx).await?,
            ];
            anyhow::Ok(routes.into_iter().fold(Routers::default(), Routers::merge))
        };
        let routers = Box::pin(started).await.unwrap_or_else(|error| panic!("a service does not start: {error:#}"));
        let http: HttpConfig = config(Service::Ingest).load::<slipstream_ingest::Config>().http;
        let http = HttpConfig { listen: address, operator_listen: ([127, 0, 0, 1], 0).into(), ..http };
        let listeners = Listeners::bind(&http).await.expect("the port is free");
        let operator_address = listeners.operator_address();
        let serving = ctx.clone();
        tokio::spawn(async move {
            if let Err(error) = Box::pin(serving.serve(listeners, routers, &http)).await {
                panic!("a part of the system failed: {error:#}");
            }
        });
        Self { ctx, address, operator_address }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ctx.health.is_ready()
    }
}

impl Drop for OneProcess {
    fn drop(&mut self) {
        self.ctx.stop.cancel();
    }
}
