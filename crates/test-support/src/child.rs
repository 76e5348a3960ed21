//! A child process that never outlives its test.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child as StdChild, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::env;

/// A signal to a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: stop in an orderly way.
    Terminate,
    /// SIGINT: what Ctrl-C sends.
    Interrupt,
    /// SIGSTOP: stand still, with all connections open.
    Pause,
    /// SIGCONT: go on after a pause.
    Resume,
}

impl Signal {
    const fn name(self) -> &'static str {
        match self {
            Self::Terminate => "TERM",
            Self::Interrupt => "INT",
            Self::Pause => "STOP",
            Self::Resume => "CONT",
        }
    }
}

/// A running child: in a process group of its own, killed when dropped or when the thread that started it ends.
///
/// The second is Linux's parent-death signal, set by util-linux' `setpriv` (the system call would need `unsafe`).
/// It follows the *thread* that forked: start children from the test's own thread, not from `spawn_blocking`.
#[derive(Debug)]
pub struct Child {
    inner: StdChild,
}

impl Child {
    /// Starts `command` (built with [`command`]).
    pub fn spawn(command: &mut Command) -> Self {
        let inner = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Self { inner }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.inner.id()
    }

    /// The exit status, if the child has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.inner.try_wait().expect("a child of ours can be waited for")
    }

    /// SIGKILL, and waits for the end. Nothing happens if the child has ended already.
    pub fn kill9(&mut self) {
        // An error means that it is gone, which is what was asked for.
        let _ = self.inner.kill();
        let _ = self.inner.wait();
    }

    /// Sends a signal; nothing happens if the child has ended already.
    pub fn signal(&mut self, signal: Signal) {
        if self.ended().is_none() {
            let kill = format!("kill -{} {}", signal.name(), self.id());
            let status = Command::new("sh").args(["-c", &kill]).status().expect("sh is always there");
            assert!(status.success(), "{kill}: {status}");
        }
    }

    /// Waits until the child has ended by itself.
    ///
    /// # Panics
    ///
    /// If it is still running after `limit`.
    pub async fn wait_for_end(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(Instant::now() < deadline, "process {} is still running after {limit:?}", self.id());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill9();
    }
}

/// A command that runs `program` as [`Child`] promises.
pub fn command(program: &Path) -> Command {
    static SETPRIV: OnceLock<bool> = OnceLock::new();
    let mut command = if *SETPRIV.get_or_init(|| env::on_path("setpriv").is_some()) {
        let mut command = Command::new("setpriv");
        command.args([OsStr::new("--pdeathsig"), OsStr::new("KILL"), OsStr::new("--"), program.as_os_str()]);
        command
    } else {
        Command::new(program)
    };
    command.process_group(0).stdin(Stdio::null());
    command
}

/// The last `lines` lines of a log file, for a failure's message.
pub fn tail(log: &Path, lines: usize) -> String {
    let text = std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let all: Vec<_> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Makes ring the process's TLS provider; safe to call any number of times.
///
/// Without it every TLS client panics when built (DEPENDENCIES 5.3).
pub fn install_crypto() {
    // An error means that it was installed before.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
