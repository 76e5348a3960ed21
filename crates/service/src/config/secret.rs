//! Settings that must not show.

use std::fmt;

use serde::{Deserialize, Deserializer};
use subtle::ConstantTimeEq as _;

/// The shortest secret that a configuration may hold, in bytes: shorter ones can be guessed.
pub const SECRET_LEN_MIN: usize = 16;

/// A secret setting: does not print, is not serialised, and compares in constant time (THREATS 5).
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// A secret from its text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
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
        let text = String::deserialize(deserializer)?;
        if text.len() < SECRET_LEN_MIN {
            return Err(serde::de::Error::custom(format!("a secret has at least {SECRET_LEN_MIN} bytes")));
        }
        Ok(Self(text))
    }
}
