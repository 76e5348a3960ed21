//! Publishing: a message counts when the right stream has acknowledged it (DESIGN 3.7, THREATS 8).
//!
//! On a single server every message costs a sync of its own, unless many are committed as one atomic batch. So a
//! [`Publisher`] is one task with a queue: while a commit is under way the next callers' messages gather, and go as
//! one batch as soon as it is back. Nobody waits for company: a lone message goes alone, at once. With three replicas
//! the servers group their syncs themselves, and messages go one by one, all in flight together.
//!
//! What correctness does not depend on: the grouping. A group that is refused whole goes again message by message.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use crate::commit::{self, CommitError};
use crate::message::Outgoing;
use crate::streams::StreamName;

/// Messages of one group commit; the server takes at most 1000 in a batch.
const GROUP_MESSAGES_MAX: usize = 500;
/// Bytes of one group commit.
const GROUP_BYTES_MAX: usize = 2 << 20;
/// Callers that may wait in a publisher's queue; the next one waits to get in.
const QUEUE_LEN: usize = 4096;
/// Group commits under way at once: one syncs while the next is sent.
const COMMITS_IN_FLIGHT: usize = 2;
/// How long one try waits for its acknowledgement before it is repeated with the same message ids.
const TRY_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause before a repeat when nobody answers for the stream (a restart, a leader's election).
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// The stream has the message on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// Whether the stream already had a message with this id; nothing was stored then.
    pub duplicate: bool,
}

/// The message may or may not be stored; a repeat with the same id is harmless.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The stream refuses: it is full.
    #[error("stream {stream} is full")]
    Full {
        /// Which stream.
        stream: &'static str,
    },
    /// The stream refuses for another reason.
    #[error("stream {stream} refused: {description} (error {code})")]
    Refused {
        /// Which stream.
        stream: &'static str,
        /// JetStream's error code.
        code: u64,
        /// Its own words.
        description: String,
    },
    /// No acknowledgement within the deadline.
    #[error("stream {stream} did not acknowledge in time")]
    Unanswered {
        /// Which stream.
        stream: &'static str,
    },
    /// More messages than fit one commit.
    #[error("{count} messages do not fit one commit")]
    TooMany {
        /// How many.
        count: usize,
    },
}

type Reply = oneshot::Sender<Result<Vec<Ack>, PublishError>>;

/// Messages that one caller wants stored, all or none.
struct Request {
    messages: Vec<Outgoing>,
    reply: Reply,
}

/// Publishes to one stream. Cheap to clone; clones share the queue.
#[derive(Debug, Clone)]
pub struct Publisher {
    queue: mpsc::Sender<Request>,
}

impl Publisher {
    pub(crate) fn start(client: Client, stream: StreamName, deadline: Duration, group: bool) -> Self {
        let (queue, requests) = mpsc::channel(QUEUE_LEN);
        let stream = Target { client, stream: stream.as_str(), deadline };
        // Ends when the last publisher is dropped.
        tokio::spawn(commit_loop(Arc::new(stream), requests, group));
        Self { queue }
    }

    /// Stores one message.
    ///
    /// # Errors
    /// See [`PublishError`]: it may be stored all the same, unless the stream refused.
    pub async fn publish(&self, message: Outgoing) -> Result<Ack, PublishError> {
        let acks = self.publish_all(vec![message]).await?;
        Ok(acks[0])
    }

    /// Stores all messages or none of them; at most 1000. One acknowledgement per message, in order.
    ///
    /// # Errors
    /// See [`PublishError`]. If some message was already stored (a repeat), the rest are stored one by one: then an
    /// error may leave a part stored, and repeating the whole is harmless.
    pub async fn publish_all(&self, messages: Vec<Outgoing>) -> Result<Vec<Ack>, PublishError> {
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        if messages.len() > commit::BATCH_MESSAGES_MAX {
            return Err(PublishError::TooMany { count: messages.len() });
        }
        self.enqueue(messages).await
    }

    /// Stores many messages, of any number, with no promise to store all or none. For our own steps, which are
    /// repeated whole when they fail.
    ///
    /// # Errors
    /// The first error of any of them.
    pub async fn publish_each(&self, mut messages: Vec<Outgoing>) -> Result<(), PublishError> {
        while messages.len() > GROUP_MESSAGES_MAX {
            let rest = messages.split_off(GROUP_MESSAGES_MAX);
            self.publish_all(messages).await?;
            messages = rest;
        }
        self.publish_all(messages).await?;
        Ok(())
    }

    async fn enqueue(&self, messages: Vec<Outgoing>) -> Result<Vec<Ack>, PublishError> {
        let (reply, answer) = oneshot::channel();
        self.queue.send(Request { messages, reply }).await.expect("the commit loop lives as long as its publishers");
        answer.await.expect("the commit loop answers every request")
    }
}

