//! The Slipstream surface: S3 subscribe, S4 unsubscribe, S5 get (SPEC 5.4).
//!
//! A feature is an entry of [`slipstream_core::feature::FEATURES`]; nothing here knows one by name.

mod body;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::routing::put;
use axum::{Json, Router};
use http::{HeaderMap, StatusCode};
use slipstream_core::config::{
    Account, Consent, EndpointLimits, EndpointState, Health, Permission, Site, Subscription, Surface,
};
use slipstream_core::feature::FeatureRef;
use slipstream_core::ids::SubscriptionId;
use slipstream_core::problem::{Problem, ProblemKind};
use slipstream_service::auth::{UnknownSite, authorize};
use slipstream_service::{ApiError, clock};
use slipstream_store::subscriptions::Owner;

use self::body::{Details, WebhookSubscription};
use crate::handshake::subscribe::Subscribed;
use crate::keys;
use crate::state::{AppState, read_json};

/// The path of a feature's one subscription, under each of the two mount points (SPEC 1.1).
const PATH: &str = "/sites/{site}/webhooks/features/{feature}";

/// The routes of the surface. All need an account with the permission `Webhooks.Manage`.
pub(crate) fn router() -> Router<AppState> {
    let methods = put(subscribe).delete(unsubscribe).get(details);
    Router::new().route(PATH, methods.clone()).route(&format!("/api/v1{PATH}"), methods)
}

/// Who calls, for which site and feature: checked.
struct Caller {
    site: Arc<Site>,
    account: Arc<Account>,
    feature: FeatureRef,
}

impl Caller {
    fn check(state: &AppState, headers: &HeaderMap, site: &str, feature: &str) -> Result<Self, Problem> {
        let snapshot = state.directory.load();
        let (site, account) = authorize(&snapshot, headers, site, Permission::WebhooksManage, UnknownSite::NotFound)?;
        let feature = FeatureRef::by_name(feature)
            .ok_or_else(|| Problem::new(ProblemKind::NotFound, "there is no such feature"))?;
        Ok(Self { site, account, feature })
    }

    fn owner(&self) -> Owner<'_> {
        Owner { site: &self.site.slug, feature: self.feature, account: self.account.id }
    }
}

fn no_subscription() -> ApiError {
    Problem::new(ProblemKind::NotFound, "there is no subscription of this account").into()
}

/// S3: creates the caller's one subscription or replaces it; a disabled one is enabled again (SPEC 4.4). Idempotent.
///
/// 424 when the policy requires the receiver's consent and it has not given it; what is wanted is kept all the same, beside
/// a subscription that works.
async fn subscribe(
    State(state): State<AppState>,
    Path((site, feature)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<WebhookSubscription>, ApiError> {
    let caller = Caller::check(&state, &headers, &site, &feature)?;
    let body: WebhookSubscription = read_json(&headers, body, &state).await?;
    let (wanted, target) = body.check(&caller.feature, &state.targets)?;
    let wanted = Subscription {
        // Time-ordered, so that lists by id are lists by age. Kept out when there is a subscription already.
        id: SubscriptionId(clock::new_uuid()),
        surface: Surface::Slipstream,
        site: caller.site.slug.clone(),
        feature: caller.feature,
        account: caller.account.id,
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
    let Subscribed { subscription, refusal } = state.registry.subscribe(&state.handshake, wanted, &target).await?;
    let Subscription { id, site, revision, .. } = &subscription;
    tracing::info!(subscription.id = %id, %site, revision, state = ?subscription.state, ?refusal, "subscribed");
    match refusal {
        Some(refusal) => Err(Problem::from(refusal).into()),
        None => Ok(Json(subscription.into())),
    }
}

/// S4: deletes the caller's subscription. What it has not received yet is cancelled.
async fn unsubscribe(
    State(state): State<AppState>,
    Path((site, feature)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    let caller = Caller::check(&state, &headers, &site, &feature)?;
    let Some(id) = state.registry.unsubscribe(caller.owner()).await? else {
        // Perhaps the repeat of one that was answered 503: gone from SQL, and still in force.
        state.finish_removal(caller.owner()).await?;
        return Err(no_subscription());
    };
    tracing::info!(subscription.id = %id, site = %caller.site.slug, "unsubscribed");
    Ok(StatusCode::NO_CONTENT)
}

/// S5: the caller's subscription, without header values.
async fn details(
    State(state): State<AppState>,
    Path((site, feature)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Json<Details>, ApiError> {
    let caller = Caller::check(&state, &headers, &site, &feature)?;
    let subscription = state.registry.subscription_of(caller.owner()).await?.ok_or_else(no_subscription)?;
    Ok(Json(subscription.into()))
}
