//! Who calls, once that is known.

use std::fmt;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use slipstream_core::config::{Account, AccountKind, Permission, Quota, Site};
use slipstream_core::ids::AccountId;
use slipstream_core::slug::Slug;

use super::ecg::EcgCaller;
use super::guards::Granted;
use super::open_dental::KeyPair;
use super::token::Rights;
use crate::problem::ApiError;

/// Who acts: what quotas, idempotency keys and audit records are kept by.
///
/// Prints as `account:{uuid}`, `token:{issuer}/{subject}`, `practice:{name}/{key}` and `operator`; two actors that print
/// alike are the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Actor {
    /// An API account.
    Account(AccountId),
    /// The holder of tokens, on whatever surface.
    Token(Arc<TokenActor>),
    /// A pair of keys of Open Dental: the practice, and the beginning of the customer key's hash.
    Practice(Arc<str>),
    /// Whoever has the operator's token.
    Operator,
}

/// The holder of tokens: the same one whatever token shows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TokenActor {
    /// The issuer, as the settings call it.
    pub issuer: String,
    /// The token's `sub`: printable ASCII.
    pub subject: String,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(id) => write!(f, "account:{id}"),
            Self::Token(token) => write!(f, "token:{}/{}", token.issuer, token.subject),
            Self::Practice(key) => write!(f, "practice:{key}"),
            Self::Operator => f.write_str("operator"),
        }
    }
}

/// Who calls, and what it may do. Its credential is valid. Cheap to clone.
///
/// An extractor, for handlers of routes that take a credential.
#[derive(Debug, Clone)]
pub struct Principal {
    kind: Kind,
    /// Of whoever has none of its own.
    default_quota: Option<Quota>,
}

#[derive(Debug, Clone)]
enum Kind {
    Account(Arc<Account>),
    Token(Arc<TokenCaller>),
    Operator,
    Ecg(Arc<EcgCaller>),
    OpenDental(Arc<KeyPair>),
}

/// What a token gives its holder on the Slipstream surface.
#[derive(Debug)]
pub(super) struct TokenCaller {
    actor: Arc<TokenActor>,
    id: AccountId,
    rights: Rights,
}

impl TokenCaller {
    pub(super) fn new(issuer: String, subject: String, rights: Rights) -> Self {
        let id = AccountId::of_token(&issuer, &subject);
        Self { actor: Arc::new(TokenActor { issuer, subject }), id, rights }
    }
}

impl Principal {
    const fn new(kind: Kind) -> Self {
        Self { kind, default_quota: None }
    }

    /// The owner of an API key.
    pub fn of_account(account: Arc<Account>) -> Self {
        Self::new(Kind::Account(account))
    }

    /// The operator.
    pub const fn operator() -> Self {
        Self::new(Kind::Operator)
    }

    pub(super) fn of_token(caller: TokenCaller) -> Self {
        Self::new(Kind::Token(Arc::new(caller)))
    }

    pub(super) fn of_ecg(caller: EcgCaller) -> Self {
        Self::new(Kind::Ecg(Arc::new(caller)))
    }

    pub(super) fn of_key_pair(pair: Arc<KeyPair>) -> Self {
        Self::new(Kind::OpenDental(pair))
    }

    /// Who makes this request, once the guard has let it through; none on routes that take no credential.
    pub fn of<B>(request: &http::Request<B>) -> Option<&Self> {
        request.extensions().get::<Granted>().map(|granted| &granted.principal)
    }

    /// Who acts. Costs no allocation.
    pub fn actor(&self) -> Actor {
        match &self.kind {
            Kind::Account(account) => Actor::Account(account.id),
            Kind::Token(caller) => Actor::Token(Arc::clone(&caller.actor)),
            Kind::Operator => Actor::Operator,
            Kind::Ecg(caller) => Actor::Token(Arc::clone(&caller.actor)),
            Kind::OpenDental(pair) => Actor::Practice(Arc::clone(&pair.actor)),
        }
    }

