//! Waiting deliveries as things one can look at, move and cancel, against a real server. (Held events need the step that
//! holds them: the dispatcher's tests.)

use std::time::Duration;

use bytes::Bytes;
use slipstream_bus::{Bus, BusConfig, ConsumerName, Outgoing, Replaced, StreamName, WaitingChange, subject};
use slipstream_core::contract::Meta;
use slipstream_core::ids::{DeliveryId, EventKey, ReplayId, SubscriptionId};
use slipstream_core::lane::Lane;
use slipstream_core::slug::Slug;
use slipstream_core::timestamp::Timestamp;
use slipstream_test_support::nats::NatsServer;

#[expect(clippy::disallowed_methods, reason = "this stands for the service's clock, which the bus must not know")]
fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_millis(since.as_millis() as i64)
}

fn site() -> Slug {
    "s8n6EzC".parse().unwrap()
}

const SUBSCRIPTION: SubscriptionId = SubscriptionId(uuid::Uuid::from_u128(1));

/// The delivery of event `a`, or of its replay.
fn delivery(replay: Option<ReplayId>) -> DeliveryId {
    DeliveryId(replay.map_or(uuid::Uuid::nil(), |replay| replay.0))
}

async fn wait(bus: &Bus, id: &str, replay: Option<ReplayId>, at: Timestamp) -> EventKey {
    let key = EventKey::new(&site(), "/tests", id);
    let meta = Meta { attempt: 3, replay, ..Meta::new(site(), now()) };
    let due = subject::delivery(Lane::High, SUBSCRIPTION, &key);
    let waiting =
        Outgoing::new(subject::waiting(SUBSCRIPTION, &key, delivery(replay)), Bytes::from(id.to_owned())).meta(&meta);
    bus.publisher(StreamName::Work).publish(waiting.at(at, &due, now())).await.unwrap();
    key
}

#[tokio::test]
async fn a_waiting_delivery_is_moved_and_cancelled() {
    let server = NatsServer::start().await;
    let bus = Bus::connect(&BusConfig { url: server.url().into(), ..BusConfig::default() }).await.unwrap();
    let mut due = bus.consume(ConsumerName::Deliver(Lane::High)).await.unwrap();
    let (schedules, replay) = (bus.schedules(), Some(ReplayId(uuid::Uuid::from_u128(7))));
    let far = now().after(Duration::from_hours(1));
    let key = wait(&bus, "a", None, far).await;
    wait(&bus, "a", replay, far).await;

    let seen = schedules.waiting(SUBSCRIPTION, &key, delivery(None)).await.unwrap().unwrap();
    assert_eq!((seen.due_at, seen.meta.attempt), (far, 3));
    let later = WaitingChange::At(far.after(Duration::from_hours(1)));
    assert_eq!(schedules.change_waiting(&seen, later, now).await.unwrap(), Replaced::Done);
    let again = schedules.change_waiting(&seen, later, now).await.unwrap();
    assert_eq!(again, Replaced::TooLate, "it is not what was seen");

    let moved = schedules.waiting(SUBSCRIPTION, &key, delivery(None)).await.unwrap().unwrap();
    assert_eq!(moved.due_at, far.after(Duration::from_hours(1)));
    assert_eq!(schedules.change_waiting(&moved, WaitingChange::Cancel, now).await.unwrap(), Replaced::Done);
    let fired = tokio::time::timeout(Duration::from_secs(5), due.next()).await.expect("it comes due at once");
    assert_eq!((&fired.payload[..], fired.meta.as_ref().unwrap().attempt), (&b"a"[..], 3));
    assert!(fired.meta.unwrap().cancelled_at.is_some());
    assert!(schedules.waiting(SUBSCRIPTION, &key, delivery(None)).await.unwrap().is_none());

    // The replay of the same event to the same subscription waits for itself.
    let replayed = schedules.waiting(SUBSCRIPTION, &key, delivery(replay)).await.unwrap().unwrap();
    assert_eq!((replayed.due_at, replayed.meta.replay), (far, replay));
}

#[tokio::test]
async fn what_is_about_to_come_due_cannot_be_changed_any_more() {
    let server = NatsServer::start().await;
    let bus = Bus::connect(&BusConfig { url: server.url().into(), ..BusConfig::default() }).await.unwrap();
    let key = wait(&bus, "a", None, now().after(Duration::from_millis(900))).await;
    let schedules = bus.schedules();
    let seen = schedules.waiting(SUBSCRIPTION, &key, delivery(None)).await.unwrap().unwrap();
    assert_eq!(schedules.change_waiting(&seen, WaitingChange::Cancel, now).await.unwrap(), Replaced::TooLate);
    let mut due = bus.consume(ConsumerName::Deliver(Lane::High)).await.unwrap();
    let fired = tokio::time::timeout(Duration::from_secs(5), due.next()).await.expect("it comes due");
    assert_eq!(fired.meta.unwrap().cancelled_at, None);
}
