//! Secrets at rest: every header value and signing key is sealed before it is written, in SQL and in the bucket alike, and
//! opened only where somebody may see it (THREATS 5).
//!
//! The registry makes the data keys: a tenant gets its own before its first secret is written, first in SQL, then in the
//! bucket, and only then is it used; so nobody ever meets a value whose key is not there yet. A master key that is not the
//! one that wrapped them ends the start before anything is written.
//!
//! What a release before sealing left in clear is sealed at the start and whenever a pass of [`crate::reconcile`] meets it.

mod rotate;

use anyhow::Context as _;
use slipstream_bus::ConfigBucket;
use slipstream_core::config::{Record, Subscription, SubscriptionHeader, WrappedKey};
use slipstream_core::ids::SubscriptionId;
use slipstream_core::sealing::{Place, SecretText, Tenant};
use slipstream_service::Vault;
use slipstream_service::config::SecretsConfig;
use slipstream_service::vault::VaultError;
use slipstream_store::handshakes::wishes;
use slipstream_store::{Store, StoreError, data_keys, subscriptions};

pub use self::rotate::{Rotated, rotate_master_key};
use crate::reconcile;
use crate::registry::{Registry, RegistryError};

/// The migration that made room for data keys: a database without it has none.
const MIGRATION: &str = "m0007_data_keys";
/// Rows that are sealed in one transaction.
const BATCH_ROWS: usize = 100;

/// Whether the database holds data keys, and so needs the master key that wrapped them. Writes nothing.
///
/// # Errors
/// When the database cannot be read.
pub async fn has_data_keys(store: &Store) -> anyhow::Result<bool> {
    Ok(!read_data_keys(store).await?.is_empty())
}

/// Checks that the master key is the one that wrapped the data keys in the database. Writes nothing.
///
/// # Errors
/// When it is another one or cannot be read, or the database cannot.
pub async fn check_master_key(store: &Store, secrets: &SecretsConfig) -> anyhow::Result<()> {
    check_database(store, &Vault::open(secrets)?).await
}

/// As [`check_master_key`]; `vault` learns the data keys.
pub(crate) async fn check_database(store: &Store, vault: &Vault) -> anyhow::Result<()> {
    for key in read_data_keys(store).await? {
        vault.learn(&key).context("cannot open the secrets in the database")?;
    }
    Ok(())
}

/// The data keys in the database, which may be an older one or empty.
async fn read_data_keys(store: &Store) -> anyhow::Result<Vec<WrappedKey>> {
    let applied = store.applied_migrations().await.context("cannot read which migrations the database has")?;
    if !applied.iter().any(|name| name == MIGRATION) {
        return Ok(Vec::new());
    }
    data_keys::all(store.connection()).await.context("cannot read the data keys")
}

/// Checks that the master key unwraps the data keys in the bucket that the database does not have: that bucket belongs to
/// another deployment, or that database to another time.
///
/// # Errors
/// When it does not, or the bucket cannot be read.
pub(crate) async fn check_bucket(store: &Store, bucket: &ConfigBucket, vault: &Vault) -> anyhow::Result<()> {
    let records = reconcile::read(bucket).await.context("cannot read the config bucket")?;
    for record in records.into_values().flatten() {
        let Record::DataKey(key) = record else { continue };
        // Wrapped anew in the database, and not yet in the bucket: that is repaired.
        if data_keys::get(store.connection(), key.id).await.context("cannot read the data keys")?.is_none() {
            vault.check(&key).context("cannot open the secrets in the config bucket")?;
        }
    }
    Ok(())
}

impl Registry {
    /// Sees to it that `tenant` has a data key that everybody can know.
    pub(crate) async fn ensure_key(&self, tenant: &Tenant) -> Result<(), RegistryError> {
        if self.vault().has_key_of(tenant) {
            return Ok(());
        }
        let key: WrappedKey =
            data_keys::create_or_get(self.store().connection(), &self.vault().new_key(tenant)).await?;
        self.mirror(&key.record_key()).await?;
        // Only now: until it is in the bucket, nothing may be sealed under it.
        self.vault().learn(&key)?;
        Ok(())
    }

    /// The subscription as it is stored: all its secrets sealed, for a row called `id` where that is not its own. There must
    /// be a key, see [`Registry::ensure_key`].
    pub(crate) fn sealed_for(&self, wanted: &Subscription, id: SubscriptionId) -> Result<Subscription, VaultError> {
        let sealed = self.vault().sealed(wanted.clone())?;
        if id == wanted.id {
            return Ok(sealed);
        }
        // The row keeps its own signing keys; headers move into it.
        let headers = self.vault().sealed(Subscription { id, ..wanted.clone() })?.headers;
        Ok(Subscription { headers, ..sealed })
    }

    /// The subscription with its secrets opened, for whoever may see them.
    pub(crate) fn opened(&self, subscription: Subscription) -> Result<Subscription, RegistryError> {
        Ok(self.vault().opened(subscription)?)
    }

    /// Seals what a release before sealing left in clear; says how many rows that were. A crash in between leaves the rest
    /// to the next time.
    pub(crate) async fn seal_rows(&self) -> Result<usize, RegistryError> {
        let clear = |secret: &SecretText| !secret.is_sealed();
        let rows = subscriptions::all(self.store().connection()).await?;
        let rows: Vec<_> =
            rows.iter().filter(|row| row.secrets().any(clear)).map(|row| (row.id, row.tenant())).collect();
        let mut wished = Vec::new();
        for wish in wishes::all(self.store().connection()).await? {
            if wish.headers.iter().any(|header| clear(&header.value))
                && let Some(row) = subscriptions::get(self.store().connection(), wish.subscription).await?
            {
                wished.push((row.id, row.tenant()));
            }
        }
        for (_, tenant) in rows.iter().chain(&wished) {
            self.ensure_key(tenant).await?;
        }
        for batch in rows.chunks(BATCH_ROWS) {
            let transaction = self.store().begin().await?;
            for (id, _) in batch {
                // As it is now: somebody may have been faster.
                let Some(row) = subscriptions::lock(&transaction, *id).await? else { continue };
                if row.secrets().any(clear) {
                    subscriptions::replace_secrets(&transaction, &self.vault().sealed(row)?).await?;
                }
            }
            transaction.commit().await.map_err(StoreError::from)?;
        }
        for batch in wished.chunks(BATCH_ROWS) {
            let transaction = self.store().begin().await?;
            for (id, tenant) in batch {
                let Some(mut wish) = wishes::lock(&transaction, *id).await? else { continue };
                for SubscriptionHeader { name, value } in &mut wish.headers {
                    *value = self.vault().seal(tenant, value, &Place::header(*id, name))?;
                }
                wishes::put(&transaction, &wish).await?;
            }
            transaction.commit().await.map_err(StoreError::from)?;
        }
        let sealed = rows.len() + wished.len();
        if sealed > 0 {
            tracing::info!(rows.sealed = sealed, "secrets that were stored in clear are sealed");
        }
        Ok(sealed)
    }
}
