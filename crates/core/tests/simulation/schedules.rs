//! What waits, and how people change it: as `bus::held` and `bus::schedules` have it.

use std::rc::Rc;

use slipstream_core::contract::Meta;
use slipstream_core::ids::{DeliveryId, EventKey, SubscriptionId};
use slipstream_core::lane::Lane;
use slipstream_core::slug::Slug;
use slipstream_core::timestamp::Timestamp;

use super::message::{Outgoing, Payload, Place, PublishError, Stored, StreamName, Subject};
use super::mutation::Mutation;
use super::node::Node;

/// How long before it is due a waiting delivery can be changed, and how much of that must be left when the change is
/// acknowledged; milliseconds.
const CHANGE_BEFORE: i64 = 1000;
const CERTAIN_BEFORE: i64 = 250;

/// The id under which `EVENTS` takes the due event of a generation, or the change that ends it: whichever is first.
pub(crate) fn due_id(key: &EventKey, generation: u32) -> String {
    if generation == 0 { format!("{key}.due") } else { format!("{key}.due.{generation}") }
}

/// An event that is held until its intended time.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) site: Slug,
    pub(crate) key: EventKey,
    pub(crate) lane: Lane,
    pub(crate) body: Rc<[u8]>,
    pub(crate) meta: Meta,
    pub(crate) due_subject: Subject,
}

#[derive(Debug, Clone)]
pub(crate) enum HeldChange {
    Times { body: Vec<u8>, intended_at: Timestamp, expires_at: Option<Timestamp> },
    Cancel,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replaced {
    Done,
    TooLate,
}

impl Held {
    /// The held event that a message of `later.…` or `held.…` is about.
    pub(crate) fn read(stored: &Stored, key: EventKey) -> Option<Self> {
        let (body, meta, due_subject) = (stored.payload.bytes(), stored.meta.clone()?, stored.due_subject.clone()?);
        let (lane, site) = match (&stored.subject, &due_subject) {
            (Subject::Later(lane, site, _), _) | (Subject::Held(site, _), Subject::Event(_, lane, _)) => {
                (*lane, site.clone())
            }
            _ => return None,
        };
        Some(Self { site, key, lane, body, meta, due_subject })
    }

    /// This event after `change` at `now`: the next generation.
    pub(crate) fn changed(&self, change: HeldChange, now: Timestamp) -> Self {
        let mut next = self.clone();
        next.meta.generation = self.meta.generation.saturating_add(1);
        match change {
            HeldChange::Times { body, intended_at, expires_at } => {
                next.body = body.into();
                next.meta.intended_at = Some(intended_at);
                next.meta.expires_at = expires_at;
                next.meta.changed_at = Some(now);
            }
            HeldChange::Cancel => next.meta.cancelled_at = Some(now),
        }
        next
    }

    /// The message that it waits as.
    fn waiting(&self) -> Outgoing {
        self.message(Subject::Held(self.site.clone(), self.key)).due_subject(self.due_subject.clone())
    }

    /// The mark that it has ended, kept until `until`.
    fn mark(&self, until: Timestamp) -> Outgoing {
        let meta = Meta { intended_at: Some(until), expires_at: None, ..self.meta.clone() };
        Outgoing::new(Subject::Held(self.site.clone(), self.key), Payload::Event(Rc::from([]))).meta(meta)
    }

    /// The event under a subject.
    pub(crate) fn message(&self, subject: Subject) -> Outgoing {
        Outgoing::new(subject, Payload::Event(Rc::clone(&self.body))).meta(self.meta.clone())
    }
}

/// How long the mark of an end is kept, in milliseconds.
const END_KEPT: i64 = 600_000;

/// Until when what lies under `held.…` is kept as the mark of an end; none if it is an event.
fn marked_until(there: &Stored) -> Option<Timestamp> {
    there.meta.as_ref()?.intended_at.filter(|_| there.due_subject.is_none())
}

/// What [`hold`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holding {
    /// It is held now, or was already.
    Held,
    /// A later generation of it is held, which stands; or it has ended.
    Changed,
    /// The event is held as it was accepted at another time: this one repeats it.
    Repeat,
}

/// Holds an event until its intended time, in the place of an earlier generation of it and never in that of a later one.
pub(crate) async fn hold(node: &Node, held: &Held) -> Result<Holding, PublishError> {
    match store(node, held, None).await? {
        Ok(sequence) => note(node, held, sequence).await.map(|()| Holding::Held),
        Err(why_not) => Ok(why_not),
    }
}

/// Leaves the mark that an event has ended with this generation in the place of what it waited as. First comes what takes
/// the mark away.
pub(crate) async fn end(node: &Node, held: &Held) -> Result<(), PublishError> {
    let until = due_at(Timestamp::from_millis(node.now().as_millis() + END_KEPT), None);
    set_alarm(node, held.lane, until).await?;
    let id = node.world.chance(super::chance::Chance::number);
    node.publish(Outgoing::new(Subject::DueList(held.lane, until, id), Payload::EndList(held.key))).await?;
    store(node, held, Some(Timestamp::from_millis(until))).await.map(drop)
}

