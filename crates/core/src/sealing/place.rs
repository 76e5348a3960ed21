//! Where a sealed value stands: its associated data.

use std::fmt;

use crate::ids::SubscriptionId;

/// The place that a value is sealed for; it opens nowhere else.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place(String);

impl Place {
    /// The value of a subscription's header. The same while it is only wished for and when it is in force, so that it need
    /// not be sealed anew in between.
    pub fn header(subscription: SubscriptionId, name: &str) -> Self {
        Self(format!("subscription/{subscription}/header/{name}"))
    }

    /// A signing key of a subscription.
    pub fn signing_key(subscription: SubscriptionId) -> Self {
        Self(format!("subscription/{subscription}/signing-key"))
    }

    /// A secret of an ECG subscription.
    pub fn ecg_secret(subscription: SubscriptionId) -> Self {
        Self(format!("subscription/{subscription}/ecg-secret"))
    }

    /// The value of `column` in the row `id` of `kind`, for whatever else is sealed. `kind` and `column` are ours and hold
    /// no slash.
    pub fn of_row(kind: &'static str, id: &impl fmt::Display, column: &'static str) -> Self {
        Self(format!("{kind}/{id}/{column}"))
    }

    /// The associated data.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
