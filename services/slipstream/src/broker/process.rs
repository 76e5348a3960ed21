//! One run of the server program.

use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::locate;
use crate::environment::variable;

/// How long to wait between two looks at a server that is starting.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A child process; killed when dropped.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
}

impl Process {
    /// Starts the program. On the thread that calls, which must live as long as the child should.
    pub(super) fn start(program: &Path, config: &Path, lock: &File) -> anyhow::Result<Self> {
        let mut command = match locate::on_path("setpriv") {
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args([OsStr::new("--pdeathsig"), OsStr::new("KILL"), OsStr::new("--"), program.as_os_str()]);
                command
            }
            None => Command::new(program),
        };
        for (name, value) in share_of_the_machine() {
            if variable(name).is_none() {
                command.env(name, value);
            }
        }
        command
            .arg("-c")
            .arg(config)
            .process_group(0)
            .stdin(Stdio::from(lock.try_clone().context("cannot hand on the lock file")?))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self { child })
    }

    /// Waits for the end, and says how it came.
    pub(super) async fn ended(&mut self) -> String {
        match self.child.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        }
    }

    /// Waits until the server greets a client on `port`, which it does when its streams are restored.
    ///
    /// # Errors
    /// When it ends first, or takes longer than `limit`.
    pub(super) async fn wait_until_ready(&mut self, port: u16, limit: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            // Asked first: on a taken port, somebody else may greet.
            if let Some(status) = self.child.try_wait().context("nats-server cannot be waited for")? {
                anyhow::bail!("it ended with {status}");
            }
            if greets(port).await {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < deadline, "it did not answer within {limit:?}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Interrupts the server and waits for its end; kills it after `limit`. Says whether it ended by itself.
    pub(super) async fn stop(&mut self, limit: Duration) -> bool {
        let Some(id) = self.child.id() else { return true };
        // The shell's own `kill`: there is always a shell, and sending a signal ourselves would need `unsafe`.
        let kill = Command::new("sh").args(["-c", "kill -INT \"$0\"", &id.to_string()]).status();
        let asked = kill.await.is_ok_and(|status| status.success());
        if asked && tokio::time::timeout(limit, self.child.wait()).await.is_ok() {
            return true;
        }
        // An error means that it is gone, which is what was asked for.
        let _ = self.child.kill().await;
        false
    }
}

/// What the server's runtime is told, unless the operator has told it something: it shares the machine with us.
///
/// Left alone it keeps every core spinning for work between two messages: with half the cores it needs half the CPU
/// time per event here. And its heap, mostly copies of what it has just written, is collected sooner than by default;
/// a fixed limit would do more, until what it must keep comes near it, and then it would do nothing but collect.
fn share_of_the_machine() -> [(&'static str, String); 2] {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    [("GOMAXPROCS", cores.div_ceil(2).to_string()), ("GOGC", "25".to_owned())]
}

/// Whether a connection to `port` is greeted with `INFO` of a server whose JetStream is on.
async fn greets(port: u16) -> bool {
    let greeting = async {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).await.ok()?;
        Some(line.starts_with("INFO") && line.contains("\"jetstream\":true"))
    };
    tokio::time::timeout(Duration::from_secs(1), greeting).await.ok().flatten().unwrap_or(false)
}
