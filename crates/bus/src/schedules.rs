//! Waiting messages as things one can look at, move and cancel (issue 3, "Scheduled events"; DESIGN 3.3).
//!
//! A schedule is the last message of its subject, and a new one on the subject replaces it. But the server reads a
//! schedule that is due before it publishes it, and a replacement in between is acknowledged, and then purged by the
//! firing of the one before. So "replaced" alone does not say who came first:
//!
//! - **A held event** has a decision of its own: `EVENTS` takes one message under each generation's id (see
//!   [`due_id`]), either the due event or the change that ends that generation. A change is the event published anew
//!   under `later.…` under that id; the step that holds events makes it so. Whoever comes second is told that it is a
//!   repeat.
//! - **A waiting delivery** is decided by time: it can be changed up to [`CHANGE_BEFORE`] before it is due, since a
//!   schedule never fires early. One that is cancelled is replaced by a message that says so and comes due at once, so
//!   that the step that would have attempted it records its end.
//!
//! Nothing is lost whatever crashes in between.

use std::time::Duration;

use async_nats::Subject;
use async_nats::header::{NATS_SCHEDULE, NATS_SCHEDULE_TARGET};
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{LastRawMessageErrorKind, RawMessageErrorKind};
use bytes::Bytes;
use slipstream_core::contract::Meta;
use slipstream_core::ids::{DeliveryId, EventKey, SubscriptionId};
use slipstream_core::lane::Lane;
use slipstream_core::slug::Slug;
use slipstream_core::timestamp::Timestamp;
use slipstream_core::trace::TraceContext;

use crate::connect::{Bus, BusError};
use crate::message::{DUE_SUBJECT, META, Outgoing, TRACEPARENT};
use crate::publish::{PublishError, Publisher};
use crate::streams::StreamName;
use crate::subject;

/// How long before it is due a waiting delivery can be changed: well above what a publish takes and clocks differ by.
pub const CHANGE_BEFORE: Duration = Duration::from_secs(1);
/// How much of that must be left when the change is acknowledged.
const CERTAIN_BEFORE: Duration = Duration::from_millis(250);

/// How soon a schedule has to be due that is rather waited for than replaced: what a clock may be off (THREATS 10), and
/// what it takes to fire, twice.
const FIRING_WITHIN: Duration = Duration::from_secs(11);
const FIRING_LOOK_EVERY: Duration = Duration::from_millis(200);

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

    /// The schedule that makes the server release it at `at`, in the place of the message with number `last`.
    fn schedule(&self, last: u64, at: Timestamp, now: Timestamp) -> Outgoing {
        Outgoing::new(subject::held(&self.site, &self.key), self.payload.clone())
            .meta(&self.meta)
            .trace(self.trace)
            .due_subject(&self.due_subject)
            .expect_last(last)
            .at(at, &subject::released(self.lane, &self.site, &self.key), now)
    }
}

/// What [`Schedules::hold`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holding {
    /// It is held now, or was already.
    Held,
    /// A later generation of it is held, which stands.
    Changed,
    /// The event is held as it was accepted at another time: this one repeats it.
    Repeat,
}

/// A delivery that waits for its next attempt.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// What the engine knows beside the bytes.
    pub meta: Meta,
    /// When it is due.
    pub due_at: Timestamp,
    schedule: StoredSchedule,
}

/// What is to become of a waiting delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitingChange {
    /// It is due then; a time that has passed means at once.
    At(Timestamp),
    /// It ends without another attempt.
    Cancel,
}

/// Who came first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replaced {
    /// The change is in force, for good.
    Done,
    /// Something else: it came due, or is about to, or was changed by somebody else. The change is not in force.
    TooLate,
}

/// Reads and changes what waits. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Schedules {
    bus: Bus,
    work: Publisher,
    events: Publisher,
}

