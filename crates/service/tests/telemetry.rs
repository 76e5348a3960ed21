//! Traces arrive at a collector: counted, since the exporter can break in silence (DEPENDENCIES 5.5).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::{get, post};
use slipstream_core::trace::TraceContext;
use slipstream_service::config::{HttpConfig, TelemetryConfig};
use slipstream_service::http::App;
use slipstream_service::{RequestTrace, telemetry, trace};
use tokio::net::TcpListener;

const PARENT: &str = "00-84c1fd4063c38d9f3900d06e56542d48-85d1d4a1b2c3d4e5-01";

/// How often `needle` stands in the collected bytes: a span's name is in its message as it is.
fn count(collected: &[Bytes], needle: &[u8]) -> usize {
    collected.iter().map(|body| body.windows(needle.len()).filter(|window| *window == needle).count()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_of_requests_are_exported_with_their_route_and_the_callers_trace() {
    let collected: Arc<Mutex<Vec<Bytes>>> = Arc::default();
    let collector = Router::new().route(
        "/v1/traces",
        post({
            let collected = Arc::clone(&collected);
            async move |body: Bytes| collected.lock().unwrap().push(body)
        }),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let collector = tokio::spawn(async move { axum_serve(listener, collector).await });

    let config = TelemetryConfig { otlp_endpoint: Some(url.parse().unwrap()), ..TelemetryConfig::default() };
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

    let collected = collected.lock().unwrap();
    assert_eq!(count(&collected, b"GET /sites/{slug}/canary"), 50);
    assert_eq!(count(&collected, b"canary.inner"), 50);
    assert_eq!(count(&collected, b"canary.linked"), 50);
    // As parent of 50 requests; and the trace's id in those, their children, and the links of the others.
    assert_eq!(count(&collected, &caller.span_id.to_be_bytes()), 50);
    assert_eq!(count(&collected, &caller.trace_id.to_be_bytes()), 150);
    assert!(count(&collected, b"slipstream-test") >= 1);
    collector.abort();
}

/// The collector is not one of our servers: it uses axum's own loop, so that it makes no spans of ours.
async fn axum_serve(listener: TcpListener, router: Router) {
    axum::serve(listener, router).await.unwrap();
}
