//! What arrives is written down: once, whatever arrives.

use std::time::Duration;

use serde_json::Value;
use slipstream_activity_log::RetentionConfig;
use slipstream_bus::{Outgoing, subject};
use slipstream_core::config::Surface;
use slipstream_core::contract::{EndpointChange, EndpointChanged};
use slipstream_core::delivery::DeliveryState;
use slipstream_store::ConnectionTrait as _;
use slipstream_store::activity::quarantined;
use slipstream_test_support::eventually;

use crate::on_both_backends;
use crate::world::{SOON, World, at, delivery_id, outcome, routed_event, site, subscription};

on_both_backends!(
    messages_that_come_again_are_recorded_once,
    an_outcome_may_come_before_its_routing,
    what_cannot_be_read_is_put_aside_and_holds_up_nothing,
    a_removed_subscription_cancels_what_is_open,
    what_came_before_the_stop_is_recorded,
    what_the_database_never_takes_is_put_aside_and_holds_up_nothing,
    what_is_too_old_is_forgotten,
);

fn items(page: &Value) -> &Vec<Value> {
    page["items"].as_array().unwrap()
}

async fn messages_that_come_again_are_recorded_once(world: World) {
    for _ in 0..3 {
        world.publish_routed(vec![routed_event("1", 0), routed_event("2", 0)]).await;
        world
            .publish_outcomes(vec![
                outcome("1", 0, DeliveryState::RetryWait, 1, 503),
                outcome("1", 0, DeliveryState::Succeeded, 2, 200),
                outcome("2", 0, DeliveryState::Failed, 1, 404),
            ])
            .await;
    }
    // What is published last is recorded last, so the repeats before it have been seen.
    world.publish_routed(vec![routed_event("last", 50)]).await;
    let page = world.get_until("/deliveries?limit=100", |page| page["items"][0]["eventId"] == "last").await;
    let seen: Vec<_> =
        items(&page).iter().map(|item| (item["eventId"].as_str().unwrap(), item["state"].as_str().unwrap())).collect();
    assert_eq!(seen.len(), 3, "{seen:?}");
    assert!(seen.contains(&("1", "succeeded")) && seen.contains(&("2", "failed")), "{seen:?}");
    let (_, delivery) = world.get(&format!("/deliveries/{}", delivery_id("1", 0))).await;
    assert_eq!((&delivery["attemptCount"], delivery["attempts"].as_array().unwrap().len()), (&2.into(), 2));
    world.stop().await;
}

async fn an_outcome_may_come_before_its_routing(world: World) {
    world.publish_outcomes(vec![outcome("1", 0, DeliveryState::Succeeded, 1, 200)]).await;
    let page = world.get_until("/deliveries", |page| items(page).len() == 1).await;
    assert_eq!((&items(&page)[0]["state"], &items(&page)[0]["eventId"]), (&"succeeded".into(), &Value::Null));
    world.publish_routed(vec![routed_event("1", 0)]).await;
    let page = world.get_until("/deliveries", |page| page["items"][0]["eventId"] == "1").await;
    assert_eq!((items(&page).len(), &items(&page)[0]["state"]), (1, &"succeeded".into()));
    world.stop().await;
}

async fn what_cannot_be_read_is_put_aside_and_holds_up_nothing(world: World) {
    let garbage = &b"\0{not json"[..];
    for _ in 0..2 {
        world.publish(Outgoing::new(subject::routed(&site()), garbage.into())).await;
    }
    world.publish_routed(vec![routed_event("1", 0)]).await;
    world.get_until("/deliveries", |page| items(page).len() == 1).await;
    let aside = eventually(SOON, async || {
        let aside = quarantined(world.store.connection(), 10).await.unwrap();
        if aside.is_empty() { Err("nothing in quarantine") } else { Ok(aside) }
    })
    .await;
    assert_eq!(aside.len(), 1);
    assert_eq!((aside[0].subject.as_str(), aside[0].payload.as_slice()), ("routed.s8n6EzC", garbage));
    assert!(aside[0].error.contains("line 1"), "{}", aside[0].error);
    world.stop().await;
}

