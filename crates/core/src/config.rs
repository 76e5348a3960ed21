//! What people configure, as every service sees it: the records of the `config` bucket (DESIGN 3, 4 "Configure").
//!
//! The registry writes them, all other services watch them. A record carries its revision; a reader that has seen a
//! newer one ignores an older one, so that the order of two writers does not matter.

mod account;
mod ecg;
mod subscription;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use self::account::{
    Account, AccountKind, KeyHash, NotAKeyHash, OpenDentalKey, OpenDentalPermission, Permission, Quota, SitesAllowed,
};
pub use self::ecg::{
    EcgCategory, EcgEvent, EcgSecret, EcgSubscription, Flags, PayloadVersion, SECRETS_KNOWN_MAX, Stamps,
};
pub use self::subscription::{
    Consent, DisabledReason, EndpointLimits, EndpointState, Health, NOT_GRANTED_RATE_PER_MINUTE, SigningKey,
    Subscription, SubscriptionHeader, Surface,
};
use crate::sealing::{KeyId, Sealed, SecretText, Tenant};
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
    /// `ecg_category.{id}`
    EcgCategory(EcgCategory),
    /// `ecg_event.{id}`
    EcgEvent(EcgEvent),
    /// `ecg_subscription.{id}`
    EcgSubscription(Box<EcgSubscription>),
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
            Self::EcgCategory(category) => format!("ecg_category.{}", category.id),
            Self::EcgEvent(event) => format!("ecg_event.{}", event.id),
            Self::EcgSubscription(subscription) => format!("ecg_subscription.{}", subscription.id),
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
            Self::EcgCategory(category) => category.revision,
            Self::EcgEvent(event) => event.revision,
            Self::EcgSubscription(subscription) => subscription.revision,
        }
    }

    /// Whether all its secrets are sealed, so that it may be written.
    pub fn is_sealed(&self) -> bool {
        match self {
            Self::Subscription(subscription) => subscription.secrets().all(SecretText::is_sealed),
            Self::EcgSubscription(subscription) => subscription.secrets.iter().all(|it| it.secret.is_sealed()),
            Self::Organisation(_)
            | Self::Site(_)
            | Self::Account(_)
            | Self::DataKey(_)
            | Self::OpenDentalKey(_)
            | Self::EcgCategory(_)
            | Self::EcgEvent(_) => true,
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
    /// The ECG organization that gets posts of its public events, if there is one (SPEC 6.8, "Bridge").
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ecg_organization: Option<Uuid>,
    /// See [`Record::revision`].
    pub revision: i64,
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
