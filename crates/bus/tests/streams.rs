//! What the bus promises, on a real nats-server.

use std::time::{Duration, Instant};

use bytes::Bytes;
use slipstream_bus::{Bus, BusConfig, BusError, ConsumerName, Message, Outgoing, Publisher, StreamName, subject};
use slipstream_core::contract::Meta;
use slipstream_core::ids::{DeliveryId, EventKey, SubscriptionId};
use slipstream_core::lane::{Lane, Visibility};
use slipstream_core::slug::Slug;
use slipstream_core::timestamp::Timestamp;
use slipstream_test_support::eventually::eventually;
use slipstream_test_support::nats::NatsServer;

fn site() -> Slug {
    "s8n6EzC".parse().unwrap()
}

fn key(id: &str) -> EventKey {
    EventKey::new(&site(), "https://post.example/letters", id)
}

#[expect(clippy::disallowed_methods, reason = "this stands for the service's clock, which the bus must not know")]
fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_millis(since.as_millis() as i64)
}

fn config(server: &NatsServer) -> BusConfig {
    BusConfig { url: server.url().into(), ..BusConfig::default() }
}

fn event(id: &str) -> Outgoing {
    let subject = subject::event(Visibility::Public, Lane::Normal, &site(), "communications.letter.created");
    Outgoing::new(subject, Bytes::from(id.to_owned())).id(key(id).as_str()).meta(&Meta::new(site(), now()))
}

async fn take(bus: &Bus, name: ConsumerName, count: usize) -> Vec<Message> {
    let mut consumer = bus.consume(name).await.unwrap();
    let mut messages = Vec::new();
    while messages.len() < count {
        let next = tokio::time::timeout(Duration::from_secs(10), consumer.next()).await;
        messages.push(next.unwrap_or_else(|_| panic!("{} of {count} messages came", messages.len())));
    }
    messages
}

async fn publish_together(events: &Publisher, ids: &[String]) -> Vec<bool> {
    let publishes = ids.iter().map(|id| events.publish(event(id)));
    futures::future::try_join_all(publishes).await.unwrap().iter().map(|ack| ack.duplicate).collect()
}

#[tokio::test]
async fn every_message_of_a_group_commit_is_stored_once() {
    let server = NatsServer::start().await;
    let bus = Bus::connect(&config(&server)).await.unwrap();
    let events = bus.publisher(StreamName::Events);
    let ids: Vec<_> = (0..1500).map(|n| format!("event-{n}")).collect();
    assert_eq!(publish_together(&events, &ids).await, vec![false; 1500]);
    let mut stored: Vec<_> = take(&bus, ConsumerName::Route(Lane::Normal), 1500).await;
    stored.sort_by(|a, b| a.payload.cmp(&b.payload));
    stored.dedup_by(|a, b| a.payload == b.payload);
    assert_eq!(stored.len(), 1500);
}

#[tokio::test]
async fn a_repeat_in_a_group_costs_the_others_nothing() {
    let server = NatsServer::start().await;
    let bus = Bus::connect(&config(&server)).await.unwrap();
    let events = bus.publisher(StreamName::Events);
    events.publish(event("known")).await.unwrap();
    let mut ids: Vec<_> = (0..20).map(|n| format!("new-{n}")).collect();
    ids.push("known".into());
    ids.push("new-0".into());
    let mut expected = vec![false; 20];
    expected.extend([true, true]);
    assert_eq!(publish_together(&events, &ids).await, expected);
}

#[tokio::test]
async fn the_same_message_a_hundred_times_at_once_is_stored_once() {
    let server = NatsServer::start().await;
    let bus = Bus::connect(&config(&server)).await.unwrap();
    let events = bus.publisher(StreamName::Events);
    let repeats = publish_together(&events, &vec!["same".to_owned(); 100]).await;
    assert_eq!(repeats.iter().filter(|is_repeat| !**is_repeat).count(), 1);
}

#[tokio::test]
async fn a_batch_is_stored_whole_or_not_at_all() {
    let server = NatsServer::start().await;
    let bus = Bus::connect(&config(&server)).await.unwrap();
    let events = bus.publisher(StreamName::Events);
    let acks = events.publish_all(vec![event("a"), event("b"), event("c")]).await.unwrap();
    assert!(acks.iter().all(|ack| !ack.duplicate));
    // One of them belongs to no stream: the server refuses the commit.
    let stray = Outgoing::new("nowhere.at.all".into(), Bytes::new());
    let short = BusConfig { publish_deadline_ms: Duration::from_millis(300), ..config(&server) };
    let impatient = Bus::connect(&short).await.unwrap().publisher(StreamName::Events);
    assert!(impatient.publish_all(vec![event("d"), stray]).await.is_err());
    assert!(!events.publish(event("d")).await.unwrap().duplicate, "nothing of the refused batch is there");
}

