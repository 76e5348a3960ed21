//! Hold and release, as `hold.rs` and `hold/release.rs` of the dispatcher.

use std::rc::Rc;
use std::time::Duration;

use slipstream_core::contract::{RoutedEvent, SeenQuestion};
use slipstream_core::event::envelope::Envelope;
use slipstream_core::ids::{EventKey, content_hash, id_hash};
use slipstream_core::lane::{Lane, Visibility};

use super::super::message::{Message, Outgoing, Payload, Place, PublishError, StreamName, Subject};
use super::super::mutation::Mutation;
use super::super::schedules::{self, Held, Holding, due_id};
use super::Dispatcher;
use super::route::describe;

/// How old an event is from which on ids are not trusted.
const OLD: Duration = Duration::from_mins(90);

impl Dispatcher {
    /// An event whose time is ahead, or a change of one: waits, is due at once, or ends.
    pub(super) async fn hold(&self, message: &Message) -> Result<(), PublishError> {
        let Some((held, question)) = read(message) else { return Ok(()) };
        // A change of an event is not a repeat of it.
        let holds_repeats = self.node.world.is(Mutation::HoldRepeats);
        if held.meta.generation == 0 && !holds_repeats && self.look(&[question]).await.is_repeat(&question) {
            return Ok(());
        }
        if !self.decide(&held, message.is_again).await? {
            // Whoever tried to hold it before may have left a list without an alarm.
            if message.is_again || held.meta.generation > 0 {
                schedules::wake(&self.node, &held).await?;
            }
            return Ok(());
        }
        match schedules::hold(&self.node, &held).await? {
            Holding::Held => self.record_held(&held).await,
            Holding::Changed | Holding::Repeat => Ok(()),
        }
    }

    /// Whether an event, or a change of one, is to be held. If not, it has been dealt with.
    async fn decide(&self, held: &Held, is_again: bool) -> Result<bool, PublishError> {
        // Handed out once more, it may be older than what has been made of the event since.
        if is_again && schedules::has_later_generation(&self.node, held).await {
            // Whoever tried to hold it before may have stored it after the later one had come due and gone.
            schedules::forget(&self.node, held).await;
            return Ok(false);
        }
        if held.meta.cancelled_at.is_some() {
            if !self.node.world.is(Mutation::IgnoreCancelledGeneration) && !self.node.world.is(Mutation::TrustOldIds) {
                schedules::end(&self.node, held).await?;
            }
            self.record_held(held).await?;
            return Ok(false);
        }
        if held.meta.intended_at.is_none_or(|at| at <= self.node.now()) {
            // Changed to a time that has passed: what it waited as is not needed any more. Nobody has held what has just
            // been accepted.
            self.make_due(held, is_again || held.meta.generation > 0).await?;
            return Ok(false);
        }
        Ok(true)
    }

    async fn record_held(&self, held: &Held) -> Result<(), PublishError> {
        let Some(record) = record(held) else { return Ok(()) };
        self.node.publish(Outgoing::new(Subject::Routed, Payload::Routed(Rc::new(record)))).await?;
        Ok(())
    }

    /// An alarm rings: publishes what comes due.
    pub(super) async fn release(&self, message: &Message) -> Result<(), PublishError> {
        let Subject::Ringing(lane, at) = message.stored.subject else { return Ok(()) };
        // By our clock it may not be time yet, whatever the server's says (N3).
        while at > self.node.now().as_millis() && !self.node.world.is(Mutation::FireEarly) {
            self.node.sleep((at - self.node.now().as_millis()).min(10_000)).await;
        }
        while self.release_lists(lane, at).await? {}
        Ok(())
    }

