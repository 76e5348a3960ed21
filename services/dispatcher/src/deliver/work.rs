//! A delivery in hand: one message of `WORK`, read.

use std::time::Instant;

use bytes::Bytes;
use slipstream_bus::consume::Acknowledger;
use slipstream_bus::{Message, Outgoing, Subject, subject};
use slipstream_core::contract::{Attempt, Meta, Outcome};
use slipstream_core::delivery::{DeliveryState, Reason};
use slipstream_core::ids::{DeliveryId, EventKey, SubscriptionId};
use slipstream_core::lane::Lane;
use slipstream_core::timestamp::Timestamp;
use slipstream_core::trace::TraceContext;
use slipstream_service::clock;

/// A delivery that this dispatcher holds until its outcome is durable.
#[derive(Debug)]
pub(crate) struct Work {
    /// Which delivery: the event's own, or that of a replay.
    pub(crate) delivery: DeliveryId,
    pub(crate) subscription: SubscriptionId,
    pub(crate) key: EventKey,
    pub(crate) lane: Lane,
    pub(crate) meta: Meta,
    pub(crate) trace: Option<TraceContext>,
    pub(crate) body: Bytes,
    pub(crate) ack: Acknowledger,
    /// Whether it was handed out before: another life of it may have come further.
    pub(crate) is_redelivered: bool,
    /// When it was taken: its lease runs from then.
    pub(crate) taken_at: Instant,
}

impl Work {
    /// Reads a message; one that is not a delivery of ours is logged and let go.
    pub(crate) async fn read(message: Message, taken_at: Instant) -> Option<Self> {
        let parsed = subject::parse_delivery(&message.subject).zip(message.meta.clone());
        let Some(((lane, subscription, key), meta)) = parsed else {
            tracing::error!(subject = %message.subject.escape_debug(), "not a delivery of ours: skipped");
            message.ack().await;
            return None;
        };
        let delivery = match meta.replay {
            None => DeliveryId::derive(meta.accepted_at, subscription, &key),
            Some(replay) => DeliveryId::derive_replay(meta.accepted_at, subscription, &key, replay),
        };
        let (trace, body, is_redelivered) = (message.trace, message.payload.clone(), message.is_redelivered);
        Some(Self {
            delivery,
            subscription,
            key,
            lane,
            meta,
            trace,
            body,
            ack: message.into_ack(),
            is_redelivered,
            taken_at,
        })
    }

    /// The `webhook-id`: that of the event's own delivery, also on a replay, so that receivers know it (SPEC 4.1).
    pub(crate) fn webhook_id(&self) -> String {
        DeliveryId::derive(self.meta.accepted_at, self.subscription, &self.key).webhook_id()
    }

    /// The subject under which this delivery waits.
    pub(crate) fn waiting_subject(&self) -> Subject {
        subject::waiting(self.subscription, &self.key, self.delivery)
    }

    /// The message that makes the server hand this delivery out again at `at`, in the place of message number `last`.
    ///
    /// Its id names the step that publishes it, attempt and all: publishing it twice, also after it has fired, makes
    /// one schedule (DESIGN 3.3 warns of an id without the attempt).
    pub(crate) fn again(&self, meta: &Meta, last: u64, at: Timestamp, now: Timestamp) -> Outgoing {
        let due = subject::delivery(self.lane, self.subscription, &self.key);
        Outgoing::new(self.waiting_subject(), self.body.clone())
            .id(&format!("{}.{}.{}", self.delivery, meta.attempt, meta.parked))
            .meta(meta)
            .trace(self.trace)
            .expect_last(last)
            .at(at, &due, now)
    }

    /// The bytes of its event, to be kept for a replay.
    pub(crate) fn dead_letter(&self) -> Outgoing {
        let meta = Meta { attempt: 1, parked: 0, has_place: false, replay: None, ..self.meta.clone() };
        Outgoing::new(subject::dead(&meta.site, &self.key), self.body.clone())
            .id(&format!("{}.{}", self.key, meta.accepted_at.as_millis()))
            .meta(&meta)
            .trace(self.trace)
    }

    /// The record of what happened to this delivery.
    pub(crate) fn outcome(&self, state: DeliveryState, reason: Option<Reason>) -> Outcome {
        Outcome {
            delivery: self.delivery,
            site: self.meta.site.clone(),
            key: self.key,
            lane: self.lane,
            accepted_at: self.meta.accepted_at,
            state,
            reason,
            at: clock::now(),
            attempt: None,
            next_attempt_at: None,
            replay: self.meta.replay,
        }
    }

    /// The record of an attempt.
    pub(crate) fn attempted(&self, state: DeliveryState, reason: Option<Reason>, attempt: Attempt) -> Outcome {
        Outcome { attempt: Some(attempt), ..self.outcome(state, reason) }
    }

    /// The state of a delivery that waits: what was attempted waits for a retry, the rest is scheduled.
    pub(crate) const fn waiting_state(&self) -> DeliveryState {
        if self.meta.attempt > 1 { DeliveryState::RetryWait } else { DeliveryState::Scheduled }
    }

    /// A delivery that nobody waits for.
    #[cfg(test)]
    pub(crate) fn for_tests(subscription: SubscriptionId) -> Self {
        let site: slipstream_core::slug::Slug = "s8n6EzC".parse().expect("a slug");
        let key = EventKey::new(&site, "/tests", "1");
        let meta = Meta::new(site, clock::now());
        Self {
            delivery: DeliveryId::derive(meta.accepted_at, subscription, &key),
            subscription,
            key,
            lane: Lane::Normal,
            meta,
            trace: None,
            body: Bytes::new(),
            ack: Acknowledger::nobody(),
            is_redelivered: false,
            taken_at: Instant::now(),
        }
    }
}
