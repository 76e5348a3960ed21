//! One call says why an event was, or was not, delivered to a subscription.

mod bridged;

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use slipstream_core::config::{Consent, DisabledReason, EndpointState};
use slipstream_core::contract::{Outcome, RoutedEvent, Skipped};
use slipstream_core::delivery::{DeliveryState, Reason};
use slipstream_core::ids::{DeliveryId, ReplayId, SubscriptionId};
use slipstream_core::matching::SkipReason;
use slipstream_service::clock;
use uuid::Uuid;

use crate::stage::{Stage, staged_on_both_backends};
use crate::world::{SOURCE, at, delivery_id, outcome, routed_event, site, subscription};

staged_on_both_backends!(
    a_delivered_event_is_told_with_its_attempts_and_replays,
    what_waits_says_for_what_and_until_when,
    what_did_not_match_says_why_also_after_the_subscription_is_gone,
    a_subscription_made_after_the_event_is_told_so,
    a_held_event_waits_for_its_time,
    what_is_not_known_is_said_to_be_so,
    a_question_that_is_not_understood_is_refused,
);

const CHECKS: [&str; 11] = [
    "accepted",
    "schedule",
    "visibility",
    "site",
    "type",
    "filter",
    "subscription",
    "consent",
    "expiry",
    "breaker_and_rate",
    "attempts",
];

fn question(id: &str, to: SubscriptionId) -> String {
    format!("/explain?site={}&source={SOURCE}&id={id}&subscription={to}", site())
}

/// What is told as soon as `wanted` holds of it; the checks are always all there, in their order.
async fn told(stage: &Stage, id: &str, to: SubscriptionId, wanted: impl Fn(&Value) -> bool) -> Value {
    let told = stage.get_until(&question(id, to), wanted).await;
    let names: Vec<_> = told["checks"].as_array().unwrap().iter().map(|check| check["name"].clone()).collect();
    assert_eq!(names, CHECKS, "{told}");
    told
}

fn check<'a>(told: &'a Value, name: &str) -> &'a Value {
    told["checks"].as_array().unwrap().iter().find(|check| check["name"] == name).unwrap()
}

#[track_caller]
fn says(told: &Value, verdict: &str, summary: &str, deciding: (&str, &str)) {
    assert_eq!(told["verdict"], verdict, "{told}");
    assert!(told["summary"].as_str().unwrap().contains(summary), "{told}");
    assert_eq!(check(told, deciding.0)["outcome"], deciding.1, "{told}");
}

async fn a_delivered_event_is_told_with_its_attempts_and_replays(stage: Stage) {
    stage.subscribe(subscription(1), |_| {}).await;
    stage.routed(vec![routed_event("1", 0)]).await;
    let retry = outcome("1", 0, DeliveryState::RetryWait, 1, 503);
    stage.outcomes(vec![retry, outcome("1", 0, DeliveryState::Succeeded, 2, 200)]).await;
    let answer = told(&stage, "1", subscription(1), |it| it["verdict"] == "delivered").await;
    says(&answer, "delivered", &format!("Delivered at {}", at(20)), ("attempts", "passed"));
    assert_eq!(answer["delivery"]["id"], delivery_id("1", 0).to_string());
    let statuses: Vec<_> =
        answer["delivery"]["attempts"].as_array().unwrap().iter().map(|attempt| attempt["status"].clone()).collect();
    assert_eq!((statuses, &answer["replays"]), (vec![json!(503), json!(200)], &json!([])));
    assert!(answer["checks"].as_array().unwrap().iter().all(|check| check["outcome"] == "passed"), "{answer}");

    // One that failed, and was delivered by the second of two replays.
    stage.routed(vec![routed_event("2", 0)]).await;
    stage.outcomes(vec![outcome("2", 0, DeliveryState::Failed, 1, 404)]).await;
    let key = routed_event("2", 0).key;
    let replayed = |number, state| {
        let replay = ReplayId(Uuid::from_u128(number));
        let delivery = DeliveryId::derive_replay(at(0), subscription(1), &key, replay);
        Outcome { delivery, replay: Some(replay), ..outcome("2", 0, state, 1, 200) }
    };
    stage.outcomes(vec![replayed(1, DeliveryState::Failed)]).await;
    let answer = told(&stage, "2", subscription(1), |it| it["replays"].as_array().unwrap().len() == 1).await;
    says(&answer, "not_delivered", "was answered with 404. That answer is final.", ("attempts", "failed"));
    stage.outcomes(vec![replayed(2, DeliveryState::Succeeded)]).await;
    let answer = told(&stage, "2", subscription(1), |it| it["replays"].as_array().unwrap().len() == 2).await;
    says(&answer, "delivered", "Delivered by a replay at", ("attempts", "failed"));
    let states: Vec<_> = answer["replays"].as_array().unwrap().iter().map(|it| it["state"].clone()).collect();
    assert_eq!(states, ["failed", "succeeded"], "in the order of their making");
    // Many later ones that failed do not hide it.
    stage.outcomes((3..=110).map(|number| replayed(number, DeliveryState::Failed)).collect()).await;
    let answer = told(&stage, "2", subscription(1), |it| it["replays"].as_array().unwrap().len() == 101).await;
    says(&answer, "delivered", "Delivered by a replay at", ("attempts", "failed"));
    stage.stop().await;
}

