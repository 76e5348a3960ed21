//! `/admin/v1/endpoints`: the endpoint of each subscription, under the subscription's id.

use axum::Json as Answer;
use axum::extract::{Path, Query, State};
use serde::{Deserialize, Serialize};
use slipstream_core::config::{Consent, DisabledReason, EndpointLimits, EndpointState, Health, Subscription, Surface};
use slipstream_core::ids::{AccountId, SubscriptionId};
use slipstream_core::problem::{FieldError, Problem, ProblemKind};
use slipstream_core::slug::Slug;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::ApiError;
use slipstream_service::audit::Note;
use slipstream_service::list::{Pairs, bad_parameter, unknown_parameter};
use slipstream_service::openapi::{NotFound, Paging};
use slipstream_store::subscriptions::{self, Filter, StateFilter};
use utoipa::ToSchema;

use super::list::{ListParameters, PageView};
use super::not_found;
use crate::endpoints::Switch;
use crate::registry::RegistryError;
use crate::state::{AppState, Json};

/// The most requests per minute that a limit may say; more is no limit.
const RATE_PER_MINUTE_MAX: u32 = 1_000_000;
/// The most requests in flight that a limit may say: as many as may go to one host (THREATS 3).
const IN_FLIGHT_MAX: u32 = 64;

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Endpoint)]
pub(super) struct View {
    id: SubscriptionId,
    surface: Surface,
    site: Slug,
    feature: &'static str,
    account: AccountId,
    uri: String,
    /// Names only: values may be secrets.
    headers: Vec<String>,
    event_types: Vec<String>,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    disabled_reason: Option<DisabledReason>,
    /// How it has been answering.
    health: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    degraded_since: Option<Timestamp>,
    consent: ConsentView,
    limits: Limits,
    /// What comes of consent and limits; null is any number.
    #[schema(required)]
    rate_per_minute: Option<u32>,
    revision: i64,
}

/// Whether the receiver has agreed to be called (SPEC 3.7).
#[derive(Serialize, ToSchema)]
#[serde(tag = "state", rename_all = "snake_case", rename_all_fields = "camelCase")]
#[schema(as = Consent)]
enum ConsentView {
    /// It was not asked.
    Off,
    NotGranted {
        origin: String,
    },
    Granted {
        origin: String,
        /// Null is any number.
        #[schema(rename = "ratePerMinute", required)]
        rate_per_minute: Option<u32>,
    },
}

impl From<Consent> for ConsentView {
    fn from(consent: Consent) -> Self {
        match consent {
            Consent::Off => Self::Off,
            Consent::NotGranted { origin } => Self::NotGranted { origin },
            Consent::Granted { origin, rate_per_minute } => Self::Granted { origin, rate_per_minute },
        }
    }
}

/// What an operator allows the endpoint; null, or left out, is no limit but the usual ones.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = EndpointLimits)]
pub(super) struct Limits {
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1_000_000)]
    rate_per_minute: Option<u32>,
    #[serde(default)]
    #[schema(minimum = 1, maximum = 64)]
    in_flight_max: Option<u32>,
}

impl Limits {
    fn check(self) -> Result<EndpointLimits, Problem> {
        let mut errors = Vec::new();
        for (name, value, max) in [
            ("ratePerMinute", self.rate_per_minute, RATE_PER_MINUTE_MAX),
            ("inFlightMax", self.in_flight_max, IN_FLIGHT_MAX),
        ] {
            if value.is_some_and(|value| !(1..=max).contains(&value)) {
                errors.push(FieldError::at(name, format!("must be null or a number from 1 to {max}")));
            }
        }
        if errors.is_empty() {
            Ok(EndpointLimits { rate_per_minute: self.rate_per_minute, in_flight_max: self.in_flight_max })
        } else {
            Err(Problem::with_errors(ProblemKind::BadRequest, errors))
        }
    }
}

impl From<Subscription> for View {
    fn from(it: Subscription) -> Self {
        let (state, disabled_reason) = match it.state {
            EndpointState::Active => ("active", None),
            EndpointState::Pending => ("pending", None),
            EndpointState::Paused => ("paused", None),
            EndpointState::Disabled(reason) => ("disabled", Some(reason)),
        };
        let (health, degraded_since) = match it.health {
            Health::Healthy => ("healthy", None),
            Health::Degraded(since) => ("degraded", Some(since)),
        };
        Self {
            health,
            degraded_since,
            rate_per_minute: it.rate_per_minute(),
            consent: it.consent.into(),
            limits: Limits { rate_per_minute: it.limits.rate_per_minute, in_flight_max: it.limits.in_flight_max },
            id: it.id,
            surface: it.surface,
            site: it.site,
            feature: it.feature.name,
            account: it.account,
            uri: it.uri,
            headers: it.headers.into_iter().map(|header| header.name).collect(),
            event_types: it.event_types,
            state,
            disabled_reason,
            revision: it.revision,
        }
    }
}

pub(super) fn endpoint_id(text: &str) -> Result<SubscriptionId, Problem> {
    text.parse().map_err(|_| not_found("endpoint"))
}

pub(super) async fn find(state: &AppState, id: &str) -> Result<Subscription, ApiError> {
    let found = subscriptions::get(state.registry.store().connection(), endpoint_id(id)?).await;
    Ok(found.map_err(RegistryError::from)?.ok_or_else(|| not_found("endpoint"))?)
}