#[tokio::test]
async fn a_schedule_fires_with_its_headers_and_never_early() {
    let server = NatsServer::start().await;
    let bus = Bus::connect(&config(&server)).await.unwrap();
    let work = bus.publisher(StreamName::Work);
    let subscription: SubscriptionId = "00000000-0000-0000-0000-000000000001".parse().unwrap();
    let target = subject::delivery(Lane::High, subscription, &key("1"));
    let at = now().after(Duration::from_millis(700));
    let meta = Meta { attempt: 2, expires_at: Some(at), ..Meta::new(site(), now()) };
    let schedule = |at| {
        Outgoing::new(
            subject::waiting(subscription, &key("1"), DeliveryId(uuid::Uuid::nil())),
            Bytes::from_static(b"body"),
        )
        .meta(&meta)
        .due_subject(&target)
        .at(at, &target, now())
    };
    // The second replaces the first.
    let far = work.publish(schedule(now().after(Duration::from_hours(1))));
    assert!(!far.await.unwrap().duplicate);
    assert!(!work.publish(schedule(at)).await.unwrap().duplicate);
    let fired = take(&bus, ConsumerName::Deliver(Lane::High), 1).await.remove(0);
    assert!(now() >= at, "never early");
    assert_eq!(fired.subject, target);
    assert_eq!(fired.payload, "body");
    assert_eq!(fired.meta, Some(meta));
    assert_eq!(fired.due_subject, Some(target));
}

#[tokio::test]
async fn a_cancelled_schedule_does_not_fire() {
    let server = NatsServer::start().await;
    let bus = Bus::connect(&config(&server)).await.unwrap();
    let work = bus.publisher(StreamName::Work);
    let subscription: SubscriptionId = "00000000-0000-0000-0000-000000000001".parse().unwrap();
    let schedule = |id: &str, millis| {
        let target = subject::delivery(Lane::Normal, subscription, &key(id));
        Outgoing::new(
            subject::waiting(subscription, &key(id), DeliveryId(uuid::Uuid::nil())),
            Bytes::from(id.to_owned()),
        )
        .at(now().after(Duration::from_millis(millis)), &target, now())
    };
    work.publish(schedule("a", 300)).await.unwrap();
    work.publish(schedule("b", 400)).await.unwrap();
    assert_eq!(bus.cancel_schedules(&subject::waiting_of(subscription)).await.unwrap(), 2);
    work.publish(schedule("c", 700)).await.unwrap();
    let fired = take(&bus, ConsumerName::Deliver(Lane::Normal), 1).await;
    assert_eq!(fired[0].payload, "c", "the first to fire is the one that was not cancelled");
}

