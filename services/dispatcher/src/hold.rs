//! Hold: an event whose intended time is ahead waits as a schedule, and becomes due when it fires (DESIGN 4 "Hold").
//!
//! `later.…` → schedule `held.{site}.{key}` → due → `released.…` → published to where it goes when due. Who receives
//! it is decided then. A change of a held event (other times, or its end) is the event once more under `later.…`, of the
//! next generation: see `slipstream_bus::schedules` for why, and for who wins when it comes due meanwhile.

use std::sync::Arc;
use std::time::Duration;

use slipstream_bus::schedules::due_id;
use slipstream_bus::{
    Bus, Consumer, ConsumerName, Held, Holding, Message, Outgoing, Publisher, Schedules, StreamName, Subject, subject,
};
use slipstream_core::contract::{RoutedEvent, SeenQuestion};
use slipstream_core::event::envelope::Envelope;
use slipstream_core::ids::{EventKey, content_hash, id_hash};
use slipstream_core::lane::Visibility;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::{Context, clock};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::route;
use crate::seen::{Asked, Seen};

/// Events of one batch.
const BATCH_MAX: usize = 128;

/// Starts both loops.
pub(crate) async fn start(
    bus: &Bus,
    outcomes: &Publisher,
    storage_is_short: watch::Receiver<bool>,
    ctx: &Context,
) -> anyhow::Result<()> {
    let holder = Arc::new(Holder {
        bus: bus.clone(),
        events: bus.publisher(StreamName::Events),
        queue: bus.publisher(StreamName::Queue),
        schedules: bus.schedules(),
        outcomes: outcomes.clone(),
        seen: Seen::new(bus),
    });
    let later = bus.consume(ConsumerName::Hold).await?.prefetch(BATCH_MAX);
    let holding = Arc::clone(&holder);
    let hold = async move |batch: &[Message]| holding.hold_all(batch).await;
    ctx.spawn("hold", run(later, storage_is_short, ctx.stop.clone(), hold));

    let released = bus.consume(ConsumerName::Release).await?.prefetch(BATCH_MAX);
    let release = async move |batch: &[Message]| holder.release_all(batch).await;
    // What is due goes on: it takes no more room than it gives back.
    let (_, never_short) = watch::channel(false);
    ctx.spawn("release", run(released, never_short, ctx.stop.clone(), release));
    Ok(())
}

/// Applies `step` to every batch. It acknowledges what it has done; the rest comes again after its lease. While
/// `storage_is_short`, nothing is pulled (DESIGN 3.5).
async fn run(
    mut messages: Consumer,
    mut storage_is_short: watch::Receiver<bool>,
    stop: CancellationToken,
    step: impl AsyncFn(&[Message]),
) -> anyhow::Result<()> {
    loop {
        let next = async {
            // An error means that nobody watches the storage any more.
            let _ = storage_is_short.wait_for(|is_short| !is_short).await;
            messages.next_batch(BATCH_MAX, Duration::ZERO).await
        };
        let batch = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            batch = next => batch,
        };
        step(&batch).await;
    }
    messages.hand_back().await;
    Ok(())
}

/// Acknowledges a message if what it asks for is done.
async fn settle(message: &Message, done: anyhow::Result<()>) {
    match done {
        Ok(()) => message.ack().await,
        Err(error) => tracing::warn!(error = format!("{error:#}"), "a held event comes again"),
    }
}

/// The steps that both loops share.
struct Holder {
    bus: Bus,
    events: Publisher,
    queue: Publisher,
    schedules: Schedules,
    outcomes: Publisher,
    seen: Seen,
}

impl Holder {
    /// A batch of events whose time is ahead, or of changes of some; all together, once it is known which are repeats.
    async fn hold_all(&self, batch: &[Message]) {
        let batch: Vec<_> = batch.iter().map(|message| (message, read_later(message))).collect();
        // A change of an event is not a repeat of it.
        let asked: Vec<_> = batch.iter().filter_map(|(_, later)| later.as_ref()).filter(|it| it.is_first()).collect();
        let seen = self.seen.look(&asked.iter().map(|later| later.asked).collect::<Vec<_>>()).await;
        let steps = batch.iter().map(async |(message, later)| {
            let done = match later {
                None => {
                    tracing::error!(subject = %message.subject.escape_debug(), "not an event of ours: skipped");
                    Ok(())
                }
                Some(later) if later.is_first() && seen.is_repeat(later.asked.question) => Ok(()),
                Some(later) => self.hold(later, message.is_redelivered).await,
            };
            settle(message, done).await;
        });
        futures::future::join_all(steps).await;
    }

