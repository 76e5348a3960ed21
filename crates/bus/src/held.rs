//! Events that are held until their intended time, as things one can look at, move and cancel (DESIGN 3.3, 4 "Hold").
//!
//! A held event is a plain message of `HELD` under its own subject: the last one there is its latest generation. What
//! wakes it is not a schedule of its own. Events that come due at the same time stand together on lists, and one
//! schedule, the alarm of that time, makes the server say that it has come: see [`due`] for why.
//!
//! **Who comes first**, the due event or a change of it, is decided on `EVENTS`: it takes one message under each
//! generation's id (see [`due_id`]), either the due event or the change that ends that generation. A change is the event
//! published anew under `later.…` under that id; the step that holds events makes it so. Whoever comes second is told
//! that it is a repeat. Nothing is lost whatever crashes in between.
//!
//! **What has ended leaves a mark** in its place for [`END_KEPT`] (see [`HeldEvents::end`]): somebody who was about to
//! hold an earlier generation, and slept meanwhile, finds a later one there. Without it that generation would lie where no
//! list might ever name it. A mark has no body and says not where to publish it, so nobody takes it for an event.

pub mod due;

use std::sync::Arc;
use std::time::Duration;

use async_nats::Subject;
use bytes::Bytes;
use futures::future::join_all;
use slipstream_core::contract::Meta;
use slipstream_core::ids::EventKey;
use slipstream_core::lane::Lane;
use slipstream_core::slug::Slug;
use slipstream_core::timestamp::Timestamp;
use slipstream_core::trace::TraceContext;

use tokio::sync::Semaphore;

use crate::connect::{Bus, BusError};
use crate::message::Outgoing;
use crate::publish::{PublishError, Publisher};
use crate::schedules::{HoldError, Replaced};
use crate::stored::StoredEvent;
use crate::streams::StreamName;
use crate::subject;

/// How long the mark of an end is kept: well above the lease of whoever may still be about to hold an earlier generation
/// (30 s), and above what a process may sleep.
pub const END_KEPT: Duration = Duration::from_mins(10);

/// The id under which `EVENTS` takes the due event of a generation, or the change that ends it: whichever is first.
pub fn due_id(key: &EventKey, generation: u32) -> String {
    if generation == 0 { format!("{key}.due") } else { format!("{key}.due.{generation}") }
}

/// An event that is held until its intended time.
#[derive(Debug, Clone)]
pub struct Held {
    /// Its site.
    pub site: Slug,
    /// Which event.
    pub key: EventKey,
    /// Its lane.
    pub lane: Lane,
    /// Its forwarded form.
    pub payload: Bytes,
    /// What the engine knows beside the bytes.
    pub meta: Meta,
    /// The trace of its publish request.
    pub trace: Option<TraceContext>,
    /// The subject under which it is published when it is due.
    pub due_subject: Subject,
}

/// What is to become of a held event.
#[derive(Debug, Clone)]
pub enum HeldChange {
    /// It is held until another time; one that has passed means that it is due at once.
    Times {
        /// Its forwarded form with the new times, see [`slipstream_core::reschedule`].
        payload: Bytes,
        /// The new intended time.
        intended_at: Timestamp,
        /// The new expiry time.
        expires_at: Option<Timestamp>,
    },
    /// Nobody receives it.
    Cancel,
}

impl Held {
    /// This event after `change` at `now`: the next generation.
    #[must_use]
    pub fn changed(&self, change: HeldChange, now: Timestamp) -> Self {
        let mut next = self.clone();
        next.meta.generation = self.meta.generation.saturating_add(1);
        match change {
            HeldChange::Times { payload, intended_at, expires_at } => {
                next.payload = payload;
                next.meta.intended_at = Some(intended_at);
                next.meta.expires_at = expires_at;
                next.meta.changed_at = Some(now);
            }
            HeldChange::Cancel => next.meta.cancelled_at = Some(now),
        }
        next
    }

    /// The message that it waits as, in the place of the one with number `last`.
    fn message(&self, last: u64) -> Outgoing {
        self.in_place(self.payload.clone(), &self.meta, last).trace(self.trace).due_subject(&self.due_subject)
    }

    /// The mark that it has ended, kept until `until`, in the place of the message with number `last`.
    fn mark(&self, until: Timestamp, last: u64) -> Outgoing {
        let meta = Meta { intended_at: Some(until), expires_at: None, ..self.meta.clone() };
        self.in_place(Bytes::new(), &meta, last)
    }

