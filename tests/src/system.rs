//! A running system of the test's own.

mod four_processes;
mod one_process;
pub(crate) mod port;
mod settings;

use slipstream_bus::{Bus, BusConfig, StoredEvent};
use slipstream_test_support::builders::{ORGANISATION, SITE};
use slipstream_test_support::{NatsServer, eventually, install_crypto};
use tempfile::TempDir;

use self::four_processes::FourProcesses;
use self::one_process::OneProcess;
pub(crate) use self::settings::OPERATOR_TOKEN;
pub use self::settings::{Handshake, ORIGIN, Settings, Targets};
use crate::api::{Account, Bases, NewAccount, Operator};
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
}

/// A running system with one site, [`SITE`] of [`ORGANISATION`], on a broker and databases of its own.
#[derive(Debug)]
pub struct System {
    parts: Parts,
    /// What operators see and do.
    pub operator: Operator,
    bases: Bases,
    // After the services: fields drop in order, and what they lean on goes last.
    nats: NatsServer,
    _directory: TempDir,
}

#[derive(Debug)]
enum Parts {
    /// Runs until dropped.
    One {
        _running: OneProcess,
    },
    Four(FourProcesses),
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
        let nats = NatsServer::start().await;
        let (parts, bases) = match shape {
            Shape::OneProcess => {
                let one = OneProcess::start(&settings, directory.path(), &nats.url()).await;
                eventually(LIMIT, async || one.is_ready()).await;
                let bases = Bases::all_at(one.address);
                (Parts::One { _running: one }, bases)
            }
            Shape::FourProcesses => {
                let mut four = FourProcesses::start(&settings, directory.path(), &nats.url()).await;
                let bases = Bases {
                    ingest: four.address(Service::Ingest),
                    registry: four.address(Service::Registry),
                    activity_log: four.address(Service::ActivityLog),
                };
                (Parts::Four(four), bases)
            }
        };
        let operator = Operator::new(bases);
        operator.put_organisation(ORGANISATION).await;
        operator.put_site(SITE).await;
        Self { parts, operator, bases, nats, _directory: directory }
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
        let account = Account::new(self.bases, SITE, self.operator.create_account(&new).await);
        // Each service learns of it by itself, some milliseconds later.
        eventually(LIMIT, async || match account.empty_batch().await.status {
            401 => Err("ingest does not know the account"),
            _ => Ok(()),
        })
        .await;
        account
    }

    /// The broker.
    pub const fn nats(&mut self) -> &mut NatsServer {
        &mut self.nats
    }

    /// A connection to the broker, as a service has it.
    pub async fn bus(&self) -> Bus {
        let config = BusConfig { url: self.nats.url(), ..BusConfig::default() };
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

    fn four(&mut self) -> &mut FourProcesses {
        match &mut self.parts {
            Parts::Four(four) => four,
            Parts::One { .. } => panic!("this needs the services as processes of their own"),
        }
    }
}

impl Drop for System {
    fn drop(&mut self) {
        // Of one process the log is in the test's own output.
        if let (true, Parts::Four(four)) = (std::thread::panicking(), &self.parts) {
            eprintln!("{}--- nats-server\n{}", four.logs(), self.nats.log());
        }
    }
}
