//! The two ways a stream takes messages: one, or an atomic batch (DESIGN 3.7).
//!
//! The client library has no call for a batch: its messages carry a batch id and a number, the last one asks for the
//! commit and gets the acknowledgement of all.

use std::time::Duration;

use async_nats::header::{HeaderName, HeaderValue};
use async_nats::{Client, HeaderMap, Request};
use serde::Deserialize;

use crate::message::Outgoing;
use crate::publish::Ack;

/// Messages of one atomic batch; the server refuses more.
pub(crate) const BATCH_MESSAGES_MAX: usize = 1000;

/// JetStream: the batch holds a message id that the stream knows; nothing was stored.
pub(crate) const BATCH_HAS_REPEATS: u64 = 10201;
/// JetStream: maximum bytes exceeded.
pub(crate) const STREAM_FULL: u64 = 10077;
/// JetStream: the subject's last message is another one than was expected.
pub(crate) const WRONG_LAST_SEQUENCE: u64 = 10071;
/// JetStream: insufficient storage resources available.
pub(crate) const STORAGE_FULL: u64 = 10047;

const BATCH_ID: HeaderName = HeaderName::from_static("Nats-Batch-Id");
const BATCH_SEQUENCE: HeaderName = HeaderName::from_static("Nats-Batch-Sequence");
const BATCH_COMMIT: HeaderName = HeaderName::from_static("Nats-Batch-Commit");

/// Whether a refusal is one that passes by itself: no leader yet, too many batches open, server shutting down; or on a
/// replicated stream another message under the same id (10158), or on the same subject (10164), is under way.
pub(crate) fn is_passing(code: u64) -> bool {
    matches!(code, 10008 | 10009 | 10076 | 10158 | 10164 | 10167 | 10208 | 10210 | 10211 | 503)
}

/// A message was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommitError {
    #[error("JetStream refused: {description} (error {code})")]
    Refused { code: u64, description: String },
    #[error("a message of {bytes} bytes is too large")]
    TooLarge { bytes: usize },
    #[error("no acknowledgement")]
    Unanswered(#[source] async_nats::Error),
    #[error("the acknowledgement is not one: {0}")]
    Malformed(&'static str),
}

/// What the server answers to a publish.
#[derive(Deserialize)]
struct PubAck<'a> {
    #[serde(default, borrow)]
    stream: Option<std::borrow::Cow<'a, str>>,
    #[serde(default)]
    duplicate: bool,
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    count: u64,
    #[serde(default)]
    error: Option<PubError>,
}

#[derive(Deserialize)]
struct PubError {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

/// Publishes one message and waits for its acknowledgement.
pub(crate) async fn single(
    client: &Client,
    stream: &'static str,
    message: &Outgoing,
    timeout: Duration,
) -> Result<Ack, CommitError> {
    check_size(client, message)?;
    let reply = request(client, message, message.headers([]), timeout).await?;
    let ack = read_ack(&reply, stream)?;
    Ok(Ack { duplicate: ack.duplicate, sequence: ack.seq })
}

/// Publishes messages as one atomic batch and waits for the acknowledgement of all: one each, in order.
pub(crate) async fn batch(
    client: &Client,
    stream: &'static str,
    messages: &[&Outgoing],
    timeout: Duration,
) -> Result<Vec<Ack>, CommitError> {
    // Over the whole of it: without a connection the client's queue fills, and sending waits.
    match tokio::time::timeout(timeout, send_batch(client, stream, messages, timeout)).await {
        Ok(result) => result,
        Err(elapsed) => Err(CommitError::Unanswered(elapsed.into())),
    }
}

async fn send_batch(
    client: &Client,
    stream: &'static str,
    messages: &[&Outgoing],
    timeout: Duration,
) -> Result<Vec<Ack>, CommitError> {
    let id = HeaderValue::from(format!("{:032x}", rand::random::<u128>()));
    for message in messages {
        check_size(client, message)?;
    }
    for (index, message) in messages.iter().enumerate() {
        let number = index as u64 + 1;
        let place = [(BATCH_ID, id.clone()), (BATCH_SEQUENCE, HeaderValue::from(number))];
        if index + 1 < messages.len() {
            client
                .publish_with_headers(message.subject.clone(), message.headers(place), message.payload.clone())
                .await
                .map_err(|error| CommitError::Unanswered(error.into()))?;
            continue;
        }
        let headers = message.headers(place.into_iter().chain([(BATCH_COMMIT, HeaderValue::from(1_u64))]));
        let reply = request(client, message, headers, timeout).await?;
        let ack = read_ack(&reply, stream)?;
        if ack.count != number || ack.seq < number {
            return Err(CommitError::Malformed("it counts other messages than were sent"));
        }
        // A batch lies in the stream in one piece, and the acknowledgement names its end.
        let before = ack.seq - number;
        return Ok((1..=number).map(|place| Ack { duplicate: false, sequence: before + place }).collect());
    }
    Ok(Vec::new())
}

/// What the server would refuse by cutting the connection, or the client without saying how large it was.
fn check_size(client: &Client, message: &Outgoing) -> Result<(), CommitError> {
    let bytes = message.size();
    if bytes > client.max_payload() { Err(CommitError::TooLarge { bytes }) } else { Ok(()) }
}

async fn request(
    client: &Client,
    message: &Outgoing,
    headers: HeaderMap,
    timeout: Duration,
) -> Result<bytes::Bytes, CommitError> {
    let request = Request::new().payload(message.payload.clone()).headers(headers).timeout(None);
    // Over the sending too: without a connection the client's queue fills, and sending waits.
    let reply = tokio::time::timeout(timeout, client.send_request(message.subject.clone(), request))
        .await
        .map_err(|elapsed| CommitError::Unanswered(elapsed.into()))?
        .map_err(|error| CommitError::Unanswered(error.into()))?;
    Ok(reply.payload)
}

fn read_ack<'a>(reply: &'a [u8], stream: &'static str) -> Result<PubAck<'a>, CommitError> {
    let ack: PubAck<'a> = serde_json::from_slice(reply).map_err(|_| CommitError::Malformed("it is not JSON"))?;
    if let Some(PubError { err_code: code, description }) = ack.error {
        return Err(CommitError::Refused { code, description });
    }
    if ack.stream.as_deref() != Some(stream) {
        return Err(CommitError::Malformed("another stream sent it"));
    }
    Ok(ack)
}
