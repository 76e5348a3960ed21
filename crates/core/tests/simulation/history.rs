//! What really happened, by true time: written as it happens, by the world and not by the code under test, and read by
//! the checker.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use slipstream_core::answer::Answer;
use slipstream_core::config::{EndpointState, Subscription};
use slipstream_core::contract::{Meta, Outcome};
use slipstream_core::delivery::DeliveryState;
use slipstream_core::event::envelope::Envelope;
use slipstream_core::ids::{DeliveryId, EventKey, ReplayId, SubscriptionId, content_hash};
use slipstream_core::lane::Visibility;
use slipstream_core::timestamp::Timestamp;

use super::executor::{PROCESSES, Process};
use super::message::{ConsumerName, Message, Payload, Stored, Subject};

/// Counts over a world, or over many.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Stats {
    pub(crate) worlds: u64,
    /// Things that happened in virtual time.
    pub(crate) events: u64,
    pub(crate) accepted: u64,
    pub(crate) attempts: u64,
    pub(crate) faults: u64,
    /// Attempts beyond one for each number.
    pub(crate) duplicates: u64,
    /// Steps of deliveries that were stored a second time because the broker had forgotten their ids.
    pub(crate) beyond_window: u64,
    /// Late repeats that were recognised.
    pub(crate) late_repeats: u64,
    /// Changes by people that were answered with success.
    pub(crate) changes: u64,
    pub(crate) replays: u64,
}

impl std::fmt::Display for Stats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            worlds,
            events,
            accepted,
            attempts,
            faults,
            duplicates,
            beyond_window,
            late_repeats,
            changes,
            replays,
        } = self;
        write!(
            f,
            "{worlds} worlds: {events} steps, {accepted} events accepted, {late_repeats} late repeats dropped, "
        )?;
        write!(f, "{attempts} attempts ({duplicates} duplicates, {beyond_window} steps beyond the broker's window), ")?;
        write!(f, "{faults} faults, {changes} changes by people, {replays} replays")
    }
}

impl Stats {
    pub(crate) fn add(&mut self, other: &Self) {
        self.worlds += other.worlds;
        self.events += other.events;
        self.accepted += other.accepted;
        self.attempts += other.attempts;
        self.faults += other.faults;
        self.duplicates += other.duplicates;
        self.beyond_window += other.beyond_window;
        self.late_repeats += other.late_repeats;
        self.changes += other.changes;
        self.replays += other.replays;
    }
}

/// An event that `EVENTS` took from a publisher.
#[derive(Debug)]
pub(crate) struct Acceptance {
    pub(crate) key: EventKey,
    pub(crate) accepted_at: Timestamp,
    pub(crate) event_type: String,
    pub(crate) visibility: Visibility,
    pub(crate) intended_at: Option<Timestamp>,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) body: Rc<[u8]>,
}

/// An HTTP request that left.
#[derive(Debug)]
pub(crate) struct AttemptMade {
    pub(crate) delivery: DeliveryId,
    pub(crate) subscription: SubscriptionId,
    pub(crate) key: EventKey,
    /// What travelled with it.
    pub(crate) meta: Meta,
    /// Which handing out of its message led to it.
    pub(crate) instance: u64,
    pub(crate) process: Process,
    pub(crate) started: i64,
    /// The sender's clock then.
    pub(crate) clock: Timestamp,
    /// When its answer was there, and the answer; none if the sender died meanwhile.
    pub(crate) ended: Option<(i64, Answer)>,
    /// When its record was durable; never if the sender died before.
    pub(crate) recorded: Option<i64>,
    pub(crate) webhook_id: String,
    pub(crate) body_hash: i64,
    /// Whether the receiver could verify it.
    pub(crate) is_verified: bool,
}

/// A delivery's message in the hands of a dispatcher.
#[derive(Debug)]
pub(crate) struct HandedOut {
    pub(crate) delivery: DeliveryId,
    pub(crate) sequence: u64,
    pub(crate) process: Process,
    pub(crate) is_again: bool,
    pub(crate) at: i64,
    pub(crate) lease_ends: i64,
    /// When it was acknowledged, or who held it died.
    pub(crate) let_go: Option<i64>,
}

/// What a subscription was from some instant on; none when it is gone.
#[derive(Debug)]
pub(crate) struct Configured {
    pub(crate) at: i64,
    pub(crate) subscription: SubscriptionId,
    pub(crate) state: Option<EndpointState>,
}

/// What people did and were told had been done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Changed {
    EventCancelled(EventKey, Timestamp),
    EventMoved(EventKey, Timestamp),
    DeliveryCancelled(DeliveryId),
    DeliveryMoved(DeliveryId, u32),
}

