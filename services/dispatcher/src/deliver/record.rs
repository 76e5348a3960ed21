//! Makes outcomes durable, many at a time, and then acknowledges their deliveries (N10).
//!
//! While one commit is under way the next outcomes gather; each commit is one message per subscription. So recording
//! costs little when there is much to record, and no time when there is little.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use slipstream_bus::consume::Acknowledger;
use slipstream_bus::{Bus, Outgoing, Publisher, subject};
use slipstream_core::config::Surface;
use slipstream_core::contract::{Outcome, Outcomes};
use slipstream_core::ids::SubscriptionId;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Outcomes of one commit.
const BATCH_MAX: usize = 512;
/// Outcomes that may wait; whoever brings the next one waits too.
const QUEUE_LEN: usize = 2048;
/// Commits under way at once.
const COMMITS_IN_FLIGHT: usize = 2;
/// Pause before a commit that failed is tried again.
const REPEAT_PAUSE: Duration = Duration::from_millis(200);
/// Bytes of one message of outcomes: answers are kept up to 16 KiB each, and a message holds at most 1 MiB.
const MESSAGE_BYTES_MAX: usize = 512 * 1024;

/// Hands outcomes to the record loop. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Recorder {
    queue: mpsc::Sender<Entry>,
}

/// An outcome, and what to do when it is durable.
struct Entry {
    surface: Surface,
    subscription: SubscriptionId,
    outcome: Outcome,
    then: Then,
}

/// What to do when an outcome is durable.
enum Then {
    /// Acknowledge its delivery.
    Acknowledge(Acknowledger),
    /// Tell whoever waits for it.
    Tell(oneshot::Sender<()>),
    /// Nothing.
    Nothing,
}

impl Recorder {
    /// A recorder and its loop, which ends when the last recorder is dropped and everything is recorded.
    pub(crate) fn new(
        bus: Bus,
        outcomes: Publisher,
        stop: CancellationToken,
    ) -> (Self, impl Future<Output = anyhow::Result<()>>) {
        let (queue, entries) = mpsc::channel(QUEUE_LEN);
        let record_all = async move {
            run(entries, outcomes, stop).await;
            // The process may end right after us, and would take the last acknowledgements with it.
            bus.flush().await;
            Ok(())
        };
        (Self { queue }, record_all)
    }

    /// Records the last outcome of a delivery and then acknowledges it. Returns when it is queued.
    pub(crate) async fn record_last(&self, to: Recipient, outcome: Outcome, ack: Acknowledger) {
        self.enqueue(to, outcome, Then::Acknowledge(ack)).await;
    }

    /// Records an outcome and waits until it is durable. False if we are stopping and it is not.
    pub(crate) async fn record(&self, to: Recipient, outcome: Outcome) -> bool {
        let (durable, is_durable) = oneshot::channel();
        self.enqueue(to, outcome, Then::Tell(durable)).await;
        is_durable.await.is_ok()
    }

    /// Notes something that the delivery's state does not depend on. Returns when it is queued.
    pub(crate) async fn note(&self, to: Recipient, outcome: Outcome) {
        self.enqueue(to, outcome, Then::Nothing).await;
    }

    async fn enqueue(&self, (surface, subscription): Recipient, outcome: Outcome, then: Then) {
        // Fails only when the loop has ended, after a stop: then the delivery comes again.
        let _ = self.queue.send(Entry { surface, subscription, outcome, then }).await;
    }
}

/// Whose delivery it is.
pub(crate) type Recipient = (Surface, SubscriptionId);

async fn run(mut entries: mpsc::Receiver<Entry>, outcomes: Publisher, stop: CancellationToken) {
    let in_flight = Arc::new(Semaphore::new(COMMITS_IN_FLIGHT));
    loop {
        let permit = Arc::clone(&in_flight).acquire_owned().await.expect("the semaphore is never closed");
        let mut batch = Vec::new();
        if entries.recv_many(&mut batch, BATCH_MAX).await == 0 {
            break;
        }
        let (outcomes, stop) = (outcomes.clone(), stop.clone());
        tokio::spawn(async move {
            commit(batch, &outcomes, &stop).await;
            drop(permit);
        });
    }
    let _all = in_flight.acquire_many(COMMITS_IN_FLIGHT as u32).await;
}

async fn commit(batch: Vec<Entry>, publisher: &Publisher, stop: &CancellationToken) {
    let mut thens = Vec::with_capacity(batch.len());
    let mut by_subscription: HashMap<(Surface, SubscriptionId), Vec<Outcome>> = HashMap::new();
    for Entry { surface, subscription, outcome, then } in batch {
        by_subscription.entry((surface, subscription)).or_default().push(outcome);
        thens.push(then);
    }
    let messages: Vec<_> = by_subscription
        .into_iter()
        .flat_map(|((surface, subscription), outcomes)| messages(surface, subscription, outcomes))
        .collect();
    while let Err(error) = publisher.publish_each(&messages).await {
        tracing::warn!(%error, "recording outcomes again");
        if stop.run_until_cancelled(tokio::time::sleep(REPEAT_PAUSE)).await.is_none() {
            return; // not acknowledged: the deliveries come again
        }
    }
    for then in thens {
        match then {
            Then::Acknowledge(ack) => ack.ack().await,
            // Nobody waits any more if the worker was cut off.
            Then::Tell(durable) => drop(durable.send(())),
            Then::Nothing => {}
        }
    }
}

/// One message for all outcomes, or several if their answers are long.
fn messages(surface: Surface, subscription: SubscriptionId, outcomes: Vec<Outcome>) -> Vec<Outgoing> {
    let mut messages = Vec::new();
    let mut chunk = Vec::with_capacity(outcomes.len());
    let mut bytes = 0;
    for outcome in outcomes {
        let size = 400 + outcome.attempt.as_ref().and_then(|a| a.response.as_ref()).map_or(0, String::len);
        if bytes + size > MESSAGE_BYTES_MAX && !chunk.is_empty() {
            messages.push(message(surface, subscription, std::mem::take(&mut chunk)));
            bytes = 0;
        }
        bytes += size;
        chunk.push(outcome);
    }
    messages.push(message(surface, subscription, chunk));
    messages
}

fn message(surface: Surface, subscription: SubscriptionId, outcomes: Vec<Outcome>) -> Outgoing {
    let payload = serde_json::to_vec(&Outcomes { subscription, surface, outcomes }).expect("outcomes serialise");
    Outgoing::new(subject::outcomes(surface, subscription), payload.into())
}
