//! The data directory: everything that outlives the process, and the lock that keeps two of us off it.
//!
//! | name | what |
//! | --- | --- |
//! | `lock` | held while `slipstream up` or its broker runs; holds the process id |
//! | `nats/` | the broker's configuration, port, log and store |
//! | `registry.db`, `activity.db` | SQLite |
//! | `master.key` | what all secrets in the databases and the broker hang on; readable by the owner only |
//! | `ecg-issuer.key` | what `slipstream ecg-token` signs with; readable by the owner only |
//! | `demo-account.json`, `operator-token`, `broker-token` | credentials, readable by the owner only |
//! | `running.json` | where the running one answers, for `publish` and `listen`; gone when it has stopped |

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// How long to try for the lock: a broker whose parent was killed a moment ago is about to die too.
const LOCK_WITHIN: Duration = Duration::from_secs(1);

/// The file that is locked. Where it is, the directory is ours.
const LOCK: &str = "lock";
/// The owner, and nobody else.
const PRIVATE: u32 = 0o700;

/// A data directory that is ours alone.
#[derive(Debug)]
pub(crate) struct DataDir {
    root: PathBuf,
    lock: File,
}

impl DataDir {
    /// Makes the directory if need be, closes it to everybody but its owner, and locks it.
    ///
    /// One that is there is closed only if it is empty or ours already: somebody's home or `/tmp` is refused, not changed.
    ///
    /// # Errors
    /// When it cannot be written, is open to others and not ours to close, or another process has it, naming that one.
    pub(crate) async fn open(root: &Path) -> anyhow::Result<Self> {
        close(root)?;
        let root = root.canonicalize().with_context(|| format!("cannot resolve {}", root.display()))?;
        let path = root.join(LOCK);
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

/// Makes the data directory private, if it may be.
fn close(root: &Path) -> anyhow::Result<()> {
    if is_open(root) {
        let ours_or_empty =
            root.join(LOCK).exists() || std::fs::read_dir(root).is_ok_and(|mut entries| entries.next().is_none());
        anyhow::ensure!(
            ours_or_empty,
            "the directory {} is open to other users and holds what is not ours: `chmod 700` it if it is meant for \
             slipstream alone, or choose another with --data-dir",
            root.display()
        );
    }
    make_private(root)
}

fn make_private(path: &Path) -> anyhow::Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(PRIVATE).create(path);
    made.with_context(|| format!("cannot make the directory {}", path.display()))?;
    if is_open(path) {
        let closed = std::fs::set_permissions(path, Permissions::from_mode(PRIVATE));
        closed.with_context(|| format!("{} is open to other users, and cannot be closed", path.display()))?;
    }
    Ok(())
}

/// Whether there is such a directory, and others than its owner may do anything in it.
fn is_open(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn nobody_else_sees_into_the_directory() {
        let parent = tempfile::tempdir().unwrap();
        let open = |name: &str| {
            let path = parent.path().join(name);
            std::fs::create_dir(&path).unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
            path
        };
        let new = parent.path().join("new");
        let data = DataDir::open(&new).await.unwrap();
        assert_eq!((mode(&new), mode(&data.subdirectory("nats").unwrap())), (0o700, 0o700));
        let empty = open("empty");
        drop(DataDir::open(&empty).await.unwrap());
        assert_eq!(mode(&empty), 0o700);
        let ours = open("ours");
        std::fs::write(ours.join(LOCK), "").unwrap();
        std::fs::create_dir(ours.join("nats")).unwrap();
        std::fs::set_permissions(ours.join("nats"), Permissions::from_mode(0o755)).unwrap();
        let data = DataDir::open(&ours).await.unwrap();
        assert_eq!((mode(&ours), mode(&data.subdirectory("nats").unwrap())), (0o700, 0o700));
        let home = open("home");
        std::fs::write(home.join("letter"), "").unwrap();
        let error = DataDir::open(&home).await.unwrap_err().to_string();
        assert!(error.contains("open to other users"), "{error}");
        assert_eq!((mode(&home), home.join(LOCK).exists()), (0o755, false), "nothing was changed");
    }

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
