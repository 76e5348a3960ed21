//! Writes the problem document of an answer that is one.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use http_body_util::{BodyExt as _, Limited};
use serde::Serialize;
use slipstream_core::problem::{FieldError, Problem, ProblemKind};
use slipstream_core::trace::TraceContext;
use url::Url;
use utoipa::ToSchema;

use super::{ApiError, CONTENT_TYPE, log};

/// The `type` of a quota problem (SPEC 2.2).
const QUOTA_TYPE: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";

/// Bytes of a plain refusal's text that become the `detail`.
const PLAIN_DETAIL_BYTES_MAX: usize = 1024;

/// The members of the document, in this order.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem, description = "A refusal or a failure (RFC 9457).")]
pub(crate) struct Document<'a> {
    /// What kind of problem it is; `about:blank` when the status says it all.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    problem_type: Cow<'a, str>,
    /// The kind in words.
    title: &'a str,
    /// The status of the answer.
    status: u16,
    /// This occurrence, in words.
    detail: &'a str,
    /// The trace of the request (W3C Trace Context), which operators find it by.
    #[serde(rename = "traceId")]
    #[schema(pattern = "^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")]
    trace_id: String,
    /// Which members are wrong.
    #[serde(skip_serializing_if = "<[FieldError]>::is_empty")]
    errors: &'a [FieldError],
    /// Which quota is used up.
    #[serde(rename = "violated-policies", skip_serializing_if = "Option::is_none")]
    violated_policies: Option<[&'a str; 1]>,
}

/// Turns answers that stand for a problem into problem documents.
#[derive(Debug)]
pub(crate) struct Renderer {
    /// What a type begins with; ends with `/`.
    base: String,
}

impl Renderer {
    pub(crate) fn new(base: &Url) -> Self {
        let base = base.as_str();
        Self { base: if base.ends_with('/') { base.to_owned() } else { format!("{base}/") } }
    }

    /// The answer as it goes out. Anything below 400, and errors that have a body of their own shape, stay as they are.
    pub(crate) async fn finish(&self, response: Response, trace: TraceContext) -> Response {
        match Refused::of(response).await {
            (response, None) => response,
            (response, Some(Refused::Error(error))) => self.render(response, &error, trace),
            (response, Some(Refused::Plain(text))) => {
                let status = response.status();
                let document = Document {
                    problem_type: "about:blank".into(),
                    title: status.canonical_reason().unwrap_or("Error"),
                    status: status.as_u16(),
                    detail: &text,
                    trace_id: trace.to_string(),
                    errors: &[],
                    violated_policies: None,
                };
                write(response, &document)
            }
        }
    }

    fn render(&self, mut response: Response, error: &ApiError, trace: TraceContext) -> Response {
        error.log_and_add_headers(response.headers_mut(), trace);
        let Problem { kind, detail, errors, .. } = &error.problem;
        let is_quota = *kind == ProblemKind::QuotaExceeded;
        let problem_type = match kind.slug() {
            Some(slug) => format!("{}{slug}", self.base).into(),
            None if is_quota => QUOTA_TYPE.into(),
            None => "about:blank".into(),
        };
        let document = Document {
            problem_type,
            title: kind.title(),
            status: kind.status(),
            detail,
            trace_id: trace.to_string(),
            errors,
            violated_policies: is_quota.then_some([error.quota_policy]),
        };
        write(response, &document)
    }
}

impl ApiError {
    /// What every surface does with an error, however it words it: a failure is logged, and the answer gets its headers.
    pub(crate) fn log_and_add_headers(&self, headers: &mut HeaderMap, trace: TraceContext) {
        if self.problem.kind.status() >= 500 {
            log::failure(self, trace);
        }
        headers.extend(self.headers.clone());
        if let Some(wait) = self.problem.retry_after {
            // Rounded up, and never zero: a caller that comes back too early is refused again.
            let seconds = wait.as_millis().div_ceil(1000).max(1);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(u64::try_from(seconds).unwrap_or(u64::MAX)));
        }
    }
}

