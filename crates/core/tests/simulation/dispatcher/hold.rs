//! Hold and release, as `hold.rs` of the dispatcher.

use std::rc::Rc;

use slipstream_core::contract::{RoutedEvent, SeenQuestion};
use slipstream_core::event::envelope::Envelope;
use slipstream_core::ids::{EventKey, content_hash, id_hash};
use slipstream_core::lane::Visibility;
use slipstream_core::timestamp::Timestamp;

use super::super::message::{Message, Outgoing, Payload, Place, PublishError, StreamName, Subject};
use super::super::mutation::Mutation;
use super::super::schedules::{self, Held, Holding, due_id};
use super::Dispatcher;
use super::route::describe;

impl Dispatcher {
    /// An event whose time is ahead, or a change of one: becomes a schedule, is due at once, or ends.
    pub(super) async fn hold(&self, message: &Message) -> Result<(), PublishError> {
        let Some((held, question)) = read(message) else { return Ok(()) };
        // A change of an event is not a repeat of it.
        let holds_repeats = self.node.world.is(Mutation::HoldRepeats);
        if held.meta.generation == 0 && !holds_repeats && self.look(&[question]).await.is_repeat(&question) {
            return Ok(());
        }
        let now = self.node.now();
        // Handed out once more, it may be older than what has been made of the event since.
        if message.is_again && schedules::has_later_generation(&self.node, &held).await {
            return Ok(());
        }
        if held.meta.cancelled_at.is_some() {
            if !self.node.world.is(Mutation::IgnoreCancelledGeneration) {
                self.forget(&held).await;
            }
        } else if let Some(intended_at) = held.meta.intended_at.filter(|at| *at > now) {
            let room = held.meta.expires_at.map(|expires_at| expires_at.since(intended_at).as_millis() as i64 / 4);
            let share = self.node.world.chance(super::super::chance::Chance::share);
            match schedules::hold(&self.node, &held, spread(intended_at, now, room, share)).await? {
                Holding::Held => {}
                Holding::Changed | Holding::Repeat => return Ok(()),
            }
        } else {
            // Changed to a time that has passed: what it waited as is not needed any more.
            return self.make_due(&held, true).await;
        }
        let Some(record) = record(&held) else { return Ok(()) };
        self.node.publish(Outgoing::new(Subject::Routed, Payload::Routed(Rc::new(record)))).await?;
        Ok(())
    }

    /// A held event that came due.
    pub(super) async fn release(&self, message: &Message) -> Result<(), PublishError> {
        let Some((held, _)) = read(message) else { return Ok(()) };
        let is_early = held.meta.intended_at.filter(|intended_at| *intended_at > self.node.now());
        if let Some(intended_at) = is_early.filter(|_| !self.node.world.is(Mutation::FireEarly)) {
            // By our clock it is not yet time, whatever the server's says (N3).
            schedules::hold(&self.node, &held, intended_at).await?;
            return Ok(());
        }
        self.make_due(&held, false).await
    }

    /// Publishes a held event to where it goes when it is due, unless its generation has ended otherwise.
    async fn make_due(&self, held: &Held, was_moved: bool) -> Result<(), PublishError> {
        let due = held.message(held.due_subject.clone()).id(due_id(&held.key, held.meta.generation));
        let due =
            if self.node.world.is(Mutation::IgnoreCancelledGeneration) { Outgoing { id: None, ..due } } else { due };
        let ack = self.node.publish(due).await?;
        if ack.duplicate && self.has_changed(held, ack.sequence).await? {
            return Ok(());
        }
        if was_moved {
            self.forget(held).await;
        }
        Ok(())
    }

    /// Whether what stands at `sequence` under this generation's id is a change that ended it. If so, makes sure that the
    /// changed event waits, or is due if its time has passed meanwhile: the firing that brought us here may have purged
    /// its schedule.
    async fn has_changed(&self, held: &Held, sequence: u64) -> Result<bool, PublishError> {
        self.node.step().await;
        let stored = self.node.world.broker.borrow().get(StreamName::Events, sequence);
        let later = stored.filter(|stored| matches!(stored.subject, Subject::Later(..)));
        let Some(next) = later.and_then(|stored| Held::read(&stored, held.key)) else { return Ok(false) };
        let now = self.node.now();
        match next.meta.intended_at.filter(|at| *at > now) {
            _ if next.meta.cancelled_at.is_some() => {}
            Some(intended_at) => drop(schedules::hold(&self.node, &next, intended_at).await?),
            None => Box::pin(self.make_due(&next, false)).await?,
        }
        Ok(true)
    }

    /// Takes away what an event waits as.
    async fn forget(&self, held: &Held) {
        self.node.step().await;
        self.node.world.broker.borrow_mut().purge(Place::Held(held.key));
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

/// A little later than `at`, never by more than `room`; milliseconds.
fn spread(at: Timestamp, now: Timestamp, room: Option<i64>, share: f64) -> Timestamp {
    let span = (at.since(now).as_millis() as i64 / 100).clamp(250, 30_000);
    let span = room.map_or(span, |room| span.min(room));
    Timestamp::from_millis(at.as_millis() + (span as f64 * share) as i64)
}
