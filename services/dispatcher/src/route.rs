//! Route: an event that is due becomes one delivery per matching subscription (DESIGN 4 "Route").
//!
//! A batch at a time per lane: match in memory, publish the deliveries and the record of who matched, acknowledge.
//! Several batches are under way at once, so the disk's sync of one does not hold up the next. Routing an event twice
//! makes the same deliveries: their ids are derived from the event and the subscription.

mod bridge;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::counter;
use slipstream_bus::{Consumer, Message, Outgoing, Publisher, subject};
use slipstream_core::contract::{Matched, Meta, Routed, RoutedEvent, SKIPPED_MAX, SeenQuestion, Skipped};
use slipstream_core::event::envelope::Envelope;
use slipstream_core::ids::{DeliveryId, EventKey, content_hash, id_hash};
use slipstream_core::lane::{Lane, Visibility};
use slipstream_core::matching::Candidate;
use slipstream_core::slug::Slug;
use slipstream_core::trace::TraceContext;
use slipstream_service::directory::Snapshot;
use slipstream_service::{Directory, clock, names, trace};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use self::bridge::Posts;
use crate::pace::Pace;
use crate::seen::{self, Asked, FirstSeen, Seen};

/// Events of one batch.
pub(crate) const BATCH_MAX: usize = 256;
/// Batches under way at once, per lane.
const BATCHES_IN_FLIGHT: usize = 4;
/// Pause before a batch that could not be published is published again.
const REPEAT_PAUSE: Duration = Duration::from_millis(200);

/// What routing needs.
#[derive(Debug)]
pub(crate) struct Router {
    pub(crate) directory: Directory,
    pub(crate) seen: Seen,
    pub(crate) work: Publisher,
    pub(crate) outcomes: Publisher,
    pub(crate) lane: Lane,
    pub(crate) pace: Arc<Pace>,
}

/// Routes events of one lane until told to stop. While `storage_is_short`, nothing is pulled: the stream fills, and
/// ingest refuses (DESIGN 3.5).
pub(crate) async fn run(
    router: Arc<Router>,
    mut events: Consumer,
    mut storage_is_short: watch::Receiver<bool>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let in_flight = Arc::new(Semaphore::new(BATCHES_IN_FLIGHT));
    loop {
        let next = async {
            // An error means that housekeeping has stopped, and so shall we.
            let _ = storage_is_short.wait_for(|is_short| !is_short).await;
            // A lane that gives way has one batch at a time under way.
            let gives_way = router.lane == Lane::Normal && router.pace.gives_way();
            let permits = if gives_way { BATCHES_IN_FLIGHT as u32 } else { 1 };
            let permit =
                Arc::clone(&in_flight).acquire_many_owned(permits).await.expect("the semaphore is never closed");
            (permit, events.next_batch(BATCH_MAX, Duration::ZERO).await)
        };
        let (permit, batch) = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            next = next => next,
        };
        let (router, stop) = (Arc::clone(&router), stop.clone());
        tokio::spawn(async move {
            router.route(batch, &stop).await;
            drop(permit);
        });
    }
    // Every permit back means that every batch is done.
    let _all = in_flight.acquire_many(BATCHES_IN_FLIGHT as u32).await;
    // Afterwards, because it also sends out the last acknowledgements, which the end of the process would take with it.
    events.hand_back().await;
    Ok(())
}

impl Router {
    /// Publishes a batch's deliveries and records, each again and again if need be, then acknowledges the batch.
    async fn route(&self, batch: Vec<Message>, stop: &CancellationToken) {
        let events: Vec<_> = batch.iter().filter_map(Event::read).collect();
        let (begun, asked) = (Instant::now(), events.iter().map(Event::asked).collect::<Vec<_>>());
        self.pace.came(self.lane);
        let seen = self.seen.look(&asked).await;
        // When nobody answers, that says nothing of the broker.
        let unanswered = Some(begun.elapsed()).filter(|waited| *waited >= seen::PATIENCE).unwrap_or_default();
        let snapshot = self.directory.snapshot();
        let plan = Plan::new(&events, &seen, &snapshot);
        let is_published = publish(&self.work, &plan.deliveries, stop).await;
        self.pace.routed(self.lane, begun.elapsed().saturating_sub(unanswered));
        // The record last: it must not name a delivery that a crash and a change of the subscription then prevent.
        if !(is_published
            && self.bridge(&events, &seen, &snapshot, stop).await
            && publish(&self.outcomes, &plan.records, stop).await)
        {
            tracing::warn!("stopping with a batch not routed; it will come again");
            return;
        }
        counter!(names::EVENTS_ROUTED).increment(batch.len() as u64);
        for event in &batch {
            event.ack().await;
        }
    }
}

