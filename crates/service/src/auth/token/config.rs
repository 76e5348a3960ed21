//! Which issuers' tokens are taken, and what their roles mean here.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::value::StringDeserializer;
use serde::de::{Error as _, IntoDeserializer as _};
use serde::{Deserialize, Deserializer};
use slipstream_core::config::{Permission, Quota, SitesAllowed};
use slipstream_core::slug::Slug;
use url::{Host, Url};

/// Bytes of [`IssuerConfig::name`].
const NAME_LEN_MAX: usize = 32;

/// An issuer whose tokens are good here: a tenant of Microsoft Entra ID, or any other that speaks OpenID Connect.
///
/// There is no setting for a shared key: whoever could check a token could then make one.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerConfig {
    /// What we call it, in `token:{name}/{sub}`: the quota, the idempotency keys and the audit records of its callers
    /// are kept under that. Lower-case letters, digits and hyphens, at most 32.
    pub name: String,
    /// What `iss` must be, compared character by character: `https://login.microsoftonline.com/{tenant}/v2.0`.
    pub issuer: String,
    /// What `aud` may be: a token that names none of them was made for somebody else.
    pub audiences: Vec<String>,
    /// Where the keys are. By default the place that `{issuer}/.well-known/openid-configuration` names.
    #[serde(default)]
    pub jwks_url: Option<Url>,
    /// The keys themselves, as a JSON Web Key Set: of an issuer that is this very process, which is asked by nobody over a
    /// network. No setting; see [`EcgIssuerConfig::of_this_process`](crate::auth::EcgIssuerConfig::of_this_process).
    #[serde(skip)]
    pub jwks: Option<Arc<str>>,
    /// What `tid` may be (Entra ID). By default the claim is not looked at: `iss` names the tenant already.
    #[serde(default)]
    pub tenants: Option<Vec<String>>,
    /// What each role (`roles`) or scope (`scp`, `scope`) gives. By default `Events.Publish`, `Webhooks.Manage` and
    /// `Internal` give what they say (SPEC 5.1). Those that stand nowhere here give nothing.
    #[serde(default = "default_roles")]
    pub roles: BTreeMap<String, Grant>,
    /// The sites that the issuer's callers may act for. Required: a default would be either too much or useless.
    pub sites: TokenSites,
    /// What each of its callers may use (SPEC 2.4). None by default.
    #[serde(default)]
    pub quota: Option<Quota>,
}

/// The sites that the holder of a token may act for.
///
/// In settings: `"all"`, `{ only = ["s8n6EzC"] }` or `{ claim = "sites" }`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenSites {
    /// Every site, present and coming.
    All,
    /// These and no others.
    Only(Vec<Slug>),
    /// Those whose slugs stand in the claim of this name, as a list or as one text. A token without it acts for none.
    Claim(String),
}

/// What a role or a scope gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// The permission of that name.
    Permission(Permission),
    /// `Internal`: the caller is one of our own, and gets internal events too (SPEC 5.1). It permits nothing by itself.
    Internal,
}

impl<'de> Deserialize<'de> for Grant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "Internal" {
            return Ok(Self::Internal);
        }
        let known: StringDeserializer<serde::de::value::Error> = text.clone().into_deserializer();
        Permission::deserialize(known)
            .map(Self::Permission)
            .map_err(|_| D::Error::custom(format!("`{text}` is neither a permission nor `Internal`")))
    }
}

/// The roles of SPEC 5.1, each of which gives what it says.
pub fn default_roles() -> BTreeMap<String, Grant> {
    [
        ("Events.Publish", Grant::Permission(Permission::EventsPublish)),
        ("Webhooks.Manage", Grant::Permission(Permission::WebhooksManage)),
        ("Internal", Grant::Internal),
    ]
    .map(|(role, grant)| (role.to_owned(), grant))
    .into()
}

/// The settings of an issuer cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("issuer `{name}`: {problem}")]
pub struct IssuerConfigError {
    /// The issuer's [`IssuerConfig::name`].
    pub name: String,
    /// What is wrong with its settings.
    pub problem: String,
}