#[tokio::test]
async fn a_consumer_goes_on_after_the_server_was_killed() {
    let mut server = NatsServer::start().await;
    let bus = Bus::connect(&config(&server)).await.unwrap();
    let events = bus.publisher(StreamName::Events);
    let mut consumer = bus.consume(ConsumerName::Route(Lane::Normal)).await.unwrap();
    events.publish(event("before")).await.unwrap();
    consumer.next().await.ack().await;
    server.kill9();
    server.restart().await;
    let start = Instant::now();
    events.publish(event("after")).await.unwrap();
    loop {
        let message = consumer.next().await;
        message.ack().await;
        if message.payload == "after" {
            break;
        }
    }
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn large_messages_come_though_few_are_sent_ahead() {
    let server = NatsServer::start().await;
    let bus = Bus::connect(&config(&server)).await.unwrap();
    let events = bus.publisher(StreamName::Events);
    for n in 0..100 {
        let subject = subject::event(Visibility::Public, Lane::Normal, &site(), "t");
        let large = Outgoing::new(subject, Bytes::from(vec![b'x'; 256 * 1024])).id(&format!("large-{n}"));
        events.publish(large).await.unwrap();
    }
    // 25 MiB, more than one request may bring.
    let started = Instant::now();
    assert_eq!(take(&bus, ConsumerName::Route(Lane::Normal), 100).await.len(), 100);
    assert!(started.elapsed() < Duration::from_secs(10), "no request was waited out: {:?}", started.elapsed());
}

#[tokio::test]
async fn a_full_stream_refuses_at_once_and_takes_again_when_trimmed() {
    let server = NatsServer::start().await;
    let small = BusConfig { stream_max_bytes: 64 * 1024, ..config(&server) };
    let bus = Bus::connect(&small).await.unwrap();
    let events = bus.publisher(StreamName::Events);
    let large = |n: usize| {
        let subject = subject::event(Visibility::Public, Lane::Normal, &site(), "t");
        Outgoing::new(subject, Bytes::from(vec![b'x'; 8 * 1024])).id(&format!("large-{n}"))
    };
    let mut refused = None;
    for n in 0..10 {
        let started = Instant::now();
        if let Err(error) = events.publish(large(n)).await {
            refused = Some((error, started.elapsed()));
            break;
        }
    }
    let (error, took) = refused.expect("ten times 8 KiB do not fit 64 KiB");
    assert!(matches!(error, slipstream_bus::PublishError::Full { .. }), "{error}");
    assert!(took < Duration::from_secs(1), "refused only after {took:?}");
}

#[tokio::test]
async fn who_did_what_is_taken_however_much_there_is_to_record_of_deliveries() {
    let server = NatsServer::start().await;
    let bus = Bus::connect(&BusConfig { stream_max_bytes: 64 * 1024, ..config(&server) }).await.unwrap();
    let outcomes = bus.publisher(StreamName::Outcomes);
    let mut refused = None;
    for n in 0..10 {
        let large = Outgoing::new(subject::routed(&site()), Bytes::from(vec![b'x'; 8 * 1024])).id(&format!("{n}"));
        refused = outcomes.publish(large).await.err().or(refused);
    }
    assert!(matches!(refused, Some(slipstream_bus::PublishError::Full { .. })), "{refused:?}");
    let audit = bus.publisher(StreamName::Audit);
    audit.publish(Outgoing::new(subject::audited("tests"), Bytes::from_static(b"{}"))).await.unwrap();
    for message in take(&bus, ConsumerName::Audit, 1).await {
        message.ack().await;
    }
    bus.flush().await;
    let in_eight_days = now().after(Duration::from_hours(8 * 24));
    eventually(Duration::from_secs(5), async || match bus.trim(StreamName::Audit, in_eight_days).await.unwrap() {
        trimmed if trimmed.messages == 1 => Ok(()),
        trimmed => Err(trimmed),
    })
    .await;
}

#[tokio::test]
async fn only_what_every_consumer_is_done_with_is_trimmed() {
    let server = NatsServer::start().await;
    let bus = Bus::connect(&config(&server)).await.unwrap();
    let events = bus.publisher(StreamName::Events);
    for n in 0..10 {
        events.publish(event(&n.to_string())).await.unwrap();
    }
    let in_eight_days = now().after(Duration::from_hours(8 * 24));
    let held = take(&bus, ConsumerName::Route(Lane::Normal), 10).await;
    let trimmed = bus.trim(StreamName::Events, in_eight_days).await.unwrap();
    assert_eq!(trimmed.missing, ["route-realtime", "route-high", "hold"], "who is not there may need them");
    assert_eq!(trimmed.messages, 0);

    for name in ConsumerName::all().filter(|name| name.stream() == StreamName::Events) {
        bus.consume(name).await.unwrap();
    }
    for message in &held[..4] {
        message.ack().await;
    }
    bus.flush().await;
    let trimmed = eventually(Duration::from_secs(5), async || {
        let trimmed = bus.trim(StreamName::Events, in_eight_days).await.unwrap();
        if trimmed.messages == 4 { Ok(trimmed) } else { Err(trimmed) }
    })
    .await;
    assert_eq!(trimmed.slowest, Some(("route-normal".to_owned(), 6)), "consumers with nothing to do hold nothing back");
    assert_eq!(bus.trim(StreamName::Events, now()).await.unwrap().messages, 0, "the rest is young or not processed");
}

#[tokio::test]
async fn a_stream_that_was_changed_by_hand_is_put_right_and_an_unchangeable_one_is_refused() {
    let server = NatsServer::start().await;
    let bus = Bus::connect(&config(&server)).await.unwrap();
    drop(bus);
    let jetstream = async_nats::jetstream::new(server.client().await);
    let mut info = jetstream.get_stream("EVENTS_0").await.unwrap().cached_info().config.clone();
    info.max_age = Duration::from_hours(24);
    jetstream.update_stream(info).await.unwrap();
    Bus::connect(&config(&server)).await.expect("the setting is put right");
    let config_now = jetstream.get_stream("EVENTS_0").await.unwrap().cached_info().config.clone();
    assert_eq!(config_now.max_age, Duration::ZERO);

    jetstream.delete_stream("WORK_0").await.unwrap();
    let limits = slipstream_bus::streams::StreamLimits { replicas: 1, max_bytes: -1 };
    let mut memory = StreamName::Work.config(limits);
    memory.storage = async_nats::jetstream::stream::StorageType::Memory;
    jetstream.create_stream(memory).await.unwrap();
    let error = Bus::connect(&config(&server)).await.expect_err("storage cannot be changed");
    assert!(matches!(error, BusError::Declare { stream: "WORK_0", .. }), "{error}");
}
