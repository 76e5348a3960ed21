//! Follows the `config` bucket.

use std::pin::Pin;
use std::time::Duration;

use anyhow::Context as _;
use futures::{FutureExt as _, Stream, StreamExt as _};
use slipstream_bus::{BusError, ConfigBucket, ConfigChange};

use super::apply::Records;
use super::{Directory, Snapshot};
use crate::health::Check;
use crate::names;
use crate::vault::{Vault, VaultError};

/// Changes applied before a snapshot is made of them. A bound, so that a stream of changes without end is seen too.
const CHANGES_AT_ONCE_MAX: usize = 10_000;
/// First and longest wait before a lost watch is begun anew.
const RETRY_WAIT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

type Changes = Pin<Box<dyn Stream<Item = Result<ConfigChange, BusError>> + Send>>;

/// A watch past its initial values, with the records they gave.
pub(super) struct Watching {
    records: Records,
    changes: Changes,
}

impl Watching {
    /// Reads the initial values.
    pub(super) async fn begin(bucket: &ConfigBucket, vault: Option<Vault>) -> anyhow::Result<Self> {
        let changes = bucket.watch().await.context("cannot watch")?;
        let mut watching = Self { records: Records::new(vault), changes: Box::pin(changes) };
        loop {
            match watching.changes.next().await {
                Some(Ok(ConfigChange::Initialised)) => return Ok(watching),
                Some(change) => apply(&mut watching.records, change)?,
                None => anyhow::bail!("the watch ended before its initial values were in"),
            }
        }
    }

    pub(super) fn snapshot(&mut self) -> Snapshot {
        let snapshot = self.records.snapshot();
        metrics::gauge!(names::DIRECTORY_SUBSCRIPTIONS).set(snapshot.subscriptions().len() as f64);
        metrics::gauge!(names::DIRECTORY_SUBSCRIPTIONS_SEALED).set(self.records.sealed_count() as f64);
        snapshot
    }

    /// See [`Records::take_wrong_key`].
    pub(super) fn take_wrong_key(&mut self) -> Option<VaultError> {
        self.records.take_wrong_key()
    }

    /// Says that a data key does not unwrap. What is known goes on: at the start it would have been the end.
    fn tell_wrong_key(&mut self) {
        if let Some(error) = self.take_wrong_key() {
            let error = format!("{:#}", anyhow::Error::from(error));
            tracing::error!(error, "a data key cannot be unwrapped; what is sealed under it is held back");
        }
    }

    /// Waits for a change and takes in whatever else is there by then.
    async fn next(&mut self) -> anyhow::Result<()> {
        let mut next = Some(self.changes.next().await);
        for _ in 0..CHANGES_AT_ONCE_MAX {
            match next {
                Some(Some(change)) => apply(&mut self.records, change)?,
                Some(None) => anyhow::bail!("the watch ended"),
                None => break,
            }
            next = self.changes.next().now_or_never();
        }
        Ok(())
    }
}

/// Takes in one change. A record that cannot be read is left out: it must not keep all others from being seen, and
/// what was known of it before is better than nothing.
fn apply(records: &mut Records, change: Result<ConfigChange, BusError>) -> anyhow::Result<()> {
    match change {
        Ok(ConfigChange::Put(record)) => records.put(record),
        Ok(ConfigChange::Deleted { key }) => records.delete(&key),
        Ok(ConfigChange::Initialised) => {}
        Err(error @ BusError::BadRecord { .. }) => {
            tracing::error!(error = format!("{:#}", anyhow::Error::from(error)), "a record is left out");
        }
        Err(error) => return Err(error).context("the watch broke"),
    }
    Ok(())
}

/// Applies changes for ever.
pub(super) async fn keep_up(
    bucket: ConfigBucket,
    vault: Option<Vault>,
    mut watching: Watching,
    directory: Directory,
    check: Check,
) {
    loop {
        let lost = loop {
            match watching.next().await {
                Ok(()) if watching.records.has_changed() => {
                    let snapshot = watching.snapshot();
                    directory.replace(snapshot);
                }
                Ok(()) => {}
                Err(error) => break error,
            }
            watching.tell_wrong_key();
        };
        tracing::warn!(error = format!("{lost:#}"), "the watch of the config bucket is lost; beginning anew");
        metrics::counter!(names::DIRECTORY_WATCHES_LOST).increment(1);
        check.set_not_ready("the watch of the config bucket is lost; what was known before still serves");
        watching = begin_anew(&bucket, vault.as_ref()).await;
        watching.tell_wrong_key();
        directory.replace(watching.snapshot());
        check.set_ready();
    }
}

async fn begin_anew(bucket: &ConfigBucket, vault: Option<&Vault>) -> Watching {
    let (mut wait, wait_max) = RETRY_WAIT;
    loop {
        tokio::time::sleep(wait.mul_f64(rand::random_range(0.5..1.0))).await;
        match Watching::begin(bucket, vault.cloned()).await {
            Ok(watching) => return watching,
            Err(error) => tracing::debug!(error = format!("{error:#}"), "the config bucket cannot be watched yet"),
        }
        wait = (wait * 2).min(wait_max);
    }
}