impl Router {
    /// Publishes the posts of events whose site is linked to an ECG organization. False if told to stop meanwhile.
    async fn bridge(
        &self,
        events: &[Event<'_>],
        seen: &FirstSeen,
        snapshot: &Snapshot,
        stop: &CancellationToken,
    ) -> bool {
        for event in events.iter().filter(|event| !seen.is_repeat(event.asked().question)) {
            let Some(posts) = Posts::of(event, snapshot) else { continue };
            for chunk in posts.chunks(process_trace(&event.envelope.event_type, event.message.trace)) {
                if !(publish(&self.work, &chunk.deliveries, stop).await
                    && publish(&self.outcomes, &chunk.records, stop).await)
                {
                    return false;
                }
            }
        }
        true
    }
}

/// Publishes until it succeeds. By itself: when the other half of a plan does not get through, this one must not be
/// published again and again, beyond the time in which the stream knows it. False if told to stop meanwhile.
async fn publish(publisher: &Publisher, messages: &[Outgoing], stop: &CancellationToken) -> bool {
    while let Err(error) = publisher.publish_each(messages).await {
        tracing::warn!(%error, "routing a batch again");
        if stop.run_until_cancelled(tokio::time::sleep(REPEAT_PAUSE)).await.is_none() {
            return false;
        }
    }
    true
}

/// Everything that routing a batch publishes.
#[derive(Debug, Default)]
struct Plan {
    deliveries: Vec<Outgoing>,
    records: Vec<Outgoing>,
}

/// An event of a batch, as far as routing reads it.
struct Event<'a> {
    message: &'a Message,
    envelope: Envelope<'a>,
    meta: &'a Meta,
    visibility: Visibility,
    lane: Lane,
    site: Slug,
    key: EventKey,
    content_hash: i64,
}

impl<'a> Event<'a> {
    /// None, and a word in the log, for what is not an event of ours: we write this stream ourselves, and a stranger's
    /// message must not stop it.
    fn read(message: &'a Message) -> Option<Self> {
        let event = Self::parse(message);
        if event.is_none() {
            tracing::error!(subject = %message.subject.escape_debug(), "not an event of ours: skipped");
        }
        event
    }

    fn parse(message: &'a Message) -> Option<Self> {
        let (visibility, lane, site) = subject::parse_event(&message.subject)?;
        let envelope = Envelope::read(&message.payload).ok()?;
        let key = EventKey::new(&site, &envelope.source, &envelope.id);
        let (meta, content_hash) = (message.meta.as_ref()?, content_hash(&message.payload));
        Some(Self { message, envelope, meta, visibility, lane, site, key, content_hash })
    }

    /// The question whether it was seen before.
    fn asked(&self) -> Asked {
        let (key, id_hash, accepted_at) = (self.key, id_hash(&self.envelope.id), self.meta.accepted_at);
        Asked { question: SeenQuestion { key, id_hash, accepted_at }, content_hash: self.content_hash }
    }
}

