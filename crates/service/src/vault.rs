//! Keys at work: the master key from its file, and the tenants' data keys as far as this process has heard of them
//! (THREATS 5; the mechanism itself is [`slipstream_core::sealing`]).
//!
//! The registry makes data keys; everybody else learns them from the `config` bucket ([`crate::Directory`]). A process
//! holds a second, previous master key while the deployment moves from one to the other, and opens what either has
//! wrapped; it wraps with the current one only.
//!
//! Opened keys stay in memory until they are forgotten, so a process that has heard of a key goes on without its master
//! key being asked again.

mod file;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rand::TryRng as _;
use rand::rngs::SysRng;
use slipstream_core::config::{EcgSubscription, Subscription, WrappedKey};
use slipstream_core::sealing::{
    BadMasterKey, DataKey, KEY_BYTES, KeyId, MasterKey, Nonce, OpenError, Place, Sealed, SecretText, Tenant,
};
use zeroize::Zeroize as _;

use crate::clock;
use crate::config::SecretsConfig;

/// Why the vault cannot be opened, or does not open something. Never tells a key or a secret.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// No master key is configured.
    #[error(
        "secrets.master_key_file is required: the path of a file with 32 random bytes as Base64 or hex text \
         (`openssl rand -base64 32` makes one)"
    )]
    NotConfigured,
    /// The file of a master key cannot be read.
    #[error("cannot read the master key file {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The file holds something else.
    #[error("{} holds no master key", path.display())]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What it must hold.
        #[source]
        source: BadMasterKey,
    },
    /// A data key is wrapped by a master key that we do not have.
    #[error(
        "wrong master key: the data key of {tenant} is wrapped by the master key {wrapped_by}, and secrets.master_key_file \
         holds {current}{}", previous.map(|id| format!(" (previous: {id})")).unwrap_or_default()
    )]
    WrongMasterKey {
        /// Whose data key.
        tenant: Tenant,
        /// The master key that is needed.
        wrapped_by: KeyId,
        /// The one that we have.
        current: KeyId,
        /// The previous one that we have.
        previous: Option<KeyId>,
    },
    /// A data key does not open: it was changed, or is another tenant's.
    #[error("the data key {id} of {tenant} cannot be unwrapped")]
    BadDataKey {
        /// Which key.
        id: KeyId,
        /// Whose.
        tenant: Tenant,
        /// Why.
        #[source]
        source: OpenError,
    },
    /// The tenant has no data key here yet.
    #[error("there is no data key of {0} yet")]
    NoKey(Tenant),
    /// A secret is sealed under a key that is not known here, or not yet.
    #[error("the data key {0} is not known")]
    UnknownKey(KeyId),
    /// A secret does not open.
    #[error("a secret sealed under {key} does not open")]
    Refused {
        /// Under which key.
        key: KeyId,
        /// Why.
        #[source]
        source: OpenError,
    },
}

/// All keys of this process. Cheap to clone; all clones are the same. Does not print.
#[derive(Clone)]
pub struct Vault {
    shared: Arc<Shared>,
}

struct Shared {
    current: MasterKey,
    previous: Option<MasterKey>,
    keys: RwLock<Keys>,
}

#[derive(Default)]
struct Keys {
    by_id: HashMap<KeyId, DataKey>,
    of_tenant: HashMap<Tenant, KeyId>,
}

impl Vault {
    /// The vault of the configured master keys, with no data key yet. Warns of a file that others may read.
    ///
    /// # Errors
    /// When none is configured, or a file cannot be read or holds something else.
    pub fn open(config: &SecretsConfig) -> Result<Self, VaultError> {
        let current = file::read(config.master_key_file.as_deref().ok_or(VaultError::NotConfigured)?)?;
        let previous = config.previous_master_key_file.as_deref().map(file::read).transpose()?;
        Ok(Self::new(current, previous))
    }

    /// The vault of these master keys, with no data key yet.
    pub fn new(current: MasterKey, previous: Option<MasterKey>) -> Self {
        Self { shared: Arc::new(Shared { current, previous, keys: RwLock::default() }) }
    }

    /// The master key that wraps.
    pub fn master_id(&self) -> KeyId {
        self.shared.current.id()
    }

    /// A new data key for `tenant`, wrapped. It is not used before it is [learnt](Self::learn): somebody else may be
    /// making one too.
    pub fn new_key(&self, tenant: &Tenant) -> WrappedKey {
        let mut bytes = random::<KEY_BYTES>();
        let key = DataKey::new(KeyId::new(random()), bytes);
        bytes.zeroize();
        let wrapped = self.shared.current.wrap(tenant, &key, nonce());
        WrappedKey { id: key.id(), tenant: tenant.clone(), wrapped, created_at: clock::now(), revision: 1 }
    }

    /// Unwraps a data key and keeps it. One that is known already is not looked at: however it is wrapped by now, it is
    /// the same key. Says whether it is new.
    ///
    /// # Errors
    /// When none of our master keys wrapped it, or it was changed.
    pub fn learn(&self, record: &WrappedKey) -> Result<bool, VaultError> {
        if self.read().by_id.contains_key(&record.id) {
            return Ok(false);
        }
        let key = self.unwrap(record)?;
        let mut keys = self.write();
        keys.by_id.insert(record.id, key);
        keys.of_tenant.insert(record.tenant.clone(), record.id);
        Ok(true)
    }

