//! How a PUT goes.
//!
//! It writes its subscription to SQL before it asks, as one whose receiver has not agreed, so that a receiver may grant
//! by callback while it is still answering the question; and puts it in force after it has asked, so that nothing goes
//! to a receiver that was not asked. No transaction is open meanwhile. A crash in between leaves a subscription without
//! consent, which its owner, who got no answer, puts again.

use slipstream_core::config::{EndpointState, Subscription};
use slipstream_core::ids::SubscriptionId;
use slipstream_service::clock;
use slipstream_store::handshakes::{self, Handshake as Question};
use slipstream_store::subscriptions::{self, Applied, Grant, Owner};
use slipstream_store::{DatabaseTransaction, StoreError};
use slipstream_webhook::Target;

use super::{Asking, Handshake, Reason, Refusal};
use crate::events::{self, Told};
use crate::registry::{Registry, RegistryError};

/// A subscription that was put.
pub(crate) struct Subscribed {
    /// How it stands, and is in force.
    pub(crate) subscription: Subscription,
    /// Why its receiver has not agreed, if it was asked and has not.
    pub(crate) refusal: Option<Refusal>,
}

/// What stands in SQL before the receiver is asked.
struct Written {
    subscription: Subscription,
    /// Whether it was disabled before, and what becomes of it may be a recovery.
    was_disabled: bool,
    asking: Option<Asking>,
    question: Option<Question>,
}

impl Registry {
    /// Creates or replaces the subscription that `wanted` is for, and asks its receiver if need be.
    ///
    /// `target` is the parsed form of its URI; state and consent are what the policy makes of them.
    pub(crate) async fn subscribe(
        &self,
        handshake: &Handshake,
        wanted: Subscription,
        target: &Target,
    ) -> Result<Subscribed, RegistryError> {
        let written = self.write(handshake, wanted).await?;
        let id = written.subscription.id;
        let refusal = match &written.asking {
            None => None,
            Some(asking) => self.ask(asking, target, &written).await?,
        };
        self.mirror_subscription(id).await?;
        if written.was_disabled {
            self.tell().await;
        }
        if written.asking.is_none() {
            return Ok(Subscribed { subscription: written.subscription, refusal });
        }
        // As it is now: it may have been granted by callback meanwhile, or removed.
        let now = subscriptions::get(self.store().connection(), id).await?;
        Ok(Subscribed { subscription: now.unwrap_or(written.subscription), refusal })
    }

    async fn write(&self, handshake: &Handshake, mut wanted: Subscription) -> Result<Written, RegistryError> {
        let now = clock::now();
        let transaction = self.store().begin().await?;
        let owner = Owner { site: &wanted.site, feature: wanted.feature, account: wanted.account };
        let present = subscriptions::lock_of(&transaction, owner).await?;
        let asking = handshake.begin(present.as_ref(), &mut wanted);
        let subscription = subscriptions::put(&transaction, &wanted, now).await?;
        let question = asking.as_ref().and_then(|asking| asking.question(&subscription, now));
        if let Some(question) = &question {
            handshakes::put(&transaction, question).await?;
        }
        let was_disabled = present.is_some_and(|present| matches!(present.state, EndpointState::Disabled(_)));
        if was_disabled {
            note_recovery(&transaction, &subscription).await?;
        }
        transaction.commit().await.map_err(StoreError::from)?;
        Ok(Written { subscription, was_disabled, asking, question })
    }

    /// Asks, and writes down what the receiver answered; says why it has not agreed.
    async fn ask(&self, asking: &Asking, target: &Target, written: &Written) -> Result<Option<Refusal>, RegistryError> {
        let Subscription { id, uri, .. } = &written.subscription;
        let answer = asking.ask(target).await;
        tracing::info!(subscription.id = %id, ?answer, "receiver asked for its consent");
        let connection = self.store().connection();
        match answer {
            Ok(rate_per_minute) => {
                let grant = Grant { uri, origin: asking.asker.origin.as_str(), rate_per_minute };
                self.grant(*id, grant, written.was_disabled).await?;
                Ok(None)
            }
            Err(refusal) => {
                match &written.question {
                    // An earlier question has reached the receiver, so its key goes on serving.
                    Some(question) if refusal.reason == Reason::TooMany => {
                        handshakes::take(connection, question.key_hash, clock::now()).await?;
                    }
                    Some(question) => handshakes::supersede(connection, question).await?,
                    None => {}
                }
                Ok(Some(refusal))
            }
        }
    }

    /// Writes down a receiver's consent, in SQL only. Outstanding questions to it have their answer.
    async fn grant(&self, id: SubscriptionId, grant: Grant<'_>, was_disabled: bool) -> Result<(), RegistryError> {
        let transaction = self.store().begin().await?;
        let present = subscriptions::lock(&transaction, id).await?;
        let applied = subscriptions::grant(&transaction, id, grant).await?;
        handshakes::remove(&transaction, id, grant.uri).await?;
        let was_pending = present.is_some_and(|present| present.state == EndpointState::Pending);
        if let Applied::Changed(subscription) = &applied
            && was_disabled
            && was_pending
        {
            note_recovery(&transaction, subscription).await?;
        }
        transaction.commit().await.map_err(StoreError::from)?;
        Ok(())
    }
}

/// Notes that a subscription that was disabled takes deliveries again, if it does.
async fn note_recovery(transaction: &DatabaseTransaction, subscription: &Subscription) -> Result<(), StoreError> {
    if subscription.state != EndpointState::Active {
        return Ok(());
    }
    events::note(transaction, subscription, Told::Recovered, clock::now()).await
}