#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) stats: Stats,
    /// Lines for a reader, if one was asked for.
    pub(crate) trace: Option<Vec<String>>,
    /// When requests are published, counted from the beginning.
    pub(crate) requests: Vec<i64>,
    pub(crate) accepted: Vec<Acceptance>,
    /// Requests that were answered with 2xx.
    pub(crate) answered: BTreeSet<EventKey>,
    /// Events of requests that were refused.
    pub(crate) refused: BTreeSet<EventKey>,
    pub(crate) attempts: Vec<AttemptMade>,
    pub(crate) handed_out: BTreeMap<u64, HandedOut>,
    /// Outcomes in `OUTCOMES`, and when they were there first.
    pub(crate) recorded: BTreeMap<(DeliveryId, u32), i64>,
    /// Deliveries whose outcome in `OUTCOMES` says that they were taken.
    pub(crate) succeeded: BTreeSet<DeliveryId>,
    /// Steps stored again under an id that the broker had forgotten.
    pub(crate) beyond_window: BTreeMap<DeliveryId, u32>,
    /// Events whose routing went on without asking for repeats, or before the log knew of the first one.
    pub(crate) not_asked: BTreeSet<(EventKey, Timestamp)>,
    /// When an event was published as due, by acceptance.
    pub(crate) due: BTreeMap<(EventKey, Timestamp), i64>,
    pub(crate) configured: Vec<Configured>,
    /// Which types each subscription asked for, and which of them have a rate.
    pub(crate) event_types: BTreeMap<SubscriptionId, Vec<String>>,
    pub(crate) limited: BTreeSet<SubscriptionId>,
    pub(crate) changed: Vec<(i64, Changed)>,
    /// All changes that were asked for, whatever the answer.
    pub(crate) attempted_changes: Vec<Changed>,
    /// Replays that were asked for, and those of them that were promised.
    pub(crate) replays_asked: BTreeSet<DeliveryId>,
    pub(crate) replays: BTreeSet<DeliveryId>,
    /// Deliveries that were acknowledged before the record of their attempt was durable.
    pub(crate) acknowledged_early: Vec<DeliveryId>,
    frozen_until: [i64; PROCESSES],
    /// Freezes: of whom, from when, until when.
    freezes: Vec<(Process, i64, i64)>,
}

impl History {
    pub(crate) fn new(is_traced: bool) -> Self {
        Self { trace: is_traced.then(Vec::new), ..Self::default() }
    }

    /// A stream has taken a message.
    pub(crate) fn stored(&mut self, stored: &Stored, id: Option<&str>, was_known: bool, now: i64) {
        match (&stored.subject, &stored.payload) {
            (Subject::Event(..) | Subject::Later(..), Payload::Event(body)) => self.stored_event(stored, body, id, now),
            (Subject::Delivery(_, subscription, key), _) if was_known => {
                if let Some(meta) = &stored.meta {
                    self.repeated(delivery_id(meta, *subscription, key));
                }
            }
            (Subject::Waiting(_, delivery), _) if was_known => self.repeated(*delivery),
            (Subject::Outcomes, Payload::Outcome(_, outcome)) => self.stored_outcome(outcome, now),
            _ => {}
        }
    }

    fn repeated(&mut self, delivery: DeliveryId) {
        *self.beyond_window.entry(delivery).or_default() += 1;
        self.stats.beyond_window += 1;
    }

    fn stored_event(&mut self, stored: &Stored, body: &Rc<[u8]>, id: Option<&str>, now: i64) {
        let (Some(meta), Ok(envelope)) = (&stored.meta, Envelope::read(body)) else { return };
        let key = EventKey::new(&meta.site, &envelope.source, &envelope.id);
        let visibility = match (&stored.subject, &stored.due_subject) {
            (Subject::Event(visibility, ..), _) | (_, Some(Subject::Event(visibility, ..))) => *visibility,
            _ => return,
        };
        if matches!(stored.subject, Subject::Event(..)) {
            self.due.entry((key, meta.accepted_at)).or_insert(now);
        }
        // What ingest publishes has the key itself as its id; what was held and is due has another.
        if id == Some(key.as_str()) {
            self.stats.accepted += 1;
            self.accepted.push(Acceptance {
                key,
                accepted_at: meta.accepted_at,
                event_type: envelope.event_type.into_owned(),
                visibility,
                intended_at: meta.intended_at,
                expires_at: meta.expires_at,
                body: Rc::clone(body),
            });
        }
    }