/// What an answer from 400 on says that has no shape of its own yet.
#[derive(Debug)]
pub(crate) enum Refused {
    /// An error of ours, or the refusal of axum that stands for the same.
    Error(Arc<ApiError>),
    /// A text with a status that no problem has.
    Plain(String),
}

impl Refused {
    /// Takes it out of an answer, whose body is to be written then; none of an answer that stays as it is.
    pub(crate) async fn of(mut response: Response) -> (Response, Option<Self>) {
        if response.status().as_u16() < 400 {
            return (response, None);
        }
        if let Some(error) = response.extensions_mut().remove() {
            return (response, Some(Self::Error(error)));
        }
        if !is_plain(&response) {
            return (response, None);
        }
        let (mut parts, body) = response.into_parts();
        let text = match Limited::new(body, PLAIN_DETAIL_BYTES_MAX).collect().await {
            Ok(body) => String::from_utf8(body.to_bytes().into()).unwrap_or_default(),
            Err(_) => String::new(),
        };
        for name in [header::CONTENT_TYPE, header::CONTENT_LENGTH] {
            parts.headers.remove(name);
        }
        let refused = Self::adopt(parts.status, text);
        (Response::from_parts(parts, Body::empty()), Some(refused))
    }

    /// Makes an error of a refusal that axum or a handler answered without one.
    fn adopt(status: StatusCode, text: String) -> Self {
        let detail = |fallback: &'static str| if text.is_empty() { fallback.into() } else { Cow::Owned(text.clone()) };
        let (kind, detail) = match status {
            StatusCode::BAD_REQUEST => (ProblemKind::BadRequest, detail("the request is malformed")),
            StatusCode::UNAUTHORIZED => (ProblemKind::Unauthorized, detail("a credential is needed")),
            StatusCode::FORBIDDEN => (ProblemKind::Forbidden, detail("the credential may not do this")),
            StatusCode::NOT_FOUND => (ProblemKind::NotFound, detail("there is nothing at this path")),
            StatusCode::METHOD_NOT_ALLOWED => {
                (ProblemKind::MethodNotAllowed, detail("the path does not have this method"))
            }
            StatusCode::REQUEST_TIMEOUT => (ProblemKind::RequestTimeout, detail("the request did not arrive in time")),
            StatusCode::PAYLOAD_TOO_LARGE => (ProblemKind::TooLarge, detail("the body is too large")),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                (ProblemKind::UnsupportedMediaType, detail("the content type is not supported"))
            }
            StatusCode::UNPROCESSABLE_ENTITY => (ProblemKind::Unprocessable, detail("the request cannot be acted on")),
            StatusCode::SERVICE_UNAVAILABLE => (ProblemKind::Unavailable, "try again later".into()),
            // A text of ours about an error of ours is for the log, not for the caller.
            StatusCode::INTERNAL_SERVER_ERROR => {
                return Self::Error(Arc::new(ApiError::internal(anyhow::Error::msg(text))));
            }
            _ => return Self::Plain(text),
        };
        Self::Error(Arc::new(ApiError::from(Problem::new(kind, detail))))
    }
}

/// Whether an answer has no shape of its own: no body, or the plain text in which axum words its refusals.
fn is_plain(response: &Response) -> bool {
    response.headers().get(header::CONTENT_TYPE).is_none_or(|value| value.as_bytes().starts_with(b"text/plain"))
}

fn write(mut response: Response, document: &Document<'_>) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if document.status == 401 {
        // The guard knows the scheme; what is refused elsewhere wants a token.
        headers.entry(header::WWW_AUTHENTICATE).or_insert(HeaderValue::from_static("Bearer"));
    }
    headers.remove(HeaderName::from_static("content-length"));
    let body = serde_json::to_vec(document).expect("texts and numbers are always JSON");
    *response.body_mut() = Body::from(body);
    response
}
