//! Which stream and subject an event gets, by its visibility, lane and type (SPEC 4.5, 5.2; DESIGN 3).

use slipstream_bus::{ConsumerName, StreamName, subject};
use slipstream_core::lane::Lane;
use slipstream_core::slug::Slug;
use slipstream_test_support::builders;

use crate::answer::Answer;
use crate::world::{BATCHED, LIMIT, PATH, World, event};

#[tokio::test]
async fn visibility_and_priority_make_the_subject() {
    let world = World::new().await;
    let cases = [
        (event().without("visibility"), "events.internal.normal"),
        (event().with("visibility", 0), "events.internal.normal"),
        (event().with("visibility", 0).with("priority", 1), "events.internal.high"),
        (event().with("visibility", 0).with("priority", 2), "events.internal.realtime"),
        (event().with("visibility", 1), "events.public.normal"),
        (event().with("visibility", 1).with("priority", 0), "events.public.normal"),
        (event().with("visibility", 1).with("priority", 1), "events.public.high"),
        (event().with("visibility", 1).with("priority", 2), "events.public.realtime"),
        (event().with("visibility", serde_json::Value::Null), "events.internal.normal"),
    ];
    let expected: Vec<_> = cases.iter().map(|(_, start)| format!("{start}.s8n6EzC.Test.Canary.Sang")).collect();
    for (event, _) in &cases {
        world.publish(event).await.expect(204);
    }
    assert_eq!(world.subjects(StreamName::Events).await, expected);
    assert_eq!(world.count_stored(StreamName::Queue).await, 0);
}

#[tokio::test]
async fn each_lane_hands_out_its_events_with_all_the_dispatcher_needs() {
    let world = World::new().await;
    for lane in Lane::ALL {
        let event = event().id(lane.as_str()).with("priority", lane.priority());
        world.publish(&event).await.expect(204);
        let mut consumer = world.bus.consume(ConsumerName::Route(lane)).await.unwrap();
        let message = tokio::time::timeout(LIMIT, consumer.next()).await.expect("a message in time");
        let (_, parsed_lane, site) = subject::parse_event(&message.subject).unwrap();
        assert_eq!((parsed_lane, site.as_str()), (lane, "s8n6EzC"));
        let json: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
        assert_eq!(json["id"], lane.as_str());
        assert_eq!(message.meta.unwrap().site, "s8n6EzC".parse::<Slug>().unwrap());
        assert!(message.trace.is_some() && message.due_subject.is_none());
    }
}

#[tokio::test]
async fn work_queue_events_go_to_the_publishing_account_alone() {
    let world = World::new().await;
    let event = event().with("visibility", 2).with("priority", 1);
    world.publish(&event).await.expect(204);
    world.publish(&event).await.expect(204);
    let stored = world.only(StreamName::Queue).await;
    assert_eq!(stored.subject, format!("queue.{}.high.Test.Canary.Sang", world.account.account.id));
    assert_eq!(stored.json()["data"], event.json()["data"]);
    assert_eq!(world.count_stored(StreamName::Events).await, 0);
}

#[tokio::test]
async fn private_events_leave_nothing_on_the_bus() {
    let world = World::new().await;
    world.publish(&event().with("visibility", 3)).await.expect(204);
    world
        .publish(&event().with("visibility", 3).with("intendeddeliverytime", "2999-01-01T00:00:00Z"))
        .await
        .expect(204);
    world.publish_batch(&[event().with("visibility", 3), event().with("visibility", 3)]).await.expect(204);
    world.expect_nothing_stored().await;
}

#[tokio::test]
async fn a_batch_may_mix_visibilities() {
    let world = World::new().await;
    let events: Vec<_> = (0..4).map(|visibility| event().with("visibility", visibility)).collect();
    world.publish_batch(&events).await.expect(204);
    let subjects = world.subjects(StreamName::Events).await;
    assert_eq!(subjects, ["internal", "public"].map(|v| format!("events.{v}.normal.s8n6EzC.Test.Canary.Sang")));
    assert_eq!(world.count_stored(StreamName::Queue).await, 1);
}

#[tokio::test]
async fn external_accounts_may_send_internal_and_public_only() {
    let world = World::new().await;
    let external = builders::account().external();
    world.add(&external).await;
    for visibility in [2, 3] {
        let answer = world.publish_as(&external, &event().with("visibility", visibility)).await;
        assert_eq!(answer.expect(400).kind(), "visibility-not-allowed");
        assert_eq!(answer.pointers(), ["#/visibility"]);
    }
    let batch = builders::batch(&[event(), event().with("visibility", 2), event().with("visibility", 3)]);
    let request = world.request("POST", PATH).header("x-api-key", &external.primary_key);
    let answer = Answer::to(request.header("content-type", BATCHED).body(batch)).await;
    assert_eq!(answer.expect(400).kind(), "visibility-not-allowed");
    assert_eq!(answer.pointers(), ["#/1/visibility", "#/2/visibility"]);
    // What is broken comes first.
    let broken = event().with("visibility", 3).with("priority", 7);
    world.publish_as(&external, &broken).await.expect_invalid(&["#/priority", "#/visibility"]);
    world.expect_nothing_stored().await;

    for event in [event().without("visibility"), event().with("visibility", 0), event().with("visibility", 1)] {
        world.publish_as(&external, &event).await.expect(204);
    }
    assert_eq!(world.count_stored(StreamName::Events).await, 3);
}

#[tokio::test]
async fn values_outside_the_enumerations_are_400() {
    let world = World::new().await;
    for (name, value) in [
        ("visibility", serde_json::json!(4)),
        ("visibility", (-1).into()),
        ("visibility", "1".into()),
        ("visibility", true.into()),
        ("priority", 3.into()),
        ("priority", (-1).into()),
        ("priority", "high".into()),
    ] {
        let answer = world.publish(&event().with(name, value)).await;
        answer.expect_invalid(&[&format!("#/{name}")]);
    }
    world.expect_nothing_stored().await;
}

#[tokio::test]
async fn no_text_in_a_type_escapes_its_place_in_the_subject() {
    let world = World::new().await;
    let types = ["a.*.>", ">", "*", "a b", ".", "..a", "é.😀", "$SYS.x", "%", "a%2Eb", "later.normal.s8n6EzC"];
    for kind in types {
        world.publish(&event().kind(kind)).await.expect(204);
    }
    for (subject, kind) in world.subjects(StreamName::Events).await.iter().zip(types) {
        let encoded = subject.strip_prefix("events.public.normal.s8n6EzC.").expect(subject);
        assert!(!encoded.contains(['*', '>', ' ']), "{subject}");
        assert_eq!(subject::decode_type(encoded).as_deref(), Some(kind));
    }
    assert_eq!(world.count_stored(StreamName::Events).await, types.len() as u64);
}
