//! Consuming: messages of a durable consumer, handed out until they are acknowledged.

mod pull;

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, Subject};
use bytes::Bytes;
use slipstream_core::contract::Meta;
use slipstream_core::trace::TraceContext;

use self::pull::Pull;
use crate::connect::{Bus, BusError};
use crate::message::{DUE_SUBJECT, META, TRACEPARENT};
use crate::streams::{ConsumerName, Lease};

/// Pause before asking anew after an error.
const REOPEN_PAUSE: Duration = Duration::from_millis(100);

/// A durable consumer's messages. Never ends: after an error it opens the consumer again.
pub struct Consumer {
    bus: Bus,
    /// Shared by all messages to acknowledge them: a clone of the client itself costs several allocations.
    client: Arc<Client>,
    name: ConsumerName,
    lease: Lease,
    prefetch: usize,
    pull: Option<Pull>,
    /// What [`Consumer::next_batch`] has taken and not yet handed out.
    taken: Vec<Message>,
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Consumer {
    pub(crate) async fn open(bus: &Bus, name: ConsumerName, lease: Lease) -> Result<Self, BusError> {
        let client = Arc::new(bus.client.clone());
        let mut consumer = Self { bus: bus.clone(), client, name, lease, prefetch: 256, pull: None, taken: Vec::new() };
        consumer.reopen().await?;
        Ok(consumer)
    }

    /// Sets how many messages the server may send ahead. Default: 256. Meant for before the first message.
    #[must_use]
    pub fn prefetch(mut self, prefetch: usize) -> Self {
        self.prefetch = prefetch;
        if let Some(pull) = &mut self.pull {
            pull.set_prefetch(prefetch);
        }
        self
    }

    /// Makes the durable consumer, in case it is not there, and begins to pull.
    async fn reopen(&mut self) -> Result<(), BusError> {
        self.bus.ensure_durable(self.name, self.lease).await?;
        self.pull = Some(Pull::open(&self.bus.client, self.name, self.prefetch).await?);
        Ok(())
    }

    /// The next message; waits for it as long as it takes. Cancelling loses nothing.
    pub async fn next(&mut self) -> Message {
        loop {
            let Some(pull) = &mut self.pull else {
                if let Err(error) = self.reopen().await {
                    tracing::warn!(consumer = %self.name.durable(), error = %chain(&error), "cannot consume");
                    tokio::time::sleep(REOPEN_PAUSE).await;
                }
                continue;
            };
            match pull.next().await {
                Ok(message) => return Message::new(&self.client, message),
                Err(ended) => {
                    tracing::debug!(consumer = %self.name.durable(), %ended, "consuming again");
                    self.pull = None;
                }
            }
        }
    }

    /// Waits for one message, then takes what else is there within `linger`, up to `max`. Cancelling loses nothing.
    pub async fn next_batch(&mut self, max: usize, linger: Duration) -> Vec<Message> {
        if self.taken.is_empty() {
            let first = self.next().await;
            self.taken.push(first);
        }
        let deadline = tokio::time::Instant::now() + linger;
        while self.taken.len() < max {
            match tokio::time::timeout_at(deadline, self.next()).await {
                Ok(message) => self.taken.push(message),
                Err(_) => break,
            }
        }
        std::mem::take(&mut self.taken)
    }

    /// Gives back what the server has sent ahead, so that it goes to another replica soon and not after its lease.
    /// Meant for the end.
    pub async fn hand_back(&mut self) {
        for message in std::mem::take(&mut self.taken) {
            message.into_ack().hand_back().await;
        }
        if let Some(pull) = self.pull.take() {
            for message in pull.close().await {
                Message::new(&self.client, message).into_ack().hand_back().await;
            }
        }
        self.bus.flush().await;
    }
}

/// An error and what caused it, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// A message handed out, to be acknowledged when its effect is durable.
#[derive(Debug)]
pub struct Message {
    /// Its subject.
    pub subject: Subject,
    /// Its bytes.
    pub payload: Bytes,
    /// What the engine knows beside the bytes; none if the header is missing or not ours.
    pub meta: Option<Meta>,
    /// The trace of the step that published it.
    pub trace: Option<TraceContext>,
    /// Where it goes when it is due; on held events only.
    pub due_subject: Option<Subject>,
    /// Its place in the stream; none if the server's reply subject does not tell.
    pub sequence: Option<u64>,
    /// Whether the server has handed it out before: to a replica that did not acknowledge it, or not in time.
    pub is_redelivered: bool,
    ack: Acknowledger,
}

impl Message {
    fn new(client: &Arc<Client>, message: async_nats::Message) -> Self {
        let header = |name| message.headers.as_ref().and_then(|headers| headers.get(name));
        let meta = header(META).and_then(|value| value.as_str().parse().ok());
        let trace = header(TRACEPARENT).and_then(|value| value.as_str().parse().ok());
        let due_subject = header(DUE_SUBJECT).map(|value| Subject::from(value.as_str()));
        let place = message.reply.as_deref().and_then(place_in);
        let (sequence, is_redelivered) = (place.map(|it| it.sequence), place.is_some_and(|it| it.deliveries > 1));
        let ack = Acknowledger { to: message.reply.map(|reply| (Arc::clone(client), reply)) };
        Self {
            subject: message.subject,
            payload: message.payload,
            meta,
            trace,
            due_subject,
            sequence,
            is_redelivered,
            ack,
        }
    }

