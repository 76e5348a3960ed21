//! Events that wait on the bus: finding one, and changing it before it comes due.

use std::borrow::Cow;
use std::time::Duration;

use slipstream_bus::{Bus, Held, HeldChange, HeldEvents, PublishError, Replaced, subject};
use slipstream_core::event::envelope::{Envelope, NotAStoredEvent};
use slipstream_core::ids::{EventKey, content_hash};
use slipstream_core::lane::Visibility;
use slipstream_core::problem::{Problem, ProblemKind};
use slipstream_core::reschedule::{Times, reschedule};
use slipstream_core::timestamp::Timestamp;
use slipstream_service::{ApiError, clock};
use slipstream_store::Store;
use slipstream_store::activity::{Batch, EventRecord, record, scheduled};

use super::patch::Patch;
use super::{Caller, nothing_waits};
use crate::database::ask;

/// How long the bus may take to tell what waits.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long bringing SQL up to date may hold up an answer: the change itself is done.
const REMEMBER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long after a first look in vain to take a second one: an event that was just published waits a moment later.
const SECOND_LOOK_AFTER: Duration = Duration::from_millis(500);
/// How often, and after what pause, to look for the end of an event that does not wait any more.
const END_LOOKS: u32 = 5;
const END_LOOKS_PAUSE: Duration = Duration::from_millis(50);

/// What is asked of an event that waits.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change {
    /// Other times.
    Times(Patch),
    /// That nobody ever receives it.
    Cancel,
    /// That it comes due at once.
    DeliverNow,
}

impl Change {
    /// What has not happened to an event when this came too late.
    const fn participle(self) -> &'static str {
        match self {
            Self::Times(_) => "changed",
            Self::Cancel => "cancelled",
            Self::DeliverNow => "brought forward",
        }
    }

    /// The same for the bus.
    fn of(self, held: &Held, now: Timestamp) -> Result<HeldChange, Problem> {
        let times = match self {
            Self::Cancel => return Ok(HeldChange::Cancel),
            Self::Times(patch) => patch.apply(held.meta.intended_at, held.meta.expires_at)?,
            Self::DeliverNow => Times { intended_at: now, expires_at: held.meta.expires_at },
        };
        let unreadable = |_| Problem::new(ProblemKind::Internal, "something went wrong on our side");
        let payload = reschedule(&held.payload, times).map_err(unreadable)?.into();
        Ok(HeldChange::Times { payload, intended_at: times.intended_at, expires_at: times.expires_at })
    }
}

/// The record of an event as it is held; the dispatcher makes the same.
fn describe(held: &Held) -> Result<EventRecord, NotAStoredEvent> {
    let envelope = Envelope::read(&held.payload)?;
    Ok(EventRecord {
        accepted_at: held.meta.accepted_at,
        key: held.key,
        site: held.site.clone(),
        source: envelope.source.into_owned(),
        id: envelope.id.into_owned(),
        event_type: envelope.event_type.into_owned(),
        subject: envelope.subject.map(Cow::into_owned),
        visibility: visibility(held),
        lane: held.lane,
        intended_at: held.meta.intended_at,
        expires_at: held.meta.expires_at,
        published_by: held.meta.published_by,
        routed_at: None,
        changed_at: held.meta.changed_at,
        cancelled_at: held.meta.cancelled_at,
        sequence: None,
        content_hash: accepted_hash(held),
        skipped: Vec::new(),
    })
}

/// What the event hashed to when it was accepted; not known any more once its times were changed.
fn accepted_hash(held: &Held) -> Option<i64> {
    held.meta.changed_at.is_none().then(|| content_hash(&held.payload))
}

/// What does not go to a visibility when it is due goes to a service's own queue.
fn visibility(held: &Held) -> Visibility {
    subject::parse_event(&held.due_subject).map_or(Visibility::WorkQueue, |(visibility, ..)| visibility)
}

/// What waits, and what is known of it.
#[derive(Debug)]
pub(super) struct Waiting {
    held: HeldEvents,
    store: Store,
}

impl Waiting {
    pub(super) fn new(bus: &Bus, store: Store) -> Self {
        Self { held: bus.held_events(), store }
    }

    /// The event with this key, if it waits and the caller may see it.
    ///
    /// What was changed a moment ago may still wait as it was, until the dispatcher has seen to it: the record says so
    /// then. Without a database that moment cannot be told.
    ///
    /// # Errors
    /// 503 when the bus does not answer.
    pub(super) async fn find(&self, caller: &Caller, key: &EventKey) -> Result<Option<EventRecord>, ApiError> {
        let held = match self.look(caller, key).await? {
            Some(held) => Some(held),
            None => self.look_again(caller, key).await?,
        };
        let Some(held) = held else { return Ok(None) };
        let event = describe(&held).map_err(ApiError::internal)?;
        let newest = match ask(scheduled(self.store.connection(), &caller.site, key)).await {
            Ok(Some(recorded)) if recorded.accepted_at == event.accepted_at && recorded.supersedes(&event) => recorded,
            Ok(_) | Err(_) => event,
        };
        Ok(Some(newest).filter(|event| event.cancelled_at.is_none() && event.routed_at.is_none()))
    }

    async fn look(&self, caller: &Caller, key: &EventKey) -> Result<Option<Held>, ApiError> {
        const UNANSWERED: &str = "the bus did not answer";
        let found = tokio::time::timeout(LOOK_TIMEOUT, self.held.get(&caller.site, key))
            .await
            .map_err(|elapsed| ApiError::unavailable(UNANSWERED, elapsed))?
            .map_err(|error| ApiError::unavailable(UNANSWERED, error))?;
        Ok(found.filter(|held| caller.may_see(visibility(held), held.meta.published_by)))
    }

