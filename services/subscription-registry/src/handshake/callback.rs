//! `GET` or `POST /webhooks/handshakes/{key}`: a receiver that was asked grants later (SPEC 3.7).
//!
//! Public: the key, of 256 random bits, is all that is needed. It serves once.

use axum::extract::{Path, State};
use axum::response::IntoResponse;
use http::{HeaderMap, HeaderName, Method, StatusCode, header};
use slipstream_core::config::KeyHash;
use slipstream_core::ids::SubscriptionId;
use slipstream_core::problem::{Problem, ProblemKind};
use slipstream_service::openapi::{Gone, MethodNotAllowed, NotFound};
use slipstream_service::trace::RequestTrace;
use slipstream_service::{ApiError, clock};
use slipstream_store::subscriptions::{self, Grant};
use slipstream_store::{StoreError, handshakes};

use super::settle;
use crate::keys::CallbackKey;
use crate::openapi::{AllowedRate, CallbackKeyInPath};
use crate::registry::{Registry, RegistryError};
use crate::state::AppState;

/// The path.
pub(crate) const PATH: &str = "/webhooks/handshakes/{key}";

const ALLOWED_RATE: HeaderName = HeaderName::from_static("webhook-allowed-rate");

/// At how many deliveries per minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rate {
    /// As many as were asked for.
    AsAsked,
    /// This many; none means any number.
    Given(Option<u32>),
}

impl Rate {
    /// Of the header `WebHook-Allowed-Rate`, if there is one: `*`, or a positive integer. What is too large for the type
    /// is the largest it has.
    fn read(headers: &HeaderMap) -> Result<Self, Problem> {
        let refused =
            || Problem::new(ProblemKind::BadRequest, "WebHook-Allowed-Rate must be `*` or a positive integer, once");
        let mut values = headers.get_all(ALLOWED_RATE).iter();
        let (value, None) = (values.next(), values.next()) else { return Err(refused()) };
        let Some(value) = value else { return Ok(Self::AsAsked) };
        let digits = match value.as_bytes() {
            b"*" => return Ok(Self::Given(None)),
            digits if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => digits,
            _ => return Err(refused()),
        };
        let add = |rate: u32, digit: &u8| rate.saturating_mul(10).saturating_add(u32::from(digit - b'0'));
        match digits.iter().fold(0, add) {
            0 => Err(refused()),
            rate => Ok(Self::Given(Some(rate))),
        }
    }
}

/// By `GET`, and all that either method does. `HEAD`, which comes as `GET` does, is refused: it asks what there is, and
/// must not use a key up.
#[utoipa::path(
    get,
    path = "/webhooks/handshakes/{key}",
    tag = "Receivers",
    operation_id = "grantByGet",
    summary = "Grant permission to send webhooks",
    description = "The key, from `WebHook-Request-Callback`, is all that is needed. It serves once.",
    params(CallbackKeyInPath, AllowedRate),
    responses((status = 204, description = "Granted."), NotFound, MethodNotAllowed, Gone)
)]
pub(crate) async fn grant(
    State(state): State<AppState>,
    Path(key): Path<String>,
    trace: RequestTrace,
    method: Method,
    headers: HeaderMap,
) -> Result<impl IntoResponse, ApiError> {
    if method == Method::HEAD {
        return Err(Problem::new(ProblemKind::MethodNotAllowed, "HEAD does not use the key up: use GET or POST").into());
    }
    // Before the key is used up: whoever sent a wrong rate may send a right one.
    let rate = Rate::read(&headers)?;
    let unknown = || Problem::new(ProblemKind::NotFound, "the key is unknown, was used, or is too old");
    let key_hash = CallbackKey::hash_of(&key).ok_or_else(unknown)?;
    match state.registry.grant_by_key(key_hash, rate, trace).await? {
        Outcome::Granted { id, is_noted } => {
            // In force from now on if the bucket takes it, else with the next reconciling: the grant itself stands, and
            // a repeat, with a key that is used up, could not do more.
            if let Err(error) = state.registry.mirror_subscription(id).await {
                let error = format!("{:#}", anyhow::Error::from(error));
                tracing::warn!(error, subscription.id = %id, "a grant is not in force yet");
            }
            tracing::info!(subscription.id = %id, ?rate, "receiver granted by callback");
            if is_noted {
                state.registry.tell().await;
            }
            Ok((StatusCode::NO_CONTENT, [(header::CACHE_CONTROL, "no-store")]))
        }
        Outcome::Moved => Err(Problem::new(ProblemKind::Gone, "the subscription has another target by now").into()),
        Outcome::Unknown => Err(unknown().into()),
    }
}

