//! `/admin/v1/sites/{slug}`.

use axum::Json as Answer;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use slipstream_core::config::{Product, Record, Site};
use slipstream_core::problem::{FieldError, Problem, ProblemKind};
use slipstream_core::slug::Slug;
use slipstream_service::ApiError;
use slipstream_service::audit::Note;
use slipstream_service::openapi::{Conflict, NotFound, Unprocessable};
use slipstream_store::sites::{self, SiteDetails};
use slipstream_store::{ConnectionTrait, StoreError, organisations};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{not_found, slug, text};
use crate::registry::RegistryError;
use crate::state::{AppState, Json};

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = NewSite)]
pub(super) struct Body {
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    /// The owner.
    organisation: Slug,
    /// Who is billed; the owner unless told otherwise.
    #[serde(default)]
    billing_organisation: Option<Slug>,
    product: Product,
    #[serde(default)]
    #[schema(min_length = 1, max_length = 200)]
    pms_specific_id: Option<String>,
    /// The ECG organization whose active subscriptions also get its public events; none unless told.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = "uuid")]
    ecg_organization: Option<Uuid>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Site)]
pub(super) struct View {
    slug: Slug,
    name: String,
    organisation: Slug,
    billing_organisation: Slug,
    product: Product,
    #[schema(required)]
    pms_specific_id: Option<String>,
    #[schema(required, value_type = Option<String>, format = "uuid")]
    ecg_organization: Option<Uuid>,
    revision: i64,
}

impl From<Site> for View {
    fn from(it: Site) -> Self {
        Self {
            slug: it.slug,
            name: it.name,
            organisation: it.organisation,
            billing_organisation: it.billing_organisation,
            product: it.product,
            pms_specific_id: it.pms_specific_id,
            ecg_organization: it.ecg_organization,
            revision: it.revision,
        }
    }
}

fn site_slug(text: &str) -> Result<Slug, Problem> {
    slug(text, Slug::is_site, "s")
}

impl Body {
    fn check(self) -> Result<SiteDetails, Problem> {
        let mut errors = Vec::new();
        text::check_name("name", &self.name, &mut errors);
        if let Some(id) = &self.pms_specific_id {
            text::check_name("pmsSpecificId", id, &mut errors);
        }
        if !errors.is_empty() {
            return Err(Problem::with_errors(ProblemKind::BadRequest, errors));
        }
        Ok(SiteDetails {
            name: self.name,
            billing_organisation: self.billing_organisation.unwrap_or_else(|| self.organisation.clone()),
            organisation: self.organisation,
            product: self.product,
            pms_specific_id: self.pms_specific_id,
            ecg_organization: self.ecg_organization,
        })
    }
}

/// 422 naming each organisation that does not exist.
async fn check_organisations(connection: &impl ConnectionTrait, details: &SiteDetails) -> Result<(), ApiError> {
    let mut errors = Vec::new();
    for (member, slug) in
        [("organisation", &details.organisation), ("billingOrganisation", &details.billing_organisation)]
    {
        if organisations::get(connection, slug).await.map_err(RegistryError::from)?.is_none() {
            errors.push(FieldError::at(member, "there is no such organisation"));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(Problem::with_errors(ProblemKind::Unprocessable, errors).into()) }
}

/// Creates or replaces.
#[utoipa::path(
    put,
    path = "/admin/v1/sites/{slug}",
    tag = "Configuration",
    operation_id = "putSite",
    summary = "Create or replace a site",
    params(("slug" = inline(Slug), Path, description = "Its slug, beginning with s")),
    request_body = Body,
    responses((status = 200, description = "It is in force.", body = View), Conflict, Unprocessable)
)]
pub(super) async fn put(
    State(state): State<AppState>,
    note: Note,
    Path(slug): Path<String>,
    Json(body): Json<Body>,
) -> Result<Answer<View>, ApiError> {
    let slug = site_slug(&slug)?;
    note.site(&slug);
    let details = body.check()?;
    let transaction = state.registry.store().begin().await.map_err(RegistryError::from)?;
    check_organisations(&transaction, &details).await?;
    let site = sites::put(&transaction, &slug, &details).await.map_err(RegistryError::from)?;
    transaction.commit().await.map_err(StoreError::from).map_err(RegistryError::from)?;
    state.registry.mirror(&Record::Site(site.clone()).key()).await?;
    state.seen(|snapshot| snapshot.site(&slug).is_some_and(|seen| seen.revision >= site.revision)).await;
    Ok(Answer(site.into()))
}

#[utoipa::path(
    get,
    path = "/admin/v1/sites/{slug}",
    tag = "Configuration",
    operation_id = "getSite",
    summary = "Get a site",
    params(("slug" = inline(Slug), Path, description = "Its slug, beginning with s")),
    responses((status = 200, description = "It.", body = View), NotFound)
)]
pub(super) async fn get(State(state): State<AppState>, Path(slug): Path<String>) -> Result<Answer<View>, ApiError> {
    let slug = site_slug(&slug)?;
    let found = sites::get(state.registry.store().connection(), &slug).await.map_err(RegistryError::from)?;
    Ok(Answer(found.ok_or_else(|| not_found("site"))?.into()))
}
