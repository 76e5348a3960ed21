//! The two messages of a replay: the delivery, and the record that it was made.

use std::collections::BTreeMap;

use slipstream_bus::{Outgoing, StoredEvent, subject};
use slipstream_core::config::Surface;
use slipstream_core::contract::{Meta, Outcome, Outcomes};
use slipstream_core::delivery::DeliveryState;
use slipstream_core::ids::{DeliveryId, EventKey, ReplayId, SubscriptionId};
use slipstream_core::lane::Lane;
use slipstream_core::slug::Slug;
use slipstream_core::timestamp::Timestamp;

/// A delivery to be made.
#[derive(Debug, Clone, Copy)]
pub(super) struct New<'a> {
    pub(super) site: &'a Slug,
    pub(super) key: EventKey,
    pub(super) accepted_at: Timestamp,
    pub(super) surface: Surface,
    pub(super) subscription: SubscriptionId,
    pub(super) lane: Lane,
    /// By which replay; none for the event's own delivery.
    pub(super) replay: Option<ReplayId>,
}

impl New<'_> {
    /// The id of the event's own delivery: a replay goes out under its `webhook-id`.
    pub(super) fn own_id(&self) -> DeliveryId {
        DeliveryId::derive(self.accepted_at, self.subscription, &self.key)
    }

    pub(super) fn id(&self) -> DeliveryId {
        let Some(replay) = self.replay else { return self.own_id() };
        DeliveryId::derive_replay(self.accepted_at, self.subscription, &self.key, replay)
    }

    /// The delivery's message, with the event's own bytes. Its id lets the stream know a repeat.
    pub(super) fn message(&self, stored: StoredEvent) -> Outgoing {
        let meta = Meta {
            expires_at: stored.meta.expires_at,
            intended_at: stored.meta.intended_at,
            replay: self.replay,
            ..Meta::new(self.site.clone(), self.accepted_at)
        };
        Outgoing::new(subject::delivery(self.lane, self.subscription, &self.key), stored.payload)
            .id(&self.id().to_string())
            .meta(&meta)
            .trace(stored.trace)
    }

    /// What makes it visible before anything has come of it.
    pub(super) fn outcome(&self, now: Timestamp) -> Outcome {
        Outcome {
            delivery: self.id(),
            site: self.site.clone(),
            key: self.key,
            lane: self.lane,
            accepted_at: self.accepted_at,
            state: DeliveryState::Scheduled,
            reason: None,
            at: now,
            attempt: None,
            next_attempt_at: None,
            replay: self.replay,
        }
    }
}

/// Outcomes of one message: an outcome without an attempt has some 400 bytes, and a message holds at most 1 MiB.
const OUTCOMES_MAX: usize = 1000;

/// Records of outcomes, as messages: one per subscription.
pub(crate) fn record(outcomes: impl IntoIterator<Item = (Surface, SubscriptionId, Outcome)>) -> Vec<Outgoing> {
    let mut by_subscription: BTreeMap<SubscriptionId, (Surface, Vec<Outcome>)> = BTreeMap::new();
    for (surface, subscription, outcome) in outcomes {
        by_subscription.entry(subscription).or_insert_with(|| (surface, Vec::new())).1.push(outcome);
    }
    let mut messages = Vec::with_capacity(by_subscription.len());
    for (subscription, (surface, outcomes)) in by_subscription {
        for part in outcomes.chunks(OUTCOMES_MAX) {
            let outcomes = Outcomes { subscription, surface, outcomes: part.to_vec() };
            let payload = serde_json::to_vec(&outcomes).expect("messages serialise");
            messages.push(Outgoing::new(subject::outcomes(surface, subscription), payload.into()));
        }
    }
    messages
}
