//! What handlers lean on.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use http::{HeaderMap, header};
use serde::de::DeserializeOwned;
use slipstream_core::limits::BODY_BYTES_MAX;
use slipstream_service::directory::Snapshot;
use slipstream_service::{ApiError, Directory};
use slipstream_webhook::AddressPolicy;

use crate::json;
use crate::registry::Registry;

/// How long a change waits to be seen by this process's own directory before it is answered.
const SEEN_TIMEOUT: Duration = Duration::from_secs(1);

/// Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct AppState {
    pub(crate) registry: Registry,
    pub(crate) directory: Directory,
    pub(crate) targets: Arc<AddressPolicy>,
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
}

/// A JSON body within its limits: 413, 415, 408, and 400 naming the member at fault.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<AppState> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        Ok(Self(read_json(&parts.headers, body, state).await?))
    }
}

/// As the extractor [`Json`], for handlers that check something else first.
pub(crate) async fn read_json<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
    state: &AppState,
) -> Result<T, ApiError> {
    let content_type = headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
    let bytes: Bytes = slipstream_service::http::read_body(headers, body, BODY_BYTES_MAX, state.body_timeout).await?;
    json::check_content_type(content_type)?;
    Ok(json::read(&bytes)?)
}
