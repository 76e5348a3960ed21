//! One job, step by step, as long as it is ours.
//!
//! A step publishes a chunk and then writes the place behind it down. Whoever dies in between has its chunk published
//! again by the next one, under the same ids: the stream knows them for two minutes, and the rest is bounded by the
//! chunk. A step that fails goes on where it failed, so an outage repeats nothing that was acknowledged.

use std::time::Duration;

use metrics::counter;
use slipstream_bus::{BusError, PublishError};
use slipstream_core::ids::DeliveryId;
use slipstream_service::{clock, names};
use slipstream_store::StoreError;
use slipstream_store::activity::replay::{self, Claim, JobState, originals};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::Replayer;
use super::chunk::{Chunk, prepare};
use super::pace::Pace;

/// How long a job stays ours after the last sign of life: longer than any one answer of the bus or the database is waited
/// for. A worker that waits for several may lose the job, and then the fence decides.
pub(super) const LEASE: Duration = Duration::from_secs(15);
/// How long one question to the database may take.
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a job that waits for its time looks whether it was paused.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// First and longest pause after a step that failed.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How often to see whether the bus has room.
const ROOM_EVERY: Duration = Duration::from_secs(5);

/// Why a step has to be taken again.
#[derive(Debug, thiserror::Error)]
enum NotYet {
    #[error("the database refused")]
    Store(#[from] StoreError),
    #[error("the database did not answer within {} s", QUERY_TIMEOUT.as_secs())]
    Timeout,
    #[error("the bus did not answer")]
    Bus(#[from] BusError),
    #[error("the bus did not take it")]
    Publish(#[from] PublishError),
    #[error("the bus is short of storage")]
    StorageShort,
}

/// What comes after a step.
enum Flow {
    /// The next one.
    Next,
    /// Nothing: the job was paused or cancelled, or the process stops.
    GiveBack(&'static str),
    /// Nothing: somebody else has the job.
    Lost,
    /// Nothing: it is done.
    Done,
}

/// A chunk on its way.
struct InHand {
    chunk: Chunk,
    began: Instant,
    is_published: bool,
    is_recorded: bool,
}

/// A job that is ours.
pub(super) struct Job {
    replayer: Replayer,
    claim: Claim,
    cursor: Option<DeliveryId>,
    pace: Pace,
    in_hand: Option<InHand>,
    room_seen: Option<Instant>,
}

impl Job {
    pub(super) fn new(replayer: Replayer, claim: Claim) -> Self {
        let pace = Pace::new(claim.job.rate_per_second, Instant::now());
        Self { replayer, cursor: claim.cursor, pace, claim, in_hand: None, room_seen: None }
    }

    /// Works until the job is done, taken away, or `stop`.
    pub(super) async fn work(mut self, stop: CancellationToken) {
        let id = self.claim.job.id;
        tracing::info!(replay.id = %id, replay.fence = self.claim.fence, "working on a replay job");
        let mut pause = PAUSE_MIN;
        let why = loop {
            match self.step(&stop).await {
                Ok(Flow::Next) => pause = PAUSE_MIN,
                Ok(Flow::GiveBack(why)) => {
                    self.give_back().await;
                    break why;
                }
                Ok(Flow::Lost) => break "somebody else works on it",
                Ok(Flow::Done) => break "it is done",
                Err(error) => {
                    let error = format!("{:#}", anyhow::Error::new(error));
                    tracing::warn!(replay.id = %id, error, "a replay job waits");
                    if stop.run_until_cancelled(sleep(pause)).await.is_none() {
                        self.give_back().await;
                        break "the process stops";
                    }
                    pause = PAUSE_MAX.min(pause * 2);
                    // If this fails too, the next step finds out whose the job is.
                    let _ = self.renew().await;
                }
            }
        };
        tracing::info!(replay.id = %id, replay.fence = self.claim.fence, why, "no longer working on a replay job");
    }

    async fn step(&mut self, stop: &CancellationToken) -> Result<Flow, NotYet> {
        let mut in_hand = match self.in_hand.take() {
            Some(in_hand) => in_hand,
            None => match self.next_chunk(stop).await? {
                Ok(in_hand) => in_hand,
                Err(flow) => return Ok(flow),
            },
        };
        let done = self.carry_out(&mut in_hand).await;
        if !matches!(done, Ok(Flow::Next)) {
            // Kept, so that the next try goes on where this one failed.
            self.in_hand = Some(in_hand);
        }
        done
    }

    /// The next chunk, when it is time for it; or what comes instead.
    async fn next_chunk(&mut self, stop: &CancellationToken) -> Result<Result<InHand, Flow>, NotYet> {
        loop {
            let until = self.pace.next().min(Instant::now() + LOOK_EVERY);
            if stop.is_cancelled() || stop.run_until_cancelled(sleep_until(until)).await.is_none() {
                return Ok(Err(Flow::GiveBack("the process stops")));
            }
            if self.pace.next() <= Instant::now() {
                break;
            }
            if let Some(flow) = self.look().await? {
                return Ok(Err(flow));
            }
        }
        self.check_room().await?;
        let began = Instant::now();
        let (job, connection) = (&self.claim.job, self.replayer.store.connection());
        let next = originals(connection, &job.filter, job.created_at, self.cursor, self.pace.chunk());
        let next = timed(next).await?;
        let Some(chunk) = prepare(&self.replayer, job.id, next).await? else {
            let finished = timed(replay::finish(connection, job.id, self.claim.fence, clock::now())).await?;
            // Paused just now, perhaps.
            return Ok(Err(if finished { Flow::Done } else { self.look().await?.unwrap_or(Flow::Lost) }));
        };
        Ok(Ok(InHand { chunk, began, is_published: false, is_recorded: false }))
    }

    /// Publishes a chunk, records it, and writes the place down.
    async fn carry_out(&mut self, in_hand: &mut InHand) -> Result<Flow, NotYet> {
        let InHand { chunk, began, is_published, is_recorded } = in_hand;
        if !*is_published {
            // At the last moment: what is paused or somebody else's is not published.
            if let Some(flow) = self.look().await? {
                return Ok(flow);
            }
            self.replayer.work.publish_each(&chunk.deliveries).await?;
            *is_published = true;
            counter!(names::DELIVERIES_REPLAYED).increment(chunk.step.published);
        }
        if !*is_recorded {
            self.replayer.outcomes.publish_each(&chunk.records).await?;
            *is_recorded = true;
        }
        let now = clock::now();
        let (id, fence, connection) = (self.claim.job.id, self.claim.fence, self.replayer.store.connection());
        let step = (self.cursor, chunk.step);
        if !timed(replay::advance(connection, id, fence, step, now, now.after(LEASE))).await? {
            return Ok(Flow::Lost);
        }
        self.cursor = Some(chunk.step.cursor);
        self.pace.took(chunk.step.published, *began);
        Ok(Flow::Next)
    }

    /// What to do if the job is not running any more, or not ours.
    async fn look(&self) -> Result<Option<Flow>, NotYet> {
        let state = timed(replay::state_of(self.replayer.store.connection(), self.claim.job.id, self.claim.fence));
        Ok(match state.await? {
            Some(JobState::Running) => None,
            Some(JobState::Paused) => Some(Flow::GiveBack("it was paused")),
            Some(JobState::Cancelled | JobState::Finished) => Some(Flow::GiveBack("it was ended")),
            None => Some(Flow::Lost),
        })
    }

    /// `WORK` has no limit of its own, and a job could fill the disk that accepting events needs.
    async fn check_room(&mut self) -> Result<(), NotYet> {
        if self.room_seen.is_some_and(|seen| seen.elapsed() < ROOM_EVERY) {
            return Ok(());
        }
        if self.replayer.bus.storage_is_short().await? {
            return Err(NotYet::StorageShort);
        }
        self.room_seen = Some(Instant::now());
        Ok(())
    }

    async fn renew(&self) -> Result<bool, NotYet> {
        let (id, fence) = (self.claim.job.id, self.claim.fence);
        timed(replay::renew(self.replayer.store.connection(), id, fence, clock::now().after(LEASE))).await
    }

    async fn give_back(&self) {
        let released = timed(replay::release(self.replayer.store.connection(), self.claim.job.id, self.claim.fence));
        if let Err(error) = released.await {
            tracing::warn!(replay.id = %self.claim.job.id, %error, "a replay job is free when its lease ends");
        }
    }
}

/// The database's answer, waited for as long as anybody is.
async fn timed<T>(query: impl Future<Output = Result<T, StoreError>>) -> Result<T, NotYet> {
    timeout(QUERY_TIMEOUT, query).await.map_err(|_| NotYet::Timeout)?.map_err(NotYet::from)
}
