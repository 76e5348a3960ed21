//! Who asks, and whether they may (SPEC 5.1, THREATS 6).
//!
//! Everything is answered from the [`Snapshot`] at hand: no database, no cache, and a revoked key is refused as soon
//! as the registry's change has arrived.

use std::str::FromStr as _;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use http::{HeaderMap, header};
use slipstream_core::config::{Account, KeyHash, Permission, Site};
use slipstream_core::ids::AccountId;
use slipstream_core::problem::{Problem, ProblemKind};
use slipstream_core::slug::Slug;

use crate::config::{OperatorConfig, Secret};
use crate::directory::Snapshot;
use crate::problem::ApiError;

/// The header that carries an account's key.
pub const API_KEY: &str = "x-api-key";

/// Bytes of a key. Ours have 36 for the account, one, and the random part.
const KEY_LEN_MAX: usize = 256;

/// What a site that does not exist answers to somebody who may use the route (SPEC 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownSite {
    /// 403, as for a site of somebody else: S1 and S2 do not tell which sites exist.
    Forbidden,
    /// 404: S3 to S5.
    NotFound,
}

/// The account whose key `headers` carry.
///
/// # Errors
/// 401 when there is no key, two different ones, or one that is not valid now. The detail tells malformed from
/// unknown in no case.
pub fn authenticate<'a>(snapshot: &'a Snapshot, headers: &HeaderMap) -> Result<&'a Arc<Account>, Problem> {
    let unauthorized = |detail: &'static str| Problem::new(ProblemKind::Unauthorized, detail);
    let mut keys = headers.get_all(API_KEY).iter();
    let key = keys.next().ok_or_else(|| unauthorized("an API key is needed: X-API-KEY"))?;
    if keys.any(|other| other != key) {
        return Err(unauthorized("two different API keys were given"));
    }
    account_of_key(snapshot, key.as_bytes()).ok_or_else(|| unauthorized("the API key is not valid"))
}

fn account_of_key<'a>(snapshot: &'a Snapshot, key: &[u8]) -> Option<&'a Arc<Account>> {
    if key.len() > KEY_LEN_MAX {
        return None;
    }
    let key = std::str::from_utf8(key).ok()?;
    let (account, _random) = key.split_once('_')?;
    let Some(account) = snapshot.account(AccountId::from_str(account).ok()?) else {
        // As much work as for an account that exists, so that the time does not tell whether it does.
        let hash = KeyHash::of(key);
        let _ = hash.matches(&hash);
        return None;
    };
    account.has_key(key).then_some(account)
}

/// The site named by the path's `slug`, and the account that acts for it with `permission`.
///
/// # Errors
/// In this order: 401 without a valid key, 400 `slug-malformed`, 403 without `permission`, 403 or 404 (as `unknown`
/// says) for a site that does not exist, 403 for one that the account may not act for.
pub fn authorize(
    snapshot: &Snapshot,
    headers: &HeaderMap,
    slug: &str,
    permission: Permission,
    unknown: UnknownSite,
) -> Result<(Arc<Site>, Arc<Account>), Problem> {
    let account = authenticate(snapshot, headers)?;
    let slug = Slug::from_str(slug)
        .map_err(|error| Problem::new(ProblemKind::SlugMalformed, format!("the site slug {error}")))?;
    if !account.permissions.contains(&permission) {
        return Err(Problem::new(ProblemKind::Forbidden, "the account does not have the permission for this"));
    }
    // One text for both, so that it does not tell which sites exist.
    let forbidden = || Problem::new(ProblemKind::Forbidden, "the account may not act for this site");
    let site = snapshot.site(&slug).ok_or_else(|| match unknown {
        UnknownSite::Forbidden => forbidden(),
        UnknownSite::NotFound => Problem::new(ProblemKind::NotFound, "there is no such site"),
    })?;
    if !account.sites.contains(&slug) {
        return Err(forbidden());
    }
    Ok((Arc::clone(site), Arc::clone(account)))
}

/// Lets only the operator through to the routes of `router`: `Authorization: Bearer <operator token>`, else 401.
///
/// Guards the routes that `router` has now, so it goes last. Paths without a route stay 404 for everybody.
pub fn operator_only<S: Clone + Send + Sync + 'static>(router: Router<S>, config: &OperatorConfig) -> Router<S> {
    router.route_layer(from_fn_with_state(config.token.clone(), require_operator))
}

async fn require_operator(State(token): State<Secret>, request: Request, next: Next) -> Result<Response, ApiError> {
    if is_operator(&token, request.headers()) {
        Ok(next.run(request).await)
    } else {
        Err(Problem::new(ProblemKind::Unauthorized, "the operator's bearer token is needed").into())
    }
}

/// Whether `headers` carry the operator's token, exactly once.
fn is_operator(token: &Secret, headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let Ok(value) = value.to_str() else { return false };
    // The scheme's name is compared without case (RFC 9110, 11.1).
    match value.split_once(' ') {
        Some((scheme, given)) if scheme.eq_ignore_ascii_case("bearer") => token.matches(given.trim_start_matches(' ')),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
