//! Endpoints that changed by themselves: the dispatcher found a receiver that answers 410, and the registry makes the
//! subscription disabled (SPEC 4.2, 4.4).

use std::time::Duration;

use slipstream_bus::{Consumer, Message};
use slipstream_core::contract::{EndpointChange, EndpointChanged};
use slipstream_store::subscriptions;
use tokio_util::sync::CancellationToken;

use crate::registry::{Registry, RegistryError};

/// Pause before a change that could not be made is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

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
    while let Err(error) = apply(registry, &change).await {
        let error = format!("{:#}", anyhow::Error::from(error));
        tracing::warn!(error, subscription.id = %change.subscription, "cannot disable a subscription yet");
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

async fn apply(registry: &Registry, change: &EndpointChanged) -> Result<(), RegistryError> {
    // What we announced ourselves.
    let EndpointChange::Disabled(reason) = change.change else { return Ok(()) };
    let (connection, id) = (registry.store().connection(), change.subscription);
    // A subscription that was made or enabled since is left alone; one that is gone stays gone.
    match subscriptions::disable(connection, id, reason, Some(change.at)).await? {
        Some(subscription) => {
            tracing::info!(subscription.id = %id, state = ?subscription.state, "endpoint reported unusable");
            registry.mirror_subscription(id).await
        }
        None => Ok(()),
    }
}
