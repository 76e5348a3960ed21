//! What an operator does to one delivery that waits: move it, hurry it, cancel it.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::json;
use slipstream_bus::{Outgoing, subject};
use slipstream_core::contract::{Meta, Outcome};
use slipstream_core::delivery::{DeliveryState, Reason};
use slipstream_core::ids::{DeliveryId, EventKey, ReplayId};
use slipstream_core::lane::Lane;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::clock;
use slipstream_test_support::eventually;
use uuid::Uuid;

use crate::stage::{Stage, staged_on_both_backends};
use crate::world::{SOON, SOURCE, at, delivery_id, outcome, routed_event, site, subscription};

staged_on_both_backends!(
    nobody_but_the_operator_acts,
    a_waiting_delivery_is_moved_and_the_record_says_so,
    a_time_that_has_passed_means_at_once,
    a_waiting_delivery_is_hurried,
    a_waiting_delivery_is_cancelled_and_comes_back_as_such,
    a_waiting_replay_is_not_mistaken_for_the_delivery_it_repeats,
    what_does_not_wait_is_refused_and_the_answer_says_why,
    bodies_that_are_not_understood_change_nothing,
);

/// The delivery of event `id`, or a replay of it.
fn delivery_of(id: &str, replay: Option<ReplayId>) -> DeliveryId {
    let key = EventKey::new(&site(), SOURCE, id);
    let own = delivery_id(id, 0);
    replay.map_or(own, |replay| DeliveryId::derive_replay(at(0), subscription(1), &key, replay))
}

/// A delivery of event `id` that waits for its second attempt at `due`: on the bus, and in the record.
async fn waits(stage: &Stage, id: &str, due: Timestamp, replay: Option<ReplayId>) -> DeliveryId {
    let key = EventKey::new(&site(), SOURCE, id);
    let meta = Meta { attempt: 2, replay, ..Meta::new(site(), at(0)) };
    let target = subject::delivery(Lane::Normal, subscription(1), &key);
    let delivery = delivery_of(id, replay);
    let waiting = Outgoing::new(subject::waiting(subscription(1), &key, delivery), id.to_owned().into()).meta(&meta);
    stage.work.publish(waiting.at(due, &target, clock::now())).await.unwrap();
    let retry = outcome(id, 0, DeliveryState::RetryWait, 1, 503);
    stage.outcomes(vec![Outcome { delivery, replay, next_attempt_at: Some(due), ..retry }]).await;
    delivery
}

fn in_an_hour() -> Timestamp {
    clock::now().after(Duration::from_hours(1))
}

/// When the delivery is due, as the bus has it.
async fn due(stage: &Stage, id: &str, replay: Option<ReplayId>) -> Option<Timestamp> {
    let key = EventKey::new(&site(), SOURCE, id);
    let waiting = stage.bus.schedules().waiting(subscription(1), &key, delivery_of(id, replay)).await.unwrap();
    waiting.map(|waiting| waiting.due_at)
}

async fn nobody_but_the_operator_acts(stage: Stage) {
    let id = delivery_id("1", 0);
    for (method, path) in [
        (Method::PATCH, format!("/deliveries/{id}")),
        (Method::DELETE, format!("/deliveries/{id}")),
        (Method::POST, format!("/deliveries/{id}/deliver-now")),
        (Method::POST, format!("/deliveries/{id}/replay")),
        (Method::POST, "/deliveries/replay".into()),
        (Method::POST, "/events/replay".into()),
        (Method::GET, "/replays".into()),
        (Method::GET, format!("/replays/{id}")),
        (Method::POST, format!("/replays/{id}/pause")),
        (Method::POST, format!("/replays/{id}/resume")),
        (Method::POST, format!("/replays/{id}/cancel")),
        (Method::GET, "/explain".into()),
    ] {
        for token in [None, Some("operator-token-for-nobody")] {
            let (status, _) = stage.send_as(method.clone(), &path, None, token).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {path} {token:?}");
        }
    }
    stage.stop().await;
}

