//! One delivery again, or one event to one subscription.

use std::borrow::Cow;

use slipstream_core::config::{Subscription, Surface};
use slipstream_core::contract::Outcome;
use slipstream_core::ids::{DeliveryId, ReplayId, SubscriptionId};
use slipstream_core::lane::Visibility;
use slipstream_core::problem::{Problem, ProblemKind};
use slipstream_core::slug::Slug;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::idempotency::NewId;
use slipstream_service::{ApiError, clock};
use slipstream_store::activity::replay::event_of;
use slipstream_store::activity::{Delivery, EventRecord, delivery, event};

use super::Replayer;
use super::message::{New, record};
use super::stored::{Place, fetch};
use crate::database::ask;

/// Why a post is not delivered again here.
const ECG_RETRY: &str = "a post of the ECG surface is repeated there, as an activity of its tree: POST /api/organizations/\
                         {organizationId}/webhook-subscriptions/{subscriptionId}/activity/{activityId}/retry";

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Replayed {
    /// By which replay; none if it is the event's own delivery, which it did not have yet.
    pub(crate) replay: Option<ReplayId>,
    /// The new delivery.
    pub(crate) delivery: DeliveryId,
    /// The event's own delivery, under whose `webhook-id` the new one goes out.
    pub(crate) own: DeliveryId,
    /// The delivery it repeats.
    pub(crate) replay_of: Option<DeliveryId>,
    /// The event's site.
    pub(crate) site: Slug,
}

impl Replayer {
    /// Makes a delivery again that has ended.
    ///
    /// # Errors
    /// 404 if it is not recorded; 409 if it has not ended, or cannot be made again; 503 when the bus or the database does
    /// not answer.
    pub(crate) async fn replay_delivery(&self, id: DeliveryId, new_id: NewId) -> Result<Replayed, ApiError> {
        let found = ask(delivery(self.store.connection(), id)).await?;
        let Some((Delivery { record: original, .. }, _)) = found else {
            return Err(Problem::new(ProblemKind::NotFound, "no such delivery is recorded").into());
        };
        if original.surface == Surface::Ecg {
            return Err(conflict(ECG_RETRY).into());
        }
        if !original.state.is_terminal() {
            let state = original.state.as_str();
            return Err(
                conflict(format!("the delivery is {state}, and only one that has ended can be replayed")).into()
            );
        }
        if self.directory.load().subscriptions().get(original.subscription).is_none() {
            return Err(conflict("the delivery's subscription does not exist any more").into());
        }
        let accepted_at = original.created_at();
        let Some(event) = ask(event_of(self.store.connection(), accepted_at, &original.event_key)).await? else {
            return Err(conflict("the delivery's event is not recorded, so where its data lies is not known").into());
        };
        let new = New {
            site: &original.site,
            key: original.event_key,
            accepted_at,
            surface: original.surface,
            subscription: original.subscription,
            lane: original.lane,
            replay: Some(ReplayId(new_id.get())),
        };
        if !self.is_made(new, new_id).await? {
            self.publish(&event, new).await?;
        }
        tracing::info!(
            delivery.id = %new.id(), replay.of = %id, subscription.id = %new.subscription,
            "delivery replayed by an operator",
        );
        let (replay, delivery, own) = (new.replay, new.id(), new.own_id());
        Ok(Replayed { replay, delivery, own, replay_of: Some(id), site: original.site })
    }

    /// Makes a delivery of an event to a subscription, whether or not it has had one. The subscription may have been made
    /// after the event, or not have matched it: whoever asks knows better. If it has had none, this is the event's own;
    /// unless the request has a key: then it is a replay in any case, because done again it would take its own delivery of
    /// before for one there was already, and make a second.
    ///
    /// # Errors
    /// 404 if the event is not recorded or the subscription does not exist; 409 if they do not belong together, the event
    /// cannot be delivered, or its own delivery to the subscription has not ended; 503 when the bus or the database does not answer.
    pub(crate) async fn replay_event(
        &self,
        site: &Slug,
        (source, id): (&str, &str),
        to: SubscriptionId,
        new_id: NewId,
    ) -> Result<Replayed, ApiError> {
        let subscription = self.directory.load().endpoint(to).cloned();
        let Some(subscription) = subscription else {
            return Err(Problem::new(ProblemKind::NotFound, "there is no such subscription").into());
        };
        if subscription.surface == Surface::Ecg {
            return Err(conflict(ECG_RETRY).into());
        }
        let Some(found) = ask(event(self.store.connection(), site, source, id)).await? else {
            return Err(Problem::new(ProblemKind::NotFound, "no such event is recorded for this site").into());
        };
        let event = found.event;
        check_belongs(&event, &subscription)?;
        let own = New {
            site,
            key: event.key,
            accepted_at: event.accepted_at,
            surface: subscription.surface,
            subscription: to,
            lane: event.lane,
            replay: None,
        };
        let had_one = ask(delivery(self.store.connection(), own.id())).await?;
        let replay = (had_one.is_some() || new_id.may_exist()).then(|| ReplayId(new_id.get()));
        let new = New { replay, ..own };
        let is_made = self.is_made(new, new_id).await?;
        if let Some((Delivery { record, .. }, _)) = &had_one
            && !is_made
            && !record.state.is_terminal()
        {
            let state = record.state.as_str();
            return Err(conflict(format!(
                "the event's own delivery to the subscription is {state}, and only after it has ended can it be replayed"
            ))
            .into());
        }
        if !is_made {
            self.publish(&event, new).await?;
        }
        tracing::info!(
            delivery.id = %new.id(), event.key = %event.key, subscription.id = %to,
            "event replayed to a subscription by an operator",
        );
        let replay_of = had_one.map(|_| own.id());
        Ok(Replayed { replay, delivery: new.id(), own: own.id(), replay_of, site: site.clone() })
    }

