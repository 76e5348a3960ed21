//! How much one tenant may have (THREATS 7, "objects per tenant").

use serde::Deserialize;

/// Bounds of what a tenant may make here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Subscriptions of one site, over all features and accounts; another one is refused with 422. Replacing one makes none.
    /// Default 1,000: every one of them is matched against every event of the site.
    pub subscriptions_per_site: u32,
    /// Subscriptions of one organization of the ECG surface, those included that it deleted in the last 31 days; another one is
    /// refused with 422. Default 1,000.
    pub subscriptions_per_organization: u32,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self { subscriptions_per_site: 1000, subscriptions_per_organization: 1000 }
    }
}
