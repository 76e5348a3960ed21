//! What deliveries find of the endpoints of subscriptions (SPEC 4.2, 4.4): one that answers 410, or has failed for days,
//! is deactivated, until its owner activates it again; one that fails is degraded, one that takes a delivery again has
//! recovered. What is told of it is an event of the organization ([`crate::events`]); that its owner switches it on or off
//! is none.

use slipstream_core::config::DisabledReason;
use slipstream_core::contract::EndpointChange;
use slipstream_core::ids::SubscriptionId;
use slipstream_store::StoreError;
use slipstream_store::ecg::subscriptions::{self, Applied, Found};
use slipstream_store::subscriptions::Seen;

use crate::audited::{self, Deed};
use crate::events::{self, Told};
use crate::registry::{Registry, RegistryError};

impl Registry {
    /// Takes in what a delivery found, and puts that in force. A repeat, or what comes too late, changes nothing.
    pub(crate) async fn switch_ecg(
        &self,
        id: SubscriptionId,
        change: EndpointChange,
        seen: Seen,
    ) -> Result<(), RegistryError> {
        let (found, told) = match change {
            EndpointChange::Disabled(reason @ DisabledReason::Gone) => (Found::Gone, Some(Told::Disabled(reason))),
            EndpointChange::Disabled(reason @ DisabledReason::Failing) => {
                (Found::Failing, Some(Told::Disabled(reason)))
            }
            EndpointChange::Degraded(since) => (Found::Degraded(since), None),
            EndpointChange::Recovered => (Found::Recovered, Some(Told::Recovered)),
            // No delivery finds what an operator did, and we remove subscriptions ourselves.
            EndpointChange::Disabled(DisabledReason::Operator) | EndpointChange::Removed => return Ok(()),
        };
        let transaction = self.store().begin().await?;
        let applied = subscriptions::found(&transaction, id, found, seen).await?;
        if let Applied::Changed(changed) = &applied {
            let endpoint = changed.endpoint();
            if let Some(told) = told {
                events::note(&transaction, &endpoint, told, seen.at).await?;
            }
            if let Some(Told::Disabled(reason)) = told {
                audited::note(&transaction, &endpoint, Deed::Disabled(reason)).await?;
            }
            tracing::info!(subscription.id = %id, active = changed.flags.active, ?found, "ECG endpoint switched");
        }
        transaction.commit().await.map_err(StoreError::from)?;
        if applied == Applied::Missing {
            return Ok(());
        }
        self.mirror_ecg_subscription(id).await?;
        if told.is_some() && applied != Applied::Unchanged {
            self.tell().await;
        }
        Ok(())
    }
}
