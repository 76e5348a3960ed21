//! What is on the bus, read message by message from the streams themselves.

use async_nats::HeaderMap;
use bytes::Bytes;
use serde_json::Value;
use slipstream_bus::StreamName;
use slipstream_core::contract::{Meta, header};
use slipstream_core::trace::TraceContext;

use crate::world::World;

pub(crate) struct Stored {
    pub(crate) subject: String,
    headers: Option<HeaderMap>,
    pub(crate) payload: Bytes,
}

impl World {
    /// Everything in a stream, in order.
    pub(crate) async fn stored(&self, stream: StreamName) -> Vec<Stored> {
        let jetstream = async_nats::jetstream::new(self.nats.client().await);
        let stream = jetstream.get_stream(stream.as_str()).await.expect("the stream");
        let state = &stream.cached_info().state;
        let mut stored = Vec::new();
        if state.messages > 0 {
            for sequence in state.first_sequence..=state.last_sequence {
                let message = stream.get_raw_message(sequence).await.expect("the message");
                let headers = Some(message.headers);
                stored.push(Stored { subject: message.subject.to_string(), headers, payload: message.payload });
            }
        }
        stored
    }

    /// How many messages a stream has.
    pub(crate) async fn count_stored(&self, stream: StreamName) -> u64 {
        let jetstream = async_nats::jetstream::new(self.nats.client().await);
        jetstream.get_stream(stream.as_str()).await.expect("the stream").cached_info().state.messages
    }

    /// The only message in a stream.
    #[track_caller]
    pub(crate) fn only(&self, stream: StreamName) -> impl Future<Output = Stored> {
        let caller = std::panic::Location::caller();
        async move {
            let mut stored = self.stored(stream).await;
            let subjects: Vec<_> = stored.iter().map(|message| message.subject.clone()).collect();
            assert_eq!(stored.len(), 1, "{caller}: {subjects:?}");
            stored.remove(0)
        }
    }

    /// The subjects of everything in a stream, in order.
    pub(crate) async fn subjects(&self, stream: StreamName) -> Vec<String> {
        self.stored(stream).await.into_iter().map(|message| message.subject).collect()
    }

    /// Checks that no stream has anything.
    pub(crate) async fn expect_nothing_stored(&self) {
        for stream in StreamName::ALL {
            assert_eq!(self.subjects(stream).await, [""; 0], "{stream:?}");
        }
    }
}

impl Stored {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.payload).expect("events are stored as JSON")
    }

    /// The payload as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.payload).expect("events are stored as UTF-8")
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.as_ref()?.get(name).map(async_nats::HeaderValue::as_str)
    }

    pub(crate) fn meta(&self) -> Meta {
        self.header(header::META).expect("a Slip-Meta header").parse().expect("one of ours")
    }

    pub(crate) fn trace(&self) -> TraceContext {
        self.header(header::TRACEPARENT).expect("a traceparent header").parse().expect("a traceparent")
    }

    /// The key by which the stream recognises a repeat.
    pub(crate) fn message_id(&self) -> &str {
        self.header("Nats-Msg-Id").expect("a message id")
    }

    pub(crate) fn header_names(&self) -> Vec<String> {
        let headers = self.headers.iter().flat_map(HeaderMap::iter);
        let mut names: Vec<_> = headers.map(|(name, _)| name.to_string()).collect();
        names.sort();
        names
    }
}