    fn stored_outcome(&mut self, outcome: &Outcome, now: i64) {
        if let Some(attempt) = &outcome.attempt {
            self.recorded.entry((outcome.delivery, attempt.number)).or_insert(now);
            let is_of = |made: &&mut AttemptMade| {
                let took = made.ended.as_ref().map(|(ended, _)| (ended - made.started).unsigned_abs() * 1000);
                (made.delivery, made.number(), made.clock, took, made.status())
                    == (outcome.delivery, attempt.number, attempt.started_at, Some(attempt.duration_us), attempt.status)
            };
            // Two lives of one delivery may have had the very same.
            if let Some(made) = self.attempts.iter_mut().filter(|it| it.recorded.is_none()).find(is_of) {
                made.recorded = Some(now);
            }
        }
        if outcome.state == DeliveryState::Succeeded {
            self.succeeded.insert(outcome.delivery);
        }
    }

    /// A message is in the hands of a process.
    pub(crate) fn handed_out(&mut self, message: &Message, process: Process, now: i64) {
        if let (Subject::Delivery(_, subscription, key), Some(meta)) = (&message.stored.subject, &message.stored.meta) {
            let delivery = delivery_id(meta, *subscription, key);
            let handed_out = HandedOut {
                delivery,
                sequence: message.stored.sequence,
                process,
                is_again: message.is_again,
                at: now,
                lease_ends: now + message.consumer.lease(),
                let_go: None,
            };
            self.handed_out.insert(message.instance, handed_out);
        }
    }

    /// A process dies.
    pub(crate) fn died(&mut self, process: Process, now: i64) {
        for handed_out in self.handed_out.values_mut().filter(|it| it.process == process) {
            handed_out.let_go = handed_out.let_go.or(Some(now));
        }
    }

    /// A process lets go of a message.
    pub(crate) fn acknowledged(&mut self, message: &Message, now: i64) {
        if message.consumer != ConsumerName::Deliver {
            return;
        }
        if let Some(handed_out) = self.handed_out.get_mut(&message.instance) {
            handed_out.let_go = handed_out.let_go.or(Some(now));
        }
        let of_instance = |attempt: &&AttemptMade| attempt.instance == message.instance;
        let Some(attempt) = self.attempts.iter().rev().find(of_instance) else { return };
        // Of two lives that made the very same attempt in the same instant, the record is that of either.
        let is_recorded = |it: &AttemptMade| {
            let same = |it: &AttemptMade| (it.delivery, it.number(), it.clock, it.status());
            same(it) == same(attempt) && it.recorded.is_some()
        };
        if !self.attempts.iter().any(is_recorded) {
            self.acknowledged_early.push(attempt.delivery);
        }
    }

    pub(crate) fn configured(&mut self, at: i64, subscription: SubscriptionId, now: Option<&Subscription>) {
        self.configured.push(Configured { at, subscription, state: now.map(|now| now.state) });
        if let Some(now) = now {
            self.event_types.insert(subscription, now.event_types.clone());
            if now.rate_per_minute().is_some() {
                self.limited.insert(subscription);
            }
        }
    }

    pub(crate) fn frozen(&mut self, process: Process, now: i64, until: i64) {
        // One that begins within another only makes it longer.
        self.freezes.push((process, now.max(self.frozen_until[process]), until));
        self.frozen_until[process] = until.max(self.frozen_until[process]);
    }

    /// How long a process was frozen between two instants.
    pub(crate) fn frozen_between(&self, process: Process, from: i64, to: i64) -> i64 {
        let of_process = self.freezes.iter().filter(|(frozen, ..)| *frozen == process);
        of_process.map(|(_, began, ended)| (to.min(*ended) - from.max(*began)).max(0)).sum()
    }

    /// Whether a process was frozen at some time after `since`.
    pub(crate) fn was_frozen(&self, process: Process, since: i64) -> bool {
        self.frozen_until[process] > since
    }
}

/// The delivery that a message of `WORK` is about, worked out anew.
pub(crate) fn delivery_id(meta: &Meta, subscription: SubscriptionId, key: &EventKey) -> DeliveryId {
    match meta.replay {
        None => DeliveryId::derive(meta.accepted_at, subscription, key),
        Some(replay) => DeliveryId::derive_replay(meta.accepted_at, subscription, key, replay),
    }
}

impl AttemptMade {
    pub(crate) const fn number(&self) -> u32 {
        self.meta.attempt
    }

    pub(crate) const fn replay(&self) -> Option<ReplayId> {
        self.meta.replay
    }

    /// The status of its answer, if there was one.
    pub(crate) fn status(&self) -> Option<u16> {
        self.ended.as_ref().and_then(|(_, answer)| answer.result.ok())
    }

    /// Whether its answer leaves nothing to be tried, by the table for letters (SPEC 4.2) as it stands there.
    pub(crate) fn was_final(&self) -> bool {
        self.status()
            .is_some_and(|status| (200..300).contains(&status) || (400..500).contains(&status) && status != 429)
    }

    pub(crate) fn body_hash(body: &[u8]) -> i64 {
        content_hash(body)
    }
}
