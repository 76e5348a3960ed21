//! Problem details (RFC 9457): the closed set of problems the Slipstream and CloudEvents surfaces answer (SPEC 2.2).
//!
//! `service` turns a [`Problem`] into an HTTP answer and adds the `traceId`.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use crate::limits::ERRORS_MAX;

/// What went wrong, as the caller may know it. Decides the status, the `type` and the `title`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProblemKind {
    /// 400 `invalid-event`: an attribute or the format of an event breaks a rule.
    InvalidEvent,
    /// 400 `slug-malformed`: the path holds no slug.
    SlugMalformed,
    /// 400 `visibility-not-allowed`: an external account published visibility 2 or 3.
    VisibilityNotAllowed,
    /// 400, no type of its own: some other request is malformed.
    BadRequest,
    /// 401: no credential, or one that is not valid.
    Unauthorized,
    /// 403: the credential may not do this.
    Forbidden,
    /// 404.
    NotFound,
    /// 405.
    MethodNotAllowed,
    /// 408: the request did not arrive in time.
    RequestTimeout,
    /// 409: the object is in a state that does not allow this.
    Conflict,
    /// 410: what this was about is there no more, and will not come back.
    Gone,
    /// 413: body, event or batch above its limit.
    TooLarge,
    /// 415: content type or content encoding we do not read.
    UnsupportedMediaType,
    /// 422 `target-not-allowed`: the target breaks the address policy.
    TargetNotAllowed,
    /// 422: well-formed but cannot be acted on.
    Unprocessable,
    /// 424 `handshake-failed`: the target did not grant permission.
    HandshakeFailed,
    /// 409 `idempotency-in-progress`: the first request with this `Idempotency-Key` is not finished.
    IdempotencyInProgress,
    /// 422 `idempotency-key-reused`: this `Idempotency-Key` came with another body before.
    IdempotencyKeyReused,
    /// 429: over quota.
    QuotaExceeded,
    /// 500: our fault.
    Internal,
    /// 503: the bus or database did not answer in time; a repeat is harmless.
    Unavailable,
}

impl ProblemKind {
    /// The HTTP status.
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidEvent | Self::SlugMalformed | Self::VisibilityNotAllowed | Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::RequestTimeout => 408,
            Self::Conflict | Self::IdempotencyInProgress => 409,
            Self::Gone => 410,
            Self::TooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::TargetNotAllowed | Self::Unprocessable | Self::IdempotencyKeyReused => 422,
            Self::HandshakeFailed => 424,
            Self::QuotaExceeded => 429,
            Self::Internal => 500,
            Self::Unavailable => 503,
        }
    }

    /// The last segment of the problem's `type` under the configured base, or `None` for `about:blank`.
    pub const fn slug(self) -> Option<&'static str> {
        match self {
            Self::InvalidEvent => Some("invalid-event"),
            Self::SlugMalformed => Some("slug-malformed"),
            Self::VisibilityNotAllowed => Some("visibility-not-allowed"),
            Self::TargetNotAllowed => Some("target-not-allowed"),
            Self::HandshakeFailed => Some("handshake-failed"),
            Self::IdempotencyInProgress => Some("idempotency-in-progress"),
            Self::IdempotencyKeyReused => Some("idempotency-key-reused"),
            _ => None,
        }
    }

    /// The problem's `title`, stable per type.
    pub const fn title(self) -> &'static str {
        match self {
            Self::InvalidEvent => "Invalid event",
            Self::SlugMalformed => "Malformed slug",
            Self::VisibilityNotAllowed => "Visibility not allowed",
            Self::BadRequest => "Bad Request",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "Not Found",
            Self::MethodNotAllowed => "Method Not Allowed",
            Self::RequestTimeout => "Request Timeout",
            Self::Conflict => "Conflict",
            Self::Gone => "Gone",
            Self::TooLarge => "Content Too Large",
            Self::UnsupportedMediaType => "Unsupported Media Type",
            Self::TargetNotAllowed => "Target not allowed",
            Self::Unprocessable => "Unprocessable Content",
            Self::HandshakeFailed => "Handshake failed",
            Self::IdempotencyInProgress => "Idempotency key in progress",
            Self::IdempotencyKeyReused => "Idempotency key reused",
            Self::QuotaExceeded => "Quota exceeded",
            Self::Internal => "Internal Server Error",
            Self::Unavailable => "Service Unavailable",
        }
    }
}

/// One thing that is wrong with a request, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct FieldError {
    /// JSON Pointer as a URI fragment, e.g. `#/1/source`; the first token is the index in a batch (RFC 6901).
    pub pointer: String,
    /// What the rule is, written for the caller: `must not be empty`.
    #[schema(value_type = String)]
    pub detail: Cow<'static, str>,
}

impl FieldError {
    /// An error at the member `name` of the request's object.
    pub fn at(name: &str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { pointer: format!("#/{}", escape_pointer_token(name)), detail: detail.into() }
    }

    /// The same error inside the element `index` of a batch.
    #[must_use]
    pub fn in_batch(mut self, index: usize) -> Self {
        let rest = self.pointer.trim_start_matches('#').to_owned();
        self.pointer = format!("#/{index}{rest}");
        self
    }
}

/// A JSON Pointer token, escaped for a URI fragment: `~` and `/` as RFC 6901 says, the rest percent-encoded.
fn escape_pointer_token(name: &str) -> String {
    let mut token = String::with_capacity(name.len());
    for character in name.chars() {
        match character {
            '~' => token.push_str("~0"),
            '/' => token.push_str("~1"),
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '.' | '_' | '$' => token.push(character),
            other => {
                for byte in other.encode_utf8(&mut [0; 4]).bytes() {
                    let _ = write!(token, "%{byte:02X}");
                }
            }
        }
    }
    token
}

/// A refusal or failure, ready to be told to the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {detail}", kind.title())]
pub struct Problem {
    /// What went wrong.
    pub kind: ProblemKind,
    /// This occurrence, written for the caller. Holds no secret and no event data.
    pub detail: Cow<'static, str>,
    /// Which members are wrong; at most [`ERRORS_MAX`].
    pub errors: Vec<FieldError>,
    /// When to try again; always present with 429 and 503 (N15).
    pub retry_after: Option<Duration>,
}

impl Problem {
    /// A problem without a list of members.
    pub fn new(kind: ProblemKind, detail: impl Into<Cow<'static, str>>) -> Self {
        let retry_after =
            matches!(kind, ProblemKind::Unavailable | ProblemKind::QuotaExceeded).then_some(Duration::from_secs(1));
        Self { kind, detail: detail.into(), errors: Vec::new(), retry_after }
    }

    /// A problem that names the members at fault.
    pub fn with_errors(kind: ProblemKind, mut errors: Vec<FieldError>) -> Self {
        let count = errors.len();
        errors.truncate(ERRORS_MAX);
        let detail = if count == 1 { "1 member is invalid".into() } else { format!("{count} members are invalid") };
        Self { errors, ..Self::new(kind, detail) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_name_the_element_and_the_member() {
        assert_eq!(FieldError::at("source", "must not be empty").in_batch(1).pointer, "#/1/source");
        assert_eq!(FieldError::at("a/b~c é", "x").pointer, "#/a~1b~0c%20%C3%A9");
    }

    #[test]
    fn retryable_problems_say_when() {
        assert!(Problem::new(ProblemKind::Unavailable, "the bus did not answer").retry_after.is_some());
        assert!(Problem::new(ProblemKind::NotFound, "no such site").retry_after.is_none());
    }
}
