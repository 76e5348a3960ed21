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

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_nats::Subject;
use async_nats::jetstream;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{DirectGetErrorKind, InfoError, RawMessageErrorKind, Stream};
use bytes::Bytes;
use futures::future::try_join_all;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};
use slipstream_core::lane::Lane;
use slipstream_core::timestamp::Timestamp;

use super::{Held, HeldEvents, marked_until};
use crate::connect::BusError;
use crate::message::Outgoing;
use crate::page::{MESSAGES_MAX, read_page};
use crate::publish::PublishError;
use crate::schedules::HoldError;
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
/// Removals of this process that are under way at once. Each costs a server that syncs always a sync, so more are not
/// quicker; and with many, whatever else asks about the stream waits behind them (measured: 2.4 s with 64, 45 ms with 2).
pub(super) const REMOVALS_MAX: usize = 2;
/// Marks that are looked at at once.
const MARKS_READ_MAX: usize = 32;
/// Pages of lists that are read before what they name is dealt with.
const PAGES_MAX: usize = 1000;
/// How long after its time a list is looked for that should be gone.
const OVERDUE: Duration = Duration::from_mins(1);

/// When an event with these times comes due: at its intended time or up to 250 ms later, so that many wake together, and
/// with three quarters of the time to its expiry left.
pub fn due_at(intended_at: Timestamp, expires_at: Option<Timestamp>) -> Timestamp {
    let intended = intended_at.as_millis();
    let late = (STEP_MILLIS - intended.rem_euclid(STEP_MILLIS)) % STEP_MILLIS;
    let late = Duration::from_millis(late as u64);
    intended_at.after(expires_at.map_or(late, |expires_at| late.min(expires_at.since(intended_at) / 4)))
}

/// The lane and the time, in Unix milliseconds, of the list that a held event belongs on.
fn time_of(held: &Held) -> (Lane, i64) {
    (held.lane, held.meta.intended_at.map_or(0, |at| due_at(at, held.meta.expires_at).as_millis()))
}

/// What a list names: places of events; or subjects of marks, which are listed before they have a place.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum List {
    Places(Vec<u64>),
    Ended(Vec<String>),
}

impl List {
    fn message(&self, lane: Lane, at: i64) -> Outgoing {
        let list = serde_json::to_vec(self).expect("numbers and texts have a JSON form");
        Outgoing::new(subject::due_list(lane, at, rand::random()), Bytes::from(list))
    }
}

