//! What the record is asked by the rest of the system: what was seen before, and who only fails; and what it tells.

use std::time::Duration;

use slipstream_bus::{Consumer, ConsumerName, Message, Outgoing, StreamName, subject};
use slipstream_core::config::{Health, Subscription};
use slipstream_core::contract::{EndpointChange, EndpointChanged, Meta, RoutedEvent, SeenAnswer, SeenQuestion};
use slipstream_core::delivery::DeliveryState;
use slipstream_core::ids::{EventKey, ReplayId, SubscriptionId, id_hash};
use slipstream_core::lane::{Lane, Visibility};
use slipstream_core::slug::Slug;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::clock;
use slipstream_store::ConnectionTrait as _;
use slipstream_store::activity::{AttemptRecord, Batch, DeliveryRecord, record};
use slipstream_test_support::{NatsServer, builders, eventually};
use uuid::Uuid;

use crate::on_both_backends;
use crate::world::{SOON, SOURCE, World, at, delivery_id, outcome, routed_event, site, subscription};

on_both_backends!(
    what_was_accepted_before_is_told,
    without_a_database_there_is_no_answer,
    an_endpoint_that_only_fails_is_disabled_once,
    an_exhausted_delivery_becomes_an_event_once,
    an_exhausted_delivery_is_told_of_only_when_it_is_recorded,
    an_endpoint_that_was_degraded_long_before_it_last_took_something_is_disabled_too,
    while_events_are_full_the_record_goes_on_and_what_is_exhausted_is_told_of_later,
);

/// Longer than anybody asks for, so that a slow machine is no silence.
const PATIENCE: Duration = Duration::from_secs(5);

fn question(id: &str, accepted: i64) -> SeenQuestion {
    SeenQuestion { key: EventKey::new(&site(), SOURCE, id), id_hash: id_hash(id), accepted_at: at(accepted) }
}

async fn what_was_accepted_before_is_told(world: World) {
    let first = RoutedEvent { content_hash: Some(-5), ..routed_event("1", 0) };
    world.publish_routed(vec![first, routed_event("2", 10)]).await;
    world.get_until("/deliveries?eventId=2", |page| page["items"][0]["id"].is_string()).await;
    let ask = async |questions: &[SeenQuestion]| world.bus.ask_seen(questions, PATIENCE).await.unwrap();
    assert_eq!(ask(&[]).await, []);
    let mut told = ask(&[question("1", 60_000), question("2", 10), question("2", 60_000), question("3", 60_000)]).await;
    told.sort_by_key(|answer| answer.accepted_at);
    let answer = |id: &str, accepted: i64, content_hash: Option<i64>| SeenAnswer {
        key: EventKey::new(&site(), SOURCE, id),
        accepted_at: at(accepted),
        content_hash,
    };
    assert_eq!(
        told,
        [answer("1", 0, Some(-5)), answer("2", 10, None)],
        "of the second, not the acceptance asked about"
    );
    world.stop().await;
}

async fn without_a_database_there_is_no_answer(world: World) {
    world.store.connection().execute_unprepared("ALTER TABLE events RENAME TO elsewhere").await.unwrap();
    let unanswered = world.bus.ask_seen(&[question("1", 0)], Duration::from_millis(500)).await;
    assert!(unanswered.is_err(), "{unanswered:?}");
    world.store.connection().execute_unprepared("ALTER TABLE elsewhere RENAME TO events").await.unwrap();
    assert_eq!(world.bus.ask_seen(&[question("1", 0)], PATIENCE).await.unwrap(), []);
    world.stop().await;
}

/// The settings of a world that looks at endpoints all the time, and needs few attempts to judge them.
async fn impatient(world: World) -> World {
    let (nats, url): (NatsServer, String) = world.stop().await;
    World::start_configured(nats, url.clone(), url, |config| {
        config.health.every = Duration::from_millis(50);
        config.health.attempts_min = 4;
        // The tests' events are of a day long ago.
        config.retention.records = Duration::from_hours(100 * 365 * 24);
    })
    .await
}

/// A subscription that has been degraded for some days, and so many attempts to it in the last hours.
async fn degraded(world: &World, days: u64, attempts: i64, state: DeliveryState) -> Subscription {
    let subscription = builders::subscription(builders::SITE, world.account.account.id, "https://a.example/");
    degraded_as(world, subscription, days, attempts, state).await
}

