//! A delivery in hand, as `deliver/work.rs` of the dispatcher.

use std::rc::Rc;

use slipstream_core::contract::{Attempt, Meta, Outcome};
use slipstream_core::delivery::{DeliveryState, Reason};
use slipstream_core::ids::{DeliveryId, EventKey, SubscriptionId};
use slipstream_core::lane::Lane;
use slipstream_core::timestamp::Timestamp;

use super::super::history::delivery_id;
use super::super::message::{Message, Outgoing, Payload, Subject};
use super::super::mutation::Mutation;
use super::super::world::World;

/// A delivery that this dispatcher holds until its outcome is durable.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    pub(crate) delivery: DeliveryId,
    pub(crate) subscription: SubscriptionId,
    pub(crate) key: EventKey,
    pub(crate) lane: Lane,
    pub(crate) meta: Meta,
    pub(crate) body: Rc<[u8]>,
    pub(crate) message: Message,
    /// When it was taken: its lease runs from then.
    pub(crate) taken_at: i64,
}

impl Work {
    pub(crate) fn read(message: Message, taken_at: i64) -> Self {
        let (Subject::Delivery(lane, subscription, key), Some(meta)) = (&message.stored.subject, &message.stored.meta)
        else {
            unreachable!("only deliveries are consumed as such, and all have their meta");
        };
        let (lane, subscription, key, meta) = (*lane, *subscription, *key, meta.clone());
        let (delivery, body) = (delivery_id(&meta, subscription, &key), message.stored.payload.bytes());
        Self { delivery, subscription, key, lane, meta, body, message, taken_at }
    }

    /// That of the event's own delivery, also on a replay.
    pub(crate) fn webhook_id(&self, world: &World) -> String {
        if world.is(Mutation::FreshWebhookId) {
            return format!("msg_{}{:x}", self.delivery.0.simple(), self.meta.attempt);
        }
        DeliveryId::derive(self.meta.accepted_at, self.subscription, &self.key).webhook_id()
    }

    /// Which delivery it waits as: itself.
    pub(crate) fn place(&self, world: &World) -> DeliveryId {
        let original = || DeliveryId::derive(self.meta.accepted_at, self.subscription, &self.key);
        if world.is(Mutation::ReplayInPlaceOfOriginal) {
            return original();
        }
        if world.is(Mutation::RepeatInPlaceOfOriginal) && self.meta.replay.is_none() {
            return DeliveryId::derive(Timestamp::default(), self.subscription, &self.key);
        }
        self.delivery
    }

    /// The message that makes the server hand this delivery out again at `at`.
    pub(crate) fn again(&self, meta: Meta, at: Timestamp, world: &World) -> Outgoing {
        let due = Subject::Delivery(self.lane, self.subscription, self.key);
        let id = if world.is(Mutation::ScheduleIdWithoutAttempt) {
            format!("{}.again", self.delivery)
        } else {
            format!("{}.{}.{}", self.delivery, meta.attempt, meta.parked)
        };
        let waiting = Subject::Waiting(self.subscription, self.place(world));
        Outgoing::new(waiting, Payload::Event(Rc::clone(&self.body))).id(id).meta(meta).at(at, due)
    }

    /// The record of what happened to this delivery.
    pub(crate) fn outcome(&self, state: DeliveryState, reason: Option<Reason>, now: Timestamp) -> Outcome {
        Outcome {
            delivery: self.delivery,
            site: self.meta.site.clone(),
            key: self.key,
            lane: self.lane,
            accepted_at: self.meta.accepted_at,
            state,
            reason,
            at: now,
            attempt: None,
            next_attempt_at: None,
            replay: self.meta.replay,
        }
    }

    /// The record of an attempt.
    pub(crate) fn attempted(
        &self,
        state: DeliveryState,
        reason: Option<Reason>,
        attempt: Attempt,
        now: Timestamp,
    ) -> Outcome {
        Outcome { attempt: Some(attempt), ..self.outcome(state, reason, now) }
    }

    /// The state of a delivery that waits.
    pub(crate) const fn waiting_state(&self) -> DeliveryState {
        if self.meta.attempt > 1 { DeliveryState::RetryWait } else { DeliveryState::Scheduled }
    }
}