/// The events that come due at one time, as its lists name them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Due {
    /// Where they lie in `HELD`, each place once.
    pub places: Vec<u64>,
    /// The subjects in `HELD` of what had ended, where a mark is to be taken away ([`HeldEvents::remove_marks`]), each once.
    pub ended: Vec<Subject>,
    /// The last of the lists.
    last: u64,
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
            times.entry(time_of(held)).or_default().push(sequence);
        }
        if times.is_empty() {
            return Ok(());
        }
        let lists = times.iter().flat_map(|((lane, at), held)| {
            held.chunks(LIST_LEN_MAX).map(|held| List::Places(held.to_vec()).message(*lane, *at))
        });
        self.held.publish_each(&lists.collect::<Vec<_>>()).await?;
        self.set_alarms(times.keys().copied().collect(), now).await
    }

    /// Has the mark of an event's end taken away at `until`, which is far enough that the alarm can come first: it is in
    /// no danger of ringing before there is a list, and so no list is ever without one.
    pub(super) async fn note_mark(
        &self,
        held: &Held,
        until: Timestamp,
        now: impl Fn() -> Timestamp,
    ) -> Result<(), PublishError> {
        let (lane, at) = (held.lane, until.as_millis());
        self.set_alarms(vec![(lane, at)], now).await?;
        let list = List::Ended(vec![subject::held(&held.site, &held.key).to_string()]);
        self.held.publish(list.message(lane, at)).await.map(drop)
    }

    /// Has the lists of an event's time looked through when that has come, in case somebody left one without an alarm.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn wake(&self, held: &Held, now: impl Fn() -> Timestamp) -> Result<(), PublishError> {
        self.set_alarms(vec![time_of(held)], now).await
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

    /// What comes due at this time; none if there is no list of it. Not all of it, if there is very much: when that is
    /// done and its lists are removed, asking again tells the rest.
    ///
    /// # Errors
    /// If JetStream does not answer.
    pub async fn due(&self, lane: Lane, at: Timestamp) -> Result<Option<Due>, BusError> {
        let lists = subject::due_lists(lane, at.as_millis());
        let (mut due, mut from) = (Due::default(), 1);
        for _ in 0..PAGES_MAX {
            let page = read_page(&self.bus, StreamName::Held, &lists, from, MESSAGES_MAX).await?;
            let Some(last) = page.last() else { break };
            (due.last, from) = (last.sequence, last.sequence + 1);
            for list in page {
                match serde_json::from_slice(&list.payload) {
                    Ok(List::Places(places)) => due.places.extend(places),
                    Ok(List::Ended(subjects)) => due.ended.extend(subjects.into_iter().map(Subject::from)),
                    Err(_) => {
                        tracing::error!(subject = %list.subject.escape_debug(), "not a list of ours: skipped");
                    }
                }
            }
        }
        if due.last == 0 {
            // Any replica may say what there is; that there is nothing must be said by the leader.
            return match self.stream().await?.get_first_raw_message_by_subject(lists, 1).await {
                Ok(_) => Err(BusError::Behind { stream: StreamName::Held.as_str() }),
                Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
                Err(error) => Err(BusError::jetstream("looking for what comes due", error)),
            };
        }
        due.places.sort_unstable();
        due.places.dedup();
        due.ended.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        due.ended.dedup();
        Ok(Some(due))
    }

    /// The events at these places that are still held as they were when they were listed. The others have been changed or
    /// cancelled, or are published already.
    ///
    /// # Errors
    /// If JetStream does not answer.
    pub async fn read(&self, places: &[u64]) -> Result<Vec<(u64, Held)>, BusError> {
        let stream = self.stream().await?;
        let is_alone = self.bus.replicas() == 1;
        let stored = try_join_all(places.iter().map(|place| stored_at(&stream, *place, is_alone))).await?;
        let held = stored.into_iter().flatten().filter_map(|stored| {
            let (place, subject) = (stored.sequence, stored.subject.clone());
            let held = StoredEvent::read(stored).and_then(Held::read);
            if held.is_none() {
                // It stays where it is: somebody may be able to make something of it.
                tracing::error!(subject = %subject.escape_debug(), place, "a held event cannot be read: left as it is");
            }
            Some((place, held?))
        });
        Ok(held.collect())
    }

    /// Takes held events away that are published by now.
    ///
    /// # Errors
    /// If JetStream does not answer, or refuses.
    pub async fn remove(&self, places: Vec<u64>) -> Result<(), BusError> {
        let removals = stream::iter(places).map(async |place| {
            let _turn = self.removals.acquire().await.expect("nobody closes it");
            self.remove_one(place).await
        });
        removals.buffer_unordered(REMOVALS_MAX).try_collect().await
    }

    /// Takes away the marks under these subjects that are kept no longer than until `at`. What else lies there stays.
    ///
    /// # Errors
    /// If JetStream does not answer, or refuses.
    pub async fn remove_marks(&self, subjects: Vec<Subject>, at: Timestamp) -> Result<(), BusError> {
        let looks = stream::iter(subjects).map(async |subject| self.bus.last_event(StreamName::Held, &subject).await);
        let there: Vec<_> = looks.buffer_unordered(MARKS_READ_MAX).try_collect().await?;
        let is_over = |there: &StoredEvent| marked_until(there).is_some_and(|until| until <= at);
        self.remove(there.into_iter().flatten().filter(is_over).map(|there| there.sequence).collect()).await
    }

    /// Takes away what lies at a place; nothing is as good.
    pub(super) async fn remove_one(&self, place: u64) -> Result<(), BusError> {
        // The client's own call would have the server overwrite the message with noise first.
        let subject = format!("STREAM.MSG.DELETE.{}", StreamName::Held.as_str());
        let request = serde_json::json!({ "seq": place, "no_erase": true });
        let failed = |error: async_nats::Error| BusError::jetstream("taking a held event away", error);
        let answer = self.bus.jetstream.request(subject, &request).await.map_err(|error| failed(error.into()))?;
        match answer {
            Response::Ok(Deleted { success: true }) => Ok(()),
            Response::Ok(Deleted { success: false }) => Err(failed("the server did not do it".into())),
            Response::Err { error } if is_gone(&error) => Ok(()),
            Response::Err { error } => Err(failed(error.into())),
        }
    }

    /// Takes the lists away that told of `due`: what they name is published.
    ///
    /// # Errors
    /// If JetStream does not answer.
    pub async fn remove_lists(&self, lane: Lane, at: Timestamp, due: &Due) -> Result<(), BusError> {
        let lists = subject::due_lists(lane, at.as_millis());
        let purge = self.stream().await?.purge().sequence(due.last + 1).filter(lists);
        purge.await.map(drop).map_err(|error| BusError::jetstream("taking lists away", error))
    }

    /// Sets an alarm for every list whose time has passed long ago, and returns how many times that were. There should be
    /// none: an alarm was lost, or the server did not fire it (it gives up when its store is full).
    ///
    /// # Errors
    /// See [`HoldError`].
    pub async fn wake_overdue(&self, now: impl Fn() -> Timestamp) -> Result<usize, HoldError> {
        let failed = |error: async_nats::Error| BusError::jetstream("looking for what is overdue", error);
        let stream = self.stream().await?;
        let lists = stream.info_with_subjects("lists.>").await.map_err(|error| failed(error.into()))?;
        let overdue = now().as_millis() - OVERDUE.as_millis() as i64;
        let lists: Vec<_> = lists.try_collect().await.map_err(|error: InfoError| failed(error.into()))?;
        let times = lists.iter().filter_map(|(list, _)| subject::parse_due_list(list));
        let times: BTreeSet<_> = times.filter(|(_, at)| *at < overdue).collect();
        let count = times.len();
        if count > 0 {
            self.set_alarms(times.into_iter().collect(), now).await?;
        }
        Ok(count)
    }

    async fn stream(&self) -> Result<Stream<()>, BusError> {
        let stream = self.bus.jetstream.get_stream_no_info(StreamName::Held.as_str()).await;
        stream.map_err(|error| BusError::jetstream("finding stream HELD", error))
    }
}

/// What the server answers to a removal.
#[derive(Deserialize)]
struct Deleted {
    #[serde(default)]
    success: bool,
}

/// Whether a removal was refused because there is nothing to remove.
fn is_gone(error: &jetstream::Error) -> bool {
    const SEQUENCE_NOT_FOUND: u64 = 10043;
    const DELETE_FAILED: u64 = 10057;
    let is_not_found = error.to_string().contains("not found") || error.to_string().contains("no message found");
    match error.error_code().0 {
        SEQUENCE_NOT_FOUND => true,
        DELETE_FAILED => is_not_found,
        _ => false,
    }
}

/// What lies at a place, as the leader has it: another replica may be behind, and have what is replaced or gone. A server
/// that `is_alone` is asked the quicker way.
async fn stored_at(stream: &Stream<()>, place: u64, is_alone: bool) -> Result<Option<StreamMessage>, BusError> {
    let failed = |error: async_nats::Error| BusError::jetstream("reading a held event", error);
    if is_alone {
        return match stream.direct_get(place).await {
            Ok(message) => Ok(Some(message)),
            Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(error.into())),
        };
    }
    match stream.get_raw_message(place).await {
        Ok(message) => Ok(Some(message)),
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
