//! `/admin/v1/endpoints/{id}/secret`, `…/rotate-secret`, `…/secrets/{keyId}`: the keys that sign an endpoint's
//! deliveries (SPEC 4.6, 4.9; THREATS 5).
//!
//! Every answer that holds a secret is `no-store`, and every reading and changing of one leaves a line in the log and
//! records in the audit.

use std::time::Duration;

use axum::Json as Answer;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use slipstream_core::config::{SigningKey, Subscription};
use slipstream_core::ids::SubscriptionId;
use slipstream_core::problem::{FieldError, Problem, ProblemKind};
use slipstream_core::signing::Scheme;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::audit::Note;
use slipstream_service::openapi::{Conflict, NotFound};
use slipstream_service::{ApiError, clock};
use slipstream_store::{StoreError, subscriptions};
use utoipa::ToSchema;

use super::endpoints::{endpoint_id, find};
use super::{NO_STORE, not_found};
use crate::keys;
use crate::registry::RegistryError;
use crate::signing::{SigningError, is_in_force, key_id, parse, revoked, rotated, scheme_in_force};
use crate::state::{AppState, OptionalJson};

/// How long an old key signs on unless asked for otherwise (SPEC 4.6): 24 h.
const GRACE_SECONDS_DEFAULT: u32 = 24 * 3600;
/// The longest grace: 7 days.
const GRACE_SECONDS_MAX: u32 = 7 * 24 * 3600;

/// The keys that sign, the current ones first.
#[derive(Serialize, ToSchema)]
#[schema(as = EndpointKeys)]
struct Secrets {
    keys: Vec<KeyView>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = EndpointKey)]
struct KeyView {
    /// What to call it when it is revoked.
    key_id: String,
    /// `v1` or `v1a`.
    scheme: &'static str,
    /// `whsec_…`, which a receiver shares with us; of `v1` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    /// `whpk_…`, all that a receiver needs; of `v1a` only. The private half is shown to nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<String>,
    /// When it stops signing; null for a current one.
    #[schema(required)]
    until: Option<Timestamp>,
}

impl TryFrom<SigningKey> for KeyView {
    type Error = SigningError;

    fn try_from(signing: SigningKey) -> Result<Self, SigningError> {
        let key = parse(&signing)?;
        let public_key = key.public().map(|public| public.shown());
        Ok(Self {
            key_id: key_id(&key),
            scheme: key.scheme().as_str(),
            secret: public_key.is_none().then(|| key.shown()),
            public_key,
            until: signing.until,
        })
    }
}

fn secrets(subscription: Subscription, now: Timestamp) -> Result<impl IntoResponse, SigningError> {
    let in_force = subscription.signing_keys.into_iter().filter(|key| is_in_force(key, now));
    let keys = in_force.map(KeyView::try_from).collect::<Result<_, _>>()?;
    Ok((NO_STORE, Answer(Secrets { keys })))
}

/// The signing keys, for whoever verifies the webhooks.
#[utoipa::path(
    get,
    path = "/admin/v1/endpoints/{id}/secret",
    tag = "Endpoints",
    operation_id = "getEndpointKeys",
    summary = "Get the keys that sign an endpoint's webhooks",
    params(("id" = inline(SubscriptionId), Path, description = "The subscription")),
    responses((status = 200, description = "The keys, the current ones first.", body = Secrets), NotFound)
)]
pub(super) async fn list(
    State(state): State<AppState>,
    note: Note,
    Path(id): Path<String>,
) -> Result<impl IntoResponse, ApiError> {
    state.note_site(&note, endpoint_id(&id)?);
    let subscription = state.registry.opened(find(&state, &id).await?)?;
    tracing::info!(subscription.id = %subscription.id, "signing keys read by an operator");
    Ok(secrets(subscription, clock::now())?)
}

/// How to rotate. All of it may be left out.
#[derive(Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct Rotation {
    /// `v1` or `v1a`; that of the keys that sign, unless told otherwise.
    #[schema(pattern = "^v1a?$")]
    scheme: Option<String>,
    /// How long the others sign on; a day, unless told otherwise.
    #[schema(maximum = 604_800)]
    grace_seconds: Option<u32>,
}

impl Rotation {
    /// The scheme, if one is named, and the grace.
    fn check(self) -> Result<(Option<Scheme>, Duration), Problem> {
        let scheme = self.scheme.as_deref().map(|name| Scheme::from_name(name).ok_or(())).transpose();
        let grace = self.grace_seconds.unwrap_or(GRACE_SECONDS_DEFAULT);
        let mut errors = Vec::new();
        if scheme.is_err() {
            errors.push(FieldError::at("scheme", "must be v1 or v1a"));
        }
        if grace > GRACE_SECONDS_MAX {
            errors.push(FieldError::at("graceSeconds", format!("must be at most {GRACE_SECONDS_MAX}")));
        }
        match scheme {
            Ok(scheme) if errors.is_empty() => Ok((scheme, Duration::from_secs(grace.into()))),
            _ => Err(Problem::with_errors(ProblemKind::BadRequest, errors)),
        }
    }
}

