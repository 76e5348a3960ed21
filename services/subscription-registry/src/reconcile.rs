//! Repairs the bucket: at start, and from then on every 30 s.
//!
//! A crash between SQL and the bucket, a bucket that was lost or edited by hand, a database restored from a backup:
//! after one pass every row stands in the bucket as it is, and nothing else does but the keys of Open Dental, which have no
//! row. A pass over a bucket that needs no
//! repair reads and writes nothing else there.
//!
//! A pass also seals what a release before sealing wrote in clear, publishes what is noted and not
//! published yet, forgets handshakes whose time is over, and takes away what was deleted on the ECG surface so long ago that
//! no history of posts can name it.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt as _;
use slipstream_bus::{BusError, ConfigBucket, ConfigChange};
use slipstream_core::config::Record;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::clock;
use slipstream_service::health::Check;
use slipstream_store::ecg::tombstones;
use slipstream_store::handshakes::{self, wishes};
use slipstream_store::records;
use tokio_util::sync::CancellationToken;

use crate::registry::{Registry, RegistryError};

/// Mean time between two passes.
const EVERY: Duration = Duration::from_secs(30);
/// How long reading the whole bucket may take.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// How long publishing what is noted may take.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(30);
/// Passes that may fail in a row before this replica says that it is not ready.
const FAILURES_MAX: u32 = 3;

/// How long what was deleted on the ECG surface can be named: the history of posts is kept for 30 days, and is cleared after
/// that within a day.
const TOMBSTONES_KEPT: Duration = Duration::from_hours(31 * 24);
/// How many tombstones of a kind go in one pass.
const TOMBSTONES_STEP: u64 = 500;

/// From when on what was deleted is still kept.
pub(crate) fn tombstones_kept_since() -> Timestamp {
    let kept = i64::try_from(TOMBSTONES_KEPT.as_millis()).expect("a month has fewer milliseconds");
    Timestamp::from_millis(clock::now().as_millis() - kept)
}

/// What one pass repaired.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Repaired {
    /// Rows that were missing in the bucket, older there, or different.
    pub(crate) written: usize,
    /// Keys of the bucket that have no row.
    pub(crate) removed: usize,
}

/// Reconciles until `stop`.
pub(crate) async fn run(registry: Registry, check: Check, stop: CancellationToken) -> anyhow::Result<()> {
    let mut failures = 0;
    loop {
        // Spread, so that replicas do not read the bucket all at once.
        let pause = EVERY.mul_f64(rand::random_range(0.8..1.2));
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
        let pass = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            pass = once(&registry) => pass,
        };
        match pass {
            Ok(_) => {
                failures = 0;
                check.set_ready();
            }
            Err(error) => {
                failures += 1;
                tracing::warn!(error = format!("{error:#}"), "cannot compare the config bucket with the database");
                if failures >= FAILURES_MAX {
                    check.set_not_ready("the config bucket cannot be compared with the database");
                }
            }
        }
    }
}

/// One pass.
///
/// The bucket is read first and SQL second. A key of the bucket had its row before it was written, so a row that is
/// not there afterwards has been deleted since, never "not written yet".
pub(crate) async fn once(registry: &Registry) -> anyhow::Result<Repaired> {
    registry.announce_removals().await?;
    let in_bucket = tokio::time::timeout(READ_TIMEOUT, read(registry.bucket()))
        .await
        .context("reading the config bucket took too long")?
        .context("cannot read the config bucket")?;
    registry.seal_rows().await.context("cannot seal what is stored in clear")?;
    let rows = records::all(registry.store().connection()).await.context("cannot read the database")?;
    let repaired = repair(registry, in_bucket, rows).await.context("cannot repair the config bucket")?;
    if repaired != Repaired::default() {
        let Repaired { written, removed } = repaired;
        tracing::info!(records.written = written, records.removed = removed, "repaired the config bucket");
    }
    clean_up(registry).await.context("cannot forget old handshakes")?;
    Ok(repaired)
}

/// What need not be done for the bucket to be right. A bus that takes no events, because its stream is full, must not
/// make this service unready.
async fn clean_up(registry: &Registry) -> Result<(), RegistryError> {
    let told = tokio::time::timeout(PUBLISH_TIMEOUT, registry.publish_noted()).await;
    if let Err(error) = told.map_err(|_| RegistryError::Unanswered).flatten() {
        let error = format!("{:#}", anyhow::Error::from(error));
        tracing::warn!(error, "what happened to endpoints is not published yet");
    }
    // Their keys go with them; where that fails, with the next pass, since they have no rows.
    let gone = tombstones::remove(registry.store(), tombstones_kept_since(), TOMBSTONES_STEP).await?;
    for key in &gone {
        registry.mirror(key).await?;
    }
    if !gone.is_empty() {
        tracing::info!(records.removed = gone.len(), "nothing can name any more what was deleted long ago");
    }
    let (connection, now) = (registry.store().connection(), clock::now());
    let keys = handshakes::remove_expired(connection, now).await?;
    let wishes = wishes::remove_expired(connection, now).await?;
    if keys > 0 || wishes > 0 {
        tracing::info!(handshakes.keys = keys, handshakes.wishes = wishes, "receivers did not grant in time");
    }
    Ok(())
}

/// What stands in the bucket, by key; none where it is not a record.
pub(crate) async fn read(bucket: &ConfigBucket) -> Result<HashMap<String, Option<Record>>, BusError> {
    let mut changes = std::pin::pin!(bucket.watch().await?);
    let mut records = HashMap::new();
    while let Some(change) = changes.next().await {
        match change {
            // Not ours: others write it.
            Ok(ConfigChange::Put(Record::OpenDentalKey(_))) => {}
            Ok(ConfigChange::Put(record)) => drop(records.insert(record.key(), Some(record))),
            Ok(ConfigChange::Deleted { key }) => drop(records.remove(&key)),
            Ok(ConfigChange::Initialised) => break,
            Err(BusError::BadRecord { key, .. }) => drop(records.insert(key, None)),
            Err(error) => return Err(error),
        }
    }
    Ok(records)
}

async fn repair(
    registry: &Registry,
    mut in_bucket: HashMap<String, Option<Record>>,
    rows: Vec<Record>,
) -> Result<Repaired, RegistryError> {
    let mut repaired = Repaired::default();
    for row in rows {
        let key = row.key();
        match in_bucket.remove(&key) {
            Some(Some(image)) if image == row => continue,
            // Ahead of SQL, or equal in revision and yet different: readers that have seen it would ignore what we
            // write, so the row is lifted above it. A change made while this pass runs is no such case: looking again
            // finds the row as it is in the bucket.
            Some(Some(image)) if image.revision() >= row.revision() => {
                let now = records::get(registry.store().connection(), &key).await?;
                if now.as_ref() == Some(&image) {
                    continue;
                }
                if now.is_some_and(|now| now.revision() <= image.revision()) {
                    records::lift(registry.store().connection(), &row, image.revision()).await?;
                }
            }
            _ => {}
        }
        registry.mirror(&key).await?;
        repaired.written += 1;
    }
    for key in in_bucket.into_keys() {
        registry.mirror(&key).await?;
        repaired.removed += 1;
    }
    Ok(repaired)
}
