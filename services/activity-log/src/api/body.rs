//! Reading the JSON body of a request of an operator.
//!
//! Its types deny members that they do not know: a misspelt one that is ignored does something else than was asked for,
//! and whoever asked believes it.

use std::time::Duration;

use axum::extract::Request;
use serde::de::DeserializeOwned;
use slipstream_core::problem::{FieldError, Problem, ProblemKind};
use slipstream_service::http::read_body;
use slipstream_service::json;

/// Bytes of a body: far more than all members of any of them need.
const BYTES_MAX: usize = 16 * 1024;

/// The body of a request as a `T`, arrived within `timeout`.
///
/// # Errors
/// 415, 413, 408 and 503 as [`read_body`] has them; 400 naming the member at fault.
pub(super) async fn read<T: DeserializeOwned>(request: Request, timeout: Duration) -> Result<T, Problem> {
    let (parts, body) = request.into_parts();
    json::check_content_type(&parts.headers)?;
    json::read(&read_body(&parts, body, BYTES_MAX, timeout).await?)
}

/// 400: the member `name` breaks a rule.
pub(super) fn bad_member(name: &'static str, detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::with_errors(ProblemKind::BadRequest, vec![FieldError::at(name, detail)])
}
