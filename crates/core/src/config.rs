//! What people configure, as every service sees it: the records of the `config` bucket (DESIGN 3, 4 "Configure").
//!
//! The registry writes them, all other services watch them. A record carries its revision; a reader that has seen a
//! newer one ignores an older one, so that the order of two writers does not matter.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq as _;

use crate::feature::FeatureRef;
use crate::ids::{AccountId, OpenDentalKeyId, SubscriptionId};
use crate::sealing::{KeyId, Place, Sealed, SecretText, Tenant};
use crate::slug::Slug;
use crate::timestamp::Timestamp;

/// A record of the bucket, with the key it stands under.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// `organisation.{slug}`
    Organisation(Organisation),
    /// `site.{slug}`
    Site(Site),
    /// `account.{id}`
    Account(Account),
    /// `subscription.{id}`
    Subscription(Box<Subscription>),
    /// `data_key.{id}`
    DataKey(WrappedKey),
    /// `open_dental_key.{id}`
    OpenDentalKey(OpenDentalKey),
}

impl Record {
    /// The key in the bucket.
    pub fn key(&self) -> String {
        match self {
            Self::Organisation(organisation) => format!("organisation.{}", organisation.slug),
            Self::Site(site) => format!("site.{}", site.slug),
            Self::Account(account) => format!("account.{}", account.id),
            Self::Subscription(subscription) => format!("subscription.{}", subscription.id),
            Self::DataKey(key) => key.record_key(),
            Self::OpenDentalKey(key) => format!("open_dental_key.{}", key.id),
        }
    }

    /// The revision: grows with every change of this record.
    pub fn revision(&self) -> i64 {
        match self {
            Self::Organisation(organisation) => organisation.revision,
            Self::Site(site) => site.revision,
            Self::Account(account) => account.revision,
            Self::Subscription(subscription) => subscription.revision,
            Self::DataKey(key) => key.revision,
            Self::OpenDentalKey(key) => key.revision,
        }
    }

    /// Whether all its secrets are sealed, so that it may be written.
    pub fn is_sealed(&self) -> bool {
        match self {
            Self::Subscription(subscription) => subscription.secrets().all(SecretText::is_sealed),
            Self::Organisation(_) | Self::Site(_) | Self::Account(_) | Self::DataKey(_) | Self::OpenDentalKey(_) => {
                true
            }
        }
    }
}

/// A tenant's data key, wrapped by the master key: who has that can open what is sealed under it (THREATS 5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrappedKey {
    /// Its id, which every value names that is sealed under it.
    pub id: KeyId,
    /// Whose it is.
    pub tenant: Tenant,
    /// The key; names the master key that wrapped it.
    pub wrapped: Sealed,
    /// When it was made.
    pub created_at: Timestamp,
    /// See [`Record::revision`]. Grows when it is wrapped anew, by another master key.
    pub revision: i64,
}

impl WrappedKey {
    /// See [`Record::key`].
    pub fn record_key(&self) -> String {
        format!("data_key.{}", self.id)
    }
}

/// An organisation: owns sites.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Organisation {
    /// Its slug, first letter `o`.
    pub slug: Slug,
    /// Its name, for people.
    pub name: String,
    /// See [`Record::revision`].
    pub revision: i64,
}

/// The practice software of a site (SPEC 5.2, `product`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub enum Product {
    /// For tests.
    Testing,
    /// Software of Excellence EXACT.
    Exact,
    /// Dentally.
    Dentally,
    /// Dentrix Ascend.
    Ascend,
}

impl Product {
    /// The product's name as in the attribute.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Testing => "Testing",
            Self::Exact => "Exact",
            Self::Dentally => "Dentally",
            Self::Ascend => "Ascend",
        }
    }

    /// The product named by [`Product::as_str`].
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Testing, Self::Exact, Self::Dentally, Self::Ascend].into_iter().find(|product| product.as_str() == name)
    }
}

/// A site: the tenant of the Slipstream surface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// Its slug, first letter `s`.
    pub slug: Slug,
    /// Its name, for people.
    pub name: String,
    /// The organisation that owns it.
    pub organisation: Slug,
    /// The organisation that is billed.
    pub billing_organisation: Slug,
    /// Its practice software.
    pub product: Product,
    /// The practice's id in its own software.
    pub pms_specific_id: Option<String>,
    /// See [`Record::revision`].
    pub revision: i64,
}

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

/// Which interface a subscription belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Surface {
    /// Slipstream feature webhooks.
    Slipstream,
}

impl Surface {
    /// The surface as a subject token and as text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Slipstream => "slipstream",
        }
    }
}

/// A header that a subscription adds to each delivery. The value may be a secret and does not print.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionHeader {
    /// An RFC 9110 token.
    pub name: String,
    /// Visible ASCII, sent literally.
    pub value: SecretText,
}

impl fmt::Debug for SubscriptionHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ***", self.name)
    }
}

/// A signing key in its shown form, `whsec_…` or `whsk_…` (SPEC 4.6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningKey {
    /// `whsec_` and Base64 of 24–64 bytes (`v1`), or `whsk_` and Base64 of an Ed25519 seed and public key (`v1a`).
    pub secret: SecretText,
    /// When a rotated key stops signing; none for the current key.
    pub until: Option<Timestamp>,
}

/// Why an endpoint takes no deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DisabledReason {
    /// The receiver answered 410 (SPEC 4.2).
    Gone,
    /// An operator switched it off.
    Operator,
    /// Nothing but failures for days (SPEC 4.4).
    Failing,
}

