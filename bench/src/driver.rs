//! The closed loop: a fixed number of connections, each publishing its next event when the last is answered.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::clock;
use crate::event::{EventId, Request};
use crate::http::{HttpError, Inbox};

/// How often one event is sent again over a new connection before the run is given up. A repeat is harmless: the
/// platform knows the event by source and id.
pub(crate) const RECONNECTS_MAX: u32 = 5;
/// How long an answer may take; the platform itself promises one within its publish deadline of 5 s.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// What to publish, where, how.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    /// Where the platform listens.
    pub(crate) address: SocketAddr,
    /// The requests, in which only the id changes; event number n is sent with request n modulo their number.
    pub(crate) requests: Vec<Request>,
    /// The phase that the events belong to.
    pub(crate) phase: u16,
    /// How many events at most.
    pub(crate) events: u32,
    /// How many connections.
    pub(crate) connections: usize,
    /// No event is begun later than this.
    pub(crate) limit: Duration,
}

/// An event that was sent, and what became of the request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    /// The event's number in its phase.
    pub(crate) number: u32,
    /// When sending began, or should have begun; see [`clock::now_nanos`].
    pub(crate) at: u64,
    /// How long the answer took, in nanoseconds; none where nobody waited for it.
    pub(crate) answered_after: Option<u64>,
    /// The answer's status.
    pub(crate) status: u16,
}

impl Sent {
    /// Whether the platform took it.
    pub(crate) const fn is_accepted(&self) -> bool {
        self.status == 204
    }
}

/// All that was published in a phase.
#[derive(Debug, Default)]
pub(crate) struct Published {
    /// Every event, in no order.
    pub(crate) sent: Vec<Sent>,
    /// How often a connection had to be made anew.
    pub(crate) reconnects: u32,
}

impl Published {
    /// How many were accepted.
    pub(crate) fn accepted(&self) -> usize {
        self.sent.iter().filter(|sent| sent.is_accepted()).count()
    }

    /// How many got which other answer.
    pub(crate) fn refused(&self) -> BTreeMap<u16, u32> {
        let mut refused = BTreeMap::new();
        for sent in self.sent.iter().filter(|sent| !sent.is_accepted()) {
            *refused.entry(sent.status).or_default() += 1;
        }
        refused
    }

    /// When the first was sent.
    pub(crate) fn first_at(&self) -> u64 {
        self.sent.iter().map(|sent| sent.at).min().unwrap_or_default()
    }

    /// When the last answer came.
    pub(crate) fn answered_at(&self) -> u64 {
        self.sent.iter().map(|sent| sent.at + sent.answered_after.unwrap_or_default()).max().unwrap_or_default()
    }

    /// How long the answers took.
    pub(crate) fn answer_times(&self) -> Vec<u64> {
        self.sent.iter().filter_map(|sent| sent.answered_after).collect()
    }
}

/// Publishes `load`.
///
/// # Errors
/// If no connection can be made, or answers stay away.
pub(crate) async fn publish(load: &Load) -> anyhow::Result<Published> {
    let mut connections = Vec::with_capacity(load.connections);
    for _ in 0..load.connections {
        connections.push(Connection::open(load.address).await?);
    }
    let (next, until) = (Arc::new(AtomicU32::new(0)), Instant::now() + load.limit);
    let mut tasks = JoinSet::new();
    for connection in connections {
        tasks.spawn(run(connection, load.clone(), Arc::clone(&next), until));
    }
    let mut published = Published::default();
    while let Some(part) = tasks.join_next().await {
        let part = part.context("a connection's task failed")??;
        published.sent.extend(part.sent);
        published.reconnects += part.reconnects;
    }
    Ok(published)
}

/// One connection's share.
async fn run(
    mut connection: Connection,
    load: Load,
    next: Arc<AtomicU32>,
    until: Instant,
) -> anyhow::Result<Published> {
    let Load { address, mut requests, phase, events, .. } = load;
    let mut published = Published { sent: Vec::with_capacity(events as usize / load.connections * 2), reconnects: 0 };
    while Instant::now() < until {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= events {
            break;
        }
        let place = number as usize % requests.len();
        let bytes = requests[place].with_id(EventId { phase, number });
        let (at, begun) = (clock::now_nanos(), Instant::now());
        let mut attempts = 0;
        let status = loop {
            match connection.exchange(bytes).await {
                Ok(status) => break status,
                Err(error) => {
                    attempts += 1;
                    ensure!(attempts <= RECONNECTS_MAX, "publishing failed {attempts} times, last: {error}");
                    published.reconnects += 1;
                    connection = Connection::open(address).await?;
                }
            }
        };
        let answered_after = Some(begun.elapsed().as_nanos() as u64);
        published.sent.push(Sent { number, at, answered_after, status });
    }
    Ok(published)
}

/// A kept-alive connection to the platform.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    inbox: Inbox,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// If nobody listens at `address`.
    pub(crate) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, inbox: Inbox::default() })
    }

    /// Sends a request and waits for the status of its answer.
    ///
    /// # Errors
    /// If the connection fails, or no answer comes in time.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Result<u16, HttpError> {
        self.stream.write_all(request).await?;
        let answer = tokio::time::timeout(ANSWER_WITHIN, self.inbox.next(&mut self.stream)).await;
        let answer = answer.map_err(|_| HttpError::Io(std::io::ErrorKind::TimedOut.into()))??;
        answer.ok_or(HttpError::Cut)?.status().ok_or(HttpError::Malformed)
    }
}
