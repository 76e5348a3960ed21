//! Tells that a delivery has no attempts left: an event of our own, that anything can subscribe to (issue 3, "Health").
//!
//! Its id is the delivery's, so telling it twice is one event. What the bus does not take is noted in the database, with
//! what the registry has to tell if that is the same database, and told later: a stream that is full must not hold up the
//! records, most of all since routing, which makes room in it, may itself be waiting for us to make room among the
//! outcomes.

use std::time::Duration;

use slipstream_bus::{Bus, Outgoing, PublishError, Publisher, StreamName, subject};
use slipstream_core::config::Surface;
use slipstream_core::contract::Meta;
use slipstream_core::delivery::DeliveryState;
use slipstream_core::lane::{Lane, Visibility};
use slipstream_core::operational::{self, Owner, delivery_exhausted};
use slipstream_service::Directory;
use slipstream_store::activity::{Batch, DeliveryRecord};
use slipstream_store::outbox::{self, Entry};
use slipstream_store::{Store, StoreError};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// How long the records wait for the bus to take the news.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often to try again what was noted, and how much of it at once.
const AGAIN_EVERY: Duration = Duration::from_secs(1);
const AGAIN_AT_ONCE: usize = 100;
/// The longest pause while the bus takes nothing.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Who tells.
#[derive(Clone)]
pub(crate) struct Exhausted {
    events: Publisher,
    store: Store,
    directory: Directory,
}

/// Why what was noted is not told yet.
#[derive(Debug, thiserror::Error)]
enum NotTold {
    #[error("the database refused")]
    Store(#[from] StoreError),
    #[error("the bus did not take it")]
    Publish(#[from] PublishError),
}

/// Tells what was noted, until `stop`.
pub(crate) async fn run(exhausted: Exhausted, stop: CancellationToken) -> anyhow::Result<()> {
    let mut pause = AGAIN_EVERY;
    let telling = async {
        loop {
            sleep(pause).await;
            match exhausted.tell_noted().await {
                Ok(()) => pause = AGAIN_EVERY,
                Err(error) => {
                    let error = format!("{:#}", anyhow::Error::new(error));
                    tracing::warn!(error, "exhausted deliveries are not told of yet");
                    pause = PAUSE_MAX.min(pause * 2);
                }
            }
        }
    };
    let _stopped: Option<()> = stop.run_until_cancelled(telling).await;
    Ok(())
}

impl Exhausted {
    pub(crate) fn new(bus: &Bus, store: Store, directory: Directory) -> Self {
        Self { events: bus.publisher(StreamName::Events), store, directory }
    }

    /// The deliveries that a batch says are exhausted, on whatever surface.
    pub(crate) fn of(batch: &Batch) -> Vec<DeliveryRecord> {
        let is_told = |it: &&DeliveryRecord| it.state == DeliveryState::Exhausted;
        batch.deliveries.iter().filter(is_told).cloned().collect()
    }

    /// Publishes one event for each, or notes them all.
    ///
    /// # Errors
    /// When the bus does not take them, and the database neither. Trying again is harmless.
    pub(crate) async fn tell(&self, exhausted: Vec<DeliveryRecord>) -> Result<(), StoreError> {
        let entries: Vec<_> = exhausted.iter().filter_map(|delivery| self.entry(delivery)).collect();
        if entries.is_empty() {
            return Ok(());
        }
        let messages: Vec<_> = entries.iter().map(message).collect();
        let error = match timeout(PATIENCE, self.events.publish_each(&messages)).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => format!("{:#}", anyhow::Error::new(error)),
            Err(elapsed) => elapsed.to_string(),
        };
        tracing::warn!(error, deliveries.count = entries.len(), "exhausted deliveries are told of later");
        let transaction = self.store.begin().await?;
        for entry in &entries {
            outbox::put(&transaction, entry).await?;
        }
        Ok(transaction.commit().await?)
    }

    async fn tell_noted(&self) -> Result<(), NotTold> {
        loop {
            let entries = outbox::oldest(self.store.connection(), AGAIN_AT_ONCE).await?;
            if entries.is_empty() {
                return Ok(());
            }
            let messages: Vec<_> = entries.iter().map(message).collect();
            self.events.publish_each(&messages).await?;
            let keys: Vec<_> = entries.iter().map(|entry| entry.key).collect();
            outbox::remove(self.store.connection(), &keys).await?;
        }
    }

    /// None if nobody knows the site any more. A post of the ECG surface is its organization's, unless an event of a site led
    /// to it.
    fn entry(&self, delivery: &DeliveryRecord) -> Option<Entry> {
        let snapshot = self.directory.load();
        let owner = match snapshot.site(&delivery.site) {
            Some(site) => Owner::from(&**site),
            None if delivery.surface == Surface::Ecg && delivery.site.is_organisation() => {
                Owner::organization(&delivery.site)
            }
            None => {
                let site = &delivery.site;
                tracing::warn!(delivery.id = %delivery.id, %site, "exhausted, of a site that is not known");
                return None;
            }
        };
        let exhausted = operational::Exhausted {
            delivery: delivery.id,
            subscription: delivery.subscription,
            surface: delivery.surface,
            key: &delivery.event_key,
            at: delivery.updated_at,
        };
        let event = delivery_exhausted(owner, exhausted);
        let body = String::from_utf8(event.body).expect("JSON is UTF-8");
        // Accepted when it happened, whoever tells it and when: a second telling is the same event.
        let (site, at) = (delivery.site.clone(), delivery.updated_at);
        Some(Entry { key: event.key, site, event_type: event.event_type, body, at })
    }
}

/// As the registry publishes what it has noted.
fn message(entry: &Entry) -> Outgoing {
    let subject = subject::event(Visibility::Internal, Lane::Normal, &entry.site, &entry.event_type);
    let meta = Meta::new(entry.site.clone(), entry.at);
    Outgoing::new(subject, entry.body.clone().into()).id(entry.key.as_str()).meta(&meta)
}
