//! Trimming what is processed, and saying when storage runs short (DESIGN 3.5).
//!
//! `EVENTS`, `OUTCOMES` and `AUDIT` have no `max_age`: nothing unprocessed ever ages out. Instead this loop purges, and only
//! below the lowest acknowledgement floor of all durable consumers that a stream should have; if one of them is not
//! there, it purges nothing. The fuller the stream, the less of what is processed is kept: see [`keep`]. Running it on
//! several replicas does no harm, a purge is idempotent.

use std::time::Duration;

use async_nats::jetstream::consumer::Info;
use futures::TryStreamExt as _;
use slipstream_core::timestamp::Timestamp;

use crate::connect::{Bus, BusError};
use crate::streams::{ConsumerName, EVENTS_DUPLICATE_WINDOW, StreamName};

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
    /// Durable consumers that should be there and are not; then nothing was purged.
    pub missing: Vec<String>,
}

impl Bus {
    /// Purges processed messages of `stream`; see the module.
    ///
    /// # Errors
    /// If JetStream refuses or does not answer.
    pub async fn trim(&self, name: StreamName, now: Timestamp) -> Result<Trimmed, BusError> {
        let failed = |error: async_nats::Error| BusError::jetstream("trimming a stream", error);
        let mut stream = self.jetstream.get_stream(name.as_str()).await.map_err(|error| failed(error.into()))?;
        // Before the consumers: see `floor`.
        let info = stream.info().await.map_err(|error| failed(error.into()))?.clone();
        let consumers: Vec<Info> = stream.consumers().try_collect().await.map_err(|error| failed(error.into()))?;
        let find = |durable: &String| consumers.iter().find(|it| it.config.durable_name.as_ref() == Some(durable));
        let expected: Vec<_> =
            ConsumerName::all().filter(|it| it.stream() == name).map(ConsumerName::durable).collect();
        let missing: Vec<_> = expected.iter().filter(|durable| find(durable).is_none()).cloned().collect();
        let last_sequence = info.state.last_sequence;
        let floors = consumers
            .iter()
            .filter_map(|consumer| Some((floor(consumer, last_sequence), consumer.config.durable_name.clone()?)));
        let Some((floor, slowest)) = floors.min() else { return Ok(Trimmed { messages: 0, slowest: None, missing }) };
        let mut messages = 0;
        if missing.is_empty() {
            let kept_from = now.as_millis() - keep(name, info.state.bytes, info.config.max_bytes).as_millis() as i64;
            let first = first_kept(&stream, info.state.first_sequence, floor + 1, kept_from).await?;
            if first > info.state.first_sequence {
                messages = stream.purge().sequence(first).await.map_err(|error| failed(error.into()))?.purged;
            }
        }
        Ok(Trimmed { messages, slowest: Some((slowest, last_sequence.saturating_sub(floor))), missing })
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
        // The account may have no limit of its own; then the sum of what our streams may hold stands for it. Every
        // copy counts.
        let ours = StreamName::BOUNDED * self.stream_max_bytes() * self.replicas() as i64;
        let limit = account.limits.max_storage.filter(|limit| *limit > 0).unwrap_or(ours) as f64;
        Ok(account.storage as f64 > STORAGE_SHARE_MAX * limit)
    }
}

/// The last sequence that a consumer is done with. One that has nothing pending is done with all there was when the
/// stream's `last_sequence` was read, before: the acknowledgement floor moves only with messages that its filter lets
/// through.
fn floor(consumer: &Info, last_sequence: u64) -> u64 {
    let is_idle = consumer.num_pending == 0 && consumer.num_ack_pending == 0;
    if is_idle { last_sequence } else { consumer.ack_floor.stream_sequence }
}

/// How long what is processed is kept.
///
/// Events outlast the duplicate window as long as there is room: a restarted server learns the ids it should recognise
/// from what is stored. Outcomes and the audit are in the database by then.
fn keep(stream: StreamName, bytes: u64, max_bytes: i64) -> Duration {
    let share = if max_bytes > 0 { bytes as f64 / max_bytes as f64 } else { 0.0 };
    match stream {
        _ if share < 0.5 => KEEP_MAX,
        StreamName::Events if share < 0.8 => EVENTS_DUPLICATE_WINDOW,
        _ => Duration::ZERO,
    }
}

/// The first sequence in `first..end` that was stored at or after `kept_from`, in Unix milliseconds, or `end`: a
/// binary search by message time.
async fn first_kept(
    stream: &async_nats::jetstream::stream::Stream,
    first: u64,
    end: u64,
    kept_from: i64,
) -> Result<u64, BusError> {
    let (mut low, mut high) = (first, end.max(first));
    while low < high {
        let middle = low + (high - low) / 2;
        let is_old = match stream.get_raw_message(middle).await {
            Ok(message) => (message.time.unix_timestamp_nanos() / 1_000_000) < i128::from(kept_from),
            // A gap: purged or deleted before, so as good as old.
            Err(error) if error.kind() == async_nats::jetstream::stream::RawMessageErrorKind::NoMessageFound => true,
            Err(error) => return Err(BusError::jetstream("reading a message's time", error)),
        };
        if is_old { low = middle + 1 } else { high = middle }
    }
    Ok(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fuller_a_stream_the_less_of_what_is_processed_is_kept() {
        let kept = |stream, bytes| keep(stream, bytes, 100);
        assert_eq!(kept(StreamName::Events, 10), KEEP_MAX);
        assert_eq!(kept(StreamName::Events, 60), EVENTS_DUPLICATE_WINDOW);
        assert_eq!(kept(StreamName::Events, 85), Duration::ZERO);
        assert_eq!(kept(StreamName::Outcomes, 60), Duration::ZERO);
        assert_eq!(keep(StreamName::Outcomes, u64::MAX, -1), KEEP_MAX, "without a limit there is always room");
    }
}
