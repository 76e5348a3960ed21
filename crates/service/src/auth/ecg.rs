//! Callers of the ECG surface (SPEC 6.1): a token with roles and organizations.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use slipstream_core::problem::{Problem, ProblemKind};
use uuid::Uuid;

use super::authorization::unauthorized;
use super::bearer::refused;
use super::guards::Granted;
use super::principal::not_granted;
use super::token::{Claims, Verifier};
use super::{Principal, TokenActor};
use crate::config::Secret;
use crate::problem::ApiError;

/// What an ECG token lets its holder do. A later role includes the earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EcgRole {
    /// `webhookManager`: what belongs to its own organizations.
    Manager,
    /// `webhookAdmin`: everything.
    Admin,
}

/// The holder of an ECG token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EcgCaller {
    pub(super) actor: Arc<TokenActor>,
    /// `sub`: who creates and changes things.
    pub id: Uuid,
    /// The highest of its roles; none: it may do nothing.
    pub role: Option<EcgRole>,
    /// `organizationIds`.
    organizations: Vec<Uuid>,
}

impl EcgCaller {
    /// Reads the claims of a token that is good.
    ///
    /// # Errors
    /// 401 when a claim is missing or not of its type.
    fn read(claims: &Claims) -> Result<Self, Problem> {
        let malformed = || unauthorized("the token's claims are not those of this API");
        let has = |role: &str| claims.roles.iter().any(|given| given == role);
        let role = match (has("webhookAdmin"), has("webhookManager")) {
            (true, _) => Some(EcgRole::Admin),
            (false, true) => Some(EcgRole::Manager),
            (false, false) => None,
        };
        let organizations = match claims.all.get("organizationIds") {
            None => Vec::new(),
            Some(serde_json::Value::Array(ids)) => {
                let id = |id: &serde_json::Value| id.as_str().and_then(|id| id.parse().ok()).ok_or_else(malformed);
                ids.iter().map(id).collect::<Result<_, _>>()?
            }
            Some(_) => return Err(malformed()),
        };
        let id = claims.subject.parse().map_err(|_| malformed())?;
        let actor = TokenActor { issuer: claims.issuer_name.clone(), subject: claims.subject.clone() };
        Ok(Self { actor: Arc::new(actor), id, role, organizations })
    }

    /// Whether it may see and change what belongs to this organization; else 403 (SPEC 6.1).
    pub fn may_at(&self, organization: Uuid) -> bool {
        self.role == Some(EcgRole::Admin) || self.organizations.contains(&organization)
    }
}

/// The organization in the path, and who acts for it: an extractor, for handlers of ECG routes of an organization.
#[derive(Debug, Clone)]
pub struct AtOrganization {
    /// The organization. Any UUID that the token allows is valid.
    pub organization: Uuid,
    /// The caller's id, its token's `sub`: who creates and changes things.
    pub caller: Uuid,
    /// The highest of its roles, which is at least the one that the route needs.
    pub role: EcgRole,
    /// Who calls. It may act for the organization, and has the role that the route needs.
    pub principal: Principal,
}

/// Who calls a route of the ECG surface, of an organization or of none: an extractor.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Its id, its token's `sub`: who creates and changes things.
    pub id: Uuid,
    /// The highest of its roles, which is at least the one that the route needs.
    pub role: EcgRole,
    /// Who it is.
    pub principal: Principal,
}

impl Caller {
    /// Whether it may see and change what belongs to this organization.
    pub fn may_at(&self, organization: Uuid) -> bool {
        self.principal.ecg().is_some_and(|caller| caller.may_at(organization))
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let not_granted = || not_granted("a caller of the ECG surface");
        let principal = parts.extensions.get::<Granted>().map(|granted| granted.principal.clone());
        let principal = principal.ok_or_else(not_granted)?;
        let EcgCaller { id, role, .. } = principal.ecg().ok_or_else(not_granted)?;
        Ok(Self { id: *id, role: role.ok_or_else(not_granted)?, principal })
    }
}

impl<S: Sync> FromRequestParts<S> for AtOrganization {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let organization = parts.extensions.get::<Granted>().and_then(|granted| granted.organization);
        let organization = organization.ok_or_else(|| not_granted("an organization"))?;
        let Caller { id, role, principal } = Caller::from_request_parts(parts, state).await?;
        Ok(Self { organization, caller: id, role, principal })
    }
}

