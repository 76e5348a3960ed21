//! Why an event was, or was not, delivered to a subscription, in one call (issue 3, "Explain").

use std::time::Duration;

use serde_json::json;
use slipstream_service::clock;
use slipstream_test_support::builders::event;
use slipstream_test_support::{Receiver, Reply};
use slipstream_tests::{LIMIT, Settings, Shape, System};

slipstream_tests::journeys![one_call_says_what_stands_between_an_event_and_a_subscription];

async fn one_call_says_what_stands_between_an_event_and_a_subscription(shape: Shape) {
    let hour = 3_600_000;
    let system = System::with(shape, Settings { retry_schedule_ms: vec![0, hour], ..Settings::default() }).await;
    let receiver = Receiver::start().await;
    receiver.script_path("/missing", |_, _| Reply::status(404));
    receiver.script_path("/down", |_, _| Reply::status(500));
    let created = "communications.letter.created";
    let [well, missing, down] = [system.external().await, system.external().await, system.external().await];
    well.subscribe(receiver.url("/well")).await;
    missing.subscribe(receiver.url("/missing")).await;
    down.put_webhook(json!({ "Uri": receiver.url("/down"), "EventTypes": [created] })).await.expect(200);
    let to = |account| system.operator.endpoint_of(account);
    let (to_well, to_missing, to_down) = (to(&well).await, to(&missing).await, to(&down).await);

    let letter = event();
    let intended = clock::now().after(Duration::from_hours(1));
    let held = event().with("intendeddeliverytime", intended.to_string());
    let expired = event().with("expirytime", "2020-01-01T00:00:00Z");
    let internal = event().with("visibility", 0);
    let updated = event().kind("communications.letter.status_updated");
    let other = event().kind("Slipstream.UrlShortener.UrlCreated");
    let never = event();
    for event in [&letter, &held, &expired, &internal, &updated, &other] {
        well.publish(event).await;
    }
    receiver.wait_for(5, LIMIT).await;

    let why = |event, to, verdict, decided_by| system.operator.why_is(&well, event, to, verdict, decided_by);
    let delivered = why(&letter, &to_well, "delivered", None).await;
    assert!(delivered.summary.starts_with("Delivered at "), "{}", delivered.summary);
    assert!(delivered.checks.iter().all(|it| it.outcome == "passed"), "{:?}", delivered.checks);
    let attempts = delivered.delivery.expect("it has one")["attempts"].as_array().expect("it has attempts").clone();
    assert_eq!((attempts.len(), &attempts[0]["status"]), (1, &json!(200)));

    let failed = why(&letter, &to_missing, "not_delivered", Some("attempts")).await;
    assert!(failed.summary.contains("answered with 404") && failed.summary.contains("final"), "{}", failed.summary);
    let waiting = why(&letter, &to_down, "waiting", Some("attempts")).await;
    let next = waiting.next_attempt_at.expect("it says when");
    assert!(next > clock::now().after(Duration::from_mins(50)), "{next}");
    assert!(waiting.summary.contains("answered with 500") && waiting.summary.contains(&next.to_string()));

    let scheduled = why(&held, &to_well, "waiting", Some("schedule")).await;
    assert_eq!(scheduled.next_attempt_at, Some(intended));
    why(&expired, &to_well, "not_delivered", Some("expiry")).await;
    why(&internal, &to_well, "not_delivered", Some("visibility")).await;
    why(&other, &to_well, "not_delivered", Some("type")).await;
    why(&updated, &to_down, "not_delivered", Some("filter")).await;
    why(&never, &to_well, "unknown", Some("accepted")).await;

    let late = system.external().await;
    late.subscribe(receiver.url("/late")).await;
    let to_late = to(&late).await;
    let after = why(&letter, &to_late, "not_delivered", Some("subscription")).await;
    assert!(after.summary.contains("after the event was routed"), "{}", after.summary);
    system.operator.replay_event(&late, &letter, &to_late).await.expect(202);
    why(&letter, &to_late, "delivered", None).await;
    // A replay of one that failed: it was delivered, though not at first.
    receiver.script_path("/missing", |_, _| Reply::ok());
    let id = failed.delivery.expect("it has one")["id"].as_str().expect("an id is a text").to_owned();
    system.operator.replay_delivery(&id).await.expect(202);
    let replayed = why(&letter, &to_missing, "delivered", Some("attempts")).await;
    assert!(replayed.summary.contains("by a replay") && replayed.replays.len() == 1, "{replayed:?}");
}
