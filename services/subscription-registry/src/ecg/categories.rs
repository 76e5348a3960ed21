//! Categories of events (SPEC 6.4; E2 to E10).

use axum::Json as Answer;
use axum::extract::{Path, Request, State};
use axum::response::IntoResponse;
use http::{StatusCode, header};
use serde::Deserialize;
use slipstream_core::config::{EcgCategory, Flags, Record, Stamps};
use slipstream_core::ids::EcgCategoryId;
use slipstream_core::problem::{FieldError, Problem, ProblemKind};
use slipstream_core::timestamp::Timestamp;
use slipstream_service::audit::Note;
use slipstream_service::ecg::body::Json;
use slipstream_service::ecg::{
    Caller, Category, ListOf, Paging, PagingParameters, Query, Value, not_found, patch, path_id,
};
use slipstream_service::idempotency::NewId;
use slipstream_service::openapi::{Conflict, NotFound, Unprocessable};
use slipstream_service::{ApiError, clock, json};
use slipstream_store::StoreError;
use slipstream_store::ecg::{categories, events};
use utoipa::ToSchema;

use super::list::{self, StatusParameter};
use super::switch::Verb;
use super::{patching, text};
use crate::registry::RegistryError;
use crate::state::AppState;

/// What a patch may change.
const PATCHABLE: [&str; 3] = ["/name", "/code", "/description"];

/// What callers say of a category.
#[derive(Deserialize, ToSchema)]
#[schema(as = NewWebhookCategory)]
pub(super) struct Details {
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    /// Unique among categories, without case.
    #[schema(pattern = "^[A-Za-z0-9]+([._-][A-Za-z0-9]+)*$", max_length = 100)]
    code: String,
    #[serde(default)]
    #[schema(max_length = 2000)]
    description: Option<String>,
}

impl Details {
    fn check(self) -> Result<Self, Problem> {
        let mut errors = Vec::<FieldError>::new();
        text::check_name("name", &self.name, &mut errors);
        text::check_code("code", &self.code, &mut errors);
        if let Some(description) = &self.description {
            text::check_description("description", description, &mut errors);
        }
        if errors.is_empty() { Ok(self) } else { Err(Problem::with_errors(ProblemKind::BadRequest, errors)) }
    }
}

/// 404.
pub(super) fn no_category() -> ApiError {
    not_found("webhook category").into()
}

/// The id of a category, as the path gives it.
pub(super) fn category_id(text: &str) -> Result<EcgCategoryId, Problem> {
    path_id(text, "webhookCategoryId")
}

/// What the database says of a write whose code may be taken.
fn refused(error: StoreError) -> ApiError {
    let detail = "another webhook category has this code";
    match error {
        StoreError::Conflict(_) => ApiError::from(Problem::new(ProblemKind::Conflict, detail)).caused_by(error),
        error => RegistryError::from(error).into(),
    }
}

/// Puts a category in force as it stands, here and everywhere.
async fn put_in_force(state: &AppState, category: &EcgCategory) -> Result<(), ApiError> {
    state.registry.mirror(&Record::EcgCategory(category.clone()).key()).await?;
    let is_seen = |seen: &std::sync::Arc<EcgCategory>| seen.revision >= category.revision;
    state.seen(|snapshot| snapshot.ecg().category(category.id).is_some_and(is_seen)).await;
    Ok(())
}

/// Makes `change`, which says whether there is one, of the category called `id`, in the name of `caller`.
async fn change(
    state: &AppState,
    caller: &Caller,
    id: EcgCategoryId,
    change: impl FnOnce(&mut EcgCategory, Timestamp) -> Result<bool, Problem>,
) -> Result<EcgCategory, ApiError> {
    let transaction = state.registry.store().begin().await.map_err(RegistryError::from)?;
    let standing = categories::lock(&transaction, id).await.map_err(RegistryError::from)?;
    let mut category = standing.ok_or_else(no_category)?;
    let now = clock::now();
    if change(&mut category, now)? {
        category.stamps = category.stamps.changed(caller.id, now);
        let changed = categories::replace(&transaction, &category).await.map_err(refused)?;
        category = changed.ok_or_else(no_category)?;
        transaction.commit().await.map_err(StoreError::from).map_err(RegistryError::from)?;
    } else {
        drop(transaction);
    }
    // Also where there is no change: this may be the repeat of one that was answered 503.
    put_in_force(state, &category).await?;
    Ok(category)
}

