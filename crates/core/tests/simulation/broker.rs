//! A nats-server, as far as correctness leans on it: streams with duplicate windows, durable consumers with leases, and
//! schedules. Its promises are those that the project's trials found (DESIGN 3.3, 3.6; `bus::schedules`):
//!
//! - A stream takes a message id once within its window; the window is asked before what was expected to be the last.
//! - What a consumer does not acknowledge within the lease is handed out again. An acknowledgement counts however late it
//!   comes.
//! - A schedule fires never early and up to 250 ms late. It is read first and published a little later, and what was
//!   put in its place in between is purged with it; an alarm's place even a little after it has been published.
//! - The ids of a work-queue stream are forgotten when the server restarts.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use slipstream_core::ids::EventKey;
use slipstream_core::lane::Lane;

use super::executor::TaskId;
use super::message::{Ack, ConsumerName, Message, Outgoing, Payload, Place, PublishError, Stored, StreamName, Subject};

/// Windows of `EVENTS`, `WORK` and `OUTCOMES` in milliseconds.
const WINDOWS: [i64; 3] = [2 * 3600 * 1000, 120_000, 120_000];

#[derive(Debug)]
pub(crate) struct Broker {
    streams: [Stream; 3],
    consumers: [Consumer; ConsumerName::COUNT],
    instances: u64,
}

#[derive(Debug, Default)]
struct Stream {
    last: u64,
    messages: BTreeMap<u64, Rc<Stored>>,
    /// Under which sequence, and when, an id was stored. Entries beyond the window stay, to know that they were there.
    ids: BTreeMap<String, (u64, i64)>,
    /// What waits under each place.
    waiting: BTreeMap<Place, u64>,
}

#[derive(Debug, Default)]
struct Consumer {
    ready: VecDeque<u64>,
    /// Handed out and not acknowledged: which handing out.
    unacknowledged: BTreeMap<u64, u64>,
    /// Handed out at least once.
    handed_out: BTreeMap<u64, u32>,
    /// Tasks that wait for a message.
    waiters: Vec<TaskId>,
}

/// What storing a message came to.
#[derive(Debug)]
pub(crate) enum Taken {
    /// It was known.
    Repeat(Ack),
    /// It is new. `was_known` if its id had been there before, outside of the window.
    New { stored: Rc<Stored>, was_known: bool },
}

impl Broker {
    pub(crate) fn new() -> Self {
        Self { streams: Default::default(), consumers: Default::default(), instances: 0 }
    }

    fn stream(&mut self, name: StreamName) -> &mut Stream {
        &mut self.streams[name as usize]
    }

    /// Whether `id` is known to the stream now: such a message is not stored again.
    pub(crate) fn knows(&self, name: StreamName, id: &str, now: i64) -> Option<u64> {
        let known = self.streams[name as usize].ids.get(id).filter(|(_, at)| now - at < WINDOWS[name as usize]);
        known.map(|(sequence, _)| *sequence)
    }

    pub(crate) fn store(&mut self, outgoing: &Outgoing, now: i64) -> Result<Taken, PublishError> {
        let name = outgoing.subject.stream();
        let mut was_known = false;
        if let Some(id) = &outgoing.id {
            if let Some(sequence) = self.knows(name, id, now) {
                return Ok(Taken::Repeat(Ack { duplicate: true, sequence }));
            }
            was_known = self.stream(name).ids.contains_key(id);
        }
        let place = outgoing.subject.place();
        let stream = self.stream(name);
        if let Some(expected) = outgoing.expect_last {
            let last = place.and_then(|place| stream.waiting.get(&place)).copied().unwrap_or(0);
            if last != expected {
                return Err(PublishError::Superseded);
            }
        }
        stream.last += 1;
        let sequence = stream.last;
        if let Some(id) = &outgoing.id {
            stream.ids.insert(id.clone(), (sequence, now));
        }
        if let Some(before) = place.and_then(|place| stream.waiting.insert(place, sequence)) {
            stream.messages.remove(&before);
        }
        let Outgoing { subject, payload, meta, due_subject, schedule, .. } = outgoing.clone();
        let stored = Rc::new(Stored { sequence, subject, payload, meta, due_subject, schedule });
        stream.messages.insert(sequence, Rc::clone(&stored));
        for consumer in stored.subject.consumers() {
            self.consumers[*consumer as usize].ready.push_back(sequence);
        }
        Ok(Taken::New { stored, was_known })
    }

    /// What waits at `place`.
    pub(crate) fn waiting(&self, place: Place) -> Option<Rc<Stored>> {
        let stream = &self.streams[StreamName::Work as usize];
        stream.waiting.get(&place).and_then(|sequence| stream.messages.get(sequence)).cloned()
    }

    /// The lists of what comes due at `at`: where each lies, and what it names.
    pub(crate) fn due_lists(&self, lane: Lane, at: i64) -> Vec<(u64, Payload)> {
        let stream = &self.streams[StreamName::Work as usize];
        let of_time = stream.waiting.range(Place::DueList(lane, at, 0)..=Place::DueList(lane, at, u64::MAX));
        of_time.filter_map(|(_, sequence)| Some((*sequence, stream.messages.get(sequence)?.payload.clone()))).collect()
    }

