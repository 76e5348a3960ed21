//! The account of a holder of tokens.
//!
//! A subscription belongs to an account, and the holder of an issuer's tokens has none until it makes its first one. It
//! gets one then, so that operators find in their lists who owns what. Nothing is permitted by it: its keys are known to
//! nobody, and what a token permits says the token.

use slipstream_core::config::{Account, SitesAllowed};
use slipstream_service::auth::{Actor, Principal};
use slipstream_store::accounts;

use crate::keys::ApiKey;
use crate::registry::{Registry, RegistryError};

/// Makes sure that the account of `principal` is there, if it is a holder of tokens. Idempotent.
pub(super) async fn ensure_account(registry: &Registry, principal: &Principal) -> Result<(), RegistryError> {
    match principal.actor() {
        Actor::Token(_) => {
            accounts::ensure(registry.store().connection(), &account(principal)).await.map_err(Into::into)
        }
        Actor::Account(_) | Actor::Practice(_) | Actor::Operator => Ok(()),
    }
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
