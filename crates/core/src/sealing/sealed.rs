//! The form of what is sealed: `sealed.v1.{key id}.{nonce, text and tag in base64url}`.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{KeyId, NONCE_BYTES, Nonce};

/// What every sealed value begins with.
pub const SEALED_PREFIX: &str = "sealed.v1.";

/// Bytes of the tag behind the text.
const TAG_BYTES: usize = 16;

/// A sealed value. Not a secret: it may be stored, sent and compared.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    pub(super) key: KeyId,
    pub(super) nonce: Nonce,
    /// With the tag at its end.
    pub(super) text: Vec<u8>,
}

/// The text is not a sealed value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a sealed value is `{SEALED_PREFIX}`, the id of its key, `.`, and base64url")]
pub struct NotSealed;

impl Sealed {
    /// The key that opens it.
    pub const fn key(&self) -> KeyId {
        self.key
    }
}

impl fmt::Display for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [self.nonce.as_slice(), &self.text].concat();
        write!(f, "{SEALED_PREFIX}{}.{}", self.key, URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed(under {})", self.key)
    }
}

impl FromStr for Sealed {
    type Err = NotSealed;

    fn from_str(text: &str) -> Result<Self, NotSealed> {
        let (key, encoded) = text.strip_prefix(SEALED_PREFIX).and_then(|rest| rest.split_once('.')).ok_or(NotSealed)?;
        let key = key.parse().map_err(|_| NotSealed)?;
        let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| NotSealed)?;
        let (nonce, text) = bytes.split_first_chunk::<NONCE_BYTES>().ok_or(NotSealed)?;
        if text.len() < TAG_BYTES {
            return Err(NotSealed);
        }
        Ok(Self { key, nonce: *nonce, text: text.to_vec() })
    }
}

impl serde::Serialize for Sealed {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Sealed {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