/// The same by `POST`, which has an operation of its own in documents.
#[utoipa::path(
    post,
    path = "/webhooks/handshakes/{key}",
    tag = "Receivers",
    operation_id = "grantByPost",
    summary = "Grant permission to send webhooks",
    description = "The key, from `WebHook-Request-Callback`, is all that is needed. It serves once.",
    params(CallbackKeyInPath, AllowedRate),
    responses((status = 204, description = "Granted."), NotFound, Gone)
)]
pub(crate) async fn grant_by_post(
    state: State<AppState>,
    key: Path<String>,
    trace: RequestTrace,
    method: Method,
    headers: HeaderMap,
) -> Result<impl IntoResponse, ApiError> {
    grant(state, key, trace, method, headers).await
}

enum Outcome {
    Granted {
        id: SubscriptionId,
        /// Whether there is something to be told of it.
        is_noted: bool,
    },
    /// The subscription goes to another URI by now, and is not wished to go to this one.
    Moved,
    Unknown,
}

impl Registry {
    /// Uses a key up and writes the consent down, in SQL only.
    async fn grant_by_key(
        &self,
        key_hash: KeyHash,
        rate: Rate,
        RequestTrace(trace): RequestTrace,
    ) -> Result<Outcome, RegistryError> {
        let now = clock::now();
        // Without a transaction: a stranger who guesses must not keep writers waiting.
        let Some(question) = handshakes::find(self.store().connection(), key_hash, now).await? else {
            return Ok(Outcome::Unknown);
        };
        let transaction = self.store().begin().await?;
        // The subscription first, as everybody else does, so that no two wait for each other.
        let present = subscriptions::lock(&transaction, question.subscription).await?;
        let (Some(present), Some(question)) = (present, handshakes::take(&transaction, key_hash, now).await?) else {
            return Ok(Outcome::Unknown);
        };
        let rate_per_minute = match rate {
            Rate::AsAsked => question.rate_per_minute,
            Rate::Given(rate) => rate,
        };
        let grant = Grant { uri: &question.uri, origin: &question.origin, rate_per_minute };
        let outcome = match settle::grant(&transaction, &present, grant, Some(trace), now).await? {
            Some(settled) => Outcome::Granted { id: present.id, is_noted: settled.is_noted },
            None => Outcome::Moved,
        };
        transaction.commit().await.map_err(StoreError::from)?;
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&[u8]]) -> Result<Rate, u16> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(ALLOWED_RATE, http::HeaderValue::from_bytes(value).unwrap());
        }
        Rate::read(&headers).map_err(|problem| problem.kind.status())
    }

    #[test]
    fn a_rate_is_a_star_or_a_positive_integer_and_anything_else_is_400() {
        assert_eq!(read(&[]), Ok(Rate::AsAsked));
        assert_eq!(read(&[b"*"]), Ok(Rate::Given(None)));
        assert_eq!(read(&[b"0120"]), Ok(Rate::Given(Some(120))));
        let endless = "9".repeat(8000);
        assert_eq!(read(&[endless.as_bytes()]), Ok(Rate::Given(Some(u32::MAX))));
        let bad: [&[&[u8]]; 11] = [
            &[b""],
            &[b"0"],
            &[b"000"],
            &[b"-1"],
            &[b"+1"],
            &[b"1.5"],
            &[b"1 2"],
            &[b"**"],
            &[b"12x"],
            &[b"\xff"],
            &[b"5", b"5"],
        ];
        for values in bad {
            assert_eq!(read(values), Err(400), "{values:?}");
        }
    }
}
