//! Looks for jobs that nobody works on, and works on a few at once.

use std::time::Duration;

use anyhow::Context as _;
use slipstream_service::clock;
use slipstream_store::activity::replay::{claim, forget};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Replayer;
use super::job::{Job, LEASE};
use crate::database::before;

/// Jobs at once; a slow one must not hold up the others. Each has a chunk in memory (N9).
const JOBS_MAX: usize = 4;
/// How often to look for a job. One that was made or resumed here is seen at once.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the database may take to say whether there is one.
const CLAIM_TIMEOUT: Duration = Duration::from_secs(5);
/// How often to forget jobs that ended long ago.
const FORGET_EVERY: Duration = Duration::from_hours(1);

/// Works on jobs until `stop`, and forgets those that ended longer ago than `keep`.
pub(crate) async fn run(replayer: Replayer, keep: Duration, stop: CancellationToken) -> anyhow::Result<()> {
    let mut jobs = JoinSet::new();
    let mut forgotten: Option<Instant> = None;
    while !stop.is_cancelled() {
        while jobs.len() < JOBS_MAX
            && let Some(job) = next_job(&replayer).await
        {
            jobs.spawn(job.work(stop.clone()));
        }
        if forgotten.is_none_or(|at| at.elapsed() >= FORGET_EVERY) {
            forgotten = Some(Instant::now());
            forget_old(&replayer, keep).await;
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = replayer.wake.notified() => {}
            () = sleep(LOOK_EVERY) => {}
            Some(ended) = jobs.join_next() => ended.context("a replay job broke off")?,
        }
    }
    // Each gives its job back after the step in hand.
    while let Some(ended) = jobs.join_next().await {
        ended.context("a replay job broke off")?;
    }
    Ok(())
}

async fn next_job(replayer: &Replayer) -> Option<Job> {
    let now = clock::now();
    let claimed = timeout(CLAIM_TIMEOUT, claim(replayer.store.connection(), now, now.after(LEASE))).await;
    match claimed.map_err(anyhow::Error::from).and_then(|claimed| claimed.map_err(anyhow::Error::from)) {
        Ok(claimed) => claimed.map(|claim| Job::new(replayer.clone(), claim)),
        Err(error) => {
            tracing::warn!(error = format!("{error:#}"), "cannot look for replay jobs");
            None
        }
    }
}

async fn forget_old(replayer: &Replayer, keep: Duration) {
    match forget(replayer.store.connection(), before(clock::now(), keep)).await {
        Ok(0) => {}
        Ok(jobs) => tracing::info!(replays.count = jobs, "forgot replay jobs that ended long ago"),
        // The next round tries again.
        Err(error) => tracing::warn!(error = format!("{:#}", anyhow::Error::new(error)), "cannot forget replay jobs"),
    }
}
