//! One trace from publisher to receiver (SPEC 2.6).

use std::time::Duration;

use slipstream_core::trace::TraceContext;
use slipstream_service::config::TelemetryConfig;
use slipstream_service::telemetry;
use slipstream_test_support::builders::event;
use slipstream_test_support::receiver::Receiver;

use crate::world::{LIMIT, TRACE, World, quick_retries};

#[tokio::test]
async fn the_webhook_continues_the_publishers_trace() {
    let world = World::new(quick_retries()).await;
    world.publish(&event()).await;
    let received = world.receiver.wait_for(1, LIMIT).await.remove(0);
    let (publisher, webhook): (TraceContext, TraceContext) =
        (TRACE.parse().unwrap(), received.header("traceparent").parse().unwrap());
    assert_eq!(webhook.trace_id, publisher.trace_id);
    assert_ne!(webhook.span_id, publisher.span_id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_webhook_names_the_span_that_was_exported_for_it() {
    // Not one of our servers, which would make spans of its own.
    let collector = Receiver::start().await;
    let config =
        TelemetryConfig { otlp_endpoint: Some(collector.url("/").parse().unwrap()), ..TelemetryConfig::default() };
    let telemetry = telemetry::init("slipstream-dispatcher-test", &config).unwrap();

    let mut world = World::new(quick_retries()).await;
    world.publish(&event()).await;
    let received = world.receiver.wait_for(1, LIMIT).await.remove(0);
    world.only_delivery().await;
    tokio::time::timeout(Duration::from_secs(20), telemetry.shutdown()).await.expect("flushed in time");

    let webhook: TraceContext = received.header("traceparent").parse().unwrap();
    let publisher: TraceContext = TRACE.parse().unwrap();
    assert_eq!(webhook.trace_id, publisher.trace_id);
    let count = |needle: &[u8]| collector.count_in_bodies("/v1/traces", needle);
    assert_eq!((count(b"process event"), count(b"send webhook")), (1, 1));
    assert_eq!(count(&publisher.trace_id.to_be_bytes()), 2);
    assert_eq!(count(&webhook.span_id.to_be_bytes()), 1, "the receiver's parent is the attempt's span");
}
