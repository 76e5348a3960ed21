//! The same of subscriptions of the ECG surface, which get events by way of the bridge.

use serde_json::Value;
use slipstream_core::config::{EcgEvent, EcgSubscription, Flags, Record, Site, Stamps, Surface};
use slipstream_core::contract::{Matched, Outcome, RoutedEvent};
use slipstream_core::delivery::{DeliveryState, Reason};
use slipstream_core::ids::EcgEventId;
use slipstream_core::lane::Visibility;
use slipstream_test_support::builders;
use slipstream_test_support::builders::ecg::{CODE, category, event};
use slipstream_test_support::secrets::ecg_records;
use uuid::Uuid;

use super::{check, says, told};
use crate::stage::{Stage, staged_on_both_backends};
use crate::world::{at, delivery_id, outcome, routed_event, site, subscription};

staged_on_both_backends!(
    an_event_that_was_not_bridged_says_why,
    what_was_switched_on_after_the_event_is_told_so,
    a_bridged_event_is_told_with_its_state_and_what_it_waits_for,
);

const ORGANIZATION: Uuid = Uuid::from_u128(0xa1);

fn ecg_subscription() -> EcgSubscription {
    let made = builders::ecg::subscription(ORGANIZATION, "https://receiver.example/ecg");
    EcgSubscription { id: subscription(1), ..made }
}

/// An event of this type that nobody received.
fn event_of(id: &str, event_type: &str) -> RoutedEvent {
    let event = routed_event(id, 0);
    RoutedEvent { event_type: event_type.into(), matched: Vec::new(), skipped: Vec::new(), ..event }
}

async fn put(stage: &Stage, records: impl IntoIterator<Item = Record>) {
    let bucket = stage.bus.config_bucket().await.unwrap();
    for record in records {
        bucket.put(&record).await.unwrap();
    }
}

/// Links [`site`], with this revision.
async fn link(stage: &Stage, organization: Option<Uuid>, revision: i64) {
    let site = Site { ecg_organization: organization, revision, ..builders::site(site().as_str()) };
    put(stage, [Record::Site(site)]).await;
}

/// What there is: a category, an event, and [`subscription`] 1 to it; the site is linked.
async fn configure(stage: &Stage) {
    put(stage, [Record::EcgCategory(category()), Record::EcgEvent(event())]).await;
    put(stage, ecg_records(&ecg_subscription())).await;
    link(stage, Some(ORGANIZATION), 1).await;
}

async fn change(stage: &Stage, revision: i64, change: impl FnOnce(&mut EcgSubscription)) {
    let mut subscription = EcgSubscription { revision, ..ecg_subscription() };
    change(&mut subscription);
    put(stage, ecg_records(&subscription)).await;
}

/// Asks until this check has failed, and the summary has these words.
async fn not_delivered(stage: &Stage, id: &str, name: &str, words: &str) -> Value {
    let is_so = |it: &Value| {
        check(it, name)["outcome"] == "failed" && it["summary"].as_str().is_some_and(|summary| summary.contains(words))
    };
    let answer = told(stage, id, subscription(1), is_so).await;
    says(&answer, "not_delivered", words, (name, "failed"));
    assert!(answer.get("delivery").is_none() && answer.get("nextAttemptAt").is_none(), "{answer}");
    answer
}

async fn an_event_that_was_not_bridged_says_why(stage: Stage) {
    configure(&stage).await;
    let internal = RoutedEvent { visibility: Visibility::Internal, ..event_of("internal", CODE) };
    stage.routed(vec![event_of("other", "other.created"), internal, event_of("1", CODE)]).await;
    // Nothing stands in its way now, and nothing is recorded.
    let answer = told(&stage, "1", subscription(1), |it| check(it, "site")["outcome"] == "passed").await;
    says(&answer, "unknown", "as things are now it would match", ("attempts", "not_reached"));
    assert_eq!(check(&answer, "filter")["outcome"], "passed", "{answer}");

    not_delivered(&stage, "internal", "visibility", "visibility is internal").await;
    not_delivered(&stage, "other", "type", "no webhook event with the code other.created").await;
    let other = EcgEvent { id: EcgEventId(Uuid::from_u128(0xe2)), code: "Other.Created".into(), ..event() };
    put(&stage, [Record::EcgEvent(other)]).await;
    not_delivered(&stage, "other", "filter", "is for other webhook events than other.created").await;

    link(&stage, None, 2).await;
    not_delivered(&stage, "1", "site", "is not linked to an organization").await;
    link(&stage, Some(Uuid::from_u128(0xa2)), 3).await;
    not_delivered(&stage, "1", "site", "is linked to another organization").await;
    link(&stage, Some(ORGANIZATION), 4).await;

    let inactive = Flags::new(false, at(-9));
    let archived = Flags { archived: true, archived_changed_at: at(-8), ..Flags::new(true, at(-9)) };
    let with_event = async |revision, flags, deleted| {
        put(&stage, [Record::EcgEvent(EcgEvent { flags, deleted, revision, ..event() })]).await;
    };
    with_event(2, inactive, false).await;
    let words = format!("webhook event {CODE} v1 has been inactive since {}", at(-9));
    not_delivered(&stage, "1", "subscription", &words).await;
    with_event(3, archived, false).await;
    not_delivered(&stage, "1", "subscription", &format!("has been archived since {}", at(-8))).await;
    with_event(4, event().flags, true).await;
    not_delivered(&stage, "1", "type", "or it was deleted").await;
    with_event(5, event().flags, false).await;
    let mut off = category();
    (off.flags, off.revision) = (inactive, 2);
    put(&stage, [Record::EcgCategory(off.clone())]).await;
    not_delivered(&stage, "1", "subscription", &format!("category of the webhook event {CODE} v1 has been inact"))
        .await;
    (off.flags, off.revision) = (category().flags, 3);
    put(&stage, [Record::EcgCategory(off)]).await;

    change(&stage, 2, |it| it.flags = inactive).await;
    not_delivered(&stage, "1", "subscription", &format!("the subscription has been inactive since {}", at(-9))).await;
    change(&stage, 3, |it| it.flags = archived).await;
    not_delivered(&stage, "1", "subscription", "the subscription has been archived since").await;
    change(&stage, 4, |it| (it.deleted, it.secrets) = (true, Vec::new())).await;
    not_delivered(&stage, "1", "subscription", "the subscription was deleted").await;
    stage.stop().await;
}