    /// Acknowledges: it will not come again. Best effort: a lost acknowledgement brings a repeat, never a loss.
    pub async fn ack(&self) {
        self.ack.ack().await;
    }

    /// Asks for the whole lease anew: it is still being worked on.
    pub async fn progress(&self) {
        self.ack.answer(b"+WPI").await;
    }

    /// See [`Acknowledger::hand_back`].
    pub async fn hand_back(&self) {
        self.ack.hand_back().await;
    }

    /// Splits off what acknowledges it, to keep when the bytes are gone.
    pub fn into_ack(self) -> Acknowledger {
        self.ack
    }
}

/// What a reply subject says of its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    deliveries: u64,
    sequence: u64,
}

/// Reads a reply subject: `$JS.ACK.{stream}.{consumer}.{deliveries}.{sequence}.…`, or with a domain and an account's
/// hash before the stream (ADR-15).
fn place_in(reply: &str) -> Option<Place> {
    let tokens: Vec<_> = reply.split('.').collect();
    let at = match tokens.len() {
        9 => 4,
        11.. => 6,
        _ => return None,
    };
    Some(Place { deliveries: tokens[at].parse().ok()?, sequence: tokens[at + 1].parse().ok()? })
}

/// What acknowledges a message.
#[derive(Debug)]
pub struct Acknowledger {
    to: Option<(Arc<Client>, Subject)>,
}

impl Acknowledger {
    /// Acknowledges nothing: of a message that no server handed out.
    pub const fn nobody() -> Self {
        Self { to: None }
    }

    /// See [`Message::ack`].
    pub async fn ack(&self) {
        self.answer(b"+ACK").await;
    }

    /// Gives the message back: it comes again in half a second, when whoever gives it back has stopped pulling.
    pub async fn hand_back(&self) {
        self.answer(br#"-NAK {"delay": 500000000}"#).await;
    }

    async fn answer(&self, answer: &'static [u8]) {
        if let Some((client, reply)) = &self.to {
            // Fails only when the connection is closed for good; the message then comes again elsewhere.
            let _ = client.publish(reply.clone(), Bytes::from_static(answer)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_subject_tells_the_place_in_the_stream() {
        let place = Some(Place { deliveries: 2, sequence: 42 });
        assert_eq!(place_in("$JS.ACK.EVENTS_0.route-normal.2.42.7.1772443800000000000.3"), place);
        assert_eq!(place_in("$JS.ACK._.hash.EVENTS_0.route-normal.2.42.7.1772443800000000000.3.x"), place);
        assert_eq!(place_in("_INBOX.abc"), None);
    }
}
