//! Whose tokens are taken, on which surface.

use std::sync::Arc;

use serde::{Deserialize, Deserializer};
use slipstream_core::config::Quota;
use url::Url;

use super::Guards;
use super::token::{IssuerConfig, IssuerConfigError, TokenSites, Verifier, VerifierError, default_roles};
use crate::directory::Directory;
use crate::lifecycle::Context;

/// Whose tokens are taken besides API keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthConfig {
    /// The issuers whose tokens the Slipstream surface takes. None by default: then it refuses every token.
    pub issuers: Vec<IssuerConfig>,
    /// The issuers whose tokens the ECG surface takes (SPEC 6.1). None by default: then it refuses every token.
    pub ecg: Vec<EcgIssuerConfig>,
    /// What each caller may use that has no quota of its own (SPEC 2.4; THREATS 7, per tenant): API accounts and holders of
    /// tokens whose issuer has none, on every surface. None by default: then any amount. Whoever needs more gets a larger
    /// one of its own.
    #[serde(deserialize_with = "quota")]
    pub quota: Option<Quota>,
}

/// A bucket that holds something, and is filled again.
fn quota<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Quota>, D::Error> {
    let quota = Option::<Quota>::deserialize(deserializer)?;
    match quota {
        Some(Quota { burst_capacity: 0, .. } | Quota { tokens_per_second: 0, .. }) => {
            Err(serde::de::Error::custom("must be of at least one token, and one a second"))
        }
        _ => Ok(quota),
    }
}

/// An issuer of tokens for the ECG surface. What its tokens permit is fixed there: roles `webhookAdmin` and
/// `webhookManager`, and organizations in `organizationIds`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EcgIssuerConfig {
    /// See [`IssuerConfig::name`].
    pub name: String,
    /// See [`IssuerConfig::issuer`].
    pub issuer: String,
    /// See [`IssuerConfig::audiences`].
    pub audiences: Vec<String>,
    /// See [`IssuerConfig::jwks_url`].
    #[serde(default)]
    pub jwks_url: Option<Url>,
    /// See [`IssuerConfig::jwks`].
    #[serde(skip)]
    jwks: Option<Arc<str>>,
    /// See [`IssuerConfig::tenants`].
    #[serde(default)]
    pub tenants: Option<Vec<String>>,
}

impl EcgIssuerConfig {
    /// An issuer that is this very process, for trying things out: its tokens name `name` as their `iss` and `audience` as
    /// their `aud`, and are signed with a key of `jwks`, a JSON Web Key Set. Code says so and no setting can.
    pub fn of_this_process(name: &str, audience: &str, jwks: &str) -> Self {
        Self {
            name: name.to_owned(),
            issuer: name.to_owned(),
            audiences: vec![audience.to_owned()],
            jwks_url: None,
            jwks: Some(jwks.into()),
            tenants: None,
        }
    }
}

impl From<EcgIssuerConfig> for IssuerConfig {
    /// The same issuer, of whose tokens nobody asks what they give on the Slipstream surface.
    fn from(it: EcgIssuerConfig) -> Self {
        Self {
            name: it.name,
            issuer: it.issuer,
            audiences: it.audiences,
            jwks_url: it.jwks_url,
            jwks: it.jwks,
            tenants: it.tenants,
            roles: default_roles(),
            sites: TokenSites::Only(Vec::new()),
            quota: None,
        }
    }
}

impl AuthConfig {
    /// What checks every kind of credential but the operator's: API accounts, sites and key pairs of Open Dental by what
    /// `directory` knows, tokens by the keys of the configured issuers, which are kept fresh until `ctx.drained`. Whoever has a
    /// quota pays from `ctx.quotas`.
    ///
    /// # Errors
    /// When the settings of an issuer cannot be used.
    pub fn start(&self, directory: Directory, ctx: &Context) -> Result<Guards, VerifierError> {
        self.check_names()?;
        let ecg: Vec<IssuerConfig> = self.ecg.iter().cloned().map(IssuerConfig::from).collect();
        let tokens = Verifier::start(&self.issuers, ctx)?;
        let guards = Guards::new(directory, &ctx.quotas).with_tokens(tokens).with_ecg(Verifier::start(&ecg, ctx)?);
        Ok(guards.with_default_quota(self.quota))
    }

    /// An actor is `token:{name}/{sub}` on every surface, so one name must not stand for two issuers. One issuer may be
    /// taken on both.
    pub(crate) fn check_names(&self) -> Result<(), IssuerConfigError> {
        let is_other = |ecg: &&EcgIssuerConfig| {
            self.issuers.iter().any(|issuer| issuer.name == ecg.name && issuer.issuer != ecg.issuer)
        };
        match self.ecg.iter().find(is_other) {
            None => Ok(()),
            Some(EcgIssuerConfig { name, .. }) => Err(IssuerConfigError {
                name: name.clone(),
                problem: "`auth.issuers` and `auth.ecg` have different issuers of this name".to_owned(),
            }),
        }
    }
}
