//! Kinds of events that can be subscribed to (SPEC 6.4; E12 to E20). Each is addressed under its own category.

use axum::Json as Answer;
use axum::extract::{Path, Request, State};
use axum::response::IntoResponse;
use http::{StatusCode, header};
use serde::Deserialize;
use slipstream_core::config::{EcgCategory, EcgEvent, Flags, Record, Stamps};
use slipstream_core::ids::{EcgCategoryId, EcgEventId};
use slipstream_core::problem::{FieldError, Problem, ProblemKind};
use slipstream_core::timestamp::Timestamp;
use slipstream_service::audit::Note;
use slipstream_service::ecg::body::Json;
use slipstream_service::ecg::{
    Caller, Event, ListOf, Paging, PagingParameters, Query, Value, not_found, patch, path_id,
};
use slipstream_service::idempotency::NewId;
use slipstream_service::openapi::{Conflict, NotFound, Unprocessable};
use slipstream_service::{ApiError, clock, json};
use slipstream_store::ecg::{categories, events, subscriptions};
use slipstream_store::{ConnectionTrait, StoreError};
use utoipa::{IntoParams, ToSchema};

use super::categories::{category_id, no_category};
use super::list::{self, StatusParameter};
use super::switch::Verb;
use super::{patching, text};
use crate::registry::RegistryError;
use crate::state::AppState;

/// What a patch may change.
const PATCHABLE: [&str; 4] = ["/name", "/code", "/description", "/version"];

/// What callers say of an event.
#[derive(Deserialize, ToSchema)]
#[schema(as = NewWebhookEvent)]
pub(super) struct Details {
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    /// Unique together with the version among the events of all categories, without case.
    #[schema(pattern = "^[A-Za-z0-9]+([._-][A-Za-z0-9]+)*$", max_length = 100)]
    code: String,
    #[schema(pattern = "^v[0-9]+$", max_length = 20)]
    version: String,
    #[serde(default)]
    #[schema(max_length = 2000)]
    description: Option<String>,
}

impl Details {
    fn check(self) -> Result<Self, Problem> {
        let mut errors = Vec::<FieldError>::new();
        text::check_name("name", &self.name, &mut errors);
        text::check_code("code", &self.code, &mut errors);
        text::check_version("version", &self.version, &mut errors);
        if let Some(description) = &self.description {
            text::check_description("description", description, &mut errors);
        }
        if errors.is_empty() { Ok(self) } else { Err(Problem::with_errors(ProblemKind::BadRequest, errors)) }
    }
}

/// What the path of an event names.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "documents take its fields' names and rules; handlers read the path")]
pub(super) struct AtEvent {
    /// The category.
    #[param(rename = "webhookCategoryId", inline)]
    category: EcgCategoryId,
    /// The event.
    #[param(rename = "webhookEventId", inline)]
    event: EcgEventId,
}

/// The ids in the path of an event.
#[derive(Debug, Clone, Copy)]
pub(super) struct Address {
    category: EcgCategoryId,
    pub(super) event: EcgEventId,
}

impl Address {
    /// # Errors
    /// 400 when one of the two is malformed.
    pub(super) fn read((category, event): &(String, String)) -> Result<Self, Problem> {
        Ok(Self { category: category_id(category)?, event: path_id(event, "webhookEventId")? })
    }

    /// The event and its category, as they stand.
    ///
    /// # Errors
    /// 404 when there is no such category, or it has no such event.
    pub(super) async fn find(self, connection: &impl ConnectionTrait) -> Result<(EcgCategory, EcgEvent), ApiError> {
        let category = categories::get(connection, self.category).await.map_err(RegistryError::from)?;
        let category = category.ok_or_else(no_category)?;
        let event = events::get(connection, self.event).await.map_err(RegistryError::from)?;
        Ok((category, event.filter(|event| event.category == self.category).ok_or_else(no_event)?))
    }
}

/// 404.
pub(super) fn no_event() -> ApiError {
    not_found("webhook event").into()
}

/// What the database says of a write whose code and version may be taken.
fn refused(error: StoreError) -> ApiError {
    let detail = "another webhook event has this code and version";
    match error {
        StoreError::Conflict(_) => ApiError::from(Problem::new(ProblemKind::Conflict, detail)).caused_by(error),
        error => RegistryError::from(error).into(),
    }
}

