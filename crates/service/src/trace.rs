//! The trace a request or message belongs to (SPEC 2.6), between W3C text, OpenTelemetry and our own [`TraceContext`].

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use slipstream_core::trace::TraceContext;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The header that carries a trace between processes.
pub const TRACEPARENT: &str = "traceparent";

/// The trace of the request at hand, for handlers: `RequestTrace(trace): RequestTrace`.
///
/// Its trace id is that of the caller's `traceparent`, if there was a good one, and new otherwise; its span id is
/// always ours. The answer's `traceId` is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestTrace(pub TraceContext);

impl<S: Sync> FromRequestParts<S> for RequestTrace {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        // Absent only where a router is called without the accept loop.
        Ok(parts.extensions.get().copied().unwrap_or_else(|| Self(of_request(&parts.headers))))
    }
}

/// A trace of our own, from the thread's random numbers.
pub fn random() -> TraceContext {
    TraceContext::new(rand::random(), rand::random())
}

/// The trace that the caller names in its headers; `None` if it names none, several, or a malformed one.
pub fn incoming(headers: &HeaderMap) -> Option<TraceContext> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    value.to_str().ok()?.parse().ok()
}

/// The caller's trace continued at a new span, or a new trace.
pub fn of_request(headers: &HeaderMap) -> TraceContext {
    incoming(headers).map_or_else(random, |caller| caller.child(rand::random()))
}

/// Makes `span` a child of the span that `parent` names. Does nothing when no traces are exported.
pub fn set_parent(span: &Span, parent: TraceContext) {
    if !span.is_disabled() {
        let context = opentelemetry::Context::new().with_remote_span_context(to_span_context(parent));
        // Fails when no traces are exported, or after the span has started: then it stays a root, which harms nobody.
        let _ = span.set_parent(context);
    }
}

/// Links `span` to the span that `cause` names: how a consumer refers to its producer (STYLE 8). Does nothing when no
/// traces are exported.
pub fn link(span: &Span, cause: TraceContext) {
    if !span.is_disabled() {
        span.add_link(to_span_context(cause));
    }
}

/// Where `span` stands in its trace; `None` when it is not exported.
pub fn of_span(span: &Span) -> Option<TraceContext> {
    if span.is_disabled() {
        return None;
    }
    let context = span.context();
    let span = context.span();
    let context = span.span_context();
    context.is_valid().then(|| TraceContext {
        trace_id: u128::from_be_bytes(context.trace_id().to_bytes()),
        span_id: u64::from_be_bytes(context.span_id().to_bytes()),
        flags: context.trace_flags().to_u8(),
    })
}

/// Where the current span stands in its trace; `None` when it is not exported.
pub fn current() -> Option<TraceContext> {
    of_span(&Span::current())
}

fn to_span_context(trace: TraceContext) -> SpanContext {
    SpanContext::new(
        TraceId::from_bytes(trace.trace_id.to_be_bytes()),
        SpanId::from_bytes(trace.span_id.to_be_bytes()),
        TraceFlags::new(trace.flags),
        true,
        TraceState::default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-84c1fd4063c38d9f3900d06e56542d48-85d1d4a1b2c3d4e5-01";

    fn headers(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (axum::http::HeaderName::from_static(TRACEPARENT), value.parse().unwrap())).collect()
    }

    #[test]
    fn the_callers_trace_is_continued_at_a_span_of_ours() {
        let caller: TraceContext = PARENT.parse().unwrap();
        let ours = of_request(&headers(&[PARENT]));
        assert_eq!((ours.trace_id, ours.flags), (caller.trace_id, caller.flags));
        assert_ne!(ours.span_id, caller.span_id);
    }

    #[test]
    fn absent_malformed_and_repeated_traces_give_a_new_one() {
        for values in [&[][..], &["nonsense"], &[PARENT, PARENT]] {
            assert_eq!(incoming(&headers(values)), None);
            assert_ne!(of_request(&headers(values)).trace_id, of_request(&headers(values)).trace_id);
        }
    }
}
