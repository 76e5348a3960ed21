//! The secrets of a subscription: E29, E30, E51, E52 (SPEC 6.6).
//!
//! They are sealed before they are written, and opened only to be shown: every answer that holds one is `no-store`, and
//! every reading and changing of one is audited.

use axum::Json as Answer;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use slipstream_core::ids::{EcgSecretId, SubscriptionId};
use slipstream_core::problem::{FieldError, Problem, ProblemKind};
use slipstream_core::sealing::{Place, SecretText, Tenant};
use slipstream_core::timestamp::Timestamp;
use slipstream_service::ecg::{
    AtOrganization, AuditInfo, ListOf, Paging, PagingParameters, Query, Value, not_found, path_id,
};
use slipstream_service::idempotency::NewId;
use slipstream_service::list::bad_parameter;
use slipstream_service::openapi::{Conflict, NotFound};
use slipstream_service::{ApiError, clock};
use slipstream_store::ecg::secrets::{self, Kept, NewSecret};
use slipstream_store::ecg::subscriptions;
use utoipa::ToSchema;

use super::SubscriptionPath;
use super::list::slice;
use super::subscriptions::{Change, Subscription, views};
use crate::keys;
use crate::operator::NO_STORE;
use crate::registry::{Registry, RegistryError};
use crate::state::{AppState, Json};

/// The shortest and the longest secret that a caller may give, in characters.
const SECRET_LEN: std::ops::RangeInclusive<usize> = 8..=256;

/// A secret by itself.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SecretKey)]
pub(super) struct SecretView {
    secret_key: String,
}

/// A secret that a caller gives.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = NewSecretKey)]
pub(super) struct SecretIn {
    /// Printable ASCII.
    #[schema(value_type = String, min_length = 8, max_length = 256, pattern = "^[ -~]*$")]
    secret_key: SecretText,
}

impl SecretIn {
    fn check(self) -> Result<SecretText, Problem> {
        let wrong =
            |detail: String| Problem::with_errors(ProblemKind::BadRequest, vec![FieldError::at("secretKey", detail)]);
        // Something of ours that is sealed already is taken for what it is: none of the caller's.
        let text = self.secret_key.expose().map_err(|_| wrong("must not be a sealed secret".into()))?;
        if !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(wrong("must hold printable ASCII characters only".into()));
        }
        if !SECRET_LEN.contains(&text.len()) {
            let (min, max) = (SECRET_LEN.start(), SECRET_LEN.end());
            return Err(wrong(format!("must have {min} to {max} characters")));
        }
        Ok(self.secret_key)
    }
}

/// A secret in the history of its subscription, good for what was made in its time.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SecretHistory)]
pub(super) struct History {
    #[schema(inline)]
    id: EcgSecretId,
    secret_key: String,
    /// From when on.
    #[schema(inline)]
    valid_from: Timestamp,
    /// Until when, that moment not included; null for the current one.
    #[schema(inline, required)]
    valid_to: Option<Timestamp>,
    audit_info: AuditInfo,
    /// Whose it is, if that is asked for; without its secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    subscription: Option<Subscription>,
}

fn history(registry: &Registry, kept: &Kept, subscription: Option<Subscription>) -> Result<History, RegistryError> {
    Ok(History {
        id: kept.secret.id,
        secret_key: registry.opened_ecg_secret(kept.subscription, &kept.secret)?,
        valid_from: kept.secret.valid_from,
        valid_to: kept.secret.valid_to,
        audit_info: (&kept.stamps).into(),
        subscription,
    })
}