/// Puts an event in force as it stands, here and everywhere.
async fn put_in_force(state: &AppState, event: &EcgEvent) -> Result<(), ApiError> {
    state.registry.mirror(&Record::EcgEvent(event.clone()).key()).await?;
    let is_seen = |seen: &std::sync::Arc<EcgEvent>| seen.revision >= event.revision;
    state.seen(|snapshot| snapshot.ecg().event(event.id).is_some_and(is_seen)).await;
    Ok(())
}

/// Makes `change`, which says whether there is one, of the event at `address`, in the name of `caller`.
async fn change(
    state: &AppState,
    caller: &Caller,
    address: Address,
    change: impl FnOnce(&EcgCategory, &mut EcgEvent, Timestamp) -> Result<bool, Problem>,
) -> Result<(EcgCategory, EcgEvent), ApiError> {
    let transaction = state.registry.store().begin().await.map_err(RegistryError::from)?;
    let (category, _) = address.find(&transaction).await?;
    let standing = events::lock(&transaction, address.event).await.map_err(RegistryError::from)?;
    let mut event = standing.ok_or_else(no_event)?;
    let now = clock::now();
    if change(&category, &mut event, now)? {
        event.stamps = event.stamps.changed(caller.id, now);
        event = events::replace(&transaction, &event).await.map_err(refused)?.ok_or_else(no_event)?;
        transaction.commit().await.map_err(StoreError::from).map_err(RegistryError::from)?;
    } else {
        drop(transaction);
    }
    // Also where there is no change: this may be the repeat of one that was answered 503.
    put_in_force(state, &event).await?;
    Ok((category, event))
}

/// Writes a new event down, in a category that is not deleted meanwhile.
async fn write(state: &AppState, wanted: &EcgEvent) -> Result<EcgCategory, ApiError> {
    let transaction = state.registry.store().begin().await.map_err(RegistryError::from)?;
    let category = categories::hold(&transaction, wanted.category).await.map_err(RegistryError::from)?;
    let category = category.ok_or_else(no_category)?;
    events::create(&transaction, wanted).await.map_err(refused)?;
    transaction.commit().await.map_err(StoreError::from).map_err(RegistryError::from)?;
    Ok(category)
}

/// E12: creates an event, active and not archived.
#[utoipa::path(
    post,
    path = "/api/webhook-categories/{webhookCategoryId}/webhook-events",
    tag = "Webhook events",
    operation_id = "createWebhookEvent",
    summary = "Create a webhook event",
    params(("webhookCategoryId" = inline(EcgCategoryId), Path, description = "The category")),
    request_body = Details,
    responses(
        (
            status = 201,
            description = "It is in force.",
            body = Event,
            headers(("Location" = String, description = "Where it is")),
        ),
        NotFound,
        Conflict,
    )
)]
pub(super) async fn create(
    State(state): State<AppState>,
    caller: Caller,
    note: Note,
    new_id: NewId,
    Path(category): Path<String>,
    Json(body): Json<Details>,
) -> Result<impl IntoResponse, ApiError> {
    let category = category_id(&category)?;
    let Details { name, code, version, description } = body.check()?;
    let (id, now) = (EcgEventId(new_id.get()), clock::now());
    note.target(id);
    let (flags, stamps) = (Flags::new(true, now), Stamps::new(caller.id, now));
    let wanted =
        EcgEvent { id, category, name, code, version, description, flags, stamps, deleted: false, revision: 1 };
    let (category, event) = match write(&state, &wanted).await {
        Ok(category) => (category, wanted),
        // This very request may have made it before, when its answer was not heard.
        Err(error) if new_id.may_exist() && error.status() == StatusCode::CONFLICT => {
            let made = Address { category, event: id }.find(state.registry.store().connection()).await;
            made.map_err(|other| if other.status() == StatusCode::NOT_FOUND { error } else { other })?
        }
        Err(error) => return Err(error),
    };
    put_in_force(&state, &event).await?;
    tracing::info!(ecg.event.id = %id, "webhook event created");
    let location = format!("/api/webhook-categories/{}/webhook-events/{id}", category.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Answer(Event::of_category(&event, &category))))
}

