//! What people configure: SQL is the truth, the `config` bucket its image, which every service watches (DESIGN 4).
//!
//! Every change is made in SQL first and then mirrored under the record's key. Mirroring a key means: make the bucket
//! say what SQL says, and look again afterwards. Whoever mirrors last has seen the last change, so that changes of one
//! record by several replicas at once end with the newest in the bucket, whatever the order of their writes. A crash
//! between SQL and the bucket, or a bucket that does not answer, is repaired by [`crate::reconcile`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use slipstream_bus::{Bus, BusError, ConfigBucket, Outgoing, PublishError, Publisher, StreamName, subject};
use slipstream_core::config::{EcgSecret, Subscription, Surface};
use slipstream_core::contract::{EndpointChange, EndpointChanged};
use slipstream_core::ids::{AccountId, SubscriptionId};
use slipstream_core::problem::{Problem, ProblemKind};
use slipstream_core::sealing::Place;
use slipstream_service::audit::Audit;
use slipstream_service::http::ToTheEnd;
use slipstream_service::vault::VaultError;
use slipstream_service::{ApiError, Vault, clock};
use slipstream_store::subscriptions::{self, Owner};
use slipstream_store::{Store, StoreError, records};

use crate::config::LimitsConfig;

/// How long a change may take to reach the bucket before the caller hears 503 (THREATS 10: at most 5 s, SQL included).
const MIRROR_TIMEOUT: Duration = Duration::from_secs(4);

/// What this service is called in its records of the audit.
pub(crate) const NAME: &str = "subscription-registry";

/// What the key of a subscription begins with; see [`slipstream_core::config::Record::key`].
const SUBSCRIPTION: &str = "subscription.";
/// The same of the ECG surface.
const ECG_SUBSCRIPTION: &str = "ecg_subscription.";

/// A change that is not, or not yet, in force. A repeat is harmless.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegistryError {
    #[error("the database failed")]
    Store(#[from] StoreError),
    #[error("the config bucket failed")]
    Bucket(#[from] BusError),
    #[error("a message about a subscription could not be published")]
    Publish(#[from] PublishError),
    #[error("the bus did not answer in time")]
    Unanswered,
    #[error("a secret could not be sealed or opened")]
    Vault(#[from] VaultError),
    #[error("the site has {0} subscriptions, which is as many as it may have")]
    SiteFull(u32),
    #[error(
        "the organization has {0} webhook subscriptions, those deleted lately included, which is as many as it may have"
    )]
    OrganizationFull(u32),
}

impl RegistryError {
    /// Whether the same change may succeed a moment later.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Store(error) => error.is_transient(),
            Self::Bucket(_) | Self::Publish(_) | Self::Unanswered => true,
            Self::Vault(_) | Self::SiteFull(_) | Self::OrganizationFull(_) => false,
        }
    }
}

impl From<RegistryError> for ApiError {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Store(StoreError::Conflict(_)) => {
                let detail = "refers to something that does not exist, or is taken already";
                Self::from(Problem::new(ProblemKind::Conflict, detail)).caused_by(error)
            }
            RegistryError::Store(ref store) if !store.is_transient() => Self::internal(error),
            RegistryError::Vault(_) => Self::internal(error),
            RegistryError::SiteFull(_) | RegistryError::OrganizationFull(_) => {
                Problem::new(ProblemKind::Unprocessable, error.to_string()).into()
            }
            RegistryError::Store(_) => Self::unavailable("the database did not answer in time", error),
            _ => Self::unavailable("the change could not be put in force in time; repeat it", error),
        }
    }
}

/// How far a removal has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Removal {
    /// Perhaps still in the bucket.
    Begun,
    /// Out of the bucket, so that it may be announced.
    InForce,
}