/// E29.
#[utoipa::path(
    get,
    path = "/api/organizations/{organizationId}/webhook-subscriptions/{subscriptionId}/secrets",
    tag = "Secrets",
    operation_id = "getWebhookSecret",
    summary = "Get a subscription's secret: the current one, or that of another time",
    params(
        SubscriptionPath,
        (
            "createdAt" = Option<String>, Query,
            description = "When something was made that the secret is wanted for: a date and time as RFC 3339 has it, or \
                           milliseconds since 1970",
        ),
    ),
    responses((status = 200, description = "The secret that was good then.", body = SecretView), NotFound)
)]
pub(super) async fn get(
    State(state): State<AppState>,
    at: AtOrganization,
    query: Query,
    Path((_, id)): Path<(String, String)>,
) -> Result<impl IntoResponse, ApiError> {
    let id: SubscriptionId = path_id(&id, "subscriptionId")?;
    let created_at = query.one("createdAt")?.map(created_at).transpose()?;
    let registry = &state.registry;
    let connection = registry.store().connection();
    let there = subscriptions::get(connection, at.organization, id).await.map_err(RegistryError::from)?;
    let there = there.ok_or_else(|| not_found("webhook subscription"))?;
    let secret = match created_at {
        None => there.secret().cloned(),
        Some(created_at) => secrets::at(connection, id, created_at).await.map_err(RegistryError::from)?,
    };
    registry.ensure_key(&there.tenant()).await?;
    let secret = secret.ok_or_else(|| not_found("secret: the subscription had none at that time"))?;
    Ok((NO_STORE, Answer(SecretView { secret_key: registry.opened_ecg_secret(id, &secret)? })))
}

/// The time that a caller asks for.
fn created_at(text: &str) -> Result<Timestamp, Problem> {
    let millis = || text.parse().ok().filter(|_| !text.starts_with('+')).map(Timestamp::from_millis);
    text.parse().ok().or_else(millis).ok_or_else(|| {
        bad_parameter("createdAt", "must be a date and time as RFC 3339 has it, or milliseconds since 1970")
    })
}

/// E30.
#[utoipa::path(
    put,
    path = "/api/organizations/{organizationId}/webhook-subscriptions/{subscriptionId}/secrets",
    tag = "Secrets",
    operation_id = "renewWebhookSecret",
    summary = "Make a new secret the current one of a subscription",
    description = "The one before stays good for what was made in its time.",
    params(SubscriptionPath),
    responses((status = 200, description = "There is a new one.", body = Value), NotFound)
)]
pub(super) async fn renew(
    State(state): State<AppState>,
    at: AtOrganization,
    Path((_, id)): Path<(String, String)>,
) -> Result<Answer<Value>, ApiError> {
    let new = (EcgSecretId(clock::new_uuid()), keys::ecg_secret());
    replace(&state, &at, path_id(&id, "subscriptionId")?, new).await?;
    Ok(Answer(Value::TRUE))
}

/// E51.
#[utoipa::path(
    get,
    path = "/api/organizations/{organizationId}/webhook-subscriptions/{subscriptionId}/webhook-secret-histories",
    tag = "Secrets",
    operation_id = "listWebhookSecrets",
    summary = "List a subscription's secrets, by when they were made",
    params(
        SubscriptionPath,
        ("include" = Option<String>, Query, description = "`subscription`, to have that with each"),
        PagingParameters,
    ),
    responses((status = 200, description = "A page of them.", body = ListOf<History>), NotFound)
)]
pub(super) async fn list(
    State(state): State<AppState>,
    at: AtOrganization,
    query: Query,
    paging: Paging,
    Path((_, id)): Path<(String, String)>,
) -> Result<impl IntoResponse, ApiError> {
    let id: SubscriptionId = path_id(&id, "subscriptionId")?;
    let is_included = !query.list("include", &[("subscription", ())])?.is_empty();
    let registry = &state.registry;
    let connection = registry.store().connection();
    let there = subscriptions::get(connection, at.organization, id).await.map_err(RegistryError::from)?;
    let there = there.ok_or_else(|| not_found("webhook subscription"))?;
    registry.ensure_key(&there.tenant()).await?;
    let subscription = if is_included { views(registry, vec![there], false).await?.pop() } else { None };
    let page = secrets::page(connection, id, slice(&paging)).await.map_err(RegistryError::from)?;
    let items = page.items.iter().map(|kept| history(registry, kept, subscription.clone()));
    let items = items.collect::<Result<_, RegistryError>>()?;
    Ok((NO_STORE, Answer(paging.list(items, page.total))))
}