/// Makes a new key the current one of its scheme, which is that of the keys that sign unless another is named. The others
/// of the scheme sign on for the grace period, so that receivers can move over; without grace they are revoked, which is
/// in force when this is answered.
#[utoipa::path(
    post,
    path = "/admin/v1/endpoints/{id}/rotate-secret",
    tag = "Endpoints",
    operation_id = "rotateEndpointKey",
    summary = "Make a new key the current one of its scheme",
    description = "The others of the scheme sign on for the time of grace; without grace they are revoked.",
    params(("id" = inline(SubscriptionId), Path, description = "The subscription")),
    request_body = Option<Rotation>,
    responses((status = 200, description = "The keys, the current ones first.", body = Secrets), NotFound)
)]
pub(super) async fn rotate(
    State(state): State<AppState>,
    note: Note,
    Path(id): Path<String>,
    OptionalJson(body): OptionalJson<Rotation>,
) -> Result<impl IntoResponse, ApiError> {
    let id = endpoint_id(&id)?;
    state.note_site(&note, id);
    let (scheme, grace) = body.check()?;
    let now = clock::now();
    let mut new_scheme = "";
    let subscription = change_keys(&state, id, |keys| {
        let scheme = scheme.map_or_else(|| scheme_in_force(&keys, now), Ok)?;
        new_scheme = scheme.as_str();
        rotated(keys, keys::signing_key(scheme), grace, now)
    })
    .await?;
    let (scheme, grace_seconds) = (new_scheme, grace.as_secs());
    tracing::info!(subscription.id = %id, scheme, grace_seconds, "signing key rotated by an operator");
    Ok(secrets(subscription, now)?)
}

/// Revokes one key without grace, in force when this is answered.
#[utoipa::path(
    delete,
    path = "/admin/v1/endpoints/{id}/secrets/{key}",
    tag = "Endpoints",
    operation_id = "revokeEndpointKey",
    summary = "Revoke a key without grace",
    params(
        ("id" = inline(SubscriptionId), Path, description = "The subscription"),
        ("key" = String, Path, description = "The `keyId` of the key"),
    ),
    responses((status = 204, description = "It signs no more."), NotFound, Conflict)
)]
pub(super) async fn revoke(
    State(state): State<AppState>,
    note: Note,
    Path((id, key)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let id = endpoint_id(&id)?;
    state.note_site(&note, id);
    change_keys(&state, id, |keys| revoked(keys, &key, clock::now())).await?;
    tracing::info!(subscription.id = %id, "signing key revoked by an operator");
    Ok(StatusCode::NO_CONTENT)
}

/// Puts other keys in force, here and everywhere. Where nothing can be changed, what stands is put in force: this may be
/// the repeat of a change that was answered 503.
async fn change_keys(
    state: &AppState,
    id: SubscriptionId,
    change: impl FnOnce(Vec<SigningKey>) -> Result<Vec<SigningKey>, SigningError>,
) -> Result<Subscription, ApiError> {
    let transaction = state.registry.store().begin().await.map_err(RegistryError::from)?;
    let present = subscriptions::lock(&transaction, id).await.map_err(RegistryError::from)?;
    let Some(present) = present else {
        state.finish_change(id).await?;
        return Err(not_found("endpoint").into());
    };
    // Its keys only: a header that cannot be opened must not stand in their way.
    let present = state.registry.opened(Subscription { headers: Vec::new(), ..present })?;
    let keys = match change(present.signing_keys.clone()) {
        Ok(keys) => keys,
        Err(error) => {
            drop(transaction);
            state.registry.mirror_subscription(id).await?;
            return Err(error.into());
        }
    };
    let sealed = state.registry.sealed_for(&Subscription { signing_keys: keys, ..present }, id);
    let keys = sealed.map_err(RegistryError::from)?.signing_keys;
    let changed = subscriptions::replace_signing_keys(&transaction, id, &keys).await.map_err(RegistryError::from)?;
    transaction.commit().await.map_err(StoreError::from).map_err(RegistryError::from)?;
    let subscription = changed.into_subscription().ok_or_else(|| not_found("endpoint"))?;
    state.registry.mirror_subscription(id).await?;
    state.seen_subscription(&subscription).await;
    Ok(state.registry.opened(subscription)?)
}
