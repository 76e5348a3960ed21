//! A child process that is asked to stop, then made to, and never outlives us.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::procfs;

/// How long an orderly stop may take.
const STOP_WITHIN: Duration = Duration::from_secs(15);
/// How often to look meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A running child.
#[derive(Debug)]
pub(super) struct Child {
    inner: std::process::Child,
    /// A child of the child that has to be gone afterwards.
    grandchild: Option<u32>,
}

impl Child {
    /// Starts `program`, its output going to `log`.
    ///
    /// With util-linux' `setpriv`, where there is one, the kernel ends it should we be killed. That follows the thread
    /// that started it, so this is called on the main thread.
    pub(super) fn spawn(program: &Path, arguments: &[String], log: &Path) -> anyhow::Result<Self> {
        let output = File::create(log).context("cannot make a log file")?;
        let mut command = match on_path("setpriv") {
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args([OsStr::new("--pdeathsig"), OsStr::new("TERM"), OsStr::new("--"), program.as_os_str()]);
                command
            }
            None => Command::new(program),
        };
        command.args(arguments).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let inner = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self { inner, grandchild: None })
    }

    /// Says which process must be gone once this child has ended.
    pub(super) fn ends_with_it(&mut self, grandchild: Option<u32>) {
        self.grandchild = grandchild;
    }

    pub(super) fn pid(&self) -> u32 {
        self.inner.id()
    }

    /// The exit status, if it has ended.
    pub(super) fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.inner.try_wait()?)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Ok(None) = self.inner.try_wait() {
            signal("TERM", self.pid());
        }
        if !within(STOP_WITHIN, || !matches!(self.inner.try_wait(), Ok(None))) {
            let _ = self.inner.kill();
            let _ = self.inner.wait();
        }
        if let Some(pid) = self.grandchild {
            let is_gone = || procfs::cpu_seconds(pid).is_err();
            if !within(Duration::from_secs(2), is_gone) {
                signal("KILL", pid);
                within(Duration::from_secs(2), is_gone);
            }
        }
    }
}

/// Whether `condition` comes to hold in time. Blocks: the run is over when this is called.
fn within(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Sends a signal by way of the shell, whose `kill` is always there; the system call would need unsafe code.
fn signal(name: &str, pid: u32) {
    let kill = format!("kill -{name} {pid}");
    let _ = Command::new("sh").args(["-c", &kill]).stderr(Stdio::null()).status();
}

#[expect(clippy::disallowed_methods, reason = "programs are found by PATH, as everywhere")]
fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|program| program.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_stopped_when_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let child = Child::spawn(Path::new("sleep"), &["60".to_owned()], &directory.path().join("log")).unwrap();
        let pid = child.pid();
        assert!(procfs::cpu_seconds(pid).is_ok());
        drop(child);
        assert!(procfs::cpu_seconds(pid).is_err());
    }
}
