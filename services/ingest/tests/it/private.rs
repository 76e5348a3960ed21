//! A Private event leaves a counter and a span, and its data in neither (SPEC 5.2, 4.8).

use std::time::Duration;

use slipstream_core::trace::TraceContext;
use slipstream_service::config::TelemetryConfig;
use slipstream_service::{metrics, telemetry};
use slipstream_test_support::receiver::Receiver;

use crate::answer::Answer;
use crate::world::{CANARY, STRUCTURED, World, event};

const CALLER: &str = "00-84c1fd4063c38d9f3900d06e56542d48-85d1d4a1b2c3d4e5-01";
/// No other test publishes this type.
const TYPE: &str = "Test.Private.Whispered";

/// What the counter of accepted events says for a visibility and lane; other tests may share the process.
fn accepted(visibility: &str, lane: &str) -> u64 {
    let series = format!("slipstream_events_accepted_total{{visibility=\"{visibility}\",lane=\"{lane}\"}} ");
    let rendered = metrics::render();
    rendered.lines().find_map(|line| line.strip_prefix(&series)).map_or(0, |count| count.parse().unwrap())
}

#[tokio::test]
async fn accepted_events_are_counted_and_refused_ones_are_not() {
    let world = World::new().await;
    let private = event().with("visibility", 3).with("priority", 1);
    let before = (accepted("private", "high"), accepted("workqueue", "realtime"));
    world.publish(&private).await.expect(204);
    world.publish_batch(&[private.clone(), private.clone().id("other")]).await.expect(204);
    world.publish(&event().with("visibility", 2).with("priority", 2)).await.expect(204);
    world.publish_batch(&[private.clone(), event().without("id")]).await.expect(400);
    assert_eq!((accepted("private", "high"), accepted("workqueue", "realtime")), (before.0 + 3, before.1 + 1));
    assert!(!metrics::render().contains(CANARY));
}

#[tokio::test]
async fn events_that_were_not_stored_are_not_counted() {
    let mut world = World::with_bus(|bus| bus.publish_deadline_ms = Duration::from_millis(200)).await;
    world.pause_bus().await;
    let before = accepted("internal", "realtime");
    world.publish(&event().with("visibility", 0).with("priority", 2)).await.expect(503);
    assert_eq!(accepted("internal", "realtime"), before);
    world.nats.resume();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_event_leaves_a_span_in_the_callers_trace() {
    // Not one of our servers, which would make spans of its own.
    let collector = Receiver::start().await;
    let config =
        TelemetryConfig { otlp_endpoint: Some(collector.url("/").parse().unwrap()), ..TelemetryConfig::default() };
    let telemetry = telemetry::init("slipstream-ingest-test", &config).unwrap();

    let world = World::new().await;
    let private = event().kind(TYPE).with("visibility", 3);
    let request = world.post().header("content-type", STRUCTURED).header("traceparent", CALLER);
    Answer::to(request.body(private.bytes())).await.expect(204);
    tokio::time::timeout(Duration::from_secs(20), telemetry.shutdown()).await.expect("flushed in time");

    let count = |needle: &[u8]| collector.count_in_bodies("/v1/traces", needle);
    let caller: TraceContext = CALLER.parse().unwrap();
    assert_eq!(count(b"publish private event"), 1);
    assert_eq!(count(TYPE.as_bytes()), 1);
    // The request's span and the event's.
    assert_eq!(count(&caller.trace_id.to_be_bytes()), 2);
    assert_eq!(count(CANARY.as_bytes()), 0);
    assert_eq!(count(world.account.primary_key.as_bytes()), 0);
}
