//! Canaries: secrets that are easy to find go through every flow of the system, failing ones too, and are then looked for
//! wherever they must not be (THREATS 5, 9): logs, metrics, traces, error bodies, headers on the bus, command lines, and
//! every file that the databases and the broker write.
//!
//! Event data is a canary as well, and excepted where the design keeps it: in the streams; what ECG posts say, in SQL too.
//!
//! That the search finds what is there is shown for each form of a secret ([`needles`]), and in each place each time it is
//! searched ([`places`]).

mod data_dir;
mod flows;
mod master_key;
mod needles;
mod places;

use std::time::{Duration, SystemTime};

use slipstream_test_support::{Issuer, Receiver, eventually};
use slipstream_tests::{Ecg, LIMIT, OPERATOR_TOKEN, Operator, Service, Settings, Shape, System};
use uuid::Uuid;

use self::data_dir::DataDir;
use self::flows::{EcgCallers, Flows};
use self::master_key::MasterKeys;
use self::places::{Place, Secret};
use crate::ecg::day::token as ecg_token;
use crate::ecg::world::{ADMIN, MANAGER};

/// What the system logs: all there is, of libraries too.
const LOG_FILTER: &str = "debug";
/// Something that every exporter of metrics has counted, and what the flows make the dispatcher trace.
const COUNTED: &str = "slipstream_attempts_total";
const TRACED: &str = "send webhook";

/// A password that has nothing in it that a URL would have to escape.
fn password(what: &str) -> String {
    format!("canary{what}{:032x}", rand::random::<u128>())
}

/// A little before now, as the times of files have it.
fn just_now() -> SystemTime {
    #[expect(clippy::disallowed_methods, reason = "compared with the times of files, which this clock gives them")]
    let now = SystemTime::now();
    now - Duration::from_secs(2)
}

/// What is looked for, and what was answered and exported meanwhile.
struct World {
    flows: Flows,
    collector: Receiver,
    /// Secrets that the flows do not know.
    settled: Vec<Secret>,
    metrics: Vec<(String, Vec<u8>)>,
}

impl World {
    async fn new(
        operator: &Operator,
        issuer: Issuer,
        ecg: EcgCallers,
        collector: Receiver,
        settled: Vec<Secret>,
    ) -> Self {
        Self { flows: Flows::new(operator, issuer, ecg).await, collector, settled, metrics: Vec::new() }
    }

    /// Everything that must be found nowhere but where the design puts event data.
    fn secrets(&self) -> Vec<Secret> {
        [&self.settled[..], &self.flows.canaries().secrets].concat()
    }

    /// The same and event data.
    fn secrets_and_data(&self) -> Vec<Secret> {
        let mut secrets = self.secrets();
        secrets.push(("event data", self.flows.canaries().data.clone().into()));
        secrets
    }

    /// The same and what was posted, which SQL keeps.
    fn secrets_and_all_data(&self) -> Vec<Secret> {
        let mut secrets = self.secrets_and_data();
        secrets.push(("posted data", self.flows.canaries().posted.clone().into()));
        secrets
    }

    /// Keeps what has been counted until now: a restart forgets it.
    async fn keep_metrics(&mut self) {
        let metrics = self.flows.metrics().await;
        self.metrics.push((format!("metrics, {} times before", self.metrics.len()), metrics.into_bytes()));
    }