    /// An event whose time is ahead, or a change of one: becomes a schedule, is due at once, or ends.
    async fn hold(&self, later: &Later, is_redelivered: bool) -> anyhow::Result<()> {
        let (held, now) = (&later.held, clock::now());
        // Handed out once more, it may be older than what has been made of the event since.
        if is_redelivered && self.schedules.has_later_generation(held).await? {
            return Ok(());
        }
        if held.meta.cancelled_at.is_some() {
            self.forget(held).await?;
        } else if let Some(intended_at) = held.meta.intended_at.filter(|at| *at > now) {
            let room = held.meta.expires_at.map(|expires_at| expires_at.since(intended_at) / 4);
            let at = spread(intended_at, now, room, rand::random());
            match self.schedules.hold(held, at, now).await? {
                Holding::Held => {}
                Holding::Changed => return Ok(()),
                Holding::Repeat => {
                    self.seen.count_late_repeat();
                    return Ok(());
                }
            }
        } else {
            // Changed to a time that has passed: what it waited as is not needed any more.
            return self.make_due(held, true).await;
        }
        let record = describe(held, later.visibility)?;
        self.outcomes.publish(route::record(held.site.clone(), vec![record])).await?;
        Ok(())
    }

    async fn release_all(&self, batch: &[Message]) {
        let steps = batch.iter().map(async |message| settle(message, self.release(message).await).await);
        futures::future::join_all(steps).await;
    }

    /// A held event that came due.
    async fn release(&self, event: &Message) -> anyhow::Result<()> {
        let Some(held) = read_released(event) else {
            tracing::error!(subject = %event.subject.escape_debug(), "not a held event of ours: skipped");
            return Ok(());
        };
        let now = clock::now();
        if let Some(intended_at) = held.meta.intended_at.filter(|intended_at| *intended_at > now) {
            // By our clock it is not yet time, whatever the server's says (N3).
            self.schedules.hold(&held, intended_at, now).await?;
            return Ok(());
        }
        self.make_due(&held, false).await
    }

    /// Publishes a held event to where it goes when it is due, unless its generation has ended otherwise: the stream
    /// takes one message under its id (see `slipstream_bus::schedules`). `was_moved` if it may still wait besides.
    async fn make_due(&self, held: &Held, was_moved: bool) -> anyhow::Result<()> {
        let for_a_queue = held.due_subject.starts_with("queue.");
        // A WorkQueue event passes through the record of events too, where nobody matches it.
        let subject = if for_a_queue { subject_of_record(held)? } else { held.due_subject.clone() };
        let due = Outgoing::new(subject, held.payload.clone())
            .id(&due_id(&held.key, held.meta.generation))
            .meta(&held.meta)
            .trace(held.trace);
        let ack = self.events.publish(due).await?;
        if ack.duplicate && self.has_changed(held, ack.sequence).await? {
            return Ok(());
        }
        if for_a_queue {
            let queued = Outgoing::new(held.due_subject.clone(), held.payload.clone())
                .id(&due_id(&held.key, held.meta.generation))
                .meta(&held.meta)
                .trace(held.trace);
            self.queue.publish(queued).await?;
        }
        if was_moved {
            self.forget(held).await?;
        }
        Ok(())
    }

    /// Whether what stands at `sequence` under this generation's id is a change that ended it. If so, makes sure that the
    /// changed event waits: the firing that brought us here may have purged its schedule.
    async fn has_changed(&self, held: &Held, sequence: u64) -> anyhow::Result<bool> {
        let stored = self.bus.stored_event(sequence).await?;
        let Some(next) = stored.and_then(|stored| stored.into_held(held.key)) else { return Ok(false) };
        let now = clock::now();
        match next.meta.intended_at.filter(|at| *at > now) {
            _ if next.meta.cancelled_at.is_some() => {}
            Some(intended_at) => drop(self.schedules.hold(&next, intended_at, now).await?),
            // Its new time has passed as well, and nothing else will wake it.
            None => Box::pin(self.make_due(&next, false)).await?,
        }
        Ok(true)
    }