async fn degraded_as(
    world: &World,
    mut subscription: Subscription,
    days: u64,
    attempts: i64,
    state: DeliveryState,
) -> Subscription {
    let now = clock::now();
    let ago = |hours: u64| Timestamp::from_millis(now.as_millis() - hours as i64 * 3_600_000);
    subscription.health = Health::Degraded(ago(days * 24));
    let event = routed_event(&subscription.id.to_string(), 0);
    let delivery = DeliveryRecord {
        id: slipstream_core::ids::DeliveryId::derive(ago(10), subscription.id, &event.key),
        site: site(),
        event_key: event.key,
        subscription: subscription.id,
        surface: subscription.surface,
        lane: Lane::Normal,
        state,
        reason: None,
        next_attempt_at: None,
        updated_at: ago(1),
        replay: None,
    };
    let attempts = (1..=attempts).map(|number| AttemptRecord {
        delivery: delivery.id,
        number: number as u32,
        started_at: ago(10).after(Duration::from_secs(number as u64)),
        duration_us: 1000,
        status: Some(503),
        error: None,
        response: None,
    });
    let batch = Batch { attempts: attempts.collect(), deliveries: vec![delivery], ..Batch::default() };
    record(&world.store, batch).await.unwrap();
    let bucket = world.bus.config_bucket().await.unwrap();
    bucket.put(&slipstream_test_support::secrets::records(&subscription)[1]).await.unwrap();
    subscription
}

/// Degraded for longer than is looked at, and it took something in between: what counts is the time until now.
async fn an_endpoint_that_was_degraded_long_before_it_last_took_something_is_disabled_too(world: World) {
    let world = impatient(world).await;
    let mut changes = world.bus.consume(ConsumerName::RegistryEndpoints).await.unwrap();
    let took = async |subscription: &Subscription, hours_ago: i64| {
        let at = Timestamp::from_millis(clock::now().as_millis() - hours_ago * 3_600_000);
        let key = routed_event("taken", 0).key;
        let taken = DeliveryRecord {
            id: slipstream_core::ids::DeliveryId::derive(at, subscription.id, &key),
            site: site(),
            event_key: key,
            subscription: subscription.id,
            surface: subscription.surface,
            lane: Lane::Normal,
            state: DeliveryState::Succeeded,
            reason: None,
            next_attempt_at: None,
            updated_at: at,
            replay: None,
        };
        record(&world.store, Batch { deliveries: vec![taken], ..Batch::default() }).await.unwrap();
    };
    // Noted before the service knows of the subscription: it is judged at once.
    let prepared = builders::subscription(builders::SITE, world.account.account.id, "https://a.example/");
    let (long_ago, lately) = (prepared.clone(), Subscription { id: SubscriptionId(Uuid::from_u128(70)), ..prepared });
    took(&lately, 4 * 24).await;
    took(&long_ago, 6 * 24).await;
    degraded_as(&world, lately, 10, 9, DeliveryState::RetryWait).await;
    let long_ago = degraded_as(&world, long_ago, 10, 9, DeliveryState::RetryWait).await;
    let told: EndpointChanged = serde_json::from_slice(&next(&mut changes).await.payload).unwrap();
    assert_eq!(told.subscription, long_ago.id, "five days of nothing but failures");
    let silence = tokio::time::timeout(Duration::from_millis(500), changes.next()).await;
    assert!(silence.is_err(), "the other took something four days ago");
    world.stop().await;
}

async fn next(messages: &mut Consumer) -> Message {
    let message = tokio::time::timeout(SOON, messages.next()).await.expect("there is a message");
    message.ack().await;
    message
}

async fn an_endpoint_that_only_fails_is_disabled_once(world: World) {
    let world = impatient(world).await;
    let mut changes = world.bus.consume(ConsumerName::RegistryEndpoints).await.unwrap();
    // Not long enough, not often enough, and not only failures.
    degraded(&world, 4, 9, DeliveryState::RetryWait).await;
    degraded(&world, 6, 3, DeliveryState::RetryWait).await;
    degraded(&world, 6, 9, DeliveryState::Succeeded).await;
    let failing = degraded(&world, 6, 4, DeliveryState::RetryWait).await;
    let told: EndpointChanged = serde_json::from_slice(&next(&mut changes).await.payload).unwrap();
    let disabled = EndpointChange::Disabled(slipstream_core::config::DisabledReason::Failing);
    assert_eq!((told.subscription, told.change), (failing.id, disabled));
    assert!(clock::now().since(told.at) < SOON);

    // Until the registry has made it so, many rounds pass: it is told once. As somebody else it is told again.
    let changed = Subscription { revision: failing.revision + 1, ..failing };
    let bucket = world.bus.config_bucket().await.unwrap();
    bucket.put(&slipstream_test_support::secrets::records(&changed)[1]).await.unwrap();
    let told: EndpointChanged = serde_json::from_slice(&next(&mut changes).await.payload).unwrap();
    assert_eq!((told.subscription, told.change), (changed.id, disabled));
    let silence = tokio::time::timeout(Duration::from_millis(500), changes.next()).await;
    assert!(silence.is_err(), "ten rounds later nothing more was told");
    world.stop().await;
}

/// The exhausted delivery of event `id`.
fn exhausted(id: &str) -> slipstream_core::contract::Outcome {
    outcome(id, 0, DeliveryState::Exhausted, 10, 503)
}