impl IssuerConfig {
    /// Checks what the type does not say, in each of `issuers` and between them.
    ///
    /// # Errors
    /// At the first setting that cannot be used.
    pub fn check_all(issuers: &[Self]) -> Result<(), IssuerConfigError> {
        for (position, issuer) in issuers.iter().enumerate() {
            let refuse = |problem: String| Err(IssuerConfigError { name: issuer.name.clone(), problem });
            issuer.check().or_else(refuse)?;
            for earlier in &issuers[..position] {
                if earlier.name == issuer.name {
                    return refuse("there are two of this name".to_owned());
                }
                if earlier.issuer == issuer.issuer {
                    return refuse(format!(
                        "`issuer` is that of `{}`, so tokens would not tell them apart",
                        earlier.name
                    ));
                }
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if self.name.is_empty() || self.name.len() > NAME_LEN_MAX || !self.name.bytes().all(letter) {
            return Err(format!("`name` must be 1 to {NAME_LEN_MAX} of a-z, 0-9 and -"));
        }
        if self.audiences.is_empty() || self.audiences.iter().any(String::is_empty) {
            return Err("`audiences` must name at least one, and none may be empty".to_owned());
        }
        if self.tenants.as_ref().is_some_and(|tenants| tenants.is_empty() || tenants.iter().any(String::is_empty)) {
            return Err("`tenants` must name at least one, and none may be empty; leave it out to allow any".to_owned());
        }
        if self.roles.is_empty() {
            return Err("`roles` must name at least one: without, no token may do anything".to_owned());
        }
        if matches!(&self.sites, TokenSites::Claim(claim) if claim.is_empty()) {
            return Err("`sites.claim` must name a claim".to_owned());
        }
        if self.quota.is_some_and(|quota| quota.burst_capacity == 0 || quota.tokens_per_second == 0) {
            return Err("`quota` must be of at least one token, and one a second".to_owned());
        }
        match &self.jwks_url {
            _ if self.jwks.is_some() => {}
            Some(url) => check_url(url).map_err(|problem| format!("`jwks_url` {problem}"))?,
            None => drop(self.discovery_url().map_err(|problem| format!("`issuer` {problem}"))?),
        }
        if self.issuer.is_empty() {
            return Err("`issuer` must not be empty".to_owned());
        }
        Ok(())
    }

    /// Where the issuer tells where its keys are (OpenID Connect Discovery 1.0, 4.1: a slash at the end of the issuer's
    /// path goes first).
    ///
    /// # Errors
    /// When the issuer is not a URL that we would fetch anything from.
    pub(super) fn discovery_url(&self) -> Result<Url, String> {
        let issuer = Url::parse(&self.issuer).map_err(|error| format!("is not a URL: {error}"))?;
        check_url(&issuer)?;
        if issuer.query().is_some() {
            return Err("must have no query".to_owned());
        }
        let base = self.issuer.strip_suffix('/').unwrap_or(&self.issuer);
        Url::parse(&format!("{base}/.well-known/openid-configuration"))
            .map_err(|error| format!("is not a URL: {error}"))
    }
}

/// Whether keys may be fetched from `url`: whoever can change them on the way can make tokens, so only TLS will do. Text
/// that never leaves the machine needs none.
///
/// # Errors
/// With the rule that it breaks.
pub(super) fn check_url(url: &Url) -> Result<(), &'static str> {
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    match url.scheme() {
        "https" => {}
        "http" if loopback => {}
        _ => return Err("must be an https URL (http is for loopback only)"),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user name or a password");
    }
    if url.fragment().is_some() {
        return Err("must have no fragment");
    }
    Ok(())
}

/// What a token's claims give its holder, by its issuer's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    /// What its roles and scopes permit; each once.
    pub permissions: Vec<Permission>,
    /// Whether it has the role `Internal`.
    pub internal: bool,
    /// The sites it may act for.
    pub sites: SitesAllowed,
    /// The quota of each caller of this issuer.
    pub quota: Option<Quota>,
}

impl IssuerConfig {
    /// What `claims` give.
    pub(super) fn rights(&self, claims: &super::Claims) -> Rights {
        let mut rights =
            Rights { permissions: Vec::new(), internal: false, sites: self.sites_of(claims), quota: self.quota };
        for grant in claims.roles.iter().chain(&claims.scopes).filter_map(|role| self.roles.get(role)) {
            match *grant {
                Grant::Internal => rights.internal = true,
                Grant::Permission(permission) if rights.permissions.contains(&permission) => {}
                Grant::Permission(permission) => rights.permissions.push(permission),
            }
        }
        rights
    }

    fn sites_of(&self, claims: &super::Claims) -> SitesAllowed {
        match &self.sites {
            TokenSites::All => SitesAllowed::All,
            TokenSites::Only(sites) => SitesAllowed::Only(sites.clone()),
            // What is not a slug is no site's: it permits nothing, and the rest of the token is good.
            TokenSites::Claim(claim) => {
                let texts = claims.all.get(claim).and_then(super::claims::texts).unwrap_or_default();
                SitesAllowed::Only(texts.iter().filter_map(|text| text.parse().ok()).collect())
            }
        }
    }
}
