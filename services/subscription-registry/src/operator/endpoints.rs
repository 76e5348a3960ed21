//! `/admin/v1/endpoints`: the endpoint of each subscription, under the subscription's id.

use axum::Json as Answer;
use axum::extract::{Path, Query, State};
use axum::response::IntoResponse;
use serde::Serialize;
use slipstream_core::config::{DisabledReason, EndpointState, Subscription, Surface};
use slipstream_core::ids::{AccountId, SubscriptionId};
use slipstream_core::problem::Problem;
use slipstream_core::slug::Slug;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::list::{Pairs, bad_parameter, unknown_parameter};
use slipstream_service::{ApiError, clock};
use slipstream_store::subscriptions::{self, StateFilter};

use super::list::{ListParameters, PageView};
use super::{NO_STORE, not_found};
use crate::registry::RegistryError;
use crate::state::AppState;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
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
    revision: i64,
}

impl From<Subscription> for View {
    fn from(it: Subscription) -> Self {
        let (state, disabled_reason) = match it.state {
            EndpointState::Active => ("active", None),
            EndpointState::Disabled(reason) => ("disabled", Some(reason)),
        };
        Self {
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

/// The keys that sign, the current one first.
#[derive(Serialize)]
struct Secrets {
    keys: Vec<Secret>,
}

#[derive(Serialize)]
struct Secret {
    /// `whsec_…`
    secret: String,
    /// When it stops signing; null for the current one.
    until: Option<Timestamp>,
}

fn endpoint_id(text: &str) -> Result<SubscriptionId, Problem> {
    text.parse().map_err(|_| not_found("endpoint"))
}

async fn find(state: &AppState, id: &str) -> Result<Subscription, ApiError> {
    let found = subscriptions::get(state.registry.store().connection(), endpoint_id(id)?).await;
    Ok(found.map_err(RegistryError::from)?.ok_or_else(|| not_found("endpoint"))?)
}

/// Endpoints by id, which is by age; `?state=active` or `disabled`.
pub(super) async fn list(
    State(state): State<AppState>,
    Query(pairs): Query<Pairs>,
) -> Result<Answer<PageView<View>>, ApiError> {
    let mut filter = None;
    let ListParameters { limit, after } = ListParameters::parse_with(pairs, |name, value| {
        filter = Some(match (name, value.as_str()) {
            ("state", "active") => StateFilter::Active,
            ("state", "disabled") => StateFilter::Disabled,
            ("state", _) => return Err(bad_parameter(name, "must be active or disabled")),
            _ => return Err(unknown_parameter(name, "state, limit and cursor")),
        });
        Ok(())
    })?;
    let page = subscriptions::page(state.registry.store().connection(), filter, after, limit).await;
    Ok(Answer(PageView::of(page.map_err(RegistryError::from)?)))
}

pub(super) async fn get(State(state): State<AppState>, Path(id): Path<String>) -> Result<Answer<View>, ApiError> {
    Ok(Answer(find(&state, &id).await?.into()))
}

/// Lets an endpoint take deliveries again. A repeat changes nothing.
pub(super) async fn enable(State(state): State<AppState>, Path(id): Path<String>) -> Result<Answer<View>, ApiError> {
    let id = endpoint_id(&id)?;
    let changed = subscriptions::enable(state.registry.store().connection(), id, clock::now()).await;
    answer(&state, changed.map_err(RegistryError::from)?).await
}

/// Lets an endpoint take no more deliveries. A repeat changes nothing.
pub(super) async fn disable(State(state): State<AppState>, Path(id): Path<String>) -> Result<Answer<View>, ApiError> {
    let (connection, id) = (state.registry.store().connection(), endpoint_id(&id)?);
    let changed = subscriptions::disable(connection, id, DisabledReason::Operator, None).await;
    answer(&state, changed.map_err(RegistryError::from)?).await
}

async fn answer(state: &AppState, changed: Option<Subscription>) -> Result<Answer<View>, ApiError> {
    let subscription = changed.ok_or_else(|| not_found("endpoint"))?;
    state.registry.mirror_subscription(subscription.id).await?;
    tracing::info!(subscription.id = %subscription.id, state = ?subscription.state, "endpoint changed by an operator");
    Ok(Answer(subscription.into()))
}

/// The signing keys, for whoever verifies the webhooks.
pub(super) async fn secret(
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<impl IntoResponse, ApiError> {
    let subscription = find(&state, &id).await?;
    // Reading a key leaves a record (THREATS 5).
    tracing::info!(subscription.id = %subscription.id, "signing keys read by an operator");
    let keys = subscription.signing_keys.into_iter().map(|key| Secret { secret: key.secret, until: key.until });
    Ok((NO_STORE, Answer(Secrets { keys: keys.collect() })))
}
