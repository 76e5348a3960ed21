//! The operator API of this service under `/admin/v1` (SPEC 4.9): what the surfaces need and their public APIs do not
//! create. camelCase JSON; problem details; never exposed publicly.

mod accounts;
mod endpoints;
mod list;
mod organisations;
mod secrets;
mod sites;
mod text;

use axum::Router;
use axum::routing::{delete, get, post, put};
use http::{HeaderName, header};
use slipstream_core::problem::{Problem, ProblemKind};
use slipstream_core::slug::Slug;
use slipstream_service::auth::operator_only;
use slipstream_service::config::OperatorConfig;

use crate::state::AppState;

/// Answers that hold a secret are kept by nobody.
const NO_STORE: [(HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];

/// The routes. All need the operator's token.
pub(crate) fn router(operator: &OperatorConfig) -> Router<AppState> {
    let router = Router::new()
        .route("/admin/v1/organisations/{slug}", put(organisations::put).get(organisations::get))
        .route("/admin/v1/sites/{slug}", put(sites::put).get(sites::get))
        .route("/admin/v1/accounts", post(accounts::create).get(accounts::list))
        .route("/admin/v1/accounts/{id}", get(accounts::get))
        .route("/admin/v1/accounts/{id}/keys/{slot}", put(accounts::rotate_key))
        .route("/admin/v1/endpoints", get(endpoints::list))
        .route("/admin/v1/endpoints/{id}", get(endpoints::get))
        .route("/admin/v1/endpoints/{id}/enable", post(endpoints::enable))
        .route("/admin/v1/endpoints/{id}/disable", post(endpoints::disable))
        .route("/admin/v1/endpoints/{id}/limits", put(endpoints::set_limits))
        .route("/admin/v1/endpoints/{id}/secret", get(secrets::list))
        .route("/admin/v1/endpoints/{id}/secrets/{key}", delete(secrets::revoke))
        .route("/admin/v1/endpoints/{id}/rotate-secret", post(secrets::rotate));
    operator_only(router, operator)
}

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
