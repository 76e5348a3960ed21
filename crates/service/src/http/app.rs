//! A router as the accept loop calls it: with a trace, a limit on the head, a net under panics, and refusals in the shape
//! of their surface.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum::{BoxError, Router};
use futures::FutureExt as _;
use http::{Method, StatusCode};
use metrics::Histogram;
use opentelemetry::trace::TraceContextExt as _;
use slipstream_core::trace::TraceContext;
use tokio::time::Instant;
use tower::Service as _;
use tracing::{Instrument as _, Level, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::{HEAD_BYTES_MAX, HEAD_FIELDS_MAX};
use crate::config::HttpConfig;
use crate::ecg;
use crate::names;
use crate::problem::{ApiError, Renderer};
use crate::trace::{self, RequestTrace};

/// A router with everything around it that each request goes through.
#[derive(Debug)]
pub struct App {
    router: Router,
    renderer: Renderer,
    durations: Durations,
}

/// The duration histograms of the status classes 1xx to 5xx, looked up once.
struct Durations([Histogram; 5]);

impl std::fmt::Debug for Durations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Durations")
    }
}

impl App {
    /// Wraps `router`. For tests that call a router without a socket; [`super::serve`] does it by itself.
    pub fn new(router: Router, config: &HttpConfig) -> Self {
        crate::metrics::install();
        // Only where spans are exported: a layer costs each request an allocation or two.
        let spans_are_exported = tracing::enabled!(target: "slipstream::span::http", Level::DEBUG);
        let router = if spans_are_exported && router.has_routes() {
            router.route_layer(axum::middleware::from_fn(name_span))
        } else {
            router
        };
        let class = |class| metrics::histogram!(names::HTTP_SERVER_REQUEST_DURATION, names::HTTP_RESPONSE_STATUS_CLASS => class);
        Self {
            router,
            renderer: Renderer::new(&config.problem_base_url),
            durations: Durations(["1xx", "2xx", "3xx", "4xx", "5xx"].map(class)),
        }
    }

    /// Answers one request.
    pub async fn call<B>(&self, request: http::Request<B>) -> Response
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let started = Instant::now();
        let span = span_of(request.method());
        let response = if span.is_disabled() {
            let trace = trace::of_request(request.headers());
            self.answer(request, trace).await
        } else {
            if let Some(caller) = trace::incoming(request.headers()) {
                trace::set_parent(&span, caller);
            }
            let trace = trace::of_span(&span).unwrap_or_else(|| trace::of_request(request.headers()));
            let response = self.answer(request, trace).instrument(span.clone()).await;
            span.record(names::HTTP_RESPONSE_STATUS_CODE, response.status().as_u16());
            if response.status().is_server_error() {
                span.record(names::OTEL_STATUS_CODE, "ERROR");
            }
            response
        };
        let class = usize::from(response.status().as_u16() / 100 - 1).min(4);
        self.durations.0[class].record(started.elapsed().as_secs_f64());
        response
    }

    async fn answer<B>(&self, mut request: http::Request<B>, trace: TraceContext) -> Response
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let is_of_ecg = ecg::is_here(request.uri().path());
        let response = if is_head_too_large(&request) {
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE.into_response()
        } else {
            request.extensions_mut().insert(RequestTrace(trace));
            let mut router = self.router.clone();
            // A broken request must not take the connection's other requests with it, nor the process.
            match AssertUnwindSafe(router.call(request)).catch_unwind().await {
                Ok(Ok(response)) => response,
                Ok(Err(never)) => match never {},
                Err(panic) => {
                    let cause = anyhow::anyhow!("a handler panicked: {}", panic_message(panic.as_ref()));
                    ApiError::internal(cause).into_response()
                }
            }
        };
        if is_of_ecg { ecg::finish(response, trace).await } else { self.renderer.finish(response, trace).await }
    }
}

/// The text of a panic, if it has one.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// Whether the head is beyond its limits. hyper has checked HTTP/1.1 already; over HTTP/2 it does not count fields.
fn is_head_too_large<B>(request: &http::Request<B>) -> bool {
    let headers = request.headers();
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    headers.len() > HEAD_FIELDS_MAX
        || target + headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>()
            > HEAD_BYTES_MAX
}

fn span_of(method: &Method) -> Span {
    tracing::debug_span!(
        target: "slipstream::span::http",
        "http.server",
        otel.kind = "server",
        otel.status_code = tracing::field::Empty,
        http.request.method = method.as_str(),
        http.route = tracing::field::Empty,
        http.response.status_code = tracing::field::Empty,
    )
}

/// Names the request's span after its route, which is known only inside the router.
async fn name_span(request: Request<Body>, next: Next) -> Response {
    if let Some(route) = request.extensions().get::<MatchedPath>() {
        let span = Span::current();
        span.record(names::HTTP_ROUTE, route.as_str());
        // Not by recording `otel.name`: the span has begun, and then its name stays.
        span.context().span().update_name(format!("{} {}", request.method(), route.as_str()));
    }
    next.run(request).await
}