async fn a_removed_subscription_cancels_what_is_open(world: World) {
    world.publish_routed(vec![routed_event("open", 0), routed_event("done", 0)]).await;
    world.publish_outcomes(vec![outcome("done", 0, DeliveryState::Succeeded, 1, 200)]).await;
    let change = EndpointChange::Removed;
    let removed = EndpointChanged { subscription: subscription(1), at: at(100), change, revision: None };
    let payload = serde_json::to_vec(&removed).unwrap().into();
    world.publish(Outgoing::new(subject::endpoint(Surface::Slipstream, subscription(1)), payload)).await;
    let page = world.get_until("/deliveries?state=cancelled", |page| items(page).len() == 1).await;
    assert_eq!(
        (&items(&page)[0]["eventId"], &items(&page)[0]["reason"]),
        (&"open".into(), &"subscription_removed".into())
    );
    assert_eq!(world.pages("/deliveries?state=succeeded").await, [delivery_id("done", 0).to_string()]);

    // What was on its way meanwhile: that one was made, and that one was put off.
    world.publish_routed(vec![routed_event("late", 0)]).await;
    world.publish_outcomes(vec![outcome("put off", 0, DeliveryState::RetryWait, 1, 503)]).await;
    world.get_until("/deliveries?state=cancelled", |page| items(page).len() == 3).await;
    assert_eq!(world.pages("/deliveries?state=scheduled,retry_wait").await, Vec::<String>::new());
    // What became of it all the same is the truth.
    world.publish_outcomes(vec![outcome("late", 0, DeliveryState::Succeeded, 1, 200)]).await;
    world.get_until("/deliveries?state=succeeded", |page| items(page).len() == 2).await;
    world.publish_routed(vec![routed_event("put off", 0)]).await;
    let path = "/reconcile?since=2026-03-01T00:00:00Z&until=2026-03-04T00:00:00Z";
    let reconciled = world.get_until(path, |it| it["totals"]["addsUp"] == true).await;
    assert_eq!((&reconciled["totals"]["cancelled"], &reconciled["totals"]["waiting"]), (&2.into(), &0.into()));
    world.stop().await;
}

async fn what_came_before_the_stop_is_recorded(world: World) {
    for number in 0..300 {
        world.publish_routed(vec![routed_event(&number.to_string(), number)]).await;
    }
    let (nats, url) = world.stop().await;
    // The next run is not needed for it: what was taken was finished. It would take what was not.
    let world = World::start_on(nats, url.clone(), url).await;
    let ids = world.pages("/deliveries?limit=100").await;
    assert_eq!(ids.len(), 300);
    world.stop().await;
}

async fn what_the_database_never_takes_is_put_aside_and_holds_up_nothing(world: World) {
    let connection = world.store.connection();
    let refuse = if world.is_postgres() {
        "ALTER TABLE events ADD CONSTRAINT picky CHECK (id <> 'poison')"
    } else {
        "CREATE TRIGGER picky BEFORE INSERT ON events WHEN NEW.id = 'poison' \
         BEGIN SELECT RAISE(ABORT, 'picky'); END"
    };
    connection.execute_unprepared(refuse).await.unwrap();
    for id in ["1", "2", "poison", "3", "4"] {
        world.publish_routed(vec![routed_event(id, 0)]).await;
    }
    world.get_until("/deliveries", |page| items(page).len() == 4).await;
    let aside = quarantined(connection, 10).await.unwrap();
    assert_eq!(aside.len(), 1);
    assert!(aside[0].payload.windows(6).any(|bytes| bytes == b"poison"), "{}", aside[0].error);
    eventually(SOON, async || world.ctx.health.is_ready()).await;
    world.stop().await;
}

async fn what_is_too_old_is_forgotten(world: World) {
    world.publish_routed(vec![routed_event("old", 0), routed_event("open", 0)]).await;
    world.publish_outcomes(vec![outcome("old", 0, DeliveryState::Succeeded, 1, 200)]).await;
    world.get_until("/deliveries?state=succeeded", |page| items(page).len() == 1).await;
    let (nats, url) = world.stop().await;
    // By the tests' clock everything is months old.
    let retention = RetentionConfig { every: Duration::from_millis(100), ..RetentionConfig::default() };
    let world = World::start_with(nats, url.clone(), url, retention).await;
    let page = world.get_until("/deliveries", |page| items(page).len() == 1).await;
    assert_eq!(items(&page)[0]["eventId"], "open");
    let path = "/events/s8n6EzC/https://post.example/letters/old";
    eventually(SOON, async || world.get(path).await.0 == reqwest::StatusCode::NOT_FOUND).await;
    world.stop().await;
}