async fn an_exhausted_delivery_becomes_an_event_once(world: World) {
    let mut events = world.bus.consume(ConsumerName::Route(Lane::Normal)).await.unwrap();
    let unknown_site: Slug = "sUkLWZg".parse().unwrap();
    let elsewhere = slipstream_core::contract::Outcome { site: unknown_site, ..exhausted("elsewhere") };
    let replay = ReplayId(Uuid::from_u128(7));
    let replayed = slipstream_core::contract::Outcome { replay: Some(replay), ..exhausted("replayed") };
    let not = outcome("not", 0, DeliveryState::Failed, 1, 404);
    for _ in 0..3 {
        world.publish_outcomes(vec![elsewhere.clone(), exhausted("1"), not.clone()]).await;
    }
    world.publish_outcomes(vec![replayed]).await;
    let told = next(&mut events).await;
    let event: serde_json::Value = serde_json::from_slice(&told.payload).unwrap();
    assert_eq!(told.subject.as_str(), "events.internal.normal.s8n6EzC.slipstream.delivery.exhausted");
    assert_eq!((&event["type"], &event["siteslug"]), (&"slipstream.delivery.exhausted".into(), &"s8n6EzC".into()));
    let (id, key) = (delivery_id("1", 0), EventKey::new(&site(), SOURCE, "1"));
    assert_eq!((&event["subject"], &event["data"]["eventKey"]), (&id.to_string().into(), &key.to_string().into()));
    assert_eq!(event["data"]["subscription"], subscription(1).to_string());
    assert_eq!(told.meta.clone().unwrap().accepted_at, at(100), "accepted when it happened");
    // The repeats made none: the next is that of the other.
    let event: serde_json::Value = serde_json::from_slice(&next(&mut events).await.payload).unwrap();
    assert_eq!(event["subject"], delivery_id("replayed", 0).to_string());
    world.stop().await;
}

async fn an_exhausted_delivery_is_told_of_only_when_it_is_recorded(world: World) {
    let mut events = world.bus.consume(ConsumerName::Route(Lane::Normal)).await.unwrap();
    let connection = world.store.connection();
    connection.execute_unprepared("ALTER TABLE deliveries RENAME TO elsewhere").await.unwrap();
    world.publish_outcomes(vec![exhausted("1")]).await;
    eventually(SOON, async || !world.ctx.health.is_ready()).await;
    let early = tokio::time::timeout(Duration::from_millis(300), events.next()).await;
    assert!(early.is_err(), "it is not recorded yet");
    connection.execute_unprepared("ALTER TABLE elsewhere RENAME TO deliveries").await.unwrap();
    next(&mut events).await;
    let path = format!("/deliveries/{}", delivery_id("1", 0));
    let (status, delivery) = world.get(&path).await;
    assert_eq!((status.as_u16(), &delivery["state"]), (200, &"exhausted".into()));
    world.stop().await;
}

/// Lets stream `EVENTS` hold so many messages; -1: any number.
async fn events_max(world: &World, messages: i64) {
    let client = world.nats.client().await;
    let ask = async |name: &str, body: String| {
        let answer = client.request(format!("$JS.API.STREAM.{name}.EVENTS_0"), body.into()).await.unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&answer.payload).unwrap();
        assert!(answer.get("error").is_none(), "{answer}");
        answer
    };
    let mut config = ask("INFO", String::new()).await["config"].take();
    config["max_msgs"] = messages.into();
    ask("UPDATE", config.to_string()).await;
}

async fn while_events_are_full_the_record_goes_on_and_what_is_exhausted_is_told_of_later(world: World) {
    let mut events = world.bus.consume(ConsumerName::Route(Lane::Normal)).await.unwrap();
    let filler = Outgoing::new(subject::event(Visibility::Public, Lane::Normal, &site(), "a"), "{}".into());
    world.bus.publisher(StreamName::Events).publish(filler.meta(&Meta::new(site(), at(0)))).await.unwrap();
    next(&mut events).await;
    events_max(&world, 1).await;
    for id in ["1", "2", "1"] {
        world.publish_outcomes(vec![exhausted(id)]).await;
    }
    world.publish_outcomes(vec![outcome("3", 0, DeliveryState::Succeeded, 1, 200)]).await;
    for (id, state) in [("2", "exhausted"), ("3", "succeeded")] {
        world.get_until(&format!("/deliveries/{}", delivery_id(id, 0)), |it| it["state"] == state).await;
    }
    assert!(world.ctx.health.is_ready(), "nothing is held up");
    let early = tokio::time::timeout(Duration::from_millis(300), events.next()).await;
    assert!(early.is_err(), "there is no room");
    events_max(&world, -1).await;
    let mut told = Vec::new();
    for _ in 0..2 {
        let event: serde_json::Value = serde_json::from_slice(&next(&mut events).await.payload).unwrap();
        assert_eq!(event["type"], "slipstream.delivery.exhausted");
        told.push(event["subject"].as_str().unwrap().to_owned());
    }
    told.sort_unstable();
    let mut expected = ["1", "2"].map(|id| delivery_id(id, 0).to_string());
    expected.sort_unstable();
    assert_eq!(told, expected);
    let more = tokio::time::timeout(Duration::from_millis(1500), events.next()).await;
    assert!(more.is_err(), "each once");
    world.stop().await;
}
