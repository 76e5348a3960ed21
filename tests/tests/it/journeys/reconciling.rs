//! Everything accepted in a time, and what became of it (issue 3, "Reconcile").

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};
use slipstream_core::delivery::DeliveryState;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::clock;
use slipstream_test_support::builders::event;
use slipstream_test_support::{Receiver, Reply, eventually};
use slipstream_tests::api::{ByState, Reconciled, Totals};
use slipstream_tests::{LIMIT, Shape, System};

slipstream_tests::journeys![after_a_mixed_run_the_numbers_add_up_and_so_do_the_events];

/// The same numbers, counted from the events of all pages.
fn counted(reconciled: &Reconciled) -> HashMap<String, u64> {
    let mut counts = HashMap::new();
    let text = |value: &Value| value.as_str().expect("a state is a text").to_owned();
    for item in &reconciled.items {
        let deliveries = item["deliveries"].as_array().expect("deliveries are a list");
        let states: Vec<String> = match (deliveries.as_slice(), text(&item["state"]).as_str()) {
            ([], "routed") => vec!["unmatched".to_owned()],
            ([], "held") => vec!["waiting".to_owned()],
            ([], other) => vec![other.to_owned()],
            (some, _) => some.iter().map(|it| text(&it["state"])).collect(),
        };
        for state in states {
            *counts.entry(state).or_default() += 1;
        }
    }
    counts
}

async fn after_a_mixed_run_the_numbers_add_up_and_so_do_the_events(shape: Shape) {
    let since = clock::now();
    let system = System::start(shape).await;
    let receiver = Receiver::start().await;
    receiver.script_path("/missing", |_, _| Reply::status(404));
    receiver.script_path("/down", |_, _| Reply::status(500));
    receiver.script_path("/leaving", |_, _| Reply::status(503).header("retry-after", "3600"));
    receiver.script_path("/busy", |_, _| Reply::status(429).header("retry-after", "3600"));
    let updated = "communications.letter.status_updated";
    let account = system.external().await;
    account.subscribe(receiver.url("/well")).await;
    for path in ["/missing", "/down"] {
        system.external().await.subscribe(receiver.url(path)).await;
    }
    let leaving = system.external().await;
    for (account, path) in [(&leaving, "/leaving"), (&system.external().await, "/busy")] {
        account.put_webhook(json!({ "Uri": receiver.url(path), "EventTypes": [updated] })).await.expect(200);
    }

    let hour = clock::now().after(Duration::from_hours(1)).to_string();
    let held = || event().with("intendeddeliverytime", hour.clone());
    let cancelled = held();
    let letters = [event(), event(), event().kind(updated)];
    let expired = event().with("expirytime", "2020-01-01T00:00:00Z");
    for event in letters.iter().chain([&expired, &event().with("visibility", 0), &held(), &cancelled]) {
        account.publish(event).await;
    }
    let key = eventually(LIMIT, async || {
        account.scheduled(&[]).await.into_iter().find(|it| it.id == cancelled.text("id")).map(|it| it.key)
    })
    .await;
    account.cancel_scheduled(&key).await.expect(204);
    // Once it has been attempted, the subscription goes.
    let long = clock::now().after(Duration::from_mins(50));
    system.operator.recorded(2, |it| it.attempt_count == 1 && it.next_attempt_at > Some(long)).await;
    leaving.unsubscribe().await.expect(204);

    // What is made again is counted apart.
    let recorded = system.operator.recorded(3, |it| it.state == DeliveryState::Succeeded).await;
    let well = recorded.iter().find(|it| it.state == DeliveryState::Succeeded).expect("there are three");
    system.operator.replay_delivery(&well.id).await.expect(202);

    // To three receivers each: three letters and the expired one. One of the letters to two more. The three exhausted
    // deliveries are told of by an internal event each, which nobody matches (issue 3, "Health").
    let expected = Totals {
        events: 7 + 3,
        accepted: 3 * 3 + 2 + 3 + 1 + 1 + 1 + 3,
        succeeded: 3,
        failed: 3,
        exhausted: 3,
        expired: 3,
        cancelled: 1 + 1,
        waiting: 1 + 1,
        unmatched: 1 + 3,
        adds_up: true,
        replays: ByState { succeeded: 1, ..ByState::default() },
    };
    let reconciled = eventually(LIMIT, async || {
        let reconciled = system.operator.reconcile(since, clock::now().after(Duration::from_secs(1))).await;
        if reconciled.complete && reconciled.totals == expected { Ok(reconciled) } else { Err(reconciled.totals) }
    })
    .await;
    let sum =
        |it: &Totals| it.succeeded + it.failed + it.exhausted + it.expired + it.cancelled + it.waiting + it.unmatched;
    assert_eq!(sum(&reconciled.totals), reconciled.totals.accepted);
    assert_eq!(reconciled.items.len() as u64, expected.events);
    let counts = counted(&reconciled);
    let of = |states: &[&str]| states.iter().filter_map(|state| counts.get(*state)).sum::<u64>();
    assert_eq!(of(&["succeeded"]), expected.succeeded, "{counts:?}");
    assert_eq!(of(&["failed"]), expected.failed, "{counts:?}");
    assert_eq!(of(&["exhausted"]), expected.exhausted, "{counts:?}");
    assert_eq!(of(&["expired"]), expected.expired, "{counts:?}");
    assert_eq!(of(&["cancelled"]), expected.cancelled, "{counts:?}");
    assert_eq!(of(&["waiting", "scheduled", "retry_wait"]), expected.waiting, "{counts:?}");
    assert_eq!(of(&["unmatched"]), expected.unmatched, "{counts:?}");
    // Nothing of it was accepted before, or after.
    for (since, until) in [(Timestamp::from_millis(0), since), (clock::now(), clock::now().after(LIMIT))] {
        let empty = system.operator.reconcile(since, until).await;
        assert_eq!((empty.totals.events, empty.totals.accepted, empty.items.len()), (0, 0, 0));
    }
}