/// E13: the events of a category by their last change.
#[utoipa::path(
    get,
    path = "/api/webhook-categories/{webhookCategoryId}/webhook-events",
    tag = "Webhook events",
    operation_id = "listWebhookEvents",
    summary = "List the webhook events of a category, by their last change",
    params(
        ("webhookCategoryId" = inline(EcgCategoryId), Path, description = "The category"),
        StatusParameter,
        PagingParameters,
    ),
    responses((status = 200, description = "A page of them.", body = ListOf<Event>), NotFound)
)]
pub(super) async fn list(
    State(state): State<AppState>,
    Path(category): Path<String>,
    paging: Paging,
    query: Query,
) -> Result<Answer<ListOf<Event>>, ApiError> {
    let (id, status) = (category_id(&category)?, list::status(&query)?);
    let connection = state.registry.store().connection();
    let category = categories::get(connection, id).await.map_err(RegistryError::from)?.ok_or_else(no_category)?;
    let listed = events::page(connection, id, status, list::slice(&paging)).await.map_err(RegistryError::from)?;
    let items = listed.items.iter().map(|event| Event::of_category(event, &category)).collect();
    Ok(Answer(paging.list(items, listed.total)))
}

/// E14: deletes an event that nobody is subscribed to, and its sample payloads.
#[utoipa::path(
    delete,
    path = "/api/webhook-categories/{webhookCategoryId}/webhook-events/{webhookEventId}",
    tag = "Webhook events",
    operation_id = "deleteWebhookEvent",
    summary = "Delete a webhook event that nobody is subscribed to",
    description = "Its sample payloads go with it, and its code may be used again. What was posted of it still names it.",
    params(AtEvent),
    responses((status = 200, description = "It is gone.", body = Value), NotFound, Conflict)
)]
pub(super) async fn delete(
    State(state): State<AppState>,
    caller: Caller,
    Path(path): Path<(String, String)>,
) -> Result<Answer<Value>, ApiError> {
    let address = Address::read(&path)?;
    let transaction = state.registry.store().begin().await.map_err(RegistryError::from)?;
    // The lock first: whoever subscribes to it meanwhile waits, or is seen below.
    let standing = events::lock(&transaction, address.event).await.map_err(RegistryError::from)?;
    let Some(standing) = standing.filter(|event| event.category == address.category) else {
        drop(transaction);
        return Err(finish_deletion(&state, address).await);
    };
    if subscriptions::count_of_event(&transaction, address.event).await.map_err(RegistryError::from)? > 0 {
        return Err(Problem::new(ProblemKind::Conflict, "there are still subscriptions to the webhook event").into());
    }
    let stamps = standing.stamps.changed(caller.id, clock::now());
    let deleted = EcgEvent { deleted: true, stamps, ..standing };
    let deleted = events::replace(&transaction, &deleted).await.map_err(refused)?.ok_or_else(no_event)?;
    transaction.commit().await.map_err(StoreError::from).map_err(RegistryError::from)?;
    put_in_force(&state, &deleted).await?;
    tracing::info!(ecg.event.id = %address.event, "webhook event deleted");
    Ok(Answer(Value::TRUE))
}

/// There is no such event. If there was one, its deletion may have been answered 503, and is put in force now.
async fn finish_deletion(state: &AppState, address: Address) -> ApiError {
    match events::get_any(state.registry.store().connection(), address.event).await.map_err(RegistryError::from) {
        Ok(Some(event)) if event.deleted => put_in_force(state, &event).await.err().unwrap_or_else(no_event),
        Ok(_) => no_event(),
        Err(error) => error.into(),
    }
}

/// E15.
#[utoipa::path(
    get,
    path = "/api/webhook-categories/{webhookCategoryId}/webhook-events/{webhookEventId}",
    tag = "Webhook events",
    operation_id = "getWebhookEvent",
    summary = "Get a webhook event",
    params(AtEvent),
    responses((status = 200, description = "It.", body = Event), NotFound)
)]
pub(super) async fn get(
    State(state): State<AppState>,
    Path(path): Path<(String, String)>,
) -> Result<Answer<Event>, ApiError> {
    let (category, event) = Address::read(&path)?.find(state.registry.store().connection()).await?;
    Ok(Answer(Event::of_category(&event, &category)))
}

