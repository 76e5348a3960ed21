//! Trimming what is processed, and saying when storage runs short (DESIGN 3.5).
//!
//! `EVENTS` and `OUTCOMES` have no `max_age`: nothing unprocessed ever ages out. Instead this loop purges only below
//! the lowest acknowledgement floor of all durable consumers of a stream: what is older than 7 days always, what is
//! older than the duplicate window once the stream is above half of its `max_bytes`. Running it on several replicas
//! does no harm, a purge is idempotent.

use std::time::{Duration, SystemTime};

use async_nats::jetstream::consumer::Info;
use futures::TryStreamExt as _;

use crate::connect::{Bus, BusError};
use crate::streams::{EVENTS_DUPLICATE_WINDOW, StreamName};

/// What is processed and older than this is always trimmed.
const KEEP_MAX: Duration = Duration::from_hours(168);
/// Share of the account's storage above which the dispatcher takes on no new events.
const STORAGE_SHARE_MAX: f64 = 0.7;

/// What trimming a stream did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trimmed {
    /// Messages purged.
    pub messages: u64,
    /// The durable consumer with the lowest acknowledgement floor, and how many messages of the stream lie above it.
    pub slowest: Option<(String, u64)>,
}

impl Bus {
    /// Purges processed messages of `stream`; see the module.
    ///
    /// # Errors
    /// If JetStream refuses or does not answer.
    pub async fn trim(&self, stream: StreamName) -> Result<Trimmed, BusError> {
        let failed = |error: async_nats::Error| BusError::jetstream("trimming a stream", error);
        let mut stream = self.jetstream.get_stream(stream.as_str()).await.map_err(|error| failed(error.into()))?;
        let info = stream.info().await.map_err(|error| failed(error.into()))?.clone();
        let consumers: Vec<Info> = stream.consumers().try_collect().await.map_err(|error| failed(error.into()))?;
        let slowest = consumers
            .iter()
            .filter(|consumer| consumer.config.durable_name.is_some())
            .min_by_key(|consumer| consumer.ack_floor.stream_sequence);
        let Some(slowest) = slowest else {
            return Ok(Trimmed { messages: 0, slowest: None }); // nobody has processed anything yet
        };
        let floor = lowest_floor(&consumers, info.state.last_sequence);
        let backlog = info.state.last_sequence.saturating_sub(slowest.ack_floor.stream_sequence);
        let name = slowest.config.durable_name.clone().unwrap_or_default();
        let is_half_full = info.config.max_bytes > 0 && info.state.bytes > info.config.max_bytes as u64 / 2;
        let keep = if is_half_full { EVENTS_DUPLICATE_WINDOW } else { KEEP_MAX };
        let messages = match first_kept(&stream, info.state.first_sequence, floor + 1, keep).await? {
            sequence if sequence > info.state.first_sequence => {
                stream.purge().sequence(sequence).await.map_err(|error| failed(error.into()))?.purged
            }
            _ => 0,
        };
        Ok(Trimmed { messages, slowest: Some((name, backlog)) })
    }

    /// Whether the account's storage is above the share at which no new events should be taken on.
    ///
    /// # Errors
    /// If JetStream does not answer.
    pub async fn storage_is_short(&self) -> Result<bool, BusError> {
        let account = self
            .jetstream
            .query_account()
            .await
            .map_err(|error| BusError::jetstream("asking for the account's storage", error))?;
        // The account may have no limit of its own; then the sum of what our streams may hold stands for it.
        let limit = account.limits.max_storage.filter(|limit| *limit > 0).unwrap_or(3 * self.stream_max_bytes()) as f64;
        Ok(account.storage as f64 > STORAGE_SHARE_MAX * limit)
    }
}

/// The last sequence that every durable consumer is done with. A consumer that has nothing pending is done with
/// all there is, whatever its floor says: the floor moves only with messages that its filter lets through.
fn lowest_floor(consumers: &[Info], last_sequence: u64) -> u64 {
    consumers
        .iter()
        .filter(|consumer| consumer.config.durable_name.is_some())
        .map(|consumer| {
            let is_idle = consumer.num_pending == 0 && consumer.num_ack_pending == 0;
            if is_idle { last_sequence } else { consumer.ack_floor.stream_sequence }
        })
        .min()
        .unwrap_or(0)
}

/// The first sequence in `first..end` that is younger than `keep`, or `end`: a binary search by message time.
async fn first_kept(
    stream: &async_nats::jetstream::stream::Stream,
    first: u64,
    end: u64,
    keep: Duration,
) -> Result<u64, BusError> {
    let oldest_kept = SystemTime::now().checked_sub(keep).unwrap_or(SystemTime::UNIX_EPOCH);
    let oldest_kept = oldest_kept.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos() as i128;
    let (mut low, mut high) = (first, end.max(first));
    while low < high {
        let middle = low + (high - low) / 2;
        let is_old = match stream.get_raw_message(middle).await {
            Ok(message) => message.time.unix_timestamp_nanos() < oldest_kept,
            // A gap: purged or deleted before, so as good as old.
            Err(error) if error.kind() == async_nats::jetstream::stream::RawMessageErrorKind::NoMessageFound => true,
            Err(error) => return Err(BusError::jetstream("reading a message's time", error)),
        };
        if is_old { low = middle + 1 } else { high = middle }
    }
    Ok(low)
}