    fn in_place(&self, payload: Bytes, meta: &Meta, last: u64) -> Outgoing {
        Outgoing::new(subject::held(&self.site, &self.key), payload)
            // A name of its own for each try, so that one that is repeated because its acknowledgement was lost does not
            // hold again what has been cancelled meanwhile.
            .id(&format!("held.{:032x}", rand::random::<u128>()))
            .meta(meta)
            .expect_last(last)
    }

    /// The held event in `stored`, if it is stored under `held.…`.
    fn read(stored: StoredEvent) -> Option<Self> {
        let (site, key) = subject::parse_held(&stored.subject)?;
        let StoredEvent { payload, meta, trace, due_subject, .. } = stored;
        let due_subject = due_subject?;
        Some(Self { site, key, lane: subject::lane_of(&due_subject)?, payload, meta, trace, due_subject })
    }
}

/// Until when a message under `held.…` is kept as the mark of an end; none if it is an event.
fn marked_until(there: &StoredEvent) -> Option<Timestamp> {
    there.meta.intended_at.filter(|_| there.payload.is_empty() && there.due_subject.is_none())
}

/// What [`HeldEvents::hold`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holding {
    /// It is held now, or was already.
    Held,
    /// A later generation of it is held, which stands; or it has ended.
    Changed,
    /// The event is held as it was accepted at another time: this one repeats it.
    Repeat,
}

/// Holds events, reads and changes them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct HeldEvents {
    bus: Bus,
    held: Publisher,
    events: Publisher,
    removals: Arc<Semaphore>,
}

impl Bus {
    /// Access to held events; make one per use.
    pub fn held_events(&self) -> HeldEvents {
        let (held, events) = (self.publisher(StreamName::Held), self.publisher(StreamName::Events));
        HeldEvents { bus: self.clone(), held, events, removals: Arc::new(Semaphore::new(due::REMOVALS_MAX)) }
    }
}

impl HeldEvents {
    /// The event that is held under this key, if one is.
    ///
    /// # Errors
    /// If JetStream does not answer.
    pub async fn get(&self, site: &Slug, key: &EventKey) -> Result<Option<Held>, BusError> {
        Ok(self.last(site, key).await?.and_then(Held::read))
    }

    /// Changes a held event, made from what [`HeldEvents::get`] gave. When this returns [`Replaced::Done`], the change is
    /// durable and decided; what it takes beyond that is done here, or else by the step that holds events. `at` is when
    /// it was made, `now` a clock.
    ///
    /// # Errors
    /// See [`PublishError`]; the change may be in force all the same.
    pub async fn change(
        &self,
        held: &Held,
        change: HeldChange,
        at: Timestamp,
        now: impl Fn() -> Timestamp,
    ) -> Result<Replaced, PublishError> {
        let next = held.changed(change, at);
        let anew = Outgoing::new(subject::later(next.lane, &next.site, &next.key), next.payload.clone())
            .id(&due_id(&held.key, held.meta.generation))
            .meta(&next.meta)
            .trace(next.trace)
            .due_subject(&next.due_subject);
        let ack = self.events.publish(anew).await?;
        if ack.duplicate && !self.is_ours(&next, ack.sequence).await {
            return Ok(Replaced::TooLate);
        }
        // So that whoever asks next sees it at once, and no alarm finds what it was before. Failing does no harm: the step
        // that holds events does the same.
        let is_ahead = next.meta.intended_at.is_some_and(|intended_at| intended_at > now());
        let applied = if next.meta.cancelled_at.is_none() && is_ahead {
            self.hold_one(&next, now).await.map(drop)
        } else {
            // Not the change itself: by another's clock it may be ahead, and held.
            self.forget(held).await.map_err(HoldError::from)
        };
        if let Err(error) = applied {
            tracing::debug!(%error, "a changed event is held, or let go, a little later");
        }
        Ok(Replaced::Done)
    }

    /// Holds events until their intended time, each in the place of an earlier generation of it and never in that of a
    /// later one. What it says of each, in order, is durable; `now` is a clock.
    ///
    /// # Errors
    /// See [`HoldError`]; it may be held all the same, and a repeat is harmless.
    pub async fn hold(&self, events: &[&Held], now: impl Fn() -> Timestamp) -> Vec<Result<Holding, HoldError>> {
        let stored = join_all(events.iter().map(|held| self.store(held, None))).await;
        let noted = events.iter().zip(&stored).filter_map(|(held, stored)| match stored {
            Ok(Stored::At(sequence)) => Some((*held, *sequence)),
            Ok(Stored::Not(_)) | Err(_) => None,
        });
        let noted = self.note(noted, now).await;
        let each = stored.into_iter().map(|stored| match (stored?, &noted) {
            (Stored::Not(why), _) => Ok(why),
            (Stored::At(_), Ok(())) => Ok(Holding::Held),
            (Stored::At(_), Err(error)) => Err(error.clone().into()),
        });
        each.collect()
    }