#[derive(Debug, Clone)]
struct StoredSchedule {
    subject: Subject,
    target: Subject,
    payload: Bytes,
    meta: Meta,
    trace: Option<TraceContext>,
    due_subject: Option<Subject>,
    due_at: Timestamp,
    sequence: u64,
}

impl Bus {
    /// Access to what waits; make one per use.
    pub fn schedules(&self) -> Schedules {
        let (work, events) = (self.publisher(StreamName::Work), self.publisher(StreamName::Events));
        Schedules { bus: self.clone(), work, events }
    }

    /// The event at `sequence` of `EVENTS`: its bytes; none if the stream does not keep it any more.
    ///
    /// # Errors
    /// If JetStream does not answer.
    pub async fn stored_event(&self, sequence: u64) -> Result<Option<StoredEvent>, BusError> {
        let failed = |error: async_nats::Error| BusError::jetstream("reading a stored event", error);
        let stream = self.jetstream.get_stream_no_info(StreamName::Events.as_str()).await;
        let stream = stream.map_err(|error| failed(error.into()))?;
        match stream.get_raw_message(sequence).await {
            Ok(message) => Ok(StoredEvent::read(message)),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(failed(error.into())),
        }
    }

    /// The event that `DEAD_LETTERS` keeps because one of its deliveries died; none if it does not. The subject is not
    /// the event's own.
    ///
    /// # Errors
    /// If JetStream does not answer.
    pub async fn dead_letter(&self, site: &Slug, key: &EventKey) -> Result<Option<StoredEvent>, BusError> {
        self.last_event(StreamName::DeadLetters, &subject::dead(site, key)).await
    }

    async fn last_event(&self, stream: StreamName, subject: &Subject) -> Result<Option<StoredEvent>, BusError> {
        let failed = |error: async_nats::Error| BusError::jetstream("reading a stored event", error);
        let stream = self.jetstream.get_stream_no_info(stream.as_str()).await;
        let stream = stream.map_err(|error| failed(error.into()))?;
        match stream.get_last_raw_message_by_subject(subject).await {
            Ok(message) => Ok(StoredEvent::read(message)),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(failed(error.into())),
        }
    }
}

/// Something cannot be made to wait.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// It was not stored.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// What waits there cannot be read.
    #[error(transparent)]
    Read(#[from] BusError),
}

/// An event as `EVENTS` keeps it.
#[derive(Debug, Clone)]
pub struct StoredEvent {
    /// Its subject.
    pub subject: Subject,
    /// Its forwarded form.
    pub payload: Bytes,
    /// What the engine knows beside the bytes.
    pub meta: Meta,
    /// The trace of its publish request.
    pub trace: Option<TraceContext>,
    /// Where it goes when it is due, if it is not.
    pub due_subject: Option<Subject>,
}

/// The text of a header.
fn header(message: &StreamMessage, name: impl async_nats::header::IntoHeaderName) -> Option<&str> {
    message.headers.get(name).map(async_nats::HeaderValue::as_str)
}

impl StoredEvent {
    /// None for a message that is not an event of ours.
    fn read(message: StreamMessage) -> Option<Self> {
        Some(Self {
            meta: header(&message, META)?.parse().ok()?,
            trace: header(&message, TRACEPARENT).and_then(|text| text.parse().ok()),
            due_subject: header(&message, DUE_SUBJECT).map(Subject::from),
            subject: message.subject,
            payload: message.payload,
        })
    }

    /// The held event that it is, if it is stored under `later.…`.
    pub fn into_held(self, key: EventKey) -> Option<Held> {
        let (lane, site) = subject::parse_later(&self.subject)?;
        let Self { payload, meta, trace, due_subject, .. } = self;
        Some(Held { site, key, lane, payload, meta, trace, due_subject: due_subject? })
    }
}

