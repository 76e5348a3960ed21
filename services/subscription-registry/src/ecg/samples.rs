//! Sample payloads of an event, one for each version of them (SPEC 6.9; E36 to E39).
//!
//! A payload stays as it was written, also its order and the digits of its numbers; a patch changes what it names and
//! nothing else of that.

use axum::Json as Answer;
use axum::extract::{Path, Request, State};
use axum::response::IntoResponse;
use http::StatusCode;
use serde::Serialize;
use serde_json::value::RawValue;
use slipstream_core::config::{EcgCategory, EcgEvent, Stamps};
use slipstream_core::ids::EcgSampleId;
use slipstream_core::problem::{Problem, ProblemKind};
use slipstream_service::audit::Note;
use slipstream_service::ecg::patch::Patch;
use slipstream_service::ecg::{AuditInfo, Caller, Event, Query, Value, body, not_found, patch};
use slipstream_service::idempotency::NewId;
use slipstream_service::list::bad_parameter;
use slipstream_service::openapi::{Conflict, NotFound, TooLarge, Unprocessable};
use slipstream_service::{ApiError, clock};
use slipstream_store::StoreError;
use slipstream_store::ecg::events;
use slipstream_store::ecg::samples::{self, Sample};
use utoipa::{IntoParams, ToSchema};

use super::events::{Address, AtEvent, no_event};
use super::{patching, text};
use crate::registry::RegistryError;
use crate::state::AppState;

/// The version of a payload that does not say one.
const VERSION_DEFAULT: &str = "v1";
/// What a patch may change.
const PATCHABLE: [&str; 2] = ["/payload", "/version"];

/// What callers say of a sample, for documents.
#[derive(ToSchema)]
#[schema(as = NewSamplePayload)]
#[expect(dead_code, reason = "documents take its shape; its members are read one by one, as they were written")]
pub(super) struct Details {
    /// The payload.
    #[schema(value_type = Object)]
    payload: Box<RawValue>,
    /// The version of the payload: `v1` unless told otherwise.
    #[schema(pattern = "^v[0-9]+$", max_length = 20, nullable = false)]
    version: Option<String>,
}

/// What a payload of an event looks like.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SamplePayload)]
pub(super) struct View {
    #[schema(inline)]
    id: EcgSampleId,
    event: Event,
    #[schema(value_type = Object)]
    payload: Box<RawValue>,
    /// The version of the payload.
    version: String,
    audit_info: AuditInfo,
}

impl View {
    fn of(sample: Sample, event: &EcgEvent, category: &EcgCategory) -> Self {
        let audit_info = (&sample.stamps).into();
        let Sample { id, payload, version, .. } = sample;
        Self { id, event: Event::of_category(event, category), payload, version, audit_info }
    }
}

/// Which sample of an event, for documents.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "documents take its field's name and rule; handlers read the query")]
struct VersionParameter {
    /// The version of the payload.
    #[param(pattern = "^v[0-9]+$")]
    version: String,
}

/// The version that the query asks for.
fn version(query: &Query) -> Result<&str, Problem> {
    let version = query.required("version")?;
    if text::is_version(version) { Ok(version) } else { Err(bad_parameter("version", "must be `v` and a number")) }
}

fn no_sample() -> ApiError {
    not_found("sample payload").into()
}

/// What the database says of a write whose version may be taken.
fn refused(error: StoreError) -> ApiError {
    let detail = "the webhook event has a sample payload of this version";
    match error {
        StoreError::Conflict(_) => ApiError::from(Problem::new(ProblemKind::Conflict, detail)).caused_by(error),
        error => RegistryError::from(error).into(),
    }
}

/// Writes a new sample down, of an event that is not deleted meanwhile.
async fn write(state: &AppState, wanted: &Sample) -> Result<(), ApiError> {
    let transaction = state.registry.store().begin().await.map_err(RegistryError::from)?;
    let held = events::hold(&transaction, &[wanted.event]).await.map_err(RegistryError::from)?;
    if held.is_empty() {
        return Err(no_event());
    }
    samples::create(&transaction, wanted).await.map_err(refused)?;
    Ok(transaction.commit().await.map_err(StoreError::from).map_err(RegistryError::from)?)
}

/// E36.
#[utoipa::path(
    post,
    path = "/api/webhook-categories/{webhookCategoryId}/webhook-events/{webhookEventId}/sample-payloads",
    tag = "Sample payloads",
    operation_id = "createSamplePayload",
    summary = "Say what a payload of a webhook event looks like",
    description = "An event has one sample of each version.",
    params(AtEvent),
    request_body = Details,
    responses((status = 201, description = "It is kept.", body = View), NotFound, Conflict, TooLarge)
)]
pub(super) async fn create(
    State(state): State<AppState>,
    caller: Caller,
    note: Note,
    new_id: NewId,
    Path(path): Path<(String, String)>,
    request: Request,
) -> Result<impl IntoResponse, ApiError> {
    let address = Address::read(&path)?;
    let mut given = body::raw(request, state.body_timeout).await?;
    let payload = given.object("payload")?;
    let version = given.optional("version")?.unwrap_or_else(|| VERSION_DEFAULT.to_owned());
    let mut errors = Vec::new();
    text::check_version("version", &version, &mut errors);
    if !errors.is_empty() {
        return Err(Problem::with_errors(ProblemKind::BadRequest, errors).into());
    }
    let connection = state.registry.store().connection();
    let (category, event) = address.find(connection).await?;
    let id = EcgSampleId(new_id.get());
    note.target(id);
    let wanted = Sample { id, event: event.id, version, payload, stamps: Stamps::new(caller.id, clock::now()) };
    let sample = match write(&state, &wanted).await {
        Ok(()) => wanted,
        Err(error) if new_id.may_exist() && error.status() == StatusCode::CONFLICT => {
            // This very request may have made it before, when its answer was not heard.
            let made = samples::get(connection, event.id, &wanted.version).await.map_err(RegistryError::from)?;
            made.filter(|made| made.id == id).ok_or(error)?
        }
        Err(error) => return Err(error),
    };
    tracing::info!(ecg.event.id = %event.id, "sample payload created");
    Ok((StatusCode::CREATED, Answer(View::of(sample, &event, &category))))
}

