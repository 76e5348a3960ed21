//! What people configured, as this process knows it: an immutable [`Snapshot`] behind an atomic pointer.
//!
//! The registry writes the `config` bucket; [`Directory::watch`] reads its initial values, answers with them, and a
//! task keeps up with the changes. Readers never wait and never see half a change. When the watch is lost it is begun
//! anew and read to its end before the pointer moves, so the last good snapshot serves meanwhile and a deletion that
//! was missed is seen as absence. It serves deliveries for as long as it takes, and credentials for 5 s
//! ([`Directory::is_stale`]): a restart of the bus is over by then, and a key that was revoked is refused again not much
//! later than if everything worked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use arc_swap::{ArcSwap, Guard};
use slipstream_bus::Bus;
use tokio::sync::watch;

use crate::lifecycle::Context;
use crate::vault::Vault;

mod apply;
mod ecg;
mod hearing;
mod snapshot;
mod watching;

pub use ecg::{Bridged, EcgIndex};
pub use snapshot::Snapshot;

/// The newest snapshot. Cheap to clone; all clones are the same.
#[derive(Debug, Clone)]
pub struct Directory {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    current: ArcSwap<Snapshot>,
    /// Counts the snapshots, for those who wait for a change.
    changes: watch::Sender<u64>,
    /// Whether the bucket was not heard for longer than what was known may be believed.
    is_stale: AtomicBool,
}

impl Directory {
    /// Reads the `config` bucket and keeps up with it until the process has drained. Returns when the initial values
    /// are in. Adds a check, that is ready while the watch stands. Secrets stay sealed: for those who need none.
    ///
    /// # Errors
    /// When the bucket cannot be read to the end of its initial values.
    pub async fn watch(bus: &Bus, ctx: &Context) -> anyhow::Result<Self> {
        Self::watch_all(bus, None, ctx).await
    }

    /// As [`Directory::watch`], with all secrets opened by the data keys that stand in the bucket too; `vault` learns them.
    /// A subscription whose key is missing stays sealed until that comes.
    ///
    /// # Errors
    /// As [`Directory::watch`]; and when a data key does not unwrap: the master key is the wrong one.
    pub async fn watch_and_open(bus: &Bus, vault: &Vault, ctx: &Context) -> anyhow::Result<Self> {
        Self::watch_all(bus, Some(vault.clone()), ctx).await
    }

    async fn watch_all(bus: &Bus, vault: Option<Vault>, ctx: &Context) -> anyhow::Result<Self> {
        let check = ctx.health.add("directory");
        let bucket = bus.config_bucket().await.context("cannot open the config bucket")?;
        let watching = watching::Watching::begin(bus, &bucket, vault.clone()).await;
        let mut watching = watching.context("cannot read the config bucket")?;
        if let Some(error) = watching.take_wrong_key() {
            return Err(error).context("cannot open the secrets in the config bucket");
        }
        let directory = Self::new(watching.snapshot());
        let hearing = hearing::Hearing::begin(directory.clone(), check);
        let task = watching::keep_up(bus.clone(), bucket, vault, watching, directory.clone(), hearing);
        let drained = ctx.drained.clone();
        ctx.spawn("directory", async move {
            tokio::select! { () = drained.cancelled() => Ok(()), () = task => Ok(()) }
        });
        Ok(directory)
    }

    /// A directory that changes only by [`Directory::replace`]; for tests and tools without a bus.
    pub fn new(snapshot: Snapshot) -> Self {
        let (current, changes) = (ArcSwap::from_pointee(snapshot), watch::Sender::new(0));
        let shared = Shared { current, changes, is_stale: AtomicBool::new(false) };
        Self { shared: Arc::new(shared) }
    }

    /// The newest snapshot, for a short look: do not keep it across an `await`.
    pub fn load(&self) -> Guard<Arc<Snapshot>> {
        self.shared.current.load()
    }

    /// The newest snapshot, to keep.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.current.load_full()
    }

    /// Whether nothing was heard of the bucket for so long that a key which was revoked since might still seem good: more
    /// than 5 s. Whoever asks for the sake of a credential answers 503 then; what is under way already goes on with what is
    /// known.
    pub fn is_stale(&self) -> bool {
        self.shared.is_stale.load(Ordering::Acquire)
    }

    pub(crate) fn set_stale(&self, is_stale: bool) {
        self.shared.is_stale.store(is_stale, Ordering::Release);
    }

    /// Tells when there is a newer snapshot: the value is a count of them.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// Puts a newer snapshot in place, for all clones.
    pub fn replace(&self, snapshot: Snapshot) {
        self.shared.current.store(Arc::new(snapshot));
        self.shared.changes.send_modify(|count| *count += 1);
    }
}