impl Schedules {
    /// The event that is held under this key, if one is.
    ///
    /// # Errors
    /// If JetStream does not answer.
    pub async fn held(&self, site: &Slug, key: &EventKey) -> Result<Option<Held>, BusError> {
        let stored = self.get(&subject::held(site, key)).await?;
        Ok(stored.and_then(|stored| {
            let (lane, site, key) = subject::parse_released(&stored.target)?;
            let StoredSchedule { payload, meta, trace, due_subject, .. } = stored;
            Some(Held { site, key, lane, payload, meta, trace, due_subject: due_subject? })
        }))
    }

    /// Changes a held event, made from what [`Schedules::held`] gave. When this returns [`Replaced::Done`], the change is
    /// durable and decided; what it takes beyond that is done here, or else by the step that holds events.
    ///
    /// # Errors
    /// See [`PublishError`]; the change may be in force all the same.
    pub async fn change_held(&self, held: &Held, change: HeldChange, now: Timestamp) -> Result<Replaced, PublishError> {
        let next = held.changed(change, now);
        let anew = Outgoing::new(subject::later(next.lane, &next.site, &next.key), next.payload.clone())
            .id(&due_id(&held.key, held.meta.generation))
            .meta(&next.meta)
            .trace(next.trace)
            .due_subject(&next.due_subject);
        let ack = self.events.publish(anew).await?;
        if ack.duplicate && !self.is_ours(&next, ack.sequence).await {
            return Ok(Replaced::TooLate);
        }
        if let Some(intended_at) = next.meta.intended_at
            && next.meta.cancelled_at.is_none()
            && intended_at > now
        {
            // So that whoever asks next sees it at once. Failing does no harm: the step that holds events does the same.
            if let Err(error) = self.hold(&next, intended_at, now).await {
                tracing::debug!(%error, "a changed event is held a little later");
            }
        }
        Ok(Replaced::Done)
    }

