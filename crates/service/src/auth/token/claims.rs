//! What a token says, and whether it may be believed now.

use std::fmt;

use serde_json::{Map, Value};
use slipstream_core::timestamp::Timestamp;

use super::{IssuerConfig, TokenError};

/// How far the issuer's clock and ours may be apart, in seconds (SPEC 5.1).
const LEEWAY_SECONDS: f64 = 60.0;
/// Characters of a subject (OpenID Connect Core 1.0, section 2).
const SUBJECT_LEN_MAX: usize = 255;

/// What a good token says of its holder.
///
/// Does not print what [`Claims::all`] holds: names and addresses of people among others.
#[derive(Clone, PartialEq)]
pub struct Claims {
    /// The [`IssuerConfig::name`] of who made it.
    pub issuer_name: String,
    /// `sub`: who holds it, 1 to 255 printable ASCII characters. Unique within its issuer.
    pub subject: String,
    /// `tid`: the tenant of Entra ID, if it says one.
    pub tenant: Option<String>,
    /// `roles`: what the holder itself may do.
    pub roles: Vec<String>,
    /// `scp` or `scope`: what the holder may do for a user.
    pub scopes: Vec<String>,
    /// Every claim, those above too.
    pub all: Map<String, Value>,
}

impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claims")
            .field("issuer_name", &self.issuer_name)
            .field("subject", &self.subject)
            .field("roles", &self.roles)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

impl Claims {
    /// Judges the payload of a token whose signature is `issuer`'s.
    ///
    /// # Errors
    /// At the first claim that is missing, of the wrong type, or says that the token is not good here and now.
    pub(super) fn judge(all: Map<String, Value>, issuer: &IssuerConfig, now: Timestamp) -> Result<Self, TokenError> {
        check_times(&all, now)?;
        check_audience(&all, &issuer.audiences)?;
        let subject = string(&all, "sub")?.ok_or(TokenError::Claim("sub"))?;
        let printable = subject.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        if subject.is_empty() || subject.len() > SUBJECT_LEN_MAX || !printable {
            return Err(TokenError::Claim("sub"));
        }
        let tenant = string(&all, "tid")?;
        if let Some(allowed) = &issuer.tenants
            && !tenant.is_some_and(|tenant| allowed.iter().any(|allowed| allowed == tenant))
        {
            return Err(TokenError::Tenant);
        }
        let claim = if all.contains_key("scp") { "scp" } else { "scope" };
        let scopes = list(&all, claim)?;
        let scopes = scopes.iter().flat_map(|text| text.split(' ')).filter(|scope| !scope.is_empty());
        Ok(Self {
            issuer_name: issuer.name.clone(),
            subject: subject.to_owned(),
            tenant: tenant.map(ToOwned::to_owned),
            roles: list(&all, "roles")?,
            scopes: scopes.map(ToOwned::to_owned).collect(),
            all,
        })
    }
}

fn check_times(all: &Map<String, Value>, now: Timestamp) -> Result<(), TokenError> {
    let now = now.as_millis() as f64 / 1000.0;
    // "On or after" its `exp` a token is no longer good (RFC 7519, 4.1.4).
    let expires = seconds(all, "exp")?.ok_or(TokenError::Claim("exp"))?;
    if now >= expires + LEEWAY_SECONDS {
        return Err(TokenError::Expired);
    }
    match seconds(all, "nbf")? {
        Some(begins) if now + LEEWAY_SECONDS < begins => Err(TokenError::NotYetValid),
        _ => Ok(()),
    }
}

fn check_audience(all: &Map<String, Value>, ours: &[String]) -> Result<(), TokenError> {
    let audiences = all.get("aud").and_then(texts).ok_or(TokenError::Claim("aud"))?;
    if audiences.iter().any(|audience| ours.contains(audience)) { Ok(()) } else { Err(TokenError::Audience) }
}

/// A claim that is a time: a JSON number of seconds since 1970 (RFC 7519, 2), never a text of one.
fn seconds(all: &Map<String, Value>, name: &'static str) -> Result<Option<f64>, TokenError> {
    match all.get(name) {
        None => Ok(None),
        Some(value) => value.as_f64().filter(|seconds| *seconds >= 0.0).map(Some).ok_or(TokenError::Claim(name)),
    }
}

fn string<'a>(all: &'a Map<String, Value>, name: &'static str) -> Result<Option<&'a str>, TokenError> {
    match all.get(name) {
        None => Ok(None),
        Some(value) => value.as_str().map(Some).ok_or(TokenError::Claim(name)),
    }
}

fn list(all: &Map<String, Value>, name: &'static str) -> Result<Vec<String>, TokenError> {
    match all.get(name) {
        None => Ok(Vec::new()),
        Some(value) => texts(value).ok_or(TokenError::Claim(name)),
    }
}

/// A text, or a list of texts; nothing else.
pub(super) fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(values) => values.iter().map(|value| value.as_str().map(ToOwned::to_owned)).collect(),
        _ => None,
    }
}