/// Takes away the mark of an event's end, if it is kept no longer than until `at`.
pub(crate) async fn remove_mark(node: &Node, key: EventKey, at: i64) {
    node.step().await;
    let there = node.world.broker.borrow().waiting(Place::Held(key));
    let is_over = |there: &Rc<Stored>| marked_until(there).is_some_and(|until| until.as_millis() <= at);
    let Some(there) = there.filter(is_over) else { return };
    node.step().await;
    node.world.broker.borrow_mut().remove(Place::Held(key), there.sequence);
}

/// How near a time has to be for its alarm to have a name of its own, and how much of that must be left when an alarm
/// without one is set; milliseconds.
const NEAR: i64 = 20_000;
const CERTAIN: i64 = 10_000;

/// When an event with these times comes due.
fn due_at(intended_at: Timestamp, expires_at: Option<Timestamp>) -> i64 {
    let intended = intended_at.as_millis();
    let late = (250 - intended.rem_euclid(250)) % 250;
    let room = expires_at.map(|expires_at| expires_at.since(intended_at).as_millis() as i64 / 4);
    intended + room.map_or(late, |room| late.min(room))
}

/// When a held event comes due.
fn time_of(held: &Held) -> i64 {
    held.meta.intended_at.map_or(0, |intended_at| due_at(intended_at, held.meta.expires_at))
}

/// Has a held event come due at its time: puts its place on a list, and then sets the alarm.
async fn note(node: &Node, held: &Held, sequence: u64) -> Result<(), PublishError> {
    let world = &node.world;
    let (lane, at) = (held.lane, time_of(held));
    let id = world.chance(super::chance::Chance::number);
    let list = Outgoing::new(Subject::DueList(lane, at, id), Payload::DueList(Rc::from([sequence])));
    if world.is(Mutation::ShareNearAlarms) && at - node.now().as_millis() < NEAR {
        // Whoever is slow meets the alarm that rings.
        node.sleep((at - node.now().as_millis()).max(0) + world.between(0, 300)).await;
    }
    if world.is(Mutation::AlarmBeforeList) {
        set_alarm(node, lane, at).await?;
        node.publish(list).await?;
        return Ok(());
    }
    node.publish(list).await?;
    set_alarm(node, lane, at).await
}

/// Has the lists of an event's time looked through when that has come, in case one was left without an alarm.
pub(crate) async fn wake(node: &Node, held: &Held) -> Result<(), PublishError> {
    set_alarm(node, held.lane, time_of(held)).await
}

async fn set_alarm(node: &Node, lane: Lane, at: i64) -> Result<(), PublishError> {
    loop {
        let is_near = at - node.now().as_millis() < NEAR && !node.world.is(Mutation::ShareNearAlarms);
        let id = is_near.then(|| node.world.chance(super::chance::Chance::number));
        let alarm = Outgoing::new(Subject::Alarm(lane, at, id), Payload::Alarm);
        node.publish(alarm.at(Timestamp::from_millis(at), Subject::Ringing(lane, at))).await?;
        // One that has come near meanwhile may have been firing.
        let is_sure = id.is_some() || at - node.now().as_millis() >= CERTAIN;
        if is_sure || node.world.is(Mutation::ShareNearAlarms) {
            return Ok(());
        }
    }
}

/// Stores an event in the place of an earlier generation: where it lies, or why it does not need to. Or the mark of its
/// end, kept `until` then, in the place of this generation too.
async fn store(node: &Node, held: &Held, until: Option<Timestamp>) -> Result<Result<u64, Holding>, PublishError> {
    let world = &node.world;
    // A name of its own: a repeat after a lost acknowledgement is known as one, also when what it repeats was cancelled
    // meanwhile, and another try to hold the event is not.
    let name = world.chance(super::chance::Chance::number);
    let in_any_place = until.is_none() && held.meta.generation == 0 && world.is(Mutation::HoldRepeats);
    let mut last = 0;
    loop {
        let message = until.map_or_else(|| held.waiting(), |until| held.mark(until)).id(format!("held.{name:x}"));
        match node.publish(if in_any_place { message } else { message.expect_last(last) }).await {
            Ok(ack) => return Ok(Ok(ack.sequence)),
            Err(PublishError::Superseded) => {}
            Err(error) => return Err(error),
        }
        node.step().await;
        let there = world.broker.borrow().waiting(Place::Held(held.key));
        last = match there.as_ref().and_then(|there| there.meta.as_ref().map(|meta| (there, meta))) {
            None => 0,
            Some((_, meta)) if meta.accepted_at != held.meta.accepted_at => return Ok(Err(Holding::Repeat)),
            Some((there, meta)) if meta.generation > held.meta.generation => {
                if until.is_none() || !world.is(Mutation::ForgetLaterGeneration) {
                    return Ok(Err(Holding::Changed));
                }
                there.sequence
            }
            Some((there, meta)) if meta.generation < held.meta.generation => there.sequence,
            Some((there, _)) if marked_until(there).is_some() => return Ok(Err(Holding::Changed)),
            Some((there, _)) if until.is_none() => return Ok(Ok(there.sequence)),
            Some((there, _)) => there.sequence,
        };
    }
}

