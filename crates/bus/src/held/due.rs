//! Which held events come due when: lists, and one alarm for all that come due together.
//!
//! A schedule of its own for each event would be simpler, and is what waiting deliveries have. But firing one costs a
//! server that syncs always three syncs, one after the other, so that 100,000 events due in one second took minutes; and
//! schedules fire in no order of lanes, so that a realtime event came after all of them.
//!
//! So due times are rounded up to quarters of a second ([`due_at`]). Whoever holds events notes their places in `HELD` on
//! a list of that time and lane, `lists.{lane}.{at}.{id}`, and then sets its alarm, a schedule under
//! `alarms.{lane}.{at}`. When that fires, `ringing.{lane}.{at}` is handed out to one dispatcher, which publishes what the
//! lists name, batch by batch, and takes it away.
//!
//! **No list is left without an alarm.** A list is stored before its alarm is set. Setting an alarm that is set already
//! replaces it, and one that is firing takes its replacement with it (see [`crate::schedules`]): so a time that is near
//! ([`NEAR`]) gets an alarm with a name of its own, which nothing replaces.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::Subject;
use async_nats::jetstream::stream::{DirectGetErrorKind, RawMessageErrorKind, Stream};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use slipstream_core::lane::Lane;
use slipstream_core::limits::SCHEDULE_MILLIS_MAX;
use slipstream_core::timestamp::Timestamp;

use super::{Held, HeldEvents};
use crate::connect::BusError;
use crate::message::Outgoing;
use crate::publish::PublishError;
use crate::stored::StoredEvent;
use crate::streams::StreamName;
use crate::subject;

/// Due times are whole multiples of this, in milliseconds.
const STEP_MILLIS: i64 = 250;
/// How near a time has to be for its alarm to have a name of its own: what clocks may differ by (THREATS 10), and what a
/// publish may take, twice.
const NEAR: Duration = Duration::from_secs(20);
/// How much of that must be left when an alarm without one is set.
const CERTAIN: Duration = Duration::from_secs(10);
/// Events of one list.
const LIST_LEN_MAX: usize = 500;
/// Requests under way at once.
const REQUESTS_MAX: usize = 64;

/// When an event with these times comes due: at its intended time or up to 250 ms later, so that many wake together, and
/// with three quarters of the time to its expiry left.
pub fn due_at(intended_at: Timestamp, expires_at: Option<Timestamp>) -> Timestamp {
    let intended = intended_at.as_millis();
    let late = (STEP_MILLIS - intended.rem_euclid(STEP_MILLIS)) % STEP_MILLIS;
    let late = Duration::from_millis(late as u64);
    intended_at.after(expires_at.map_or(late, |expires_at| late.min(expires_at.since(intended_at) / 4)))
}

/// The lane and the time, in Unix milliseconds, of the list that a held event belongs on.
fn time_of(held: &Held, now: Timestamp) -> (Lane, i64) {
    let latest = now.as_millis().saturating_add(SCHEDULE_MILLIS_MAX);
    let at = held.meta.intended_at.map_or(0, |at| due_at(at, held.meta.expires_at).as_millis());
    (held.lane, at.min(latest))
}

/// Held events that come due at the same time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueList {
    /// The list's own place in `HELD`.
    pub sequence: u64,
    /// The events' places.
    pub held: Vec<u64>,
}

impl HeldEvents {
    /// Has held events come due at their times. They are durable at their places by now.
    pub(super) async fn note(
        &self,
        events: impl Iterator<Item = (&Held, u64)>,
        now: impl Fn() -> Timestamp,
    ) -> Result<(), PublishError> {
        let mut times: BTreeMap<(Lane, i64), Vec<u64>> = BTreeMap::new();
        for (held, sequence) in events {
            times.entry(time_of(held, now())).or_default().push(sequence);
        }
        if times.is_empty() {
            return Ok(());
        }
        let lists = times.iter().flat_map(|((lane, at), held)| {
            held.chunks(LIST_LEN_MAX).map(|held| {
                let list = subject::due_list(*lane, *at, rand::random());
                Outgoing::new(list, Bytes::from(serde_json::to_vec(held).expect("numbers have a JSON form")))
            })
        });
        self.held.publish_each(&lists.collect::<Vec<_>>()).await?;
        self.set_alarms(times.keys().copied().collect(), now).await
    }

