//! Many messages of a subject with one request.
//!
//! The client library has no call for it: the server answers a request for a batch with one message each, and one more
//! that says that it was all (ADR-31).

use std::time::Duration;

use async_nats::jetstream::message::StreamMessage;
use bytes::Bytes;
use futures::StreamExt as _;

use crate::connect::{Bus, BusError};
use crate::streams::StreamName;

/// Messages of one page, where they are small.
pub(crate) const MESSAGES_MAX: u32 = 500;
/// How long the next message of a page may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// At most `limit` messages of `stream` under `subjects`, from a sequence on, in order; the first ones if there are more. Any replica may
/// answer, and lack the newest.
///
/// # Errors
/// If no replica answers, or not to the end.
pub(crate) async fn read_page(
    bus: &Bus,
    stream: StreamName,
    subjects: &str,
    from: u64,
    limit: u32,
) -> Result<Vec<StreamMessage>, BusError> {
    let failed = |error: async_nats::Error| BusError::jetstream("reading a page", error);
    let request = serde_json::json!({ "seq": from, "next_by_subj": subjects, "batch": limit });
    let inbox = bus.client.new_inbox();
    let mut answers = bus.client.subscribe(inbox.clone()).await.map_err(|error| failed(error.into()))?;
    let subject = format!("$JS.API.DIRECT.GET.{}", stream.as_str());
    let payload = Bytes::from(request.to_string());
    bus.client.publish_with_reply(subject, inbox, payload).await.map_err(|error| failed(error.into()))?;
    let mut page = Vec::new();
    loop {
        let answer = tokio::time::timeout(PATIENCE, answers.next()).await.map_err(|elapsed| failed(elapsed.into()))?;
        let answer = answer.ok_or_else(|| failed("the connection is closed".into()))?;
        match answer.status.map(|status| status.as_u16()) {
            None => page.push(StreamMessage::try_from(answer).map_err(|error| failed(error.into()))?),
            // The end of the batch, or nothing there.
            Some(204 | 404) => return Ok(page),
            Some(status) => return Err(failed(format!("the server answered {status}").into())),
        }
    }
}
