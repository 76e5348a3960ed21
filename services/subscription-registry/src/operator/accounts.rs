//! `/admin/v1/accounts`: API accounts and their keys. A key is shown once, when it is made.

mod body;

use axum::Json as Answer;
use axum::extract::{Path, Query, State};
use axum::response::IntoResponse;
use http::{StatusCode, header};
use serde::Serialize;
use slipstream_core::config::Account;
use slipstream_core::ids::AccountId;
use slipstream_core::problem::Problem;
use slipstream_service::audit::Note;
use slipstream_service::idempotency::NewId;
use slipstream_service::list::Pairs;
use slipstream_service::openapi::{NotFound, Paging};
use slipstream_service::{ApiError, clock};
use slipstream_store::accounts::{self, KeySlot};
use slipstream_store::{StoreError, subscriptions};
use utoipa::ToSchema;

use self::body::{AccountChange, NewAccount, NewQuota, View};
use super::list::{ListParameters, PageView};
use super::{NO_STORE, not_found};
use crate::keys::ApiKey;
use crate::registry::RegistryError;
use crate::state::{AppState, Json};

/// A new account, with its keys.
#[derive(Serialize, ToSchema)]
#[schema(as = CreatedAccount)]
struct Created {
    #[serde(flatten)]
    account: View,
    keys: Keys,
}

#[derive(Serialize, ToSchema)]
#[schema(as = AccountKeys)]
struct Keys {
    primary: String,
    secondary: String,
}

#[derive(Serialize, ToSchema)]
#[schema(as = RotatedKey)]
struct Rotated {
    id: AccountId,
    key: String,
}

/// A deleted account.
#[derive(Serialize, ToSchema)]
#[schema(as = DeletedAccount)]
pub(super) struct Deleted {
    id: AccountId,
    /// How many subscriptions it leaves.
    endpoints: u64,
}

fn account_id(text: &str) -> Result<AccountId, Problem> {
    text.parse().map_err(|_| not_found("account"))
}

/// Puts an account in force, here and everywhere.
async fn put_in_force(state: &AppState, account: &Account) -> Result<(), ApiError> {
    state.registry.mirror_account(account.id).await?;
    let is_seen = |seen: &std::sync::Arc<Account>| seen.revision >= account.revision;
    state.seen(|snapshot| snapshot.account(account.id).is_some_and(is_seen)).await;
    Ok(())
}

/// Writes a new account down. If this very request has done so before, and its answer with the keys was not heard, the
/// account gets these keys in place of those.
async fn write(state: &AppState, account: Account, new_id: NewId) -> Result<Account, ApiError> {
    let connection = state.registry.store().connection();
    match accounts::create(connection, &account).await {
        Ok(()) => return Ok(account),
        Err(StoreError::Conflict(_)) if new_id.may_exist() => {}
        Err(error) => return Err(RegistryError::from(error).into()),
    }
    let mut written = None;
    for (slot, hash) in [(KeySlot::Primary, &account.primary_key), (KeySlot::Secondary, &account.secondary_key)] {
        written = accounts::set_key(connection, account.id, slot, hash).await.map_err(RegistryError::from)?;
    }
    // Deleted meanwhile, and so it stays.
    Ok(written.ok_or_else(|| not_found("account"))?)
}

/// Creates an account.
#[utoipa::path(
    post,
    path = "/admin/v1/accounts",
    tag = "Configuration",
    operation_id = "createAccount",
    summary = "Create an API account",
    description = "Its keys are in this answer, and nowhere else.",
    request_body = NewAccount,
    responses((
        status = 201,
        description = "It is in force.",
        body = Created,
        headers(("Location" = String, description = "Where it is")),
    ))
)]
pub(super) async fn create(
    State(state): State<AppState>,
    note: Note,
    new_id: NewId,
    Json(body): Json<NewAccount>,
) -> Result<impl IntoResponse, ApiError> {
    let id = AccountId(new_id.get());
    note.target(id);
    let (primary, secondary) = (ApiKey::new(id), ApiKey::new(id));
    let account = body.check(id, primary.hash(), secondary.hash())?;
    let account = write(&state, account, new_id).await?;
    put_in_force(&state, &account).await?;
    tracing::info!(account.id = %id, "account created");
    let keys = Keys { primary: primary.into_shown(), secondary: secondary.into_shown() };
    let location = [(header::LOCATION, format!("/admin/v1/accounts/{id}"))];
    Ok((StatusCode::CREATED, NO_STORE, location, Answer(Created { account: account.into(), keys })))
}

/// Accounts by id.
#[utoipa::path(
    get,
    path = "/admin/v1/accounts",
    tag = "Configuration",
    operation_id = "listAccounts",
    summary = "List API accounts, by id",
    params(Paging),
    responses((status = 200, description = "A page of them.", body = PageView<View>))
)]
pub(super) async fn list(
    State(state): State<AppState>,
    Query(pairs): Query<Pairs>,
) -> Result<Answer<PageView<View>>, ApiError> {
    let ListParameters { limit, after } = ListParameters::parse(pairs)?;
    let page = accounts::page(state.registry.store().connection(), after, limit).await;
    Ok(Answer(PageView::of(page.map_err(RegistryError::from)?)))
}

#[utoipa::path(
    get,
    path = "/admin/v1/accounts/{id}",
    tag = "Configuration",
    operation_id = "getAccount",
    summary = "Get an API account",
    params(("id" = inline(AccountId), Path, description = "The account")),
    responses((status = 200, description = "It, without its keys.", body = View), NotFound)
)]
pub(super) async fn get(State(state): State<AppState>, Path(id): Path<String>) -> Result<Answer<View>, ApiError> {
    let found = accounts::get(state.registry.store().connection(), account_id(&id)?).await;
    Ok(Answer(found.map_err(RegistryError::from)?.ok_or_else(|| not_found("account"))?.into()))
}

