//! One delivery again, and one event to one subscription.

mod crashing;
mod jobs;
mod unheard;

use reqwest::StatusCode;
use serde_json::{Value, json};
use slipstream_bus::{Outgoing, StreamName, subject};
use slipstream_core::contract::{Meta, RoutedEvent};
use slipstream_core::delivery::DeliveryState;
use slipstream_core::ids::{DeliveryId, SubscriptionId};
use slipstream_core::lane::{Lane, Visibility};
use slipstream_service::clock;

use crate::stage::{Stage, body, staged_on_both_backends};
use crate::world::{SOURCE, at, delivery_id, outcome, routed_event, site, subscription};

staged_on_both_backends!(
    a_delivery_that_has_ended_is_made_again,
    what_cannot_be_made_again_is_refused_and_the_answer_says_why,
    an_event_goes_to_a_subscription_that_was_made_later,
    an_event_does_not_go_where_it_must_not,
    the_bytes_that_are_sent_are_the_event_s_and_nobody_else_s,
    what_is_trimmed_is_replayed_out_of_the_dead_letters,
);

const LATER: SubscriptionId = SubscriptionId(uuid::Uuid::from_u128(77));

/// Accepted, routed, and ended in `state`; the record as `change` has it.
async fn ended(stage: &Stage, id: &str, state: DeliveryState, change: impl FnOnce(&mut RoutedEvent)) -> DeliveryId {
    let mut event = stage.accept(id, 0, |_| {}).await;
    change(&mut event);
    stage.routed(vec![event]).await;
    stage.outcomes(vec![outcome(id, 0, state, 1, 404)]).await;
    delivery_id(id, 0)
}

/// Takes away what `EVENTS` holds so far.
pub(crate) async fn trim(stage: &Stage) {
    let answer = stage.nats.client().await.request("$JS.API.STREAM.PURGE.EVENTS_0", "".into()).await.unwrap();
    let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
    assert_eq!(answer["success"], true, "{answer}");
}

async fn a_delivery_that_has_ended_is_made_again(mut stage: Stage) {
    stage.subscribe(subscription(1), |_| {}).await;
    let expires = clock::now().after(std::time::Duration::from_hours(1));
    let event = stage.accept("1", 0, |event| event.expires_at = Some(expires)).await;
    stage.routed(vec![event.clone()]).await;
    stage.outcomes(vec![outcome("1", 0, DeliveryState::Failed, 1, 404)]).await;
    let original = delivery_id("1", 0);
    let mut made = Vec::new();
    for _ in 0..2 {
        let (status, answer) = stage.post(&format!("/deliveries/{original}/replay"), None).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
        assert_eq!(answer["webhookId"], original.webhook_id());
        assert_eq!(answer["replayOf"], original.to_string());
        let message = stage.take(1).await.remove(0);
        assert_eq!(message.subject, subject::delivery(Lane::Normal, subscription(1), &event.key));
        assert_eq!(message.payload, body(&event));
        let meta = message.meta.unwrap();
        assert_eq!(answer["replay"], meta.replay.unwrap().to_string());
        assert_eq!((meta.attempt, meta.accepted_at, meta.expires_at), (1, at(0), Some(expires)));
        let id = DeliveryId::derive_replay(at(0), subscription(1), &event.key, meta.replay.unwrap());
        assert_eq!(answer["delivery"], id.to_string());
        let shown = stage.get_until(&format!("/deliveries/{id}"), |it| it["eventId"] == "1").await;
        assert_eq!((&shown["state"], &shown["replay"]), (&json!("scheduled"), &answer["replay"]));
        assert_eq!(shown["webhookId"], original.webhook_id());
        assert_eq!(shown["replayOf"], original.to_string());
        made.push(id);
    }
    assert_ne!(made[0], made[1], "each replay is one of its own");
    // The original is as it was, and a replay that ended can be made again too.
    let (_, shown) = stage.get(&format!("/deliveries/{original}")).await;
    assert_eq!((&shown["state"], &shown["replay"]), (&json!("failed"), &Value::Null));
    assert!(shown.get("replayOf").is_none());
    let (status, answer) = stage.post(&format!("/deliveries/{}/replay", made[0]), None).await;
    Stage::refused(&(status, answer), 409, "only one that has ended");
    stage.stop().await;
}

