//! `/admin/v1/organisations/{slug}`.

use axum::Json as Answer;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use slipstream_core::config::{Organisation, Record};
use slipstream_core::problem::{Problem, ProblemKind};
use slipstream_core::slug::Slug;
use slipstream_service::ApiError;
use slipstream_service::openapi::NotFound;
use slipstream_store::organisations;
use utoipa::ToSchema;

use super::{not_found, slug, text};
use crate::registry::RegistryError;
use crate::state::{AppState, Json};

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewOrganisation)]
pub(super) struct Body {
    #[schema(min_length = 1, max_length = 200)]
    name: String,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Organisation)]
pub(super) struct View {
    slug: Slug,
    name: String,
    revision: i64,
}

impl From<Organisation> for View {
    fn from(it: Organisation) -> Self {
        Self { slug: it.slug, name: it.name, revision: it.revision }
    }
}

fn organisation_slug(text: &str) -> Result<Slug, Problem> {
    slug(text, Slug::is_organisation, "o")
}

/// Creates or replaces.
#[utoipa::path(
    put,
    path = "/admin/v1/organisations/{slug}",
    tag = "Configuration",
    operation_id = "putOrganisation",
    summary = "Create or replace an organisation",
    params(("slug" = inline(Slug), Path, description = "Its slug, beginning with o")),
    request_body = Body,
    responses((status = 200, description = "It is in force.", body = View))
)]
pub(super) async fn put(
    State(state): State<AppState>,
    Path(slug): Path<String>,
    Json(body): Json<Body>,
) -> Result<Answer<View>, ApiError> {
    let slug = organisation_slug(&slug)?;
    let mut errors = Vec::new();
    text::check_name("name", &body.name, &mut errors);
    if !errors.is_empty() {
        return Err(Problem::with_errors(ProblemKind::BadRequest, errors).into());
    }
    let connection = state.registry.store().connection();
    let organisation = organisations::put(connection, &slug, &body.name).await.map_err(RegistryError::from)?;
    state.registry.mirror(&Record::Organisation(organisation.clone()).key()).await?;
    Ok(Answer(organisation.into()))
}

#[utoipa::path(
    get,
    path = "/admin/v1/organisations/{slug}",
    tag = "Configuration",
    operation_id = "getOrganisation",
    summary = "Get an organisation",
    params(("slug" = inline(Slug), Path, description = "Its slug, beginning with o")),
    responses((status = 200, description = "It.", body = View), NotFound)
)]
pub(super) async fn get(State(state): State<AppState>, Path(slug): Path<String>) -> Result<Answer<View>, ApiError> {
    let slug = organisation_slug(&slug)?;
    let found = organisations::get(state.registry.store().connection(), &slug).await.map_err(RegistryError::from)?;
    Ok(Answer(found.ok_or_else(|| not_found("organisation"))?.into()))
}
