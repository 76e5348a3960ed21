//! Subscriptions and their endpoints (SPEC 1.2, 5.4).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::feature::FeatureRef;
use crate::ids::{AccountId, SubscriptionId};
use crate::sealing::{Place, SecretText, Tenant};
use crate::slug::Slug;
use crate::timestamp::Timestamp;

/// Which interface a subscription belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Surface {
    /// Slipstream feature webhooks.
    Slipstream,
    /// The ECG Webhooks Module.
    Ecg,
}

impl Surface {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Slipstream, Self::Ecg];

    /// The surface as a subject token and as text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Slipstream => "slipstream",
            Self::Ecg => "ecg",
        }
    }

    /// The surface named by [`Surface::as_str`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|surface| surface.as_str() == name)
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
    /// Not now: it was switched off or put away by whoever owns it. What waits for it goes on waiting (SPEC 6.5).
    Paused,
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