/// E37.
#[utoipa::path(
    get,
    path = "/api/webhook-categories/{webhookCategoryId}/webhook-events/{webhookEventId}/sample-payloads",
    tag = "Sample payloads",
    operation_id = "getSamplePayload",
    summary = "Get the sample payload of a webhook event in a version",
    params(AtEvent, VersionParameter),
    responses((status = 200, description = "It.", body = View), NotFound)
)]
pub(super) async fn get(
    State(state): State<AppState>,
    Path(path): Path<(String, String)>,
    query: Query,
) -> Result<Answer<View>, ApiError> {
    let (address, version) = (Address::read(&path)?, version(&query)?);
    let connection = state.registry.store().connection();
    let (category, event) = address.find(connection).await?;
    let found = samples::get(connection, event.id, version).await.map_err(RegistryError::from)?;
    Ok(Answer(View::of(found.ok_or_else(no_sample)?, &event, &category)))
}

/// E38.
#[utoipa::path(
    delete,
    path = "/api/webhook-categories/{webhookCategoryId}/webhook-events/{webhookEventId}/sample-payloads",
    tag = "Sample payloads",
    operation_id = "deleteSamplePayload",
    summary = "Delete the sample payload of a webhook event in a version",
    params(AtEvent, VersionParameter),
    responses((status = 200, description = "It is gone.", body = Value), NotFound)
)]
pub(super) async fn delete(
    State(state): State<AppState>,
    Path(path): Path<(String, String)>,
    query: Query,
) -> Result<Answer<Value>, ApiError> {
    let (address, version) = (Address::read(&path)?, version(&query)?);
    let connection = state.registry.store().connection();
    let (_, event) = address.find(connection).await?;
    if !samples::delete(connection, event.id, version).await.map_err(RegistryError::from)? {
        return Err(no_sample());
    }
    tracing::info!(ecg.event.id = %event.id, "sample payload deleted");
    Ok(Answer(Value::TRUE))
}

/// E39: changes the payload, or any of it, and the version.
#[utoipa::path(
    patch,
    path = "/api/webhook-categories/{webhookCategoryId}/webhook-events/{webhookEventId}/sample-payloads",
    tag = "Sample payloads",
    operation_id = "patchSamplePayload",
    summary = "Change the sample payload of a webhook event in a version",
    description = "A JSON Patch (RFC 6902) of `/payload`, or what is in it, and `/version`; all or nothing. What of the payload \
                   it does not name stays as it is written. One that changes nothing leaves `updatedAt` as it is, too.",
    params(AtEvent, VersionParameter),
    request_body = patching::Body,
    responses(
        (status = 200, description = "The sample as it is now.", body = View),
        NotFound,
        Conflict,
        TooLarge,
        Unprocessable,
    )
)]
pub(super) async fn patch(
    State(state): State<AppState>,
    caller: Caller,
    Path(path): Path<(String, String)>,
    query: Query,
    request: Request,
) -> Result<Answer<View>, ApiError> {
    let (address, version) = (Address::read(&path)?, version(&query)?);
    let patch = patching::read(&state, request).await?;
    let transaction = state.registry.store().begin().await.map_err(RegistryError::from)?;
    let (category, event) = address.find(&transaction).await?;
    let standing = samples::lock(&transaction, event.id, version).await.map_err(RegistryError::from)?;
    let standing = standing.ok_or_else(no_sample)?;
    let Some(changed) = patched(&patch, &standing, &event, &category)? else {
        return Ok(Answer(View::of(standing, &event, &category)));
    };
    let sample = Sample { stamps: changed.stamps.changed(caller.id, clock::now()), ..changed };
    samples::replace(&transaction, &sample).await.map_err(refused)?;
    transaction.commit().await.map_err(StoreError::from).map_err(RegistryError::from)?;
    tracing::info!(ecg.event.id = %event.id, "sample payload changed");
    Ok(Answer(View::of(sample, &event, &category)))
}

/// What `patch` makes of a sample; none where that is what it is.
///
/// # Errors
/// 422 when it does not fit, 400 when what it makes breaks a rule, 413 when that is too large.
fn patched(
    patch: &Patch,
    sample: &Sample,
    event: &EcgEvent,
    category: &EcgCategory,
) -> Result<Option<Sample>, Problem> {
    let view = View::of(sample.clone(), event, category);
    let document = serde_json::to_string(&view).expect("texts, flags, times and JSON are always JSON");
    let patched = patch::apply_as_written(patch, &document, &PATCHABLE)?;
    let mut after = body::Raw::read(patched.as_bytes())?;
    let (payload, version) = (after.object("payload")?, after.required::<String>("version")?);
    let mut errors = Vec::new();
    text::check_version("version", &version, &mut errors);
    if !errors.is_empty() {
        return Err(Problem::with_errors(ProblemKind::BadRequest, errors));
    }
    // Written anew it has no spaces, which is no change.
    let payload = if patch::compact(&sample.payload) == payload.get() { sample.payload.clone() } else { payload };
    let is_changed = version != sample.version || payload.get() != sample.payload.get();
    Ok(is_changed.then(|| Sample { version, payload, ..sample.clone() }))
}
