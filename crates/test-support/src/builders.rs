//! Records and events with sensible defaults, so that a test names only what it is about.
//!
//! The defaults belong together: the site [`SITE`] of organisation [`ORGANISATION`], an account that may do
//! everything on all sites, and public letter events, which the feature `physicalpost` delivers.

use slipstream_core::config::{
    Account, AccountKind, Consent, EndpointLimits, EndpointState, Health, KeyHash, Organisation, Permission, Product,
    Quota, SigningKey, Site, SitesAllowed, Subscription, SubscriptionHeader, Surface,
};
use slipstream_core::feature::FeatureRef;
use slipstream_core::ids::{AccountId, SubscriptionId};
use slipstream_core::slug::Slug;
use uuid::Uuid;

pub mod ecg;
mod event;

pub use event::{EventBuilder, batch, event};

/// The slug of the default site.
pub const SITE: &str = "s8n6EzC";
/// The slug of the default organisation.
pub const ORGANISATION: &str = "o4fKq2";
/// The event types of the feature `physicalpost`, the first of which is the default event's.
pub const LETTER_TYPES: [&str; 3] =
    ["communications.letter.created", "communications.letter.creation_failed", "communications.letter.status_updated"];
/// A signing key in its shown form, for subscriptions that name no other.
pub const SIGNING_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// The slug with this text.
///
/// # Panics
///
/// If it is malformed.
pub fn slug(text: &str) -> Slug {
    text.parse().unwrap_or_else(|error| panic!("{text:?} is no slug: {error}"))
}

/// The default organisation.
pub fn organisation() -> Organisation {
    Organisation { slug: slug(ORGANISATION), name: "Smiles Ltd".to_owned(), revision: 1 }
}

/// A site of the default organisation; give [`SITE`] for the default one.
pub fn site(slug_text: &str) -> Site {
    Site {
        slug: slug(slug_text),
        name: format!("Practice {slug_text}"),
        organisation: slug(ORGANISATION),
        billing_organisation: slug(ORGANISATION),
        product: Product::Testing,
        pms_specific_id: None,
        ecg_organization: None,
        revision: 1,
    }
}

/// An account together with its keys, which the record itself holds only as hashes.
#[derive(Debug, Clone)]
pub struct AccountWithKeys {
    /// The record.
    pub account: Account,
    /// The primary key in plain text.
    pub primary_key: String,
    /// The secondary key in plain text.
    pub secondary_key: String,
}

/// A new internal account with all permissions on all sites, without quota.
pub fn account() -> AccountWithKeys {
    let id = AccountId(Uuid::new_v4());
    let key = || format!("{id}_{}", Uuid::new_v4().simple());
    let (primary_key, secondary_key) = (key(), key());
    let account = Account {
        id,
        display_name: "Test account".to_owned(),
        kind: AccountKind::Internal,
        sites: SitesAllowed::All,
        permissions: vec![Permission::EventsPublish, Permission::WebhooksManage],
        quota: None,
        primary_key: KeyHash::of(&primary_key),
        secondary_key: KeyHash::of(&secondary_key),
        revision: 1,
    };
    AccountWithKeys { account, primary_key, secondary_key }
}

impl AccountWithKeys {
    /// Makes it a stranger's.
    #[must_use]
    pub const fn external(mut self) -> Self {
        self.account.kind = AccountKind::External;
        self
    }

    /// Allows these sites only.
    #[must_use]
    pub fn only_sites(mut self, sites: &[&str]) -> Self {
        self.account.sites = SitesAllowed::Only(sites.iter().map(|text| slug(text)).collect());
        self
    }

    /// Allows this only.
    #[must_use]
    pub fn permissions(mut self, permissions: &[Permission]) -> Self {
        self.account.permissions = permissions.to_vec();
        self
    }

    /// Sets a quota.
    #[must_use]
    pub const fn quota(mut self, burst_capacity: u32, tokens_per_second: u32) -> Self {
        self.account.quota = Some(Quota { burst_capacity, tokens_per_second });
        self
    }
}

/// A new active subscription of `physicalpost` for all its types, signed with [`SIGNING_SECRET`].
pub fn subscription(site: &str, account: AccountId, uri: impl Into<String>) -> Subscription {
    Subscription {
        id: SubscriptionId(Uuid::new_v4()),
        surface: Surface::Slipstream,
        site: slug(site),
        feature: FeatureRef::by_name("physicalpost").expect("the feature is in the table"),
        account,
        uri: uri.into(),
        headers: Vec::new(),
        event_types: Vec::new(),
        state: EndpointState::Active,
        health: Health::Healthy,
        consent: Consent::Off,
        limits: EndpointLimits::default(),
        signing_keys: vec![SigningKey { secret: SIGNING_SECRET.into(), until: None }],
        revision: 1,
    }
}

/// A header of a subscription.
pub fn header(name: &str, value: &str) -> SubscriptionHeader {
    SubscriptionHeader { name: name.to_owned(), value: value.into() }
}
