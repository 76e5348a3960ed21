//! Hold: an event whose intended time is ahead waits, and is published when it comes due (DESIGN 4 "Hold").
//!
//! `later.…` → held under `held.{site}.{key}` → its alarm rings → published to where it goes when due ([`release`]). Who
//! receives it is decided then. A change of a held event (other times, or its end) is the event once more under
//! `later.…`, of the next generation: see `slipstream_bus::held` for why, and for who wins when it comes due meanwhile.

mod release;

use std::sync::Arc;
use std::time::Duration;

use slipstream_bus::held::due_id;
use slipstream_bus::{
    Bus, Consumer, ConsumerName, Held, HeldEvents, Holding, Message, Outgoing, Publisher, StreamName, Subject, subject,
};
use slipstream_core::contract::{RoutedEvent, SeenQuestion};
use slipstream_core::event::envelope::Envelope;
use slipstream_core::ids::{EventKey, content_hash, id_hash};
use slipstream_core::lane::{Lane, Visibility};
use slipstream_service::{Context, clock};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::route;
use crate::seen::{Asked, Seen};

/// Events of one batch.
const BATCH_MAX: usize = 500;

/// Starts the step that holds, and per lane the one that releases.
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
        held: bus.held_events(),
        outcomes: outcomes.clone(),
        seen: Seen::new(bus),
    });
    let later = bus.consume(ConsumerName::Hold).await?.prefetch(BATCH_MAX);
    ctx.spawn("hold", run(Arc::clone(&holder), later, storage_is_short, ctx.stop.clone()));
    for lane in Lane::ALL {
        let ringing = bus.consume(ConsumerName::Release(lane)).await?;
        release::start(Arc::clone(&holder), ringing, ctx);
    }
    ctx.spawn("overdue", release::watch_overdue(bus.held_events(), ctx.stop.clone()));
    Ok(())
}

