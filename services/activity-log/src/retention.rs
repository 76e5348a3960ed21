//! Forgetting what is older than configured (SPEC 4.7).

use std::time::Duration;

use slipstream_core::timestamp::Timestamp;
use slipstream_service::clock;
use slipstream_store::activity::{Retention, expire};
use slipstream_store::{Store, StoreError};
use tokio_util::sync::CancellationToken;

use crate::config::RetentionConfig;
use crate::database::before;

/// Rows per step: a few milliseconds during which the recorder waits.
const STEP_ROWS: usize = 500;
/// Pause between two steps, so that the recorder gets its turn on SQLite's one write lock.
const STEP_PAUSE: Duration = Duration::from_millis(50);

/// Looks every so often for what is too old, and deletes it in small steps, until `stop`.
pub(crate) async fn run(store: Store, config: RetentionConfig, stop: CancellationToken) -> anyhow::Result<()> {
    loop {
        let forgetting = async {
            match forget(&store, config, clock::now()).await {
                Ok(0) => {}
                Ok(rows) => tracing::info!(retention.rows = rows, "forgot what is older than configured"),
                // The next round tries again.
                Err(error) => {
                    tracing::warn!(error = format!("{:#}", anyhow::Error::new(error)), "cannot forget what is old");
                }
            }
            tokio::time::sleep(config.every).await;
        };
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = forgetting => {}
        }
    }
}

/// One round: steps until nothing is left to forget at `now`.
async fn forget(store: &Store, config: RetentionConfig, now: Timestamp) -> Result<u64, StoreError> {
    let retention =
        Retention { records_before: before(now, config.records), responses_before: before(now, config.responses) };
    let mut rows = 0;
    loop {
        match expire(store, retention, STEP_ROWS).await? {
            0 => return Ok(rows),
            touched => rows += touched,
        }
        tokio::time::sleep(STEP_PAUSE).await;
    }
}
