//! The embedded broker: a `nats-server` child that lives as long as we do (DESIGN 6).
//!
//! - It listens on a loopback port, chosen at the first start and kept in the data directory, because clients find it
//!   again only where it was.
//! - It asks every client for a token, made at the first start and kept in the data directory: loopback is open to every
//!   user of the machine.
//! - It is in a process group of its own, so that Ctrl-C in a terminal reaches us alone and it can be stopped last.
//! - It dies with us: `setpriv --pdeathsig KILL` asks the kernel for that (the system call itself would need `unsafe`).
//!   That signal follows the *thread* that forked, so [`Broker::start`] and [`Broker::supervise`] must run in the future
//!   that `main` blocks on, never in a spawned task whose thread may end.
//! - Its standard input is our lock file. It never reads it, but as long as it runs the lock is held, so that even a
//!   child that outlived its parent (no `setpriv`, parent killed) keeps a second server off its store.
//! - [`Broker::supervise`] starts it again on the same port whenever it ends.

mod config;
mod locate;
mod port;
mod process;

use std::convert::Infallible;
use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use slipstream_core::sealing::SecretUrl;
use zeroize::Zeroizing;

use self::config::ServerConfig;
pub(crate) use self::config::Sync;
use self::process::Process;
use crate::credentials;
use crate::data_dir::DataDir;

/// How long a start may take. 50 ms on an idle machine; recovering a large store takes longer.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How often a start on a fresh port is tried: somebody may take the port between our look and the server's.
const PORTS_TRIED: u32 = 5;
/// A server that ran this long was well: the next pause before a restart is the shortest again.
const WELL_AFTER: Duration = Duration::from_secs(10);
/// The first pause before a restart; it doubles each time.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// The longest pause before a restart.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long the server may take to end by itself before it is killed.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// What the server is started with.
#[derive(Debug, Clone)]
pub(crate) struct BrokerOptions {
    /// When it writes to disk.
    pub(crate) sync: Sync,
    /// Bytes of all streams together.
    pub(crate) max_file_store_bytes: u64,
}

/// A running nats-server. Killed when dropped; [`Broker::stop`] is the orderly way. Does not print: it holds the token.
pub(crate) struct Broker {
    program: PathBuf,
    directory: PathBuf,
    lock: File,
    port: u16,
    token: Zeroizing<String>,
    process: Process,
    started: Instant,
}

impl Broker {
    /// Starts the server on the data directory's store and waits until it answers.
    ///
    /// # Errors
    /// When there is no program, the directory cannot be written, or the server does not come up; then the error has
    /// the end of its log.
    pub(crate) async fn start(data: &DataDir, options: &BrokerOptions) -> anyhow::Result<Self> {
        let program = locate::program()?;
        let directory = data.subdirectory("nats")?;
        let token = credentials::token(data, "broker-token")?;
        let mut attempt = 1;
        loop {
            let port = port::choose(&directory)?;
            let config = ServerConfig { directory: &directory, port, token: &token, options };
            config.write()?;
            let lock = data.lock_file()?;
            let process = Process::start(&program, &config.path(), &lock)?;
            let started = Instant::now();
            let (program, directory, token) = (program.clone(), directory.clone(), token.clone());
            let mut broker = Self { program, directory, lock, port, token, process, started };
            match broker.process.wait_until_ready(port, READY_WITHIN).await {
                Ok(()) => {
                    port::keep(&broker.directory, port)?;
                    return Ok(broker);
                }
                Err(_) if attempt < PORTS_TRIED && !port::is_free(port) => attempt += 1,
                Err(error) => return Err(error.context(broker.log_end())),
            }
        }
    }

    /// `nats://{token}@127.0.0.1:{port}`; the same after a restart. Prints without the token.
    pub(crate) fn url(&self) -> SecretUrl {
        format!("nats://{}@127.0.0.1:{}", *self.token, self.port).into()
    }

    /// Where the server logs.
    pub(crate) fn log_path(&self) -> PathBuf {
        config::log_path(&self.directory)
    }

    /// Starts the server again whenever it ends. Never returns; may be dropped and called again at any time.
    pub(crate) async fn supervise(&mut self) -> Infallible {
        let mut pause = PAUSE_MIN;
        loop {
            let ended = self.process.ended().await;
            if self.started.elapsed() >= WELL_AFTER {
                pause = PAUSE_MIN;
            }
            tracing::warn!(
                broker.status = ended,
                broker.log = %self.log_path().display(),
                pause_ms = pause.as_millis() as u64,
                "nats-server ended; starting it again"
            );
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
            self.started = Instant::now();
            let config = config::path(&self.directory);
            match Process::start(&self.program, &config, &self.lock) {
                Ok(process) => self.process = process,
                Err(error) => {
                    tracing::error!(error = format!("{error:#}"), "nats-server cannot be started");
                    continue;
                }
            }
            match self.process.wait_until_ready(self.port, READY_WITHIN).await {
                Ok(()) => tracing::warn!(
                    ready_after_ms = self.started.elapsed().as_millis() as u64,
                    "nats-server is back on the same port"
                ),
                Err(error) => tracing::error!(error = format!("{error:#}"), "nats-server does not come back"),
            }
        }
    }

    /// Stops the server in an orderly way: an interrupt, a wait, and the kill only if it does not listen.
    pub(crate) async fn stop(mut self) {
        if !self.process.stop(STOP_WITHIN).await {
            tracing::warn!("nats-server did not end within {STOP_WITHIN:?} and was killed");
        }
    }

    fn log_end(&self) -> String {
        let log = std::fs::read(self.log_path()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().collect();
        let end = lines[lines.len().saturating_sub(8)..].join("\n  ");
        format!("nats-server does not start; the end of its log {}:\n  {end}", self.log_path().display())
    }
}
