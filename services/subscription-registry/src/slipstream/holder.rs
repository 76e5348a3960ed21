//! The account of a holder of tokens.
//!
//! A subscription belongs to an account, and the holder of an issuer's tokens has none until it makes its first one. It
//! gets one then, so that operators find in their lists who owns what. Nothing is permitted by it: its keys are known to
//! nobody, and what a token permits says the token.

use slipstream_core::config::{Account, SitesAllowed};
use slipstream_core::problem::{Problem, ProblemKind};
use slipstream_service::ApiError;
use slipstream_service::auth::{Actor, Principal};
use slipstream_store::accounts;

use crate::keys::ApiKey;
use crate::registry::{Registry, RegistryError};

/// Makes sure that the account of `principal` is there, if it is a holder of tokens. Idempotent.
///
/// # Errors
/// 403 when an operator has deleted it; when the database fails.
pub(super) async fn ensure_account(registry: &Registry, principal: &Principal) -> Result<(), ApiError> {
    let Actor::Token(_) = principal.actor() else { return Ok(()) };
    let connection = registry.store().connection();
    accounts::ensure(connection, &account(principal)).await.map_err(RegistryError::from)?;
    if accounts::is_deleted(connection, principal.account_id()).await.map_err(RegistryError::from)? {
        return Err(Problem::new(ProblemKind::Forbidden, "an operator has deleted this account").into());
    }
    Ok(())
}

fn account(principal: &Principal) -> Account {
    let id = principal.account_id();
    Account {
        id,
        display_name: principal.actor().to_string(),
        kind: principal.kind(),
        sites: SitesAllowed::Only(Vec::new()),
        permissions: Vec::new(),
        quota: None,
        primary_key: ApiKey::new(id).hash(),
        secondary_key: ApiKey::new(id).hash(),
        revision: 1,
    }
}