    /// Takes away the lists of this time, up to the one at `last`.
    pub(crate) fn remove_lists(&mut self, lane: Lane, at: i64, last: u64) {
        let stream = self.stream(StreamName::Work);
        let of_time = stream.waiting.range(Place::DueList(lane, at, 0)..=Place::DueList(lane, at, u64::MAX));
        let done: Vec<_> = of_time.filter(|(_, sequence)| **sequence <= last).map(|(place, _)| *place).collect();
        for place in done {
            self.purge(place);
        }
    }

    /// Takes away what lies at `place`, if it is still the message at `sequence`.
    pub(crate) fn remove(&mut self, place: Place, sequence: u64) {
        if self.streams[StreamName::Work as usize].waiting.get(&place) == Some(&sequence) {
            self.purge(place);
        }
    }

    /// All places where something waits.
    pub(crate) fn places(&self) -> Vec<Place> {
        self.streams[StreamName::Work as usize].waiting.keys().copied().collect()
    }

    /// Takes away what waits at `place`.
    pub(crate) fn purge(&mut self, place: Place) {
        let stream = self.stream(StreamName::Work);
        if let Some(sequence) = stream.waiting.remove(&place) {
            stream.messages.remove(&sequence);
        }
    }

    /// The message at `sequence`, if the stream has it.
    pub(crate) fn get(&self, name: StreamName, sequence: u64) -> Option<Rc<Stored>> {
        self.streams[name as usize].messages.get(&sequence).cloned()
    }

    /// The last message of `later.…` for an event.
    pub(crate) fn last_later(&self, key: &EventKey) -> Option<Rc<Stored>> {
        let of_event = |stored: &&Rc<Stored>| matches!(&stored.subject, Subject::Later(_, _, of) if of == key);
        self.streams[StreamName::Events as usize].messages.values().rev().find(of_event).cloned()
    }

    /// Hands out the message at `index` of those that are ready.
    pub(crate) fn hand_out(&mut self, name: ConsumerName, index: usize) -> Option<Message> {
        let consumer = &mut self.consumers[name as usize];
        let sequence = consumer.ready.remove(index)?;
        let stored = self.streams[name.stream() as usize].messages.get(&sequence).cloned()?;
        self.instances += 1;
        consumer.unacknowledged.insert(sequence, self.instances);
        let times = consumer.handed_out.entry(sequence).or_default();
        *times += 1;
        let is_again = *times > 1;
        Some(Message { stored, consumer: name, instance: self.instances, is_again })
    }

    pub(crate) fn ready(&self, name: ConsumerName) -> usize {
        self.consumers[name as usize].ready.len()
    }

    /// The lease of a handing out is over. Whether the message is ready again by that.
    pub(crate) fn lease_is_over(&mut self, name: ConsumerName, sequence: u64, instance: u64) -> bool {
        let consumer = &mut self.consumers[name as usize];
        let is_held = consumer.unacknowledged.get(&sequence) == Some(&instance);
        if is_held {
            consumer.unacknowledged.remove(&sequence);
            consumer.ready.push_front(sequence);
        }
        is_held
    }

    pub(crate) fn acknowledge(&mut self, name: ConsumerName, sequence: u64) {
        let consumer = &mut self.consumers[name as usize];
        consumer.unacknowledged.remove(&sequence);
        consumer.ready.retain(|ready| *ready != sequence);
        if name.stream() == StreamName::Work {
            self.stream(StreamName::Work).messages.remove(&sequence);
        }
    }

    /// Has `task` woken when something is ready.
    pub(crate) fn wait(&mut self, name: ConsumerName, task: TaskId) {
        let waiters = &mut self.consumers[name as usize].waiters;
        if !waiters.contains(&task) {
            waiters.push(task);
        }
    }

    pub(crate) fn waiters(&mut self, name: ConsumerName) -> Vec<TaskId> {
        std::mem::take(&mut self.consumers[name as usize].waiters)
    }

    /// The server restarts: the ids of the work-queue stream are forgotten.
    pub(crate) fn restart(&mut self) {
        // Known still, but as if long ago.
        self.stream(StreamName::Work).ids.values_mut().for_each(|(_, at)| *at = i64::MIN / 2);
    }

    /// What no consumer has acknowledged, or waits: nothing at the end of a world.
    pub(crate) fn unfinished(&self) -> Vec<String> {
        let consumers = self.consumers.iter().enumerate().flat_map(|(number, consumer)| {
            let left = consumer.ready.iter().chain(consumer.unacknowledged.keys());
            left.map(move |sequence| format!("#{sequence} of consumer {number}"))
        });
        let waiting = self.streams[StreamName::Work as usize].waiting.iter();
        consumers.chain(waiting.map(|(place, sequence)| format!("#{sequence} at {place:?}"))).collect()
    }
}
