//! Everything accepted in a time, and what became of it.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use slipstream_activity_log::RetentionConfig;
use slipstream_bus::ConsumerName;
use slipstream_bus::{Outgoing, StreamName, subject};
use slipstream_core::config::Surface;
use slipstream_core::contract::{Matched, Meta, Outcome, RoutedEvent};
use slipstream_core::delivery::DeliveryState;
use slipstream_core::ids::{DeliveryId, ReplayId};
use slipstream_core::lane::Lane;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::clock;
use uuid::Uuid;

use crate::on_both_backends;
use crate::world::{World, answer, at, delivery_id, outcome, routed_event, subscription};

on_both_backends!(
    nobody_but_the_operator_reconciles_and_bad_parameters_are_named,
    every_accepted_event_is_in_one_state_per_subscription_and_totals_add_up,
    what_is_not_recorded_yet_is_told,
    what_may_be_forgotten_already_is_told,
);

fn path(rest: &str) -> String {
    format!("/reconcile?since={}&until={}{rest}", at(0), at(100))
}

async fn nobody_but_the_operator_reconciles_and_bad_parameters_are_named(world: World) {
    assert_eq!(world.request(&path(""), None).await.0, StatusCode::UNAUTHORIZED);
    let key = world.to("GET", &format!("/admin/v1{}", path(""))).header("x-api-key", &world.account.primary_key);
    assert_eq!(answer(key).await.0, StatusCode::UNAUTHORIZED);
    for (rest, name) in [("&limit=0", "limit"), ("&cursor=x", "cursor"), ("&site=x", "site"), ("&state=held", "state")]
    {
        let (status, problem) = world.get(&path(rest)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{rest}");
        assert!(problem["detail"].as_str().unwrap().contains(&format!("`{name}`")), "{rest}: {problem}");
    }
    assert_eq!(world.get(&format!("/reconcile?since={}", at(0))).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(world.get(&format!("/reconcile?since={}&until={}", at(1), at(1))).await.0, StatusCode::BAD_REQUEST);
    world.stop().await;
}

/// All items, page by page, and what the first page tells of the whole. The others do not count again.
async fn items(world: &World, rest: &str) -> (Vec<Value>, Value) {
    let (mut items, mut cursor, mut whole) = (Vec::new(), String::new(), None);
    loop {
        let (status, mut page) = world.get(&format!("{}{cursor}", path(rest))).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        let Value::Array(mut found) = page["items"].take() else { panic!("{page}") };
        items.append(&mut found);
        let next = page["next"].take();
        assert_eq!(page["totals"].is_null(), whole.is_some(), "{page}");
        whole.get_or_insert(page);
        let Some(next) = next.as_str() else { return (items, whole.unwrap()) };
        cursor = format!("&cursor={next}");
    }
}

async fn every_accepted_event_is_in_one_state_per_subscription_and_totals_add_up(world: World) {
    let matched = |id: &str, to: u128| Matched {
        delivery: DeliveryId::derive(at(1), subscription(to), &routed_event(id, 1).key),
        subscription: subscription(to),
        surface: Surface::Slipstream,
    };
    let one_of_each = (1..=7).map(|to| matched("all", to)).collect();
    let unmatched = RoutedEvent { matched: Vec::new(), ..routed_event("nobody", 2) };
    let held =
        RoutedEvent { routed_at: None, matched: Vec::new(), intended_at: Some(at(50_000)), ..routed_event("held", 3) };
    let of_another = routed_event("cancelled", 4);
    let cancelled = RoutedEvent {
        id: of_another.id,
        key: of_another.key,
        accepted_at: of_another.accepted_at,
        cancelled_at: Some(at(9)),
        ..held.clone()
    };
    world
        .publish_routed(vec![
            RoutedEvent { matched: one_of_each, ..routed_event("all", 1) },
            unmatched,
            held,
            cancelled,
            routed_event("waits", 5),
            routed_event("before", -1),
            routed_event("after", 100),
        ])
        .await;
    for (to, state) in (1..=7).zip(DeliveryState::ALL) {
        let delivery = matched("all", to).delivery;
        world
            .publish_outcomes_to(subscription(to), vec![Outcome { delivery, ..outcome("all", 1, state, 1, 500) }])
            .await;
    }
    let replay = ReplayId(Uuid::from_u128(7));
    let replayed = DeliveryId::derive_replay(at(5), subscription(1), &routed_event("waits", 5).key, replay);
    let of_replay = outcome("waits", 5, DeliveryState::Succeeded, 1, 200);
    world.publish_outcomes(vec![Outcome { delivery: replayed, replay: Some(replay), ..of_replay }]).await;
    world.get_until(&format!("/deliveries/{replayed}"), |_| true).await;

    let (items, whole) = items(&world, "&limit=2").await;
    let states: Vec<_> = items.iter().map(|it| (it["id"].as_str().unwrap(), it["state"].as_str().unwrap())).collect();
    assert_eq!(
        states,
        [("all", "routed"), ("nobody", "routed"), ("held", "held"), ("cancelled", "cancelled"), ("waits", "routed")]
    );
    let mut of_all: Vec<_> =
        items[0]["deliveries"].as_array().unwrap().iter().map(|it| it["state"].as_str().unwrap()).collect();
    of_all.sort_unstable();
    assert_eq!(of_all, ["cancelled", "exhausted", "expired", "failed", "retry_wait", "scheduled", "succeeded"]);
    let own = json!([{"id": delivery_id("waits", 5), "subscription": subscription(1), "state": "scheduled"}]);
    assert_eq!(items[4]["deliveries"], own, "its replay is another thing");
    let event = world.get("/events/s8n6EzC/https://post.example/letters/waits").await.1;
    let summary = "The event goes to 1 subscription, and not to 1 of its site. It was replayed once.";
    assert_eq!((&event["summary"], event["matched"].as_array().unwrap().len()), (&summary.into(), 2));
    let webhook_id = delivery_id("waits", 5).webhook_id();
    for delivery in event["matched"].as_array().unwrap() {
        assert_eq!(delivery["webhookId"], webhook_id, "receivers recognise the replay");
        let expected = if delivery["id"] == replayed.to_string() { json!(replay) } else { Value::Null };
        assert_eq!(delivery["replay"], expected);
    }

    let expected = json!({
        "events": 5, "accepted": 11, "unmatched": 1, "waiting": 4, "succeeded": 1, "failed": 1, "exhausted": 1,
        "expired": 1, "cancelled": 2, "addsUp": true,
        "replays": {"waiting": 0, "succeeded": 1, "failed": 0, "exhausted": 0, "expired": 0, "cancelled": 0},
    });
    assert_eq!(whole["totals"], expected);
    assert!(whole.get("keptSince").is_none() && items.iter().all(|item| item.get("deliveriesCut").is_none()));
    assert!(whole["without"].as_str().unwrap().contains("work-queue"));
    let (_, elsewhere) = world.get(&path("&site=sUkLWZg")).await;
    assert_eq!((&elsewhere["items"], &elsewhere["totals"]["accepted"]), (&json!([]), &0.into()));
    world.stop().await;
}

async fn what_is_not_recorded_yet_is_told(world: World) {
    let (_, unknown) = world.get(&path("")).await;
    assert_eq!((&unknown["unrecorded"], &unknown["complete"]), (&Value::Null, &false.into()), "nobody routes");
    for lane in Lane::ALL {
        world.bus.consume(ConsumerName::Route(lane)).await.unwrap();
    }
    world.bus.consume(ConsumerName::Hold).await.unwrap();
    let (_, nothing) = world.get(&path("")).await;
    assert_eq!((&nothing["unrecorded"], &nothing["complete"]), (&json!({"events": 0, "outcomes": 0}), &true.into()));
    let events = world.bus.publisher(StreamName::Events);
    let site = crate::world::site();
    for subject in [
        subject::event(slipstream_core::lane::Visibility::Public, Lane::High, &site, "a"),
        subject::later(Lane::Normal, &site, &slipstream_core::ids::EventKey::new(&site, "/s", "1")),
    ] {
        events.publish(Outgoing::new(subject, "{}".into()).meta(&Meta::new(site.clone(), at(0)))).await.unwrap();
    }
    let (_, two) = world.get(&path("")).await;
    assert_eq!((&two["unrecorded"]["events"], &two["complete"]), (&2.into(), &false.into()));
    world.stop().await;
}

async fn what_may_be_forgotten_already_is_told(world: World) {
    let (nats, url) = world.stop().await;
    let day = Duration::from_hours(24);
    let retention = RetentionConfig { records: 3 * day, ..RetentionConfig::default() };
    let world = World::start_with(nats, url.clone(), url, retention).await;
    for lane in Lane::ALL {
        world.bus.consume(ConsumerName::Route(lane)).await.unwrap();
    }
    world.bus.consume(ConsumerName::Hold).await.unwrap();
    let ago = |days: i64| Timestamp::from_millis(clock::now().as_millis() - days * 24 * 3_600_000);
    let of = async |days| world.get(&format!("/reconcile?since={}&until={}", ago(days), ago(0))).await.1;
    let kept = of(2).await;
    assert_eq!((&kept["complete"], kept.get("keptSince")), (&true.into(), None), "{kept}");
    let (before, too_far, after) = (ago(3), of(4).await, ago(3));
    assert_eq!(too_far["complete"], false);
    let kept_since: Timestamp = too_far["keptSince"].as_str().unwrap().parse().unwrap();
    assert!(before <= kept_since && kept_since <= after, "{kept_since}");
    assert!(too_far["totals"].is_object(), "counted all the same");
    world.stop().await;
}