/// Whether a subscription's endpoint takes deliveries (SPEC 4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndpointState {
    /// It does.
    Active,
    /// Not yet: its surface requires the receiver's consent, and it has not been given (SPEC 3.7, policy `required`).
    Pending,
    /// It does not, and why.
    Disabled(DisabledReason),
}

/// How an endpoint has been answering (SPEC 4.4). A finding, where [`EndpointState`] is a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Nothing is known against it.
    #[default]
    Healthy,
    /// Failures in a row, the first of them at this instant, and no success since.
    Degraded(Timestamp),
}

impl Health {
    fn is_healthy(&self) -> bool {
        *self == Self::Healthy
    }
}

/// Whether the receiver has agreed to be called: the abuse protection of CloudEvents' web hooks (SPEC 3.7).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consent {
    /// It was not asked, and need not be.
    #[default]
    Off,
    /// It was asked in the name of this origin and has not agreed: it is called slowly, if at all.
    NotGranted {
        /// Our DNS name, as it was asked with.
        origin: String,
    },
    /// It agreed.
    Granted {
        /// The value of `WebHook-Request-Origin` on every delivery: what it agreed to.
        origin: String,
        /// Requests per minute that it agreed to; none means any number.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rate_per_minute: Option<u32>,
    },
}

impl Consent {
    fn is_off(&self) -> bool {
        *self == Self::Off
    }
}

/// Requests per minute to a receiver that was asked and has not agreed (SPEC 3.7, policy `optional`).
pub const NOT_GRANTED_RATE_PER_MINUTE: u32 = 60;

/// What an operator allows an endpoint, beside what holds for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EndpointLimits {
    /// Requests per minute, over all dispatchers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_per_minute: Option<u32>,
    /// Requests in flight at once, per dispatcher; never more than the dispatcher's own bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight_max: Option<u32>,
}

impl EndpointLimits {
    fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// A subscription: who wants which events at which endpoint (SPEC 1.2, 5.4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// Its id; a new one each time it is made anew, so that old deliveries never reach a new target.
    pub id: SubscriptionId,
    /// The interface it belongs to.
    pub surface: Surface,
    /// The site whose events it wants.
    pub site: Slug,
    /// The feature it is for.
    pub feature: FeatureRef,
    /// The account that made it.
    pub account: AccountId,
    /// Where deliveries go.
    pub uri: String,
    /// Headers added to each delivery.
    pub headers: Vec<SubscriptionHeader>,
    /// The event types wanted; empty means all of the feature.
    pub event_types: Vec<String>,
    /// Whether its endpoint takes deliveries.
    pub state: EndpointState,
    /// How it has been answering.
    #[serde(default, skip_serializing_if = "Health::is_healthy")]
    pub health: Health,
    /// Whether the receiver has agreed to be called.
    #[serde(default, skip_serializing_if = "Consent::is_off")]
    pub consent: Consent,
    /// What an operator allows it.
    #[serde(default, skip_serializing_if = "EndpointLimits::is_none")]
    pub limits: EndpointLimits,
    /// The keys that sign: the current ones first, newest in front, then those still in their grace period.
    pub signing_keys: Vec<SigningKey>,
    /// See [`Record::revision`].
    pub revision: i64,
}

impl Subscription {
    /// Requests per minute to the endpoint over all dispatchers: the least of what the receiver agreed to and what an
    /// operator allows. None means any number.
    pub fn rate_per_minute(&self) -> Option<u32> {
        let agreed = match &self.consent {
            Consent::Off => None,
            Consent::NotGranted { .. } => Some(NOT_GRANTED_RATE_PER_MINUTE),
            Consent::Granted { rate_per_minute, .. } => *rate_per_minute,
        };
        [agreed, self.limits.rate_per_minute].into_iter().flatten().min()
    }

    /// Whose key seals its secrets.
    pub fn tenant(&self) -> Tenant {
        Tenant::Site(self.site.clone())
    }

    /// Its secrets: header values and signing keys.
    pub fn secrets(&self) -> impl Iterator<Item = &SecretText> {
        let headers = self.headers.iter().map(|header| &header.value);
        headers.chain(self.signing_keys.iter().map(|key| &key.secret))
    }

    /// Itself with each of its secrets replaced by what `change` makes of it in its place: sealed, or opened.
    ///
    /// # Errors
    /// With the first error of `change`.
    pub fn with_secrets<E>(
        mut self,
        mut change: impl FnMut(&SecretText, &Place) -> Result<SecretText, E>,
    ) -> Result<Self, E> {
        for header in &mut self.headers {
            header.value = change(&header.value, &Place::header(self.id, &header.name))?;
        }
        for key in &mut self.signing_keys {
            key.secret = change(&key.secret, &Place::signing_key(self.id))?;
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_print() {
        let header = SubscriptionHeader { name: "X-Key".into(), value: "canary".into() };
        let key = SigningKey { secret: "whsec_canary".into(), until: None };
        let printed = format!("{header:?} {key:?} {:?}", KeyHash::of("canary"));
        assert!(!printed.contains("canary"), "{printed}");
    }

    #[test]
    fn only_the_whole_key_matches_its_hash() {
        let hash = KeyHash::of("id_random");
        assert!(hash.matches(&KeyHash::of("id_random")));
        assert!(!hash.matches(&KeyHash::of("id_rando")) && !hash.matches(&KeyHash::of("")));
        assert_eq!(hash.to_hex().parse(), Ok(hash));
        assert_eq!("abc".parse::<KeyHash>(), Err(NotAKeyHash));
    }
}