async fn what_cannot_be_made_again_is_refused_and_the_answer_says_why(mut stage: Stage) {
    stage.subscribe(subscription(1), |_| {}).await;
    let refused = async |stage: &Stage, id: DeliveryId, status: u16, words: &str| {
        Stage::refused(&stage.post(&format!("/deliveries/{id}/replay"), None).await, status, words);
    };
    refused(&stage, delivery_id("nobody", 0), 404, "no such delivery").await;
    for state in [DeliveryState::Scheduled, DeliveryState::RetryWait] {
        let id = ended(&stage, state.as_str(), state, |_| {}).await;
        refused(&stage, id, 409, "only one that has ended").await;
    }
    stage.outcomes(vec![outcome("no event", 0, DeliveryState::Failed, 1, 404)]).await;
    refused(&stage, delivery_id("no event", 0), 409, "event is not recorded").await;
    let id = ended(&stage, "no place", DeliveryState::Failed, |event| event.sequence = None).await;
    refused(&stage, id, 409, "where the event's data lies").await;
    let id = ended(&stage, "expired", DeliveryState::Failed, |event| event.expires_at = Some(at(1))).await;
    refused(&stage, id, 409, "expired at").await;
    let kept = ended(&stage, "kept", DeliveryState::Failed, |_| {}).await;
    trim(&stage).await;
    refused(&stage, kept, 409, "no longer kept").await;

    let event = stage.accept("2", 0, |_| {}).await;
    let mut gone = event.clone();
    gone.matched[0].subscription = LATER;
    gone.matched[0].delivery = DeliveryId::derive(at(0), LATER, &event.key);
    stage.routed(vec![gone.clone()]).await;
    // Removed, so its deliveries were cancelled.
    let cancelled = outcome("2", 0, DeliveryState::Cancelled, 1, 404);
    let cancelled = slipstream_core::contract::Outcome { delivery: gone.matched[0].delivery, ..cancelled };
    stage.outcomes_of(LATER, vec![cancelled]).await;
    refused(&stage, gone.matched[0].delivery, 409, "subscription does not exist").await;
    assert!(stage.take_rest().await.is_empty());
    stage.stop().await;
}

/// Asks for a delivery of event `id` to a subscription.
async fn send_to(stage: &Stage, id: &str, to: SubscriptionId) -> (StatusCode, Value) {
    let body = json!({ "site": site(), "source": SOURCE, "id": id, "subscription": to });
    stage.post("/events/replay", Some(body)).await
}

async fn an_event_goes_to_a_subscription_that_was_made_later(mut stage: Stage) {
    let event = stage.accept("1", 0, |event| event.lane = Lane::Normal).await;
    stage.routed(vec![event.clone()]).await;
    stage.subscribe(LATER, |it| it.event_types = vec!["communications.letter.status_updated".into()]).await;
    let own = DeliveryId::derive(at(0), LATER, &event.key);

    // It never had a delivery to it, so this is the event's own, however often it is asked for at once.
    let both = futures::future::join(send_to(&stage, "1", LATER), send_to(&stage, "1", LATER)).await;
    for (status, answer) in [both.0, both.1] {
        if status == StatusCode::CONFLICT {
            continue; // It was recorded by then.
        }
        assert_eq!((status, &answer["replay"]), (StatusCode::ACCEPTED, &Value::Null), "{answer}");
        assert_eq!((&answer["delivery"], &answer["webhookId"]), (&json!(own), &json!(own.webhook_id())));
        assert!(answer.get("replayOf").is_none());
    }
    let message = stage.take(1).await.remove(0);
    assert_eq!((message.payload, message.meta.unwrap().replay), (body(&event).into(), None));
    stage.get_until(&format!("/deliveries/{own}"), |it| it["state"] == "scheduled").await;
    assert!(stage.take_rest().await.is_empty(), "once");

    // It has one now, which has not ended.
    Stage::refused(&send_to(&stage, "1", LATER).await, 409, "own delivery to the subscription is scheduled");
    assert!(stage.take_rest().await.is_empty());
    let ended = outcome("1", 0, DeliveryState::Failed, 1, 404);
    stage.outcomes_of(LATER, vec![slipstream_core::contract::Outcome { delivery: own, ..ended }]).await;
    let (status, again) = send_to(&stage, "1", LATER).await;
    assert_eq!((status, &again["replayOf"]), (StatusCode::ACCEPTED, &json!(own)));
    assert_eq!(again["webhookId"], own.webhook_id());
    let replay = stage.take(1).await[0].meta.as_ref().unwrap().replay.unwrap();
    assert_eq!(again["replay"], replay.to_string());
    let path = format!("/explain?site={}&source={SOURCE}&id=1&subscription={LATER}", site());
    let told = stage.get_until(&path, |it| it["replays"].as_array().unwrap().len() == 1).await;
    assert_eq!((&told["verdict"], &told["replays"][0]["id"]), (&json!("waiting"), &again["delivery"]));
    stage.stop().await;
}

