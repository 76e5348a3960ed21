//! What is told of endpoints: `slipstream.endpoint.disabled` and `….recovered`, Internal events of their site or ECG
//! organization, so that anything can subscribe to them (issue 3, "Health").
//!
//! An event is noted in the very transaction of the change that it tells, published once the change is in force, and
//! forgotten when the bus has it. A crash in between, or a bus that refuses, loses none: the reconciler publishes what
//! is still noted. Publishing twice is one event, for its key is derived from subscription and revision. So a message
//! from the bus about an endpoint may be acknowledged before the event is published, and its redelivery, which finds
//! nothing to change, has nothing to tell.
//!
//! What is noted for the audit ([`crate::audited`]), and posts ([`crate::ecg`]), are published with it.

use std::time::Duration;

use futures::future::try_join_all;
use slipstream_bus::{Outgoing, subject};
use slipstream_core::config::{DisabledReason, Subscription, Surface};
use slipstream_core::contract::Meta;
use slipstream_core::lane::{Lane, Visibility};
use slipstream_core::operational::{self, Owner};
use slipstream_core::timestamp::Timestamp;
use slipstream_store::outbox::{self, Entry};
use slipstream_store::{DatabaseTransaction, StoreError, sites};

use crate::ecg::activation;
use crate::registry::{Registry, RegistryError};

/// Events that are published together.
const BATCH: usize = 100;
/// How long whoever made a change waits for its event to be published; the reconciler has more patience.
const PATIENCE: Duration = Duration::from_secs(1);

/// What happened to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// It takes no more deliveries.
    Disabled(DisabledReason),
    /// It takes deliveries again.
    Recovered,
}

/// Notes what happened to `subscription`, as it stands after the change, at `at`.
pub(crate) async fn note(
    transaction: &DatabaseTransaction,
    subscription: &Subscription,
    told: Told,
    at: Timestamp,
) -> Result<(), StoreError> {
    let site;
    let owner = match subscription.surface {
        Surface::Slipstream => {
            site = sites::get(transaction, &subscription.site).await?;
            // A subscription's row refers to its site's, so there is one.
            let Some(site) = &site else { return Ok(()) };
            Owner::from(site)
        }
        // An organization has no row.
        Surface::Ecg => Owner::organization(&subscription.site),
    };
    let event = match told {
        Told::Disabled(reason) => operational::endpoint_disabled(owner, subscription, reason, at),
        Told::Recovered => operational::endpoint_recovered(owner, subscription, at),
    };
    let body = String::from_utf8(event.body).expect("JSON is UTF-8");
    let entry = Entry { key: event.key, site: subscription.site.clone(), event_type: event.event_type, body, at };
    outbox::put(transaction, &entry).await
}

impl Registry {
    /// Publishes what is noted, now if the bus takes it; what it does not take is published by the reconciler.
    pub(crate) async fn tell(&self) {
        let told = tokio::time::timeout(PATIENCE, self.publish_noted()).await;
        if let Err(error) = told.map_err(|_| RegistryError::Unanswered).flatten() {
            let error = format!("{:#}", anyhow::Error::from(error));
            tracing::warn!(error, "what happened to an endpoint is not published yet");
        }
    }

    /// Publishes everything that is noted: records of the audit, events, and posts. What the bus refuses of one kind holds up
    /// none of another.
    pub(crate) async fn publish_noted(&self) -> Result<(), RegistryError> {
        let (audited, events) = (self.publish_audited().await, self.publish_events().await);
        let posts = self.publish_posts().await;
        audited.and(events).and(posts)
    }

    async fn publish_audited(&self) -> Result<(), RegistryError> {
        loop {
            let records = outbox::audited::oldest(self.store().connection(), BATCH).await?;
            if records.is_empty() {
                return Ok(());
            }
            try_join_all(records.iter().map(|record| self.audit().record(record))).await?;
            let ids: Vec<_> = records.iter().map(|record| record.id).collect();
            outbox::audited::remove(self.store().connection(), &ids).await?;
        }
    }

    async fn publish_events(&self) -> Result<(), RegistryError> {
        loop {
            let entries = outbox::oldest(self.store().connection(), BATCH).await?;
            if entries.is_empty() {
                return Ok(());
            }
            let keys: Vec<_> = entries.iter().map(|entry| entry.key).collect();
            let messages: Vec<_> = entries.into_iter().map(message).collect();
            self.events().publish_each(&messages).await?;
            outbox::remove(self.store().connection(), &keys).await?;
        }
    }

    async fn publish_posts(&self) -> Result<(), RegistryError> {
        loop {
            let noted = outbox::posts::oldest(self.store().connection(), BATCH).await?;
            if noted.is_empty() {
                return Ok(());
            }
            // Another replica may have noted one, and not put it in force yet: nobody would take it.
            for post in &noted {
                self.mirror_ecg_subscription(post.subscription).await?;
            }
            let (records, deliveries): (Vec<_>, Vec<_>) = noted.iter().map(activation::messages).unzip();
            self.outcomes().publish_each(&records).await?;
            self.deliveries().publish_each(&deliveries).await?;
            let ids: Vec<_> = noted.iter().map(|post| post.posted.delivery).collect();
            outbox::posts::remove(self.store().connection(), &ids).await?;
        }
    }
}

fn message(entry: Entry) -> Outgoing {
    let Entry { key, site, event_type, body, at } = entry;
    let subject = subject::event(Visibility::Internal, Lane::Normal, &site, &event_type);
    Outgoing::new(subject, body.into()).id(key.as_str()).meta(&Meta::new(site, at))
}
