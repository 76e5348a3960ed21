//! Everything in one process: the broker, the four services, two ports (DESIGN 6).
//!
//! The services are the same libraries that run apart in production. Here they share one [`Context`]: one stop, one
//! readiness, one port for everybody and one for operators. The order of things: the ports are bound, the broker
//! answers, the database is seeded, the services start; and at the end the services drain, and only then the broker
//! stops, since they lean on it.

mod services;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use slipstream_core::sealing::SecretUrl;
use slipstream_service::Context;
use slipstream_service::lifecycle::Listeners;
use slipstream_store::{DatabaseConfig, Store};
use slipstream_subscription_registry::{DemoCredentials, check_master_key, has_data_keys, seed_demo};
use tokio::task::JoinHandle;

use self::services::Parts;
use crate::broker::{Broker, BrokerOptions, Sync};
use crate::credentials::{self, Running, master_key};
use crate::data_dir::DataDir;
use crate::ecg_issuer::EcgIssuer;
use crate::settings::Settings;

/// How long to wait for all checks to be ready.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How often readiness is looked at meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// How long the parts of a start that failed may take to end.
const ABANDON_WITHIN: Duration = Duration::from_secs(2);

/// What is to be started.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Where to listen for everybody; port 0 for any.
    pub(crate) listen: SocketAddr,
    /// Where to listen for operators; likewise.
    pub(crate) operator_listen: SocketAddr,
    /// When the broker writes to disk.
    pub(crate) sync: Sync,
    /// A server that runs already, in place of the embedded one.
    pub(crate) nats_url: Option<String>,
    /// Everything else.
    pub(crate) settings: Settings,
}

/// A running system. Stop it with [`Embedded::stop`]; dropped, it kills its broker.
pub(crate) struct Embedded {
    ctx: Context,
    broker: Option<Broker>,
    serving: JoinHandle<anyhow::Result<()>>,
    data: DataDir,
    facts: Facts,
}

/// What can be told of a running system.
#[derive(Clone)]
pub(crate) struct Facts {
    /// How to talk to it.
    pub(crate) running: Running,
    /// When the broker writes to disk.
    pub(crate) sync: Sync,
    /// Where the broker is. Prints without its token.
    pub(crate) nats_url: SecretUrl,
    /// Where the embedded broker logs; none if it is somebody else's.
    pub(crate) broker_log: Option<PathBuf>,
    /// From the beginning of the start to readiness.
    pub(crate) started_in: Duration,
}

impl Embedded {
    /// Starts everything on `data`, and waits until it is ready.
    ///
    /// # Errors
    /// When a part does not start, or a signal comes meanwhile. What had been started has ended then.
    pub(crate) async fn start(data: DataDir, options: Options) -> anyhow::Result<Self> {
        let began = Instant::now();
        slipstream_service::metrics::install();
        let ctx = Context::new();
        ctx.stop_on_signals()?;
        let mut broker = None;
        let started = tokio::select! {
            biased;
            () = ctx.stop.cancelled() => Err(anyhow::anyhow!("interrupted while starting")),
            started = start(&data, &options, &ctx, &mut broker) => started,
        };
        let Started { addresses, demo, operator_token, makes_ecg_tokens, serving } = match started {
            Ok(started) => started,
            Err(error) => {
                abandon(&ctx, broker).await;
                return Err(error);
            }
        };
        let running = Running {
            url: format!("http://{}", addresses.public),
            operator_url: format!("http://{}", addresses.operator),
            site: demo.site.to_string(),
            api_key: demo.api_key,
            operator_token,
            makes_ecg_tokens,
        };
        let facts = Facts {
            running,
            sync: options.sync,
            nats_url: bus_url(broker.as_ref(), options.nats_url.as_deref()),
            broker_log: broker.as_ref().map(Broker::log_path),
            started_in: Duration::ZERO,
        };
        let mut embedded = Self { ctx, broker, serving, data, facts };
        if let Err(error) = embedded.wait_until_ready().await {
            return Err(embedded.stop().await.err().unwrap_or(error));
        }
        embedded.facts.running.announce(&embedded.data)?;
        embedded.facts.started_in = began.elapsed();
        Ok(embedded)
    }

    /// What can be told of it.
    pub(crate) fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Where its data is.
    pub(crate) fn data(&self) -> &DataDir {
        &self.data
    }

    /// Does `work` while keeping the broker alive. None if everything was told to stop first, by a signal or because
    /// a part failed; [`Embedded::stop`] tells which.
    pub(crate) async fn run_until<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.ctx.stop.cancelled() => None,
            never = supervise(&mut self.broker) => match never {},
            result = work => Some(result),
        }
    }

    /// Drains the services, then stops the broker.
    ///
    /// # Errors
    /// With the failure that stopped it, if it was one.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        let Self { ctx, mut broker, serving, data, .. } = self;
        Running::withdraw(&data);
        ctx.stop.cancel();
        // What is drained needs the broker to the last.
        let served = tokio::select! {
            served = serving => served.context("serving ended abnormally").flatten(),
            never = supervise(&mut broker) => match never {},
        };
        if let Some(broker) = broker {
            broker.stop().await;
        }
        served
    }

    async fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let health = self.ctx.health.clone();
        let url = self.facts.running.operator_url.clone();
        let ready = async {
            let waiting = async {
                while !health.is_ready() {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            };
            let waited = tokio::time::timeout(READY_WITHIN, waiting).await;
            waited.with_context(|| format!("not ready within {READY_WITHIN:?} ({url}/readyz would tell why)"))
        };
        self.run_until(ready).await.unwrap_or_else(|| Err(anyhow::anyhow!("interrupted while starting")))
    }
}

