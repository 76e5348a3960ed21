//! How refusals are worded: `{"statusCode", "message", "error", "traceId"}` (SPEC 2.2).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use slipstream_core::problem::FieldError;
use slipstream_core::trace::TraceContext;
use utoipa::ToSchema;

use crate::access::{Access, Answering, Around, Entry, Next};
use crate::problem::{ApiError, Refused};
use crate::trace::{self, RequestTrace};

/// The media type of a refusal.
pub(crate) const CONTENT_TYPE: &str = "application/json";

/// A refusal or a failure.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = EcgError)]
pub(crate) struct Refusal<'a> {
    /// The status of the answer.
    #[schema(minimum = 400, maximum = 599)]
    status_code: u16,
    /// What is wrong, in words.
    #[schema(inline)]
    message: Message<'a>,
    /// The status in words.
    error: &'a str,
    /// The trace of the request (W3C Trace Context), which operators find it by.
    #[schema(pattern = "^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")]
    trace_id: String,
}

/// One text; or several, each of a member that is wrong.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum Message<'a> {
    One(&'a str),
    Several(Vec<String>),
}

/// Whether a path is one of this surface, whatever it leads to (SPEC 1.1).
pub(crate) fn is_here(path: &str) -> bool {
    path == "/healthcheck" || path.strip_prefix("/api/").is_some_and(|rest| rest != "v1" && !rest.starts_with("v1/"))
}

/// A refusal in the shape of this surface: `status`, and what is wrong in words. For the one handler that refuses because
/// it is asked to; all others return [`ApiError`].
pub fn answer(status: StatusCode, message: &str, trace: TraceContext) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    write(response, Message::One(message), trace)
}

/// Words what the guard refuses, for [`Routes::refusing_with`](crate::access::Routes::refusing_with).
#[expect(clippy::needless_pass_by_value, reason = "a `Refuse` takes it so")]
pub fn refuse(error: ApiError, trace: TraceContext) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = error.status();
    of_error(response, &error, trace)
}

/// Words what handlers refuse: to be put around them before anything else
/// ([`Routes::around`](crate::access::Routes::around)). The accept loop does the same with what no handler answers: a
/// path that leads nowhere, a panic.
pub fn shape() -> Arc<dyn Around> {
    Arc::new(Shape)
}

#[derive(Debug)]
struct Shape;

impl Around for Shape {
    fn concerns(&self, entry: &Entry) -> bool {
        matches!(entry.access, Access::Ecg(..)) || is_here(entry.path)
    }

    fn answer(self: Arc<Self>, _: &'static Entry, request: Request, next: Next) -> Answering {
        let trace = request.extensions().get::<RequestTrace>().map(|trace| trace.0);
        let trace = trace.unwrap_or_else(|| trace::of_request(request.headers()));
        Box::pin(async move { finish(next(request).await, trace).await })
    }
}

/// The answer as it goes out. Anything below 400, and what has a shape of its own, stays as it is.
pub(crate) async fn finish(response: Response, trace: TraceContext) -> Response {
    match Refused::of(response).await {
        (response, None) => response,
        (response, Some(Refused::Error(error))) => of_error(response, &error, trace),
        (response, Some(Refused::Plain(text))) => write(response, Message::One(&text), trace),
    }
}

fn of_error(mut response: Response, error: &ApiError, trace: TraceContext) -> Response {
    error.log_and_add_headers(response.headers_mut(), trace);
    let problem = error.problem();
    let message = if problem.errors.is_empty() {
        Message::One(&problem.detail)
    } else {
        Message::Several(problem.errors.iter().map(in_words).collect())
    };
    write(response, message, trace)
}

/// `events.0 must be a UUID`: the place as a path of names, and the rule.
fn in_words(error: &FieldError) -> String {
    let place = error.pointer.trim_start_matches('#').trim_start_matches('/');
    if place.is_empty() {
        return format!("the body {}", error.detail);
    }
    let names: Vec<_> = place.split('/').map(name).collect();
    format!("{} {}", names.join("."), error.detail)
}

/// A token of a pointer in a URI fragment, as the name that it stands for.
fn name(token: &str) -> String {
    let decoded = crate::access::decoded_segment(token);
    decoded.replace("~1", "/").replace("~0", "~")
}

fn write(mut response: Response, message: Message<'_>, trace: TraceContext) -> Response {
    let status = response.status();
    let refusal = Refusal {
        status_code: status.as_u16(),
        message,
        error: status.canonical_reason().unwrap_or("Error"),
        trace_id: trace.to_string(),
    };
    let body = serde_json::to_vec(&refusal).expect("texts and numbers are always JSON");
    *response.body_mut() = Body::from(body);
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::UNAUTHORIZED {
        // The guard says so, too; what is refused elsewhere wants a token.
        headers.entry(header::WWW_AUTHENTICATE).or_insert(HeaderValue::from_static("Bearer"));
    }
    response
}
