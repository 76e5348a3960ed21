//! The operator's questions and what they are answered.

use reqwest::StatusCode;
use serde_json::{Value, json};
use slipstream_core::config::Subscription;
use slipstream_core::contract::RoutedEvent;
use slipstream_core::delivery::DeliveryState;
use slipstream_core::lane::Visibility;
use slipstream_core::timestamp::Timestamp;
use slipstream_test_support::{builders, secrets};

use crate::on_both_backends;
use crate::world::{World, at, delivery_id, outcome, routed_event, site, subscription};

on_both_backends!(
    nobody_but_the_operator_is_answered,
    bad_parameters_are_named,
    a_delivery_is_told_with_all_its_attempts,
    pages_hold_everything_once_while_more_arrives,
    dead_letters_are_those_that_failed_or_ran_out,
    an_event_explains_who_receives_it_and_who_does_not,
    a_held_event_says_until_when,
    filters_of_the_list_hold,
    an_endpoint_is_told_what_its_deliveries_amount_to,
);

async fn recorded(world: &World, events: Vec<RoutedEvent>) {
    let last = events.last().unwrap().id.clone();
    world.publish_routed(events).await;
    world.get_until(&format!("/deliveries?eventId={last}"), |page| !page["items"].as_array().unwrap().is_empty()).await;
}

async fn nobody_but_the_operator_is_answered(world: World) {
    let id = delivery_id("1", 0);
    let statistics = format!("/endpoints/{}/statistics", subscription(1).0);
    for path in ["/deliveries", "/dead-letters", "/events/s8n6EzC/a/1", &format!("/deliveries/{id}"), &statistics] {
        for token in [None, Some("operator-token-for-nobody"), Some("")] {
            let (status, problem) = world.request(path, token).await;
            assert_eq!((status, &problem["status"]), (StatusCode::UNAUTHORIZED, &401.into()), "{path} {token:?}");
        }
    }
    world.stop().await;
}

