//! Refusals and failures as `application/problem+json` (RFC 9457, SPEC 2.2).
//!
//! Handlers return [`Problem`]s, from `core` or made on the spot, as [`ApiError`]. The accept loop, which knows the
//! request's trace and the configured base of the types, writes the document: [`ApiError::into_response`] only attaches
//! the error to an empty answer. Plain refusals of axum itself (no such route, wrong method, a query that does not
//! parse, a panic) become documents in the same place, so that no other shape ever leaves us. On the paths of the ECG
//! surface, that shape is another one, which [`crate::ecg`] writes.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use slipstream_core::problem::{Problem, ProblemKind};

mod log;
mod render;

pub(crate) use render::{Document, Refused, Renderer};

/// The media type of a problem document.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// The quota that [`ProblemKind::QuotaExceeded`] names unless told otherwise (SPEC 2.4).
const QUOTA_POLICY: &str = "publish";

/// A [`Problem`] on its way out, with what the caller is not told: the cause, which is logged once.
#[derive(Debug)]
pub struct ApiError {
    problem: Problem,
    cause: Option<anyhow::Error>,
    quota_policy: &'static str,
    headers: HeaderMap,
}

impl ApiError {
    /// Our fault: 500. The caller learns nothing of `cause`.
    pub fn internal(cause: impl Into<anyhow::Error>) -> Self {
        Self::from(Problem::new(ProblemKind::Internal, "something went wrong on our side")).caused_by(cause)
    }

    /// The bus or the database did not answer in time: 503 with `Retry-After`. Only where a repeat is harmless (N15).
    pub fn unavailable(detail: &'static str, cause: impl Into<anyhow::Error>) -> Self {
        Self::from(Problem::new(ProblemKind::Unavailable, detail)).caused_by(cause)
    }

    /// Adds the cause, for the log.
    #[must_use]
    pub fn caused_by(mut self, cause: impl Into<anyhow::Error>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Adds a header to the answer, such as `RateLimit` (SPEC 2.4).
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// Names the quota that was exceeded; `publish` otherwise.
    #[must_use]
    pub fn of_quota(mut self, policy: &'static str) -> Self {
        self.quota_policy = policy;
        self
    }

    /// What the caller is told.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.problem.kind.status()).expect("a kind's status is one of HTTP's")
    }
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self { problem, cause: None, quota_policy: QUOTA_POLICY, headers: HeaderMap::new() }
    }
}

/// For `?` in handlers: whatever has no better answer is our fault.
impl From<anyhow::Error> for ApiError {
    fn from(cause: anyhow::Error) -> Self {
        Self::internal(cause)
    }
}

impl IntoResponse for ApiError {
    /// The status, with the error attached; see the module's documentation.
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

#[cfg(test)]
mod tests;
