//! Features: what a Slipstream site can subscribe webhooks to (SPEC 5.4, 5.5).
//!
//! Adding a feature beside `physicalpost` is an entry in [`FEATURES`]; no other code changes.

use serde::{Deserialize, Serialize};

/// One entry of the table: a feature and the event types it is made of.
#[derive(Debug, PartialEq, Eq)]
pub struct Feature {
    /// The name in the path: `/sites/{slug}/webhooks/features/{name}`.
    pub name: &'static str,
    /// The event types its subscribers may receive.
    pub event_types: &'static [&'static str],
    /// The `Content-Type` of its deliveries.
    pub content_type: &'static str,
}

/// Every feature there is.
pub const FEATURES: &[Feature] = &[Feature {
    name: "physicalpost",
    event_types: &[
        "communications.letter.created",
        "communications.letter.creation_failed",
        "communications.letter.status_updated",
    ],
    // The API's own spelling, singular, unlike the standard's (SPEC 5.5, D-01).
    content_type: "application/cloudevent+json",
}];

/// What stands in the place of a feature for ECG subscriptions, which are made of events that people define. Not in the
/// table: nobody subscribes to it by name.
static ECG: Feature = Feature { name: "ecg", event_types: &[], content_type: "application/json" };

/// A feature of the table, by reference; serialised as its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FeatureRef(&'static Feature);

/// No feature has that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no feature {0:?}")]
pub struct UnknownFeature(pub String);

impl FeatureRef {
    /// Of the endpoints of ECG subscriptions.
    pub const ECG: Self = Self(&ECG);

    /// The feature called `name`, if there is one.
    pub fn by_name(name: &str) -> Option<Self> {
        FEATURES.iter().find(|feature| feature.name == name).map(Self)
    }

    /// The `Content-Type` of its deliveries.
    pub const fn content_type(self) -> &'static str {
        self.0.content_type
    }
}

impl std::ops::Deref for FeatureRef {
    type Target = Feature;

    fn deref(&self) -> &Feature {
        self.0
    }
}

impl TryFrom<String> for FeatureRef {
    type Error = UnknownFeature;

    fn try_from(name: String) -> Result<Self, UnknownFeature> {
        Self::by_name(&name).ok_or(UnknownFeature(name))
    }
}

impl From<FeatureRef> for String {
    fn from(feature: FeatureRef) -> Self {
        feature.name.to_owned()
    }
}
