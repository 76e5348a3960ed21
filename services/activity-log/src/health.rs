//! Endpoints that do nothing but fail are disabled (SPEC 4.4).
//!
//! The dispatcher finds after a few failures in a row that an endpoint is degraded, and since when, and the registry keeps
//! that; it may have taken something since. Here is where days of attempts lie, so here it is judged whether it was nothing
//! but failures. The finding goes to the registry as a message, like a 410; the registry makes it so.

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::Context as _;
use slipstream_bus::{Outgoing, Publisher, subject};
use slipstream_core::config::{DisabledReason, EndpointState, Health, Subscription};
use slipstream_core::contract::{EndpointChange, EndpointChanged};
use slipstream_core::ids::SubscriptionId;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::{Directory, clock};
use slipstream_store::Store;
use slipstream_store::activity::{Failing, is_failing};
use tokio_util::sync::CancellationToken;

use crate::config::HealthConfig;
use crate::database::{QUERY_TIMEOUT, before};

/// Looks at all degraded endpoints every so often, until `stop`.
pub(crate) async fn run(sweep: Sweep, stop: CancellationToken) -> anyhow::Result<()> {
    let mut told = HashSet::new();
    loop {
        let round = async {
            sweep.round(&mut told, clock::now()).await;
            tokio::time::sleep(sweep.config.every).await;
        };
        if stop.run_until_cancelled(round).await.is_none() {
            return Ok(());
        }
    }
}

/// A subscription as it was when we told that it fails: one that was changed since may be told of again.
type Told = (SubscriptionId, i64);

/// What a round needs.
pub(crate) struct Sweep {
    pub(crate) config: HealthConfig,
    pub(crate) directory: Directory,
    pub(crate) store: Store,
    /// To stream `OUTCOMES`.
    pub(crate) outcomes: Publisher,
}

impl Sweep {
    async fn round(&self, told: &mut HashSet<Told>, now: Timestamp) {
        let suspects = self.suspects(now);
        told.retain(|told| suspects.iter().any(|it| *told == (it.id, it.revision)));
        let since = before(now, self.config.disable_after);
        for subscription in suspects {
            let this = (subscription.id, subscription.revision);
            if told.contains(&this) {
                continue;
            }
            match self.judge(&subscription, since, now).await {
                Ok(true) => drop(told.insert(this)),
                Ok(false) => {}
                // The next round tries again.
                Err(error) => {
                    let (id, error) = (subscription.id, format!("{error:#}"));
                    tracing::warn!(error, subscription.id = %id, "cannot tell whether an endpoint only fails");
                }
            }
        }
    }

    /// The active subscriptions that have been degraded for long enough.
    fn suspects(&self, now: Timestamp) -> Vec<Arc<Subscription>> {
        let snapshot = self.directory.load();
        let is_suspect = |subscription: &Subscription| match subscription.health {
            Health::Degraded(since) if subscription.state == EndpointState::Active => {
                now >= since.after(self.config.disable_after)
            }
            _ => false,
        };
        let endpoints = snapshot.subscriptions().iter().chain(snapshot.ecg().endpoints());
        endpoints.filter(|subscription| is_suspect(subscription)).map(Arc::clone).collect()
    }

    /// Tells the registry if the endpoint did nothing but fail in the time since `since`; says whether it did.
    async fn judge(&self, subscription: &Subscription, since: Timestamp, now: Timestamp) -> anyhow::Result<bool> {
        let Health::Degraded(attempts_since) = subscription.health else { return Ok(false) };
        let attempts_min = self.config.attempts_min;
        let asked = Failing { subscription: subscription.id, since, attempts_since, attempts_min };
        let is_failing = tokio::time::timeout(QUERY_TIMEOUT, is_failing(self.store.connection(), &asked));
        if !is_failing.await.context("the database does not tell in time")?.context("the database does not tell")? {
            return Ok(false);
        }
        let change = EndpointChange::Disabled(DisabledReason::Failing);
        let revision = Some(subscription.revision);
        let changed = EndpointChanged { subscription: subscription.id, at: now, change, revision };
        let payload = serde_json::to_vec(&changed).expect("ids, times and names serialise");
        let message = Outgoing::new(subject::endpoint(subscription.surface, subscription.id), payload.into())
            // Every replica finds the same.
            .id(&format!("failing.{}.{}", subscription.id, subscription.revision));
        self.outcomes.publish(message).await.context("the bus does not take it")?;
        tracing::warn!(subscription.id = %subscription.id, failing.since = %since, "an endpoint only fails: disabled");
        Ok(true)
    }
}
