//! Traces arrive at a collector: counted, since the exporter can break in silence (DEPENDENCIES 5.5).

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use slipstream_core::trace::TraceContext;
use slipstream_service::config::{HttpConfig, TelemetryConfig};
use slipstream_service::http::App;
use slipstream_service::{RequestTrace, telemetry, trace};
use slipstream_test_support::receiver::Receiver;

const PARENT: &str = "00-84c1fd4063c38d9f3900d06e56542d48-85d1d4a1b2c3d4e5-01";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_of_requests_are_exported_with_their_route_and_the_callers_trace() {
    // Not one of our servers, which would make spans of its own.
    let collector = Receiver::start().await;
    let config =
        TelemetryConfig { otlp_endpoint: Some(collector.url("/").parse().unwrap()), ..TelemetryConfig::default() };
    let telemetry = telemetry::init("slipstream-test", &config).unwrap();

    let handler = async |RequestTrace(request): RequestTrace| {
        let inner = tracing::debug_span!(target: "slipstream::span::test", "canary.inner");
        let linked = tracing::debug_span!(target: "slipstream::span::test", parent: None, "canary.linked");
        trace::link(&linked, request);
        let _entered = inner.enter();
        assert_eq!(trace::current().unwrap().trace_id, request.trace_id);
        request.to_string()
    };
    let app = App::new(Router::new().route("/sites/{slug}/canary", get(handler)), &HttpConfig::default());
    let caller: TraceContext = PARENT.parse().unwrap();
    for number in 0..50 {
        let request = http::Request::get(format!("/sites/s{number:05}/canary")).header(trace::TRACEPARENT, PARENT);
        let answer = app.call(request.body(Body::empty()).unwrap()).await;
        let seen = axum::body::to_bytes(answer.into_body(), 1000).await.unwrap();
        let seen: TraceContext = std::str::from_utf8(&seen).unwrap().parse().unwrap();
        assert_eq!(seen.trace_id, caller.trace_id);
        assert_ne!(seen.span_id, caller.span_id);
    }
    tokio::time::timeout(Duration::from_secs(20), telemetry.shutdown()).await.expect("flushed in time");

    let count = |needle: &[u8]| collector.count_in_bodies("/v1/traces", needle);
    assert_eq!(count(b"GET /sites/{slug}/canary"), 50);
    assert_eq!(count(b"canary.inner"), 50);
    assert_eq!(count(b"canary.linked"), 50);
    // As parent of 50 requests; and the trace's id in those, their children, and the links of the others.
    assert_eq!(count(&caller.span_id.to_be_bytes()), 50);
    assert_eq!(count(&caller.trace_id.to_be_bytes()), 150);
    assert!(count(b"slipstream-test") >= 1);
}