async fn bad_parameters_are_named(world: World) {
    for (query, name) in [
        ("state=done", "state"),
        ("limit=101", "limit"),
        ("cursor=x", "cursor"),
        ("since=now", "since"),
        ("site=%00", "site"),
        ("eventId=%00", "eventId"),
        ("surface=mail", "surface"),
        ("event=1", "event"),
        ("colour=red", "colour"),
    ] {
        let (status, problem) = world.get(&format!("/deliveries?{query}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(&format!("`{name}`")), "{query}: {detail}");
    }
    assert_eq!(world.get("/dead-letters?state=succeeded").await.0, StatusCode::BAD_REQUEST);
    assert_eq!(world.get("/deliveries/7").await.0, StatusCode::BAD_REQUEST);
    assert_eq!(world.get(&format!("/deliveries/{}", delivery_id("no", 0))).await.0, StatusCode::NOT_FOUND);
    assert_eq!(world.get("/events/s8n6EzC/1").await.0, StatusCode::BAD_REQUEST);
    assert_eq!(world.get("/events/x/a/1").await.0, StatusCode::BAD_REQUEST);
    assert_eq!(world.get("/events/s8n6EzC/a/1?b").await.0, StatusCode::BAD_REQUEST);
    assert_eq!(world.get("/events/s8n6EzC/a/1").await.0, StatusCode::NOT_FOUND);
    world.stop().await;
}

async fn a_delivery_is_told_with_all_its_attempts(world: World) {
    let mut bytes = outcome("1", 0, DeliveryState::RetryWait, 1, 503);
    bytes.attempt.as_mut().unwrap().response = Some("/w==".into());
    world.publish_routed(vec![routed_event("1", 0)]).await;
    world.publish_outcomes(vec![bytes, outcome("1", 0, DeliveryState::Succeeded, 2, 200)]).await;
    let id = delivery_id("1", 0);
    let path = format!("/deliveries/{id}");
    let by_id = world.get_until(&path, |it| it["attemptCount"] == 2 && it["type"] != Value::Null).await;
    let (status, by_webhook_id) = world.get(&format!("/deliveries/{}", id.webhook_id())).await;
    assert_eq!((status, &by_webhook_id), (StatusCode::OK, &by_id));
    let expected = serde_json::json!({
        "id": id.to_string(),
        "webhookId": id.webhook_id(),
        "site": "s8n6EzC",
        "eventKey": routed_event("1", 0).key.to_string(),
        "source": "https://post.example/letters",
        "eventId": "1",
        "type": "communications.letter.created",
        "subscription": subscription(1).to_string(),
        "surface": "slipstream",
        "lane": "normal",
        "state": "succeeded",
        "attemptCount": 2,
        "createdAt": at(0).to_string(),
        "updatedAt": at(20).to_string(),
        "attempts": [
            {"number": 1, "startedAt": at(8).to_string(), "durationUs": 1900, "status": 503, "responseBase64": "/w=="},
            {"number": 2, "startedAt": at(18).to_string(), "durationUs": 1900, "status": 200, "response": "ok"},
        ],
    });
    assert_eq!(by_id, expected);
    world.stop().await;
}

async fn pages_hold_everything_once_while_more_arrives(world: World) {
    let events =
        |range: std::ops::Range<i64>| range.map(|number| routed_event(&number.to_string(), number / 4)).collect();
    recorded(&world, events(0..40)).await;
    let mut expected: Vec<_> = (0..40).map(|number: i64| delivery_id(&number.to_string(), number / 4)).collect();
    expected.sort_unstable_by(|a, b| b.cmp(a));
    let expected: Vec<_> = expected.iter().map(ToString::to_string).collect();
    let (_, first) = world.get("/deliveries?limit=7").await;
    recorded(&world, events(40..60)).await;
    let mut ids: Vec<_> = first["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect();
    let mut next = first["next"].clone();
    let mut later = Vec::new();
    while let Some(cursor) = next.as_str() {
        let (status, page) = world.get(&format!("/deliveries?limit=7&cursor={cursor}")).await;
        assert_eq!(status, StatusCode::OK);
        later.push(page.clone());
        next = page["next"].clone();
    }
    for page in &later {
        ids.extend(page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()));
    }
    assert_eq!(ids, expected);
    world.stop().await;
}

async fn dead_letters_are_those_that_failed_or_ran_out(world: World) {
    recorded(&world, (0..7).map(|number| routed_event(&number.to_string(), number)).collect()).await;
    let outcomes = DeliveryState::ALL.into_iter().zip(0_i64..);
    world
        .publish_outcomes(outcomes.map(|(state, number)| outcome(&number.to_string(), number, state, 1, 500)).collect())
        .await;
    let page = world.get_until("/dead-letters", |page| page["items"].as_array().unwrap().len() == 2).await;
    let states: Vec<_> = page["items"].as_array().unwrap().iter().map(|item| item["state"].as_str().unwrap()).collect();
    // Newest first: exhausted is number 4, failed number 3.
    assert_eq!(states, ["exhausted", "failed"]);
    assert_eq!(world.pages("/dead-letters?limit=1").await.len(), 2);
    assert_eq!(world.pages("/dead-letters?state=failed").await, [delivery_id("3", 3).to_string()]);
    world.stop().await;
}

async fn an_event_explains_who_receives_it_and_who_does_not(world: World) {
    world.publish_routed(vec![routed_event("A/1 é", 0)]).await;
    world.publish_outcomes(vec![outcome("A/1 é", 0, DeliveryState::RetryWait, 1, 503)]).await;
    let encoded = "/events/s8n6EzC/https%3A%2F%2Fpost.example%2Fletters/A%2F1%20%C3%A9";
    let event = world.get_until(encoded, |event| event["matched"][0]["state"] == "retry_wait").await;
    assert_eq!(event["state"], "routed");
    assert_eq!((&event["source"], &event["id"]), (&"https://post.example/letters".into(), &"A/1 é".into()));
    assert_eq!(event["summary"], "The event goes to 1 subscription, and not to 1 of its site.");
    let matched = &event["matched"][0];
    assert_eq!((&matched["attemptCount"], &matched["nextAttemptAt"]), (&1.into(), &at(5010).to_string().into()));
    let not_matched = &event["notMatched"][0];
    assert_eq!(not_matched["subscription"], subscription(9).to_string());
    assert_eq!(not_matched["reason"], "type_not_subscribed");
    let explanation = "The subscriber asked for other event types than communications.letter.created.";
    assert_eq!(not_matched["explanation"], explanation);
    let raw = world.get("/events/s8n6EzC/https://post.example/letters/A%2F1%20%C3%A9").await;
    assert_eq!(raw, (StatusCode::OK, event));
    assert_eq!(world.get("/events/sUkLWZg/https://post.example/letters/A%2F1%20%C3%A9").await.0, StatusCode::NOT_FOUND);

    let nobody = RoutedEvent { visibility: Visibility::Internal, matched: Vec::new(), ..routed_event("internal", 0) };
    let alone = RoutedEvent { matched: Vec::new(), skipped: Vec::new(), ..routed_event("alone", 0) };
    world.publish_routed(vec![nobody, alone]).await;
    let event = world.get_until("/events/s8n6EzC/https://post.example/letters/internal", |_| true).await;
    assert_eq!(event["summary"], "Nobody receives the event: none of 1 subscription matched.");
    let event = world.get_until("/events/s8n6EzC/https://post.example/letters/alone", |_| true).await;
    assert_eq!(event["summary"], "Nobody receives the event: its site had no subscription.");
    world.stop().await;
}

async fn a_held_event_says_until_when(world: World) {
    let routed = RoutedEvent { intended_at: Some(at(60_000)), ..routed_event("1", 0) };
    let held = RoutedEvent { routed_at: None, matched: Vec::new(), skipped: Vec::new(), ..routed.clone() };
    world.publish_routed(vec![held]).await;
    let path = "/events/s8n6EzC/https://post.example/letters/1";
    let event = world.get_until(path, |_| true).await;
    assert_eq!((&event["state"], &event["intendedAt"]), (&"held".into(), &at(60_000).to_string().into()));
    assert!(event["summary"].as_str().unwrap().contains(&at(60_000).to_string()));
    world.publish_routed(vec![routed]).await;
    let event = world.get_until(path, |event| event["state"] == "routed").await;
    assert_eq!(event["matched"].as_array().unwrap().len(), 1);
    world.stop().await;
}

async fn filters_of_the_list_hold(world: World) {
    let other = RoutedEvent { event_type: "communications.letter.status_updated".into(), ..routed_event("2", 1000) };
    recorded(&world, vec![routed_event("1", 0), other, routed_event("3", 2000)]).await;
    let of = |id: &str, accepted| delivery_id(id, accepted).to_string();
    let cases = [
        (format!("site={}", site()), vec![of("3", 2000), of("2", 1000), of("1", 0)]),
        ("site=sUkLWZg".into(), vec![]),
        (format!("subscription={}", subscription(1)), vec![of("3", 2000), of("2", 1000), of("1", 0)]),
        (format!("subscription={}", subscription(2)), vec![]),
        ("type=communications.letter.status_updated".into(), vec![of("2", 1000)]),
        ("eventId=3".into(), vec![of("3", 2000)]),
        (format!("event={}", routed_event("2", 0).key), vec![of("2", 1000)]),
        (format!("event={}&surface=slipstream", routed_event("9", 0).key), vec![]),
        ("surface=slipstream".into(), vec![of("3", 2000), of("2", 1000), of("1", 0)]),
        (format!("since={}", at(1000)), vec![of("3", 2000), of("2", 1000)]),
        (format!("until={}", at(1000)), vec![of("1", 0)]),
        ("state=scheduled".into(), vec![of("3", 2000), of("2", 1000), of("1", 0)]),
        ("state=succeeded".into(), vec![]),
        (format!("state=scheduled,failed&eventId=1&site={}", site()), vec![of("1", 0)]),
    ];
    for (query, expected) in cases {
        assert_eq!(world.pages(&format!("/deliveries?{query}")).await, expected, "{query}");
    }
    world.stop().await;
}

async fn an_endpoint_is_told_what_its_deliveries_amount_to(world: World) {
    let path = format!("/endpoints/{}/statistics", subscription(1));
    assert_eq!(world.get(&path).await.0, StatusCode::NOT_FOUND, "nobody knows it");
    let of_site = builders::subscription(site().as_str(), world.account.account.id, "http://receiver.example/");
    let record = Subscription { id: subscription(1), ..of_site };
    world.bus.config_bucket().await.unwrap().put(&secrets::records(&record)[1]).await.unwrap();
    let of_it = |from: &str, to: &str| format!("{path}?since=2026-03-02T{from}Z&until=2026-03-02T{to}Z");
    let new = world.get_until(&of_it("08:30:00", "10:00:01"), |_| true).await;
    assert_eq!(
        (&new["since"], &new["until"]),
        (&json!("2026-03-02T08:00:00.000Z"), &json!("2026-03-02T11:00:00.000Z"))
    );
    assert_eq!((&new["deliveries"]["total"], &new["lastSuccessAt"]), (&json!(0), &Value::Null));
    assert_eq!(new["attempts"], json!({"total": 0, "succeeded": 0, "failed": 0, "meanDurationUs": null}));

    // 09:30, and two hours later.
    let later = 2 * 3_600_000;
    let events = ["1", "2", "3"].map(|id| routed_event(id, 0)).into_iter().chain([routed_event("4", later)]);
    recorded(&world, events.collect()).await;
    let (failed, succeeded) = (DeliveryState::Failed, DeliveryState::Succeeded);
    for _ in 0..2 {
        let tried = outcome("1", 0, DeliveryState::RetryWait, 1, 503);
        world.publish_outcomes(vec![tried, outcome("1", 0, succeeded, 2, 200), outcome("2", 0, failed, 1, 404)]).await;
    }
    let hour = world.get_until(&of_it("09:00:00", "10:00:00"), |it| it["attempts"]["total"] == 3).await;
    let by_state = json!({
        "total": 3, "waiting": 1, "succeeded": 1, "failed": 1, "exhausted": 0, "expired": 0, "cancelled": 0
    });
    let last = |at: Timestamp| Timestamp::from_millis(at.as_millis() - 1);
    let expected = json!({
        "id": subscription(1), "since": "2026-03-02T09:00:00.000Z", "until": "2026-03-02T10:00:00.000Z",
        "deliveries": by_state, "waiting": 2,
        "attempts": {"total": 3, "succeeded": 1, "failed": 2, "meanDurationUs": 1900},
        "lastSuccessAt": last(at(20)), "lastFailureAt": last(at(10)),
    });
    assert_eq!(hour, expected);
    let (_, day) = world.get(&of_it("00:00:00", "23:59:59")).await;
    assert_eq!((&day["deliveries"]["total"], &day["deliveries"]["waiting"]), (&json!(4), &json!(2)));
    for (query, name) in [("since=now", "since"), ("limit=1", "limit"), ("until=2026-03-02", "until")] {
        let (status, problem) = world.get(&format!("{path}?{query}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
        assert!(problem["detail"].as_str().unwrap().contains(&format!("`{name}`")), "{problem}");
    }
    assert_eq!(world.get("/endpoints/7/statistics").await.0, StatusCode::NOT_FOUND);
    world.stop().await;
}
