//! Publishing: a message counts when the right stream has acknowledged it (DESIGN 3.7, THREATS 8).
//!
//! Messages go one by one, all in flight together: the cheapest way there is, for us and for the server, as long as
//! an acknowledgement costs no sync of its own. On a single server that syncs always it does (0.2 ms each, one after
//! the other), and an atomic batch syncs once, but costs 4 to 5 ms whatever its size. So there a [`Publisher`] is one
//! task with a queue: while a commit is under way the next callers' messages gather, and when enough have, they go as
//! one batch. A lone message goes at once; under load, where the commit before was a large one, the next waits a
//! millisecond for as many again, because two half batches cost twice as much as a whole one.
//!
//! What correctness does not depend on: the grouping. A group that is refused whole goes again message by message.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use crate::commit::{self, CommitError};
use crate::message::Outgoing;
use crate::streams::StreamName;

/// Messages from which on a group commit is cheaper than a sync each.
const GROUP_MESSAGES_MIN: usize = 24;
/// How long a commit waits for as many messages as the last one had.
const GROUP_LINGER: Duration = Duration::from_millis(1);
/// Messages of one group commit; the server takes at most 1000 in a batch.
const GROUP_MESSAGES_MAX: usize = 500;
/// Bytes of one group commit.
const GROUP_BYTES_MAX: usize = 2 << 20;
/// Callers that may wait in a publisher's queue; the next one waits to get in.
const QUEUE_LEN: usize = 4096;
/// How long the next commit waits for the one before.
const COMMIT_PATIENCE: Duration = Duration::from_millis(250);
/// How long one try waits for its acknowledgement before it is repeated with the same message ids.
const TRY_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause before a repeat when nobody answers for the stream (a restart, a leader's election).
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// The stream has the message on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// Whether the stream already had a message with this id; nothing was stored then.
    pub duplicate: bool,
    /// Where the message lies in the stream; of a repeat, where the first one lies.
    pub sequence: u64,
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
    /// The subject's last message is another one than [`Outgoing::expect_last`] named.
    #[error("stream {stream} holds another message by now")]
    Superseded {
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
    /// The message is larger than the server takes, headers included. Never passes.
    #[error("a message of {bytes} bytes is too large for stream {stream}")]
    TooLarge {
        /// Which stream.
        stream: &'static str,
        /// How many bytes it has, without what the protocol adds.
        bytes: usize,
    },
    /// More messages than fit one commit.
    #[error("{count} messages do not fit one commit")]
    TooMany {
        /// How many.
        count: usize,
    },
}

type Reply = oneshot::Sender<Result<Vec<Ack>, PublishError>>;

/// Messages of one caller.
struct Request {
    messages: Vec<Outgoing>,
    /// Whether all of them are stored or none.
    is_atomic: bool,
    /// When the caller gives up.
    deadline: Instant,
    reply: Reply,
}

/// Publishes to one stream. Cheap to clone; clones share the queue.
#[derive(Debug, Clone)]
pub struct Publisher {
    target: Arc<Target>,
    /// Where messages gather for a group commit; none where each goes at once.
    queue: Option<mpsc::Sender<Request>>,
}

impl Publisher {
    pub(crate) fn start(client: Client, stream: StreamName, patience: Duration, group: bool) -> Self {
        let target = Arc::new(Target { client, stream: stream.as_str(), patience });
        let queue = group.then(|| {
            let (queue, requests) = mpsc::channel(QUEUE_LEN);
            // Ends when the last publisher is dropped.
            tokio::spawn(commit_loop(Arc::clone(&target), requests));
            queue
        });
        Self { target, queue }
    }

    /// Stores one message.
    ///
    /// # Errors
    /// See [`PublishError`]: it may be stored all the same, unless the stream refused.
    pub async fn publish(&self, message: Outgoing) -> Result<Ack, PublishError> {
        match &self.queue {
            None => self.target.store_one(&message, self.target.deadline()).await,
            Some(queue) => Ok(self.enqueue(queue, vec![message], false).await?[0]),
        }
    }

    /// Stores all messages or none of them; at most 1000. One acknowledgement per message, in order.
    ///
    /// # Errors
    /// See [`PublishError`]. If some message was already stored (a repeat), the rest are stored one by one: then an
    /// error may leave a part stored, and repeating the whole is harmless.
    pub async fn publish_all(&self, messages: Vec<Outgoing>) -> Result<Vec<Ack>, PublishError> {
        match (messages.len(), &self.queue) {
            (0, _) => Ok(Vec::new()),
            (count, _) if count > commit::BATCH_MESSAGES_MAX => Err(PublishError::TooMany { count }),
            (_, None) => self.target.store_all(&messages, self.target.deadline()).await,
            (_, Some(queue)) => self.enqueue(queue, messages, true).await,
        }
    }

    /// Stores many messages, of any number, with no promise to store all or none; one acknowledgement per message, in
    /// order. For our own steps, which are repeated whole when they fail.
    ///
    /// # Errors
    /// The first error of any of them.
    pub async fn publish_each(&self, messages: &[Outgoing]) -> Result<Vec<Ack>, PublishError> {
        let mut acks = Vec::with_capacity(messages.len());
        let mut rest = messages;
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(group_len(rest));
            rest = after;
            acks.extend(match &self.queue {
                None => self.target.store_each(chunk, self.target.deadline()).await?,
                Some(queue) => self.enqueue(queue, chunk.to_vec(), false).await?,
            });
        }
        Ok(acks)
    }

    async fn enqueue(
        &self,
        queue: &mpsc::Sender<Request>,
        messages: Vec<Outgoing>,
        is_atomic: bool,
    ) -> Result<Vec<Ack>, PublishError> {
        let (reply, answer) = oneshot::channel();
        let request = Request { messages, is_atomic, deadline: self.target.deadline(), reply };
        queue.send(request).await.expect("the commit loop lives as long as its publishers");
        answer.await.expect("the commit loop answers every request")
    }
}

