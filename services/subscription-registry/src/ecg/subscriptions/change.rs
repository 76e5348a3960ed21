//! How a subscription is changed: it is locked, made anew from what stands, written, and put in force.

use slipstream_core::config::EcgSubscription;
use slipstream_core::ids::SubscriptionId;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::ecg::{AtOrganization, not_found};
use slipstream_service::{ApiError, clock};
use slipstream_store::ecg::subscriptions;
use slipstream_store::{DatabaseTransaction, StoreError};

use crate::registry::RegistryError;
use crate::state::AppState;

/// A change under way. Dropped, it leaves everything as it was.
pub(in crate::ecg) struct Change<'a> {
    state: &'a AppState,
    pub(in crate::ecg) transaction: DatabaseTransaction,
    /// How the subscription stands, with its current secret.
    pub(in crate::ecg) standing: EcgSubscription,
    /// When it is changed.
    pub(in crate::ecg) now: Timestamp,
}

impl<'a> Change<'a> {
    /// Locks the subscription of the caller's organization.
    ///
    /// # Errors
    /// 404 when it has no such subscription; when the database fails.
    pub(in crate::ecg) async fn begin(
        state: &'a AppState,
        at: &AtOrganization,
        id: SubscriptionId,
    ) -> Result<Self, ApiError> {
        let transaction = state.registry.store().begin().await.map_err(RegistryError::from)?;
        let standing = subscriptions::lock(&transaction, at.organization, id).await.map_err(RegistryError::from)?;
        let standing = standing.ok_or_else(|| not_found("webhook subscription"))?;
        // Not before the row is ours: what was seen of the endpoint until then has no say.
        Ok(Self { state, transaction, standing, now: clock::now() })
    }

    /// Writes `changed`, unless that is what stands; see [`subscriptions::replace`]. Who changes it is `by`.
    pub(in crate::ecg) async fn write(
        &mut self,
        by: &AtOrganization,
        changed: EcgSubscription,
        begins: bool,
    ) -> Result<(), RegistryError> {
        if changed == self.standing {
            return Ok(());
        }
        let stamped = EcgSubscription { stamps: changed.stamps.changed(by.caller, self.now), ..changed };
        self.standing = subscriptions::replace(&self.transaction, &stamped, begins).await?;
        Ok(())
    }

    /// Says that something of the subscription has changed beside its row: its revision grows.
    pub(in crate::ecg) async fn touch(&mut self, by: &AtOrganization) -> Result<(), RegistryError> {
        let stamps = self.standing.stamps.changed(by.caller, self.now);
        let touched = EcgSubscription { stamps, ..self.standing.clone() };
        self.standing = subscriptions::replace(&self.transaction, &touched, false).await?;
        Ok(())
    }

    /// Ends the change and puts it in force; says how the subscription stands.
    pub(in crate::ecg) async fn finish(self) -> Result<EcgSubscription, RegistryError> {
        let Self { state, transaction, standing, .. } = self;
        transaction.commit().await.map_err(StoreError::from)?;
        // Also what was changed before, whose own mirroring may have failed.
        state.put_ecg_in_force(&standing).await?;
        Ok(standing)
    }
}

impl AppState {
    /// Puts in force what SQL says about a subscription, and waits until this process has seen it.
    pub(in crate::ecg) async fn put_ecg_in_force(&self, subscription: &EcgSubscription) -> Result<(), RegistryError> {
        self.registry.mirror_ecg_subscription(subscription.id).await?;
        let (id, revision) = (subscription.id, subscription.revision);
        self.seen(|snapshot| snapshot.ecg().subscription(id).is_some_and(|seen| seen.revision >= revision)).await;
        Ok(())
    }
}