    /// Holds an event until `at`, in the place of an earlier generation of it and never in that of a later one.
    ///
    /// # Errors
    /// See [`HoldError`]; it may be held all the same, and a repeat is harmless.
    pub async fn hold(&self, held: &Held, at: Timestamp, now: Timestamp) -> Result<Holding, HoldError> {
        // What is held for the first time finds nothing in its place, as a rule.
        let mut last = 0;
        loop {
            // A name of its own for each try, so that one that is repeated because its acknowledgement was lost does not
            // hold again what has been cancelled meanwhile.
            let id = format!("held.{:032x}", rand::random::<u128>());
            match self.work.publish(held.schedule(last, at, now).id(&id)).await {
                Ok(_) => return Ok(Holding::Held),
                Err(PublishError::Superseded { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            let there = self.get(&subject::held(&held.site, &held.key)).await?;
            last = match there {
                None => 0,
                Some(there) if there.meta.accepted_at != held.meta.accepted_at => return Ok(Holding::Repeat),
                Some(there) if there.meta.generation == held.meta.generation => return Ok(Holding::Held),
                Some(there) if there.meta.generation > held.meta.generation => return Ok(Holding::Changed),
                Some(there) => there.sequence,
            };
        }
    }

    /// Has the server hand a delivery out again at `at`, in the place of an earlier attempt's schedule and never in that
    /// of a later one. False if a later one waits there: another life of this delivery has come further.
    ///
    /// `again` makes the message, to be stored in the place of the message with the number that it gets; `now` is a clock.
    ///
    /// # Errors
    /// See [`HoldError`]; it may wait all the same, and a repeat is harmless.
    pub async fn wait(
        &self,
        subject: &Subject,
        (attempt, parked): (u32, u32),
        again: impl Fn(u64) -> Outgoing,
        now: impl Fn() -> Timestamp,
    ) -> Result<bool, HoldError> {
        let mut last = 0;
        loop {
            match self.work.publish(again(last)).await {
                Ok(_) => return Ok(true),
                Err(PublishError::Superseded { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            last = match self.get(subject).await? {
                None => 0,
                Some(there) if (there.meta.attempt, there.meta.parked) == (attempt, parked) => return Ok(true),
                Some(there) if (there.meta.attempt, there.meta.parked) > (attempt, parked) => return Ok(false),
                // The server may be about to fire it, and would purge ours with it: it comes due and is gone first.
                Some(there) if there.due_at.since(now()) < FIRING_WITHIN => {
                    tokio::time::sleep(FIRING_LOOK_EVERY).await;
                    0
                }
                Some(there) => there.sequence,
            };
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

    /// The delivery that waits, if it does.
    ///
    /// # Errors
    /// If JetStream does not answer.
    pub async fn waiting(
        &self,
        subscription: SubscriptionId,
        key: &EventKey,
        delivery: DeliveryId,
    ) -> Result<Option<Waiting>, BusError> {
        let stored = self.get(&subject::waiting(subscription, key, delivery)).await?;
        Ok(stored.map(|schedule| Waiting { meta: schedule.meta.clone(), due_at: schedule.due_at, schedule }))
    }

    /// Changes a waiting delivery, made from what [`Schedules::waiting`] gave. `now` is a clock to be asked again.
    ///
    /// # Errors
    /// See [`PublishError`]; the change may be in force all the same. [`PublishError::Unanswered`] also when the
    /// acknowledgement came so late that the delivery may have come due before.
    pub async fn change_waiting(
        &self,
        waiting: &Waiting,
        change: WaitingChange,
        now: impl Fn() -> Timestamp,
    ) -> Result<Replaced, PublishError> {
        let (stored, started_at) = (&waiting.schedule, now());
        if waiting.due_at.since(started_at) < CHANGE_BEFORE {
            return Ok(Replaced::TooLate);
        }
        let mut meta = stored.meta.clone();
        let at = match change {
            WaitingChange::At(at) => {
                // Its place in the endpoint's rate was for another time.
                meta.has_place = false;
                at
            }
            WaitingChange::Cancel => {
                meta.cancelled_at = Some(started_at);
                started_at
            }
        };
        let message = Outgoing::new(stored.subject.clone(), stored.payload.clone())
            // A name of its own, so that a repeat after a lost acknowledgement is known as one.
            .id(&format!("changed.{:032x}", rand::random::<u128>()))
            .meta(&meta)
            .trace(stored.trace)
            .expect_last(stored.sequence)
            .at(at, &stored.target, started_at);
        match self.work.publish(message).await {
            Ok(_) if waiting.due_at.since(now()) >= CERTAIN_BEFORE => Ok(Replaced::Done),
            Ok(_) => Err(PublishError::Unanswered { stream: StreamName::Work.as_str() }),
            Err(PublishError::Superseded { .. }) => Ok(Replaced::TooLate),
            Err(error) => Err(error),
        }
    }

    async fn get(&self, subject: &Subject) -> Result<Option<StoredSchedule>, BusError> {
        let failed = |error: async_nats::Error| BusError::jetstream("looking for a schedule", error);
        let stream = self.bus.jetstream.get_stream_no_info(StreamName::Work.as_str()).await;
        let stream = stream.map_err(|error| failed(error.into()))?;
        match stream.get_last_raw_message_by_subject(subject).await {
            Ok(message) => Ok(StoredSchedule::read(message)),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(failed(error.into())),
        }
    }
}

impl StoredSchedule {
    /// None for a message that is not a schedule of ours.
    fn read(message: StreamMessage) -> Option<Self> {
        Some(Self {
            target: header(&message, NATS_SCHEDULE_TARGET)?.into(),
            due_at: header(&message, NATS_SCHEDULE)?.strip_prefix("@at ")?.parse().ok()?,
            meta: header(&message, META)?.parse().ok()?,
            trace: header(&message, TRACEPARENT).and_then(|text| text.parse().ok()),
            due_subject: header(&message, DUE_SUBJECT).map(Subject::from),
            sequence: message.sequence,
            subject: message.subject,
            payload: message.payload,
        })
    }
}