/// Where the two listeners are.
struct Addresses {
    public: SocketAddr,
    operator: SocketAddr,
}

struct Started {
    addresses: Addresses,
    demo: DemoCredentials,
    operator_token: String,
    makes_ecg_tokens: bool,
    serving: JoinHandle<anyhow::Result<()>>,
}

async fn start(
    data: &DataDir,
    options: &Options,
    ctx: &Context,
    broker: &mut Option<Broker>,
) -> anyhow::Result<Started> {
    let mut http = options.settings.http.clone();
    (http.listen, http.operator_listen) = (options.listen, options.operator_listen);
    // First of all: a port that is taken should cost nothing.
    let listeners = Listeners::bind(&http).await?;
    let public = listeners.public_address().context("both are bound")?;
    let addresses = Addresses { public, operator: listeners.operator_address() };
    let operator_token = credentials::operator_token(data)?;
    let registry = sqlite(data, "registry.db");
    let store = Store::connect(&registry).await.context("cannot open the database")?;
    let secrets = match &options.settings.secrets {
        set if set.master_key_file.is_some() => set.clone(),
        _ => master_key::find_or_make(data, has_data_keys(&store).await?)?,
    };
    // Before anything is written.
    check_master_key(&store, &secrets).await?;
    let seed = async {
        store.migrate().await.context("cannot bring the tables up to date")?;
        seed_demo(&store, &data.file("demo-account.json")).await.context("cannot make the demo account")
    };
    let start_broker = async {
        if options.nats_url.is_none() {
            let limits = &options.settings.broker;
            let max_file_store_bytes = limits.max_file_store_bytes;
            *broker = Some(Broker::start(data, &BrokerOptions { sync: options.sync, max_file_store_bytes }).await?);
        }
        anyhow::Ok(())
    };
    // On this very task: the broker dies with the thread that starts it.
    let ((), demo) = tokio::try_join!(start_broker, seed)?;
    let mut auth = options.settings.auth.clone();
    let makes_ecg_tokens = EcgIssuer::is_wanted(&auth, public);
    if makes_ecg_tokens {
        auth.ecg.push(EcgIssuer::find_or_make(data)?.settings());
    }
    let parts = Parts {
        http: http.clone(),
        bus: slipstream_bus::BusConfig {
            url: bus_url(broker.as_ref(), options.nats_url.as_deref()),
            sync: options.sync.to_string(),
            stream_max_bytes: options.settings.broker.stream_max_bytes,
            ..slipstream_bus::BusConfig::default()
        },
        registry_database: registry,
        activity_database: sqlite(data, "activity.db"),
        operator_token: operator_token.clone(),
        address: public,
        settings: Settings { auth, secrets, ..options.settings.clone() },
    };
    // Boxed: four starts in one are large.
    let routers = Box::pin(parts.start(ctx)).await?;
    let ctx = ctx.clone();
    let serving = tokio::spawn(async move { ctx.serve(listeners, routers, &http).await });
    Ok(Started { addresses, demo, operator_token, makes_ecg_tokens, serving })
}

/// Where the broker is: ours, or else the one that was named.
fn bus_url(broker: Option<&Broker>, named: Option<&str>) -> SecretUrl {
    broker.map_or_else(|| named.unwrap_or_default().into(), Broker::url)
}

/// A SQLite database in the data directory.
pub(crate) fn sqlite(data: &DataDir, name: &str) -> DatabaseConfig {
    // In a URL, `%`, `?` and `#` in a path would mean something else.
    let path = data.file(name).display().to_string();
    let path = path.replace('%', "%25").replace('?', "%3F").replace('#', "%23");
    DatabaseConfig { url: format!("sqlite://{path}?mode=rwc").into(), ..DatabaseConfig::default() }
}

/// Keeps the broker alive, if there is one of ours.
async fn supervise(broker: &mut Option<Broker>) -> std::convert::Infallible {
    match broker {
        Some(broker) => broker.supervise().await,
        None => std::future::pending().await,
    }
}

/// Ends what a failed start left behind.
async fn abandon(ctx: &Context, broker: Option<Broker>) {
    ctx.stop.cancel();
    ctx.drained.cancel();
    ctx.tasks.close();
    // What does not end in time ends with the process.
    let _ = tokio::time::timeout(ABANDON_WITHIN, ctx.tasks.wait()).await;
    if let Some(broker) = broker {
        broker.stop().await;
    }
}
