//! The open loop: events at fixed times, whatever the platform does meanwhile.
//!
//! On a thread of its own with blocking sleeps: tokio's timer rounds to whole milliseconds, which would be half of
//! what is to be measured. The time that counts is when an event was due, not when it was really sent, so a driver
//! that falls behind makes the figures worse and never better.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use crate::clock;
use crate::driver::{Load, Published, Sent};
use crate::event::EventId;
use crate::http::Inbox;

/// How long to wait, after the last event, for answers that are still due.
const LAST_ANSWERS_WITHIN: Duration = Duration::from_secs(30);

/// A connection, and the event whose answer it waits for.
struct Connection {
    stream: TcpStream,
    inbox: Inbox,
    waiting: Option<Sent>,
}

impl Connection {
    fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, inbox: Inbox::default(), waiting: None })
    }

    /// Takes the answer, if it has come.
    fn collect(&mut self) -> anyhow::Result<Option<Sent>> {
        if self.waiting.is_none() {
            return Ok(None);
        }
        let Some(answer) = self.inbox.poll(&mut self.stream)? else { return Ok(None) };
        let status = answer.status().context("an answer without a status")?;
        Ok(self.waiting.take().map(|sent| Sent { status, ..sent }))
    }
}

/// Publishes `load.events` events at `per_second`. Blocks; opens another connection rather than wait for an answer;
/// `load.connections` and `load.limit` bound nothing here, since the number and the rate do.
///
/// # Errors
/// If a connection fails.
pub(crate) fn publish(load: &Load, per_second: u32) -> anyhow::Result<Published> {
    let mut requests = load.requests.clone();
    // None ahead of need: the platform closes a connection on which nothing is asked within 10 s.
    let mut connections: Vec<Connection> = Vec::new();
    let mut published = Published::default();
    let (begun, begun_at) = (Instant::now(), clock::now_nanos());
    for number in 0..load.events {
        let due_after = Duration::from_secs(1) * number / per_second;
        std::thread::sleep(due_after.saturating_sub(begun.elapsed()));
        for connection in &mut connections {
            published.sent.extend(connection.collect()?);
        }
        let free = match connections.iter_mut().find(|connection| connection.waiting.is_none()) {
            Some(free) => free,
            None => connections.push_mut(Connection::open(load.address)?),
        };
        // An idle connection's send buffer takes a whole request at once, so this does not fail with "would block".
        let place = number as usize % requests.len();
        let bytes = requests[place].with_id(EventId { phase: load.phase, number });
        free.stream.write_all(bytes).context("cannot send")?;
        let at = begun_at + due_after.as_nanos() as u64;
        free.waiting = Some(Sent { number, at, answered_after: None, status: 0 });
    }
    let given_up_at = Instant::now() + LAST_ANSWERS_WITHIN;
    while connections.iter().any(|connection| connection.waiting.is_some()) {
        ensure!(Instant::now() < given_up_at, "answers stayed away for {LAST_ANSWERS_WITHIN:?}");
        std::thread::sleep(Duration::from_millis(1));
        for connection in &mut connections {
            published.sent.extend(connection.collect()?);
        }
    }
    Ok(published)
}
