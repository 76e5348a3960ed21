//! Another master key takes the place of the one before.
//!
//! Done in three steps, with nothing standing still: every process gets both keys (`secrets.master_key_file` the new one,
//! `secrets.previous_master_key_file` the old one) and is restarted; this command wraps every data key anew; the old key is
//! taken away from every process. The data keys themselves stay, and so does everything that is sealed under them.

use anyhow::Context as _;
use slipstream_bus::{Bus, BusConfig};
use slipstream_core::contract::{Action, AuditOutcome, Audited, TargetKind, Unasked};
use slipstream_service::Vault;
use slipstream_service::config::SecretsConfig;
use slipstream_store::{DatabaseConfig, Store, StoreError, data_keys};

use super::{check_bucket, check_database};
use crate::audited;
use crate::config::LimitsConfig;
use crate::registry::Registry;

/// What a rotation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotated {
    /// Data keys that were wrapped anew.
    pub rewrapped: usize,
    /// Data keys that there are.
    pub total: usize,
}

/// Wraps every data key by the current master key of `secrets`, in one transaction, and puts all of them into the bucket.
/// A repeat puts right what a broken one left undone, and else changes nothing. The audit says that it was begun, before
/// it is, and how it ended.
///
/// # Errors
/// When neither master key unwraps one of the data keys, or it cannot be recorded that this is done (then nothing is
/// changed); when the database or the bus fails.
pub async fn rotate_master_key(
    secrets: &SecretsConfig,
    database: &DatabaseConfig,
    bus: &BusConfig,
) -> anyhow::Result<Rotated> {
    let vault = Vault::open(secrets)?;
    let store = Store::connect(database).await.context("cannot open the database")?;
    check_database(&store, &vault).await?;
    store.migrate().await.context("cannot migrate the database")?;
    let bus = Bus::connect(bus).await.context("cannot use the bus")?;
    let bucket = bus.config_bucket().await.context("cannot open the config bucket")?;
    check_bucket(&store, &bucket, &vault).await?;

    let registry = Registry::new(store, bucket, &bus, vault, LimitsConfig::default());
    // As every change: nothing is done that is not recorded.
    let master_key = Some(registry.vault().master_id().to_string());
    let record = || Audited {
        target: master_key.clone(),
        ..audited::done(Unasked::Command, Action::MasterKeyRotate, TargetKind::MasterKey)
    };
    let begun = Audited { outcome: AuditOutcome::Begun, ..record() };
    registry.audit().record(&begun).await.context("it cannot be recorded that this is done, so it is not")?;
    let rotated = registry.rewrap_all().await;
    let outcome = if rotated.is_ok() { AuditOutcome::Done } else { AuditOutcome::Failed };
    let end = Audited { outcome, begun: Some(begun.id), ..record() };
    let recorded = registry.audit().record(&end).await;
    let rotated = rotated?;
    recorded.context("it is done, and its end is not recorded: run this once more")?;
    Ok(rotated)
}

impl Registry {
    /// Wraps every data key by the current master key, in SQL and then in the bucket.
    async fn rewrap_all(&self) -> anyhow::Result<Rotated> {
        let transaction = self.store().begin().await?;
        let keys = data_keys::lock_all(&transaction).await.context("cannot read the data keys")?;
        let mut rewrapped = 0;
        for key in &keys {
            if let Some(wrapped) = self.vault().rewrap(key)? {
                data_keys::rewrap(&transaction, key.id, &wrapped).await.context("cannot write the data keys")?;
                rewrapped += 1;
            }
        }
        transaction.commit().await.map_err(StoreError::from).context("cannot write the data keys")?;
        for key in &keys {
            let mirrored = self.mirror(&key.record_key()).await;
            mirrored.context("the database has the new keys and the config bucket does not: run this once more")?;
        }
        Ok(Rotated { rewrapped, total: keys.len() })
    }
}