    /// Holds one event, see [`HeldEvents::hold`].
    ///
    /// # Errors
    /// See [`HoldError`].
    pub async fn hold_one(&self, held: &Held, now: impl Fn() -> Timestamp) -> Result<Holding, HoldError> {
        self.hold(&[held], now).await.pop().expect("one answer per event")
    }

    /// Leaves the mark that an event has ended with this generation in the place of what it waited as, of this generation
    /// or an earlier one, and has it taken away after [`END_KEPT`]. `now` is a clock.
    ///
    /// # Errors
    /// See [`HoldError`]; a repeat is harmless.
    pub async fn end(&self, held: &Held, now: impl Fn() -> Timestamp) -> Result<(), HoldError> {
        let until = due::due_at(now().after(END_KEPT), None);
        // First what takes the mark away: whoever crashes in between leaves nothing that nobody looks for.
        self.note_mark(held, until, now).await?;
        self.store(held, Some(until)).await.map(drop)
    }

    /// Stores an event, in the place of an earlier generation; or the mark of its end, kept `until` then, in that of this
    /// generation too.
    async fn store(&self, held: &Held, until: Option<Timestamp>) -> Result<Stored, HoldError> {
        // What is held for the first time finds nothing in its place, as a rule.
        let mut last = 0;
        loop {
            let message = until.map_or_else(|| held.message(last), |until| held.mark(until, last));
            match self.held.publish(message).await {
                Ok(ack) => return Ok(Stored::At(ack.sequence)),
                Err(PublishError::Superseded { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            last = match self.last(&held.site, &held.key).await? {
                None => 0,
                Some(there) if there.meta.accepted_at != held.meta.accepted_at => {
                    return Ok(Stored::Not(Holding::Repeat));
                }
                Some(there) if there.meta.generation > held.meta.generation => {
                    return Ok(Stored::Not(Holding::Changed));
                }
                Some(there) if there.meta.generation < held.meta.generation => there.sequence,
                Some(there) if marked_until(&there).is_some() => return Ok(Stored::Not(Holding::Changed)),
                // It may be noted nowhere yet: whoever stored it may have crashed before.
                Some(there) if until.is_none() => return Ok(Stored::At(there.sequence)),
                Some(there) => there.sequence,
            };
        }
    }

    /// Takes away what an event waits as, of this generation or an earlier one.
    ///
    /// # Errors
    /// If JetStream does not answer.
    pub async fn forget(&self, held: &Held) -> Result<(), BusError> {
        match self.last(&held.site, &held.key).await? {
            Some(there) if there.meta.generation <= held.meta.generation => self.remove_one(there.sequence).await,
            Some(_) | None => Ok(()),
        }
    }

    /// Whether a later generation of a held event than this has been published.
    ///
    /// # Errors
    /// If JetStream does not answer.
    pub async fn has_later_generation(&self, held: &Held) -> Result<bool, BusError> {
        let subject = subject::later(held.lane, &held.site, &held.key);
        let last = self.bus.last_event(StreamName::Events, &subject).await?;
        Ok(last.is_some_and(|last| {
            last.meta.accepted_at == held.meta.accepted_at && last.meta.generation > held.meta.generation
        }))
    }

    /// Whether what stands under the id is this very change: published by a try whose acknowledgement was lost.
    async fn is_ours(&self, next: &Held, sequence: u64) -> bool {
        let stored = self.bus.stored_event(sequence).await;
        // Not known: then it is somebody else's, and whoever asks again sees what stands.
        stored.is_ok_and(|stored| stored.is_some_and(|it| it.meta == next.meta && it.payload == next.payload))
    }

    /// What is held under this key.
    async fn last(&self, site: &Slug, key: &EventKey) -> Result<Option<StoredEvent>, BusError> {
        self.bus.last_event(StreamName::Held, &subject::held(site, key)).await
    }
}

/// What became of one event in [`HeldEvents::store`].
enum Stored {
    /// It lies there.
    At(u64),
    /// It does not need to.
    Not(Holding),
}
