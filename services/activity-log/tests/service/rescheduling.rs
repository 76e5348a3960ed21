//! Scheduled events are moved, cancelled, and delivered at once, by those who publish them.

use std::collections::HashMap;
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use slipstream_bus::held::due::parse_ringing;
use slipstream_bus::held::due_id;
use slipstream_bus::{Bus, Consumer, ConsumerName, Message, Outgoing, StreamName, subject};
use slipstream_core::contract::Meta;
use slipstream_core::ids::{EventKey, content_hash};
use slipstream_core::lane::Lane;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::clock;
use slipstream_store::ConnectionTrait as _;
use slipstream_store::activity::scheduled;
use slipstream_test_support::builders;

use crate::on_both_backends;
use crate::waits::{PATH, Waits, ask, ask_as, detail, in_ms, key, listed, next_change, patch, put_account, recorded};
use crate::world::{SOON, SOURCE, World, answer, routed_event, site};

on_both_backends!(
    an_event_is_moved,
    a_move_that_does_not_fit_is_refused_and_changes_nothing,
    a_cancelled_event_is_gone_at_once_and_its_end_is_published,
    an_event_is_delivered_at_once_on_request,
    what_came_due_can_not_be_changed_any_more,
    a_change_is_made_though_the_database_does_not_take_it,
    what_is_not_known_is_not_found_whatever_others_have_on_their_way,
    what_waits_a_moment_later_is_found_by_the_second_look,
);

async fn an_event_is_moved(world: World) {
    let mut changes = world.bus.consume(ConsumerName::Hold).await.unwrap();
    let waits = Waits { expires_at: Some(in_ms(7_200_000)), ..Waits::until("1", in_ms(3_600_000)) };
    waits.hold(&world).await;
    let at = in_ms(5_400_000);
    let (status, moved) = patch(&world, &waits.path(), &json!({"intendeddeliverytime": at.to_string(), "x": 1})).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(moved["intendedDeliveryTime"], at.to_string());
    assert_eq!(moved["expiryTime"], waits.expires_at.unwrap().to_string(), "what is not named stays");
    assert!(moved["changedAt"].is_string());
    assert_eq!(ask(&world, "GET", &waits.path()).await, (StatusCode::OK, moved.clone()));
    assert_eq!(ask(&world, "GET", PATH).await.1["items"], json!([moved]));
    let change = next_change(&mut changes).await;
    let stored: Value = serde_json::from_slice(&change.payload).unwrap();
    assert_eq!(stored["intendeddeliverytime"], at.to_string());
    assert!(String::from_utf8_lossy(&change.payload).contains("1.5"), "the rest is as it was accepted");
    assert_eq!(change.meta.unwrap().intended_at, Some(at));

    let event = world.get(&format!("/events/s8n6EzC/{SOURCE}/1")).await.1;
    let changed = format!(" Its times were changed at {}.", moved["changedAt"].as_str().unwrap());
    assert!(event["summary"].as_str().unwrap().ends_with(&changed), "{event}");

    // Again, and without an end.
    let (status, moved) = patch(&world, &waits.path(), &json!({"expirytime": null})).await;
    assert_eq!((status, &moved["expiryTime"]), (StatusCode::OK, &Value::Null));
    assert_eq!(moved["intendedDeliveryTime"], at.to_string());
    assert_eq!(ask(&world, "GET", PATH).await.1["items"], json!([moved]));
    let change = next_change(&mut changes).await;
    let stored: Value = serde_json::from_slice(&change.payload).unwrap();
    assert_eq!((stored.get("expirytime"), &stored["intendeddeliverytime"]), (None, &at.to_string().into()));
    // Of its contents what was accepted is kept, so that a repeat of that is known as one.
    let recorded = scheduled(world.store.connection(), &site(), &waits.key()).await.unwrap().unwrap();
    assert_eq!(recorded.content_hash, Some(content_hash(waits.payload().as_bytes())));
    // The record of before, which the bus may give us again, does not undo it.
    waits.record(&world).await;
    world.publish_routed(vec![routed_event("last", 0)]).await;
    world.get_until("/deliveries?eventId=last", |page| page["items"][0]["id"].is_string()).await;
    assert_eq!(listed(&world, &format!("from={at}")).await, ["1"]);
    world.stop().await;
}

