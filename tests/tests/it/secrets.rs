//! Canaries: secrets that are easy to find go through every flow of the system, failing ones too, and are then looked for
//! wherever they must not be (THREATS 5, 9): logs, metrics, traces, error bodies, headers on the bus, and every file that
//! the databases and the broker write.
//!
//! Event data is a canary as well, and excepted where the design keeps it: in the streams.
//!
//! That the search finds what is there is shown twice: by what it is told to find ([`needles`]), and here by something that
//! is no secret and stands in the same files.

mod flows;
mod needles;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use async_nats::jetstream;
use futures::TryStreamExt as _;
use slipstream_test_support::{Issuer, Receiver, eventually, postgres};
use slipstream_tests::{LIMIT, OPERATOR_TOKEN, Service, Settings, Shape, System};

use self::flows::{Canaries, Flows};
use self::needles::{Found, Needles};

/// What the system logs: all there is, of libraries too.
const LOG_FILTER: &str = "debug";

/// A password that has nothing in it that a URL would have to escape.
fn password(what: &str) -> String {
    format!("canary{what}{:032x}", rand::random::<u128>())
}

/// A system whose every password and token is known to the test.
struct World {
    system: System,
    flows: Flows,
    collector: Receiver,
    passwords: Vec<(&'static str, String)>,
    began: SystemTime,
}

impl World {
    async fn new(shape: Shape) -> Self {
        #[expect(clippy::disallowed_methods, reason = "compared with the times of files, which this clock gives them")]
        let began = SystemTime::now() - Duration::from_secs(2);
        let (issuer, collector) = (Issuer::start().await, Receiver::start().await);
        let passwords = vec![("the bus password", password("bus")), ("the database password", password("db"))];
        let settings = Settings {
            issuer: Some(issuer.url()),
            bus_password: Some(passwords[0].1.clone()),
            database_password: Some(passwords[1].1.clone()),
            log_filter: Some(LOG_FILTER.to_owned()),
            otlp_endpoint: Some(collector.url("/")),
            ..Settings::default()
        };
        let system = System::with(shape, settings).await;
        let flows = Flows::new(&system, issuer).await;
        Self { system, flows, collector, passwords, began }
    }

    /// Everything that must be found nowhere; event data only if `with_data`.
    fn needles(&self, with_data: bool) -> Needles {
        let Canaries { secrets, keys, data, .. } = self.flows.canaries();
        let mut needles = Needles::default();
        for (name, secret) in secrets.iter().chain(&self.passwords) {
            needles.add(name, secret);
        }
        for (name, key) in keys {
            needles.add(name, key);
        }
        needles.add("the operator's token", OPERATOR_TOKEN);
        if with_data {
            needles.add("event data", data);
        }
        needles
    }

    /// Something that is no secret and stands wherever the system writes.
    fn landmark(&self) -> Needles {
        let mut needles = Needles::default();
        needles.add("the landmark", &self.flows.canaries().landmark);
        needles
    }

