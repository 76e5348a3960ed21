//! A master key and data keys that are always the same, for records that are sealed without a registry.
//!
//! Nothing secret: whoever reads this has them.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};
use slipstream_core::config::{EcgSubscription, Record, Subscription, WrappedKey};
use slipstream_core::sealing::{DataKey, KEY_BYTES, KeyId, MasterKey, Nonce, OpenError, Place, SecretText, Tenant};
use slipstream_core::timestamp::Timestamp;
use uuid::Uuid;

/// The master key as the text of its file.
pub const MASTER_KEY: &str = "74657374746573747465737474657374746573747465737474657374746573c0";

/// The master key.
///
/// # Panics
///
/// Never: the text is one.
pub fn master_key() -> MasterKey {
    MasterKey::parse(MASTER_KEY).expect("the text is a master key")
}

/// A file with the master key, readable by its owner only. The same for all tests of this machine's user.
///
/// # Panics
///
/// If it cannot be written.
pub fn master_key_file() -> PathBuf {
    let path = std::env::temp_dir().join("slipstream-tests-master-key");
    if std::fs::read_to_string(&path).is_ok_and(|text| text == MASTER_KEY) {
        return path;
    }
    // Whole or not at all: tests run side by side.
    let draft = path.with_extension(Uuid::new_v4().simple().to_string());
    std::fs::write(&draft, MASTER_KEY).expect("the directory for temporary files can be written");
    std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o600)).expect("the file is ours");
    // Where another user of this machine has a file of that name, ours keeps its own.
    if std::fs::rename(&draft, &path).is_ok() { path } else { draft }
}

/// 96 random bits.
pub fn nonce() -> Nonce {
    let mut nonce = [0; 12];
    // Of a random UUID, six bits are fixed: those are left out.
    let bytes = *Uuid::new_v4().as_bytes();
    nonce[..6].copy_from_slice(&bytes[..6]);
    nonce[6..].copy_from_slice(&bytes[10..]);
    nonce
}

/// The data key of a tenant, which depends on its name only.
pub fn data_key(tenant: &Tenant) -> DataKey {
    let digest = |what: &str| -> [u8; KEY_BYTES] { Sha256::digest(format!("{what} of {tenant}")).into() };
    let mut id = [0; 16];
    id.copy_from_slice(&digest("test key id")[..16]);
    DataKey::new(KeyId::new(id), digest("test key"))
}

/// Its record, wrapped by [`master_key`].
pub fn wrapped_key(tenant: &Tenant) -> WrappedKey {
    let key = data_key(tenant);
    WrappedKey {
        id: key.id(),
        tenant: tenant.clone(),
        wrapped: master_key().wrap(tenant, &key, nonce()),
        created_at: Timestamp::from_millis(1_772_443_800_000),
        revision: 1,
    }
}

/// A secret that is sealed, always the same for the same text, for tests that only store it.
pub fn sealed(text: &str) -> SecretText {
    let place = Place::of_row("test", &"row", "secret");
    data_key(&Tenant::System).seal(&place, [0; 12], text).into()
}

/// What has to be in the bucket for a subscription: the key, and the subscription sealed under it.
///
/// # Panics
///
/// Never: sealing cannot fail.
pub fn records(subscription: &Subscription) -> [Record; 2] {
    let tenant = subscription.tenant();
    let key = data_key(&tenant);
    let sealed =
        subscription.clone().with_secrets(|secret, place| Ok::<_, OpenError>(secret.seal(&key, place, nonce())));
    let sealed = sealed.expect("sealing cannot fail");
    [Record::DataKey(wrapped_key(&tenant)), Record::Subscription(Box::new(sealed))]
}

/// The same of an ECG subscription.
///
/// # Panics
///
/// Never: sealing cannot fail.
pub fn ecg_records(subscription: &EcgSubscription) -> [Record; 2] {
    let tenant = subscription.tenant();
    let key = data_key(&tenant);
    let sealed =
        subscription.clone().with_secrets(|secret, place| Ok::<_, OpenError>(secret.seal(&key, place, nonce())));
    let sealed = sealed.expect("sealing cannot fail");
    [Record::DataKey(wrapped_key(&tenant)), Record::EcgSubscription(Box::new(sealed))]
}

/// The subscription with its secrets opened, by whichever of `keys` each is sealed under.
///
/// # Panics
///
/// If one is sealed under none of them, or does not open.
pub fn opened<'a>(subscription: Subscription, keys: impl IntoIterator<Item = &'a WrappedKey>) -> Subscription {
    let keys: Vec<_> = keys
        .into_iter()
        .map(|it| master_key().unwrap(&it.tenant, it.id, &it.wrapped).expect("the tests' master key wrapped it"))
        .collect();
    let open = |secret: &SecretText, place: &_| match secret.sealed() {
        None => Ok(secret.clone()),
        Some(sealed) => {
            let key = keys.iter().find(|key| key.id() == sealed.key()).expect("its key is among those given");
            key.open(place, sealed)
        }
    };
    subscription.with_secrets(open).expect("it is sealed for its place")
}
