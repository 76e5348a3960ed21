//! The loop that writes down what happened: take messages, fold them, one transaction, tell what is to be told,
//! acknowledge.
//!
//! A message is acknowledged after its rows are durable, so a crash anywhere repeats work and loses none; repeats
//! change nothing. While the database is away the batch in hand is tried again and again and nothing more is taken,
//! so memory does not grow; the bus keeps the rest.

use std::time::Duration;

use slipstream_bus::{Consumer, Message};
use slipstream_core::config::Surface;
use slipstream_core::delivery::DeliveryState;
use slipstream_core::ids::ActivityId;
use slipstream_service::clock;
use slipstream_service::health::Check;
use slipstream_store::activity::{Batch, DeliveryRecord, is_about_the_rows, record};
use slipstream_store::{Store, StoreError};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::ecg::Poster;
use crate::exhausted::Exhausted;
use crate::fold::{fold, put_aside};

/// Messages per batch. One message holds many records already.
const BATCH_MESSAGES_MAX: usize = 500;
/// Bytes per batch, roughly: some 5,000 records. Bounds the memory and the length of a transaction.
const BATCH_BYTES_MAX: usize = 2 * 1024 * 1024;
/// How long to wait for more when there is less: a transaction costs one sync to disk, whatever is in it.
const LINGER: Duration = Duration::from_millis(100);
/// How long one transaction may take in all.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// First and longest pause before a failed batch is tried again.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long, after the stop, what is still coming in is written down.
const LAST_WORDS_MAX: Duration = Duration::from_secs(3);

/// Why a batch was not written.
#[derive(Debug, thiserror::Error)]
enum NotWritten {
    #[error(transparent)]
    Refused(#[from] StoreError),
    #[error("the database did not answer within {} s", WRITE_TIMEOUT.as_secs())]
    Timeout,
    #[error("the news of an exhausted delivery went neither to the bus nor to the database")]
    Untold(#[source] StoreError),
}

/// The loop's state.
pub(crate) struct Recorder {
    consumer: Consumer,
    store: Store,
    exhausted: Exhausted,
    poster: Poster,
    check: Check,
}

impl Recorder {
    /// `exhausted` and the poster hear of what was recorded.
    pub(crate) fn new(
        consumer: Consumer,
        store: Store,
        (exhausted, poster): (Exhausted, Poster),
        check: Check,
    ) -> Self {
        check.set_ready();
        Self { consumer, store, exhausted, poster, check }
    }

    /// Records until `stop`; then finishes the batch in hand and what the stopping dispatcher still has to say, and
    /// gives back what the bus has sent ahead.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        self.record_until_done(&stop).await;
        self.consumer.hand_back().await;
        Ok(())
    }

    async fn record_until_done(&mut self, stop: &CancellationToken) {
        loop {
            let first = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                message = self.consumer.next() => message,
            };
            let messages = self.gather(first, stop).await;
            if !self.write_until_done(&messages, stop).await {
                return;
            }
        }
        let deadline = Instant::now() + LAST_WORDS_MAX;
        while Instant::now() < deadline {
            let Ok(first) = timeout(LINGER, self.consumer.next()).await else { break };
            let messages = self.gather(first, stop).await;
            if !self.write_until_done(&messages, stop).await {
                return;
            }
        }
    }

    /// What else comes soon after `first`, within the limits of a batch.
    async fn gather(&mut self, first: Message, stop: &CancellationToken) -> Vec<Message> {
        let mut bytes = first.payload.len();
        let mut messages = vec![first];
        let linger = sleep(LINGER);
        tokio::pin!(linger);
        while messages.len() < BATCH_MESSAGES_MAX && bytes < BATCH_BYTES_MAX {
            let message = tokio::select! {
                biased;
                message = self.consumer.next() => message,
                () = &mut linger => break,
                () = stop.cancelled() => break,
            };
            bytes += message.payload.len();
            messages.push(message);
        }
        messages
    }

    /// Writes and acknowledges `messages`, trying again until it is done. False when `stop` came before success; then
    /// what is not acknowledged comes again.
    async fn write_until_done(&self, messages: &[Message], stop: &CancellationToken) -> bool {
        let mut pause = PAUSE_MIN;
        loop {
            let Err(error) = self.write(messages).await else {
                self.check.set_ready();
                return true;
            };
            let error = format!("{:#}", anyhow::Error::new(error));
            tracing::warn!(error, messages.count = messages.len(), "cannot record; the messages wait on the bus");
            self.check.set_not_ready("records are not taken; they wait on the bus");
            tokio::select! {
                () = stop.cancelled() => return false,
                () = sleep(pause) => pause = PAUSE_MAX.min(pause * 2),
            }
        }
    }

    /// Writes and acknowledges `messages`, each at the latest in a transaction of its own: one that the database will
    /// never take must not hold up the others, and goes to quarantine.
    async fn write(&self, messages: &[Message]) -> Result<(), NotWritten> {
        // Halves still to be written, the next one last.
        let mut parts = vec![messages];
        while let Some(part) = parts.pop() {
            match self.write_together(part).await {
                Ok(()) => {}
                Err(NotWritten::Refused(error)) if is_about_the_rows(&error) => {
                    if let [message] = part {
                        let mut batch = Batch::default();
                        quarantine(&mut batch, message, &anyhow::Error::new(error));
                        let _none = self.commit(batch).await?;
                        message.ack().await;
                    } else {
                        let (first, second) = part.split_at(part.len() / 2);
                        parts.extend([second, first]);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn write_together(&self, messages: &[Message]) -> Result<(), NotWritten> {
        let mut batch = Batch::default();
        for message in messages {
            if let Err(error) = fold(&mut batch, &message.subject, &message.payload) {
                quarantine(&mut batch, message, &anyhow::Error::new(error));
            }
            // Reading a full batch takes milliseconds; whoever delivers meanwhile should not notice.
            tokio::task::yield_now().await;
        }
        let (exhausted, taken) = (Exhausted::of(&batch), taken(&batch));
        let over = self.commit(batch).await?;
        // Of a post that was taken nothing else is to be repeated: what is recorded by now says so.
        self.poster.take_back_others(&taken).await;
        self.poster.take_back_all(over).await;
        // After the commit: whoever hears of one finds it recorded. Before the acknowledgement: else it may never be told.
        self.exhausted.tell(exhausted).await.map_err(NotWritten::Untold)?;
        for message in messages {
            message.ack().await;
        }
        Ok(())
    }

    /// Says which retries that the batch speaks of are not to be made any more.
    async fn commit(&self, batch: Batch) -> Result<Vec<DeliveryRecord>, NotWritten> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        timeout(WRITE_TIMEOUT, record(&self.store, batch)).await.map_err(|_| NotWritten::Timeout)?.map_err(Into::into)
    }
}

/// The posts that a batch says were taken.
fn taken(batch: &Batch) -> Vec<ActivityId> {
    let is_taken = |it: &&DeliveryRecord| it.surface == Surface::Ecg && it.state == DeliveryState::Succeeded;
    batch.deliveries.iter().filter(is_taken).map(|it| ActivityId(it.id.0)).collect()
}

fn quarantine(batch: &mut Batch, message: &Message, error: &anyhow::Error) {
    let error = format!("{error:#}");
    let subject = message.subject.as_str();
    tracing::error!(message.subject = subject, message.bytes = message.payload.len(), error, "put in quarantine");
    put_aside(batch, subject, &message.payload, error, clock::now());
}
