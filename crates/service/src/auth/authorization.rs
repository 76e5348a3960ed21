//! The header `Authorization` (RFC 9110, 11.6.2).

use http::{HeaderMap, header};
use slipstream_core::problem::{Problem, ProblemKind};

/// What a caller without a valid credential is told.
pub(super) fn unauthorized(detail: &'static str) -> Problem {
    Problem::new(ProblemKind::Unauthorized, detail)
}

/// The credentials of `scheme` in the header; none if it is absent. The same value twice counts once.
///
/// # Errors
/// 401, when it is of another scheme, cannot be read, is empty, or there are two different ones.
pub(super) fn credentials<'a>(headers: &'a HeaderMap, scheme: &str) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.any(|other| other != value) {
        return Err(unauthorized("two different credentials were given in Authorization"));
    }
    let refused = || unauthorized("Authorization holds no credential of the kind that is taken here");
    let (given, credentials) = value.to_str().ok().and_then(|value| value.split_once(' ')).ok_or_else(refused)?;
    let credentials = credentials.trim_matches(' ');
    // The scheme's name is compared without case (RFC 9110, 11.1).
    if given.eq_ignore_ascii_case(scheme) && !credentials.is_empty() { Ok(Some(credentials)) } else { Err(refused()) }
}
