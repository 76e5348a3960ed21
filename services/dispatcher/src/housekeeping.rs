//! Housekeeping: trims what is processed, watches the storage, and names a consumer that holds trimming back
//! (DESIGN 3.5). Every replica does it; a purge twice is harmless.

use std::time::Duration;

use metrics::gauge;
use slipstream_bus::{Bus, StreamName};
use slipstream_service::{Context, clock, names};
use tokio::sync::watch;

/// How often storage is looked at.
const STORAGE_EVERY: Duration = Duration::from_secs(2);
/// How often streams are trimmed.
const TRIM_EVERY: Duration = Duration::from_secs(15);
/// Messages above the slowest consumer's floor from which on it is named in the log.
const BACKLOG_WORTH_A_WARNING: u64 = 1_000_000;

/// Starts both loops; the receiver tells whether storage is short.
pub(crate) fn start(bus: &Bus, ctx: &Context) -> watch::Receiver<bool> {
    let (is_short, storage) = watch::channel(false);
    let (watched, trimmed) = (bus.clone(), bus.clone());
    let stop = ctx.stop.clone();
    ctx.spawn("storage", async move {
        while stop.run_until_cancelled(tokio::time::sleep(STORAGE_EVERY)).await.is_some() {
            match watched.storage_is_short().await {
                Ok(now_short) => {
                    if is_short.send_replace(now_short) != now_short {
                        tracing::warn!(storage.is_short = now_short, "taking on new events: stopped or resumed");
                    }
                }
                Err(error) => tracing::debug!(%error, "cannot see the storage"),
            }
        }
        Ok(())
    });
    let stop = ctx.stop.clone();
    ctx.spawn("trim", async move {
        while stop.run_until_cancelled(tokio::time::sleep(jittered(TRIM_EVERY))).await.is_some() {
            for stream in [StreamName::Events, StreamName::Outcomes, StreamName::Audit] {
                trim(&trimmed, stream).await;
            }
        }
        Ok(())
    });
    storage
}

async fn trim(bus: &Bus, stream: StreamName) {
    match bus.trim(stream, clock::now()).await {
        Ok(trimmed) => {
            if !trimmed.missing.is_empty() {
                tracing::warn!(stream = stream.as_str(), consumers = ?trimmed.missing, "not trimmed: consumers are missing");
            }
            let (consumer, backlog) = trimmed.slowest.unwrap_or_default();
            gauge!(names::STREAM_BACKLOG, "stream" => stream.as_str()).set(backlog as f64);
            if backlog > BACKLOG_WORTH_A_WARNING {
                tracing::error!(stream = stream.as_str(), consumer, backlog, "a consumer holds trimming back");
            }
        }
        Err(error) => tracing::warn!(stream = stream.as_str(), %error, "cannot trim"),
    }
}

/// 0.5 to 1.5 times the period, so that replicas do not move together.
fn jittered(period: Duration) -> Duration {
    period.mul_f64(0.5 + rand::random::<f64>())
}