    /// Publishes what the lists of this time name, and takes it away. False if there are none.
    async fn release_lists(&self, lane: Lane, at: i64) -> Result<bool, PublishError> {
        self.node.step().await;
        let lists = self.node.world.broker.borrow().due_lists(lane, at);
        let last = lists.iter().map(|(sequence, _)| *sequence).max();
        for (_, list) in lists {
            match list {
                Payload::DueList(held) => {
                    for sequence in held.iter() {
                        self.release_one(*sequence).await?;
                    }
                }
                Payload::EndList(key) => schedules::remove_mark(&self.node, key, at).await,
                _ => {}
            }
        }
        let Some(last) = last else { return Ok(false) };
        self.node.step().await;
        self.node.world.broker.borrow_mut().remove_lists(lane, at, last);
        Ok(true)
    }

    /// Publishes what is held at `sequence`, unless it has been changed, cancelled or published since.
    async fn release_one(&self, sequence: u64) -> Result<(), PublishError> {
        self.node.step().await;
        let stored = self.node.world.broker.borrow().get(StreamName::Work, sequence);
        let Some((stored, Some(Place::Held(key)))) = stored.map(|it| (Rc::clone(&it), it.subject.place())) else {
            return Ok(());
        };
        let Some(held) = Held::read(&stored, key) else { return Ok(()) };
        // `EVENTS` may have forgotten the id that says what has become of an old one.
        let is_old = self.node.now().since(held.meta.accepted_at) > OLD && !self.node.world.is(Mutation::TrustOldIds);
        if !is_old || !schedules::has_later_generation(&self.node, &held).await {
            self.make_due(&held, false).await?;
        }
        self.node.step().await;
        self.node.world.broker.borrow_mut().remove(Place::Held(key), sequence);
        Ok(())
    }

    /// Publishes a held event to where it goes when it is due, unless its generation has ended otherwise.
    async fn make_due(&self, held: &Held, may_wait: bool) -> Result<(), PublishError> {
        let due = held.message(held.due_subject.clone()).id(due_id(&held.key, held.meta.generation));
        let due =
            if self.node.world.is(Mutation::IgnoreCancelledGeneration) { Outgoing { id: None, ..due } } else { due };
        let ack = self.node.publish(due).await?;
        if ack.duplicate
            && self.has_changed(held, ack.sequence).await?
            && !self.node.world.is(Mutation::ForgetLaterGeneration)
        {
            return Ok(());
        }
        if may_wait {
            schedules::end(&self.node, held).await?;
        }
        Ok(())
    }

    /// Whether what stands at `sequence` under this generation's id is a change that ended it. If so, makes sure that the
    /// changed event waits, or is due if its time has passed meanwhile.
    async fn has_changed(&self, held: &Held, sequence: u64) -> Result<bool, PublishError> {
        self.node.step().await;
        let stored = self.node.world.broker.borrow().get(StreamName::Events, sequence);
        let later = stored.filter(|stored| matches!(stored.subject, Subject::Later(..)));
        let Some(next) = later.and_then(|stored| Held::read(&stored, held.key)) else { return Ok(false) };
        let now = self.node.now();
        match next.meta.intended_at.filter(|at| *at > now) {
            _ if next.meta.cancelled_at.is_some() => {}
            Some(_) => drop(schedules::hold(&self.node, &next).await?),
            None => Box::pin(self.make_due(&next, false)).await?,
        }
        Ok(true)
    }
}

fn read(message: &Message) -> Option<(Held, SeenQuestion)> {
    let bytes = message.stored.payload.bytes();
    let envelope = Envelope::read(&bytes).ok()?;
    let meta = message.stored.meta.as_ref()?;
    let key = EventKey::new(&meta.site, &envelope.source, &envelope.id);
    let question = SeenQuestion { key, id_hash: id_hash(&envelope.id), accepted_at: meta.accepted_at };
    Some((Held::read(&message.stored, key)?, question))
}

fn record(held: &Held) -> Option<RoutedEvent> {
    let Subject::Event(visibility, ..) = &held.due_subject else { return None };
    let visibility: Visibility = *visibility;
    let envelope = Envelope::read(&held.body).ok()?;
    let content_hash = Some(content_hash(&held.body));
    Some(RoutedEvent { content_hash, ..describe(held.key, &envelope, (visibility, held.lane), &held.meta) })
}
