//! What handlers lean on.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use http::HeaderMap;
use http::request::Parts;
use serde::de::DeserializeOwned;
use slipstream_core::config::Subscription;
use slipstream_core::ids::SubscriptionId;
use slipstream_core::limits::MANAGEMENT_BODY_BYTES_MAX;
use slipstream_core::problem::Problem;
use slipstream_core::signing::Scheme;
use slipstream_service::audit::Note;
use slipstream_service::directory::Snapshot;
use slipstream_service::ecg::body::BodyTimeout;
use slipstream_service::{ApiError, Directory, json};
use slipstream_store::subscriptions::Owner;
use slipstream_webhook::AddressPolicy;

use crate::ecg::health::Indicators;
use crate::handshake::Handshake;
use crate::registry::{Registry, RegistryError};

/// How long a change waits to be seen by this process's own directory before it is answered.
const SEEN_TIMEOUT: Duration = Duration::from_secs(1);

/// Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct AppState {
    pub(crate) registry: Registry,
    pub(crate) directory: Directory,
    pub(crate) targets: Arc<AddressPolicy>,
    pub(crate) handshake: Handshake,
    /// What the health check of the ECG surface is answered from.
    pub(crate) indicators: Indicators,
    /// How a new subscription signs.
    pub(crate) schemes: Arc<[Scheme]>,
    pub(crate) body_timeout: Duration,
}

impl AppState {
    /// Waits until this process itself has seen a change, so that a caller may go on at once with what it has just
    /// made. Best effort: after 1 s the change is in the bucket all the same.
    pub(crate) async fn seen(&self, is_seen: impl Fn(&Snapshot) -> bool) {
        let mut changes = self.directory.changed();
        let waiting = async {
            while !is_seen(&self.directory.load()) {
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(SEEN_TIMEOUT, waiting).await;
    }

    /// Waits until this process itself has seen `subscription` as it stands now; as [`seen`](Self::seen).
    pub(crate) async fn seen_subscription(&self, subscription: &Subscription) {
        let is_seen = |seen: &Arc<Subscription>| seen.revision >= subscription.revision;
        self.seen(|snapshot| snapshot.subscriptions().get(subscription.id).is_some_and(is_seen)).await;
    }

    /// Puts in force that `owner` has no subscription, where that did not succeed when it was removed.
    pub(crate) async fn finish_removal(&self, owner: Owner<'_>) -> Result<(), RegistryError> {
        self.registry.finish_removals().await?;
        // By another replica, or before a restart of this one.
        for id in self.in_force(|it| (&it.site, it.feature, it.account) == (owner.site, owner.feature, owner.account)) {
            self.registry.mirror_subscription(id).await?;
        }
        Ok(())
    }

    /// Puts in force what SQL says about a subscription, where anything of it is in force.
    pub(crate) async fn finish_change(&self, id: SubscriptionId) -> Result<(), RegistryError> {
        if self.in_force(|it| it.id == id).is_empty() {
            return Ok(());
        }
        self.registry.mirror_subscription(id).await
    }

    /// Tells the audit whose site the endpoint of `id` is of, if that is known.
    pub(crate) fn note_site(&self, note: &Note, id: SubscriptionId) {
        if let Some(subscription) = self.directory.load().subscriptions().get(id) {
            note.site(&subscription.site);
        }
    }

    /// The subscriptions in force that `fit`.
    fn in_force(&self, fit: impl Fn(&Subscription) -> bool) -> Vec<SubscriptionId> {
        let snapshot = self.directory.load();
        snapshot.subscriptions().iter().filter(|it| fit(it)).map(|it| it.id).collect()
    }
}

impl BodyTimeout for AppState {
    fn body_timeout(&self) -> Duration {
        self.body_timeout
    }
}

/// A JSON body within its limits: 413, 415, 408, and 400 naming the member at fault.
///
/// Bodies of operators deny members that they do not know: a misspelt one that is ignored does something else than was
/// asked for, and whoever asked believes it.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<AppState> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        Ok(Self(read_json(&parts, body, state).await?))
    }
}

/// As the extractor [`Json`], for handlers that check something else first.
pub(crate) async fn read_json<T: DeserializeOwned>(parts: &Parts, body: Body, state: &AppState) -> Result<T, ApiError> {
    let bytes = read(parts, body, state).await?;
    Ok(read_bytes(&parts.headers, &bytes)?)
}

/// As [`Json`], where the body may be left out, or null: then it is the type's default.
pub(crate) struct OptionalJson<T>(pub(crate) T);

impl<T: DeserializeOwned + Default> FromRequest<AppState> for OptionalJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let bytes = read(&parts, body, state).await?;
        let given: Option<T> = if bytes.is_empty() { None } else { read_bytes(&parts.headers, &bytes)? };
        Ok(Self(given.unwrap_or_default()))
    }
}

async fn read(parts: &Parts, body: Body, state: &AppState) -> Result<Bytes, Problem> {
    slipstream_service::http::read_body(parts, body, MANAGEMENT_BODY_BYTES_MAX, state.body_timeout).await
}

fn read_bytes<T: DeserializeOwned>(headers: &HeaderMap, bytes: &[u8]) -> Result<T, Problem> {
    json::check_content_type(headers)?;
    json::read(bytes)
}
