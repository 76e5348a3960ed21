//! What is configured through the ECG surface: categories, events and subscriptions (SPEC 6.4–6.6).
//!
//! Deleted ones stay as records without secrets, so that the history of posts can still name them.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Consent, EndpointLimits, EndpointState, Health, SigningKey, Subscription, SubscriptionHeader, Surface};
use crate::feature::FeatureRef;
use crate::ids::{AccountId, EcgCategoryId, EcgEventId, EcgSecretId, SubscriptionId};
use crate::limits::ROTATED_KEY_GRACE;
use crate::sealing::{Place, SecretText, Tenant};
use crate::slug::Slug;
use crate::timestamp::Timestamp;

/// Two flags that do not depend on each other, and when each was last changed (`activeInfo`, `archiveInfo`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flags {
    /// Whether it is switched on.
    pub active: bool,
    /// When that last changed.
    pub active_changed_at: Timestamp,
    /// Whether it is put away. Nothing is dispatched then, whatever `active` says.
    pub archived: bool,
    /// When that last changed.
    pub archived_changed_at: Timestamp,
}

impl Flags {
    /// Of something made at `now`.
    pub const fn new(active: bool, now: Timestamp) -> Self {
        Self { active, active_changed_at: now, archived: false, archived_changed_at: now }
    }

    /// Whether it is switched on and not put away.
    pub const fn is_on(&self) -> bool {
        self.active && !self.archived
    }
}

/// Who made something and who last changed it, and when (`auditInfo`). The UUIDs are `sub` claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamps {
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: Uuid,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Who last changed it.
    pub updated_by: Uuid,
}

impl Stamps {
    /// Of something that `by` makes at `now`.
    pub const fn new(by: Uuid, now: Timestamp) -> Self {
        Self { created_at: now, created_by: by, updated_at: now, updated_by: by }
    }

    /// The same after `by` has changed it at `now`.
    #[must_use]
    pub const fn changed(self, by: Uuid, now: Timestamp) -> Self {
        Self { updated_at: now, updated_by: by, ..self }
    }
}

/// A category of events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EcgCategory {
    /// Its id.
    pub id: EcgCategoryId,
    /// Its name, for people.
    pub name: String,
    /// Its code; unique among the living, without case.
    pub code: String,
    /// What it is, for people.
    pub description: Option<String>,
    /// Its flags.
    pub flags: Flags,
    /// Who and when.
    pub stamps: Stamps,
    /// Whether it was deleted.
    pub deleted: bool,
    /// See [`super::Record::revision`].
    pub revision: i64,
}

/// A kind of event that can be subscribed to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EcgEvent {
    /// Its id.
    pub id: EcgEventId,
    /// Its category.
    pub category: EcgCategoryId,
    /// Its name, for people.
    pub name: String,
    /// Its code; unique together with `version` among the living, without case.
    pub code: String,
    /// The version of what it means, `v` and a number; not that of a payload.
    pub version: String,
    /// What it is, for people.
    pub description: Option<String>,
    /// Its flags.
    pub flags: Flags,
    /// Who and when.
    pub stamps: Stamps,
    /// Whether it was deleted.
    pub deleted: bool,
    /// See [`super::Record::revision`].
    pub revision: i64,
}

/// How a payload is laid out (SPEC 6.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PayloadVersion {
    /// `eventType`, `version` and `data`.
    #[default]
    V1,
    /// A CloudEvents 1.0 event as JSON.
    V2,
}

impl PayloadVersion {
    /// The version's text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }

    /// The version named by [`PayloadVersion::as_str`].
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::V1, Self::V2].into_iter().find(|version| version.as_str() == name)
    }
}

/// A secret of a subscription, good for what is made in `[valid_from, valid_to)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EcgSecret {
    /// Its id.
    pub id: EcgSecretId,
    /// The secret: 8 to 256 characters of printable ASCII.
    pub secret: SecretText,
    /// From when on.
    pub valid_from: Timestamp,
    /// Until when; none for the current one.
    pub valid_to: Option<Timestamp>,
}

/// How many secrets of a subscription its record holds, the newest. SQL has all of them; a hash made under an older one
/// is not found valid any more.
pub const SECRETS_KNOWN_MAX: usize = 500;

/// How many secrets sign at most, the newest: each is a signature in a header of every attempt.
const SIGNING_KEYS_MAX: usize = 8;

/// A subscription of an organization.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EcgSubscription {
    /// Its id.
    pub id: SubscriptionId,
    /// Whose it is.
    pub organization: Uuid,
    /// Where posts go; without it, it cannot be active.
    pub post_uri: Option<String>,
    /// How payloads that we make for it are laid out.
    pub version: PayloadVersion,
    /// The events it is for, in the order they were given.
    pub events: Vec<EcgEventId>,
    /// Whether it is one for trying out: `http` and private targets on the operator's list are allowed, and a post is
    /// attempted three times at most.
    pub is_development: bool,
    /// Its flags.
    pub flags: Flags,
    /// Who and when.
    pub stamps: Stamps,
    /// How it has been answering.
    #[serde(default)]
    pub health: Health,
    /// Its secrets, the newest first, at most [`SECRETS_KNOWN_MAX`]; none once it is deleted.
    pub secrets: Vec<EcgSecret>,
    /// Whether it was deleted.
    pub deleted: bool,
    /// See [`super::Record::revision`].
    pub revision: i64,
}

impl EcgSubscription {
    /// The tenant, as the engine names it.
    pub fn site(&self) -> Slug {
        Slug::of_organization(self.organization)
    }

    /// Whose key seals its secrets.
    pub fn tenant(&self) -> Tenant {
        Tenant::Organization(self.organization)
    }

    /// The secret that is good for what is made at `at` (SPEC 6.6).
    pub fn secret_at(&self, at: Timestamp) -> Option<&EcgSecret> {
        self.secrets.iter().find(|it| it.valid_from <= at && it.valid_to.is_none_or(|to| at < to))
    }

    /// The current secret.
    pub fn secret(&self) -> Option<&EcgSecret> {
        self.secrets.iter().find(|it| it.valid_to.is_none())
    }

    /// Itself with each of its secrets replaced by what `change` makes of it in its place: sealed, or opened.
    ///
    /// # Errors
    /// With the first error of `change`.
    pub fn with_secrets<E>(
        mut self,
        mut change: impl FnMut(&SecretText, &Place) -> Result<SecretText, E>,
    ) -> Result<Self, E> {
        for secret in &mut self.secrets {
            secret.secret = change(&secret.secret, &Place::ecg_secret(self.id))?;
        }
        Ok(self)
    }

    /// What the engine delivers to. Its signing keys are the raw secrets, each until the end of its grace: see
    /// [`crate::ecg::signing_key`].
    pub fn endpoint(&self) -> Subscription {
        let state = if self.flags.is_on() { EndpointState::Active } else { EndpointState::Paused };
        let signing_keys = self.secrets.iter().take(SIGNING_KEYS_MAX).map(|secret| SigningKey {
            secret: secret.secret.clone(),
            until: secret.valid_to.map(|to| to.after(ROTATED_KEY_GRACE)),
        });
        Subscription {
            id: self.id,
            surface: Surface::Ecg,
            site: self.site(),
            feature: FeatureRef::ECG,
            account: AccountId(Uuid::nil()),
            uri: self.post_uri.clone().unwrap_or_default(),
            headers: Vec::<SubscriptionHeader>::new(),
            event_types: Vec::new(),
            state,
            health: self.health,
            consent: Consent::Off,
            limits: EndpointLimits::default(),
            signing_keys: signing_keys.collect(),
            revision: self.revision,
        }
    }
}