/// The truth and its image. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Registry {
    store: Store,
    bucket: ConfigBucket,
    bus: Bus,
    outcomes: Publisher,
    events: Publisher,
    deliveries: Publisher,
    audit: Audit,
    vault: Vault,
    limits: LimitsConfig,
    /// Removed subscriptions that are not yet announced: that is tried again with the next removal, and at the next
    /// reconciling. Lost in a crash; then waiting deliveries are cancelled when they are due, instead of at once.
    unannounced: Arc<Mutex<BTreeMap<SubscriptionId, (Surface, Removal)>>>,
}

impl Registry {
    pub(crate) fn new(store: Store, bucket: ConfigBucket, bus: &Bus, vault: Vault, limits: LimitsConfig) -> Self {
        let [outcomes, events, deliveries] =
            [StreamName::Outcomes, StreamName::Events, StreamName::Work].map(|stream| bus.publisher(stream));
        // Nothing that is recorded here is a request that somebody could leave.
        let audit = Audit::new(bus, NAME, &ToTheEnd::default());
        let (bus, unannounced) = (bus.clone(), Arc::default());
        Self { store, bucket, bus, outcomes, events, deliveries, audit, vault, limits, unannounced }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn bucket(&self) -> &ConfigBucket {
        &self.bucket
    }

    /// The keys that secrets are sealed under.
    pub(crate) fn vault(&self) -> &Vault {
        &self.vault
    }

    /// Where events of our own are published.
    pub(crate) fn events(&self) -> &Publisher {
        &self.events
    }

    /// Where deliveries of our own are published.
    pub(crate) fn deliveries(&self) -> &Publisher {
        &self.deliveries
    }

    /// Where it is published what is recorded of deliveries.
    pub(crate) fn outcomes(&self) -> &Publisher {
        &self.outcomes
    }

    /// Where records of the audit are published.
    pub(crate) fn audit(&self) -> &Audit {
        &self.audit
    }

    /// A secret of a subscription of the ECG surface, to be shown. There must be a key, see [`Registry::ensure_key`].
    pub(crate) fn opened_ecg_secret(&self, id: SubscriptionId, secret: &EcgSecret) -> Result<String, RegistryError> {
        let opened = self.vault.unseal(&secret.secret, &Place::ecg_secret(id))?;
        Ok(opened.expose().expect("it was opened just now").to_owned())
    }

    /// How much one tenant may have.
    pub(crate) fn limits(&self) -> LimitsConfig {
        self.limits
    }

    /// Makes the bucket say what SQL says about `key`; announces a subscription that is gone.
    pub(crate) async fn mirror(&self, key: &str) -> Result<(), RegistryError> {
        tokio::time::timeout(MIRROR_TIMEOUT, self.mirror_now(key)).await.map_err(|_| RegistryError::Unanswered)?
    }

    async fn mirror_now(&self, key: &str) -> Result<(), RegistryError> {
        let mut written = None;
        loop {
            match records::get(self.store.connection(), key).await? {
                Some(record) if written == Some(record.revision()) => return Ok(()),
                // Written in clear by a release before sealing, a moment ago.
                Some(record) if !record.is_sealed() => drop(Box::pin(self.seal_rows()).await?),
                Some(record) => {
                    self.bucket.put(&record).await?;
                    written = Some(record.revision());
                }
                None => {
                    let removed = subscription_of(key);
                    // Before it is tried: whoever waits for this may give up in between.
                    self.unannounced().extend(removed.map(|(surface, id)| (id, (surface, Removal::Begun))));
                    self.bucket.delete(key).await?;
                    self.unannounced().extend(removed.map(|(surface, id)| (id, (surface, Removal::InForce))));
                    return Box::pin(self.announce_removals()).await;
                }
            }
        }
    }

    /// Makes the bucket say what SQL says about a subscription.
    pub(crate) async fn mirror_subscription(&self, id: SubscriptionId) -> Result<(), RegistryError> {
        self.mirror(&key_of(Surface::Slipstream, id)).await
    }

    /// Makes the bucket say what SQL says about a subscription of the ECG surface.
    pub(crate) async fn mirror_ecg_subscription(&self, id: SubscriptionId) -> Result<(), RegistryError> {
        self.mirror(&key_of(Surface::Ecg, id)).await
    }

    /// Puts in force that a subscription of the ECG surface is deleted. Its tombstone stays in the bucket.
    pub(crate) async fn remove_ecg_subscription(&self, id: SubscriptionId) -> Result<(), RegistryError> {
        // Before it is tried, as of all others.
        self.unannounced().insert(id, (Surface::Ecg, Removal::Begun));
        self.finish_removals().await
    }

    /// Makes the bucket say what SQL says about an account.
    pub(crate) async fn mirror_account(&self, id: AccountId) -> Result<(), RegistryError> {
        // As `Record::key` has it; there may be no record any more.
        self.mirror(&format!("account.{id}")).await
    }

    /// Deletes a subscription; says which it was, or none.
    pub(crate) async fn unsubscribe(&self, owner: Owner<'_>) -> Result<Option<SubscriptionId>, RegistryError> {
        let transaction = self.store.begin().await?;
        let deleted = subscriptions::delete(&transaction, owner).await?;
        transaction.commit().await.map_err(StoreError::from)?;
        if let Some(id) = deleted {
            self.mirror_subscription(id).await?;
        }
        Ok(deleted)
    }

    /// The subscription of `owner`, if there is one.
    pub(crate) async fn subscription_of(&self, owner: Owner<'_>) -> Result<Option<Subscription>, RegistryError> {
        Ok(subscriptions::find(self.store.connection(), owner).await?)
    }

    /// Puts every removal in force that this replica could not put in force before.
    pub(crate) async fn finish_removals(&self) -> Result<(), RegistryError> {
        tokio::time::timeout(MIRROR_TIMEOUT, self.announce_removals()).await.map_err(|_| RegistryError::Unanswered)?
    }

    /// Tells the dispatcher and the activity log of every removed subscription that has not been announced yet, once it is
    /// out of the bucket.
    pub(crate) async fn announce_removals(&self) -> Result<(), RegistryError> {
        let removals: Vec<_> = self.unannounced().iter().map(|(id, removal)| (*id, *removal)).collect();
        for (id, (surface, removal)) in removals {
            if removal == Removal::Begun {
                let key = key_of(surface, id);
                match surface {
                    Surface::Slipstream => self.bucket.delete(&key).await?,
                    // A tombstone takes its place.
                    Surface::Ecg => self.mirror_now(&key).await?,
                }
                self.unannounced().insert(id, (surface, Removal::InForce));
            }
            let (at, change) = (clock::now(), EndpointChange::Removed);
            let change = EndpointChanged { subscription: id, at, change, revision: None };
            let payload = serde_json::to_vec(&change).expect("ids, times and names always serialise");
            let message = Outgoing::new(subject::endpoint(surface, id), payload.into());
            self.outcomes.publish(message.id(&format!("removed.{id}"))).await?;
            // What waits would end at the dispatcher's gate when it is due; it need not wait for that.
            self.bus.cancel_schedules(&subject::waiting_of(id)).await?;
            self.unannounced().remove(&id);
        }
        Ok(())
    }

    fn unannounced(&self) -> std::sync::MutexGuard<'_, BTreeMap<SubscriptionId, (Surface, Removal)>> {
        // A map of ids is whole at any time, so a panic elsewhere does not spoil it.
        self.unannounced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The key of a subscription; see [`slipstream_core::config::Record::key`].
fn key_of(surface: Surface, id: SubscriptionId) -> String {
    match surface {
        Surface::Slipstream => format!("{SUBSCRIPTION}{id}"),
        Surface::Ecg => format!("{ECG_SUBSCRIPTION}{id}"),
    }
}

/// The subscription whose key this is.
fn subscription_of(key: &str) -> Option<(Surface, SubscriptionId)> {
    let of = |surface, prefix| Some((surface, key.strip_prefix(prefix)?.parse().ok()?));
    of(Surface::Slipstream, SUBSCRIPTION).or_else(|| of(Surface::Ecg, ECG_SUBSCRIPTION))
}