    /// What is on disk below `directory`, of which the landmark must be some.
    fn searched(&self, directory: &Path, with_data: bool) -> Found {
        let landmark = self.landmark().in_files(directory, self.began);
        assert!(!landmark.is_empty(), "the search does not see what is written in {}", directory.display());
        self.needles(with_data).in_files(directory, self.began)
    }
}

#[track_caller]
fn nothing(what: &str, found: &Found) {
    assert!(found.is_empty(), "secrets in {what}: {found:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_show_nowhere_in_four_processes_on_postgresql() {
    let mut world = World::new(Shape::FourProcesses).await;
    world.flows.play(&world.system).await;
    // The database goes, and what needs it fails.
    world.system.cut_database().await;
    world.flows.play_without_a_database().await;
    world.system.mend_database().await;
    let activity_log = world.system.bases().operator.activity_log;
    eventually(LIMIT, async || world.flows.status_of(activity_log, "/readyz").await == 200).await;
    // What they have counted until now is forgotten by the restart.
    let mut metrics = world.flows.metrics(&mut world.system).await;
    for service in Service::ALL {
        world.system.restart(service).await;
    }
    world.flows.play_what_is_left(&world.system).await;
    let needles = world.needles(true);

    metrics.push_str(&world.flows.metrics(&mut world.system).await);
    assert!(metrics.contains("slipstream_attempts_total"), "{metrics}");
    assert_eq!(needles.within(metrics.as_bytes()), BTreeSet::new(), "metrics");
    let in_headers = bus_headers(world.system.nats_url(), &needles, &world.landmark()).await;
    nothing("headers and subjects on the bus", &in_headers);

    // They end in order, so that their logs and traces are whole.
    for service in Service::ALL {
        world.system.terminate(service).await;
    }
    let refused = world.flows.refusals();
    assert!(refused.len() >= 20, "every failing flow was refused: {}", refused.len());
    for (what, refusal) in refused {
        assert_eq!(needles.within(&refusal), BTreeSet::new(), "{what}: {}", String::from_utf8_lossy(&refusal));
    }
    let traces = world.collector.received_at("/v1/traces");
    assert!(traces.iter().any(|it| contains(&it.body, b"send webhook")), "{} traces", traces.len());
    for trace in traces {
        assert_eq!(needles.within(&trace.body), BTreeSet::new(), "traces");
    }
    let logs = world.system.directory().join("logs");
    copy_logs(world.system.directory(), &logs);
    // Ids are no secrets, and a log that says nothing of them proves nothing.
    let mut landmark = Needles::default();
    landmark.add("an id", &world.flows.canaries().endpoint);
    assert!(!landmark.in_files(&logs, world.began).is_empty(), "the logs do not say what happened");
    nothing("logs", &needles.in_files(&logs, world.began));

    let store = world.system.nats().store();
    nothing("the broker's files", &world.searched(&store, false));
    let mut data = Needles::default();
    data.add("event data", &world.flows.canaries().data);
    assert!(!data.in_files(&store, world.began).is_empty(), "the design keeps event data in the streams");
    for directory in database_directories(&world.system.database_url()).await {
        nothing("the database's files", &world.searched(&directory, true));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_show_nowhere_in_the_files_of_one_process_on_sqlite() {
    let mut world = World::new(Shape::OneProcess).await;
    world.flows.play(&world.system).await;
    world.flows.play_what_is_left(&world.system).await;
    let needles = world.needles(true);
    for (what, refusal) in world.flows.refusals() {
        assert_eq!(needles.within(&refusal), BTreeSet::new(), "{what}: {}", String::from_utf8_lossy(&refusal));
    }
    let databases = world.system.directory().join("databases");
    copy(world.system.directory(), &databases, |name| name.contains(".db"));
    let names: Vec<_> = std::fs::read_dir(&databases).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert!(names.iter().any(|name| name.to_string_lossy().ends_with("-wal")), "write-ahead logs too: {names:?}");
    nothing("SQLite", &world.searched(&databases, true));
    let store = world.system.nats().store();
    nothing("the broker's files", &world.searched(&store, false));
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// The logs by themselves: beside them are the tests' own configuration files.
fn copy_logs(from: &Path, to: &Path) {
    copy(from, to, |name| Path::new(name).extension().is_some_and(|extension| extension == "log"));
}

fn copy(from: &Path, to: &Path, is_wanted: impl Fn(&str) -> bool) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type().unwrap().is_file() && is_wanted(&name) {
            std::fs::copy(entry.path(), to.join(name)).unwrap();
        }
    }
}

/// Where PostgreSQL keeps this database, and its write-ahead log.
async fn database_directories(url: &str) -> Vec<PathBuf> {
    // Into the files, and not in memory only.
    postgres::execute(url, "CHECKPOINT").await;
    let root = PathBuf::from(postgres::query(url, "SHOW data_directory").await);
    let oid = postgres::query(url, "SELECT oid FROM pg_database WHERE datname = current_database()").await;
    vec![root.join("base").join(oid), root.join("pg_wal")]
}

/// The secrets in subjects and headers of all messages of all streams.
async fn bus_headers(url: &str, needles: &Needles, landmark: &Needles) -> Found {
    // The client takes no credentials from a URL.
    let (credentials, address) = url.strip_prefix("nats://").and_then(|rest| rest.split_once('@')).unwrap();
    let (user, password) = credentials.split_once(':').unwrap();
    let options = async_nats::ConnectOptions::with_user_and_password(user.to_owned(), password.to_owned());
    let jetstream = jetstream::new(options.connect(address).await.unwrap());
    let streams: Vec<_> = jetstream.streams().try_collect().await.unwrap();
    assert!(streams.len() >= 6, "five streams and a bucket: {}", streams.len());
    let (mut found, mut headers, mut has_landmark) = (Found::new(), 0, false);
    for info in streams {
        let stream = jetstream.get_stream(&info.config.name).await.unwrap();
        for sequence in info.state.first_sequence..=info.state.last_sequence {
            let Ok(message) = stream.get_raw_message(sequence).await else { continue };
            let mut text = format!("{}\n", message.subject);
            for (name, values) in message.headers.iter() {
                headers += values.len();
                text.extend(values.iter().map(|value| format!("{name}: {value}\n")));
            }
            has_landmark |= !landmark.within(&message.payload).is_empty();
            let within = needles.within(text.as_bytes());
            if !within.is_empty() {
                found.insert(format!("{} {sequence}", info.config.name), within);
            }
        }
    }
    assert!(headers > 0 && has_landmark, "the messages were read");
    found
}
