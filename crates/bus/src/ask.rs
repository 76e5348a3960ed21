//! Questions between services that need no record: asked and answered at once, or not at all (NATS request and reply).
//!
//! One so far: which events have been seen before (SPEC 4.7, DESIGN 3.6). The dispatcher asks once per routed batch, the
//! activity log, which has the table, answers; when nobody does in time, routing goes on without.

use std::time::Duration;

use async_nats::{Request, Subject};
use futures::StreamExt as _;
use slipstream_core::contract::{SeenAnswer, SeenQuestion};

use crate::connect::{Bus, BusError};

/// `ask.seen`; the replicas of whoever answers share the questions.
const SEEN: &str = "ask.seen";
const ANSWERERS: &str = "activity-log";

/// There is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody answers such questions now, or not in time.
    #[error("nobody answered")]
    Unanswered(#[source] async_nats::Error),
    /// What came back is not an answer.
    #[error("not an answer")]
    Malformed(#[source] serde_json::Error),
}

/// A question to answer.
#[derive(Debug)]
pub struct SeenRequest {
    /// Which events are asked for.
    pub questions: Vec<SeenQuestion>,
    client: async_nats::Client,
    reply: Subject,
}

impl SeenRequest {
    /// Answers with those of the events that were seen before. Best effort: whoever asked goes on without.
    pub async fn answer(&self, seen: &[SeenAnswer]) {
        let payload = serde_json::to_vec(seen).expect("keys, times and numbers serialise");
        let _ = self.client.publish(self.reply.clone(), payload.into()).await;
    }
}

impl Bus {
    /// Which of these events were seen before; in no order.
    ///
    /// # Errors
    /// When nobody answers within `patience`.
    pub async fn ask_seen(&self, questions: &[SeenQuestion], patience: Duration) -> Result<Vec<SeenAnswer>, AskError> {
        let payload = serde_json::to_vec(questions).expect("keys, times and numbers serialise");
        let request = Request::new().payload(payload.into()).timeout(Some(patience));
        // Over the sending too: without a connection the client's queue fills, and sending waits.
        let reply = tokio::time::timeout(patience, self.client.send_request(SEEN, request))
            .await
            .map_err(|elapsed| AskError::Unanswered(elapsed.into()))?
            .map_err(|error| AskError::Unanswered(error.into()))?;
        serde_json::from_slice(&reply.payload).map_err(AskError::Malformed)
    }

    /// Questions of [`Bus::ask_seen`], one after another; what is not one is passed over. Ends with the connection.
    ///
    /// # Errors
    /// When the connection is closed for good.
    pub async fn seen_requests(&self) -> Result<impl futures::Stream<Item = SeenRequest> + Send + use<>, BusError> {
        let requests = self.client.queue_subscribe(SEEN, ANSWERERS.to_owned()).await;
        let requests = requests.map_err(|error| BusError::jetstream("listening for questions", error))?;
        let client = self.client.clone();
        Ok(requests.filter_map(move |message| {
            let request = message.reply.and_then(|reply| {
                let questions = serde_json::from_slice(&message.payload).ok()?;
                Some(SeenRequest { questions, client: client.clone(), reply })
            });
            std::future::ready(request)
        }))
    }
}
