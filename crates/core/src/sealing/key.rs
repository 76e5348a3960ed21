//! The keys of both levels. None of them prints, and all are wiped when they are dropped.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, UnboundKey};
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize as _, Zeroizing};

use super::{KEY_BYTES, Nonce, OpenError, Place, Sealed, SecretText, Tenant};

/// What is hashed in front of a master key to get its id.
const MASTER_ID_LABEL: &[u8] = b"slipstream master key v1\n";

/// What a key is called. Tells nothing of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 16]);

/// The text is not the id of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key id has 32 lower-case hex digits")]
pub struct NotAKeyId;

impl KeyId {
    /// The id with these bytes; for a data key they are random.
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for KeyId {
    type Err = NotAKeyId;

    fn from_str(text: &str) -> Result<Self, NotAKeyId> {
        if text.len() != 32 || !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(NotAKeyId);
        }
        let mut bytes = [0; 16];
        hex(text, &mut bytes).map(|()| Self(bytes)).ok_or(NotAKeyId)
    }
}

impl serde::Serialize for KeyId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for KeyId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Fills `bytes` from as many pairs of hex digits; none if `text` is not that.
fn hex(text: &str, bytes: &mut [u8]) -> Option<()> {
    if text.len() != 2 * bytes.len() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(())
}

/// 256 bits with a name: what both levels of keys are.
#[derive(Clone)]
struct Key {
    id: KeyId,
    bytes: Zeroizing<[u8; KEY_BYTES]>,
}

impl Key {
    /// Expanded anew for each use: what is kept is wiped, and ring does not wipe what it expands.
    fn aead(&self) -> LessSafeKey {
        let key =
            UnboundKey::new(&AES_256_GCM, self.bytes.as_slice()).expect("a key has as many bytes as the cipher takes");
        LessSafeKey::new(key)
    }

    /// What is authenticated beside the text: the form, the key's name and the place.
    fn associated_data(&self, place: &str) -> Aad<Vec<u8>> {
        Aad::from(format!("slipstream sealed v1\n{}\n{place}", self.id).into_bytes())
    }

    fn seal(&self, place: &str, nonce: Nonce, plaintext: &[u8]) -> Sealed {
        // Room for the tag too, so that no copy of the text is left behind when it is added.
        let mut text = Vec::with_capacity(plaintext.len() + AES_256_GCM.tag_len());
        text.extend_from_slice(plaintext);
        let with = ring::aead::Nonce::assume_unique_for_key(nonce);
        self.aead()
            .seal_in_place_append_tag(with, self.associated_data(place), &mut text)
            .expect("what is sealed is far shorter than the cipher's limit of 64 GiB");
        Sealed { key: self.id, nonce, text }
    }

    fn open(&self, place: &str, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        if sealed.key != self.id {
            return Err(OpenError::OtherKey { named: sealed.key, given: self.id });
        }
        let mut text = Zeroizing::new(sealed.text.clone());
        let with = ring::aead::Nonce::assume_unique_for_key(sealed.nonce);
        let opened = self.aead().open_in_place(with, self.associated_data(place), &mut text);
        let len = opened.map_err(|_| OpenError::Refused)?.len();
        text.truncate(len);
        Ok(text)
    }
}

/// The one key that wraps all data keys. Does not print; wiped when dropped.
#[derive(Clone)]
pub struct MasterKey(Key);

/// The text is not a master key. Says nothing of what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a master key is {KEY_BYTES} bytes as Base64 or as {} hex digits, and nothing else", 2 * KEY_BYTES)]
pub struct BadMasterKey;

impl MasterKey {
    /// The key of these bytes, which should be random.
    pub fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        let bytes = Zeroizing::new(bytes);
        let digest = Sha256::new().chain_update(MASTER_ID_LABEL).chain_update(bytes.as_slice()).finalize();
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        Self(Key { id: KeyId(id), bytes })
    }

    /// The key from the text of its file: Base64 (either alphabet, padded or not) or hex; white space around it is ignored.
    ///
    /// # Errors
    /// Unless it is that, of [`KEY_BYTES`] bytes.
    pub fn parse(text: &str) -> Result<Self, BadMasterKey> {
        let text = text.trim();
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        if hex(text, bytes.as_mut_slice()).is_some() {
            return Ok(Self::from_bytes(*bytes));
        }
        for engine in [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD] {
            if let Ok(decoded) = engine.decode(text).map(Zeroizing::new)
                && decoded.len() == KEY_BYTES
            {
                bytes.copy_from_slice(&decoded);
                return Ok(Self::from_bytes(*bytes));
            }
        }
        Err(BadMasterKey)
    }

    /// Its name: a hash of it.
    pub const fn id(&self) -> KeyId {
        self.0.id
    }

    /// Wraps the data key of `tenant`.
    pub fn wrap(&self, tenant: &Tenant, key: &DataKey, nonce: Nonce) -> Sealed {
        self.0.seal(&wrapped_place(tenant, key.id()), nonce, key.0.bytes.as_slice())
    }

    /// The data key `id` of `tenant`.
    ///
    /// # Errors
    /// When it is wrapped by another master key, or is not that key of that tenant.
    pub fn unwrap(&self, tenant: &Tenant, id: KeyId, wrapped: &Sealed) -> Result<DataKey, OpenError> {
        let opened = self.0.open(&wrapped_place(tenant, id), wrapped)?;
        let mut bytes: [u8; KEY_BYTES] = opened.as_slice().try_into().map_err(|_| OpenError::WrongForm)?;
        let key = DataKey::new(id, bytes);
        bytes.zeroize();
        Ok(key)
    }
}

fn wrapped_place(tenant: &Tenant, id: KeyId) -> String {
    format!("data-key/{id}/of/{tenant}")
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({}, ***)", self.0.id)
    }
}

/// A tenant's key, which seals its secrets. Does not print; wiped when dropped.
#[derive(Clone)]
pub struct DataKey(Key);

impl DataKey {
    /// The key of these bytes, which should be random, as the id should.
    pub fn new(id: KeyId, bytes: [u8; KEY_BYTES]) -> Self {
        Self(Key { id, bytes: Zeroizing::new(bytes) })
    }

    /// Its name.
    pub const fn id(&self) -> KeyId {
        self.0.id
    }

    /// Seals `plaintext` for `place`.
    pub fn seal(&self, place: &Place, nonce: Nonce, plaintext: &str) -> Sealed {
        self.0.seal(place.as_str(), nonce, plaintext.as_bytes())
    }

    /// Opens what was sealed for `place`.
    ///
    /// # Errors
    /// When it was sealed under another key or for another place, or was changed since.
    pub fn open(&self, place: &Place, sealed: &Sealed) -> Result<SecretText, OpenError> {
        let opened = self.0.open(place.as_str(), sealed)?;
        let text = std::str::from_utf8(&opened).map_err(|_| OpenError::WrongForm)?;
        Ok(SecretText::new(text))
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DataKey({}, ***)", self.0.id)
    }
}
