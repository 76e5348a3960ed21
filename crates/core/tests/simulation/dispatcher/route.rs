//! Route: an event that is due becomes one delivery per matching subscription, as `route.rs` of the dispatcher.

use std::borrow::Cow;
use std::rc::Rc;

use slipstream_core::contract::{Matched, Meta, RoutedEvent, SKIPPED_MAX, SeenQuestion, Skipped};
use slipstream_core::event::envelope::Envelope;
use slipstream_core::ids::{DeliveryId, EventKey, content_hash, id_hash};
use slipstream_core::lane::{Lane, Visibility};
use slipstream_core::matching::{Candidate, MatchIndex};
use slipstream_core::slug::Slug;
use slipstream_core::timestamp::Timestamp;

use super::super::message::{ConsumerName, Message, Outgoing, Payload, Stored, Subject};
use super::super::mutation::Mutation;
use super::Dispatcher;
use super::seen::FirstSeen;

/// Routes for ever, several batches at once.
pub(super) async fn run(dispatcher: Rc<Dispatcher>) {
    loop {
        let batch = dispatcher.node.pull(ConsumerName::Route, 4).await;
        let router = Rc::clone(&dispatcher);
        dispatcher.node.spawn(async move { router.route(batch).await });
    }
}

impl Dispatcher {
    /// Publishes a batch's deliveries and records, then acknowledges the batch.
    async fn route(&self, batch: Vec<Message>) {
        let world = &self.node.world;
        if world.is(Mutation::AcknowledgeBeforeRouting) {
            for event in &batch {
                self.node.acknowledge(event).await;
            }
        }
        let bytes: Vec<_> = batch.iter().map(|message| message.stored.payload.bytes()).collect();
        let events: Vec<_> =
            batch.iter().zip(&bytes).filter_map(|(message, bytes)| Event::read(&message.stored, bytes)).collect();
        let seen = self.look(&events.iter().map(Event::question).collect::<Vec<_>>()).await;
        let plan = plan(&events, &seen, &self.index(), self.node.now());
        // All of one kind go at once, and any of them may be durable first. The records come after the deliveries: none
        // is to name one that a crash has kept from being made, and a change of the configuration from being made then.
        let kinds = if world.is(Mutation::RecordBeforeDeliveries) { [plan.1, plan.0] } else { [plan.0, plan.1] };
        for mut messages in kinds {
            while !messages.is_empty() {
                let next = world.between(0, messages.len() as i64 - 1) as usize;
                self.node.publish_surely(messages.swap_remove(next)).await;
            }
        }
        for event in &batch {
            self.node.acknowledge(event).await;
        }
    }
}

/// An event of a batch, as far as routing reads it.
struct Event<'a> {
    stored: &'a Stored,
    envelope: Envelope<'a>,
    meta: &'a Meta,
    visibility: Visibility,
    lane: Lane,
    site: &'a Slug,
    key: EventKey,
}

impl<'a> Event<'a> {
    fn read(stored: &'a Stored, bytes: &'a [u8]) -> Option<Self> {
        let Subject::Event(visibility, lane, site) = &stored.subject else { return None };
        let envelope = Envelope::read(bytes).ok()?;
        let key = EventKey::new(site, &envelope.source, &envelope.id);
        let meta = stored.meta.as_ref()?;
        Some(Self { stored, envelope, meta, visibility: *visibility, lane: *lane, site, key })
    }

    /// The question whether it was seen before.
    fn question(&self) -> SeenQuestion {
        SeenQuestion { key: self.key, id_hash: id_hash(&self.envelope.id), accepted_at: self.meta.accepted_at }
    }
}

/// Everything that routing a batch publishes: deliveries, and records.
fn plan(events: &[Event<'_>], seen: &FirstSeen, index: &MatchIndex, now: Timestamp) -> (Vec<Outgoing>, Vec<Outgoing>) {
    let (mut deliveries, mut records) = (Vec::new(), Vec::new());
    for event in events.iter().filter(|event| !seen.is_repeat(&event.question())) {
        let Event { stored, envelope, meta, visibility, lane, site, key } = event;
        let candidate = Candidate { site, event_type: &envelope.event_type, visibility: *visibility };
        let mut matched = Vec::new();
        for subscription in index.matching(candidate) {
            let delivery = DeliveryId::derive(meta.accepted_at, subscription.id, key);
            matched.push(Matched { delivery, subscription: subscription.id, surface: subscription.surface });
            let meta =
                Meta { published_by: None, attempt: 1, parked: 0, generation: 0, changed_at: None, ..(*meta).clone() };
            let subject = Subject::Delivery(*lane, subscription.id, *key);
            deliveries.push(Outgoing::new(subject, stored.payload.clone()).id(delivery.to_string()).meta(meta));
        }
        let skipped = index.skipping(candidate).take(SKIPPED_MAX);
        let record = RoutedEvent {
            routed_at: Some(now),
            sequence: Some(stored.sequence),
            content_hash: Some(content_hash(&stored.payload.bytes())),
            matched,
            skipped: skipped.map(|(subscription, reason)| Skipped { subscription, reason }).collect(),
            ..describe(*key, envelope, (*visibility, *lane), meta)
        };
        records.push(Outgoing::new(Subject::Routed, Payload::Routed(Rc::new(record))));
    }
    (deliveries, records)
}

/// The record of an event, before anything has become of it.
pub(super) fn describe(
    key: EventKey,
    envelope: &Envelope<'_>,
    (visibility, lane): (Visibility, Lane),
    meta: &Meta,
) -> RoutedEvent {
    RoutedEvent {
        key,
        source: envelope.source.to_string(),
        id: envelope.id.to_string(),
        event_type: envelope.event_type.to_string(),
        subject: envelope.subject.as_ref().map(Cow::to_string),
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
