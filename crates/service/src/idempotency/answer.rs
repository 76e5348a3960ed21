//! Answers, to be kept and given again.

use axum::body::{Body, HttpBody as _};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use http_body_util::BodyExt as _;
use slipstream_core::idempotency::{Answer, Kept};

use super::IDEMPOTENT_REPLAYED;
use crate::problem::ApiError;

/// What belongs to the exchange and not to the answer: the accept loop and the quota write them anew.
const OF_THE_EXCHANGE: [&str; 6] =
    ["connection", "content-length", "date", "transfer-encoding", "ratelimit", "ratelimit-policy"];

/// What is kept of an answer, whose body is kept up to `body_bytes_max`; and the answer to go out.
pub(super) async fn kept(response: Response, body_bytes_max: u64) -> (Response, Kept) {
    let status = response.status().as_u16();
    let is_long = response.body().size_hint().upper().is_none_or(|bytes| bytes > body_bytes_max);
    if holds_a_secret(&response) || is_long {
        return (response, Kept::Status(status));
    }
    let (parts, body) = response.into_parts();
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        // Bodies of known length are in memory, so this does not happen; it would cut the answer.
        Err(error) => return (ApiError::internal(error).into_response(), Kept::Status(status)),
    };
    let is_kept = |name: &HeaderName| !OF_THE_EXCHANGE.contains(&name.as_str());
    let text = |value: &HeaderValue| value.to_str().ok().map(ToOwned::to_owned);
    let headers = parts.headers.iter().filter(|(name, _)| is_kept(name));
    let headers = headers.filter_map(|(name, value)| Some((name.as_str().to_owned(), text(value)?))).collect();
    let answer = Answer { status, headers, body: body.to_vec() };
    (Response::from_parts(parts, Body::from(body)), Kept::Answer(answer))
}

/// Whether an answer shows something that is to be kept by nobody. Problem documents are `no-store` too, and hold none.
fn holds_a_secret(response: &Response) -> bool {
    let mut controls = response.headers().get_all(header::CACHE_CONTROL).iter();
    response.status().as_u16() < 400 && controls.any(|value| value.to_str().is_ok_and(|it| it.contains("no-store")))
}

/// An answer that was given before.
pub(super) fn replayed(answer: Answer) -> Response {
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    for (name, value) in answer.headers {
        // They were read from such headers, so they are some.
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse()) {
            response.headers_mut().append(name, value);
        }
    }
    mark_as_replayed(&mut response);
    response
}

/// Says that an answer was given before.
pub(super) fn mark_as_replayed(response: &mut Response) {
    response.headers_mut().insert(HeaderName::from_static(IDEMPOTENT_REPLAYED), HeaderValue::from_static("true"));
}
