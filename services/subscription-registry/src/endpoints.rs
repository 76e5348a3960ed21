//! How endpoints are switched (SPEC 4.2, 4.4): by operators, and by what deliveries find, which the dispatcher says on
//! the bus: a receiver that answers 410 or has failed for days is disabled, one that fails is degraded, one that takes
//! a delivery again has recovered.
//!
//! A change in SQL notes what is to be told of it, is then mirrored, and then told (see [`crate::events`]). What was
//! seen before a subscription was made or enabled comes too late and changes nothing; so does a repeat.

use std::time::Duration;

use slipstream_bus::{Consumer, Message, subject};
use slipstream_core::config::{Consent, DisabledReason, EndpointState, Subscription, Surface};
use slipstream_core::contract::{EndpointChange, EndpointChanged};
use slipstream_core::ids::SubscriptionId;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::clock;
use slipstream_store::handshakes::wishes;
use slipstream_store::subscriptions::{self, Applied, Seen};
use slipstream_store::{DatabaseTransaction, StoreError};
use tokio_util::sync::CancellationToken;

use crate::audited::{self, Deed};
use crate::config::HandshakePolicy;
use crate::events::{self, Told};
use crate::registry::{Registry, RegistryError};

/// Pause before a change that could not be made is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// What is to become of an endpoint.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Switch {
    /// An operator lets it take deliveries again. Under a policy that requires the receiver's consent it waits for
    /// that, unless it was given.
    Enable(HandshakePolicy),
    /// An operator lets it take none.
    Disable,
    /// It was found, by a delivery.
    Found(EndpointChange, Seen),
}

impl Registry {
    /// Switches an endpoint, puts that in force and tells of it; says how it stands, or none if there is no such
    /// subscription. A repeat changes nothing, but makes sure that the change is in force.
    pub(crate) async fn switch(
        &self,
        id: SubscriptionId,
        switch: Switch,
    ) -> Result<Option<Subscription>, RegistryError> {
        let transaction = self.store().begin().await?;
        let (applied, at) = apply(&transaction, id, switch).await?;
        let told = applied.changed().and_then(|changed| told(switch, changed));
        if let (Some(changed), Some(told)) = (applied.changed(), told) {
            events::note(&transaction, changed, told, at).await?;
            if let Told::Disabled(reason) = told {
                audited::note(&transaction, changed, Deed::Disabled(reason)).await?;
            }
            tracing::info!(subscription.id = %id, state = ?changed.state, ?switch, "endpoint switched");
        }
        transaction.commit().await.map_err(StoreError::from)?;
        let Some(subscription) = applied.into_subscription() else { return Ok(None) };
        self.mirror_subscription(id).await?;
        if told.is_some() {
            self.tell().await;
        }
        Ok(Some(subscription))
    }
}

async fn apply(
    transaction: &DatabaseTransaction,
    id: SubscriptionId,
    switch: Switch,
) -> Result<(Applied, Timestamp), StoreError> {
    let present = subscriptions::lock(transaction, id).await?;
    let now = clock::now();
    let Some(present) = present else { return Ok((Applied::Missing, now)) };
    Ok(match switch {
        Switch::Enable(policy) => {
            let has_consent = matches!(present.consent, Consent::Granted { .. });
            let waits = policy == HandshakePolicy::Required && !has_consent;
            let to = if waits { EndpointState::Pending } else { EndpointState::Active };
            (subscriptions::enable(transaction, id, to, now).await?, now)
        }
        Switch::Disable => {
            // Whatever it was to become: a grant that comes later does not undo what an operator did.
            wishes::remove(transaction, id).await?;
            (subscriptions::disable(transaction, id, DisabledReason::Operator, None).await?, now)
        }
        Switch::Found(EndpointChange::Disabled(reason), seen) => {
            (subscriptions::disable(transaction, id, reason, Some(seen)).await?, seen.at)
        }
        Switch::Found(EndpointChange::Degraded(since), seen) => {
            (subscriptions::degrade(transaction, id, since, seen).await?, seen.at)
        }
        Switch::Found(EndpointChange::Recovered, seen) => {
            (subscriptions::recover(transaction, id, seen).await?, seen.at)
        }
        // What we announced ourselves: the row is gone.
        Switch::Found(EndpointChange::Removed, seen) => (Applied::Missing, seen.at),
    })
}

/// What is told of a change that was made.
fn told(switch: Switch, changed: &Subscription) -> Option<Told> {
    match (switch, changed.state) {
        (_, EndpointState::Disabled(reason)) => Some(Told::Disabled(reason)),
        (Switch::Enable(_) | Switch::Found(EndpointChange::Recovered, _), EndpointState::Active) => {
            Some(Told::Recovered)
        }
        _ => None,
    }
}

/// Takes changes until `stop`. A change is acknowledged when it is in force; a repeat changes nothing.
pub(crate) async fn run(registry: Registry, mut changes: Consumer, stop: CancellationToken) -> anyhow::Result<()> {
    loop {
        let message = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            message = changes.next() => message,
        };
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = settle(&registry, &message) => message.ack().await,
        }
    }
}

/// Returns when the change of `message` is in force, or nobody can make anything of it.
async fn settle(registry: &Registry, message: &Message) {
    let change: EndpointChanged = match serde_json::from_slice(&message.payload) {
        Ok(change) => change,
        Err(error) => {
            tracing::error!(%error, bus.subject = %message.subject, "not an endpoint's change: dropped");
            return;
        }
    };
    let EndpointChanged { subscription: id, at, change, revision } = change;
    if change == EndpointChange::Removed {
        return;
    }
    let seen = Seen { at, revision };
    let is_ecg = subject::endpoint(Surface::Ecg, id) == message.subject;
    let switch = async || {
        if is_ecg {
            registry.switch_ecg(id, change, seen).await
        } else {
            registry.switch(id, Switch::Found(change, seen)).await.map(drop)
        }
    };
    while let Err(error) = switch().await {
        let is_passing = error.is_passing();
        let error = format!("{:#}", anyhow::Error::from(error));
        if !is_passing {
            // A row that cannot be read, for one: the changes behind this one must not wait for it.
            tracing::error!(error, subscription.id = %id, ?change, "cannot switch an endpoint: left as it is");
            return;
        }
        tracing::warn!(error, subscription.id = %id, "cannot switch an endpoint yet");
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}