/// E16: changes name, code, description and version.
#[utoipa::path(
    patch,
    path = "/api/webhook-categories/{webhookCategoryId}/webhook-events/{webhookEventId}",
    tag = "Webhook events",
    operation_id = "patchWebhookEvent",
    summary = "Change a webhook event",
    description = "A JSON Patch (RFC 6902) of `/name`, `/code`, `/description` and `/version`; all or nothing. One that changes \
                   nothing leaves `updatedAt` as it is, too.",
    params(AtEvent),
    request_body = patching::Body,
    responses(
        (status = 200, description = "The event as it is now.", body = Event),
        NotFound,
        Conflict,
        Unprocessable,
    )
)]
pub(super) async fn patch(
    State(state): State<AppState>,
    caller: Caller,
    Path(path): Path<(String, String)>,
    request: Request,
) -> Result<Answer<Event>, ApiError> {
    let address = Address::read(&path)?;
    let patch = patching::read(&state, request).await?;
    let patched = |category: &EcgCategory, event: &mut EcgEvent, _| {
        let document = patching::document(&Event::of_category(event, category));
        let patched = patch::apply(&patch, &document, &PATCHABLE)?;
        let details = json::read::<Details>(patched.to_string().as_bytes())?.check()?;
        let Details { name, code, version, description } = details;
        let changed = EcgEvent { name, code, version, description, ..event.clone() };
        let is_changed = changed != *event;
        *event = changed;
        Ok(is_changed)
    };
    let (category, event) = change(&state, &caller, address, patched).await?;
    tracing::info!(ecg.event.id = %event.id, "webhook event changed");
    Ok(Answer(Event::of_category(&event, &category)))
}

async fn switch(
    state: &AppState,
    caller: &Caller,
    path: &(String, String),
    verb: Verb,
) -> Result<Answer<Value>, ApiError> {
    let address = Address::read(path)?;
    let switched = |_: &EcgCategory, event: &mut EcgEvent, now| {
        let flags = verb.apply(event.flags, now)?;
        event.flags = flags.unwrap_or(event.flags);
        Ok(flags.is_some())
    };
    change(state, caller, address, switched).await?;
    tracing::info!(ecg.event.id = %address.event, ?verb, "webhook event switched");
    Ok(Answer(Value::TRUE))
}

/// E17: nothing of it is dispatched from now on, whatever the other flags say.
#[utoipa::path(
    post,
    path = "/api/webhook-categories/{webhookCategoryId}/webhook-events/{webhookEventId}/archive",
    tag = "Webhook events",
    operation_id = "archiveWebhookEvent",
    summary = "Put a webhook event away",
    description = "Nothing of it is dispatched then, whatever other flags say. A repeat changes nothing.",
    params(AtEvent),
    responses((status = 200, description = "It is archived.", body = Value), NotFound)
)]
pub(super) async fn archive(
    State(state): State<AppState>,
    caller: Caller,
    Path(path): Path<(String, String)>,
) -> Result<Answer<Value>, ApiError> {
    switch(&state, &caller, &path, Verb::Archive).await
}

/// E18.
#[utoipa::path(
    post,
    path = "/api/webhook-categories/{webhookCategoryId}/webhook-events/{webhookEventId}/restore",
    tag = "Webhook events",
    operation_id = "restoreWebhookEvent",
    summary = "Take a webhook event out of the archive",
    description = "Whether it is active stays as it was. A repeat changes nothing.",
    params(AtEvent),
    responses((status = 200, description = "It is not archived.", body = Value), NotFound)
)]
pub(super) async fn restore(
    State(state): State<AppState>,
    caller: Caller,
    Path(path): Path<(String, String)>,
) -> Result<Answer<Value>, ApiError> {
    switch(&state, &caller, &path, Verb::Restore).await
}

/// E19.
#[utoipa::path(
    post,
    path = "/api/webhook-categories/{webhookCategoryId}/webhook-events/{webhookEventId}/activate",
    tag = "Webhook events",
    operation_id = "activateWebhookEvent",
    summary = "Switch a webhook event on",
    description = "One that is archived is restored first. A repeat changes nothing.",
    params(AtEvent),
    responses((status = 200, description = "It is active.", body = Value), NotFound, Conflict)
)]
pub(super) async fn activate(
    State(state): State<AppState>,
    caller: Caller,
    Path(path): Path<(String, String)>,
) -> Result<Answer<Value>, ApiError> {
    switch(&state, &caller, &path, Verb::Activate).await
}

/// E20.
#[utoipa::path(
    post,
    path = "/api/webhook-categories/{webhookCategoryId}/webhook-events/{webhookEventId}/deactivate",
    tag = "Webhook events",
    operation_id = "deactivateWebhookEvent",
    summary = "Switch a webhook event off",
    description = "Nothing of it is dispatched then. A repeat changes nothing.",
    params(AtEvent),
    responses((status = 200, description = "It is not active.", body = Value), NotFound)
)]
pub(super) async fn deactivate(
    State(state): State<AppState>,
    caller: Caller,
    Path(path): Path<(String, String)>,
) -> Result<Answer<Value>, ApiError> {
    switch(&state, &caller, &path, Verb::Deactivate).await
}
