//! How a webhook is signed and verified: Standard Webhooks 1.0.0, symmetric scheme `v1` and asymmetric scheme `v1a`
//! (SPEC 4.6).
//!
//! The signed content is `{webhook-id}.{webhook-timestamp}.{body}`, over the very bytes that are sent (N12). Entries of
//! other versions in a signature header are skipped, never an error, so that a sender may add one at any time.

mod ed25519;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use self::ed25519::KeyPair;
pub use self::ed25519::{PUBLIC_KEY_PREFIX, PublicKey, SECRET_KEY_PREFIX, SEED_BYTES};

/// What a shown symmetric key begins with.
pub const KEY_PREFIX: &str = "whsec_";
/// The fewest bytes of a symmetric key.
pub const KEY_BYTES_MIN: usize = 24;
/// The most bytes of a symmetric key.
pub const KEY_BYTES_MAX: usize = 64;
/// How far a message's timestamp may be from the receiver's clock, either way, in seconds.
pub const TOLERANCE_SECONDS: u64 = 300;

/// `v1a,` and 64 bytes in Base64: the longest entry.
const ENTRY_LEN_MAX: usize = 4 + 88;

/// How a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `v1`: HMAC-SHA256 with a key that both sides have.
    V1,
    /// `v1a`: Ed25519; the receiver has the public half only.
    V1a,
}

impl Scheme {
    /// The scheme as it stands in front of a signature.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V1a => "v1a",
        }
    }

    /// The scheme named by [`Scheme::as_str`].
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::V1, Self::V1a].into_iter().find(|scheme| scheme.as_str() == name)
    }
}

/// A key that signs or verifies. Does not print; wiped when dropped, save for what ring keeps of an Ed25519 key.
#[derive(Clone)]
pub struct Key(Kind);

#[derive(Clone)]
enum Kind {
    Symmetric {
        bytes: Zeroizing<Vec<u8>>,
        /// Both key blocks are already hashed in here; a clone of it per message saves two of some twenty compressions.
        state: Hmac<Sha256>,
    },
    Pair(KeyPair),
    /// Verifies only.
    Public(PublicKey),
}

/// The text or bytes are not a signing key. Says nothing of what they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// What follows the prefix is not Base64.
    #[error("a signing key is `{KEY_PREFIX}`, `{SECRET_KEY_PREFIX}` or `{PUBLIC_KEY_PREFIX}` followed by Base64")]
    NotBase64,
    /// Too short or too long.
    #[error("a symmetric key has {KEY_BYTES_MIN} to {KEY_BYTES_MAX} bytes, an Ed25519 key 64 and its public half 32")]
    WrongLength,
    /// The two halves of an Ed25519 key do not belong together.
    #[error("the public half of the key does not belong to its seed")]
    NotAPair,
}

impl Key {
    /// The key from its shown form: `whsec_…` (or without prefix), `whsk_…`, or `whpk_…`, which verifies only.
    ///
    /// # Errors
    /// When it is not Base64, not of the right length (so never for an empty text), or its halves do not match.
    pub fn parse(text: &str) -> Result<Self, BadKey> {
        let decode = |encoded: &str| STANDARD.decode(encoded).map(Zeroizing::new).map_err(|_| BadKey::NotBase64);
        if let Some(encoded) = text.strip_prefix(SECRET_KEY_PREFIX) {
            return Ok(Self(Kind::Pair(KeyPair::from_bytes(&decode(encoded)?)?)));
        }
        if let Some(encoded) = text.strip_prefix(PUBLIC_KEY_PREFIX) {
            return Ok(Self(Kind::Public(PublicKey::from_bytes(&decode(encoded)?)?)));
        }
        Self::symmetric(decode(text.strip_prefix(KEY_PREFIX).unwrap_or(text))?)
    }

    /// The symmetric key from its raw bytes, which should be random.
    ///
    /// # Errors
    /// Unless there are [`KEY_BYTES_MIN`] to [`KEY_BYTES_MAX`] of them.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, BadKey> {
        Self::symmetric(Zeroizing::new(bytes))
    }

    /// The symmetric key from bytes that somebody chose, of any length: the secrets of the ECG surface (SPEC 4.6, 6.6).
    pub fn from_any_bytes(bytes: Vec<u8>) -> Self {
        Self::of_bytes(Zeroizing::new(bytes))
    }

    fn symmetric(bytes: Zeroizing<Vec<u8>>) -> Result<Self, BadKey> {
        if !(KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&bytes.len()) {
            return Err(BadKey::WrongLength);
        }
        Ok(Self::of_bytes(bytes))
    }

    fn of_bytes(bytes: Zeroizing<Vec<u8>>) -> Self {
        let state = Hmac::new_from_slice(&bytes).expect("HMAC takes keys of any length");
        Self(Kind::Symmetric { bytes, state })
    }

    /// The Ed25519 key of a seed, which should be random.
    pub fn from_seed(seed: [u8; SEED_BYTES]) -> Self {
        Self(Kind::Pair(KeyPair::from_seed(seed)))
    }

    /// The key as its owner sees it: prefix and Base64. A secret, unless it is a public key.
    pub fn shown(&self) -> String {
        match &self.0 {
            Kind::Symmetric { bytes, .. } => format!("{KEY_PREFIX}{}", STANDARD.encode(bytes.as_slice())),
            Kind::Pair(pair) => pair.shown(),
            Kind::Public(public) => public.shown(),
        }
    }

    /// How it signs or verifies.
    pub const fn scheme(&self) -> Scheme {
        match &self.0 {
            Kind::Symmetric { .. } => Scheme::V1,
            Kind::Pair(_) | Kind::Public(_) => Scheme::V1a,
        }
    }

    /// The half that receivers may know; none of a symmetric key.
    pub fn public(&self) -> Option<PublicKey> {
        match &self.0 {
            Kind::Symmetric { .. } => None,
            Kind::Pair(pair) => Some(pair.public()),
            Kind::Public(public) => Some(*public),
        }
    }

    /// Whether `given`, the Base64 text of a signature entry, is this key's signature of the message.
    fn fits(&self, webhook_id: &str, timestamp: &str, body: &[u8], given: &str) -> subtle::Choice {
        match &self.0 {
            Kind::Symmetric { state, .. } => {
                let expected = STANDARD.encode(mac(state, webhook_id, timestamp, body));
                expected.as_bytes().ct_eq(given.as_bytes())
            }
            Kind::Pair(pair) => u8::from(pair.public().verifies(webhook_id, timestamp, body, given)).into(),
            Kind::Public(public) => u8::from(public.verifies(webhook_id, timestamp, body, given)).into(),
        }
    }
}

