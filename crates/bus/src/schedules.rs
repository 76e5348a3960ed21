//! Waiting deliveries as things one can look at, move and cancel (issue 3, "Scheduled events"; DESIGN 3.3).
//!
//! A schedule is the last message of its subject, and a new one on the subject replaces it. But the server reads a
//! schedule that is due before it publishes it, and a replacement in between is acknowledged, and then purged by the
//! firing of the one before. So "replaced" alone does not say who came first, and time decides: a waiting delivery can be
//! changed up to [`CHANGE_BEFORE`] before it is due, since a schedule never fires early. One that is cancelled is replaced
//! by a message that says so and comes due at once, so that the step that would have attempted it records its end.

use std::time::Duration;

use async_nats::Subject;
use async_nats::header::{NATS_SCHEDULE, NATS_SCHEDULE_TARGET};
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use slipstream_core::contract::Meta;
use slipstream_core::ids::{DeliveryId, EventKey, SubscriptionId};
use slipstream_core::timestamp::Timestamp;
use slipstream_core::trace::TraceContext;

use crate::connect::{Bus, BusError};
use crate::message::{META, Outgoing, TRACEPARENT};
use crate::page::read_page;
use crate::publish::{PublishError, Publisher};
use crate::stored::header;
use crate::streams::StreamName;
use crate::subject;

/// How long before it is due a waiting delivery can be changed: well above what a publish takes and clocks differ by.
pub const CHANGE_BEFORE: Duration = Duration::from_secs(1);
/// How much of that must be left when the change is acknowledged.
const CERTAIN_BEFORE: Duration = Duration::from_millis(250);

/// Deliveries that are looked at together to be woken, with their bodies, and changed at once.
const WAKE_PAGE: u32 = 50;
const WAKES_AT_ONCE: usize = 16;

/// How soon a schedule has to be due that is rather waited for than replaced: what a clock may be off (THREATS 10), and
/// what it takes to fire, twice.
const FIRING_WITHIN: Duration = Duration::from_secs(11);
const FIRING_LOOK_EVERY: Duration = Duration::from_millis(200);

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

/// Reads and changes waiting deliveries. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Schedules {
    bus: Bus,
    work: Publisher,
}

#[derive(Debug, Clone)]
struct StoredSchedule {
    subject: Subject,
    target: Subject,
    payload: Bytes,
    meta: Meta,
    trace: Option<TraceContext>,
    due_at: Timestamp,
    sequence: u64,
}

impl Bus {
    /// Access to waiting deliveries; make one per use.
    pub fn schedules(&self) -> Schedules {
        Schedules { bus: self.clone(), work: self.publisher(StreamName::Work) }
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

impl Schedules {
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

    /// Has what was put off because this subscription's endpoint is paused handed out again now; what waits for anything else
    /// goes on waiting. How many were woken.
    ///
    /// Looks only at what waits when it begins, and stops when `goes_on` says that the endpoint is paused again, so that it
    /// ends whatever the dispatchers put off meanwhile. Repeating it is harmless, also at once by several replicas: what
    /// somebody else has moved is left alone.
    ///
    /// # Errors
    /// If the bus does not answer; some may be awake then.
    pub async fn wake(
        &self,
        subscription: SubscriptionId,
        now: impl Fn() -> Timestamp,
        goes_on: impl Fn() -> bool,
    ) -> Result<usize, HoldError> {
        let (subjects, mut from, mut woken) = (subject::waiting_of(subscription), 0, 0);
        let until = self.bus.last_sequence(StreamName::Work).await?;
        while goes_on() {
            let page = read_page(&self.bus, StreamName::Work, &subjects, from, WAKE_PAGE).await?;
            let Some(last) = page.last().map(|last| last.sequence) else { break };
            let paused = page.into_iter().filter(|it| it.sequence <= until).filter_map(StoredSchedule::read);
            let wake = paused.filter(|it| it.meta.is_paused).map(|schedule| {
                let waiting = Waiting { meta: schedule.meta.clone(), due_at: schedule.due_at, schedule };
                let now = &now;
                async move { self.change_waiting(&waiting, WaitingChange::At(now()), now).await }
            });
            let replaced: Vec<_> = futures::stream::iter(wake).buffer_unordered(WAKES_AT_ONCE).try_collect().await?;
            woken += replaced.iter().filter(|it| **it == Replaced::Done).count();
            if last >= until {
                break;
            }
            from = last + 1;
        }
        Ok(woken)
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
            sequence: message.sequence,
            subject: message.subject,
            payload: message.payload,
        })
    }
}
