//! Bearer tokens (JWT) of OpenID Connect issuers, Microsoft Entra ID first (SPEC 5.1 `azure_auth`, 6.1; THREATS 6).
//!
//! A token is good if it is signed with a key of a configured issuer, by the algorithm that belongs to that key, and
//! says itself that it was made by that issuer, for us, for now. Nothing that it says of its own keys is believed.
//!
//! **Keys** are fetched when the process starts and once an hour, in the background, and whenever a token names one that
//! we do not know: then at once, by one request for all who wait, and at most once in five minutes. What is known stays
//! good while the issuer cannot be reached; a token with a key that is not known is refused until it can.
//!
//! **Why ring itself and no JWT crate.** Two algorithms, checked by two calls of a library that is here anyway. What
//! makes tokens dangerous lies around them: members twice, `exp` as a text, an algorithm out of the header. We read
//! those by rules of our own whatever the crate; `jsonwebtoken` would add a provider of ours to it, global to the
//! process, that panics where somebody forgets it (DEPENDENCIES 5.6).
//!
//! Neither a token nor a part of it is ever printed: errors say which rule it breaks.

mod claims;
mod config;
mod fetch;
mod jws;
mod keys;
mod source;

use std::sync::Arc;
use std::time::Instant;

use slipstream_core::config::SitesAllowed;
use slipstream_core::timestamp::Timestamp;
use tokio_util::task::TaskTracker;

use crate::clock;
use crate::lifecycle::Context;

pub use claims::Claims;
pub use config::{Grant, IssuerConfig, IssuerConfigError, Rights, TokenSites, default_roles};
use source::KeySource;

/// Bytes of a token. A head has no more room either (THREATS 7).
pub const TOKEN_LEN_MAX: usize = 16 * 1024;

/// Why a token is not good. All of them are 401.
///
/// The texts may be shown to whoever sent it: they tell the rule and nothing of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// More than [`TOKEN_LEN_MAX`] bytes.
    #[error("the token is longer than {TOKEN_LEN_MAX} bytes")]
    TooLong,
    /// Not a signed token: its parts, its base64url or its JSON are not well-formed, or a member stands there twice.
    #[error("the token is malformed")]
    Malformed,
    /// Its header names extensions that must be understood (`crit`).
    #[error("the token demands extensions that are not known here")]
    Critical,
    /// Its `typ` is that of a token for something else.
    #[error("the token is not one for access")]
    Kind,
    /// Its `iss` is none of the configured issuers.
    #[error("the token is of an unknown issuer")]
    UnknownIssuer,
    /// It names no key, or one that its issuer has not published as far as we know.
    #[error("the token is signed with an unknown key")]
    UnknownKey,
    /// Its `alg` is not the algorithm of its key; `none` is none of any.
    #[error("the token's algorithm is not that of its key")]
    Algorithm,
    /// Its signature is wrong.
    #[error("the token's signature is wrong")]
    Signature,
    /// Its `exp` is past.
    #[error("the token has expired")]
    Expired,
    /// Its `nbf` is not reached.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// Its `aud` does not name us.
    #[error("the token is for another audience")]
    Audience,
    /// Its `tid` is none of those allowed.
    #[error("the token is of a tenant that is not allowed")]
    Tenant,
    /// This claim is required and missing, or has a value of another type than it must.
    #[error("the token's claim `{0}` is missing or malformed")]
    Claim(&'static str),
}

/// The verifier cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum VerifierError {
    /// An issuer's settings cannot be used.
    #[error(transparent)]
    Config(#[from] IssuerConfigError),
    /// There can be no TLS client.
    #[error("cannot make a client to fetch issuers' keys")]
    Client(#[source] reqwest::Error),
}

/// Checks tokens. Cheap to clone; all clones share the keys.
#[derive(Debug, Clone)]
pub struct Verifier {
    sources: Arc<[Arc<KeySource>]>,
}

impl Verifier {
    /// A verifier of the tokens of `issuers`, which fetches their keys when the first token asks for one. Without
    /// issuers no token is good. What it spawns is tracked by `tasks`.
    ///
    /// # Errors
    /// When the settings of an issuer cannot be used. Does no I/O but reading the machine's certificate authorities.
    pub fn new(issuers: &[IssuerConfig], tasks: &TaskTracker) -> Result<Self, VerifierError> {
        IssuerConfig::check_all(issuers)?;
        if issuers.is_empty() {
            return Ok(Self { sources: Arc::default() });
        }
        let client = fetch::client().map_err(VerifierError::Client)?;
        let source = |issuer: &IssuerConfig| KeySource::new(issuer.clone(), client.clone(), tasks.clone());
        Ok(Self { sources: issuers.iter().map(source).collect() })
    }

    /// As [`Verifier::new`], and keeps the keys fresh until `ctx.drained`. Does not wait for the first of them: an issuer
    /// that cannot be reached keeps nobody from starting.
    ///
    /// # Errors
    /// As [`Verifier::new`].
    pub fn start(issuers: &[IssuerConfig], ctx: &Context) -> Result<Self, VerifierError> {
        let verifier = Self::new(issuers, &ctx.tasks)?;
        for source in verifier.sources.iter() {
            let (source, drained) = (Arc::clone(source), ctx.drained.clone());
            ctx.spawn("issuer keys", async move {
                drained.run_until_cancelled(source.keep_fresh()).await;
                Ok(())
            });
        }
        Ok(verifier)
    }

    /// What `token` says, if it is good now. Waits for nothing if its key is known; otherwise for the fetch that is under
    /// way and for one more at most, 5 s each. At most 64 wait for the keys of one issuer; whoever comes then is refused as
    /// one with an unknown key: those who wait may be anybody, and what they hold is held for them.
    ///
    /// # Errors
    /// The first rule that it breaks. Claims are looked at last: who cannot sign learns nothing about them.
    pub async fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        self.verify_at(token, clock::now(), Instant::now()).await
    }

    /// As [`Verifier::verify`], at the time `now` by the wall clock and `instant` by the one that never jumps: the
    /// first judges the token, the second says how long ago keys were fetched.
    ///
    /// # Errors
    /// As [`Verifier::verify`].
    pub async fn verify_at(&self, token: &str, now: Timestamp, instant: Instant) -> Result<Claims, TokenError> {
        if token.len() > TOKEN_LEN_MAX {
            return Err(TokenError::TooLong);
        }
        let parts = jws::Parts::read(token)?;
        let of = |issuer: &str| self.sources.iter().find(|source| source.issuer().issuer == issuer);
        let source = parts.with_issuer(of)?.ok_or(TokenError::UnknownIssuer)?;
        let key = source.key(&parts.key_id, instant).await.ok_or(TokenError::UnknownKey)?;
        key.verify(&parts.algorithm, parts.signed, &parts.signature()?)?;
        Claims::judge(parts.payload()?, source.issuer(), now)
    }

    /// What `claims` give, by the settings of the issuer that they name: nothing, if it is none of ours.
    pub fn rights(&self, claims: &Claims) -> Rights {
        let source = self.sources.iter().find(|source| source.issuer().name == claims.issuer_name);
        source.map_or(
            Rights { permissions: Vec::new(), internal: false, sites: SitesAllowed::Only(Vec::new()), quota: None },
            |source| source.issuer().rights(claims),
        )
    }
}
