//! The trace of a request, of its event, and of what follows on the bus (SPEC 2.2, 2.6, 3.6).

use slipstream_bus::StreamName;
use slipstream_core::trace::TraceContext;

use crate::answer::Answer;
use crate::world::{STRUCTURED, World, event};

const CALLER: &str = "00-84c1fd4063c38d9f3900d06e56542d48-85d1d4a1b2c3d4e5-01";
const ORIGIN: &str = "00-11111111111111111111111111111111-2222222222222222-01";

fn caller() -> TraceContext {
    CALLER.parse().unwrap()
}

#[tokio::test]
async fn a_problem_tells_the_trace_of_its_request() {
    let world = World::new().await;
    for (request, status) in [
        (world.post().header("content-type", STRUCTURED).body("{"), 400),
        (world.request("POST", "/sites/s8n6EzC/events"), 401),
        (world.request("POST", "/sites/sgbHJdm/events").header("x-api-key", &world.account.primary_key), 403),
        (world.request("GET", "/nowhere"), 404),
        (world.request("GET", "/sites/s8n6EzC/events"), 405),
        (world.post(), 415),
    ] {
        let answer = Answer::to(request.header("traceparent", CALLER)).await;
        let trace = answer.expect(status).trace();
        assert_eq!((trace.trace_id, trace.flags), (caller().trace_id, caller().flags));
        assert_ne!(trace.span_id, caller().span_id, "the span is ours");
    }
}

#[tokio::test]
async fn without_a_good_trace_a_new_one_begins() {
    let world = World::new().await;
    let mut seen = Vec::new();
    for traceparent in ["", "nonsense", "00-00000000000000000000000000000000-85d1d4a1b2c3d4e5-01"] {
        let answer = Answer::to(world.post().header("traceparent", traceparent)).await;
        seen.push(answer.expect(415).trace().trace_id);
    }
    let twice = world.post().header("traceparent", CALLER).header("traceparent", ORIGIN);
    seen.push(Answer::to(twice).await.expect(415).trace().trace_id);
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 4);
    assert!(!seen.contains(&caller().trace_id));
}

#[tokio::test]
async fn the_bus_continues_the_request_and_the_events_own_trace_is_left_alone() {
    let world = World::new().await;
    let event = event().with("traceparent", ORIGIN).with("tracestate", "vendor=opaque");
    let request = world.post().header("content-type", STRUCTURED).header("traceparent", CALLER);
    Answer::to(request.header("tracestate", "other=1").body(event.bytes())).await.expect(204);
    let stored = world.only(StreamName::Events).await;
    let trace = stored.trace();
    assert_eq!((trace.trace_id, trace.flags), (caller().trace_id, caller().flags));
    assert_ne!(trace.span_id, caller().span_id);
    assert_eq!(stored.json()["traceparent"], ORIGIN);
    assert_eq!(stored.json()["tracestate"], "vendor=opaque");
}

#[tokio::test]
async fn the_events_of_a_request_share_its_trace() {
    let world = World::new().await;
    world.publish_batch(&[event(), event(), event()]).await.expect(204);
    world.publish(&event()).await.expect(204);
    let traces: Vec<_> = world.stored(StreamName::Events).await.iter().map(|stored| stored.trace().trace_id).collect();
    assert!(traces[0] == traces[1] && traces[1] == traces[2] && traces[2] != traces[3], "{traces:x?}");
}

#[tokio::test]
async fn any_text_will_do_as_an_events_traceparent_and_goes_no_further() {
    let world = World::new().await;
    world.publish(&event().with("traceparent", "nonsense")).await.expect(204);
    let stored = world.only(StreamName::Events).await;
    assert_eq!(stored.json()["traceparent"], "nonsense");
    let _ = stored.trace();
}