async fn what_waits_says_for_what_and_until_when(stage: Stage) {
    stage.subscribe(subscription(1), |_| {}).await;
    stage.routed(vec![routed_event("1", 0)]).await;
    let answer = told(&stage, "1", subscription(1), |it| it["verdict"] == "waiting").await;
    says(&answer, "waiting", "no attempt was made yet", ("attempts", "waiting"));
    let next = at(5010).to_string();
    for (number, reason, name, words) in [
        (2, None, "attempts", "was answered with 503"),
        (3, Some(Reason::BreakerOpen), "breaker_and_rate", "failed too often in a row"),
        (4, Some(Reason::RateLimited), "breaker_and_rate", "as many requests a minute"),
        (5, Some(Reason::Rescheduled), "attempts", "request moved it"),
    ] {
        let waits = outcome("1", 0, DeliveryState::RetryWait, number, 503);
        let attempt = waits.attempt.clone().filter(|_| reason.is_none());
        let waits = Outcome { reason, attempt, next_attempt_at: Some(at(5010)), ..waits };
        let expected = reason.map_or(Value::Null, |reason| reason.as_str().into());
        stage.outcomes(vec![waits]).await;
        let is_recorded = |it: &Value| it["delivery"]["reason"] == expected && it["delivery"]["attemptCount"] == 1;
        let answer = told(&stage, "1", subscription(1), is_recorded).await;
        says(&answer, "waiting", words, (name, "waiting"));
        assert!(answer["summary"].as_str().unwrap().contains(&next) && answer["nextAttemptAt"] == next, "{answer}");
    }
    // What stands in its way now, whatever was decided before.
    stage
        .subscribe(subscription(1), |it| {
            it.state = EndpointState::Disabled(DisabledReason::Operator);
            it.consent = Consent::NotGranted { origin: "slipstream.example".into() };
            it.revision = 2;
        })
        .await;
    let is_disabled = |it: &Value| check(it, "subscription")["outcome"] == "failed";
    let answer = told(&stage, "1", subscription(1), is_disabled).await;
    says(&answer, "waiting", "is disabled; the delivery will be cancelled", ("attempts", "not_reached"));
    stage.stop().await;
}

async fn what_did_not_match_says_why_also_after_the_subscription_is_gone(stage: Stage) {
    stage.subscribe(subscription(9), |_| {}).await;
    // As routed_event has it: subscription 9 asked for other types.
    stage.routed(vec![routed_event("1", 0)]).await;
    let answer = told(&stage, "1", subscription(9), |_| true).await;
    says(&answer, "not_delivered", "asked for other event types", ("filter", "failed"));
    assert_eq!(check(&answer, "subscription"), &json!({ "name": "subscription", "outcome": "not_reached" }));
    assert!(answer.get("delivery").is_none() && answer.get("nextAttemptAt").is_none(), "{answer}");
    // Nobody has ever heard of this one but the record.
    let skipped = vec![Skipped { subscription: subscription(8), reason: SkipReason::TypeNotInFeature }];
    stage.routed(vec![RoutedEvent { skipped, ..routed_event("2", 0) }]).await;
    let answer = told(&stage, "2", subscription(8), |_| true).await;
    says(&answer, "not_delivered", "feature has no event type", ("type", "failed"));
    stage.stop().await;
}