    /// The account that what it makes belongs to: an API account's own, and for the holder of tokens one derived from
    /// issuer and subject, the same for ever ([`AccountId::of_token`]). Nil for all others, who own nothing that is kept
    /// by account.
    pub fn account_id(&self) -> AccountId {
        match &self.kind {
            Kind::Account(account) => account.id,
            Kind::Token(caller) => caller.id,
            Kind::Operator | Kind::Ecg(_) | Kind::OpenDental(_) => AccountId(uuid::Uuid::nil()),
        }
    }

    /// One of our own services, or a stranger (SPEC 5.1).
    pub fn kind(&self) -> AccountKind {
        match &self.kind {
            Kind::Account(account) => account.kind,
            Kind::Token(caller) if caller.rights.internal => AccountKind::Internal,
            Kind::Operator => AccountKind::Internal,
            Kind::Token(_) | Kind::Ecg(_) | Kind::OpenDental(_) => AccountKind::External,
        }
    }

    /// What it may use (SPEC 2.4), its own quota or the deployment's default; none means any amount. The operator has
    /// none.
    pub fn quota(&self) -> Option<Quota> {
        let own = match &self.kind {
            Kind::Account(account) => account.quota,
            Kind::Token(caller) => caller.rights.quota,
            Kind::Ecg(_) | Kind::OpenDental(_) => None,
            Kind::Operator => return None,
        };
        own.or(self.default_quota)
    }

    /// The same, with `quota` where it has none of its own.
    #[must_use]
    pub(crate) const fn with_default_quota(mut self, quota: Option<Quota>) -> Self {
        self.default_quota = quota;
        self
    }

    /// What it may do on the Slipstream surface.
    pub fn permissions(&self) -> &[Permission] {
        match &self.kind {
            Kind::Account(account) => &account.permissions,
            Kind::Token(caller) => &caller.rights.permissions,
            Kind::Operator | Kind::Ecg(_) | Kind::OpenDental(_) => &[],
        }
    }

    /// Whether it may do this on the Slipstream surface.
    pub fn may(&self, permission: Permission) -> bool {
        self.permissions().contains(&permission)
    }

    /// Whether it may act for this site.
    pub fn may_at(&self, site: &Slug) -> bool {
        match &self.kind {
            Kind::Account(account) => account.sites.contains(site),
            Kind::Token(caller) => caller.rights.sites.contains(site),
            Kind::Operator => true,
            Kind::Ecg(_) | Kind::OpenDental(_) => false,
        }
    }

    /// The caller of an ECG route; none on all others.
    pub fn ecg(&self) -> Option<&EcgCaller> {
        match &self.kind {
            Kind::Ecg(caller) => Some(caller),
            _ => None,
        }
    }

    /// The pair of keys at an Open Dental route; none on all others.
    pub fn open_dental(&self) -> Option<&KeyPair> {
        match &self.kind {
            Kind::OpenDental(pair) => Some(pair),
            _ => None,
        }
    }
}

/// The site in the path, and who acts for it: an extractor, for handlers of routes of a site.
#[derive(Debug, Clone)]
pub struct AtSite {
    /// The site.
    pub site: Arc<Site>,
    /// Who calls. It may act for the site, and has the permission that the route needs.
    pub principal: Principal,
}

/// A handler asks for what its route's entry does not give.
pub(super) fn not_granted(what: &'static str) -> ApiError {
    ApiError::internal(anyhow::anyhow!("the handler wants {what}, and its route's entry in the access table has none"))
}

impl<S: Sync> FromRequestParts<S> for Principal {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let granted = parts.extensions.get::<Granted>().ok_or_else(|| not_granted("a principal"))?;
        Ok(granted.principal.clone())
    }
}

impl<S: Sync> FromRequestParts<S> for AtSite {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        match parts.extensions.get::<Granted>() {
            Some(Granted { principal, site: Some(site), .. }) => {
                Ok(Self { site: Arc::clone(site), principal: principal.clone() })
            }
            _ => Err(not_granted("a site")),
        }
    }
}
