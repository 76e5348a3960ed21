//! Hold: an event whose intended time is ahead waits as a schedule, and becomes due when it fires (DESIGN 4 "Hold").
//!
//! `later.…` → schedule `held.{site}.{key}` → due → `released.…` → published to where it goes when due. Who receives
//! it is decided then.

use std::time::Duration;

use slipstream_bus::{Bus, Consumer, ConsumerName, Message, Outgoing, Publisher, StreamName, subject};
use slipstream_core::contract::RoutedEvent;
use slipstream_core::event::envelope::Envelope;
use slipstream_core::ids::EventKey;
use slipstream_core::lane::Visibility;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::{Context, clock};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::route;

/// Events of one batch.
const BATCH_MAX: usize = 128;

/// Starts both loops.
pub(crate) async fn start(
    bus: &Bus,
    outcomes: &Publisher,
    work: &Publisher,
    storage_is_short: watch::Receiver<bool>,
    ctx: &Context,
) -> anyhow::Result<()> {
    let (outcomes, work, again) = (outcomes.clone(), work.clone(), work.clone());
    let later = bus.consume(ConsumerName::Hold).await?.prefetch(BATCH_MAX);
    let hold = async move |event: &Message| hold(event, &work, &outcomes).await;
    ctx.spawn("hold", run(later, storage_is_short, ctx.stop.clone(), hold));

    let (events, queue) = (bus.publisher(StreamName::Events), bus.publisher(StreamName::Queue));
    let released = bus.consume(ConsumerName::Release).await?.prefetch(BATCH_MAX);
    let release = async move |event: &Message| release(event, &events, &queue, &again).await;
    // What is due goes on: it takes no more room than it gives back.
    let (_, never_short) = watch::channel(false);
    ctx.spawn("release", run(released, never_short, ctx.stop.clone(), release));
    Ok(())
}

/// Applies `step` to every message, all of a batch together, and acknowledges those for which it succeeded. The
/// others come again after their lease. While `storage_is_short`, nothing is pulled (DESIGN 3.5).
async fn run(
    mut messages: Consumer,
    mut storage_is_short: watch::Receiver<bool>,
    stop: CancellationToken,
    step: impl AsyncFn(&Message) -> anyhow::Result<()>,
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
        let steps = batch.iter().map(async |message| match step(message).await {
            Ok(()) => message.ack().await,
            Err(error) => tracing::warn!(error = format!("{error:#}"), "a held event comes again"),
        });
        futures::future::join_all(steps).await;
    }
    messages.hand_back().await;
    Ok(())
}

async fn hold(event: &Message, work: &Publisher, outcomes: &Publisher) -> anyhow::Result<()> {
    let Some(held) = Held::read(event) else {
        tracing::error!(subject = %event.subject.escape_debug(), "not an event of ours: skipped");
        return Ok(());
    };
    let now = clock::now();
    let room = held.meta.expires_at.map(|expires_at| expires_at.since(held.intended_at) / 4);
    let at = spread(held.intended_at, now, room, rand::random());
    let schedule = Outgoing::new(subject::held(&held.site, &held.record.key), event.payload.clone())
        .meta(&held.meta)
        .trace(event.trace)
        .due_subject(&held.due_subject)
        .at(at, &subject::released(held.record.lane, &held.site, &held.record.key), now);
    let ack = work.publish(schedule).await?;
    anyhow::ensure!(!ack.duplicate, "the schedule was taken for a repeat");
    // A WorkQueue event goes to its own service's queue, past the record of deliveries.
    if held.record.visibility != Visibility::WorkQueue {
        outcomes.publish(route::record(held.site, vec![held.record])).await?;
    }
    Ok(())
}

async fn release(event: &Message, events: &Publisher, queue: &Publisher, work: &Publisher) -> anyhow::Result<()> {
    let parsed = subject::parse_released(&event.subject).zip(event.meta.as_ref()).zip(event.due_subject.clone());
    let Some((((lane, site, key), meta), due_subject)) = parsed else {
        tracing::error!(subject = %event.subject.escape_debug(), "not a held event of ours: skipped");
        return Ok(());
    };
    let now = clock::now();
    if let Some(intended_at) = meta.intended_at.filter(|intended_at| *intended_at > now) {
        // By our clock it is not yet time, whatever the server's says (N3).
        let schedule = Outgoing::new(subject::held(&site, &key), event.payload.clone())
            .meta(meta)
            .trace(event.trace)
            .due_subject(&due_subject)
            .at(intended_at, &subject::released(lane, &site, &key), now);
        work.publish(schedule).await?;
        return Ok(());
    }
    let publisher = if due_subject.starts_with("queue.") { queue } else { events };
    // Another id than at acceptance: the stream still knows that one. A second firing is recognised by it (3.6).
    let due = Outgoing::new(due_subject, event.payload.clone()).id(&format!("{key}.due")).meta(meta).trace(event.trace);
    publisher.publish(due).await?;
    Ok(())
}

/// What is known of an event that is to be held.
struct Held {
    site: slipstream_core::slug::Slug,
    meta: slipstream_core::contract::Meta,
    due_subject: slipstream_bus::Subject,
    intended_at: Timestamp,
    record: RoutedEvent,
}

impl Held {
    fn read(event: &Message) -> Option<Self> {
        let (lane, site) = subject::parse_later(&event.subject)?;
        let meta = event.meta.clone()?;
        let intended_at = meta.intended_at?;
        let due_subject = event.due_subject.clone()?;
        let envelope = Envelope::read(&event.payload).ok()?;
        let visibility =
            subject::parse_event(&due_subject).map_or(Visibility::WorkQueue, |(visibility, ..)| visibility);
        let key = EventKey::new(&site, &envelope.source, &envelope.id);
        let record = route::describe(key, envelope, (visibility, lane), &meta);
        Some(Self { site, meta, due_subject, intended_at, record })
    }
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
