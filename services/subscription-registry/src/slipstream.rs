//! The Slipstream surface: S3 subscribe, S4 unsubscribe, S5 get (SPEC 5.4).
//!
//! A feature is an entry of [`slipstream_core::feature::FEATURES`]; nothing here knows one by name.

mod body;
mod holder;

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use http::{Method, StatusCode};
use slipstream_core::config::{Consent, EndpointLimits, EndpointState, Health, Site, Subscription, Surface};
use slipstream_core::feature::FeatureRef;
use slipstream_core::ids::SubscriptionId;
use slipstream_core::problem::{Problem, ProblemKind};
use slipstream_core::sealing::StillSealed;
use slipstream_service::access::Routes;
use slipstream_service::audit::Note;
use slipstream_service::auth::{AtSite, Principal};
use slipstream_service::openapi::{Conflict, HandshakeFailed, Unprocessable};
use slipstream_service::{ApiError, clock};
use slipstream_store::subscriptions::Owner;
use utoipa::OpenApi;

use self::body::{Details, WebhookSubscription};
use crate::handshake::subscribe::Subscribed;
use crate::keys;
use crate::openapi::AtFeature;
use crate::state::{AppState, read_json};

/// The path of a feature's one subscription.
const PATH: &str = "/sites/{site}/webhooks/features/{feature}";

/// Adds the routes of the surface.
pub(crate) fn add(routes: Routes<AppState>) -> Routes<AppState> {
    routes.add(Method::PUT, PATH, subscribe).add(Method::DELETE, PATH, unsubscribe).add(Method::GET, PATH, details)
}

/// The operations of the surface.
#[derive(OpenApi)]
#[openapi(paths(subscribe, unsubscribe, details))]
pub(crate) struct Operations;

/// Who calls, for which site and feature: checked.
struct Caller {
    site: Arc<Site>,
    principal: Principal,
    feature: FeatureRef,
}

impl Caller {
    fn check(AtSite { site, principal }: AtSite, feature: &str) -> Result<Self, Problem> {
        let feature = FeatureRef::by_name(feature)
            .ok_or_else(|| Problem::new(ProblemKind::NotFound, "there is no such feature"))?;
        Ok(Self { site, principal, feature })
    }

    fn owner(&self) -> Owner<'_> {
        Owner { site: &self.site.slug, feature: self.feature, account: self.principal.account_id() }
    }
}

fn no_subscription() -> ApiError {
    Problem::new(ProblemKind::NotFound, "there is no subscription of this account").into()
}

/// S3: creates the caller's one subscription or replaces it; a disabled one is enabled again (SPEC 4.4). Idempotent.
///
/// 424 when the policy requires the receiver's consent and it has not given it; what is wanted is kept all the same, beside
/// a subscription that works.
#[utoipa::path(
    put,
    path = "/sites/{site}/webhooks/features/{feature}",
    tag = "Webhooks",
    operation_id = "subscribe",
    summary = "Create or replace the caller's subscription to a feature",
    description = "A disabled one is enabled again. The same request twice is the same as once.",
    params(AtFeature),
    request_body(content = WebhookSubscription, example = json!(body::example())),
    responses(
        (status = 200, description = "It is in force.", body = WebhookSubscription, example = json!(body::example())),
        Conflict,
        Unprocessable,
        HandshakeFailed,
    )
)]
async fn subscribe(
    State(state): State<AppState>,
    at: AtSite,
    note: Note,
    Path((_, feature)): Path<(String, String)>,
    request: Request,
) -> Result<Json<WebhookSubscription>, ApiError> {
    let caller = Caller::check(at, &feature)?;
    let (parts, body) = request.into_parts();
    let body: WebhookSubscription = read_json(&parts, body, &state).await?;
    let (wanted, target) = body.check(&caller.feature, &state.targets)?;
    let wanted = Subscription {
        // Time-ordered, so that lists by id are lists by age. Kept out when there is a subscription already.
        id: SubscriptionId(clock::new_uuid()),
        surface: Surface::Slipstream,
        site: caller.site.slug.clone(),
        feature: caller.feature,
        account: caller.principal.account_id(),
        uri: wanted.uri,
        headers: wanted.headers,
        event_types: wanted.event_types,
        // The policy decides on these two, see `handshake`.
        state: EndpointState::Active,
        consent: Consent::Off,
        health: Health::Healthy,
        limits: EndpointLimits::default(),
        signing_keys: state.schemes.iter().map(|scheme| keys::signing_key(*scheme)).collect(),
        revision: 1,
    };
    // Before an account is made of a token: who only finds no room leaves nothing behind.
    state.registry.check_room(state.registry.store().connection(), caller.owner()).await?;
    holder::ensure_account(&state.registry, &caller.principal).await?;
    let Subscribed { subscription, refusal } = state.registry.subscribe(&state.handshake, wanted, &target).await?;
    let Subscription { id, site, revision, .. } = &subscription;
    note.target(id);
    tracing::info!(subscription.id = %id, %site, revision, state = ?subscription.state, ?refusal, "subscribed");
    match refusal {
        Some(refusal) => Err(Problem::from(refusal).into()),
        None => Ok(Json(
            state.registry.opened(subscription)?.try_into().map_err(|error: StillSealed| ApiError::internal(error))?,
        )),
    }
}

/// S4: deletes the caller's subscription. What it has not received yet is cancelled.
#[utoipa::path(
    delete,
    path = "/sites/{site}/webhooks/features/{feature}",
    tag = "Webhooks",
    operation_id = "unsubscribe",
    summary = "Delete the caller's subscription to a feature",
    description = "What it has not received yet is cancelled.",
    params(AtFeature),
    responses((status = 204, description = "It is gone."))
)]
async fn unsubscribe(
    State(state): State<AppState>,
    at: AtSite,
    note: Note,
    Path((_, feature)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let caller = Caller::check(at, &feature)?;
    let Some(id) = state.registry.unsubscribe(caller.owner()).await? else {
        // Perhaps the repeat of one that was answered 503: gone from SQL, and still in force.
        state.finish_removal(caller.owner()).await?;
        return Err(no_subscription());
    };
    note.target(id);
    tracing::info!(subscription.id = %id, site = %caller.site.slug, "unsubscribed");
    Ok(StatusCode::NO_CONTENT)
}

/// S5: the caller's subscription, without header values.
#[utoipa::path(
    get,
    path = "/sites/{site}/webhooks/features/{feature}",
    tag = "Webhooks",
    operation_id = "getSubscription",
    summary = "Get the caller's subscription to a feature",
    params(AtFeature),
    responses((status = 200, description = "The subscription, without the values of its headers.", body = Details))
)]
async fn details(
    State(state): State<AppState>,
    at: AtSite,
    Path((_, feature)): Path<(String, String)>,
) -> Result<Json<Details>, ApiError> {
    let caller = Caller::check(at, &feature)?;
    let subscription = state.registry.subscription_of(caller.owner()).await?.ok_or_else(no_subscription)?;
    Ok(Json(subscription.into()))
}
