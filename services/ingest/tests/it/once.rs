//! (site, `source`, `id`) names an event for good: repeats are 204 and stored once (SPEC 4.7, N15).

use futures::future::join_all;
use slipstream_bus::StreamName;
use slipstream_core::ids::EventKey;
use slipstream_service::metrics;
use slipstream_test_support::eventually::eventually;

use crate::answer::Answer;
use crate::world::{CANARY, LIMIT, OTHER_SITE, STRUCTURED, World, event};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_event_100_times_at_once_is_stored_once() {
    let world = World::new().await;
    let event = event().id("once");
    for answer in join_all((0..100).map(|_| world.publish(&event))).await {
        answer.expect(204);
    }
    let stored = world.only(StreamName::Events).await;
    let key = EventKey::new(&"s8n6EzC".parse().unwrap(), event.text("source"), "once");
    assert_eq!(stored.message_id(), key.as_str());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeats_among_other_callers_events_cost_those_nothing() {
    let world = World::new().await;
    let requests = (0..200).map(|number| {
        let id = if number % 2 == 0 { "same".to_owned() } else { format!("own-{number}") };
        let event = event().id(id);
        let world = &world;
        async move { world.publish(&event).await }
    });
    for answer in join_all(requests).await {
        answer.expect(204);
    }
    assert_eq!(world.count_stored(StreamName::Events).await, 101);
}

#[tokio::test]
async fn a_repeat_changes_nothing_and_is_counted() {
    let world = World::new().await;
    world.publish(&event().id("1")).await.expect(204);
    world.publish(&event().id("1").with("data", "other").with("priority", 2)).await.expect(204);
    let stored = world.only(StreamName::Events).await;
    assert!(stored.text().contains(CANARY), "{}", stored.text());
    let rendered = metrics::render();
    assert!(rendered.contains(r#"slipstream_events_duplicate_total{found="at_once"} 1"#), "{rendered}");
}

#[tokio::test]
async fn only_repeats_with_other_content_count_as_mismatches() {
    let world = World::new().await;
    let first = event().id("1");
    for repeat in [first.clone(), first.clone(), first.clone().with("data", "other"), first.with("priority", 2)] {
        world.publish(&repeat).await.expect(204);
    }
    eventually(LIMIT, async || {
        let rendered = metrics::render();
        let is_counted = rendered.contains("slipstream_events_duplicate_mismatch_total 2");
        if is_counted { Ok(()) } else { Err(rendered) }
    })
    .await;
    assert!(metrics::render().contains(r#"slipstream_events_duplicate_total{found="at_once"} 3"#));
}

#[tokio::test]
async fn another_source_id_or_site_makes_another_event() {
    let world = World::new().await;
    let first = event().id("1").with("source", "/a");
    let others = [first.clone().id("2"), first.clone().with("source", "/b"), first.clone().with("source", "/a#")];
    world.publish(&first).await.expect(204);
    for other in &others {
        world.publish(other).await.expect(204);
    }
    let elsewhere = world.request("POST", &format!("/sites/{OTHER_SITE}/events"));
    let elsewhere = elsewhere.header("x-api-key", &world.account.primary_key).header("content-type", STRUCTURED);
    Answer::to(elsewhere.body(first.bytes())).await.expect(204);
    assert_eq!(world.count_stored(StreamName::Events).await, 5);
}

#[tokio::test]
async fn an_event_twice_in_a_batch_is_stored_once() {
    let world = World::new().await;
    let (twice, other) = (event().id("twice"), event().id("other"));
    world.publish_batch(&[twice.clone(), other, twice.with("priority", 2)]).await.expect(204);
    let ids: Vec<_> = world.stored(StreamName::Events).await.iter().map(|event| event.json()["id"].clone()).collect();
    assert_eq!(ids, ["twice", "other"]);
}

#[tokio::test]
async fn a_batch_with_known_events_stores_the_new_ones() {
    let world = World::new().await;
    let events: Vec<_> = (0..10).map(|number| event().id(format!("e{number}"))).collect();
    world.publish(&events[3]).await.expect(204);
    world.publish_batch(&events[..6]).await.expect(204);
    world.publish_batch(&events).await.expect(204);
    world.publish_batch(&events).await.expect(204);
    let mut ids: Vec<_> = world
        .stored(StreamName::Events)
        .await
        .iter()
        .map(|event| event.json()["id"].as_str().unwrap().to_owned())
        .collect();
    ids.sort();
    assert_eq!(ids, events.iter().map(|event| event.text("id")).collect::<Vec<_>>());
}
