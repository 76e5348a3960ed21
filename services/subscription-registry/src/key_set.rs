//! `GET /webhooks/keys/{subscription}`: the public keys that an endpoint's receiver verifies `v1a` signatures with, as a
//! JWK Set (RFC 7517, RFC 8037), at a URL that stays the same over rotations.
//!
//! Public: it holds nothing secret. Answered from memory, so that asking it costs the database nothing.

use axum::Json as Answer;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use http::header;
use serde::Serialize;
use slipstream_core::config::Subscription;
use slipstream_core::ids::SubscriptionId;
use slipstream_core::problem::{Problem, ProblemKind};
use slipstream_core::signing::PublicKey;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::openapi::NotFound;
use slipstream_service::{ApiError, clock};
use utoipa::ToSchema;

use crate::signing::{SigningError, is_in_force, parse};
use crate::state::AppState;

/// The path.
pub(crate) const PATH: &str = "/webhooks/keys/{subscription}";

/// How long a receiver may keep the answer. After a rotation with grace the key before signs on for longer than that. One
/// that was revoked without grace signs nothing of ours any more, but whoever has it is trusted by receivers for as long as
/// they keep it; and until they ask again, which some do when they see a key they do not know, they refuse what the new one
/// signs. So it is short.
const CACHE_CONTROL: &str = "public, max-age=60";

/// A JWK Set.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
struct KeySet {
    keys: Vec<Jwk>,
}

/// An Ed25519 key as a JWK.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
struct Jwk {
    kty: &'static str,
    crv: &'static str,
    x: String,
    kid: String,
    r#use: &'static str,
    alg: &'static str,
    /// The same key in the form of Standard Webhooks, for its libraries.
    whpk: String,
}

impl From<PublicKey> for Jwk {
    fn from(key: PublicKey) -> Self {
        let (kty, crv, alg) = ("OKP", "Ed25519", "EdDSA");
        Self { kty, crv, x: key.jwk_x(), kid: key.thumbprint(), r#use: "sig", alg, whpk: key.shown() }
    }
}

/// The public keys that sign at `now`, newest first; none for an endpoint that signs with symmetric keys only.
fn key_set(subscription: &Subscription, now: Timestamp) -> Result<KeySet, SigningError> {
    let mut keys = Vec::new();
    for key in subscription.signing_keys.iter().filter(|key| is_in_force(key, now)) {
        keys.extend(parse(key)?.public().map(Jwk::from));
    }
    Ok(KeySet { keys })
}

#[utoipa::path(
    get,
    path = "/webhooks/keys/{subscription}",
    tag = "Receivers",
    operation_id = "getKeySet",
    summary = "Get the public keys that verify a subscription's webhooks",
    description = "A JWK Set (RFC 7517). Empty, where webhooks are signed with a shared secret only.",
    params(("subscription" = inline(SubscriptionId), Path, description = "The subscription")),
    responses(
        (
            status = 200,
            description = "The keys that sign now, newest first.",
            body = KeySet,
            content_type = "application/jwk-set+json",
        ),
        NotFound,
    )
)]
pub(crate) async fn get(
    State(state): State<AppState>,
    Path(subscription): Path<String>,
) -> Result<impl IntoResponse, ApiError> {
    let unknown = || Problem::new(ProblemKind::NotFound, "there is no such subscription");
    let id: SubscriptionId = subscription.parse().map_err(|_| unknown())?;
    let snapshot = state.directory.snapshot();
    let subscription = snapshot.subscriptions().get(id).ok_or_else(unknown)?;
    let keys = key_set(subscription, clock::now()).map_err(ApiError::internal)?;
    let headers = [(header::CONTENT_TYPE, "application/jwk-set+json"), (header::CACHE_CONTROL, CACHE_CONTROL)];
    Ok((headers, Answer(keys)))
}