async fn a_waiting_delivery_is_moved_and_the_record_says_so(mut stage: Stage) {
    let id = waits(&stage, "1", in_an_hour(), None).await;
    let later = in_an_hour().after(Duration::from_hours(1));
    let body = json!({ "nextAttemptAt": later });
    let (status, moved) = stage.send(Method::PATCH, &format!("/deliveries/{id}"), Some(body)).await;
    assert_eq!(status, StatusCode::OK, "{moved}");
    let says = |it: &serde_json::Value| {
        (it["state"] == "retry_wait" && it["reason"] == "rescheduled") && it["nextAttemptAt"] == later.to_string()
    };
    assert!(says(&moved), "{moved}");
    assert_eq!(due(&stage, "1", None).await, Some(later));
    // By its webhook id too.
    let recorded = stage.get_until(&format!("/deliveries/{}", id.webhook_id()), says).await;
    assert_eq!(recorded["attemptCount"], 1);
    assert!(stage.take_rest().await.is_empty(), "it still waits");
    stage.stop().await;
}

async fn a_time_that_has_passed_means_at_once(mut stage: Stage) {
    let id = waits(&stage, "1", in_an_hour(), None).await;
    let before = clock::now();
    let body = json!({ "nextAttemptAt": "2020-01-01T00:00:00Z" });
    let (status, moved) = stage.send(Method::PATCH, &format!("/deliveries/{id}"), Some(body)).await;
    assert_eq!(status, StatusCode::OK, "{moved}");
    let next: Timestamp = moved["nextAttemptAt"].as_str().unwrap().parse().unwrap();
    assert!(next >= before, "{next} is not shown as a time to come");
    assert_eq!(stage.take(1).await[0].payload, "1");
    stage.stop().await;
}

async fn a_waiting_delivery_is_hurried(mut stage: Stage) {
    let id = waits(&stage, "1", in_an_hour(), None).await;
    let path = format!("/deliveries/{id}/deliver-now");
    let (status, hurried) = stage.post(&path, None).await;
    assert_eq!((status, &hurried["reason"]), (StatusCode::ACCEPTED, &json!("rescheduled")));
    let message = stage.take(1).await.remove(0);
    let meta = message.meta.unwrap();
    // As it was: the same attempt, with the same bytes.
    assert_eq!((&message.payload[..], meta.attempt, meta.cancelled_at), (&b"1"[..], 2, None));
    Stage::refused(&stage.post(&path, None).await, 409, "is not waiting now");
    stage.stop().await;
}

async fn a_waiting_delivery_is_cancelled_and_comes_back_as_such(mut stage: Stage) {
    let id = waits(&stage, "1", in_an_hour(), None).await;
    let (status, _) = stage.send(Method::DELETE, &format!("/deliveries/{id}"), None).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    // The dispatcher ends it; whoever else takes it up sees that too.
    assert!(stage.take(1).await[0].meta.as_ref().unwrap().cancelled_at.is_some());
    let ended = outcome("1", 0, DeliveryState::Cancelled, 2, 0);
    let reason = Some(Reason::CancelledByRequest);
    stage.outcomes(vec![Outcome { reason, attempt: None, ..ended }]).await;
    Stage::refused(&stage.send(Method::DELETE, &format!("/deliveries/{id}"), None).await, 409, "it is cancelled");
    stage.stop().await;
}

