//! Follows the `config` bucket.

use std::pin::Pin;
use std::time::Duration;

use anyhow::Context as _;
use futures::{FutureExt as _, Stream, StreamExt as _};
use slipstream_bus::{Bus, BusError, ConfigBucket, ConfigChange};
use tokio::time::Instant;

use super::apply::Records;
use super::hearing::{Connection, Hearing};
use super::{Directory, Snapshot};
use crate::names;
use crate::vault::{Vault, VaultError};

/// Changes applied before a snapshot is made of them. A bound, so that a stream of changes without end is seen too.
const CHANGES_AT_ONCE_MAX: usize = 10_000;
/// First and longest wait before a lost watch is begun anew. The longest is short, since publishing may wait for it: 503
/// must be over soon after the bus is back (THREATS 10).
const RETRY_WAIT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(500));

type Changes = Pin<Box<dyn Stream<Item = Result<ConfigChange, BusError>> + Send>>;

/// A watch past its initial values, with the records they gave.
pub(super) struct Watching {
    records: Records,
    changes: Changes,
    connection: Connection,
}

impl Watching {
    /// Reads the initial values.
    pub(super) async fn begin(bus: &Bus, bucket: &ConfigBucket, vault: Option<Vault>) -> anyhow::Result<Self> {
        let connection = Connection::now(bus);
        let changes = bucket.watch().await.context("cannot watch")?;
        let mut watching = Self { records: Records::new(vault), changes: Box::pin(changes), connection };
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

    /// Shows to `directory` what changes, until the watch is lost.
    async fn follow(&mut self, directory: &Directory) -> anyhow::Error {
        loop {
            match self.next().await {
                Ok(()) if self.records.has_changed() => directory.replace(self.snapshot()),
                Ok(()) => {}
                Err(error) => return error,
            }
            self.tell_wrong_key();
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
/// what was known of it before is better than nothing. Not so of an account or a pair of keys: what cannot be read may be
/// a key that was replaced, or an account that was switched off, so nobody gets in by it until it can be read.
fn apply(records: &mut Records, change: Result<ConfigChange, BusError>) -> anyhow::Result<()> {
    match change {
        Ok(ConfigChange::Put(record)) => records.put(record),
        Ok(ConfigChange::Deleted { key }) => records.delete(&key),
        Ok(ConfigChange::Initialised) => {}
        Err(BusError::BadRecord { key, source }) => {
            let is_forgotten = is_credential(&key);
            if is_forgotten {
                records.delete(&key);
            }
            let error = format!("{source:#}");
            tracing::error!(config.key = key, error, is_forgotten, "a record that cannot be read is left out");
        }
        Err(error) => return Err(error).context("the watch broke"),
    }
    Ok(())
}

/// Whether the record under this key of the bucket lets somebody in.
fn is_credential(key: &str) -> bool {
    key.split_once('.').is_some_and(|(kind, _)| matches!(kind, "account" | "open_dental_key"))
}

/// Applies changes for ever.
pub(super) async fn keep_up(
    bus: Bus,
    bucket: ConfigBucket,
    vault: Option<Vault>,
    mut watching: Watching,
    directory: Directory,
    mut hearing: Hearing,
) {
    loop {
        let connection = watching.connection.clone();
        let lost = tokio::select! {
            error = watching.follow(&directory) => error,
            () = connection.lost() => anyhow::anyhow!("its connection is lost"),
            never = hearing.ask(&bucket) => match never {},
        };
        tracing::warn!(error = format!("{lost:#}"), "the watch of the config bucket is lost; beginning anew");
        metrics::counter!(names::DIRECTORY_WATCHES_LOST).increment(1);
        hearing.lost();
        let mut anew = std::pin::pin!(begin_anew(&bus, &bucket, vault.as_ref()));
        watching = if let Ok(watching) = tokio::time::timeout_at(hearing.believed_until(), &mut anew).await {
            watching
        } else {
            hearing.give_up();
            anew.await
        };
        watching.tell_wrong_key();
        directory.replace(watching.snapshot());
        hearing.heard(Instant::now());
    }
}

async fn begin_anew(bus: &Bus, bucket: &ConfigBucket, vault: Option<&Vault>) -> Watching {
    let (mut wait, wait_max) = RETRY_WAIT;
    loop {
        tokio::time::sleep(wait.mul_f64(rand::random_range(0.5..1.0))).await;
        let connection = Connection::now(bus);
        // What is asked while there is no connection is answered late, or never.
        if !connection.stands() {
            continue;
        }
        let begun = tokio::select! {
            begun = Watching::begin(bus, bucket, vault.cloned()) => begun,
            () = connection.lost() => Err(anyhow::anyhow!("the connection was lost again")),
        };
        match begun {
            Ok(watching) => return watching,
            Err(error) => tracing::debug!(error = format!("{error:#}"), "the config bucket cannot be watched yet"),
        }
        wait = (wait * 2).min(wait_max);
    }
}
