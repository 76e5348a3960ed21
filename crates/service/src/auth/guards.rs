//! Everything that a process can check credentials with.

use std::sync::Arc;

use http::HeaderMap;
use slipstream_core::config::{Quota, Site};
use slipstream_core::problem::{Problem, ProblemKind};
use slipstream_core::slug::Slug;
use uuid::Uuid;

use super::authorization::{credentials, unauthorized};
use super::token::Verifier;
use super::{API_KEY, Principal, api_key, bearer, ecg, operator};
use crate::access::{Access, Entry};
use crate::config::{OperatorConfig, Secret};
use crate::directory::Directory;
use crate::quota::{Meter, Quotas};

/// What a service was given to check credentials with; [`crate::access::Routes`] asks it. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Guards {
    // One pointer, since every route holds it.
    checks: Arc<Checks>,
}

#[derive(Debug, Clone, Default)]
struct Checks {
    directory: Option<Directory>,
    tokens: Option<Verifier>,
    operator: Option<Secret>,
    ecg: Option<Verifier>,
    quota: Option<Quota>,
    quotas: Quotas,
}

/// What a request shows: who it is of is known, or found out by [`Guards::verify`].
#[derive(Debug)]
pub(crate) enum Credential {
    Known(Principal),
    Token(Secret),
}

/// What the guard hands to the handler, in the request's extensions.
#[derive(Debug, Clone)]
pub(crate) struct Granted {
    pub(crate) principal: Principal,
    pub(crate) site: Option<Arc<Site>>,
    /// The organization in the path of an ECG route.
    pub(crate) organization: Option<Uuid>,
}

impl Granted {
    /// Who calls, and nothing of the path.
    #[cfg(test)]
    pub(crate) const fn new(principal: Principal) -> Self {
        Self { principal, site: None, organization: None }
    }
}

impl Guards {
    /// Checks nothing: for routes that need nothing.
    pub fn none() -> Self {
        Self::default()
    }

    /// Checks API accounts, sites and key pairs of Open Dental by what `directory` knows. Whoever has a quota
    /// pays from `quotas`, which are the process's ([`Context::quotas`](crate::Context::quotas)).
    pub fn new(directory: Directory, quotas: &Quotas) -> Self {
        let quotas = quotas.clone();
        Self { checks: Arc::new(Checks { directory: Some(directory), quotas, ..Checks::default() }) }
    }

    /// Takes tokens too, of the issuers that `verifier` knows.
    #[must_use]
    pub fn with_tokens(self, verifier: Verifier) -> Self {
        self.with(|checks| checks.tokens = Some(verifier))
    }

    /// Knows the operator.
    #[must_use]
    pub fn with_operator(self, config: &OperatorConfig) -> Self {
        self.with(|checks| checks.operator = Some(config.token.clone()))
    }

    /// Takes the ECG surface's tokens, of the issuers that `verifier` knows.
    #[must_use]
    pub fn with_ecg(self, verifier: Verifier) -> Self {
        self.with(|checks| checks.ecg = Some(verifier))
    }

    /// What each caller may use that has no quota of its own; none means any amount.
    #[must_use]
    pub fn with_default_quota(self, quota: Option<Quota>) -> Self {
        self.with(|checks| checks.quota = quota)
    }

    /// `principal` as it pays here; see [`Guards::with_default_quota`].
    pub(crate) fn with_quota(&self, principal: Principal) -> Principal {
        principal.with_default_quota(self.checks.quota)
    }

    fn with(mut self, change: impl FnOnce(&mut Checks)) -> Self {
        change(Arc::make_mut(&mut self.checks));
        self
    }

    /// Whether it has what a route with this access needs.
    pub(crate) fn can_check(&self, access: Access) -> bool {
        match access {
            Access::Public | Access::Probe => true,
            Access::Slipstream(..) | Access::OpenDental(_) => self.checks.directory.is_some(),
            Access::Operator => self.checks.operator.is_some(),
            Access::Ecg(..) => self.checks.ecg.is_some(),
        }
    }

