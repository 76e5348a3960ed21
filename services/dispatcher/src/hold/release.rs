//! Release: an alarm rings, and the events that come due at its time are published.
//!
//! Each lane has a loop of its own, so that realtime events do not come after 100,000 normal ones of the same second. What
//! an alarm names is published in batches, taken away, and only then is the alarm acknowledged: whoever crashes in between
//! leaves it to another, for whom `EVENTS` knows what has been published.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use slipstream_bus::held::due::{DueList, parse_ringing};
use slipstream_bus::{Consumer, Held, Message};
use slipstream_core::lane::Lane;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::{Context, clock};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{Holder, due_event, settle};

/// Alarms of a lane that are worked on at once. Their times differ, so that it takes more than one only when the first
/// is not done yet.
const ALARMS_MAX: usize = 8;
/// Lists of one alarm that are worked on at once: one is read while another is published.
const LISTS_MAX: usize = 4;
/// How often the server is told that an alarm is still worked on; well below its lease.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// Starts a lane's loop.
pub(super) fn start(holder: Arc<Holder>, ringing: Consumer, ctx: &Context) {
    ctx.spawn("release", run(holder, ringing.prefetch(ALARMS_MAX), ctx.stop.clone(), ctx.clone()));
}

async fn run(
    holder: Arc<Holder>,
    mut ringing: Consumer,
    stop: CancellationToken,
    ctx: Context,
) -> anyhow::Result<()> {
    let places = Arc::new(Semaphore::new(ALARMS_MAX));
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
        let (holder, stop) = (Arc::clone(&holder), stop.clone());
        ctx.tasks.spawn(async move {
            match stop.run_until_cancelled(holder.release(&alarm)).await {
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

impl Holder {
    /// An alarm rings: publishes what comes due.
    async fn release(&self, alarm: &Message) -> anyhow::Result<()> {
        let Some((lane, at)) = parse_ringing(&alarm.subject) else {
            tracing::error!(subject = %alarm.subject.escape_debug(), "not an alarm of ours: skipped");
            return Ok(());
        };
        let work = async {
            wait_until(at).await;
            // More may be listed meanwhile, with an alarm that rings later.
            while self.release_lists(lane, at).await? {}
            Ok(())
        };
        tokio::select! {
            done = work => done,
            never = keep(alarm) => match never {},
        }
    }

    /// Publishes what the lists of this time name, and takes it away. False if there are none.
    async fn release_lists(&self, lane: Lane, at: Timestamp) -> anyhow::Result<bool> {
        let (mut lists, mut from) = (Vec::new(), 0);
        while let Some(list) = self.held.next_list(lane, at, from).await? {
            from = list.sequence + 1;
            lists.push(list);
        }
        let last = lists.last().map(|list| list.sequence);
        let released = stream::iter(lists).map(|list| self.release_list(list)).buffer_unordered(LISTS_MAX);
        released.try_collect::<()>().await?;
        let Some(last) = last else { return Ok(false) };
        self.held.remove_lists(lane, at, last).await?;
        Ok(true)
    }

    async fn release_list(&self, list: DueList) -> anyhow::Result<()> {
        let held = self.held.read_list(list).await?;
        let now = clock::now();
        let (due, early): (Vec<_>, Vec<_>) = held.iter().partition(|(_, held)| is_due(held, now));
        if !early.is_empty() {
            // Only beyond the time that a schedule can have: it is noted once more.
            let early: Vec<_> = early.iter().map(|(_, held)| held).collect();
            for holding in self.held.hold(&early, clock::now).await {
                holding?;
            }
        }
        let messages = due.iter().map(|(_, held)| due_event(held)).collect::<anyhow::Result<Vec<_>>>()?;
        let acks = self.events.publish_each(&messages).await?;
        for ((_, held), ack) in due.iter().zip(acks) {
            self.follow(held, ack).await?;
        }
        self.held.remove(due.iter().map(|(sequence, _)| *sequence).collect()).await?;
        Ok(())
    }
}

fn is_due(held: &Held, now: Timestamp) -> bool {
    held.meta.intended_at.is_none_or(|intended_at| intended_at <= now)
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