fn mac(state: &Hmac<Sha256>, webhook_id: &str, timestamp: &str, body: &[u8]) -> [u8; 32] {
    let mut mac = state.clone();
    for part in [webhook_id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(***)")
    }
}

/// The value of `webhook-signature`: one `v1,…` or `v1a,…` entry per key that can sign, in the keys' order, separated
/// by a space.
///
/// During a rotation `keys` are the new key and those still in their grace period. `webhook_id` must not contain `.`.
pub fn sign<'a>(
    keys: impl IntoIterator<Item = &'a Key>,
    webhook_id: &str,
    timestamp_seconds: i64,
    body: &[u8],
) -> String {
    debug_assert!(!webhook_id.contains('.'), "an id with a dot makes the signed content ambiguous");
    let timestamp = timestamp_seconds.to_string();
    let mut header = String::with_capacity(2 * (ENTRY_LEN_MAX + 1));
    let mut entry = |scheme: Scheme, signature: &[u8]| {
        if !header.is_empty() {
            header.push(' ');
        }
        header.push_str(scheme.as_str());
        header.push(',');
        STANDARD.encode_string(signature, &mut header);
    };
    for Key(kind) in keys {
        match kind {
            Kind::Symmetric { state, .. } => entry(Scheme::V1, &mac(state, webhook_id, &timestamp, body)),
            Kind::Pair(pair) => entry(Scheme::V1a, &pair.sign(webhook_id, &timestamp, body)),
            Kind::Public(_) => {}
        }
    }
    header
}

/// Why a message is not to be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The receiver knows no key.
    #[error("no key to verify with")]
    NoKey,
    /// A header is missing or empty, or the id contains a dot.
    #[error("`{0}` is missing or malformed")]
    BadHeader(&'static str),
    /// The timestamp is too far in the past: perhaps a replay.
    #[error("the timestamp is more than {TOLERANCE_SECONDS} s old")]
    TooOld,
    /// The timestamp is too far in the future.
    #[error("the timestamp is more than {TOLERANCE_SECONDS} s ahead")]
    TooNew,
    /// No entry of a known version fits any key.
    #[error("no signature fits")]
    NoMatch,
}

/// Checks a received message; a missing header is passed as an empty text.
///
/// `timestamp` and `signature` are the raw header values, `now_seconds` the receiver's clock in Unix seconds. Every
/// entry is compared with every key of its version, in constant time where the key is a secret.
///
/// # Errors
/// When the message is not signed by one of `keys`, or not of these [`TOLERANCE_SECONDS`].
pub fn verify(
    keys: &[Key],
    webhook_id: &str,
    timestamp: &str,
    signature: &str,
    body: &[u8],
    now_seconds: i64,
) -> Result<(), VerifyError> {
    if keys.is_empty() {
        return Err(VerifyError::NoKey);
    }
    if webhook_id.is_empty() || webhook_id.contains('.') {
        return Err(VerifyError::BadHeader("webhook-id"));
    }
    if signature.is_empty() {
        return Err(VerifyError::BadHeader("webhook-signature"));
    }
    // `parse` alone would take a sign, and `+5` and `5` would be two texts for one time.
    let seconds: i64 = Some(timestamp)
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
        .ok_or(VerifyError::BadHeader("webhook-timestamp"))?;
    if now_seconds.abs_diff(seconds) > TOLERANCE_SECONDS {
        return Err(if seconds < now_seconds { VerifyError::TooOld } else { VerifyError::TooNew });
    }
    let mut fits = subtle::Choice::from(0);
    for key in keys {
        for (version, given) in signature.split(' ').filter_map(|entry| entry.split_once(',')) {
            if version == key.scheme().as_str() {
                fits |= key.fits(webhook_id, timestamp, body, given);
            }
        }
    }
    if fits.into() { Ok(()) } else { Err(VerifyError::NoMatch) }
}

#[cfg(test)]
mod tests;