    /// The meter of what `principal` does at this route.
    pub(crate) fn meter(&self, principal: &Principal, entry: &Entry) -> Meter {
        Meter::new(&self.checks.quotas, principal, entry.policy())
    }

    /// The site with this slug.
    pub(crate) fn site(&self, slug: &Slug) -> Option<Arc<Site>> {
        self.checks.directory.as_ref()?.load().site(slug).cloned()
    }

    /// The credential that a request shows at a route with this access; `in_query` is a token in its query.
    ///
    /// # Errors
    /// 401: none, one that is not valid, or several that contradict each other. 503: it cannot be known at present whether
    /// it is still valid.
    pub(crate) fn credential(
        &self,
        access: Access,
        headers: &HeaderMap,
        in_query: Option<String>,
    ) -> Result<Credential, Problem> {
        if !matches!(access, Access::Slipstream(..)) && headers.contains_key(API_KEY) {
            return Err(unauthorized("an API key is not taken here"));
        }
        // Routes without what they need are not served, see `can_check`.
        let missing = || unauthorized("no credential can be checked here");
        match access {
            Access::Slipstream(..) => {
                let directory = self.checks.directory.as_ref().ok_or_else(missing)?;
                slipstream(directory, headers, in_query)
            }
            Access::Operator => {
                operator::check(self.checks.operator.as_ref().ok_or_else(missing)?, headers)?;
                Ok(Credential::Known(Principal::operator()))
            }
            Access::Ecg(..) => {
                let token = credentials(headers, "bearer")?;
                token
                    .map(|token| Credential::Token(Secret::new(token)))
                    .ok_or_else(|| unauthorized("a token is needed"))
            }
            Access::OpenDental(_) => {
                let directory = self.checks.directory.as_ref().ok_or_else(missing)?;
                check_fresh(directory)?;
                directory.load().key_pairs().check(headers).map(Credential::Known)
            }
            Access::Public | Access::Probe => Err(missing()),
        }
    }

    /// Whose credential it is.
    ///
    /// # Errors
    /// 401 when it is nobody's.
    pub(crate) async fn verify(&self, access: Access, credential: Credential) -> Result<Principal, Problem> {
        let token = match credential {
            Credential::Known(principal) => return Ok(principal),
            Credential::Token(token) => token,
        };
        match (access, &self.checks.tokens, &self.checks.ecg) {
            (Access::Slipstream(..), Some(verifier), _) => bearer::verify(verifier, &token).await,
            (Access::Ecg(..), _, Some(verifier)) => ecg::verify(verifier, &token).await,
            _ => Err(unauthorized("the token is not valid")),
        }
    }
}

/// What is known of keys and sites must be as new as it can be: a key that was revoked while we did not hear of it would
/// go on otherwise.
fn check_fresh(directory: &Directory) -> Result<(), Problem> {
    if directory.is_stale() {
        let detail = "it cannot be known at present whether this credential is valid; try again later";
        return Err(Problem::new(ProblemKind::Unavailable, detail));
    }
    Ok(())
}

/// An API key or a token, and not both.
fn slipstream(directory: &Directory, headers: &HeaderMap, in_query: Option<String>) -> Result<Credential, Problem> {
    let key = api_key::shown(headers)?;
    let in_header = credentials(headers, "bearer")?;
    if key.is_some() || in_header.is_some() || in_query.is_some() {
        check_fresh(directory)?;
    }
    match (key, in_header, in_query) {
        (Some(key), None, None) => {
            let snapshot = directory.load();
            let account = Arc::clone(api_key::account(&snapshot, key)?);
            Ok(Credential::Known(Principal::of_account(account)))
        }
        (None, Some(header), Some(query)) if header != query => {
            Err(unauthorized("two different tokens were given, in Authorization and in the query"))
        }
        (None, Some(token), _) => Ok(Credential::Token(Secret::new(token))),
        (None, None, Some(token)) => Ok(Credential::Token(Secret::new(token))),
        (None, None, None) => Err(unauthorized("a credential is needed: X-API-KEY, or Authorization: Bearer")),
        (Some(_), ..) => Err(unauthorized("an API key and a token were given: one caller can act at a time")),
    }
}