    /// The second look, which is the last.
    async fn look_again(&self, caller: &Caller, key: &EventKey) -> Result<Option<Held>, ApiError> {
        tokio::time::sleep(SECOND_LOOK_AFTER).await;
        self.look(caller, key).await
    }

    /// Changes the event with this key while it waits. Returns what it is now.
    ///
    /// # Errors
    /// 404 when nothing is known of it; 409, saying who came first, when it does not wait any more or was changed by
    /// somebody else at the same time; 400 when the new times do not fit; 503 when the bus did not confirm, which leaves
    /// open whether it happened.
    pub(super) async fn change(&self, caller: &Caller, key: &EventKey, asked: Change) -> Result<EventRecord, ApiError> {
        let held = match self.look(caller, key).await? {
            Some(held) => held,
            None => self.came_late(caller, key, asked).await?,
        };
        // Later than the change before, by whatever clock that was made: of two, SQL keeps the later.
        let after = |before: Timestamp| before.after(Duration::from_millis(1));
        let now = held.meta.changed_at.map(after).map_or_else(clock::now, |at| at.max(clock::now()));
        let change = asked.of(&held, now)?;
        let changed = describe(&held.changed(change.clone(), now)).map_err(ApiError::internal)?;
        let event = EventRecord { content_hash: accepted_hash(&held), ..changed };
        match self.held.change(&held, change, now, clock::now).await {
            Ok(Replaced::Done) => {
                let change = asked.participle();
                tracing::info!(event.key = %key, site = %caller.site, change, "a scheduled event was changed");
                self.remember(&event).await;
                Ok(event)
            }
            Ok(Replaced::TooLate) => Err(self.lost(caller, key, asked, &held).await),
            Err(error @ PublishError::Full { .. }) => {
                Err(ApiError::unavailable("event storage is full; try again later", error))
            }
            Err(error) => Err(ApiError::unavailable(
                "event storage did not confirm in time; look at the event before you repeat the request",
                error,
            )),
        }
    }

    /// The event that did not wait at the first look, if it does at the second; else why it cannot be changed.
    async fn came_late(&self, caller: &Caller, key: &EventKey, asked: Change) -> Result<Held, ApiError> {
        match self.recorded(caller, key, None).await? {
            Some(event) if event.cancelled_at.is_some() => return Err(conflict("the event was cancelled already")),
            Some(event) if event.routed_at.is_some() => return Err(came_due(asked)),
            _ => {}
        }
        if let Some(held) = self.look_again(caller, key).await? {
            return Ok(held);
        }
        // Recorded as held by now, it came due between the two.
        Err(self.recorded(caller, key, None).await?.map_or_else(|| nothing_waits().into(), |_| came_due(asked)))
    }

    /// Why the event, which waited as it was `seen`, could not be changed.
    async fn lost(&self, caller: &Caller, key: &EventKey, asked: Change, seen: &Held) -> ApiError {
        let changed = || conflict("somebody else changed the event at the same time; look at it again");
        match self.look(caller, key).await {
            Ok(Some(now)) if now.meta.generation != seen.meta.generation => return changed(),
            _ => {}
        }
        match self.recorded(caller, key, Some(seen)).await {
            Ok(Some(event)) if event.cancelled_at.is_some() => conflict("the event was cancelled already"),
            Ok(Some(event)) if is_changed(&event, seen) => changed(),
            Ok(_) | Err(_) => came_due(asked),
        }
    }

    /// What is recorded of an event that does not wait any more as it was `seen`, if the caller may see it. Whoever came
    /// first may still be writing that down, so this looks a few times before it believes that the event came due.
    async fn recorded(
        &self,
        caller: &Caller,
        key: &EventKey,
        seen: Option<&Held>,
    ) -> Result<Option<EventRecord>, ApiError> {
        let mut looks = 0;
        loop {
            let recorded = ask(scheduled(self.store.connection(), &caller.site, key)).await?;
            // Before anything hangs on it: what the caller may not see takes no longer than what is not there.
            let recorded = recorded.filter(|event| caller.may_see(event.visibility, event.published_by));
            let tells = recorded.as_ref().is_none_or(|event| {
                event.routed_at.is_some()
                    || event.cancelled_at.is_some()
                    || seen.is_some_and(|seen| is_changed(event, seen))
            });
            looks += 1;
            if tells || looks == END_LOOKS {
                return Ok(recorded);
            }
            tokio::time::sleep(END_LOOKS_PAUSE).await;
        }
    }

    /// Brings SQL up to date with what was just done, so that the caller sees it in the list. Best effort: the dispatcher
    /// records the same.
    async fn remember(&self, event: &EventRecord) {
        let batch = Batch { events: vec![event.clone()], ..Batch::default() };
        let failed = match tokio::time::timeout(REMEMBER_TIMEOUT, record(&self.store, batch)).await {
            Ok(Ok(_)) => return,
            Ok(Err(error)) => format!("{:#}", anyhow::Error::new(error)),
            Err(elapsed) => elapsed.to_string(),
        };
        tracing::warn!(error = failed, event.key = %event.key, "the list does not show yet that an event was changed");
    }
}

/// Whether an event that is held still was changed after it was `seen`.
fn is_changed(event: &EventRecord, seen: &Held) -> bool {
    event.routed_at.is_none() && event.changed_at > seen.meta.changed_at
}

fn came_due(asked: Change) -> ApiError {
    conflict(format!("the event came due before it could be {}", asked.participle()))
}

fn conflict(detail: impl Into<Cow<'static, str>>) -> ApiError {
    Problem::new(ProblemKind::Conflict, detail).into()
}
