//! What becomes of a subscription when its receiver has agreed, has not, or could not be asked; in SQL only.
//!
//! Who settles holds the subscription's row, and finds there what stands and what is wished by then: a later PUT, an
//! operator or a callback may have been faster, and what they did stands.

use slipstream_core::config::{Consent, EndpointState, Subscription};
use slipstream_core::timestamp::Timestamp;
use slipstream_core::trace::TraceContext;
use slipstream_service::clock;
use slipstream_store::handshakes::wishes::{self, Wish};
use slipstream_store::handshakes::{self, unanswered};
use slipstream_store::subscriptions::{self, Applied, Grant};
use slipstream_store::{DatabaseTransaction, StoreError};
use slipstream_webhook::Target;

use super::question::{Left, Question, Reason, Refusal};
use crate::audited::{self, Deed};
use crate::config::HandshakePolicy;
use crate::events::{self, Told};
use crate::registry::{Registry, RegistryError};

/// How a subscription stands after a question about it.
pub(super) struct Settled {
    pub(super) subscription: Subscription,
    /// Whether that was changed just now, and has to be put in force.
    pub(super) is_changed: bool,
    /// Whether there is something to be told of it.
    pub(super) is_noted: bool,
    /// Why a PUT is refused, if it is.
    pub(super) refusal: Option<Refusal>,
}

impl Settled {
    fn unchanged(subscription: Subscription) -> Self {
        Self { subscription, is_changed: false, is_noted: false, refusal: None }
    }

    /// Notes that an endpoint that was disabled takes deliveries again, if it does.
    async fn of(
        transaction: &DatabaseTransaction,
        applied: Applied,
        present: &Subscription,
        was_disabled: bool,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let Applied::Changed(subscription) = applied else { return Ok(Self::unchanged(present.clone())) };
        let is_noted = was_disabled && subscription.state == EndpointState::Active;
        if is_noted {
            events::note(transaction, &subscription, Told::Recovered, now).await?;
        }
        Ok(Self { subscription, is_changed: true, is_noted, refusal: None })
    }
}

impl Registry {
    /// Asks, and settles what the receiver answers; none if the subscription was removed meanwhile. No transaction is open
    /// while it asks.
    pub(super) async fn ask(&self, question: &Question, target: &Target) -> Result<Option<Settled>, RegistryError> {
        let answer = question.ask(target).await;
        tracing::info!(subscription.id = %question.subscription, ?answer, "receiver asked for its consent");
        let transaction = self.store().begin().await?;
        let Some(present) = subscriptions::lock(&transaction, question.subscription).await? else { return Ok(None) };
        let now = clock::now();
        let settled = match answer {
            Ok(rate_per_minute) => {
                let origin = question.asker.origin.as_str();
                let granted = Grant { uri: &question.uri, origin, rate_per_minute };
                let settled = grant(&transaction, &present, granted, None, now).await?;
                // Another PUT was faster: as if this one had been done before it.
                settled.unwrap_or_else(|| Settled::unchanged(present))
            }
            Err(reason) => refuse(&transaction, present, question, reason, now).await?,
        };
        transaction.commit().await.map_err(StoreError::from)?;
        Ok(Some(settled))
    }
}

/// What is open at `uri`.
async fn wish_for(
    transaction: &DatabaseTransaction,
    present: &Subscription,
    uri: &str,
    now: Timestamp,
) -> Result<Option<Wish>, StoreError> {
    Ok(wishes::find(transaction, present.id, now).await?.filter(|wish| wish.uri == uri))
}

/// A receiver agreed, in a request of its own if there is a trace: to what is wished of it, or to what goes to it already.
/// None if neither is so any more.
pub(super) async fn grant(
    transaction: &DatabaseTransaction,
    present: &Subscription,
    grant: Grant<'_>,
    trace: Option<TraceContext>,
    now: Timestamp,
) -> Result<Option<Settled>, StoreError> {
    let Grant { uri, origin, rate_per_minute } = grant;
    let was_disabled = subscriptions::was_disabled(transaction, present.id).await?;
    let applied = match wish_for(transaction, present, uri, now).await? {
        Some(wish) => {
            wishes::remove(transaction, present.id).await?;
            let consent = Consent::Granted { origin: origin.to_owned(), rate_per_minute };
            subscriptions::replace(transaction, &wish, EndpointState::Active, &consent, now).await?
        }
        None if present.uri == uri => subscriptions::grant(transaction, present.id, grant).await?,
        None => return Ok(None),
    };
    // Every other question to it has its answer.
    handshakes::remove(transaction, present.id, uri).await?;
    unanswered::answered(transaction, present.id, uri).await?;
    let mut settled = Settled::of(transaction, applied, present, was_disabled, now).await?;
    if settled.is_changed {
        audited::note(transaction, &settled.subscription, Deed::Granted(trace)).await?;
        settled.is_noted = true;
    }
    Ok(Some(settled))
}

/// A receiver did not agree, or could not be asked.
async fn refuse(
    transaction: &DatabaseTransaction,
    present: Subscription,
    question: &Question,
    reason: Reason,
    now: Timestamp,
) -> Result<Settled, StoreError> {
    let Question { asker, uri, .. } = question;
    if let Some(kept) = question.kept(now) {
        // Only an answer shows that the receiver has this key. Until then the one before serves on; and a key that never
        // left us serves nobody.
        if reason == Reason::NoConsent {
            handshakes::supersede(transaction, &kept).await?;
        } else if !reason.has_reached_the_receiver() {
            handshakes::take(transaction, kept.key_hash, now).await?;
        }
    }
    if !reason.may_pass() {
        unanswered::answered(transaction, present.id, uri).await?;
    }
    let is_required = asker.policy == HandshakePolicy::Required;
    let refusal = |left| {
        let has_callback = question.callback.is_some() && reason.has_reached_the_receiver();
        is_required.then_some(Refusal { reason, left, has_callback })
    };
    let Some(wish) = wish_for(transaction, &present, uri, now).await? else {
        let is_there = present.uri == *uri;
        let refusal = match present.state {
            // It granted by callback while it was being asked.
            _ if is_there && asker.is_granted_by(&present) => None,
            EndpointState::Pending if is_there => refusal(Left::Stored),
            _ => refusal(Left::Superseded),
        };
        return Ok(Settled { refusal, ..Settled::unchanged(present) });
    };
    if is_required && works(&present, uri, reason) {
        return Ok(Settled { refusal: refusal(Left::Beside), ..Settled::unchanged(present) });
    }
    let was_disabled = subscriptions::was_disabled(transaction, present.id).await?;
    wishes::remove(transaction, present.id).await?;
    let to = if is_required { EndpointState::Pending } else { EndpointState::Active };
    let applied = subscriptions::replace(transaction, &wish, to, &asker.not_granted(), now).await?;
    let settled = Settled::of(transaction, applied, &present, was_disabled, now).await?;
    Ok(Settled { refusal: refusal(Left::Stored), ..settled })
}

/// Whether the subscription works and is none of the refusing receiver's business: it goes elsewhere, or with consent that
/// was given once, or nobody has said no.
fn works(present: &Subscription, uri: &str, reason: Reason) -> bool {
    let has_consent = matches!(present.consent, Consent::Granted { .. });
    present.state == EndpointState::Active && (present.uri != uri || has_consent || reason != Reason::NoConsent)
}