    /// Has the lists of an event's time looked through when that has come, in case somebody left one without an alarm.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn wake(&self, held: &Held, now: impl Fn() -> Timestamp) -> Result<(), PublishError> {
        self.set_alarms(vec![time_of(held, now())], now).await
    }

    /// Sets the alarms of these times; their lists are durable by now.
    async fn set_alarms(&self, mut times: Vec<(Lane, i64)>, now: impl Fn() -> Timestamp) -> Result<(), PublishError> {
        let is_within = |at: i64, span: Duration| Timestamp::from_millis(at).since(now()) < span;
        loop {
            let alarms = times.iter().map(|(lane, at)| {
                let id = is_within(*at, NEAR).then(rand::random);
                Outgoing::new(subject::alarm(*lane, *at, id), Bytes::new()).at(
                    Timestamp::from_millis(*at),
                    &subject::ringing(*lane, *at),
                    now(),
                )
            });
            let shared: Vec<_> = times.iter().filter(|(_, at)| !is_within(*at, NEAR)).copied().collect();
            self.held.publish_each(&alarms.collect::<Vec<_>>()).await?;
            // Those that have come near meanwhile may have been firing.
            times = shared.into_iter().filter(|(_, at)| is_within(*at, CERTAIN)).collect();
            if times.is_empty() {
                return Ok(());
            }
        }
    }

    /// The first list of this time at or after a place in `HELD`.
    ///
    /// # Errors
    /// If JetStream does not answer.
    pub async fn next_list(&self, lane: Lane, at: Timestamp, from: u64) -> Result<Option<DueList>, BusError> {
        let lists = subject::due_lists(lane, at.as_millis());
        let stream = self.stream().await?;
        match stream.get_first_raw_message_by_subject(lists, from).await {
            Ok(message) => {
                let held = serde_json::from_slice(&message.payload).unwrap_or_else(|_| {
                    tracing::error!(subject = %message.subject.escape_debug(), "not a list of ours: skipped");
                    Vec::new()
                });
                Ok(Some(DueList { sequence: message.sequence, held }))
            }
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(BusError::jetstream("looking for what comes due", error)),
        }
    }

    /// The events on a list that are still held as they were when it was written. The others have been changed or
    /// cancelled, or are published already.
    ///
    /// # Errors
    /// If JetStream does not answer.
    pub async fn read_list(&self, list: DueList) -> Result<Vec<(u64, Held)>, BusError> {
        let stream = self.stream().await?;
        let stored = stream::iter(list.held).map(|sequence| stored_at(&stream, sequence)).buffered(REQUESTS_MAX);
        let stored: Vec<_> = stored.try_collect().await?;
        Ok(stored.into_iter().flatten().filter_map(|stored| Some((stored.sequence, Held::read(stored)?))).collect())
    }

    /// Takes held events away that are published by now.
    ///
    /// # Errors
    /// If JetStream does not answer.
    pub async fn remove(&self, held: Vec<u64>) -> Result<(), BusError> {
        let removals = stream::iter(held).map(|sequence| self.remove_one(sequence)).buffer_unordered(REQUESTS_MAX);
        removals.try_collect().await
    }

    async fn remove_one(&self, sequence: u64) -> Result<(), BusError> {
        // The client's own call would have the server overwrite the message with noise first.
        let subject = format!("STREAM.MSG.DELETE.{}", StreamName::Held.as_str());
        let request = serde_json::json!({ "seq": sequence, "no_erase": true });
        let answer = self.bus.jetstream.request::<_, _, serde_json::Value>(subject, &request).await;
        // That there is nothing to take away is as good; then the answer says so, and is an answer.
        answer.map(drop).map_err(|error| BusError::jetstream("taking a held event away", error))
    }

    /// Takes the lists of this time away, up to the one at `last`: what they name is published.
    ///
    /// # Errors
    /// If JetStream does not answer.
    pub async fn remove_lists(&self, lane: Lane, at: Timestamp, last: u64) -> Result<(), BusError> {
        let lists = subject::due_lists(lane, at.as_millis());
        let purge = self.stream().await?.purge().sequence(last + 1).filter(lists);
        purge.await.map(drop).map_err(|error| BusError::jetstream("taking lists away", error))
    }

    async fn stream(&self) -> Result<Stream<()>, BusError> {
        let stream = self.bus.jetstream.get_stream_no_info(StreamName::Held.as_str()).await;
        stream.map_err(|error| BusError::jetstream("finding stream HELD", error))
    }
}

/// What lies at a place. Any replica may say what it is; that there is nothing must be said by the leader, since another
/// may be behind.
async fn stored_at(stream: &Stream<()>, sequence: u64) -> Result<Option<StoredEvent>, BusError> {
    let failed = |error: async_nats::Error| BusError::jetstream("reading a held event", error);
    match stream.direct_get(sequence).await {
        Ok(message) => return Ok(StoredEvent::read(message)),
        Err(error) if error.kind() == DirectGetErrorKind::NotFound => {}
        Err(error) => return Err(failed(error.into())),
    }
    match stream.get_raw_message(sequence).await {
        Ok(message) => Ok(StoredEvent::read(message)),
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(failed(error.into())),
    }
}

/// What a ringing alarm says: `ringing.{lane}.{at}`.
pub fn parse_ringing(subject: &Subject) -> Option<(Lane, Timestamp)> {
    subject::parse_ringing(subject).map(|(lane, at)| (lane, Timestamp::from_millis(at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_due_time_is_never_early_and_at_most_a_quarter_of_a_second_late() {
        for millis in [0, 1, 249, 250, 251, 1_772_443_800_000, 1_772_443_800_001, -1, -250] {
            let intended_at = Timestamp::from_millis(millis);
            let late = due_at(intended_at, None).as_millis() - millis;
            assert!((0..250).contains(&late), "{millis}: {late}");
            assert_eq!((millis + late) % 250, 0, "{millis}");
        }
    }

    #[test]
    fn a_due_time_leaves_room_before_expiry() {
        let intended_at = Timestamp::from_millis(1_772_443_800_001);
        let expires_at = intended_at.after(Duration::from_millis(100));
        assert_eq!(due_at(intended_at, Some(expires_at)), intended_at.after(Duration::from_millis(25)));
    }
}