    /// Whether this very request, done before, has made the delivery. One that is not recorded yet is published once more,
    /// under the same id: the stream knows it as a repeat for two minutes.
    async fn is_made(&self, new: New<'_>, new_id: NewId) -> Result<bool, ApiError> {
        Ok(new_id.may_exist() && ask(delivery(self.store.connection(), new.id())).await?.is_some())
    }

    /// Publishes the delivery and then what makes it visible: one that is shown must exist.
    async fn publish(&self, event: &EventRecord, new: New<'_>) -> Result<(), ApiError> {
        check_may_be_sent(event, clock::now())?;
        let Some(sequence) = event.sequence else {
            return Err(conflict("where the event's data lies was not recorded").into());
        };
        let place = Place { site: &event.site, accepted_at: new.accepted_at, key: &new.key, sequence };
        let stored = fetch(&self.bus, place).await.map_err(|error| ApiError::unavailable(NO_BUS, error))?;
        let Some(stored) = stored else {
            return Err(conflict("the event's data is no longer kept; it was trimmed from the stream").into());
        };
        // Before it can be attempted, so that whatever is recorded of it is later.
        let now = clock::now();
        let ack = self.work.publish(new.message(stored)).await.map_err(|error| ApiError::unavailable(NO_BUS, error))?;
        // A repeat says nothing new, and might hide what has come of the first one.
        if !ack.duplicate {
            self.tell(new.surface, new.subscription, new.outcome(now)).await;
        }
        Ok(())
    }

    /// Records an outcome of a delivery that was published already, so a failure must not make anybody repeat that: it
    /// shows when the dispatcher has something to say of it.
    pub(crate) async fn tell(&self, surface: Surface, subscription: SubscriptionId, outcome: Outcome) {
        let delivery = outcome.delivery;
        if let Err(error) = self.outcomes.publish_each(&record([(surface, subscription, outcome)])).await {
            tracing::warn!(delivery.id = %delivery, %error, "what an operator did is done, and not yet recorded");
        }
    }
}

/// What a caller is told when the bus does not take or give a message.
pub(crate) const NO_BUS: &str = "the bus did not answer";

/// 409.
pub(crate) fn conflict(detail: impl Into<Cow<'static, str>>) -> Problem {
    Problem::new(ProblemKind::Conflict, detail)
}

/// Whether the event may go to the subscription at all: of one site, and public (N11).
fn check_belongs(event: &EventRecord, subscription: &Subscription) -> Result<(), Problem> {
    if subscription.site != event.site {
        return Err(conflict("the subscription is of another site than the event"));
    }
    if event.visibility != Visibility::Public {
        let visibility = event.visibility.as_str();
        return Err(conflict(format!(
            "the event's visibility is {visibility}, and webhooks receive public events only"
        )));
    }
    Ok(())
}

/// Whether the event has gone out and would not end at the gate for ever.
fn check_may_be_sent(event: &EventRecord, now: Timestamp) -> Result<(), Problem> {
    if let Some(at) = event.cancelled_at {
        return Err(conflict(format!("the event was cancelled at {at}, before anybody received it")));
    }
    if event.routed_at.is_none() {
        return Err(conflict("the event is held; who receives it is decided when it is due"));
    }
    match event.expires_at {
        Some(at) if at <= now => Err(conflict(format!("the event expired at {at} and is not delivered any more"))),
        _ => Ok(()),
    }
}
