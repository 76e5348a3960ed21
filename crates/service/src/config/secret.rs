//! Settings that must not show.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// The shortest secret that a configuration may hold, in bytes: shorter ones can be guessed.
pub const SECRET_LEN_MIN: usize = 16;

/// Where the master key is that all secrets at rest hang on (THREATS 5); see [`crate::vault`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SecretsConfig {
    /// File with the master key: 32 random bytes as Base64 or hex text, readable by its owner only. Required.
    pub master_key_file: Option<PathBuf>,
    /// File with the master key before it, while the deployment moves to the new one: what either has wrapped is opened.
    /// None by default.
    pub previous_master_key_file: Option<PathBuf>,
}

/// A secret setting: does not print, is not serialised, compares in constant time, and is wiped when dropped (THREATS 5).
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// A secret from its text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The secret itself. Every call is a place where it may leak.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `text` is the secret; the time taken tells nothing but the length.
    pub fn matches(&self, text: &str) -> bool {
        self.0.as_bytes().ct_eq(text.as_bytes()).into()
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.matches(&other.0)
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        if text.len() < SECRET_LEN_MIN {
            return Err(serde::de::Error::custom(format!("a secret has at least {SECRET_LEN_MIN} bytes")));
        }
        Ok(Self(text))
    }
}