async fn a_subscription_made_after_the_event_is_told_so(stage: Stage) {
    let event = RoutedEvent { matched: Vec::new(), skipped: Vec::new(), ..routed_event("1", 0) };
    stage.routed(vec![event]).await;
    let made = SubscriptionId(clock::new_uuid());
    stage.subscribe(made, |_| {}).await;
    let answer = told(&stage, "1", made, |_| true).await;
    says(&answer, "not_delivered", "after the event was routed", ("subscription", "failed"));
    assert_eq!(check(&answer, "filter")["outcome"], "passed", "it would match now");
    // One that is old enough, and of another site.
    let foreign = subscription(5);
    stage.subscribe(foreign, |it| it.site = "sUkLWZg".parse().unwrap()).await;
    let answer = told(&stage, "1", foreign, |_| true).await;
    says(&answer, "not_delivered", "is of site sUkLWZg", ("site", "failed"));
    stage.stop().await;
}

async fn a_held_event_waits_for_its_time(stage: Stage) {
    stage.subscribe(subscription(1), |_| {}).await;
    let intended = clock::now().after(Duration::from_hours(1));
    let held = RoutedEvent {
        routed_at: None,
        intended_at: Some(intended),
        matched: Vec::new(),
        skipped: Vec::new(),
        ..routed_event("1", 0)
    };
    stage.routed(vec![held.clone()]).await;
    let answer = told(&stage, "1", subscription(1), |_| true).await;
    says(&answer, "waiting", &format!("is held until {intended}"), ("schedule", "waiting"));
    assert_eq!(answer["nextAttemptAt"], intended.to_string());
    stage.routed(vec![RoutedEvent { cancelled_at: Some(at(9)), ..held }]).await;
    let answer = told(&stage, "1", subscription(1), |it| it["verdict"] == "not_delivered").await;
    says(&answer, "not_delivered", "was cancelled", ("schedule", "failed"));
    assert!(answer.get("nextAttemptAt").is_none());
    stage.stop().await;
}

async fn what_is_not_known_is_said_to_be_so(stage: Stage) {
    stage.subscribe(subscription(1), |_| {}).await;
    let answer = told(&stage, "nothing", subscription(1), |_| true).await;
    says(&answer, "unknown", "no such event is recorded", ("accepted", "failed"));
    // The event is known and the subscription is not, now; whether it was then, nothing says.
    stage.routed(vec![RoutedEvent { matched: Vec::new(), ..routed_event("1", 0) }]).await;
    let answer = told(&stage, "1", subscription(7), |_| true).await;
    says(&answer, "not_delivered", "no such subscription now", ("subscription", "failed"));
    for name in ["site", "type", "filter"] {
        assert_eq!(check(&answer, name)["outcome"], "not_reached", "{answer}");
    }
    let answer = told(&stage, "1", subscription(1), |_| true).await;
    says(&answer, "unknown", "is not recorded", ("attempts", "not_reached"));
    let neither = stage.get(&question("nothing", subscription(7))).await;
    Stage::refused(&neither, 404, "neither such an event nor such a subscription");
    stage.stop().await;
}

async fn a_question_that_is_not_understood_is_refused(stage: Stage) {
    let (site, to) = (site(), subscription(1));
    for (query, name) in [
        (format!("source=a&id=1&subscription={to}"), "site"),
        (format!("site={site}&id=1&subscription={to}"), "source"),
        (format!("site={site}&source=a&subscription={to}"), "id"),
        (format!("site={site}&source=a&id=1"), "subscription"),
        (format!("site=x&source=a&id=1&subscription={to}"), "site"),
        (format!("site={site}&source=&id=1&subscription={to}"), "source"),
        (format!("site={site}&source=a&id=%00&subscription={to}"), "id"),
        (format!("site={site}&source=a&id=1&subscription=7"), "subscription"),
        (format!("site={site}&source=a&id=1&id=2&subscription={to}"), "id"),
        (format!("site={site}&source=a&id=1&subscription={to}&colour=red"), "colour"),
    ] {
        let (status, problem) = stage.get(&format!("/explain?{query}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
        assert!(problem["detail"].as_str().unwrap().contains(&format!("`{name}`")), "{query}: {problem}");
    }
    stage.stop().await;
}
