//! Tells that a delivery has no attempts left: an event of our own, that anything can subscribe to (issue 3, "Health").
//!
//! Its id is the delivery's, so telling it twice is one event.

use slipstream_bus::{Bus, Outgoing, PublishError, Publisher, StreamName, subject};
use slipstream_core::contract::Meta;
use slipstream_core::delivery::DeliveryState;
use slipstream_core::operational::{self, delivery_exhausted};
use slipstream_service::Directory;
use slipstream_store::activity::{Batch, DeliveryRecord};

/// Who tells.
pub(crate) struct Exhausted {
    events: Publisher,
    directory: Directory,
}

impl Exhausted {
    pub(crate) fn new(bus: &Bus, directory: Directory) -> Self {
        Self { events: bus.publisher(StreamName::Events), directory }
    }

    /// The deliveries that a batch says are exhausted.
    pub(crate) fn of(batch: &Batch) -> Vec<DeliveryRecord> {
        batch.deliveries.iter().filter(|it| it.state == DeliveryState::Exhausted).cloned().collect()
    }

    /// Publishes one event for each.
    ///
    /// A stream that refuses is no error, most of all one that is full: routing, which makes room in it, may itself be
    /// waiting for us to make room among the outcomes. The dead letters have the delivery all the same.
    ///
    /// # Errors
    /// When the bus does not answer. Trying again is harmless.
    pub(crate) async fn tell(&self, exhausted: Vec<DeliveryRecord>) -> Result<(), PublishError> {
        let messages: Vec<_> = exhausted.iter().filter_map(|delivery| self.message(delivery)).collect();
        if messages.is_empty() {
            return Ok(());
        }
        match self.events.publish_each(&messages).await {
            Ok(()) => Ok(()),
            Err(error @ PublishError::Unanswered { .. }) => Err(error),
            Err(error) => {
                tracing::warn!(%error, deliveries.count = messages.len(), "exhausted deliveries are not told of");
                Ok(())
            }
        }
    }

    /// None if nobody knows the site any more.
    fn message(&self, delivery: &DeliveryRecord) -> Option<Outgoing> {
        let snapshot = self.directory.load();
        let Some(site) = snapshot.site(&delivery.site) else {
            tracing::warn!(delivery.id = %delivery.id, site = %delivery.site, "exhausted, of a site that is not known");
            return None;
        };
        let exhausted = operational::Exhausted {
            delivery: delivery.id,
            subscription: delivery.subscription,
            surface: delivery.surface,
            key: &delivery.event_key,
            at: delivery.updated_at,
        };
        let event = delivery_exhausted(site, exhausted);
        // Accepted when it happened, whoever tells it and when: a second telling is the same event.
        let meta = Meta::new(site.slug.clone(), delivery.updated_at);
        let subject = subject::event(event.visibility, event.lane, &site.slug, &event.event_type);
        Some(Outgoing::new(subject, event.body.into()).id(event.key.as_str()).meta(&meta))
    }
}
