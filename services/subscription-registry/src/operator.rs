//! The operator API of this service under `/admin/v1` (SPEC 4.9): what the surfaces need and their public APIs do not
//! create. camelCase JSON; problem details; never exposed publicly.

mod accounts;
mod endpoints;
mod list;
mod organisations;
mod secrets;
mod sites;
pub(crate) mod text;

use http::{HeaderName, Method, header};
use slipstream_core::problem::{Problem, ProblemKind};
use slipstream_core::slug::Slug;
use slipstream_service::access::Routes;
use utoipa::OpenApi;

use crate::state::AppState;

/// Answers that hold a secret are kept by nobody.
pub(crate) const NO_STORE: [(HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];

/// Adds the routes. All need the operator's token.
pub(crate) fn add(routes: Routes<AppState>) -> Routes<AppState> {
    routes
        .add(Method::PUT, "/admin/v1/organisations/{slug}", organisations::put)
        .add(Method::GET, "/admin/v1/organisations/{slug}", organisations::get)
        .add(Method::PUT, "/admin/v1/sites/{slug}", sites::put)
        .add(Method::GET, "/admin/v1/sites/{slug}", sites::get)
        .add(Method::POST, "/admin/v1/accounts", accounts::create)
        .add(Method::GET, "/admin/v1/accounts", accounts::list)
        .add(Method::GET, "/admin/v1/accounts/{id}", accounts::get)
        .add(Method::PUT, "/admin/v1/accounts/{id}", accounts::put)
        .add(Method::DELETE, "/admin/v1/accounts/{id}", accounts::delete)
        .add(Method::PUT, "/admin/v1/accounts/{id}/keys/{slot}", accounts::rotate_key)
        .add(Method::PUT, "/admin/v1/accounts/{id}/quota", accounts::set_quota)
        .add(Method::GET, "/admin/v1/endpoints", endpoints::list)
        .add(Method::GET, "/admin/v1/endpoints/{id}", endpoints::get)
        .add(Method::POST, "/admin/v1/endpoints/{id}/enable", endpoints::enable)
        .add(Method::POST, "/admin/v1/endpoints/{id}/disable", endpoints::disable)
        .add(Method::PUT, "/admin/v1/endpoints/{id}/limits", endpoints::set_limits)
        .add(Method::GET, "/admin/v1/endpoints/{id}/secret", secrets::list)
        .add(Method::DELETE, "/admin/v1/endpoints/{id}/secrets/{key}", secrets::revoke)
        .add(Method::POST, "/admin/v1/endpoints/{id}/rotate-secret", secrets::rotate)
}

/// The operations, in the order of the routes.
#[derive(OpenApi)]
#[openapi(paths(
    organisations::put,
    organisations::get,
    sites::put,
    sites::get,
    accounts::create,
    accounts::list,
    accounts::get,
    accounts::put,
    accounts::delete,
    accounts::rotate_key,
    accounts::set_quota,
    endpoints::list,
    endpoints::get,
    endpoints::enable,
    endpoints::disable,
    endpoints::set_limits,
    secrets::list,
    secrets::revoke,
    secrets::rotate
))]
pub(crate) struct Operations;

/// A slug out of a path, of the kind that `fits`.
fn slug(text: &str, fits: fn(&Slug) -> bool, kind: &'static str) -> Result<Slug, Problem> {
    let malformed = |detail: String| Problem::new(ProblemKind::SlugMalformed, detail);
    let slug: Slug = text.parse().map_err(|error| malformed(format!("the slug {error}")))?;
    if fits(&slug) { Ok(slug) } else { Err(malformed(format!("the slug must begin with {kind}"))) }
}

/// What a path names does not exist.
fn not_found(what: &'static str) -> Problem {
    Problem::new(ProblemKind::NotFound, format!("there is no such {what}"))
}
