//! Release: an alarm rings, and the events that come due at its time are published.
//!
//! Each lane has a loop of its own, so that realtime events do not come after 100,000 normal ones of the same second. What
//! an alarm names is published in batches, then taken away, and only then is the alarm acknowledged: whoever crashes in
//! between leaves it to another, for whom `EVENTS` knows what has been published.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use slipstream_bus::held::due::parse_ringing;
use slipstream_bus::{Consumer, Held, HeldEvents, Message};
use slipstream_core::lane::Lane;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::{Context, clock};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{Holder, due_event, queued, settle};

/// Alarms of a lane that are in hand; most of them only wait, if the server's clock is ahead of ours.
const ALARMS_MAX: usize = 256;
/// Alarms of a lane that are worked on at once. Their times differ, so that it takes more than one only when the first
/// is not done yet.
const WORKING_MAX: usize = 4;
/// Events that are read at once. They can have 256 KiB each.
const READ_MAX: usize = 32;
/// Events, and bytes of them, that are published at once.
const CHUNK_MAX: usize = 500;
const CHUNK_BYTES_MAX: usize = 2 << 20;
/// How often the server is told that an alarm is still worked on; well below its lease.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);
/// How old an event is from which on `EVENTS` may have forgotten the ids that say what has become of it: that is after two
/// hours (DESIGN 3.6), and both clocks may be off.
const OLD: Duration = Duration::from_mins(90);
/// How often lists are looked for that should be gone.
const OVERDUE_EVERY: Duration = Duration::from_mins(5);

/// Starts a lane's loop.
pub(super) fn start(holder: Arc<Holder>, ringing: Consumer, ctx: &Context) {
    ctx.spawn("release", run(holder, ringing.prefetch(32), ctx.stop.clone(), ctx.clone()));
}

async fn run(holder: Arc<Holder>, mut ringing: Consumer, stop: CancellationToken, ctx: Context) -> anyhow::Result<()> {
    let (places, working) = (Arc::new(Semaphore::new(ALARMS_MAX)), Arc::new(Semaphore::new(WORKING_MAX)));
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await.expect("nobody closes it");
            (place, ringing.next().await)
        };
        let (place, alarm) = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            next = next => next,
        };
        let (holder, stop, working) = (Arc::clone(&holder), stop.clone(), Arc::clone(&working));
        ctx.tasks.spawn(async move {
            match stop.run_until_cancelled(holder.release(&alarm, &working)).await {
                Some(done) => settle(&alarm, done).await,
                // Half of it may be published: another goes on with the rest.
                None => alarm.hand_back().await,
            }
            drop(place);
        });
    }
    ringing.hand_back().await;
    Ok(())
}

/// Now and then has what should have come due, and did not, come due. Every replica does it; twice does no harm.
pub(super) async fn watch_overdue(held: HeldEvents, stop: CancellationToken) -> anyhow::Result<()> {
    loop {
        let pause = OVERDUE_EVERY.mul_f64(0.5 + rand::random::<f64>());
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return Ok(());
        }
        match held.wake_overdue(clock::now).await {
            Ok(0) => {}
            Ok(times) => tracing::error!(times, "held events were overdue: they come due now"),
            Err(error) => tracing::warn!(%error, "cannot look for what is overdue"),
        }
    }
}

impl Holder {
    /// An alarm rings: publishes what comes due.
    async fn release(&self, alarm: &Message, working: &Semaphore) -> anyhow::Result<()> {
        let Some((lane, at)) = parse_ringing(&alarm.subject) else {
            tracing::error!(subject = %alarm.subject.escape_debug(), "not an alarm of ours: skipped");
            return Ok(());
        };
        let work = async {
            wait_until(at).await;
            let _turn = working.acquire().await.expect("nobody closes it");
            // More may be listed meanwhile, with an alarm that rings later.
            while self.release_due(lane, at).await? {}
            Ok(())
        };
        tokio::select! {
            done = work => done,
            never = keep(alarm) => match never {},
        }
    }