    /// Whether one of our master keys unwraps this data key.
    ///
    /// # Errors
    /// As [`Vault::learn`].
    pub fn check(&self, record: &WrappedKey) -> Result<(), VaultError> {
        self.unwrap(record).map(drop)
    }

    /// The data key wrapped by the current master key; none if it is so already.
    ///
    /// # Errors
    /// As [`Vault::learn`].
    pub fn rewrap(&self, record: &WrappedKey) -> Result<Option<Sealed>, VaultError> {
        let key = self.unwrap(record)?;
        let is_current = record.wrapped.key() == self.shared.current.id();
        Ok((!is_current).then(|| self.shared.current.wrap(&record.tenant, &key, nonce())))
    }

    /// Forgets a data key, and with it whatever was sealed under it.
    pub fn forget(&self, id: KeyId) {
        let mut keys = self.write();
        keys.by_id.remove(&id);
        keys.of_tenant.retain(|_, of_tenant| *of_tenant != id);
    }

    /// Whether `tenant` has a data key here.
    pub fn has_key_of(&self, tenant: &Tenant) -> bool {
        self.read().of_tenant.contains_key(tenant)
    }

    /// Seals a secret of `tenant` for `place`; one that is sealed already stays as it is.
    ///
    /// # Errors
    /// When the tenant has no key here yet.
    pub fn seal(&self, tenant: &Tenant, secret: &SecretText, place: &Place) -> Result<SecretText, VaultError> {
        let keys = self.read();
        let key = keys.of_tenant.get(tenant).and_then(|id| keys.by_id.get(id));
        Ok(secret.seal(key.ok_or_else(|| VaultError::NoKey(tenant.clone()))?, place, nonce()))
    }

    /// Opens a secret that was sealed for `place`; one that is open already stays as it is.
    ///
    /// # Errors
    /// When its key is not known here, or it was changed or moved.
    pub fn unseal(&self, secret: &SecretText, place: &Place) -> Result<SecretText, VaultError> {
        let Some(sealed) = secret.sealed() else { return Ok(secret.clone()) };
        let keys = self.read();
        let key = keys.by_id.get(&sealed.key()).ok_or(VaultError::UnknownKey(sealed.key()))?;
        key.open(place, sealed).map_err(|source| VaultError::Refused { key: sealed.key(), source })
    }

    /// The subscription with all its secrets sealed.
    ///
    /// # Errors
    /// As [`Vault::seal`].
    pub fn sealed(&self, subscription: Subscription) -> Result<Subscription, VaultError> {
        let tenant = subscription.tenant();
        subscription.with_secrets(|secret, place| self.seal(&tenant, secret, place))
    }

    /// The subscription with all its secrets opened.
    ///
    /// # Errors
    /// As [`Vault::unseal`].
    pub fn opened(&self, subscription: Subscription) -> Result<Subscription, VaultError> {
        subscription.with_secrets(|secret, place| self.unseal(secret, place))
    }

    /// The ECG subscription with all its secrets sealed.
    ///
    /// # Errors
    /// As [`Vault::seal`].
    pub fn sealed_ecg(&self, subscription: EcgSubscription) -> Result<EcgSubscription, VaultError> {
        let tenant = subscription.tenant();
        subscription.with_secrets(|secret, place| self.seal(&tenant, secret, place))
    }

    /// The ECG subscription with all its secrets opened.
    ///
    /// # Errors
    /// As [`Vault::unseal`].
    pub fn opened_ecg(&self, subscription: EcgSubscription) -> Result<EcgSubscription, VaultError> {
        subscription.with_secrets(|secret, place| self.unseal(secret, place))
    }

    fn unwrap(&self, record: &WrappedKey) -> Result<DataKey, VaultError> {
        let WrappedKey { id, tenant, wrapped, .. } = record;
        let Shared { current, previous, .. } = &*self.shared;
        let master = [Some(current), previous.as_ref()].into_iter().flatten().find(|key| key.id() == wrapped.key());
        let master = master.ok_or_else(|| VaultError::WrongMasterKey {
            tenant: tenant.clone(),
            wrapped_by: wrapped.key(),
            current: current.id(),
            previous: previous.as_ref().map(MasterKey::id),
        })?;
        let bad = |source| VaultError::BadDataKey { id: *id, tenant: tenant.clone(), source };
        master.unwrap(tenant, *id, wrapped).map_err(bad)
    }

    fn read(&self) -> RwLockReadGuard<'_, Keys> {
        // A map of keys is whole at any time, so a panic elsewhere does not spoil it.
        self.shared.keys.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Keys> {
        self.shared.keys.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vault({}, ***)", self.master_id())
    }
}

fn nonce() -> Nonce {
    random()
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SysRng.try_fill_bytes(&mut bytes).expect("an operating system without randomness cannot run this service");
    bytes
}

#[cfg(test)]
mod tests;
