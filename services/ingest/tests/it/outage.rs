//! The bus is away, silent, full or comes back: never 2xx in doubt, and nothing acknowledged is lost (N1, N15, N16).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use slipstream_bus::StreamName;
use slipstream_core::ids::EventKey;
use slipstream_service::metrics;
use slipstream_test_support::eventually;
use tokio_util::sync::CancellationToken;

use crate::answer::Answer;
use crate::world::{LIMIT, SITE, STRUCTURED, World, event};

/// How long a request may wait for the bus in these tests; 5 s by default.
const DEADLINE: Duration = Duration::from_secs(1);
/// What an answer may take beyond it on a busy machine.
const SLACK: Duration = Duration::from_millis(750);

async fn impatient() -> World {
    World::with_bus(|bus| bus.publish_deadline_ms = DEADLINE).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_bus_is_503_by_the_deadline_and_repeats_complete_when_it_is_back() {
    let mut world = impatient().await;
    let events: Vec<_> = (0..50).map(|number| event().id(format!("e{number}"))).collect();
    world.publish(&event().id("before")).await.expect(204);
    world.pause_bus().await;
    let began = Instant::now();
    for answer in join_all(events.iter().map(|event| world.publish(event))).await {
        let detail = answer.expect(503).body["detail"].as_str().unwrap();
        assert!(detail.contains("harmless"), "{detail}");
    }
    assert!(began.elapsed() < DEADLINE + SLACK, "{:?}", began.elapsed());
    world.nats.resume();
    let resumed = Instant::now();
    for event in &events {
        eventually(LIMIT, || async {
            let answer = world.publish(event).await;
            if answer.status == 204 { Ok(()) } else { Err(answer.text) }
        })
        .await;
    }
    assert!(resumed.elapsed() < Duration::from_secs(10), "{:?}", resumed.elapsed());
    assert_eq!(world.count_stored(StreamName::Events).await, 51, "what 503 left in doubt is stored once");
}

/// The gauge of all bodies in memory.
fn body_bytes() -> u64 {
    let rendered = metrics::render();
    let gauge = rendered.lines().find_map(|line| line.strip_prefix("http_server_body_bytes "));
    gauge.map_or(0, |bytes| bytes.parse().unwrap())
}

#[tokio::test]
async fn what_waits_for_the_bus_counts_against_the_memory_of_bodies() {
    let mut world = impatient().await;
    world.pause_bus().await;
    let large = event().sized(200 * 1024);
    let (answer, ()) = tokio::join!(world.publish(&large), async {
        // The body is whole in an instant, and the bus takes its second.
        tokio::time::sleep(DEADLINE / 2).await;
        assert!(body_bytes() >= 200 * 1024, "{}", body_bytes());
    });
    answer.expect(503);
}

#[tokio::test]
async fn a_batch_that_meets_a_silent_bus_is_stored_whole_once() {
    let mut world = impatient().await;
    let batch: Vec<_> = (0..20).map(|number| event().id(format!("e{number}"))).collect();
    world.pause_bus().await;
    world.publish_batch(&batch).await.expect(503);
    world.nats.resume();
    eventually(LIMIT, || async {
        let answer = world.publish_batch(&batch).await;
        if answer.status == 204 { Ok(()) } else { Err(answer.text) }
    })
    .await;
    assert_eq!(world.count_stored(StreamName::Events).await, 20);
}

#[tokio::test]
async fn a_bus_that_is_gone_is_503_and_not_ready_and_its_return_is_noticed() {
    let mut world = impatient().await;
    eventually(LIMIT, || async { world.is_ready() }).await;
    world.nats.kill9();
    let began = Instant::now();
    world.publish(&event()).await.expect(503);
    assert!(began.elapsed() < DEADLINE + SLACK, "{:?}", began.elapsed());
    eventually(LIMIT, || async { !world.is_ready() }).await;
    // What is judged before the bus is judged all the same.
    world.publish(&event().without("id")).await.expect(400);
    world.nats.restart().await;
    let restarted = Instant::now();
    eventually(LIMIT, || async {
        let answer = world.publish(&event()).await;
        if answer.status == 204 { Ok(()) } else { Err(answer.text) }
    })
    .await;
    assert!(restarted.elapsed() < Duration::from_secs(3), "{:?}", restarted.elapsed());
    eventually(LIMIT, || async { world.is_ready() }).await;
}

#[tokio::test]
async fn a_full_stream_is_503_at_once_and_other_streams_go_on() {
    let world = World::with_bus(|bus| bus.stream_max_bytes = 512 * 1024).await;
    let mut accepted = 0;
    let refused = loop {
        let began = Instant::now();
        let answer = world.publish(&event().sized(60 * 1024)).await;
        if answer.status != 204 {
            assert!(began.elapsed() < SLACK, "{:?}", began.elapsed());
            break answer;
        }
        accepted += 1;
        assert!(accepted < 20, "it never fills");
    };
    let detail = refused.expect(503).body["detail"].as_str().unwrap();
    assert!(detail.contains("full"), "{detail}");
    let batch: Vec<_> = (0..3).map(|_| event().sized(60 * 1024)).collect();
    world.publish_batch(&batch).await.expect(503);
    assert_eq!(world.count_stored(StreamName::Events).await, accepted, "nothing of what was refused");
    world.publish(&event().with("visibility", 2)).await.expect(204);
    world.publish(&event().with("visibility", 3)).await.expect(204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bus_killed_while_events_are_published_loses_none_that_got_204() {
    let mut world = impatient().await;
    let accepted = Arc::new(AtomicUsize::new(0));
    let enough = CancellationToken::new();
    let publishers: Vec<_> = (0..16)
        .map(|publisher: usize| {
            let post = world.post().header("content-type", STRUCTURED);
            let (accepted, enough) = (Arc::clone(&accepted), enough.clone());
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                for number in 0.. {
                    if enough.is_cancelled() {
                        break;
                    }
                    let event = event().id(format!("{publisher}-{number}"));
                    // Every request is answered, whatever the bus does.
                    let answer = Answer::to(post.try_clone().unwrap().body(event.bytes())).await;
                    if answer.status == 204 {
                        acknowledged.push(EventKey::new(
                            &SITE.parse().unwrap(),
                            event.text("source"),
                            event.text("id"),
                        ));
                        accepted.fetch_add(1, Ordering::Relaxed);
                    } else {
                        answer.expect(503);
                    }
                }
                acknowledged
            })
        })
        .collect();
    let reached = |count: usize| {
        let accepted = Arc::clone(&accepted);
        eventually(LIMIT, move || {
            let now = accepted.load(Ordering::Relaxed);
            async move { if now >= count { Ok(()) } else { Err(now) } }
        })
    };
    for count in [100, 250] {
        reached(count).await;
        world.nats.kill9();
        world.nats.restart().await;
    }
    reached(400).await;
    enough.cancel();

    let acknowledged = join_all(publishers).await;
    let mut stored = HashMap::<String, usize>::new();
    for message in world.stored(StreamName::Events).await {
        *stored.entry(message.message_id().to_owned()).or_default() += 1;
    }
    for publisher in acknowledged {
        for key in publisher.unwrap() {
            assert_eq!(stored.get(key.as_str()), Some(&1), "{key} got 204");
        }
    }
    assert!(stored.values().all(|count| *count == 1), "nothing is stored twice");
}