    /// What callers, and who watches the system, are shown. After the end, so that traces are whole.
    fn has_shown_no_secrets(&self) {
        let secrets = self.secrets_and_all_data();
        Place::texts("metrics", COUNTED, self.metrics.clone()).has_none_of(&secrets);
        let refusals = self.flows.refusals();
        assert!(refusals.len() >= 40, "every failing flow was refused: {}", refusals.len());
        Place::texts("refusals", "application/problem+json", refusals).has_none_of(&secrets);
        let traces = self.collector.received_at("/v1/traces");
        let traces = traces.iter().enumerate().map(|(nth, it)| (format!("export {nth}"), it.body.to_vec()));
        Place::texts("traces", TRACED, traces).has_none_of(&secrets);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_show_nowhere_in_four_processes_on_postgresql() {
    let began = just_now();
    let (issuer, collector, keys) = (Issuer::start().await, Receiver::start().await, MasterKeys::new());
    let (bus_password, database_password) = (password("bus"), password("db"));
    let settings = Settings {
        issuer: Some(issuer.url()),
        ecg_issuer: Some(issuer.url()),
        bus_password: Some(bus_password.clone()),
        database_password: Some(database_password.clone()),
        master_key_file: Some(keys.old_file()),
        log_filter: Some(LOG_FILTER.to_owned()),
        otlp_endpoint: Some(collector.url("/")),
        ..Settings::default()
    };
    let mut system = System::with(Shape::FourProcesses, settings).await;
    let mut settled = vec![
        ("the operator's token", OPERATOR_TOKEN.into()),
        ("the bus password", bus_password.clone().into()),
        ("the database password", database_password.into()),
    ];
    settled.extend(keys.secrets());
    let operator = system.operator.clone();
    let organization = Uuid::new_v4();
    let caller = |role| Ecg::of(&issuer, system.bases(), &[role], &[organization]);
    let ecg = EcgCallers { admin: caller(ADMIN), manager: caller(MANAGER), organization };
    let mut world = World::new(&operator, issuer, ecg, collector, settled).await;

    world.flows.play().await;
    // The database goes, and what needs it fails.
    system.cut_database().await;
    world.flows.play_without_a_database().await;
    system.mend_database().await;
    eventually(LIMIT, async || world.flows.is_recording().await).await;
    world.keep_metrics().await;
    keys.rotate(&mut system).await;
    world.flows.play_what_is_left().await;
    world.keep_metrics().await;

    let (secrets, secrets_and_data) = (world.secrets(), world.secrets_and_data());
    let all = world.secrets_and_all_data();
    let directory = system.directory().to_owned();
    let options = async_nats::ConnectOptions::with_user_and_password("slipstream".to_owned(), bus_password);
    let client = options.connect(format!("nats://127.0.0.1:{}", system.nats().port())).await.unwrap();
    let headers = places::bus_headers(client).await;
    Place::texts("headers and subjects on the bus", "Slip-Meta: ", headers).has_none_of(&all);
    let lines = places::command_lines(&directory);
    assert_eq!(lines.len(), Service::ALL.len(), "one of each service: {lines:?}");
    Place::texts("command lines", Service::Ingest.program(), lines).has_none_of(&all);

    for service in Service::ALL {
        system.terminate(service).await;
    }
    world.has_shown_no_secrets();
    // By themselves: beside them are the tests' own configuration files. Ids are no secrets, and a log that says nothing
    // of them would prove nothing.
    let logs = directory.join("logs");
    places::copy(&directory, &logs, places::is_log);
    Place::files("logs", &world.flows.canaries().endpoint, logs, began).has_none_of(&all);
    let store = system.nats().store();
    let broker_logs = directory.join("broker-logs");
    places::copy(store.parent().expect("it is in the broker's directory"), &broker_logs, places::is_log);
    Place::files("the broker's log", "Server is ready", broker_logs, began).has_none_of(&all);

    let landmark = &world.flows.canaries().landmark;
    Place::files("the broker's files", landmark, &store, began).has_none_of(&secrets);
    // That the design keeps event data there is seen where it is the landmark.
    Place::files("the streams", &world.flows.canaries().data, &store, began).has_none_of(&secrets);
    let database_log = places::database_log(&system.database_url()).await;
    Place::texts("the database's log", "ready to accept connections", [database_log]).has_none_of(&all);
    for database in places::database_directories(&system.database_url()).await {
        Place::files("the database's files", landmark, database, began).has_none_of(&secrets_and_data);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_show_nowhere_in_one_process_on_sqlite() {
    let began = just_now();
    let (issuer, collector) = (Issuer::start().await, Receiver::start().await);
    let settings = Settings {
        issuer: Some(issuer.url()),
        log_filter: Some(LOG_FILTER.to_owned()),
        otlp_endpoint: Some(collector.url("/")),
        ..Settings::default()
    };
    let mut system = System::with(Shape::Up, settings).await;
    let mut data = DataDir::of(&system);
    let operator = system.operator.clone();
    let organization = Uuid::new_v4();
    let nobody = Ecg::nobody(system.bases());
    let admin = ecg_token(&system, &["--role", ADMIN]).await;
    let manager = ecg_token(&system, &["--role", MANAGER, "--organization", &organization.to_string()]).await;
    let (admin, manager) = (nobody.with_token(admin), nobody.with_token(manager));
    let ecg = EcgCallers { admin, manager, organization };
    let mut world = World::new(&operator, issuer, ecg, collector, data.secrets().to_vec()).await;

    world.flows.play().await;
    world.keep_metrics().await;
    data.rotate_master_key(&mut system).await;
    world.settled = data.secrets().to_vec();
    world.flows.play_what_is_left().await;
    world.keep_metrics().await;

    let (secrets_and_data, all) = (world.secrets_and_data(), world.secrets_and_all_data());
    let canaries = world.flows.canaries();
    let directory = system.directory().to_owned();
    let headers = places::bus_headers(data.broker().await).await;
    Place::texts("headers and subjects on the bus", "Slip-Meta: ", headers).has_none_of(&all);
    let lines = places::command_lines(&directory);
    assert_eq!(lines.len(), 2, "it and its broker: {lines:?}");
    Place::texts("command lines", "nats-server.conf", lines).has_none_of(&all);
    let databases = directory.join("databases");
    places::copy(data.path(), &databases, |name| name.contains(".db"));
    let names: Vec<_> = std::fs::read_dir(&databases).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert!(names.iter().any(|name| name.to_string_lossy().ends_with("-wal")), "write-ahead logs too: {names:?}");
    Place::files("SQLite", &canaries.landmark, databases, began).has_none_of(&secrets_and_data);
    data.has_secrets_in_their_own_files_only(&canaries.landmark, &canaries.secrets, true);

    system.stop_up().await;
    world.has_shown_no_secrets();
    let logs = directory.join("logs");
    places::copy(&directory, &logs, places::is_log);
    Place::files("logs", &canaries.endpoint, logs, began).has_none_of(&all);
    data.has_secrets_in_their_own_files_only(&canaries.landmark, &canaries.secrets, false);
    let nats = data.path().join("nats");
    // That the design keeps event data there is seen where it is the landmark.
    Place::files("the streams", &canaries.data, nats.join("store"), began).has_none_of(&world.secrets());
    let broker_logs = directory.join("broker-logs");
    places::copy(&nats, &broker_logs, places::is_log);
    Place::files("the broker's log", "Server is ready", broker_logs, began).has_none_of(&all);
}
