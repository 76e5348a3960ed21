//! Consuming: messages of a durable consumer, handed out until they are acknowledged.

use std::time::Duration;

use async_nats::jetstream::consumer::pull;
use async_nats::{Client, Subject};
use bytes::Bytes;
use futures::StreamExt as _;
use slipstream_core::contract::Meta;
use slipstream_core::trace::TraceContext;

use crate::connect::{Bus, BusError};
use crate::message::{DUE_SUBJECT, META, TRACEPARENT};
use crate::streams::{ConsumerName, Lease};

/// How long the server keeps a pull request open.
const PULL_EXPIRES: Duration = Duration::from_secs(30);
/// How often an idle server says that it is there; two missed ones and we ask anew.
const PULL_HEARTBEAT: Duration = Duration::from_secs(2);
/// Pause before asking anew after an error.
const REOPEN_PAUSE: Duration = Duration::from_millis(100);

/// A durable consumer's messages. Never ends: after an error it opens the consumer again.
pub struct Consumer {
    bus: Bus,
    name: ConsumerName,
    lease: Lease,
    prefetch: usize,
    messages: Option<Box<pull::Stream>>,
}


impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Consumer {
    pub(crate) async fn open(bus: &Bus, name: ConsumerName, lease: Lease) -> Result<Self, BusError> {
        let mut consumer = Self { bus: bus.clone(), name, lease, prefetch: 256, messages: None };
        consumer.reopen().await?;
        Ok(consumer)
    }

    /// Sets how many messages the server may send ahead. Default: 256.
    #[must_use]
    pub fn prefetch(mut self, prefetch: usize) -> Self {
        self.prefetch = prefetch;
        self.messages = None; // asked for anew with the next message
        self
    }

    async fn reopen(&mut self) -> Result<(), BusError> {
        let durable = self.bus.durable(self.name, self.lease).await?;
        let messages = durable
            .stream()
            .max_messages_per_batch(self.prefetch)
            .expires(PULL_EXPIRES)
            .heartbeat(PULL_HEARTBEAT)
            .messages()
            .await
            .map_err(|error| BusError::jetstream("pulling from a consumer", error))?;
        self.messages = Some(Box::new(messages));
        Ok(())
    }

    /// The next message; waits for it as long as it takes. Cancelling loses nothing.
    pub async fn next(&mut self) -> Message {
        loop {
            let Some(messages) = &mut self.messages else {
                if let Err(error) = self.reopen().await {
                    tracing::warn!(consumer = %self.name.durable(), error = %chain(&error), "cannot consume");
                    tokio::time::sleep(REOPEN_PAUSE).await;
                }
                continue;
            };
            match messages.next().await {
                Some(Ok(message)) => return Message::new(&self.bus.client, message),
                Some(Err(error)) => {
                    tracing::debug!(consumer = %self.name.durable(), error = %chain(&error), "consuming again");
                    self.messages = None;
                }
                None => self.messages = None,
            }
        }
    }

    /// Gives back what the server has sent ahead, so that it goes to another replica at once and not after its lease.
    /// The consumer may be used on; meant for the end.
    pub async fn hand_back(&mut self) {
        const STILL_UNDER_WAY: Duration = Duration::from_millis(20);
        while let Some(messages) = &mut self.messages {
            match tokio::time::timeout(STILL_UNDER_WAY, messages.next()).await {
                Ok(Some(Ok(message))) => Message::new(&self.bus.client, message).into_ack().hand_back().await,
                _ => self.messages = None,
            }
        }
        self.bus.flush().await;
    }

    /// Waits for one message, then takes what else is there within `linger`, up to `max`. Cancelling may drop
    /// messages taken so far: they come again after their lease.
    pub async fn next_batch(&mut self, max: usize, linger: Duration) -> Vec<Message> {
        let mut batch = vec![self.next().await];
        let deadline = tokio::time::Instant::now() + linger;
        while batch.len() < max {
            match tokio::time::timeout_at(deadline, self.next()).await {
                Ok(message) => batch.push(message),
                Err(_) => break,
            }
        }
        batch
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
    ack: Acknowledger,
}

impl Message {
    fn new(client: &Client, message: async_nats::jetstream::Message) -> Self {
        let message = message.message;
        let header = |name| message.headers.as_ref().and_then(|headers| headers.get(name));
        let meta = header(META).and_then(|value| value.as_str().parse().ok());
        let trace = header(TRACEPARENT).and_then(|value| value.as_str().parse().ok());
        let due_subject = header(DUE_SUBJECT).map(|value| Subject::from(value.as_str()));
        let ack = Acknowledger { client: client.clone(), reply: message.reply };
        Self { subject: message.subject, payload: message.payload, meta, trace, due_subject, ack }
    }

    /// Acknowledges: it will not come again. Best effort: a lost acknowledgement brings a repeat, never a loss.
    pub async fn ack(&self) {
        self.ack.ack().await;
    }

    /// Splits off what acknowledges it, to keep when the bytes are gone.
    pub fn into_ack(self) -> Acknowledger {
        self.ack
    }
}

/// What acknowledges a message.
#[derive(Debug)]
pub struct Acknowledger {
    client: Client,
    reply: Option<Subject>,
}

impl Acknowledger {
    /// See [`Message::ack`].
    pub async fn ack(&self) {
        self.answer(b"+ACK").await;
    }

    /// Gives the message back: it comes again at once, here or at another replica.
    pub async fn hand_back(&self) {
        self.answer(b"-NAK").await;
    }

    async fn answer(&self, answer: &'static [u8]) {
        if let Some(reply) = &self.reply {
            // Fails only when the connection is closed for good; the message then comes again elsewhere.
            let _ = self.client.publish(reply.clone(), Bytes::from_static(answer)).await;
        }
    }
}
