//! The operator's token (SPEC 4.9).

use http::HeaderMap;
use slipstream_core::problem::Problem;

use super::authorization::{credentials, unauthorized};
use crate::config::Secret;

/// Checks that `headers` carry the operator's token.
///
/// # Errors
/// 401 otherwise.
pub(super) fn check(token: &Secret, headers: &HeaderMap) -> Result<(), Problem> {
    match credentials(headers, "bearer") {
        Ok(Some(given)) if token.matches(given) => Ok(()),
        _ => Err(unauthorized("the operator's bearer token is needed")),
    }
}
