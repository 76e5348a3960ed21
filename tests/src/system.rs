//! A running system of the test's own.

mod four_processes;
mod one_process;
pub mod port;
mod settings;
mod up;

use std::net::SocketAddr;
use std::path::Path;

use slipstream_bus::{Bus, BusConfig, StoredEvent};
use slipstream_test_support::builders::{ORGANISATION, SITE};
use slipstream_test_support::process::Program;
use slipstream_test_support::{NatsServer, eventually, install_crypto};
use tempfile::TempDir;

use self::four_processes::FourProcesses;
pub use self::four_processes::Replica;
use self::one_process::OneProcess;
pub use self::settings::{Handshake, OPERATOR_TOKEN, ORIGIN, Settings, Targets};
use self::up::Up;
use crate::api::{Account, Bases, NewAccount, Operator, OperatorBases};
use crate::{LIMIT, Shape};

/// How far into `EVENTS` [`System::stored_events`] looks: further than tests that ask publish.
const STORED_EVENTS_MAX: u64 = 100;

/// One of the four services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Takes events.
    Ingest,
    /// Takes subscriptions, and the operator's sites and accounts.
    Registry,
    /// Delivers.
    Dispatcher,
    /// Records.
    ActivityLog,
}

impl Service {
    /// All four.
    pub const ALL: [Self; 4] = [Self::Registry, Self::ActivityLog, Self::Dispatcher, Self::Ingest];

    /// The name of its program.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Ingest => "slipstream-ingest",
            Self::Registry => "slipstream-subscription-registry",
            Self::Dispatcher => "slipstream-dispatcher",
            Self::ActivityLog => "slipstream-activity-log",
        }
    }

    const fn has_database(self) -> bool {
        matches!(self, Self::Registry | Self::ActivityLog)
    }

    /// Whether it opens secrets, and so needs the master key.
    const fn opens_secrets(self) -> bool {
        matches!(self, Self::Registry | Self::Dispatcher | Self::ActivityLog)
    }

    /// Whether it has routes for accounts, and so for tokens.
    const fn takes_tokens(self) -> bool {
        !matches!(self, Self::Dispatcher)
    }

    /// Whether it has routes of the ECG surface.
    const fn has_ecg(self) -> bool {
        matches!(self, Self::Registry | Self::ActivityLog)
    }
}

/// A running system with one site, [`SITE`] of [`ORGANISATION`], on a broker and databases of its own.
#[derive(Debug)]
pub struct System {
    parts: Parts,
    /// What operators see and do.
    pub operator: Operator,
    bases: Bases,
    // After the services: fields drop in order, and what they lean on goes last. None if they bring their own.
    nats: Option<NatsServer>,
    nats_url: String,
    directory: TempDir,
}

#[derive(Debug)]
enum Parts {
    /// Runs until dropped.
    One {
        _running: OneProcess,
    },
    Four(FourProcesses),
    Up(Up),
}

impl System {
    /// All services in this process.
    pub async fn one_process() -> Self {
        Self::start(Shape::OneProcess).await
    }

    /// Four processes.
    pub async fn four_processes() -> Self {
        Self::start(Shape::FourProcesses).await
    }

    /// A system of this shape, with the settings of most tests.
    pub async fn start(shape: Shape) -> Self {
        Self::with(shape, Settings::default()).await
    }

    /// A system of this shape. Call it on the test's own task: processes die with the thread that starts them.
    pub async fn with(shape: Shape, settings: Settings) -> Self {
        install_crypto();
        let directory = tempfile::Builder::new().prefix("slipstream-system-").tempdir().expect("a temporary directory");
        let nats = match (shape, &settings.bus_password) {
            (Shape::Up, _) => None,
            (_, None) => Some(NatsServer::start().await),
            (_, Some(password)) => {
                let only_user = format!("authorization {{ user: slipstream, password: {password:?} }}");
                Some(NatsServer::options().extra(&only_user).start().await)
            }
        };
        let credentials = settings.bus_password.as_ref().map(|it| format!("slipstream:{it}@")).unwrap_or_default();
        let nats_url =
            nats.as_ref().map(|nats| format!("nats://{credentials}127.0.0.1:{}", nats.port())).unwrap_or_default();
        let (parts, bases) = match shape {
            Shape::OneProcess => {
                let one = OneProcess::start(&settings, directory.path(), &nats_url).await;
                eventually(LIMIT, async || one.is_ready()).await;
                let bases = Bases::all_at(one.address, one.operator_address);
                (Parts::One { _running: one }, bases)
            }
            Shape::FourProcesses => {
                let mut four = FourProcesses::start(&settings, directory.path(), &nats_url).await;
                let bases = Bases {
                    ingest: four.address(Service::Ingest),
                    registry: four.address(Service::Registry),
                    activity_log: four.address(Service::ActivityLog),
                    operator: OperatorBases {
                        ingest: four.operator_address(Service::Ingest),
                        registry: four.operator_address(Service::Registry),
                        activity_log: four.operator_address(Service::ActivityLog),
                        dispatcher: four.operator_address(Service::Dispatcher),
                    },
                };
                (Parts::Four(four), bases)
            }
            Shape::Up => {
                let up = Up::start(&settings, directory.path()).await;
                let bases = Bases::all_at(up.address, up.operator_address);
                (Parts::Up(up), bases)
            }
        };
        let operator = Operator::new(bases);
        operator.put_organisation(ORGANISATION).await;
        operator.put_site(SITE).await;
        Self { parts, operator, bases, nats, nats_url, directory }
    }