/// Endpoints by id, which is by age; `?state=active`, `pending`, `disabled` or `degraded`, which are active, too;
/// `?account=` of whose subscriptions.
#[utoipa::path(
    get,
    path = "/admin/v1/endpoints",
    tag = "Endpoints",
    operation_id = "listEndpoints",
    summary = "List endpoints, by age",
    description = "Those of the Slipstream surface. An ECG subscription has no feature, account, consent or limits, and is \
                   switched by its owner; what becomes of its endpoint is told by slipstream.endpoint.* events.",
    params(
        Paging,
        (
            "state" = Option<String>, Query,
            description = "active, pending, disabled or degraded; the last are active, too",
            pattern = "^(active|pending|disabled|degraded)$",
        ),
        ("account" = inline(Option<AccountId>), Query, description = "Of this account, which may be a deleted one"),
    ),
    responses((status = 200, description = "A page of them.", body = PageView<View>))
)]
pub(super) async fn list(
    State(state): State<AppState>,
    Query(pairs): Query<Pairs>,
) -> Result<Answer<PageView<View>>, ApiError> {
    let mut filter = Filter::default();
    let ListParameters { limit, after } = ListParameters::parse_with(pairs, |name, value| {
        filter.state = Some(match (name, value.as_str()) {
            ("account", id) => {
                let Ok(id) = id.parse() else { return Err(bad_parameter(name, "must be an account's id")) };
                filter.account = Some(id);
                return Ok(());
            }
            ("state", "active") => StateFilter::Active,
            ("state", "pending") => StateFilter::Pending,
            ("state", "disabled") => StateFilter::Disabled,
            ("state", "degraded") => StateFilter::Degraded,
            ("state", _) => return Err(bad_parameter(name, "must be active, pending, disabled or degraded")),
            _ => return Err(unknown_parameter(name, "state, account, limit and cursor")),
        });
        Ok(())
    })?;
    let page = subscriptions::page(state.registry.store().connection(), filter, after, limit).await;
    Ok(Answer(PageView::of(page.map_err(RegistryError::from)?)))
}

#[utoipa::path(
    get,
    path = "/admin/v1/endpoints/{id}",
    tag = "Endpoints",
    operation_id = "getEndpoint",
    summary = "Get the endpoint of a subscription",
    params(("id" = inline(SubscriptionId), Path, description = "The subscription")),
    responses((status = 200, description = "It, without the values of its headers.", body = View), NotFound)
)]
pub(super) async fn get(State(state): State<AppState>, Path(id): Path<String>) -> Result<Answer<View>, ApiError> {
    Ok(Answer(find(&state, &id).await?.into()))
}

/// Lets a disabled endpoint take deliveries again, as soon as its receiver has agreed if the policy requires that. A
/// repeat changes nothing.
#[utoipa::path(
    post,
    path = "/admin/v1/endpoints/{id}/enable",
    tag = "Endpoints",
    operation_id = "enableEndpoint",
    summary = "Let a disabled endpoint take deliveries again",
    description = "A repeat changes nothing.",
    params(("id" = inline(SubscriptionId), Path, description = "The subscription")),
    responses((status = 200, description = "The endpoint as it is now.", body = View), NotFound)
)]
pub(super) async fn enable(
    State(state): State<AppState>,
    note: Note,
    Path(id): Path<String>,
) -> Result<Answer<View>, ApiError> {
    switch(&state, &note, &id, Switch::Enable(state.handshake.policy())).await
}

/// Lets an endpoint take no more deliveries. A repeat changes nothing.
#[utoipa::path(
    post,
    path = "/admin/v1/endpoints/{id}/disable",
    tag = "Endpoints",
    operation_id = "disableEndpoint",
    summary = "Let an endpoint take no more deliveries",
    description = "A repeat changes nothing.",
    params(("id" = inline(SubscriptionId), Path, description = "The subscription")),
    responses((status = 200, description = "The endpoint as it is now.", body = View), NotFound)
)]
pub(super) async fn disable(
    State(state): State<AppState>,
    note: Note,
    Path(id): Path<String>,
) -> Result<Answer<View>, ApiError> {
    switch(&state, &note, &id, Switch::Disable).await
}

async fn switch(state: &AppState, note: &Note, id: &str, switch: Switch) -> Result<Answer<View>, ApiError> {
    let id = endpoint_id(id)?;
    state.note_site(note, id);
    let switched = state.registry.switch(id, switch).await?;
    Ok(Answer(switched.ok_or_else(|| not_found("endpoint"))?.into()))
}

/// Sets the limits of an endpoint, both of them. A repeat changes nothing.
#[utoipa::path(
    put,
    path = "/admin/v1/endpoints/{id}/limits",
    tag = "Endpoints",
    operation_id = "setEndpointLimits",
    summary = "Set the limits of an endpoint, both of them",
    description = "A repeat changes nothing.",
    params(("id" = inline(SubscriptionId), Path, description = "The subscription")),
    request_body = Limits,
    responses((status = 200, description = "The endpoint as it is now.", body = View), NotFound)
)]
pub(super) async fn set_limits(
    State(state): State<AppState>,
    note: Note,
    Path(id): Path<String>,
    Json(body): Json<Limits>,
) -> Result<Answer<View>, ApiError> {
    let id = endpoint_id(&id)?;
    state.note_site(&note, id);
    let limits = body.check()?;
    let applied = subscriptions::set_limits(state.registry.store().connection(), id, limits).await;
    let applied = applied.map_err(RegistryError::from)?;
    let subscription = applied.into_subscription().ok_or_else(|| not_found("endpoint"))?;
    state.registry.mirror_subscription(id).await?;
    tracing::info!(subscription.id = %id, ?limits, "endpoint limited by an operator");
    Ok(Answer(subscription.into()))
}
