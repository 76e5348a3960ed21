//! Pull requests: asking a durable consumer for messages, some ahead.
//!
//! The client library's own stream asks on in the background and cannot be told to stop while what it holds is given
//! back. Here every request is made by whoever takes the messages, so that after the last one nothing more comes.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::{Client, Statistics, Subject, Subscriber};
use futures::StreamExt as _;
use tokio::time::{Instant, timeout};

use crate::connect::BusError;
use crate::streams::ConsumerName;

/// How long the server keeps a pull request open.
const EXPIRES: Duration = Duration::from_secs(30);
/// How often an idle server says that it is there.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Silence after which the request counts as lost.
const SILENCE_MAX: Duration = Duration::from_millis(2500);
/// How often a silent connection is looked at: a new one means that the request is lost.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long the server may take to confirm the end of a pull.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// An open pull.
pub(super) struct Pull {
    client: Client,
    messages: Subscriber,
    inbox: Subject,
    /// Where requests for messages go.
    requests: Subject,
    prefetch: usize,
    /// Messages asked for that have not come.
    outstanding: usize,
    /// When the server last said anything.
    heard_at: Instant,
    statistics: Arc<Statistics>,
    /// How often the client had connected when the pull was opened.
    connects: u64,
}

/// The pull has to be opened again.
#[derive(Debug)]
pub(super) enum Ended {
    /// The connection was lost and made anew, and the request with it.
    Reconnected,
    /// The server has been silent for too long.
    Silent,
    /// The server ended it: the consumer was removed, its leader changed, or nobody answers for it.
    Status(u16, String),
    /// The client is closed.
    Closed,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reconnected => f.write_str("the connection is a new one"),
            Self::Silent => f.write_str("the server is silent"),
            Self::Status(code, text) => write!(f, "status {code} {text}"),
            Self::Closed => f.write_str("the client is closed"),
        }
    }
}

impl Pull {
    pub(super) async fn open(client: &Client, name: ConsumerName, prefetch: usize) -> Result<Self, BusError> {
        let inbox = Subject::from(client.new_inbox());
        let messages = client
            .subscribe(inbox.clone())
            .await
            .map_err(|error| BusError::jetstream("pulling from a consumer", error))?;
        let statistics = client.statistics();
        let connects = statistics.connects.load(Ordering::Relaxed);
        let requests = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", name.stream().as_str(), name.durable()).into();
        Ok(Self {
            client: client.clone(),
            messages,
            inbox,
            requests,
            prefetch,
            outstanding: 0,
            heard_at: Instant::now(),
            statistics,
            connects,
        })
    }

    pub(super) fn set_prefetch(&mut self, prefetch: usize) {
        self.prefetch = prefetch;
    }

    /// The next message. Cancelling loses nothing.
    pub(super) async fn next(&mut self) -> Result<async_nats::Message, Ended> {
        loop {
            if self.outstanding <= self.prefetch / 2 {
                self.request().await?;
            }
            let message = match timeout(LOOK_EVERY, self.messages.next()).await {
                Ok(Some(message)) => message,
                Ok(None) => return Err(Ended::Closed),
                Err(_) if self.statistics.connects.load(Ordering::Relaxed) != self.connects => {
                    return Err(Ended::Reconnected);
                }
                Err(_) if self.heard_at.elapsed() > SILENCE_MAX => return Err(Ended::Silent),
                Err(_) => continue,
            };
            self.heard_at = Instant::now();
            if let Some(message) = self.sort(message)? {
                return Ok(message);
            }
        }
    }

    /// Asks for as many messages as there is room for.
    async fn request(&mut self) -> Result<(), Ended> {
        let count = self.prefetch - self.outstanding;
        let (expires, heartbeat) = (EXPIRES.as_nanos(), HEARTBEAT.as_nanos());
        let request = format!(r#"{{"batch":{count},"expires":{expires},"idle_heartbeat":{heartbeat}}}"#);
        let sent = self.client.publish_with_reply(self.requests.clone(), self.inbox.clone(), request.into());
        sent.await.map_err(|_| Ended::Closed)?;
        self.outstanding += count;
        Ok(())
    }

    /// Tells a message from what the server says about the request.
    fn sort(&mut self, message: async_nats::Message) -> Result<Option<async_nats::Message>, Ended> {
        let Some(status) = message.status else {
            self.outstanding = self.outstanding.saturating_sub(1);
            return Ok(Some(message));
        };
        match status.as_u16() {
            100 => Ok(None), // a heartbeat
            // The request has run out: what it did not bring will not come.
            404 | 408 => {
                let missing = message.headers.as_ref().and_then(|headers| headers.get("Nats-Pending-Messages"));
                let missing = missing.and_then(|count| count.as_str().parse().ok()).unwrap_or(self.outstanding);
                self.outstanding = self.outstanding.saturating_sub(missing);
                Ok(None)
            }
            code => Err(Ended::Status(code, message.description.unwrap_or_default())),
        }
    }

    /// Ends the request, and tells what the server had sent until then. Without a listener it forgets the request.
    pub(super) async fn close(mut self) -> Vec<async_nats::Message> {
        let mut sent_ahead = Vec::new();
        if self.messages.drain().await.is_ok() {
            let rest = async {
                while let Some(message) = self.messages.next().await {
                    sent_ahead.extend(self.sort(message).ok().flatten());
                }
            };
            // Cut off when the server does not confirm the end: it is not there.
            let _ = timeout(CLOSE_TIMEOUT, rest).await;
        }
        sent_ahead
    }
}