    /// Takes away what an event waits as.
    async fn forget(&self, held: &Held) -> anyhow::Result<()> {
        self.bus.cancel_schedules(&subject::held(&held.site, &held.key)).await?;
        Ok(())
    }
}

/// Under which a WorkQueue event passes through the record.
fn subject_of_record(held: &Held) -> anyhow::Result<Subject> {
    let envelope = Envelope::read(&held.payload)?;
    Ok(subject::event(Visibility::WorkQueue, held.lane, &held.site, &envelope.event_type))
}

/// A message under `later.…`, read.
struct Later {
    held: Held,
    visibility: Visibility,
    asked: Asked,
}

impl Later {
    /// Whether it is the event as it was accepted.
    const fn is_first(&self) -> bool {
        self.held.meta.generation == 0
    }
}

fn read_later(event: &Message) -> Option<Later> {
    let (lane, site) = subject::parse_later(&event.subject)?;
    let (meta, due_subject) = (event.meta.clone()?, event.due_subject.clone()?);
    let envelope = Envelope::read(&event.payload).ok()?;
    let key = EventKey::new(&site, &envelope.source, &envelope.id);
    let visibility = subject::parse_event(&due_subject).map_or(Visibility::WorkQueue, |(visibility, ..)| visibility);
    let question = SeenQuestion { key, id_hash: id_hash(&envelope.id), accepted_at: meta.accepted_at };
    let asked = Asked { question, content_hash: content_hash(&event.payload) };
    let held = Held { site, key, lane, payload: event.payload.clone(), meta, trace: event.trace, due_subject };
    Some(Later { held, visibility, asked })
}

fn read_released(event: &Message) -> Option<Held> {
    let (lane, site, key) = subject::parse_released(&event.subject)?;
    let (meta, due_subject) = (event.meta.clone()?, event.due_subject.clone()?);
    Some(Held { site, key, lane, payload: event.payload.clone(), meta, trace: event.trace, due_subject })
}

fn describe(held: &Held, visibility: Visibility) -> anyhow::Result<RoutedEvent> {
    let envelope = Envelope::read(&held.payload)?;
    let content_hash = Some(content_hash(&held.payload));
    let record = route::describe(held.key, envelope, (visibility, held.lane), &held.meta);
    Ok(RoutedEvent { content_hash, ..record })
}

/// Moves a due time a little later, so that many equal ones do not fall due in the same instant: by up to 250 ms, or
/// 1 % of a long wait, at most 30 s (DESIGN 3.3), and never by more than `room`. `share` in 0..1.
fn spread(at: Timestamp, now: Timestamp, room: Option<Duration>, share: f64) -> Timestamp {
    const SHORT: Duration = Duration::from_millis(250);
    const LONG: Duration = Duration::from_secs(30);
    let span = (at.since(now) / 100).clamp(SHORT, LONG);
    at.after(room.map_or(span, |room| span.min(room)).mul_f64(share))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreading_never_makes_it_early_and_never_later_than_30_s() {
        let now = Timestamp::from_millis(1_772_443_800_000);
        for (wait_s, span_ms) in [(2, 250), (60, 600), (3600, 30_000), (1_000_000, 30_000)] {
            let at = now.after(Duration::from_secs(wait_s));
            assert_eq!(spread(at, now, None, 0.0), at);
            assert_eq!(spread(at, now, None, 1.0), at.after(Duration::from_millis(span_ms)), "{wait_s}");
        }
    }

    #[test]
    fn spreading_leaves_room_before_expiry() {
        let now = Timestamp::from_millis(1_772_443_800_000);
        let at = now.after(Duration::from_hours(1));
        let spread = spread(at, now, Some(Duration::from_millis(2500)), 1.0);
        assert_eq!(spread, at.after(Duration::from_millis(2500)));
    }
}