/// Holds batch after batch. What is done is acknowledged; the rest comes again after its lease. While
/// `storage_is_short`, nothing is pulled (DESIGN 3.5).
async fn run(
    holder: Arc<Holder>,
    mut messages: Consumer,
    mut storage_is_short: watch::Receiver<bool>,
    stop: CancellationToken,
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
        holder.hold_all(&batch).await;
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

/// The steps that the loops share.
struct Holder {
    bus: Bus,
    events: Publisher,
    queue: Publisher,
    held: HeldEvents,
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
        let steps = batch.iter().map(async |(message, later)| match later {
            None => {
                tracing::error!(subject = %message.subject.escape_debug(), "not an event of ours: skipped");
                settle(message, Ok(())).await;
                None
            }
            Some(later) if later.is_first() && seen.is_repeat(later.asked.question) => {
                settle(message, Ok(())).await;
                None
            }
            Some(later) => match self.decide(later, message.is_redelivered).await {
                Ok(true) => Some((*message, later)),
                Ok(false) => {
                    // Whoever tried to hold it before may have left a list without an alarm.
                    let may_be_listed = message.is_redelivered || !later.is_first();
                    let wake = async || self.held.wake(&later.held, clock::now).await.map_err(anyhow::Error::from);
                    settle(message, if may_be_listed { wake().await } else { Ok(()) }).await;
                    None
                }
                Err(error) => {
                    settle(message, Err(error)).await;
                    None
                }
            },
        });
        let waiting: Vec<_> = futures::future::join_all(steps).await.into_iter().flatten().collect();
        let events: Vec<_> = waiting.iter().map(|(_, later)| &later.held).collect();
        let holdings = self.held.hold(&events, clock::now).await;
        let steps = waiting.iter().zip(holdings).map(async |((message, later), holding)| {
            let done = match holding {
                Ok(Holding::Held) => self.record(later).await,
                Ok(Holding::Changed) => Ok(()),
                Ok(Holding::Repeat) => {
                    self.seen.count_late_repeat();
                    Ok(())
                }
                Err(error) => Err(error.into()),
            };
            settle(message, done).await;
        });
        futures::future::join_all(steps).await;
    }

    /// Whether an event, or a change of one, is to be held. If not, it has been dealt with: it is due at once, has ended,
    /// or is out of date.
    async fn decide(&self, later: &Later, is_redelivered: bool) -> anyhow::Result<bool> {
        let (held, now) = (&later.held, clock::now());
        // Handed out once more, it may be older than what has been made of the event since.
        if is_redelivered && self.held.has_later_generation(held).await? {
            // Whoever tried to hold it before may have stored it after the later one had come due and gone.
            self.held.forget(held).await?;
            return Ok(false);
        }
        if held.meta.cancelled_at.is_some() {
            self.held.end(held, clock::now).await?;
            self.record(later).await?;
            return Ok(false);
        }
        if held.meta.intended_at.is_none_or(|at| at <= now) {
            // Changed to a time that has passed: what it waited as is not needed any more. Nobody has held what has just
            // been accepted.
            self.make_due(held, is_redelivered || !later.is_first()).await?;
            return Ok(false);
        }
        Ok(true)
    }

    /// Records what waits, or has been cancelled.
    async fn record(&self, later: &Later) -> anyhow::Result<()> {
        let record = describe(&later.held, later.visibility)?;
        self.outcomes.publish(route::record(later.held.site.clone(), vec![record])).await?;
        Ok(())
    }

    /// Publishes a held event to where it goes when it is due, unless its generation has ended otherwise: the stream
    /// takes one message under its id (see `slipstream_bus::held`). `may_wait` if it may still wait besides, or be about to.
    async fn make_due(&self, held: &Held, may_wait: bool) -> anyhow::Result<()> {
        let ack = self.events.publish(due_event(held)?).await?;
        if ack.duplicate && self.has_changed(held, ack.sequence).await? {
            return Ok(());
        }
        if let Some(queued) = queued(held) {
            self.queue.publish(queued).await?;
        }
        if may_wait {
            self.held.end(held, clock::now).await?;
        }
        Ok(())
    }

    /// Whether what stands at `sequence` under this generation's id is a change that ended it. If so, makes sure that the
    /// changed event waits.
    async fn has_changed(&self, held: &Held, sequence: u64) -> anyhow::Result<bool> {
        let stored = self.bus.stored_event(sequence).await?;
        let Some(next) = stored.and_then(|stored| stored.into_held(held.key)) else { return Ok(false) };
        let now = clock::now();
        match next.meta.intended_at.filter(|at| *at > now) {
            _ if next.meta.cancelled_at.is_some() => {}
            Some(_) => drop(self.held.hold_one(&next, clock::now).await?),
            // Its new time has passed as well, and nothing else will wake it.
            None => Box::pin(self.make_due(&next, false)).await?,
        }
        Ok(true)
    }
}

/// The message for the queue of the service that published a WorkQueue event; none for another event.
fn queued(held: &Held) -> Option<Outgoing> {
    is_for_a_queue(held).then(|| {
        Outgoing::new(held.due_subject.clone(), held.payload.clone())
            .id(&due_id(&held.key, held.meta.generation))
            .meta(&held.meta)
            .trace(held.trace)
    })
}

/// Whether it goes to the queue of the service that published it.
fn is_for_a_queue(held: &Held) -> bool {
    held.due_subject.starts_with("queue.")
}

/// The message under which a held event is due. A WorkQueue event passes through the record of events too, where nobody
/// matches it.
fn due_event(held: &Held) -> anyhow::Result<Outgoing> {
    let subject = if is_for_a_queue(held) { subject_of_record(held)? } else { held.due_subject.clone() };
    let due = Outgoing::new(subject, held.payload.clone());
    Ok(due.id(&due_id(&held.key, held.meta.generation)).meta(&held.meta).trace(held.trace))
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

fn describe(held: &Held, visibility: Visibility) -> anyhow::Result<RoutedEvent> {
    let envelope = Envelope::read(&held.payload)?;
    let content_hash = Some(content_hash(&held.payload));
    let record = route::describe(held.key, envelope, (visibility, held.lane), &held.meta);
    Ok(RoutedEvent { content_hash, ..record })
}
