//! Hold and release, as `hold.rs` of the dispatcher.

use std::rc::Rc;

use slipstream_core::contract::RoutedEvent;
use slipstream_core::event::envelope::Envelope;
use slipstream_core::ids::{EventKey, content_hash};
use slipstream_core::lane::Visibility;
use slipstream_core::timestamp::Timestamp;

use super::super::message::{Message, Outgoing, Payload, Place, PublishError, StreamName, Subject};
use super::super::mutation::Mutation;
use super::super::schedules::{Held, due_id};
use super::Dispatcher;
use super::route::describe;

impl Dispatcher {
    /// An event whose time is ahead, or a change of one: becomes a schedule, is due at once, or ends.
    pub(super) async fn hold(&self, message: &Message) -> Result<(), PublishError> {
        let Some(held) = read(message) else { return Ok(()) };
        if self.is_repeat(&held).await {
            return Ok(());
        }
        let now = self.node.now();
        if held.meta.cancelled_at.is_some() {
            self.forget(&held).await;
        } else if let Some(intended_at) = held.meta.intended_at.filter(|at| *at > now) {
            let room = held.meta.expires_at.map(|expires_at| expires_at.since(intended_at).as_millis() as i64 / 4);
            let share = self.node.world.chance(super::super::chance::Chance::share);
            self.node.publish(held.schedule(spread(intended_at, now, room, share))).await?;
        } else {
            // Changed to a time that has passed: what it waited as is not needed any more.
            return self.make_due(&held, true).await;
        }
        let Some(record) = record(&held) else { return Ok(()) };
        self.node.publish(Outgoing::new(Subject::Routed, Payload::Routed(Rc::new(record)))).await?;
        Ok(())
    }

    /// Whether an earlier acceptance of the same event is held: that one stands (SPEC 4.7).
    async fn is_repeat(&self, held: &Held) -> bool {
        if self.node.world.is(Mutation::HoldRepeats) {
            return false;
        }
        self.node.step().await;
        let waiting = self.node.world.broker.borrow().waiting(Place::Held(held.key));
        let other = waiting.and_then(|stored| stored.meta.as_ref().map(|meta| meta.accepted_at));
        other.is_some_and(|other| other < held.meta.accepted_at)
    }

    /// A held event that came due.
    pub(super) async fn release(&self, message: &Message) -> Result<(), PublishError> {
        let Some(held) = read(message) else { return Ok(()) };
        let is_early = held.meta.intended_at.filter(|intended_at| *intended_at > self.node.now());
        if let Some(intended_at) = is_early.filter(|_| !self.node.world.is(Mutation::FireEarly)) {
            // By our clock it is not yet time, whatever the server's says (N3).
            self.node.publish(held.schedule_again(intended_at)).await?;
            return Ok(());
        }
        self.make_due(&held, false).await
    }

    /// Publishes a held event to where it goes when it is due, unless its generation has ended otherwise.
    async fn make_due(&self, held: &Held, was_moved: bool) -> Result<(), PublishError> {
        let due = held.message(held.due_subject.clone()).id(due_id(&held.key, held.meta.generation));
        let due = if self.node.world.is(Mutation::IgnoreCancelledGeneration) { Outgoing { id: None, ..due } } else { due };
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
    /// changed event waits: the firing that brought us here may have purged its schedule.
    async fn has_changed(&self, held: &Held, sequence: u64) -> Result<bool, PublishError> {
        self.node.step().await;
        let stored = self.node.world.broker.borrow().get(StreamName::Events, sequence);
        let later = stored.filter(|stored| matches!(stored.subject, Subject::Later(..)));
        let Some(next) = later.and_then(|stored| Held::read(&stored, held.key)) else { return Ok(false) };
        let now = self.node.now();
        if next.meta.cancelled_at.is_none()
            && let Some(intended_at) = next.meta.intended_at.filter(|at| *at > now)
        {
            self.node.publish(next.schedule_again(intended_at)).await?;
        }
        Ok(true)
    }

    /// Takes away what an event waits as.
    async fn forget(&self, held: &Held) {
        self.node.step().await;
        self.node.world.broker.borrow_mut().purge(Place::Held(held.key));
    }
}

fn read(message: &Message) -> Option<Held> {
    let bytes = message.stored.payload.bytes();
    let envelope = Envelope::read(&bytes).ok()?;
    let site = &message.stored.meta.as_ref()?.site;
    Held::read(&message.stored, EventKey::new(site, &envelope.source, &envelope.id))
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