/// Takes away what an event waits as, of this generation or an earlier one.
pub(crate) async fn forget(node: &Node, held: &Held) {
    node.step().await;
    let there = node.world.broker.borrow().waiting(Place::Held(held.key));
    let any = node.world.is(Mutation::ForgetLaterGeneration);
    let is_older = |meta: &Meta| any || meta.generation <= held.meta.generation;
    let Some(there) = there.filter(|it| it.meta.as_ref().is_some_and(is_older)) else { return };
    node.step().await;
    node.world.broker.borrow_mut().remove(Place::Held(held.key), there.sequence);
}

/// Whether a later generation of a held event than this has been published.
pub(crate) async fn has_later_generation(node: &Node, held: &Held) -> bool {
    node.step().await;
    let last = node.world.broker.borrow().last_later(&held.key);
    last.and_then(|last| last.meta.clone())
        .is_some_and(|last| last.accepted_at == held.meta.accepted_at && last.generation > held.meta.generation)
}

/// Changes a held event; [`Replaced::Done`] means that it is durable and decided.
pub(crate) async fn change_held(node: &Node, held: &Held, change: HeldChange) -> Result<Replaced, PublishError> {
    let now = node.now();
    let next = held.changed(change, now);
    let anew = next
        .message(Subject::Later(next.lane, next.site.clone(), next.key))
        .id(due_id(&held.key, held.meta.generation))
        .due_subject(next.due_subject.clone());
    let ack = node.publish(anew).await?;
    if ack.duplicate {
        // It may be this very change, published by a try whose acknowledgement was lost.
        node.step().await;
        let stored = node.world.broker.borrow().get(StreamName::Events, ack.sequence);
        if stored.is_none_or(|it| it.meta.as_ref() != Some(&next.meta) || it.payload.bytes() != next.body) {
            return Ok(Replaced::TooLate);
        }
    }
    if next.meta.cancelled_at.is_some() || next.meta.intended_at.is_none_or(|intended_at| intended_at <= now) {
        if !node.world.is(Mutation::IgnoreCancelledGeneration) && !node.world.is(Mutation::TrustOldIds) {
            forget(node, held).await;
        }
    } else {
        // Failing does no harm: the step that holds events does the same.
        let _ = hold(node, &next).await;
    }
    Ok(Replaced::Done)
}

/// A delivery that waits for its next attempt.
#[derive(Debug, Clone)]
pub(crate) struct Waiting {
    pub(crate) meta: Meta,
    pub(crate) delivery: DeliveryId,
    due_at: Timestamp,
    stored: Rc<Stored>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum WaitingChange {
    At(Timestamp),
    Cancel,
}

impl Waiting {
    pub(crate) fn find(node: &Node, subscription: SubscriptionId, delivery: DeliveryId) -> Option<Self> {
        let stored = node.world.broker.borrow().waiting(Place::Waiting(subscription, delivery))?;
        let (meta, due_at) = (stored.meta.clone()?, stored.schedule.as_ref()?.0);
        Some(Self { meta, delivery, due_at, stored })
    }

    pub(crate) fn sequence(&self) -> u64 {
        self.stored.sequence
    }

    pub(crate) const fn due_at(&self) -> Timestamp {
        self.due_at
    }

    /// Changes it. [`PublishError::Unanswered`] also when the acknowledgement came so late that it may have come due.
    pub(crate) async fn change(&self, node: &Node, change: WaitingChange) -> Result<Replaced, PublishError> {
        let started_at = node.now();
        if self.due_at.as_millis() - started_at.as_millis() < CHANGE_BEFORE {
            return Ok(Replaced::TooLate);
        }
        let mut meta = self.meta.clone();
        let at = match change {
            WaitingChange::At(at) => at,
            WaitingChange::Cancel => {
                meta.cancelled_at = Some(started_at);
                started_at
            }
        };
        if node.world.is(Mutation::CancelWithoutRecord) && matches!(change, WaitingChange::Cancel) {
            self.stored.subject.place().into_iter().for_each(|place| node.world.broker.borrow_mut().purge(place));
            return Ok(Replaced::Done);
        }
        let Some((_, target)) = &self.stored.schedule else { return Ok(Replaced::TooLate) };
        let name = node.world.chance(super::chance::Chance::number);
        let message = Outgoing::new(self.stored.subject.clone(), self.stored.payload.clone())
            .id(format!("changed.{name:x}"))
            .meta(meta)
            .expect_last(self.stored.sequence)
            .at(at, target.clone());
        match node.publish(message).await {
            Ok(_) if self.due_at.as_millis() - node.now().as_millis() >= CERTAIN_BEFORE => Ok(Replaced::Done),
            Ok(_) => Err(PublishError::Unanswered),
            Err(PublishError::Superseded) => Ok(Replaced::TooLate),
            Err(error) => Err(error),
        }
    }
}
