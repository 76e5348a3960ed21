//! `intendeddeliverytime` and `expirytime` on their way to the bus (SPEC 5.2, DESIGN 4 "Accept").

use std::time::Duration;

use serde_json::Value;
use slipstream_bus::{ConsumerName, StreamName};
use slipstream_core::contract::header;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::clock;

use crate::world::{LIMIT, World, event};

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[tokio::test]
async fn an_event_whose_time_is_ahead_waits_with_the_subject_it_will_have() {
    let world = World::new().await;
    let intended = "2999-05-06T07:08:09.123+02:00";
    let event = event().with("intendeddeliverytime", intended).with("priority", 1);
    world.publish(&event).await.expect(204);
    let stored = world.only(StreamName::Events).await;
    assert_eq!(stored.subject, format!("later.high.s8n6EzC.{}", stored.message_id()));
    assert_eq!(stored.header(header::DUE_SUBJECT), Some("events.public.high.s8n6EzC.Test.Canary.Sang"));
    assert_eq!(stored.meta().intended_at, Some(time(intended)));
    assert_eq!(stored.meta().published_by, Some(world.account.account.id), "who may change it while it waits");
    assert_eq!(stored.json()["intendeddeliverytime"], intended);

    let mut consumer = world.bus.consume(ConsumerName::Hold).await.unwrap();
    let message = tokio::time::timeout(LIMIT, consumer.next()).await.expect("a message in time");
    assert_eq!(message.due_subject.as_deref(), Some("events.public.high.s8n6EzC.Test.Canary.Sang"));
}

#[tokio::test]
async fn a_work_queue_event_waits_too() {
    let world = World::new().await;
    let event = event().with("visibility", 2).with("intendeddeliverytime", "2999-01-01T00:00:00Z");
    world.publish(&event).await.expect(204);
    let stored = world.only(StreamName::Events).await;
    assert_eq!(stored.subject, format!("later.normal.s8n6EzC.{}", stored.message_id()));
    let due = format!("queue.{}.normal.Test.Canary.Sang", world.account.account.id);
    assert_eq!(stored.header(header::DUE_SUBJECT), Some(due.as_str()));
    assert_eq!(world.count_stored(StreamName::Queue).await, 0);
}

#[tokio::test]
async fn a_time_that_has_come_does_not_wait() {
    let world = World::new().await;
    let now = clock::now();
    for intended in [now.to_string(), "2001-01-01T00:00:00Z".to_owned()] {
        world.publish(&event().with("intendeddeliverytime", intended)).await.expect(204);
    }
    for stored in world.stored(StreamName::Events).await {
        assert_eq!(stored.subject, "events.public.normal.s8n6EzC.Test.Canary.Sang");
        assert_eq!(stored.meta().published_by, None);
        assert!(stored.meta().intended_at.is_some() && stored.header(header::DUE_SUBJECT).is_none());
    }
}

#[tokio::test]
async fn the_deadline_and_the_acceptance_travel_beside_the_event() {
    let world = World::new().await;
    let before = clock::now();
    let expiry = "2998-01-01T00:00:00.5Z";
    world.publish(&event().with("expirytime", expiry)).await.expect(204);
    let meta = world.only(StreamName::Events).await.meta();
    assert_eq!(meta.expires_at, Some(time(expiry)));
    assert_eq!((meta.intended_at, meta.published_by, meta.attempt, meta.parked), (None, None, 1, 0));
    assert!(meta.accepted_at >= before && meta.accepted_at <= clock::now());
}

#[tokio::test]
async fn an_event_that_has_expired_is_accepted_all_the_same() {
    let world = World::new().await;
    world.publish(&event().with("expirytime", "2001-01-01T00:00:00Z")).await.expect(204);
    let stored = world.only(StreamName::Events).await;
    assert_eq!(stored.meta().expires_at, Some(time("2001-01-01T00:00:00Z")));
    assert!(stored.subject.starts_with("events.public.normal."));
}

#[tokio::test]
async fn a_delivery_must_be_intended_before_its_expiry() {
    let world = World::new().await;
    let at = clock::now().after(Duration::from_hours(1));
    let later = at.after(Duration::from_millis(1));
    for (intended, expiry, is_fine) in [(at, at, false), (later, at, false), (at, later, true)] {
        let event = event().with("intendeddeliverytime", intended.to_string()).with("expirytime", expiry.to_string());
        let answer = world.publish(&event).await;
        if is_fine {
            answer.expect(204);
        } else {
            answer.expect_invalid(&["#/intendeddeliverytime"]);
        }
    }
    assert_eq!(world.count_stored(StreamName::Events).await, 1);
}

#[tokio::test]
async fn times_are_rfc_3339_or_refused() {
    let world = World::new().await;
    for name in ["time", "expirytime", "intendeddeliverytime"] {
        for text in ["tomorrow", "", "2026-03-02", "2026-03-02T09:30:00", "2026-02-30T09:30:00Z", "1772443800"] {
            world.publish(&event().with(name, text)).await.expect_invalid(&[&format!("#/{name}")]);
        }
        world.publish(&event().with(name, 1_772_443_800)).await.expect_invalid(&[&format!("#/{name}")]);
    }
    world.expect_nothing_stored().await;
    for name in ["time", "expirytime", "intendeddeliverytime"] {
        world.publish(&event().with(name, Value::Null)).await.expect(204);
        world.publish(&event().with(name, "2026-03-02t09:30:00.123456789z")).await.expect(204);
    }
}
