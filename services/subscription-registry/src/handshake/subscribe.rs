//! How a PUT goes.
//!
//! If nobody needs to be asked, it is written and put in force. Else it writes down what it wants beside what stands, or
//! beside a new subscription that is pending, so that a receiver may grant by callback while it is still answering the
//! question; asks; and settles the matter. A crash in between leaves what stood, and a question without an answer, which
//! is asked again (see [`super::again`]).

use slipstream_core::config::{EndpointState, Subscription};
use slipstream_core::timestamp::Timestamp;
use slipstream_service::clock;
use slipstream_store::handshakes::unanswered::{self, Unanswered};
use slipstream_store::handshakes::wishes::{self, Wish};
use slipstream_store::subscriptions::{self, Owner};
use slipstream_store::{ConnectionTrait, DatabaseTransaction, StoreError, handshakes, sites};
use slipstream_webhook::Target;

use super::question::{Question, Refusal};
use super::settle::Settled;
use super::{Handshake, OPEN_TIME};
use crate::events::{self, Told};
use crate::registry::{Registry, RegistryError};

/// A subscription that was put.
pub(crate) struct Subscribed {
    /// How it stands, and is in force.
    pub(crate) subscription: Subscription,
    /// Why that is not what was asked for, or does not take deliveries, if so.
    pub(crate) refusal: Option<Refusal>,
}

/// What stands in SQL before anybody is asked.
enum Written {
    /// What was wanted; and whether there is something to be told of it.
    InForce(Subscription, bool),
    /// Its wish, until this is settled.
    Asking(Question),
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
        self.ensure_key(&wanted.tenant()).await?;
        let (id, settled) = match self.write(handshake, &wanted).await? {
            Written::InForce(subscription, is_noted) => {
                let settled = Settled { subscription, is_changed: true, is_noted, refusal: None };
                (settled.subscription.id, Some(settled))
            }
            Written::Asking(question) => (question.subscription, self.ask(&question, target).await?),
        };
        // Also what was changed by somebody else, whose own mirroring may have failed.
        self.mirror_subscription(id).await?;
        // Removed while it was asked for: as if that had been done after this.
        let Some(settled) = settled else { return Ok(Subscribed { subscription: wanted, refusal: None }) };
        if settled.is_noted {
            self.tell().await;
        }
        Ok(Subscribed { subscription: settled.subscription, refusal: settled.refusal })
    }

    /// Checks that `owner` may have a subscription: that it has one, or that its site has room for another.
    ///
    /// # Errors
    /// [`RegistryError::SiteFull`].
    pub(crate) async fn check_room(
        &self,
        connection: &impl ConnectionTrait,
        owner: Owner<'_>,
    ) -> Result<(), RegistryError> {
        let limit = self.limits().subscriptions_per_site;
        let is_full = subscriptions::count_of_site(connection, owner.site).await? >= u64::from(limit);
        if is_full && subscriptions::find(connection, owner).await?.is_none() {
            return Err(RegistryError::SiteFull(limit));
        }
        Ok(())
    }

    async fn write(&self, handshake: &Handshake, wanted: &Subscription) -> Result<Written, RegistryError> {
        let transaction = self.store().begin().await?;
        let owner = Owner { site: &wanted.site, feature: wanted.feature, account: wanted.account };
        let mut present = subscriptions::lock_of(&transaction, owner).await?;
        if present.is_none() {
            // One after the other, so that all who make one at once cannot be one too many together.
            sites::lock(&transaction, owner.site).await?;
            present = subscriptions::lock_of(&transaction, owner).await?;
        }
        if present.is_none() {
            self.check_room(&transaction, owner).await?;
        }
        // Not before the row is ours: what was seen of the endpoint until then has no say.
        let now = clock::now();
        let written = if let Some((state, consent)) = handshake.without_asking(present.as_ref(), wanted) {
            let wanted = Subscription { state, consent, ..wanted.clone() };
            self.put(&transaction, present.as_ref(), &wanted, now).await?
        } else {
            let present = if let Some(present) = present {
                present
            } else {
                let pending = Subscription { state: EndpointState::Pending, ..self.sealed_for(wanted, wanted.id)? };
                subscriptions::create_or_lock(&transaction, &pending, now).await?
            };
            let question = handshake.question(present.id, &wanted.uri).expect("nobody is asked only where that is off");
            let sealed = self.sealed_for(wanted, question.subscription)?;
            wish(&transaction, &question, sealed, now).await?;
            Written::Asking(question)
        };
        transaction.commit().await.map_err(StoreError::from)?;
        Ok(written)
    }

    /// Writes what is in force at once. What was wished before is not wished any more.
    async fn put(
        &self,
        transaction: &DatabaseTransaction,
        present: Option<&Subscription>,
        wanted: &Subscription,
        now: Timestamp,
    ) -> Result<Written, RegistryError> {
        let is_back = match present {
            Some(present) => subscriptions::was_disabled(transaction, present.id).await?,
            None => false,
        };
        let mut id = present.map_or(wanted.id, |present| present.id);
        let subscription = loop {
            let subscription = subscriptions::put(transaction, &self.sealed_for(wanted, id)?, now).await?;
            if subscription.id == id {
                break subscription;
            }
            // Somebody else made one in between: what was sealed for ours does not open in theirs. That one is ours to
            // change now, so this happens once.
            id = subscription.id;
        };
        wishes::remove(transaction, subscription.id).await?;
        unanswered::remove(transaction, subscription.id).await?;
        if is_back {
            events::note(transaction, &subscription, Told::Recovered, now).await?;
        }
        Ok(Written::InForce(subscription, is_back))
    }
}

/// Writes what is to be asked, and for what; `wanted` is sealed for the subscription that it is asked about.
async fn wish(
    transaction: &DatabaseTransaction,
    question: &Question,
    wanted: Subscription,
    now: Timestamp,
) -> Result<(), StoreError> {
    let wish = Wish {
        subscription: question.subscription,
        uri: question.uri.clone(),
        headers: wanted.headers,
        event_types: wanted.event_types,
        expires_at: now.after(OPEN_TIME),
    };
    wishes::put(transaction, &wish).await?;
    let unanswered = Unanswered { subscription: question.subscription, uri: question.uri.clone(), asked_at: now };
    unanswered::put(transaction, &unanswered).await?;
    if let Some(kept) = question.kept(now) {
        handshakes::put(transaction, &kept).await?;
    }
    Ok(())
}
