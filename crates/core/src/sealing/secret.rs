//! A secret as it stands in a record: sealed, or open in memory.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::{DataKey, Nonce, OpenError, Place, Sealed};

/// A secret, sealed or open. Does not print, is wiped when dropped, and is compared in constant time.
///
/// Reading it (from a row, from the `config` bucket) takes either form: what an older release wrote in clear can still be
/// read. Writing it works only while it is sealed and is an error otherwise, so that no secret is stored by oversight.
#[derive(Clone)]
pub struct SecretText(Form);

#[derive(Clone)]
enum Form {
    Open(Zeroizing<String>),
    Sealed(Sealed),
}

/// The secret is sealed, and nobody has opened it: its key is not known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the secret is still sealed")]
pub struct StillSealed;

impl SecretText {
    /// An open secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Form::Open(Zeroizing::new(text.into())))
    }

    /// The secret itself. Every call is a place where it may leak.
    ///
    /// # Errors
    /// While it is sealed.
    pub fn expose(&self) -> Result<&str, StillSealed> {
        match &self.0 {
            Form::Open(text) => Ok(text),
            Form::Sealed(_) => Err(StillSealed),
        }
    }

    /// Its sealed form; none while it is open.
    pub const fn sealed(&self) -> Option<&Sealed> {
        match &self.0 {
            Form::Open(_) => None,
            Form::Sealed(sealed) => Some(sealed),
        }
    }

    /// Whether it is sealed.
    pub const fn is_sealed(&self) -> bool {
        self.sealed().is_some()
    }

    /// Seals it for `place`; one that is sealed already stays as it is.
    #[must_use]
    pub fn seal(&self, key: &DataKey, place: &Place, nonce: Nonce) -> Self {
        match &self.0 {
            Form::Open(text) => key.seal(place, nonce, text).into(),
            Form::Sealed(_) => self.clone(),
        }
    }

    /// Opens it, as it was sealed for `place`; one that is open already stays as it is.
    ///
    /// # Errors
    /// When it does not open, see [`DataKey::open`].
    pub fn open(&self, key: &DataKey, place: &Place) -> Result<Self, OpenError> {
        match &self.0 {
            Form::Open(_) => Ok(self.clone()),
            Form::Sealed(sealed) => key.open(place, sealed),
        }
    }
}

impl From<String> for SecretText {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<&str> for SecretText {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<Sealed> for SecretText {
    fn from(sealed: Sealed) -> Self {
        Self(Form::Sealed(sealed))
    }
}

impl PartialEq for SecretText {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Form::Open(one), Form::Open(other)) => one.as_bytes().ct_eq(other.as_bytes()).into(),
            (Form::Sealed(one), Form::Sealed(other)) => one == other,
            _ => false,
        }
    }
}

impl Eq for SecretText {}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Form::Open(_) => Err(serde::ser::Error::custom("a secret that is not sealed is not written")),
            Form::Sealed(sealed) => sealed.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        Ok(match text.parse::<Sealed>() {
            Ok(sealed) => sealed.into(),
            Err(_) => Self(Form::Open(text)),
        })
    }
}