/// How many of these messages, at least one, fit a group commit.
fn group_len(messages: &[Outgoing]) -> usize {
    let mut bytes = 0;
    let fits = messages.iter().take(GROUP_MESSAGES_MAX).take_while(|message| {
        bytes += message.size();
        bytes <= GROUP_BYTES_MAX
    });
    fits.count().max(1)
}

/// One commit after another: the server takes them one after another anyway, and larger ones are cheaper.
async fn commit_loop(target: Arc<Target>, mut requests: mpsc::Receiver<Request>) {
    let stream = target.stream;
    let mut expected = 0;
    while let Some(first) = requests.recv().await {
        let group = gather(first, &mut requests, expected).await;
        expected = group.iter().map(|request| request.messages.len()).sum();
        let target = Arc::clone(&target);
        let commit = tokio::spawn(async move { target.commit(group).await });
        // A commit that does not get through goes on trying by itself, until its callers' deadline.
        if let Ok(Err(error)) = timeout(COMMIT_PATIENCE, commit).await {
            tracing::error!(stream, %error, "a commit broke off");
        }
    }
}

/// Takes what has come in meanwhile; if the last commit was a large one, waits a little for as many again.
async fn gather(first: Request, queue: &mut mpsc::Receiver<Request>, expected: usize) -> Vec<Request> {
    let size = |request: &Request| request.messages.iter().map(Outgoing::size).sum::<usize>();
    let (mut count, mut bytes) = (first.messages.len(), size(&first));
    let mut group = vec![first];
    let deadline = Instant::now() + GROUP_LINGER;
    while count < GROUP_MESSAGES_MAX && bytes < GROUP_BYTES_MAX {
        let next = match queue.try_recv() {
            Ok(next) => next,
            Err(_) if expected < GROUP_MESSAGES_MIN || count >= expected => break,
            Err(_) => match timeout_at(deadline, queue.recv()).await {
                Ok(Some(next)) => next,
                Ok(None) | Err(_) => break,
            },
        };
        count += next.messages.len();
        bytes += size(&next);
        group.push(next);
    }
    group
}

/// Where a publisher publishes to, and how long it tries.
#[derive(Debug)]
struct Target {
    client: Client,
    stream: &'static str,
    patience: Duration,
}

impl Target {
    fn deadline(&self) -> Instant {
        Instant::now() + self.patience
    }