    /// Publishes what comes due at this time, and takes it away. False if there is nothing.
    async fn release_due(&self, lane: Lane, at: Timestamp) -> anyhow::Result<bool> {
        let Some(due) = self.held.due(lane, at).await? else { return Ok(false) };
        let (mut rest, mut done, mut failed) = (due.places.as_slice(), Vec::with_capacity(due.places.len()), None);
        while !rest.is_empty() {
            let (chunk, after) = self.read_chunk(rest).await?;
            rest = after;
            match self.publish_due(&chunk).await {
                Ok(()) => done.extend(chunk.into_iter().map(|(place, _)| place)),
                // The others are not to wait for it.
                Err(error) => failed = Some(error),
            }
        }
        self.held.remove(done).await?;
        self.held.remove_marks(due.ended.clone(), at).await?;
        if let Some(error) = failed {
            return Err(error);
        }
        self.held.remove_lists(lane, at, &due).await?;
        Ok(true)
    }

    /// The events at the first of these places, as many as are published at once, and the places after.
    async fn read_chunk<'a>(&self, places: &'a [u64]) -> anyhow::Result<(Vec<(u64, Held)>, &'a [u64])> {
        let (mut chunk, mut bytes, mut rest) = (Vec::new(), 0, places);
        while !rest.is_empty() && chunk.len() < CHUNK_MAX && bytes < CHUNK_BYTES_MAX {
            let (now, after) = rest.split_at(rest.len().min(READ_MAX));
            let read = self.held.read(now).await?;
            bytes += read.iter().map(|(_, held)| held.payload.len()).sum::<usize>();
            chunk.extend(read);
            rest = after;
        }
        Ok((chunk, rest))
    }

    async fn publish_due(&self, chunk: &[(u64, Held)]) -> anyhow::Result<()> {
        let outdated = self.outdated(chunk).await?;
        let held: Vec<_> = chunk.iter().filter(|(place, _)| !outdated.contains(place)).map(|(_, held)| held).collect();
        let mut messages = Vec::with_capacity(held.len());
        let mut readable = Vec::with_capacity(held.len());
        for held in held {
            match due_event(held) {
                Ok(message) => {
                    messages.push(message);
                    readable.push(held);
                }
                // It was read when it was accepted.
                Err(error) => tracing::error!(event.key = %held.key, %error, "a held event cannot be read: let go"),
            }
        }
        let acks = self.events.publish_each(&messages).await?;
        let mut queue = Vec::new();
        for (held, ack) in readable.into_iter().zip(acks) {
            if !(ack.duplicate && self.has_changed(held, ack.sequence).await?) {
                queue.extend(queued(held));
            }
        }
        self.queue.publish_each(&queue).await?;
        Ok(())
    }

    /// Which of these have been changed since: the change lies in `EVENTS`, and is held by now or soon. As a rule the id
    /// of the due event tells; but the stream forgets ids.
    async fn outdated(&self, chunk: &[(u64, Held)]) -> anyhow::Result<HashSet<u64>> {
        let (now, mut outdated) = (clock::now(), HashSet::new());
        let old: Vec<_> = chunk.iter().filter(|(_, held)| now.since(held.meta.accepted_at) > OLD).collect();
        for some in old.chunks(READ_MAX) {
            let changed = try_join_all(some.iter().map(|(_, held)| self.held.has_later_generation(held))).await?;
            outdated.extend(some.iter().zip(changed).filter(|(_, changed)| *changed).map(|((place, _), _)| *place));
        }
        Ok(outdated)
    }
}

/// Waits until it is time by our clock, whatever the server's says (N3). They differ by little, or we are not ready.
async fn wait_until(at: Timestamp) {
    loop {
        let left = at.since(clock::now());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(PROGRESS_EVERY)).await;
    }
}

/// Keeps an alarm from being handed out to another while it is worked on.
async fn keep(alarm: &Message) -> std::convert::Infallible {
    loop {
        tokio::time::sleep(PROGRESS_EVERY).await;
        alarm.progress().await;
    }
}