impl Plan {
    /// Plans the `events` that are no repeats; those leave nothing behind.
    fn new(events: &[Event<'_>], seen: &FirstSeen, snapshot: &Snapshot) -> Self {
        let mut plan = Self::default();
        let mut routed: HashMap<Slug, Vec<RoutedEvent>> = HashMap::new();
        for event in events.iter().filter(|event| !seen.is_repeat(event.asked().question)) {
            let record = plan.add(event, snapshot);
            routed.entry(event.site.clone()).or_default().push(record);
        }
        plan.records.extend(routed.into_iter().flat_map(|(site, events)| records(&site, events)));
        plan
    }

    /// Plans one event's deliveries; returns its record.
    fn add(&mut self, event: &Event<'_>, snapshot: &Snapshot) -> RoutedEvent {
        let index = snapshot.subscriptions();
        let Event { message, envelope, meta, visibility, lane, site, key, content_hash } = event;
        let candidate = Candidate { site, event_type: &envelope.event_type, visibility: *visibility };
        let trace = process_trace(&envelope.event_type, message.trace);
        let matching = index.matching(candidate);
        let mut matched = Vec::with_capacity(matching.len());
        for subscription in matching {
            let delivery = DeliveryId::derive(meta.accepted_at, subscription.id, key);
            matched.push(Matched { delivery, subscription: subscription.id, surface: subscription.surface });
            self.deliveries.push(
                Outgoing::new(subject::delivery(*lane, subscription.id, key), message.payload.clone())
                    .id(&delivery.to_string())
                    .meta(&delivery_meta(meta))
                    .trace(trace),
            );
        }
        if let Some(posts) = Posts::of(event, snapshot) {
            matched.extend(posts.matched());
        }
        let skipped = index
            .skipping(candidate)
            .take(SKIPPED_MAX)
            .map(|(subscription, reason)| Skipped { subscription, reason })
            .collect();
        RoutedEvent {
            routed_at: Some(clock::now()),
            sequence: message.sequence,
            content_hash: Some(*content_hash),
            matched,
            skipped,
            ..describe(*key, envelope.clone(), (*visibility, *lane), meta)
        }
    }
}

/// What a delivery's message says of its event.
fn delivery_meta(meta: &Meta) -> Meta {
    Meta {
        published_by: None,
        attempt: 1,
        parked: 0,
        is_paused: false,
        generation: 0,
        changed_at: None,
        ..meta.clone()
    }
}

/// The record of an event, before anything has become of it.
pub(crate) fn describe(
    key: EventKey,
    envelope: Envelope<'_>,
    (visibility, lane): (Visibility, Lane),
    meta: &Meta,
) -> RoutedEvent {
    RoutedEvent {
        key,
        source: envelope.source.into_owned(),
        id: envelope.id.into_owned(),
        event_type: envelope.event_type.into_owned(),
        subject: envelope.subject.map(Cow::into_owned),
        visibility,
        lane,
        accepted_at: meta.accepted_at,
        intended_at: meta.intended_at,
        expires_at: meta.expires_at,
        published_by: meta.published_by,
        routed_at: None,
        changed_at: meta.changed_at,
        cancelled_at: meta.cancelled_at,
        sequence: None,
        content_hash: None,
        matched: Vec::new(),
        skipped: Vec::new(),
    }
}

/// The trace of an event that is routed: at a span of its own if traces are exported, as it came otherwise.
fn process_trace(event_type: &str, cause: Option<TraceContext>) -> Option<TraceContext> {
    let span = tracing::debug_span!(
        target: "slipstream::span",
        "process event",
        otel.kind = "consumer",
        messaging.system = "nats",
        messaging.operation.type = "process",
        messaging.destination.template = "events.{visibility}.{lane}.{site}.{type}",
        cloudevents.event_type = event_type,
    );
    if let Some(cause) = cause {
        trace::set_parent(&span, cause);
    }
    trace::of_span(&span).or(cause)
}

/// Bytes of one record: a message holds at most 1 MiB, and callers' text may double when it is escaped.
const RECORD_BYTES_MAX: usize = 400 * 1024;

/// Events of one site as one record, or several if their text is long.
fn records(site: &Slug, events: Vec<RoutedEvent>) -> Vec<Outgoing> {
    let mut records = Vec::new();
    let mut chunk = Vec::with_capacity(events.len());
    let mut bytes = 0;
    for event in events.into_iter().flat_map(split) {
        let text = event.source.len() + event.id.len() + event.event_type.len();
        let lists = 150 * event.matched.len() + 100 * event.skipped.len();
        let size = 400 + text + event.subject.as_ref().map_or(0, String::len) + lists;
        if bytes + size > RECORD_BYTES_MAX && !chunk.is_empty() {
            records.push(record(site.clone(), std::mem::take(&mut chunk)));
            bytes = 0;
        }
        bytes += size;
        chunk.push(event);
    }
    records.push(record(site.clone(), chunk));
    records
}

/// Receivers of one event that one record names.
const RECORD_MATCHED_MAX: usize = 2000;

/// An event with very many receivers, as several records of it; each names some of them.
fn split(mut event: RoutedEvent) -> Vec<RoutedEvent> {
    let mut parts = Vec::with_capacity(1);
    while event.matched.len() > RECORD_MATCHED_MAX {
        let matched = event.matched.split_off(event.matched.len() - RECORD_MATCHED_MAX);
        parts.push(RoutedEvent { matched, ..event.clone() });
    }
    parts.push(event);
    parts
}

/// A record of events of one site, as a message.
pub(crate) fn record(site: Slug, events: Vec<RoutedEvent>) -> Outgoing {
    let subject = subject::routed(&site);
    let payload = serde_json::to_vec(&Routed { site, events }).expect("records serialise");
    Outgoing::new(subject, payload.into())
}
