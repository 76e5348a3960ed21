//! Receivers that could not be asked, or did not answer, are asked again: a moment's trouble during a PUT must not mean
//! few deliveries, or none, for ever.
//!
//! A pass, at start and from then on every 30 s, asks at most ten of them, longest ago first, and each at most every ten
//! minutes, whichever replica does it. One that answers, whatever it says, is not asked again.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use slipstream_core::config::{EndpointState, Subscription};
use slipstream_core::timestamp::Timestamp;
use slipstream_service::clock;
use slipstream_store::handshakes::unanswered::{self, Unanswered};
use slipstream_store::handshakes::{self, wishes};
use slipstream_store::subscriptions;
use slipstream_store::{DatabaseTransaction, StoreError};
use slipstream_webhook::{AddressPolicy, Target};
use tokio_util::sync::CancellationToken;

use super::Handshake;
use super::question::Question;
use crate::registry::{Registry, RegistryError};

/// Mean time between two passes.
const EVERY: Duration = Duration::from_secs(30);
/// How often one receiver is asked.
const PAUSE: Duration = Duration::from_mins(10);
/// How many a pass asks, all at once.
const PER_PASS_MAX: usize = 10;

/// Who is asked again, and how.
pub(crate) struct Again {
    pub(crate) registry: Registry,
    pub(crate) handshake: Handshake,
    pub(crate) targets: Arc<AddressPolicy>,
}

/// Asks again until `stop`.
pub(crate) async fn run(again: Again, stop: CancellationToken) -> anyhow::Result<()> {
    loop {
        let round = async {
            if let Err(error) = again.pass().await {
                let error = format!("{:#}", anyhow::Error::from(error));
                tracing::warn!(error, "cannot tell which receivers are to be asked again");
            }
            // Spread, so that replicas do not all look at once.
            tokio::time::sleep(EVERY.mul_f64(rand::random_range(0.8..1.2))).await;
        };
        if stop.run_until_cancelled(round).await.is_none() {
            return Ok(());
        }
    }
}

impl Again {
    async fn pass(&self) -> Result<(), RegistryError> {
        let long_ago = before(clock::now(), PAUSE);
        let due = unanswered::due(self.registry.store().connection(), long_ago, PER_PASS_MAX).await?;
        let mut asking: FuturesUnordered<_> = due.iter().map(|question| self.ask(question)).collect();
        while let Some(asked) = asking.next().await {
            if let Err(error) = asked {
                let error = format!("{:#}", anyhow::Error::from(error));
                tracing::warn!(error, "a receiver could not be asked again; it has its turn later");
            }
        }
        Ok(())
    }

    async fn ask(&self, unanswered: &Unanswered) -> Result<(), RegistryError> {
        let Some((question, target)) = self.claim(unanswered).await? else { return Ok(()) };
        let Some(settled) = self.registry.ask(&question, &target).await? else { return Ok(()) };
        if settled.is_changed {
            self.registry.mirror_subscription(question.subscription).await?;
        }
        if settled.is_noted {
            self.registry.tell().await;
        }
        Ok(())
    }

    /// Writes down that the question is asked again now; none if that is not ours to do, or of no use any more.
    async fn claim(&self, unanswered: &Unanswered) -> Result<Option<(Question, Target)>, RegistryError> {
        let Unanswered { subscription: id, uri, .. } = unanswered;
        let transaction = self.registry.store().begin().await?;
        let present = subscriptions::lock(&transaction, *id).await?;
        let now = clock::now();
        let (Some(present), true) = (present, unanswered::claim(&transaction, unanswered, now).await?) else {
            return Ok(None);
        };
        let question = match self.handshake.question(*id, uri) {
            Some(question) if is_open(&transaction, &present, &question, now).await? => Some(question),
            _ => None,
        };
        // The policy may have been changed since the target was put.
        let asked = question.zip(Target::parse(uri, &self.targets).ok());
        match asked.as_ref().map(|(question, _)| question.kept(now)) {
            Some(Some(kept)) => handshakes::put(&transaction, &kept).await?,
            Some(None) => {}
            None => unanswered::answered(&transaction, *id, uri).await?,
        }
        transaction.commit().await.map_err(StoreError::from)?;
        Ok(asked)
    }
}

/// Whether something would come of a grant.
async fn is_open(
    transaction: &DatabaseTransaction,
    present: &Subscription,
    question: &Question,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let is_wished = wishes::find(transaction, present.id, now).await?.is_some_and(|wish| wish.uri == question.uri);
    let is_disabled = matches!(present.state, EndpointState::Disabled(_));
    let is_waiting = present.uri == question.uri && !is_disabled && !question.asker.is_granted_by(present);
    Ok(is_wished || is_waiting)
}

/// This long before `now`.
fn before(now: Timestamp, pause: Duration) -> Timestamp {
    let millis = i64::try_from(pause.as_millis()).expect("minutes fit into 64 bits of milliseconds");
    Timestamp::from_millis(now.as_millis() - millis)
}