/// E2: creates a category, active and not archived.
#[utoipa::path(
    post,
    path = "/api/webhook-categories",
    tag = "Webhook categories",
    operation_id = "createWebhookCategory",
    summary = "Create a webhook category",
    request_body = Details,
    responses(
        (
            status = 201,
            description = "It is in force.",
            body = Category,
            headers(("Location" = String, description = "Where it is")),
        ),
        Conflict,
    )
)]
pub(super) async fn create(
    State(state): State<AppState>,
    caller: Caller,
    note: Note,
    new_id: NewId,
    Json(body): Json<Details>,
) -> Result<impl IntoResponse, ApiError> {
    let Details { name, code, description } = body.check()?;
    let (id, now) = (EcgCategoryId(new_id.get()), clock::now());
    note.target(id);
    let (flags, stamps) = (Flags::new(true, now), Stamps::new(caller.id, now));
    let wanted = EcgCategory { id, name, code, description, flags, stamps, deleted: false, revision: 1 };
    let connection = state.registry.store().connection();
    let category = match categories::create(connection, &wanted).await {
        Ok(()) => wanted,
        Err(error @ StoreError::Conflict(_)) if new_id.may_exist() => {
            // This very request may have made it before, when its answer was not heard.
            let made = categories::get(connection, id).await.map_err(RegistryError::from)?;
            made.ok_or_else(|| refused(error))?
        }
        Err(error) => return Err(refused(error)),
    };
    put_in_force(&state, &category).await?;
    tracing::info!(ecg.category.id = %id, "webhook category created");
    let location = [(header::LOCATION, format!("/api/webhook-categories/{id}"))];
    Ok((StatusCode::CREATED, location, Answer(Category::from(&category))))
}

/// E3: categories by their last change.
#[utoipa::path(
    get,
    path = "/api/webhook-categories",
    tag = "Webhook categories",
    operation_id = "listWebhookCategories",
    summary = "List webhook categories, by their last change",
    params(StatusParameter, PagingParameters),
    responses((status = 200, description = "A page of them.", body = ListOf<Category>))
)]
pub(super) async fn list(
    State(state): State<AppState>,
    paging: Paging,
    query: Query,
) -> Result<Answer<ListOf<Category>>, ApiError> {
    let (status, slice) = (list::status(&query)?, list::slice(&paging));
    let listed = categories::page(state.registry.store().connection(), status, slice).await;
    let listed = listed.map_err(RegistryError::from)?;
    Ok(Answer(paging.list(listed.items.iter().map(Category::from).collect(), listed.total)))
}

/// E4: deletes a category that has no events.
#[utoipa::path(
    delete,
    path = "/api/webhook-categories/{webhookCategoryId}",
    tag = "Webhook categories",
    operation_id = "deleteWebhookCategory",
    summary = "Delete a webhook category that has no events",
    description = "Its code may be used again. What was posted of its events still names it.",
    params(("webhookCategoryId" = inline(EcgCategoryId), Path, description = "The category")),
    responses((status = 200, description = "It is gone.", body = Value), NotFound, Conflict)
)]
pub(super) async fn delete(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Answer<Value>, ApiError> {
    let id = category_id(&id)?;
    let transaction = state.registry.store().begin().await.map_err(RegistryError::from)?;
    let Some(standing) = categories::lock(&transaction, id).await.map_err(RegistryError::from)? else {
        drop(transaction);
        return Err(finish_deletion(&state, id).await);
    };
    if events::count_of_category(&transaction, id).await.map_err(RegistryError::from)? > 0 {
        return Err(Problem::new(ProblemKind::Conflict, "the webhook category still has events").into());
    }
    let stamps = standing.stamps.changed(caller.id, clock::now());
    let deleted = EcgCategory { deleted: true, stamps, ..standing };
    let deleted = categories::replace(&transaction, &deleted).await.map_err(refused)?.ok_or_else(no_category)?;
    transaction.commit().await.map_err(StoreError::from).map_err(RegistryError::from)?;
    put_in_force(&state, &deleted).await?;
    tracing::info!(ecg.category.id = %id, "webhook category deleted");
    Ok(Answer(Value::TRUE))
}

/// There is no such category. If there was one, its deletion may have been answered 503, and is put in force now.
async fn finish_deletion(state: &AppState, id: EcgCategoryId) -> ApiError {
    match categories::get_any(state.registry.store().connection(), id).await.map_err(RegistryError::from) {
        Ok(Some(deleted)) => put_in_force(state, &deleted).await.err().unwrap_or_else(no_category),
        Ok(None) => no_category(),
        Err(error) => error.into(),
    }
}

/// E5.
#[utoipa::path(
    get,
    path = "/api/webhook-categories/{webhookCategoryId}",
    tag = "Webhook categories",
    operation_id = "getWebhookCategory",
    summary = "Get a webhook category",
    params(("webhookCategoryId" = inline(EcgCategoryId), Path, description = "The category")),
    responses((status = 200, description = "It.", body = Category), NotFound)
)]
pub(super) async fn get(State(state): State<AppState>, Path(id): Path<String>) -> Result<Answer<Category>, ApiError> {
    let found = categories::get(state.registry.store().connection(), category_id(&id)?).await;
    let category = found.map_err(RegistryError::from)?.ok_or_else(no_category)?;
    Ok(Answer((&category).into()))
}

