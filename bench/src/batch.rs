//! Publishing many events quickly, in batches: preparation, and floods. Nothing here is a latency that counts.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use slipstream_core::timestamp::Timestamp;
use tokio::task::JoinSet;

use crate::driver::{Connection, RECONNECTS_MAX};
use crate::event::{EVENT_BYTES, EventId, Letter};

/// Events of one request: half of what a body may hold (1 MiB).
pub(crate) const BATCH_EVENTS: u32 = 500;
/// Connections, each with its next batch as soon as the last is stored.
const CONNECTIONS: usize = 4;
/// How long a batch that is answered 429 or 503 waits until it is sent again.
const AGAIN_AFTER: Duration = Duration::from_millis(200);
/// How long a batch may be refused so.
const REFUSED_MAX: Duration = Duration::from_secs(30);

/// What to publish, where.
#[derive(Debug, Clone)]
pub(crate) struct Batches {
    /// Where the platform listens.
    pub(crate) address: SocketAddr,
    /// The sites' paths; batches go to them in turn, see [`site_of`].
    pub(crate) paths: Vec<String>,
    /// Whose events they are.
    pub(crate) api_key: String,
    /// The event.
    pub(crate) letter: Letter,
    /// The phase that they belong to.
    pub(crate) phase: u16,
    /// Their numbers.
    pub(crate) events: Range<u32>,
    /// When they are due, if their letter says so.
    pub(crate) due: Due,
    /// No batch is begun later than this.
    pub(crate) until: Option<Instant>,
}

/// The place, among `sites`, of the site that event `number` goes to.
pub(crate) fn site_of(number: u32, sites: usize) -> usize {
    (number / BATCH_EVENTS) as usize % sites
}

/// The intended times of events 0 to `events`: spread evenly over a time, and mixed, so that events that were published
/// together are not due together.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Due {
    /// The first.
    pub(crate) from: Timestamp,
    /// Over how long they are spread; zero for one and the same instant.
    pub(crate) over: Duration,
    /// How many there are.
    pub(crate) events: u32,
}

impl Due {
    /// When event `number` is due.
    pub(crate) fn of(&self, number: u32) -> Timestamp {
        // A prime that divides no round number: every place is taken once.
        const STEP: u64 = 7919;
        let events = u64::from(self.events.max(1));
        let place = u64::from(number) * STEP % events;
        self.from.after(Duration::from_millis(self.over.as_millis() as u64 * place / events))
    }
}

/// Publishes all of it, or until it is time. `accepted` counts the events as they are accepted.
///
/// # Errors
/// If a batch is refused, or the platform does not answer.
pub(crate) async fn publish(batches: Batches, accepted: Arc<AtomicU32>) -> anyhow::Result<()> {
    let next = Arc::new(AtomicU32::new(batches.events.start));
    let mut tasks = JoinSet::new();
    for _ in 0..CONNECTIONS {
        tasks.spawn(run(batches.clone(), Arc::clone(&next), Arc::clone(&accepted)));
    }
    while let Some(part) = tasks.join_next().await {
        part.context("a connection's task failed")??;
    }
    Ok(())
}

async fn run(mut batches: Batches, next: Arc<AtomicU32>, accepted: Arc<AtomicU32>) -> anyhow::Result<()> {
    let mut connection = Connection::open(batches.address).await?;
    while batches.until.is_none_or(|until| Instant::now() < until) {
        let from = next.fetch_add(BATCH_EVENTS, Ordering::Relaxed);
        if from >= batches.events.end {
            break;
        }
        let numbers = from..batches.events.end.min(from + BATCH_EVENTS);
        let request = batches.request(numbers.clone());
        send(&mut connection, batches.address, &request).await?;
        accepted.fetch_add(numbers.len() as u32, Ordering::Relaxed);
    }
    Ok(())
}

/// Sends a batch until it is stored. A repeat is harmless: the platform knows the events by source and id.
async fn send(connection: &mut Connection, address: SocketAddr, request: &[u8]) -> anyhow::Result<()> {
    let (begun, mut reconnects) = (Instant::now(), 0);
    loop {
        match connection.exchange(request).await {
            Ok(204) => return Ok(()),
            Ok(status @ (429 | 503)) => {
                ensure!(begun.elapsed() < REFUSED_MAX, "a batch was answered {status} for {REFUSED_MAX:?}");
                tokio::time::sleep(AGAIN_AFTER).await;
            }
            Ok(status) => bail!("a batch was answered {status}"),
            Err(error) => {
                reconnects += 1;
                ensure!(reconnects <= RECONNECTS_MAX, "publishing failed {reconnects} times, last: {error}");
                *connection = Connection::open(address).await?;
            }
        }
    }
}

impl Batches {
    /// The whole request for these events.
    fn request(&mut self, numbers: Range<u32>) -> Vec<u8> {
        let path = &self.paths[site_of(numbers.start, self.paths.len())];
        let length = numbers.len() * (EVENT_BYTES + 1) + 1; // a comma or bracket before each, a bracket at the end
        let mut request = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nX-API-KEY: {}\r\n\
             Content-Type: application/cloudevents-batch+json\r\nContent-Length: {length}\r\n\r\n",
            self.address, self.api_key
        )
        .into_bytes();
        request.reserve(length);
        let mut separator = b'[';
        for number in numbers {
            request.push(separator);
            let id = EventId { phase: self.phase, number };
            request.extend_from_slice(self.letter.due_at(id, self.due.of(number)));
            separator = b',';
        }
        request.push(b']');
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::LetterKind;

    fn batches(events: u32) -> Batches {
        Batches {
            address: SocketAddr::from(([127, 0, 0, 1], 1)),
            paths: vec!["/a".to_owned(), "/b".to_owned()],
            api_key: "key".to_owned(),
            letter: Letter::new(LetterKind { is_scheduled: true, ..LetterKind::default() }),
            phase: 1,
            events: 0..events,
            due: Due { from: Timestamp::from_millis(1_772_443_800_000), over: Duration::from_mins(1), events },
            until: None,
        }
    }

    #[test]
    fn a_request_is_a_batch_of_the_stated_length() {
        let request = batches(1000).request(500..503);
        let text = String::from_utf8(request).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /b HTTP/1.1\r\n"), "{head}");
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
        let events: Vec<serde_json::Value> = serde_json::from_str(body).unwrap();
        let ids: Vec<_> = events.iter().map(|event| event["id"].as_str().unwrap()).collect();
        assert_eq!(ids, ["slb-0001000001f4", "slb-0001000001f5", "slb-0001000001f6"]);
        let due = |number| batches(1000).due.of(number).to_string();
        assert_eq!(events[2]["intendeddeliverytime"], due(502));
    }

    #[test]
    fn times_are_spread_evenly_and_the_same_every_time() {
        let due = batches(100_000).due;
        let mut times: Vec<i64> = (0..100_000).map(|number| due.of(number).as_millis()).collect();
        times.sort_unstable();
        let from = due.from.as_millis();
        assert_eq!((times[0], times[50_000], times[99_999]), (from, from + 30_000, from + 59_999));
        let instant = Due { over: Duration::ZERO, ..due };
        assert!((0..100).all(|number| instant.of(number) == due.from));
    }
}
