//! Who may do what: accounts and keys, and what we keep of them (SPEC 5.1, 7.2).

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq as _;

use crate::ids::{AccountId, OpenDentalKeyId};
use crate::slug::Slug;

/// Whether an account belongs to us or to a stranger (SPEC 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AccountKind {
    /// A stranger: may publish visibility 0 and 1 only.
    External,
    /// One of our own services.
    Internal,
}

/// What an account may do (SPEC 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub enum Permission {
    /// Publish events (S1, S2).
    #[serde(rename = "Events.Publish")]
    EventsPublish,
    /// Manage webhooks (S3–S5).
    #[serde(rename = "Webhooks.Manage")]
    WebhooksManage,
}

/// The sites an account may act for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SitesAllowed {
    /// Every site, present and coming.
    All,
    /// These and no others.
    Only(Vec<Slug>),
}

impl SitesAllowed {
    /// Whether `site` is among them.
    pub fn contains(&self, site: &Slug) -> bool {
        match self {
            Self::All => true,
            Self::Only(sites) => sites.contains(site),
        }
    }
}

/// A token bucket (SPEC 2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// Tokens in a full bucket.
    pub burst_capacity: u32,
    /// Tokens that come back each second.
    pub tokens_per_second: u32,
}

/// SHA-256 of an API key; what we keep of it. Stored as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyHash([u8; 32]);

/// The text is not the hash of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a SHA-256 in 64 hex digits")]
pub struct NotAKeyHash;

impl KeyHash {
    /// The hash of the whole key.
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    /// Whether this and `other` are equal; compared in constant time.
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    /// The stored text.
    pub fn to_hex(self) -> String {
        self.0.iter().fold(String::with_capacity(64), |mut hex, byte| {
            use fmt::Write as _;
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }
}

impl std::str::FromStr for KeyHash {
    type Err = NotAKeyHash;

    fn from_str(hex: &str) -> Result<Self, NotAKeyHash> {
        let mut hash = [0; 32];
        if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(NotAKeyHash);
        }
        for (at, byte) in hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).map_err(|_| NotAKeyHash)?;
        }
        Ok(Self(hash))
    }
}

impl TryFrom<String> for KeyHash {
    type Error = NotAKeyHash;

    fn try_from(hex: String) -> Result<Self, NotAKeyHash> {
        hex.parse()
    }
}

impl From<KeyHash> for String {
    fn from(hash: KeyHash) -> Self {
        hash.to_hex()
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(***)")
    }
}

/// An API account: who publishes and subscribes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its id; also the first part of its keys.
    pub id: AccountId,
    /// Its name, for people.
    pub display_name: String,
    /// Ours or a stranger's.
    pub kind: AccountKind,
    /// The sites it may act for.
    pub sites: SitesAllowed,
    /// What it may do.
    pub permissions: Vec<Permission>,
    /// Its quota; none means the deployment's default (`auth.quota`), and any amount where that has none.
    pub quota: Option<Quota>,
    /// Hash of the primary key.
    pub primary_key: KeyHash,
    /// Hash of the secondary key.
    pub secondary_key: KeyHash,
    /// See [`Record::revision`].
    pub revision: i64,
}

impl Account {
    /// Whether `key` is one of the account's two keys; both are compared, in constant time.
    pub fn has_key(&self, key: &str) -> bool {
        let hash = KeyHash::of(key);
        self.primary_key.matches(&hash) | self.secondary_key.matches(&hash)
    }
}

/// What a pair of Open Dental keys may be allowed to do (SPEC 7.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OpenDentalPermission {
    /// Make, see, change and remove subscriptions (OD1 to OD5).
    Subscriptions,
    /// Report what happens on a workstation (OD6).
    UiEvents,
    /// Read rows (OD7, OD8).
    Rows,
}

/// A developer's key and a practice's, good together (SPEC 7.2). Valid as long as the record is there.
///
/// The only record without a row in SQL: the surface that will keep these is to come, so whoever runs the practice's
/// side writes and removes it in the bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenDentalKey {
    /// Its id; nothing of the keys.
    pub id: OpenDentalKeyId,
    /// Hash of the developer key.
    pub developer: KeyHash,
    /// Hash of the customer key, which belongs to one practice and one developer.
    pub customer: KeyHash,
    /// The practice whose data it opens.
    pub practice: String,
    /// What it may do.
    pub permissions: Vec<OpenDentalPermission>,
    /// See [`Record::revision`].
    pub revision: i64,
}