/// Reads an organization's id as it stands in a path: hyphens, any case (SPEC 2.1).
///
/// # Errors
/// 400 when it is no such id.
fn organization(text: &str) -> Result<Uuid, Problem> {
    let id = crate::ecg::uuid(text);
    id.ok_or_else(|| Problem::new(ProblemKind::BadRequest, "the organization's id is not a UUID"))
}

/// The holder of `token`.
///
/// # Errors
/// 401 when it is not good, or does not have the claims of this API.
pub(super) async fn verify(verifier: &Verifier, token: &Secret) -> Result<Principal, Problem> {
    let claims = verifier.verify(token.expose()).await.map_err(refused)?;
    Ok(Principal::of_ecg(EcgCaller::read(&claims)?))
}

impl Principal {
    /// Checks that it has `role`, or one that includes it.
    ///
    /// # Errors
    /// 403 otherwise.
    pub(crate) fn require_ecg(&self, role: EcgRole) -> Result<(), Problem> {
        let has = self.ecg().and_then(|caller| caller.role).is_some_and(|has| has >= role);
        if has {
            Ok(())
        } else {
            Err(Problem::new(ProblemKind::Forbidden, "the token does not have the role for this"))
        }
    }

    /// The organization that a path names as `text`, for which it may act.
    ///
    /// # Errors
    /// 400 when that is no UUID, 403 when it is another's organization (SPEC 6.1).
    pub(crate) fn require_organization(&self, text: &str) -> Result<Uuid, Problem> {
        let id = organization(text)?;
        if self.ecg().is_some_and(|caller| caller.may_at(id)) {
            Ok(id)
        } else {
            Err(Problem::new(ProblemKind::Forbidden, "the token does not allow this organization"))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: &str = "321644ae-5b0f-4d0e-9c8c-0a8f8f3d7c11";
    const OTHER: &str = "784600d0-5b0f-4d0e-9c8c-0a8f8f3d7c11";

    fn read(subject: &str, roles: &[&str], organizations: Option<serde_json::Value>) -> Result<EcgCaller, Problem> {
        let mut all = serde_json::Map::new();
        all.extend(organizations.map(|ids| ("organizationIds".to_owned(), ids)));
        EcgCaller::read(&Claims {
            issuer_name: "ecg".into(),
            subject: subject.into(),
            tenant: None,
            roles: roles.iter().map(|&role| role.to_owned()).collect(),
            scopes: Vec::new(),
            all,
        })
    }

    #[test]
    fn a_manager_manages_its_organizations_and_an_admin_all() {
        let (ours, other): (Uuid, Uuid) = (ID.parse().unwrap(), OTHER.parse().unwrap());
        let may = |roles: &[&str]| {
            let caller = read(ID, roles, Some(json!([ID.to_uppercase()]))).unwrap();
            let principal = Principal::of_ecg(caller.clone());
            let has = [EcgRole::Manager, EcgRole::Admin].map(|role| principal.require_ecg(role).is_ok());
            (has, [caller.may_at(ours), caller.may_at(other)])
        };
        assert_eq!(may(&["webhookManager"]), ([true, false], [true, false]));
        assert_eq!(may(&["webhookAdmin"]), ([true, true], [true, true]));
        assert_eq!(may(&["webhookManager", "webhookAdmin"]), ([true, true], [true, true]));
        assert_eq!(may(&["somethingElse"]), ([false, false], [true, false]));
    }

    #[test]
    fn an_organization_is_a_uuid_with_hyphens_in_any_case() {
        assert_eq!(organization(&ID.to_uppercase()).unwrap().to_string(), ID);
        let simple = ID.replace('-', "");
        for other in ["", "1", &simple, &format!("{{{ID}}}"), &format!("urn:uuid:{ID}"), &format!("{simple}0000")] {
            assert_eq!(organization(other).unwrap_err().kind, ProblemKind::BadRequest, "{other}");
        }
    }

    #[test]
    fn claims_of_other_types_are_refused() {
        assert!(read("not-a-uuid", &[], None).is_err());
        for ids in [json!(ID), json!({}), json!(null), json!([7]), json!(["x"])] {
            assert!(read(ID, &[], Some(ids.clone())).is_err(), "{ids}");
        }
        assert!(!read(ID, &["webhookManager"], None).unwrap().may_at(ID.parse().unwrap()));
    }
}