/// E6: changes name, code and description.
#[utoipa::path(
    patch,
    path = "/api/webhook-categories/{webhookCategoryId}",
    tag = "Webhook categories",
    operation_id = "patchWebhookCategory",
    summary = "Change a webhook category",
    description = "A JSON Patch (RFC 6902) of `/name`, `/code` and `/description`; all or nothing. One that changes nothing \
                   leaves `updatedAt` as it is, too.",
    params(("webhookCategoryId" = inline(EcgCategoryId), Path, description = "The category")),
    request_body = patching::Body,
    responses(
        (status = 200, description = "The category as it is now.", body = Category),
        NotFound,
        Conflict,
        Unprocessable,
    )
)]
pub(super) async fn patch(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    request: Request,
) -> Result<Answer<Category>, ApiError> {
    let id = category_id(&id)?;
    let patch = patching::read(&state, request).await?;
    let patched = |category: &mut EcgCategory, _| {
        let document = patching::document(&Category::from(&*category));
        let patched = patch::apply(&patch, &document, &PATCHABLE)?;
        let Details { name, code, description } = json::read::<Details>(patched.to_string().as_bytes())?.check()?;
        let changed = EcgCategory { name, code, description, ..category.clone() };
        let is_changed = changed != *category;
        *category = changed;
        Ok(is_changed)
    };
    let category = change(&state, &caller, id, patched).await?;
    tracing::info!(ecg.category.id = %id, "webhook category changed");
    Ok(Answer((&category).into()))
}

async fn switch(state: &AppState, caller: &Caller, id: &str, verb: Verb) -> Result<Answer<Value>, ApiError> {
    let id = category_id(id)?;
    let switched = |category: &mut EcgCategory, now| {
        let flags = verb.apply(category.flags, now)?;
        category.flags = flags.unwrap_or(category.flags);
        Ok(flags.is_some())
    };
    change(state, caller, id, switched).await?;
    tracing::info!(ecg.category.id = %id, ?verb, "webhook category switched");
    Ok(Answer(Value::TRUE))
}

/// E7: nothing of its events is dispatched from now on, whatever the other flags say.
#[utoipa::path(
    post,
    path = "/api/webhook-categories/{webhookCategoryId}/archive",
    tag = "Webhook categories",
    operation_id = "archiveWebhookCategory",
    summary = "Put a webhook category away",
    description = "Nothing of its events is dispatched then, whatever other flags say. A repeat changes nothing.",
    params(("webhookCategoryId" = inline(EcgCategoryId), Path, description = "The category")),
    responses((status = 200, description = "It is archived.", body = Value), NotFound)
)]
pub(super) async fn archive(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Answer<Value>, ApiError> {
    switch(&state, &caller, &id, Verb::Archive).await
}

/// E8.
#[utoipa::path(
    post,
    path = "/api/webhook-categories/{webhookCategoryId}/restore",
    tag = "Webhook categories",
    operation_id = "restoreWebhookCategory",
    summary = "Take a webhook category out of the archive",
    description = "Whether it is active stays as it was. A repeat changes nothing.",
    params(("webhookCategoryId" = inline(EcgCategoryId), Path, description = "The category")),
    responses((status = 200, description = "It is not archived.", body = Value), NotFound)
)]
pub(super) async fn restore(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Answer<Value>, ApiError> {
    switch(&state, &caller, &id, Verb::Restore).await
}

/// E9.
#[utoipa::path(
    post,
    path = "/api/webhook-categories/{webhookCategoryId}/activate",
    tag = "Webhook categories",
    operation_id = "activateWebhookCategory",
    summary = "Switch a webhook category on",
    description = "One that is archived is restored first. A repeat changes nothing.",
    params(("webhookCategoryId" = inline(EcgCategoryId), Path, description = "The category")),
    responses((status = 200, description = "It is active.", body = Value), NotFound, Conflict)
)]
pub(super) async fn activate(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Answer<Value>, ApiError> {
    switch(&state, &caller, &id, Verb::Activate).await
}

/// E10.
#[utoipa::path(
    post,
    path = "/api/webhook-categories/{webhookCategoryId}/deactivate",
    tag = "Webhook categories",
    operation_id = "deactivateWebhookCategory",
    summary = "Switch a webhook category off",
    description = "Nothing of its events is dispatched then. A repeat changes nothing.",
    params(("webhookCategoryId" = inline(EcgCategoryId), Path, description = "The category")),
    responses((status = 200, description = "It is not active.", body = Value), NotFound)
)]
pub(super) async fn deactivate(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Answer<Value>, ApiError> {
    switch(&state, &caller, &id, Verb::Deactivate).await
}
