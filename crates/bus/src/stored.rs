//! Events as streams keep them, read by their place or their subject.

use async_nats::Subject;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{LastRawMessageErrorKind, RawMessageErrorKind};
use bytes::Bytes;
use slipstream_core::contract::Meta;
use slipstream_core::ids::EventKey;
use slipstream_core::slug::Slug;
use slipstream_core::trace::TraceContext;

use crate::connect::{Bus, BusError};
use crate::held::Held;
use crate::message::{DUE_SUBJECT, META, TRACEPARENT};
use crate::streams::StreamName;
use crate::subject;

/// An event as `EVENTS` keeps it.
#[derive(Debug, Clone)]
pub struct StoredEvent {
    /// Its subject.
    pub subject: Subject,
    /// Its place in the stream.
    pub sequence: u64,
    /// Its forwarded form.
    pub payload: Bytes,
    /// What the engine knows beside the bytes.
    pub meta: Meta,
    /// The trace of its publish request.
    pub trace: Option<TraceContext>,
    /// Where it goes when it is due, if it is not.
    pub due_subject: Option<Subject>,
}

/// The text of a header.
pub(crate) fn header(message: &StreamMessage, name: impl async_nats::header::IntoHeaderName) -> Option<&str> {
    message.headers.get(name).map(async_nats::HeaderValue::as_str)
}

impl StoredEvent {
    /// None for a message that is not an event of ours.
    pub(crate) fn read(message: StreamMessage) -> Option<Self> {
        Some(Self {
            meta: header(&message, META)?.parse().ok()?,
            trace: header(&message, TRACEPARENT).and_then(|text| text.parse().ok()),
            due_subject: header(&message, DUE_SUBJECT).map(Subject::from),
            sequence: message.sequence,
            subject: message.subject,
            payload: message.payload,
        })
    }

    /// The held event that it is, if it is stored under `later.…`.
    pub fn into_held(self, key: EventKey) -> Option<Held> {
        let (lane, site) = subject::parse_later(&self.subject)?;
        let Self { payload, meta, trace, due_subject, .. } = self;
        Some(Held { site, key, lane, payload, meta, trace, due_subject: due_subject? })
    }
}

impl Bus {
    /// The event at `sequence` of `EVENTS`: its bytes; none if the stream does not keep it any more.
    ///
    /// # Errors
    /// If JetStream does not answer.
    pub async fn stored_event(&self, sequence: u64) -> Result<Option<StoredEvent>, BusError> {
        let failed = |error: async_nats::Error| BusError::jetstream("reading a stored event", error);
        let stream = self.jetstream.get_stream_no_info(StreamName::Events.as_str()).await;
        let stream = stream.map_err(|error| failed(error.into()))?;
        match stream.get_raw_message(sequence).await {
            Ok(message) => Ok(StoredEvent::read(message)),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(failed(error.into())),
        }
    }

    /// The event that `DEAD_LETTERS` keeps because one of its deliveries died; none if it does not. The subject is not
    /// the event's own.
    ///
    /// # Errors
    /// If JetStream does not answer.
    pub async fn dead_letter(&self, site: &Slug, key: &EventKey) -> Result<Option<StoredEvent>, BusError> {
        self.last_event(StreamName::DeadLetters, &subject::dead(site, key)).await
    }

    pub(crate) async fn last_event(
        &self,
        stream: StreamName,
        subject: &Subject,
    ) -> Result<Option<StoredEvent>, BusError> {
        let failed = |error: async_nats::Error| BusError::jetstream("reading a stored event", error);
        let stream = self.jetstream.get_stream_no_info(stream.as_str()).await;
        let stream = stream.map_err(|error| failed(error.into()))?;
        match stream.get_last_raw_message_by_subject(subject).await {
            Ok(message) => Ok(StoredEvent::read(message)),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(failed(error.into())),
        }
    }
}