    /// Commits the requests as one batch if that is cheaper and possible, each by itself if not.
    async fn commit(&self, mut requests: Vec<Request>) {
        // Whoever has given up will repeat, under the same ids.
        requests.retain(|request| !request.reply.is_closed());
        let mut groups = vec![requests];
        while let Some(mut group) = groups.pop() {
            let count: usize = group.iter().map(|request| request.messages.len()).sum();
            if !(GROUP_MESSAGES_MIN..=commit::BATCH_MESSAGES_MAX).contains(&count) {
                self.commit_apart(group).await;
                continue;
            }
            let messages: Vec<_> = group.iter().flat_map(|request| &request.messages).collect();
            match commit::batch(&self.client, self.stream, &messages, TRY_TIMEOUT).await {
                Ok(acks) => {
                    let mut acks = acks.into_iter();
                    for Request { messages, reply, .. } in group {
                        let _ = reply.send(Ok(acks.by_ref().take(messages.len()).collect()));
                    }
                }
                // One caller's repeat must not cost the others a sync each: it is looked for by halves.
                Err(CommitError::Refused { code: commit::BATCH_HAS_REPEATS, .. }) if group.len() > 1 => {
                    groups.push(group.split_off(group.len() / 2));
                    groups.push(group);
                }
                Err(error) => {
                    tracing::debug!(stream = self.stream, %error, "group commit goes on one by one");
                    self.commit_apart(group).await;
                }
            }
        }
    }

    /// Commits each request by itself.
    async fn commit_apart(&self, requests: Vec<Request>) {
        let apart = requests.into_iter().map(|Request { messages, is_atomic, deadline, reply }| async move {
            let stored = if is_atomic {
                self.store_all(&messages, deadline).await
            } else {
                self.store_each(&messages, deadline).await
            };
            let _ = reply.send(stored);
        });
        futures::future::join_all(apart).await;
    }

    /// Stores one message.
    async fn store_one(&self, message: &Outgoing, deadline: Instant) -> Result<Ack, PublishError> {
        loop {
            match commit::single(&self.client, self.stream, message, try_timeout(deadline)).await {
                Ok(ack) => return Ok(ack),
                Err(error) => self.again_or_never(error, deadline).await?,
            }
        }
    }

    /// Stores messages one by one, all in flight together.
    async fn store_each(&self, messages: &[Outgoing], deadline: Instant) -> Result<Vec<Ack>, PublishError> {
        futures::future::try_join_all(messages.iter().map(|message| self.store_one(message, deadline))).await
    }

    /// Stores all messages as one batch; if some of them are repeats, as single messages, which say which.
    async fn store_all(&self, messages: &[Outgoing], deadline: Instant) -> Result<Vec<Ack>, PublishError> {
        if let [message] = messages {
            return Ok(vec![self.store_one(message, deadline).await?]);
        }
        let all: Vec<_> = messages.iter().collect();
        loop {
            match commit::batch(&self.client, self.stream, &all, try_timeout(deadline)).await {
                Ok(acks) => return Ok(acks),
                Err(CommitError::Refused { code: commit::BATCH_HAS_REPEATS, .. }) => {
                    return self.store_each(messages, deadline).await;
                }
                Err(error) => self.again_or_never(error, deadline).await?,
            }
        }
    }

    /// After a failed try: waits a little if another may succeed within the deadline, and fails if not.
    async fn again_or_never(&self, error: CommitError, deadline: Instant) -> Result<(), PublishError> {
        let stream = self.stream;
        match error {
            CommitError::Refused { code: commit::STREAM_FULL | commit::STORAGE_FULL, .. } => {
                Err(PublishError::Full { stream })
            }
            CommitError::Refused { code: commit::WRONG_LAST_SEQUENCE, .. } => Err(PublishError::Superseded { stream }),
            CommitError::TooLarge { bytes } => Err(PublishError::TooLarge { stream, bytes }),
            CommitError::Refused { code, description } if !commit::is_passing(code) => {
                Err(PublishError::Refused { stream, code, description })
            }
            error if Instant::now() + RETRY_PAUSE >= deadline => {
                tracing::warn!(stream, %error, "a publish was not acknowledged in time");
                Err(PublishError::Unanswered { stream })
            }
            error => {
                tracing::debug!(stream, %error, "publishing again");
                tokio::time::sleep(RETRY_PAUSE).await;
                Ok(())
            }
        }
    }
}

/// How long one try may take.
fn try_timeout(deadline: Instant) -> Duration {
    TRY_TIMEOUT.min(deadline.saturating_duration_since(Instant::now()))
}