async fn what_was_switched_on_after_the_event_is_told_so(stage: Stage) {
    configure(&stage).await;
    stage.routed(vec![event_of("1", CODE)]).await;
    let later = at(60_000);
    let routed = at(1);
    change(&stage, 2, |it| it.flags.active_changed_at = later).await;
    let words = format!("the subscription was activated at {later}, after the event was routed at {routed}");
    not_delivered(&stage, "1", "subscription", &words).await;
    change(&stage, 3, |it| it.flags.archived_changed_at = later).await;
    not_delivered(&stage, "1", "subscription", &format!("was taken out of the archive at {later}, after")).await;
    change(&stage, 4, |it| it.stamps = Stamps::new(Uuid::nil(), later)).await;
    not_delivered(&stage, "1", "subscription", &format!("the subscription was made at {later}, after")).await;
    change(&stage, 5, |_| {}).await;
    let mut activated = EcgEvent { revision: 2, ..event() };
    activated.flags.active_changed_at = at(-1000);
    put(&stage, [Record::EcgEvent(activated)]).await;
    let words = format!("webhook event {CODE} v1 was activated at {}, at the moment when", at(-1000));
    not_delivered(&stage, "1", "subscription", &words).await;
    stage.stop().await;
}

async fn a_bridged_event_is_told_with_its_state_and_what_it_waits_for(stage: Stage) {
    configure(&stage).await;
    let matched = vec![Matched { delivery: delivery_id("1", 0), subscription: subscription(1), surface: Surface::Ecg }];
    stage.routed(vec![RoutedEvent { matched, ..event_of("1", CODE) }]).await;
    let happens = async |outcome: Outcome| stage.outcomes_on(Surface::Ecg, subscription(1), vec![outcome]).await;
    let answer = told(&stage, "1", subscription(1), |it| it["verdict"] == "waiting").await;
    says(&answer, "waiting", "no attempt was made yet", ("attempts", "waiting"));
    let failed = outcome("1", 0, DeliveryState::RetryWait, 1, 503);
    happens(failed.clone()).await;
    let answer = told(&stage, "1", subscription(1), |it| it["delivery"]["attemptCount"] == 1).await;
    says(&answer, "waiting", "was answered with 503", ("attempts", "waiting"));
    assert_eq!(answer["nextAttemptAt"], at(5010).to_string());

    // Switched off, before anything of the delivery says so.
    change(&stage, 2, |it| it.flags = Flags::new(false, at(20))).await;
    let is_paused = |it: &Value| check(it, "breaker_and_rate")["outcome"] == "waiting";
    let answer = told(&stage, "1", subscription(1), is_paused).await;
    let words = format!("the subscription has been inactive since {}. The delivery is paused", at(20));
    says(&answer, "waiting", &words, ("breaker_and_rate", "waiting"));
    assert!(answer["summary"].as_str().unwrap().contains(&at(5010).to_string()), "{answer}");
    let (reason, next_attempt_at) = (Some(Reason::EndpointPaused), Some(at(90_000)));
    happens(Outcome { reason, next_attempt_at, at: at(5020), attempt: None, ..failed }).await;
    let answer = told(&stage, "1", subscription(1), |it| it["delivery"]["reason"] == "endpoint_paused").await;
    says(&answer, "waiting", &words, ("breaker_and_rate", "waiting"));
    assert_eq!(answer["nextAttemptAt"], at(90_000).to_string());
    assert!(check(&answer, "attempts")["detail"].as_str().unwrap().contains("503"), "{answer}");
    // On again, but not the webhook event.
    change(&stage, 3, |_| {}).await;
    put(&stage, [Record::EcgEvent(EcgEvent { flags: Flags::new(false, at(30)), revision: 2, ..event() })]).await;
    let words = format!("webhook event {CODE} v1 has been inactive since {}", at(30));
    let has_words = |it: &Value| it["summary"].as_str().is_some_and(|summary| summary.contains(&words));
    says(&told(&stage, "1", subscription(1), has_words).await, "waiting", &words, ("breaker_and_rate", "waiting"));
    put(&stage, [Record::EcgEvent(EcgEvent { revision: 3, ..event() })]).await;
    let is_on = |it: &Value| it["summary"].as_str().is_some_and(|summary| summary.contains("is on again"));
    told(&stage, "1", subscription(1), is_on).await;

    // What is configured afterwards does not matter to what has happened.
    let succeeded = outcome("1", 0, DeliveryState::Succeeded, 2, 204);
    happens(Outcome { at: at(90_010), ..succeeded }).await;
    link(&stage, None, 2).await;
    change(&stage, 4, |it| (it.deleted, it.secrets) = (true, Vec::new())).await;
    let is_gone =
        |it: &Value| check(it, "subscription")["detail"].as_str().is_some_and(|it| it.contains("deleted since"));
    let answer = told(&stage, "1", subscription(1), is_gone).await;
    says(&answer, "delivered", "Delivered at", ("attempts", "passed"));
    assert!(answer["checks"].as_array().unwrap().iter().all(|check| check["outcome"] != "failed"), "{answer}");
    stage.stop().await;
}