async fn a_move_that_does_not_fit_is_refused_and_changes_nothing(world: World) {
    let waits = Waits { expires_at: Some(in_ms(7_200_000)), ..Waits::until("1", in_ms(3_600_000)) };
    waits.hold(&world).await;
    recorded(&world, 1).await;
    let before = ask(&world, "GET", &waits.path()).await;
    for body in [
        json!({}),
        json!([]),
        json!({"intendeddeliverytime": null}),
        json!({"intendeddeliverytime": "soon"}),
        json!({"intendeddeliverytime": in_ms(7_300_000).to_string()}),
        json!({"expirytime": in_ms(3_500_000).to_string()}),
        json!({"expirytime": "2026-03-02T09:30:00Z"}),
        json!({"intendeddeliverytime": "2026-03-02T09:29:00Z", "expirytime": "2026-03-02T09:30:00Z"}),
    ] {
        let (status, problem) = patch(&world, &waits.path(), &body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}: {problem}");
    }
    let request = || world.to("PATCH", &waits.path()).header("x-api-key", &world.account.primary_key);
    let good = json!({"expirytime": null}).to_string();
    for content_type in [None, Some("text/plain"), Some("application/cloudevents+json")] {
        let mut request = request().body(good.clone());
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        assert_eq!(answer(request).await.0, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{content_type:?}");
    }
    let large = format!(r#"{{"expirytime":null,"x":"{}"}}"#, "x".repeat(20_000));
    let request = request().header("content-type", "application/json").body(large);
    assert_eq!(answer(request).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(ask(&world, "GET", &waits.path()).await, before);
    world.stop().await;
}

async fn a_cancelled_event_is_gone_at_once_and_its_end_is_published(world: World) {
    let mut changes = world.bus.consume(ConsumerName::Hold).await.unwrap();
    let waits = Waits::until("1", in_ms(3_600_000));
    waits.hold(&world).await;
    recorded(&world, 1).await;
    assert_eq!(ask(&world, "DELETE", &waits.path()).await, (StatusCode::NO_CONTENT, Value::Null));
    let change = next_change(&mut changes).await;
    assert!(change.meta.unwrap().cancelled_at.is_some());
    // Nobody has taken its schedule away yet, and still it does not wait any more.
    assert_eq!(ask(&world, "GET", &waits.path()).await.0, StatusCode::NOT_FOUND);
    assert!(listed(&world, "").await.is_empty());
    let at = json!({"intendeddeliverytime": in_ms(3_600_000).to_string()});
    for (status, problem) in [
        ask(&world, "DELETE", &waits.path()).await,
        patch(&world, &waits.path(), &at).await,
        ask(&world, "POST", &format!("{}/deliver-now", waits.path())).await,
    ] {
        assert_eq!((status, detail(&problem)), (StatusCode::CONFLICT, "the event was cancelled already"));
    }
    let event = world.get(&format!("/events/s8n6EzC/{SOURCE}/1")).await.1;
    assert_eq!((&event["state"], event["cancelledAt"].is_string()), (&"cancelled".into(), true));
    let summary = event["summary"].as_str().unwrap();
    assert!(summary.starts_with("Nobody receives the event: it was cancelled at 20"), "{summary}");
    world.stop().await;
}

async fn an_event_is_delivered_at_once_on_request(world: World) {
    let mut changes = world.bus.consume(ConsumerName::Hold).await.unwrap();
    let waits = Waits::until("1", in_ms(3_600_000));
    waits.hold(&world).await;
    recorded(&world, 1).await;
    let before = clock::now();
    let (status, event) = ask(&world, "POST", &format!("{}/deliver-now", waits.path())).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let intended: Timestamp = event["intendedDeliveryTime"].as_str().unwrap().parse().unwrap();
    assert!(intended >= before && intended <= clock::now());
    let change = next_change(&mut changes).await;
    let stored: Value = serde_json::from_slice(&change.payload).unwrap();
    assert_eq!(
        (change.meta.unwrap().intended_at, &stored["intendeddeliverytime"]),
        (Some(intended), &event["intendedDeliveryTime"])
    );
    let (status, problem) = ask(&world, "DELETE", &waits.path()).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(detail(&problem), "the event came due before it could be cancelled");
    world.stop().await;
}

async fn what_came_due_can_not_be_changed_any_more(world: World) {
    let waits = Waits::until("1", in_ms(300));
    waits.hold(&world).await;
    recorded(&world, 1).await;
    let mut ringing = world.bus.consume(ConsumerName::Release(Lane::High)).await.unwrap();
    tokio::time::timeout(SOON, come_due(&world.bus, &mut ringing)).await.expect("it comes due");
    let came_due = |deed: &str| format!("the event came due before it could be {deed}");
    let (status, problem) = ask(&world, "DELETE", &waits.path()).await;
    assert_eq!((status, detail(&problem)), (StatusCode::CONFLICT, came_due("cancelled").as_str()));
    let (status, problem) = patch(&world, &waits.path(), &json!({"expirytime": null})).await;
    assert_eq!((status, detail(&problem)), (StatusCode::CONFLICT, came_due("changed").as_str()));
    let (status, problem) = ask(&world, "POST", &format!("{}/deliver-now", waits.path())).await;
    assert_eq!((status, detail(&problem)), (StatusCode::CONFLICT, came_due("brought forward").as_str()));
    assert_eq!(ask(&world, "GET", &waits.path()).await.0, StatusCode::NOT_FOUND);
    world.stop().await;
}

async fn a_change_is_made_though_the_database_does_not_take_it(world: World) {
    let mut changes = world.bus.consume(ConsumerName::Hold).await.unwrap();
    let waits = Waits::until("1", in_ms(3_600_000));
    waits.hold(&world).await;
    recorded(&world, 1).await;
    world.store.connection().execute_unprepared("ALTER TABLE events RENAME TO elsewhere").await.unwrap();
    assert_eq!(ask(&world, "GET", &waits.path()).await.0, StatusCode::OK);
    assert_eq!(ask(&world, "DELETE", &waits.path()).await.0, StatusCode::NO_CONTENT);
    assert!(next_change(&mut changes).await.meta.unwrap().cancelled_at.is_some());
    world.stop().await;
}

async fn what_is_not_known_is_not_found_whatever_others_have_on_their_way(world: World) {
    let _changes = world.bus.consume(ConsumerName::Hold).await.unwrap();
    let other = "sUkLWZg".parse().unwrap();
    let theirs = subject::later(Lane::Normal, &other, &EventKey::new(&other, "/s", "1"));
    let events = world.bus.publisher(StreamName::Events);
    events.publish(Outgoing::new(theirs, "{}".into()).meta(&Meta::new(other, in_ms(0)))).await.unwrap();
    assert_eq!(world.bus.backlog(ConsumerName::Hold).await.unwrap(), 1);
    let unknown = format!("{PATH}/{}", key("nothing"));
    for (method, path) in [("GET", &unknown), ("DELETE", &unknown), ("POST", &format!("{unknown}/deliver-now"))] {
        let (status, problem) = ask(&world, method, path).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{method}: {problem}");
    }
    let (status, problem) = patch(&world, &unknown, &json!({"expirytime": null})).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{problem}");
    world.stop().await;
}

/// Published a moment before it is asked for: it waits by the second look.
async fn what_waits_a_moment_later_is_found_by_the_second_look(world: World) {
    for (id, method) in [("1", "GET"), ("2", "DELETE")] {
        let waits = Waits::until(id, in_ms(3_600_000));
        let path = waits.path();
        let hold_late = async {
            // After the first look; the answer to an unknown key takes longer than this.
            tokio::time::sleep(Duration::from_millis(100)).await;
            waits.hold(&world).await;
        };
        let ((status, problem), ()) = futures::future::join(ask(&world, method, &path), hold_late).await;
        assert!(status.is_success(), "{method}: {status} {problem}");
    }
    world.stop().await;
}

/// Has what an alarm names come due, as the dispatcher does it; who is told that it is a repeat has lost.
async fn come_due(bus: &Bus, ringing: &mut Consumer) {
    let (events, waiting) = (bus.publisher(StreamName::Events), bus.held_events());
    let alarm = ringing.next().await;
    let (lane, at) = parse_ringing(&alarm.subject).unwrap();
    while let Some(named) = waiting.due(lane, at).await.unwrap() {
        for (_, held) in waiting.read(&named.places).await.unwrap() {
            let due = Outgoing::new(held.due_subject, held.payload).id(&due_id(&held.key, held.meta.generation));
            events.publish(due.meta(&held.meta)).await.unwrap();
        }
        waiting.remove(named.places.clone()).await.unwrap();
        waiting.remove_lists(lane, at, &named).await.unwrap();
    }
    alarm.ack().await;
}

/// Many events that come due while they are cancelled: each ends in one way, and that is what the answer said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn coming_due_and_being_cancelled_have_one_winner() {
    const RACES: u64 = 200;
    let (_directory, url) = slipstream_test_support::sqlite::database();
    let world = World::start(url).await;
    let mut ringing = world.bus.consume(ConsumerName::Release(Lane::High)).await.unwrap();
    let releasing = {
        let bus = world.bus.clone();
        tokio::spawn(async move {
            loop {
                come_due(&bus, &mut ringing).await;
            }
        })
    };
    // Several, because of one caller no more than 128 requests may be under way, and on a slow machine all of them are.
    let callers = [(); (RACES as usize).div_ceil(100)].map(|()| builders::account());
    for caller in &callers {
        put_account(&world, caller).await;
    }
    let start = in_ms(2000);
    for race in 0..RACES {
        Waits::until(race.to_string(), start.after(Duration::from_millis(race * 10))).hold(&world).await;
    }
    recorded(&world, RACES as usize).await;
    let races = (0..RACES).map(async |race| {
        // Cancelled around the time when it comes due: from 0.2 s before to 2 s after. Most are close to when the server
        // fires, which is up to 0.25 s late by contract, and later on a busy machine.
        let late = [0, 100, 200, 250, 300, 350, 400, 450, 500, 600, 800, 1200, 2200][race as usize % 13];
        let at = start.after(Duration::from_millis(race * 10 + late)).since(clock::now());
        tokio::time::sleep(at.saturating_sub(Duration::from_millis(200))).await;
        let key = key(&race.to_string());
        let caller = &callers[race as usize % callers.len()];
        let (status, problem) = ask_as(&world, caller, "DELETE", &format!("{PATH}/{key}")).await;
        if status == StatusCode::CONFLICT {
            assert_eq!(detail(&problem), "the event came due before it could be cancelled");
        }
        (key, status)
    });
    let answers: HashMap<_, _> = futures::future::join_all(races).await.into_iter().collect();
    let (mut cancelled, mut due) = (HashMap::new(), HashMap::new());
    let mut later = world.bus.consume(ConsumerName::Hold).await.unwrap();
    let mut routes = world.bus.consume(ConsumerName::Route(Lane::High)).await.unwrap();
    let count = |map: &mut HashMap<EventKey, usize>, message: &Message| {
        let event: Value = serde_json::from_slice(&message.payload).unwrap();
        *map.entry(key(event["id"].as_str().unwrap())).or_default() += 1;
    };
    while cancelled.len() + due.len() < RACES as usize {
        tokio::select! {
            message = later.next() => count(&mut cancelled, &message),
            message = routes.next() => count(&mut due, &message),
            () = tokio::time::sleep(SOON) => panic!("{} cancelled, {} due", cancelled.len(), due.len()),
        }
    }
    println!("{RACES} races: {} cancelled, {} came due first", cancelled.len(), due.len());
    for (key, status) in &answers {
        let expected = if *status == StatusCode::NO_CONTENT { (Some(&1), None) } else { (None, Some(&1)) };
        assert_eq!((cancelled.get(key), due.get(key)), expected, "{key}: the answer was {status}");
        assert!(matches!(*status, StatusCode::NO_CONTENT | StatusCode::CONFLICT), "{status}");
    }
    assert!(!cancelled.is_empty() && !due.is_empty(), "both have to win some");
    releasing.abort();
    world.stop().await;
}