/// Where a publisher publishes to, and how long it tries.
struct Target {
    client: Client,
    stream: &'static str,
    deadline: Duration,
}

async fn commit_loop(target: Arc<Target>, mut requests: mpsc::Receiver<Request>, group: bool) {
    let in_flight = Arc::new(Semaphore::new(if group { COMMITS_IN_FLIGHT } else { QUEUE_LEN }));
    while let Some(first) = requests.recv().await {
        let permit = Arc::clone(&in_flight).acquire_owned().await.expect("the semaphore is never closed");
        let requests = if group { gather(first, &mut requests) } else { vec![first] };
        let target = Arc::clone(&target);
        tokio::spawn(async move {
            target.commit(requests).await;
            drop(permit);
        });
    }
}

/// Takes what has come in meanwhile, without waiting for more.
fn gather(first: Request, queue: &mut mpsc::Receiver<Request>) -> Vec<Request> {
    let size = |request: &Request| request.messages.iter().map(Outgoing::size).sum::<usize>();
    let (mut count, mut bytes) = (first.messages.len(), size(&first));
    let mut group = vec![first];
    while count < GROUP_MESSAGES_MAX && bytes < GROUP_BYTES_MAX {
        let Ok(next) = queue.try_recv() else { break };
        count += next.messages.len();
        bytes += size(&next);
        group.push(next);
    }
    group
}

impl Target {
    /// Commits the requests as one batch if possible, each by itself if not.
    async fn commit(&self, mut requests: Vec<Request>) {
        let count: usize = requests.iter().map(|request| request.messages.len()).sum();
        if requests.len() > 1 && count <= commit::BATCH_MESSAGES_MAX {
            let messages: Vec<_> = requests.iter().flat_map(|request| &request.messages).collect();
            match commit::batch(&self.client, self.stream, &messages, TRY_TIMEOUT).await {
                Ok(()) => {
                    for Request { messages, reply } in requests {
                        let _ = reply.send(Ok(vec![Ack { duplicate: false }; messages.len()]));
                    }
                    return;
                }
                // One caller's repeat, or one message the stream does not take, must not cost the others theirs.
                Err(error) => tracing::debug!(stream = self.stream, %error, "group commit goes on one by one"),
            }
        }
        let deadline = Instant::now() + self.deadline;
        if requests.len() == 1 {
            let Request { messages, reply } = requests.remove(0);
            let _ = reply.send(self.store(&messages, deadline).await);
            return;
        }
        let alone = requests.into_iter().map(|Request { messages, reply }| async move {
            let _ = reply.send(self.store(&messages, deadline).await);
        });
        futures::future::join_all(alone).await;
    }

    /// Stores one caller's messages, trying again until the deadline.
    async fn store(&self, messages: &[Outgoing], deadline: Instant) -> Result<Vec<Ack>, PublishError> {
        loop {
            let timeout = TRY_TIMEOUT.min(deadline.saturating_duration_since(Instant::now()));
            let result = match messages {
                [message] => commit::single(&self.client, self.stream, message, timeout).await.map(|ack| vec![ack]),
                many => self.store_together(many, timeout).await,
            };
            match result {
                Ok(acks) => return Ok(acks),
                Err(CommitError::Refused { code: commit::STREAM_FULL | commit::STORAGE_FULL, .. }) => {
                    return Err(PublishError::Full { stream: self.stream });
                }
                Err(CommitError::Refused { code, description }) if !commit::is_passing(code) => {
                    return Err(PublishError::Refused { stream: self.stream, code, description });
                }
                Err(error) if Instant::now() + RETRY_PAUSE >= deadline => {
                    tracing::warn!(stream = self.stream, %error, "a publish was not acknowledged in time");
                    return Err(PublishError::Unanswered { stream: self.stream });
                }
                Err(error) => {
                    tracing::debug!(stream = self.stream, %error, "publishing again");
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    /// As one batch; if some of them are repeats, as single messages, which say which.
    async fn store_together(&self, messages: &[Outgoing], timeout: Duration) -> Result<Vec<Ack>, CommitError> {
        match commit::batch(&self.client, self.stream, &messages.iter().collect::<Vec<_>>(), timeout).await {
            Ok(()) => Ok(vec![Ack { duplicate: false }; messages.len()]),
            Err(CommitError::Refused { code: commit::BATCH_HAS_REPEATS, .. }) => {
                let singles =
                    messages.iter().map(|message| commit::single(&self.client, self.stream, message, timeout));
                futures::future::try_join_all(singles).await
            }
            Err(error) => Err(error),
        }
    }
}