/// Changes everything but keys and quota. In force with the next request, wherever the change has arrived.
#[utoipa::path(
    put,
    path = "/admin/v1/accounts/{id}",
    tag = "Configuration",
    operation_id = "putAccount",
    summary = "Change an API account, all of it but keys and quota",
    description = "There must be one: its id is ours to choose. Nothing may be left out. Its subscriptions stay as they \
                   are, also at sites that it may not act for any more.",
    params(("id" = inline(AccountId), Path, description = "The account")),
    request_body = AccountChange,
    responses((status = 200, description = "The account as it is now.", body = View), NotFound)
)]
pub(super) async fn put(
    State(state): State<AppState>,
    Path(id): Path<String>,
    Json(body): Json<AccountChange>,
) -> Result<Answer<View>, ApiError> {
    let id = account_id(&id)?;
    let details = body.check()?;
    let changed = accounts::change(state.registry.store().connection(), id, &details).await;
    let account = changed.map_err(RegistryError::from)?.ok_or_else(|| not_found("account"))?;
    put_in_force(&state, &account).await?;
    tracing::info!(account.id = %id, "account changed by an operator");
    Ok(Answer(account.into()))
}

/// Deletes an account for good: its keys let nobody in any more, and its id is never used again. Its subscriptions and what
/// it has published or scheduled stay: who may act is one matter, what the practice relies on another, and `disable` is
/// there for each endpoint.
#[utoipa::path(
    delete,
    path = "/admin/v1/accounts/{id}",
    tag = "Configuration",
    operation_id = "deleteAccount",
    summary = "Delete an API account, for good",
    description = "Its keys let nobody in any more, here when this is answered and everywhere within 5 s. Its id is never \
                   used again. What it has published stays, scheduled events among it, and so do its subscriptions, which \
                   deliver on: `GET /admin/v1/endpoints?account=…` lists them, for those to be disabled that should not. \
                   A holder of tokens, whose account this may be, makes no subscription any more; whatever else its tokens \
                   permit is for their issuer to take away. A repeat changes nothing.",
    params(("id" = inline(AccountId), Path, description = "The account")),
    responses((status = 200, description = "It is gone; so many subscriptions stay.", body = Deleted), NotFound)
)]
pub(super) async fn delete(State(state): State<AppState>, Path(id): Path<String>) -> Result<Answer<Deleted>, ApiError> {
    let id = account_id(&id)?;
    let connection = state.registry.store().connection();
    if !accounts::delete(connection, id, clock::now()).await.map_err(RegistryError::from)? {
        return Err(not_found("account").into());
    }
    // Also for a repeat: of one that was answered 503, perhaps.
    state.registry.mirror_account(id).await?;
    state.seen(|snapshot| snapshot.account(id).is_none()).await;
    let endpoints = subscriptions::count_of(connection, id).await.map_err(RegistryError::from)?;
    tracing::info!(account.id = %id, endpoints, "account deleted by an operator");
    Ok(Answer(Deleted { id, endpoints }))
}

/// Makes a new key in place of one of the two; the other stays valid, so that callers can move over.
#[utoipa::path(
    put,
    path = "/admin/v1/accounts/{id}/keys/{slot}",
    tag = "Configuration",
    operation_id = "rotateAccountKey",
    summary = "Make a new key in place of one of the two",
    description = "The other one stays valid. The new key is in this answer, and nowhere else.",
    params(
        ("id" = inline(AccountId), Path, description = "The account"),
        ("slot" = String, Path, description = "Which one: primary or secondary", pattern = "^(primary|secondary)$"),
    ),
    responses((status = 200, description = "The new key.", body = Rotated), NotFound)
)]
pub(super) async fn rotate_key(
    State(state): State<AppState>,
    Path((id, slot)): Path<(String, String)>,
) -> Result<impl IntoResponse, ApiError> {
    let id = account_id(&id)?;
    let slot = match slot.as_str() {
        "primary" => KeySlot::Primary,
        "secondary" => KeySlot::Secondary,
        _ => return Err(not_found("key").into()),
    };
    let key = ApiKey::new(id);
    let rotated = accounts::set_key(state.registry.store().connection(), id, slot, &key.hash()).await;
    let account = rotated.map_err(RegistryError::from)?.ok_or_else(|| not_found("account"))?;
    put_in_force(&state, &account).await?;
    tracing::info!(account.id = %id, key = ?slot, "account key rotated");
    Ok((NO_STORE, Answer(Rotated { id, key: key.into_shown() })))
}

/// Sets or lifts the quota. In force with the next request, wherever the change has arrived.
#[utoipa::path(
    put,
    path = "/admin/v1/accounts/{id}/quota",
    tag = "Configuration",
    operation_id = "setAccountQuota",
    summary = "Set or lift an account's quota",
    params(("id" = inline(AccountId), Path, description = "The account")),
    request_body = NewQuota,
    responses((status = 200, description = "The account as it is now.", body = View), NotFound)
)]
pub(super) async fn set_quota(
    State(state): State<AppState>,
    Path(id): Path<String>,
    Json(body): Json<NewQuota>,
) -> Result<Answer<View>, ApiError> {
    let id = account_id(&id)?;
    let quota = body.check()?;
    let limited = accounts::set_quota(state.registry.store().connection(), id, quota).await;
    let account = limited.map_err(RegistryError::from)?.ok_or_else(|| not_found("account"))?;
    put_in_force(&state, &account).await?;
    tracing::info!(account.id = %id, ?quota, "account limited by an operator");
    Ok(Answer(account.into()))
}
