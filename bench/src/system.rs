//! The platform under test: `slipstream up` in a temporary directory, its broker, and more dispatchers if need be.

mod activity_log;
mod child;
mod dispatchers;
mod scratch;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tempfile::TempDir;

use self::child::Child;
use crate::api::Api;
use crate::procfs::{self, Process};

pub(crate) use activity_log::{ActivityLog, Settings};
pub(crate) use scratch::filesystem_of;

/// How long the start may take; 5 s are promised once built.
const READY_WITHIN: Duration = Duration::from_mins(1);
/// How often to ask meanwhile.
const QUESTION_EVERY: Duration = Duration::from_millis(20);
/// Lines of the log to show when something fails.
const LOG_LINES: usize = 30;

/// What to start.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    /// The `slipstream` program, built for release.
    pub(crate) program: PathBuf,
    /// The dispatcher's program, likewise; needed for more than one dispatcher only.
    pub(crate) dispatcher: PathBuf,
    /// Dispatchers altogether: the platform's own, and others as processes of their own.
    pub(crate) dispatchers: usize,
    /// Where its data may lie; a directory of its own is made there, and removed.
    pub(crate) scratch: PathBuf,
    /// Its `--sync`: `always` or a duration.
    pub(crate) sync: String,
}

/// A running platform. Stops, and takes its data with it, when dropped.
#[derive(Debug)]
pub(crate) struct System {
    // Stopped before the broker and the directory go: fields are dropped in this order.
    dispatchers: Vec<Child>,
    child: Child,
    directory: TempDir,
    address: SocketAddr,
    operator_address: SocketAddr,
    started_in: Duration,
    broker: Option<Process>,
}

impl System {
    /// Starts the platform and waits until it is ready.
    ///
    /// # Errors
    /// If it cannot be started, ends, or is not ready in time; with the end of its log.
    pub(crate) async fn start(launch: &Launch) -> anyhow::Result<Self> {
        let prefix = "slipstream-bench-";
        let directory = tempfile::Builder::new().prefix(prefix).tempdir_in(&launch.scratch);
        let directory =
            directory.with_context(|| format!("cannot make a directory in {}", launch.scratch.display()))?;
        let (address, operator_address) = (free_address()?, free_address()?);
        let (begun, log) = (Instant::now(), directory.path().join("slipstream.log"));
        let arguments = [
            "up".to_owned(),
            "--listen".to_owned(),
            address.to_string(),
            "--operator-port".to_owned(),
            operator_address.port().to_string(),
            "--data-dir".to_owned(),
            directory.path().join("data").display().to_string(),
            "--sync".to_owned(),
            launch.sync.clone(),
        ];
        let child = Child::spawn(&launch.program, &arguments, &log)?;
        let mut system = Self {
            dispatchers: Vec::new(),
            child,
            directory,
            address,
            operator_address,
            started_in: Duration::ZERO,
            broker: None,
        };
        while !Api::is_ready(operator_address).await {
            if let Some(status) = system.child.ended()? {
                bail!("{} ended with {status}:\n{}", launch.program.display(), system.log_tail());
            }
            if begun.elapsed() > READY_WITHIN {
                bail!("not ready after {READY_WITHIN:?}:\n{}", system.log_tail());
            }
            tokio::time::sleep(QUESTION_EVERY).await;
        }
        system.started_in = begun.elapsed();
        let children = procfs::children(system.pid());
        system.broker = children.into_iter().find(|process| process.name.starts_with("nats-server"));
        system.child.ends_with_it(system.broker.as_ref().map(|process| process.pid));
        system.dispatchers = dispatchers::start(launch, system.directory.path(), &system.broker_url()?).await?;
        Ok(system)
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where operators ask it.
    pub(crate) const fn operator_address(&self) -> SocketAddr {
        self.operator_address
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// The process id of its broker.
    ///
    /// # Errors
    /// If it has none.
    pub(crate) fn broker_pid(&self) -> anyhow::Result<u32> {
        Ok(self.broker.as_ref().context("the platform has no nats-server of its own")?.pid)
    }

    /// From starting the program to `/readyz` saying yes.
    pub(crate) const fn started_in(&self) -> Duration {
        self.started_in
    }

    /// The operator's token.
    ///
    /// # Errors
    /// If its file cannot be read.
    pub(crate) fn operator_token(&self) -> anyhow::Result<String> {
        self.read("operator-token")
    }

    /// Where its broker listens, with the token that it asks for.
    ///
    /// # Errors
    /// If a file that says so cannot be read.
    pub(crate) fn broker_url(&self) -> anyhow::Result<String> {
        let (token, port) = (self.read("broker-token")?, self.read("nats/port")?);
        Ok(format!("nats://{token}@{}:{port}", Ipv4Addr::LOCALHOST))
    }

    /// A file of the data directory, without the end of its line.
    fn read(&self, name: &str) -> anyhow::Result<String> {
        let path = self.directory.path().join("data").join(name);
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(text.trim().to_owned())
    }

    /// The end of its log, for a failure's message.
    pub(crate) fn log_tail(&self) -> String {
        tail(&self.directory.path().join("slipstream.log"))
    }
}

/// An address on which nobody listens right now.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn tail(log: &Path) -> String {
    let text = std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}
