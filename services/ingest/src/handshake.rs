//! S2: answer a sender that asks whether it may deliver here (SPEC 5.3, 3.7).

use axum::response::{IntoResponse as _, Response};
use http::header::ALLOW;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use slipstream_core::problem::{FieldError, Problem, ProblemKind};
use slipstream_service::ApiError;
use slipstream_service::auth::AtSite;

use crate::openapi::SiteInPath;

const REQUEST_ORIGIN: HeaderName = HeaderName::from_static("webhook-request-origin");
const REQUEST_RATE: HeaderName = HeaderName::from_static("webhook-request-rate");
const ALLOWED_ORIGIN: HeaderName = HeaderName::from_static("webhook-allowed-origin");
const ALLOWED_RATE: HeaderName = HeaderName::from_static("webhook-allowed-rate");

/// `OPTIONS /sites/{slug}/events`: 204, with permission in the headers if an origin asked for it.
///
/// The rate granted is the smaller of what was asked and what the account's quota lets through in a minute.
/// A callback is not used: the answer is known at once.
#[utoipa::path(
    options,
    path = "/sites/{site}/events",
    tag = "Events",
    operation_id = "validateSender",
    summary = "Ask whether events may be sent here, as CloudEvents webhooks do",
    description = "The rate granted is the smaller of what was asked for and what the quota lets through in a minute.",
    params(
        SiteInPath,
        ("webhook-request-origin" = Option<String>, Header, description = "Who wants to send", example = "post.example"),
        ("webhook-request-rate" = Option<i32>, Header, description = "How many requests per minute", minimum = 1),
    ),
    responses((
        status = 204,
        description = "They may.",
        headers(
            ("Allow" = String, description = "The methods of this path"),
            ("WebHook-Allowed-Origin" = String, description = "The origin that asked, if one did"),
            ("WebHook-Allowed-Rate" = String, description = "Requests per minute, or `*` for any, if an origin asked"),
        )
    ))
)]
pub(crate) async fn validate(at: AtSite, headers: HeaderMap) -> Result<Response, ApiError> {
    let requested = requested_rate(&headers)?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    let answered = response.headers_mut();
    answered.insert(ALLOW, HeaderValue::from_static("POST, OPTIONS"));
    if let Some(origin) = headers.get(REQUEST_ORIGIN) {
        let quota = at.principal.quota().map(|quota| u64::from(quota.tokens_per_second) * 60);
        answered.insert(ALLOWED_ORIGIN, origin.clone());
        answered.insert(ALLOWED_RATE, allowed_rate(requested, quota));
    }
    Ok(response)
}

/// Requests per minute that the sender asks for: a positive integer of 32 bits, or nothing.
fn requested_rate(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get(REQUEST_RATE) else { return Ok(None) };
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let rate = digits.and_then(|text| text.parse::<i32>().ok()).filter(|rate| *rate > 0);
    rate.map(|rate| Some(rate as u64)).ok_or_else(|| {
        let error = FieldError::at("WebHook-Request-Rate", "must be a positive integer");
        Problem::with_errors(ProblemKind::BadRequest, vec![error])
    })
}

fn allowed_rate(requested: Option<u64>, quota: Option<u64>) -> HeaderValue {
    match (requested, quota) {
        (_, None) => HeaderValue::from_static("*"),
        (None, Some(quota)) => HeaderValue::from(quota),
        (Some(requested), Some(quota)) => HeaderValue::from(requested.min(quota)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_of_asked_and_allowed_is_granted() {
        assert_eq!(allowed_rate(Some(120), Some(3000)), "120");
        assert_eq!(allowed_rate(Some(9000), Some(3000)), "3000");
        assert_eq!(allowed_rate(None, Some(3000)), "3000");
        assert_eq!(allowed_rate(Some(120), None), "*");
    }

    #[test]
    fn a_rate_that_is_no_positive_integer_is_refused() {
        for (text, expected) in [("120", true), ("0", false), ("-1", false), ("+1", false), ("99999999999", false)] {
            let headers = HeaderMap::from_iter([(REQUEST_RATE, HeaderValue::from_static(text))]);
            assert_eq!(requested_rate(&headers).is_ok(), expected, "{text}");
        }
    }
}