async fn a_waiting_replay_is_not_mistaken_for_the_delivery_it_repeats(mut stage: Stage) {
    let replay = Some(ReplayId(Uuid::from_u128(7)));
    let far = in_an_hour();
    let own = waits(&stage, "1", far, None).await;
    let replayed = waits(&stage, "1", far, replay).await;
    assert_ne!(own, replayed);
    let (status, view) = stage.post(&format!("/deliveries/{replayed}/deliver-now"), None).await;
    assert_eq!((status, &view["webhookId"]), (StatusCode::ACCEPTED, &json!(own.webhook_id())));
    assert_eq!(stage.take(1).await[0].meta.as_ref().unwrap().replay, replay);
    assert_eq!((due(&stage, "1", None).await, due(&stage, "1", replay).await), (Some(far), None));
    let hurried = |it: &serde_json::Value| it["reason"] == "rescheduled" && it["replay"] != json!(null);
    stage.get_until(&format!("/deliveries/{replayed}"), hurried).await;
    stage.stop().await;
}

async fn what_does_not_wait_is_refused_and_the_answer_says_why(mut stage: Stage) {
    let later = || Some(json!({ "nextAttemptAt": in_an_hour() }));
    let all = async |stage: &Stage, id: DeliveryId, status: u16, words: &str| {
        let path = format!("/deliveries/{id}");
        Stage::refused(&stage.send(Method::PATCH, &path, later()).await, status, words);
        Stage::refused(&stage.send(Method::DELETE, &path, None).await, status, words);
        Stage::refused(&stage.post(&format!("{path}/deliver-now"), None).await, status, words);
    };
    all(&stage, delivery_id("nobody", 0), 404, "no such delivery").await;
    for (number, state) in (0_i64..).zip(DeliveryState::ALL) {
        let id = number.to_string();
        stage.routed(vec![routed_event(&id, number)]).await;
        stage.outcomes(vec![outcome(&id, number, state, 1, 500)]).await;
        // Recorded as waiting, and not on the bus: somebody has it in hand.
        let words = if state.is_terminal() { "has ended" } else { "is not waiting now" };
        all(&stage, delivery_id(&id, number), 409, words).await;
    }
    // The same event, accepted twice long apart: what waits is the other one.
    waits(&stage, "twice", in_an_hour(), None).await;
    stage.outcomes(vec![outcome("twice", 900, DeliveryState::RetryWait, 1, 503)]).await;
    all(&stage, delivery_id("twice", 900), 409, "is not waiting now").await;
    // Too close to its time.
    let soon = waits(&stage, "soon", clock::now().after(Duration::from_millis(600)), None).await;
    eventually(SOON, async || {
        let (status, problem) = stage.send(Method::DELETE, &format!("/deliveries/{soon}"), None).await;
        let detail = problem["detail"].as_str().unwrap_or_default().to_owned();
        assert_eq!(status, StatusCode::CONFLICT, "it must not be cancelled so late: {detail}");
        // Either way somebody is told; which of the two depends on how far the bus is.
        (detail.contains("too late") || detail.contains("is not waiting now")).then_some(()).ok_or(detail)
    })
    .await;
    let fired = stage.take(1).await.remove(0);
    assert_eq!((&fired.payload[..], fired.meta.unwrap().cancelled_at), (&b"soon"[..], None));
    stage.stop().await;
}

async fn bodies_that_are_not_understood_change_nothing(stage: Stage) {
    let far = in_an_hour();
    let id = waits(&stage, "1", far, None).await;
    let path = format!("/deliveries/{id}");
    for body in [
        json!({}),
        json!({ "nextAttemptAt": "soon" }),
        json!({ "nextAttemptAt": 5 }),
        json!({ "nextAttemptAt": in_an_hour(), "reason": "x" }),
        json!([in_an_hour()]),
        json!("x".repeat(20_000)),
    ] {
        let (status, problem) = stage.send(Method::PATCH, &path, Some(body.clone())).await;
        let expected = if body.is_string() { StatusCode::PAYLOAD_TOO_LARGE } else { StatusCode::BAD_REQUEST };
        assert_eq!(status, expected, "{problem}");
    }
    assert_eq!(stage.send(Method::PATCH, &path, None).await.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(stage.send(Method::PATCH, "/deliveries/7", None).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(due(&stage, "1", None).await, Some(far));
    stage.stop().await;
}
