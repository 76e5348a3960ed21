//! The data directory: everything that outlives the process, and the lock that keeps two of us off it.
//!
//! | name | what |
//! | --- | --- |
//! | `lock` | held while `slipstream up` or its broker runs; holds the process id |
//! | `nats/` | the broker's configuration, port, log and store |
//! | `registry.db`, `activity.db` | SQLite |
//! | `master.key` | what all secrets in the databases and the broker hang on; readable by the owner only |
//! | `demo-account.json`, `operator-token` | credentials, readable by the owner only |
//! | `running.json` | where the running one answers, for `publish` and `listen`; gone when it has stopped |

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// How long to try for the lock: a broker whose parent was killed a moment ago is about to die too.
const LOCK_WITHIN: Duration = Duration::from_secs(1);

/// A data directory that is ours alone.
#[derive(Debug)]
pub(crate) struct DataDir {
    root: PathBuf,
    lock: File,
}

impl DataDir {
    /// Makes the directory if need be, readable by its owner only, and locks it.
    ///
    /// # Errors
    /// When it cannot be written, or another process has it, naming that one.
    pub(crate) async fn open(root: &Path) -> anyhow::Result<Self> {
        make_private(root)?;
        let root = root.canonicalize().with_context(|| format!("cannot resolve {}", root.display()))?;
        let path = root.join("lock");
        // Not truncated: until we have the lock, it tells who else has it.
        let mut options = OpenOptions::new();
        let lock = options.read(true).write(true).create(true).truncate(false).open(&path);
        let mut lock = lock.with_context(|| format!("cannot open {}", path.display()))?;
        let deadline = Instant::now() + LOCK_WITHIN;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(TryLockError::WouldBlock) => {
                    let mut holder = String::new();
                    let _ = lock.read_to_string(&mut holder);
                    anyhow::bail!(
                        "the data directory {} is in use by another slipstream (process {}): stop that one, or \
                         choose another directory with --data-dir",
                        root.display(),
                        holder.trim()
                    );
                }
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("cannot lock {}", path.display()));
                }
            }
        }
        let written =
            lock.rewind().and_then(|()| lock.set_len(0)).and_then(|()| writeln!(lock, "{}", std::process::id()));
        written.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { root, lock })
    }

    /// The directory, as an absolute path.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A file in the directory.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// A directory in the directory; made if it is not there.
    pub(crate) fn subdirectory(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.root.join(name);
        make_private(&path)?;
        Ok(path)
    }

    /// The locked file once more: the lock is held until the last copy is closed, whoever has it.
    pub(crate) fn lock_file(&self) -> anyhow::Result<File> {
        self.lock.try_clone().context("cannot copy the lock file's handle")
    }
}

fn make_private(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;

    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| format!("cannot make the directory {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_directory_has_one_owner_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let first = DataDir::open(root.path()).await.unwrap();
        let error = DataDir::open(root.path()).await.unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        let copy = first.lock_file().unwrap();
        drop(first);
        assert!(DataDir::open(root.path()).await.is_err(), "a copy of the handle holds the lock");
        drop(copy);
        DataDir::open(root.path()).await.unwrap();
    }
}
