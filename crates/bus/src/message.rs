//! A message on its way to the bus.

use async_nats::Subject;
use async_nats::header::{
    HeaderMap, HeaderName, HeaderValue, NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_ID, NATS_SCHEDULE,
    NATS_SCHEDULE_TARGET,
};
use bytes::Bytes;
use slipstream_core::contract::{Meta, header};
use slipstream_core::limits::SCHEDULE_MILLIS_MAX;
use slipstream_core::timestamp::Timestamp;
use slipstream_core::trace::TraceContext;

pub(crate) const META: HeaderName = HeaderName::from_static(header::META);
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static(header::TRACEPARENT);
pub(crate) const DUE_SUBJECT: HeaderName = HeaderName::from_static(header::DUE_SUBJECT);

/// A message to publish.
///
/// Header values are made from our own types only. The client panics on a line break in one, so there is no way to
/// hand in text (DEPENDENCIES 5.4).
#[derive(Debug, Clone)]
pub struct Outgoing {
    pub(crate) subject: Subject,
    /// A short list and not a map: it becomes one only when it is sent, with what the commit adds.
    headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) payload: Bytes,
}

impl Outgoing {
    /// A message without headers.
    pub fn new(subject: Subject, payload: Bytes) -> Self {
        Self { subject, headers: Vec::with_capacity(4), payload }
    }

    /// Its bytes.
    pub const fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// Lets the stream recognise a repeat: within its duplicate window a second message with this id is not stored.
    ///
    /// `id` is built from keys, ids and numbers of ours.
    #[must_use]
    pub fn id(mut self, id: &str) -> Self {
        self.headers.push((NATS_MESSAGE_ID, own_text(id)));
        self
    }

    /// Stores it only while the message with this number is the last of its subject; 0 means that there is none.
    #[must_use]
    pub fn expect_last(mut self, sequence: u64) -> Self {
        self.headers.push((NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, HeaderValue::from(sequence)));
        self
    }

    /// What the engine needs to know beside the bytes.
    #[must_use]
    pub fn meta(mut self, meta: &Meta) -> Self {
        self.headers.push((META, own_text(&meta.to_string())));
        self
    }

    /// The trace this message belongs to.
    #[must_use]
    pub fn trace(mut self, trace: Option<TraceContext>) -> Self {
        if let Some(trace) = trace {
            self.headers.push((TRACEPARENT, own_text(&trace.to_string())));
        }
        self
    }

    /// Where a held event goes when it is due.
    #[must_use]
    pub fn due_subject(mut self, subject: &Subject) -> Self {
        self.headers.push((DUE_SUBJECT, own_text(subject)));
        self
    }

    /// Makes it a schedule: the server keeps it under its subject and publishes it to `target` at `at`, never before,
    /// and up to 250 ms after (DESIGN 3.3). A later schedule on the same subject replaces it.
    ///
    /// Times beyond 100 years from `now` are brought back to that.
    #[must_use]
    pub fn at(mut self, at: Timestamp, target: &Subject, now: Timestamp) -> Self {
        let latest = now.as_millis().saturating_add(SCHEDULE_MILLIS_MAX);
        let at = Timestamp::from_millis(at.as_millis().min(latest));
        self.headers.push((NATS_SCHEDULE, own_text(&format!("@at {at}"))));
        self.headers.push((NATS_SCHEDULE_TARGET, own_text(target)));
        self
    }

    /// The headers, with what the commit adds.
    pub(crate) fn headers(&self, added: impl IntoIterator<Item = (HeaderName, HeaderValue)>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in self.headers.iter().cloned().chain(added) {
            headers.insert(name, value);
        }
        headers
    }

    /// Bytes that this message takes on the wire, roughly.
    pub(crate) fn size(&self) -> usize {
        self.payload.len() + self.subject.len() + 200
    }
}

/// A header value made of text that this workspace wrote: printable ASCII.
fn own_text(text: &str) -> HeaderValue {
    text.parse().expect("text of our own making has no line breaks")
}