async fn an_event_does_not_go_where_it_must_not(mut stage: Stage) {
    stage.subscribe(subscription(1), |_| {}).await;
    let foreign = SubscriptionId(uuid::Uuid::from_u128(78));
    stage.subscribe(foreign, |it| it.site = "sUkLWZg".parse().unwrap()).await;
    let plain = stage.accept("plain", 0, |_| {}).await;
    let internal = stage.accept("internal", 0, |event| event.visibility = Visibility::Internal).await;
    let mut held = stage.accept("held", 0, |_| {}).await;
    (held.routed_at, held.intended_at) = (None, Some(at(60_000)));
    let mut cancelled = RoutedEvent { cancelled_at: Some(at(7)), ..stage.accept("cancelled", 0, |_| {}).await };
    cancelled.routed_at = None;
    let expired = RoutedEvent { expires_at: Some(at(7)), ..stage.accept("expired", 0, |_| {}).await };
    let mut events = vec![plain, internal, held, cancelled, expired];
    for event in &mut events {
        event.matched.clear();
    }
    stage.routed(events).await;
    for (id, to, status, words) in [
        ("nothing", subscription(1), 404, "no such event"),
        ("plain", LATER, 404, "no such subscription"),
        ("plain", foreign, 409, "of another site"),
        ("internal", subscription(1), 409, "visibility is internal"),
        ("held", subscription(1), 409, "is held"),
        ("cancelled", subscription(1), 409, "was cancelled"),
        ("expired", subscription(1), 409, "expired at"),
    ] {
        Stage::refused(&send_to(&stage, id, to).await, status, words);
    }
    for body in [
        json!({ "site": site(), "source": SOURCE, "id": "plain" }),
        json!({ "site": "x", "source": SOURCE, "id": "plain", "subscription": LATER }),
        json!({ "site": site(), "source": SOURCE, "id": "", "subscription": LATER }),
        json!({ "site": site(), "source": "a\0", "id": "plain", "subscription": LATER }),
        json!({ "site": site(), "source": SOURCE, "id": "plain", "subscription": LATER, "colour": "red" }),
    ] {
        assert_eq!(stage.post("/events/replay", Some(body)).await.0, StatusCode::BAD_REQUEST);
    }
    assert!(stage.take_rest().await.is_empty());
    stage.stop().await;
}

/// A record that leads to another event's place, as one does after the stream was made anew.
async fn the_bytes_that_are_sent_are_the_event_s_and_nobody_else_s(mut stage: Stage) {
    stage.subscribe(subscription(1), |_| {}).await;
    let other = stage.accept("other", 0, |_| {}).await;
    let id = ended(&stage, "1", DeliveryState::Failed, |event| event.sequence = other.sequence).await;
    Stage::refused(&stage.post(&format!("/deliveries/{id}/replay"), None).await, 409, "no longer kept");
    // The same event, accepted at another time: its content may be another too.
    let again = routed_event("other", 900);
    stage.routed(vec![RoutedEvent { sequence: other.sequence, ..again }]).await;
    stage.outcomes(vec![outcome("other", 900, DeliveryState::Failed, 1, 404)]).await;
    let id = delivery_id("other", 900);
    Stage::refused(&stage.post(&format!("/deliveries/{id}/replay"), None).await, 409, "no longer kept");
    assert!(stage.take_rest().await.is_empty());
    stage.stop().await;
}

/// As the dispatcher keeps an event that failed, when it is trimmed where it lay.
async fn what_is_trimmed_is_replayed_out_of_the_dead_letters(mut stage: Stage) {
    stage.subscribe(subscription(1), |_| {}).await;
    let event = stage.accept("1", 0, |_| {}).await;
    let other = stage.accept("2", 0, |_| {}).await;
    stage.routed(vec![event.clone(), other.clone()]).await;
    for id in ["1", "2"] {
        stage.outcomes(vec![outcome(id, 0, DeliveryState::Failed, 1, 404)]).await;
    }
    let dead_letters = stage.bus.publisher(StreamName::DeadLetters);
    // Of the other the one that is kept was accepted at another time.
    for (event, accepted) in [(&event, 0), (&other, 900)] {
        let letter = Outgoing::new(subject::dead(&site(), &event.key), body(event).into());
        dead_letters.publish(letter.meta(&Meta::new(site(), at(accepted)))).await.unwrap();
    }
    trim(&stage).await;
    let path = |id| format!("/deliveries/{}/replay", delivery_id(id, 0));
    let (status, answer) = stage.post(&path("1"), None).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    let message = stage.take(1).await.remove(0);
    assert_eq!(message.payload, body(&event));
    let meta = message.meta.unwrap();
    assert_eq!((meta.attempt, meta.accepted_at, meta.replay.is_some()), (1, at(0), true));
    Stage::refused(&stage.post(&path("2"), None).await, 409, "no longer kept");
    assert!(stage.take_rest().await.is_empty());

    // A job finds it as well.
    let id = jobs::job(&stage, json!({ "ratePerSecond": 1000 })).await;
    let done = jobs::finished(&stage, &id).await;
    assert_eq!(["matched", "published", "notKept"].map(|name| done[name].as_u64().unwrap()), [2, 1, 1], "{done}");
    assert_eq!(stage.take(1).await[0].payload, body(&event));
    stage.stop().await;
}