/// E52.
#[utoipa::path(
    post,
    path = "/api/organizations/{organizationId}/webhook-subscriptions/{subscriptionId}/webhook-secret-histories",
    tag = "Secrets",
    operation_id = "putWebhookSecret",
    summary = "Make a given secret the current one of a subscription",
    description = "The one before stays good for what was made in its time.",
    params(SubscriptionPath),
    request_body(content = SecretIn, example = json!({"secretKey": "ecg-secret-key"})),
    responses((status = 201, description = "It is the current one.", body = History), NotFound, Conflict)
)]
pub(super) async fn put(
    State(state): State<AppState>,
    at: AtOrganization,
    new: NewId,
    Path((_, id)): Path<(String, String)>,
    Json(body): Json<SecretIn>,
) -> Result<impl IntoResponse, ApiError> {
    let (id, secret) = (path_id(&id, "subscriptionId")?, body.check()?);
    let secret_id = EcgSecretId(new.get());
    let made = if new.may_exist() {
        let connection = state.registry.store().connection();
        // Of this very request, whose answer was not heard.
        secrets::get(connection, id, secret_id).await.map_err(RegistryError::from)?
    } else {
        None
    };
    let kept = match made {
        Some(made) => {
            // 404 where it is not the caller's, and in force where that did not succeed.
            Change::begin(&state, &at, id).await?.finish().await?;
            made
        }
        None => replace(&state, &at, id, (secret_id, secret)).await?,
    };
    Ok((StatusCode::CREATED, NO_STORE, Answer(history(&state.registry, &kept, None)?)))
}

/// Makes a new secret the current one.
///
/// # Errors
/// 404 when there is no such subscription, 409 when the secret is the current one already.
async fn replace(
    state: &AppState,
    at: &AtOrganization,
    id: SubscriptionId,
    (secret_id, secret): (EcgSecretId, SecretText),
) -> Result<Kept, ApiError> {
    let registry = &state.registry;
    let (tenant, place) = (Tenant::Organization(at.organization), Place::ecg_secret(id));
    if !registry.vault().has_key_of(&tenant) {
        let there = subscriptions::get(registry.store().connection(), at.organization, id).await;
        there.map_err(RegistryError::from)?.ok_or_else(|| not_found("webhook subscription"))?;
        registry.ensure_key(&tenant).await?;
    }
    let mut change = Change::begin(state, at, id).await?;
    if let Some(current) = change.standing.secret() {
        let current = registry.vault().unseal(&current.secret, &place).map_err(RegistryError::from)?;
        if current == secret {
            return Err(Problem::new(ProblemKind::Conflict, "this is the current secret already").into());
        }
    }
    let sealed = registry.vault().seal(&tenant, &secret, &place).map_err(RegistryError::from)?;
    let new = NewSecret { id: secret_id, secret: sealed, by: at.caller, now: change.now };
    let kept = secrets::replace(&change.transaction, id, new).await.map_err(RegistryError::from)?;
    change.touch(at).await?;
    change.finish().await?;
    tracing::info!(subscription.id = %id, secret.id = %secret_id, "secret of an ECG subscription replaced");
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_date_and_time_or_a_number_of_milliseconds() {
        let expected = Ok(Timestamp::from_millis(1_660_816_984_086));
        for text in ["1660816984086", "2022-08-18T10:03:04.086Z", "2022-08-18T12:03:04.086+02:00"] {
            assert_eq!(created_at(text), expected, "{text}");
        }
        assert_eq!(created_at("-5"), Ok(Timestamp::from_millis(-5)));
        for text in ["", "now", "1.5", "+5", "2022-08-18", "99999999999999999999", "2022-08-18T12:03:04.086 02:00"] {
            assert_eq!(created_at(text).unwrap_err().kind, ProblemKind::BadRequest, "{text}");
        }
    }

    #[test]
    fn a_secret_is_8_to_256_characters_of_printable_ascii() {
        let check = |text: &str| SecretIn { secret_key: text.into() }.check().is_ok();
        for text in ["ecg-secret-key", "12345678", " ~~~~~~ ", &"x".repeat(256)] {
            assert!(check(text), "{text}");
        }
        for text in ["", "1234567", "secret-é", "12345678\n", "1234\t5678", "12345678\x7f", &"x".repeat(257)] {
            assert!(!check(text), "{text:?}");
        }
    }
}