    /// Where the APIs are.
    pub const fn bases(&self) -> Bases {
        self.bases
    }

    /// A new stranger's account, which may do everything at every site, in force everywhere.
    pub async fn external(&self) -> Account {
        self.account(NewAccount::default()).await
    }

    /// A new account of our own, likewise.
    pub async fn internal(&self) -> Account {
        self.account(NewAccount { kind: "internal", ..NewAccount::default() }).await
    }

    /// A new account at [`SITE`], in force everywhere.
    pub async fn account(&self, new: NewAccount) -> Account {
        self.operator.account(new).await
    }

    /// Where the services' files are: configurations, logs of four processes, SQLite of one.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// How the services reach the broker, with its password if it has one.
    pub fn nats_url(&self) -> &str {
        &self.nats_url
    }

    /// The PostgreSQL database of four processes, not through the cable that may be cut.
    pub fn database_url(&mut self) -> String {
        self.four().database_url.clone()
    }

    /// The broker.
    pub const fn nats(&mut self) -> &mut NatsServer {
        self.nats.as_mut().expect("`slipstream up` has a broker of its own")
    }

    /// The data directory of `slipstream up`.
    pub fn data_directory(&self) -> &Path {
        match &self.parts {
            Parts::Up(up) => &up.data,
            Parts::One { .. } | Parts::Four(_) => panic!("only `slipstream up` has a data directory"),
        }
    }

    /// SIGTERM to `slipstream up`; waits for its orderly end.
    pub async fn stop_up(&mut self) {
        self.up().stop().await;
    }

    /// Starts `slipstream up` again where it was, and waits until it is ready. Call it on the test's own task.
    pub async fn start_up_again(&mut self) {
        self.up().start_again().await;
    }

    /// A connection to the broker, as a service has it.
    pub async fn bus(&self) -> Bus {
        let config = BusConfig { url: self.nats_url.as_str().into(), ..BusConfig::default() };
        Bus::connect(&config).await.unwrap_or_else(|error| panic!("the bus: {error:?}"))
    }

    /// The events in stream `EVENTS` with a type that begins so, as far as they are kept, the oldest first.
    pub async fn stored_events(&self, type_prefix: &str) -> Vec<StoredEvent> {
        let bus = self.bus().await;
        let mut found = Vec::new();
        for sequence in 1..=STORED_EVENTS_MAX {
            let stored = bus.stored_event(sequence).await.expect("the broker answers");
            let is_wanted = |event: &StoredEvent| {
                let body: serde_json::Value = serde_json::from_slice(&event.payload).unwrap_or_default();
                body["type"].as_str().is_some_and(|kind| kind.starts_with(type_prefix))
            };
            found.extend(stored.filter(is_wanted));
        }
        found
    }

    /// Where one of four processes has its operator API, its probes and its metrics.
    pub fn operator_address(&mut self, service: Service) -> SocketAddr {
        self.four().operator_address(service)
    }

    /// What one of four processes has for its public address. The dispatcher must not listen there.
    pub fn public_address(&mut self, service: Service) -> SocketAddr {
        self.four().address(service)
    }

    /// Starts one more process of a service beside the four, on ports of its own, and waits until it is ready. It is
    /// killed when dropped. Call it on the test's own task.
    pub async fn replica(&mut self, service: Service) -> Replica {
        self.four().replica(service).await
    }

    /// The process id of one of four processes.
    pub fn process_id(&mut self, service: Service) -> u32 {
        self.four().process_id(service)
    }

    /// What one of four processes is started with, next time too: to be changed, or run once more on the side.
    pub fn program(&mut self, service: Service) -> &mut Program {
        self.four().program(service)
    }

    /// SIGKILL to one of four processes.
    pub fn kill9(&mut self, service: Service) {
        self.four().kill9(service);
    }

    /// SIGTERM to one of four processes; waits for its orderly end.
    pub async fn terminate(&mut self, service: Service) {
        self.four().terminate(service).await;
    }

    /// Starts one of four processes again, and waits until it is ready. Call it on the test's own task.
    pub async fn restart(&mut self, service: Service) {
        self.four().restart(service).await;
    }

    /// The database refuses connections from now on.
    pub async fn cut_database(&mut self) {
        self.four().database.cut().await;
    }

    /// The database is there again.
    pub async fn mend_database(&mut self) {
        self.four().database.mend().await;
    }

    fn up(&mut self) -> &mut Up {
        match &mut self.parts {
            Parts::Up(up) => up,
            Parts::One { .. } | Parts::Four(_) => panic!("this needs `slipstream up`"),
        }
    }

    fn four(&mut self) -> &mut FourProcesses {
        match &mut self.parts {
            Parts::Four(four) => four,
            Parts::One { .. } | Parts::Up(_) => panic!("this needs the services as processes of their own"),
        }
    }
}

impl Drop for System {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        match (&self.parts, &self.nats) {
            (Parts::Four(four), Some(nats)) => eprintln!("{}--- nats-server\n{}", four.logs(), nats.log()),
            (Parts::Up(up), _) => eprintln!("{}", up.log()),
            // Of one process the log is in the test's own output.
            _ => {}
        }
    }
}
