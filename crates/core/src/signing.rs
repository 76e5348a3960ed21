//! How a webhook is signed and verified: Standard Webhooks 1.0.0, symmetric scheme `v1` (SPEC 4.6).
//!
//! The signed content is `{webhook-id}.{webhook-timestamp}.{body}`, over the very bytes that are sent (N12). Entries of
//! other versions in a signature header are skipped, never an error, so that a sender may add one at any time.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

/// What a shown key begins with.
pub const KEY_PREFIX: &str = "whsec_";
/// The fewest bytes of a key.
pub const KEY_BYTES_MIN: usize = 24;
/// The most bytes of a key.
pub const KEY_BYTES_MAX: usize = 64;
/// How far a message's timestamp may be from the receiver's clock, either way, in seconds.
pub const TOLERANCE_SECONDS: u64 = 300;

const VERSION: &str = "v1";
/// `v1,` and 32 bytes in Base64.
const ENTRY_LEN: usize = VERSION.len() + 1 + 44;

/// A signing key with its HMAC state precomputed. Does not print.
#[derive(Clone)]
pub struct Key {
    bytes: Vec<u8>,
    /// Both key blocks are already hashed in here; a clone of it per message saves two of some twenty compressions.
    state: Hmac<Sha256>,
}

/// The text or bytes are not a signing key. Says nothing of what they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// What follows the prefix is not Base64.
    #[error("a signing key is `{KEY_PREFIX}` followed by Base64")]
    NotBase64,
    /// Too short or too long.
    #[error("a signing key has {KEY_BYTES_MIN} to {KEY_BYTES_MAX} bytes")]
    WrongLength,
}

impl Key {
    /// The key from its shown form, with or without the prefix.
    ///
    /// # Errors
    /// When it is not Base64, or not of [`KEY_BYTES_MIN`] to [`KEY_BYTES_MAX`] bytes (so never for an empty text).
    pub fn parse(text: &str) -> Result<Self, BadKey> {
        let encoded = text.strip_prefix(KEY_PREFIX).unwrap_or(text);
        Self::from_bytes(STANDARD.decode(encoded).map_err(|_| BadKey::NotBase64)?)
    }

    /// The key from its raw bytes, which should be random.
    ///
    /// # Errors
    /// Unless there are [`KEY_BYTES_MIN`] to [`KEY_BYTES_MAX`] of them.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, BadKey> {
        if !(KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&bytes.len()) {
            return Err(BadKey::WrongLength);
        }
        let state = Hmac::new_from_slice(&bytes).expect("HMAC takes keys of any length");
        Ok(Self { bytes, state })
    }

    /// The key as its owner sees it: `whsec_` and Base64. A secret.
    pub fn shown(&self) -> String {
        format!("{KEY_PREFIX}{}", STANDARD.encode(&self.bytes))
    }

    fn mac(&self, webhook_id: &str, timestamp: &str, body: &[u8]) -> [u8; 32] {
        let mut mac = self.state.clone();
        for part in [webhook_id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(***)")
    }
}

/// The value of `webhook-signature`: one `v1,…` entry per key, in the keys' order, separated by a space.
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
    let mut header = String::with_capacity(2 * (ENTRY_LEN + 1));
    for key in keys {
        if !header.is_empty() {
            header.push(' ');
        }
        header.push_str(VERSION);
        header.push(',');
        STANDARD.encode_string(key.mac(webhook_id, &timestamp, body), &mut header);
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
/// `v1` entry is compared with every key, in constant time.
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
        let expected = STANDARD.encode(key.mac(webhook_id, timestamp, body));
        for (version, given) in signature.split(' ').filter_map(|entry| entry.split_once(',')) {
            if version == VERSION {
                fits |= expected.as_bytes().ct_eq(given.as_bytes());
            }
        }
    }
    if fits.into() { Ok(()) } else { Err(VerifyError::NoMatch) }
}

#[cfg(test)]
mod tests;
