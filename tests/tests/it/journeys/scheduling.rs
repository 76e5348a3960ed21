//! Events that wait, as things one can look at, move, hurry and cancel (issue 3, "Scheduled events").

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use slipstream_core::delivery::{DeliveryState, Reason};
use slipstream_core::timestamp::Timestamp;
use slipstream_service::clock;
use slipstream_test_support::builders::{EventBuilder, event};
use slipstream_test_support::{Receiver, Reply, eventually};
use slipstream_tests::api::{NewAccount, ScheduledEvent};
use slipstream_tests::{Account, LIMIT, Settings, Shape, System};

slipstream_tests::journeys![
    scheduled_events_are_listed_in_the_order_they_come_due_and_by_filter,
    a_scheduled_event_that_is_moved_arrives_at_its_new_time_and_says_so,
    a_scheduled_event_that_is_hurried_arrives_at_once_and_one_that_is_cancelled_never,
    scheduled_events_are_the_business_of_who_may_publish_them,
    a_waiting_delivery_can_be_moved_hurried_and_cancelled_by_an_operator,
];

/// As in a URL's path: not held, and no key that anything has.
const UNKNOWN: &str = "AAAAAAAAAAAAAAAAAAAAAA";

fn ahead(seconds: u64) -> Timestamp {
    clock::now().after(Duration::from_secs(seconds))
}

fn due_at(at: Timestamp) -> EventBuilder {
    event().with("intendeddeliverytime", at.to_string())
}

/// Waits until `count` events wait, and gives them.
#[track_caller]
fn waiting(account: &Account, count: usize) -> impl Future<Output = Vec<ScheduledEvent>> {
    eventually(LIMIT, move || async move {
        let waiting = account.scheduled(&[]).await;
        if waiting.len() == count { Ok(waiting) } else { Err(waiting) }
    })
}

/// Publishes `event`, waits until it waits, and gives its key.
async fn schedule(account: &Account, event: &EventBuilder) -> String {
    account.publish(event).await;
    eventually(LIMIT, async || {
        account.scheduled(&[]).await.into_iter().find(|it| it.id == event.text("id")).map(|it| it.key)
    })
    .await
}

async fn scheduled_events_are_listed_in_the_order_they_come_due_and_by_filter(shape: Shape) {
    let system = System::start(shape).await;
    let account = system.external().await;
    let updated = "communications.letter.status_updated";
    let base = ahead(3600);
    let at = |minutes: u64| base.after(Duration::from_mins(minutes));
    let events = [due_at(at(30)), due_at(at(10)).kind(updated), due_at(at(20)), due_at(at(40)), due_at(at(50))];
    for event in &events {
        account.publish(event).await;
    }
    let listed = waiting(&account, 5).await;
    let ids: Vec<_> = listed.iter().map(|it| it.id.as_str()).collect();
    assert_eq!(ids, [1, 2, 0, 3, 4].map(|index: usize| events[index].text("id")));
    assert_eq!(listed[0].intended_delivery_time, at(10));
    for entry in &listed {
        let one: ScheduledEvent = account.get_scheduled(&entry.key).await.parsed(200);
        assert_eq!(&one, entry);
    }
    let of_type = account.scheduled(&[("type", updated)]).await;
    assert_eq!(of_type.iter().map(|it| it.id.as_str()).collect::<Vec<_>>(), [events[1].text("id")]);
    let (from, until) = (at(20).to_string(), at(40).to_string());
    let between = account.scheduled(&[("from", &from), ("until", &until)]).await;
    let ids: Vec<_> = between.iter().map(|it| it.id.as_str()).collect();
    assert_eq!(ids, [2, 0].map(|index: usize| events[index].text("id")), "from is in it, until is not");
    account.ask_scheduled(&[("state", "held")]).await.expect(400);
}

async fn a_scheduled_event_that_is_moved_arrives_at_its_new_time_and_says_so(shape: Shape) {
    let system = System::start(shape).await;
    let receiver = Receiver::start().await;
    let account = system.external().await;
    account.subscribe(receiver.url("/")).await;
    let letter = due_at(ahead(3600)).with("expirytime", ahead(7200).to_string());
    let key = schedule(&account, &letter).await;

    let late = json!({ "intendeddeliverytime": ahead(8000).to_string() });
    let refused = account.patch_scheduled(&key, &late).await;
    assert_eq!((refused.status, refused.pointers()), (400, vec!["#/intendeddeliverytime".to_owned()]), "{refused}");
    account.patch_scheduled(&key, &json!({})).await.expect(400);

    let (intended, expires) = (ahead(2), ahead(600));
    let patch = json!({ "intendeddeliverytime": intended.to_string(), "expirytime": expires.to_string() });
    let moved: ScheduledEvent = account.patch_scheduled(&key, &patch).await.parsed(200);
    assert_eq!((moved.intended_delivery_time, moved.expiry_time), (intended, Some(expires)));
    assert!(moved.changed_at.is_some());
    // Whoever made a change sees it, in the list and by itself.
    assert_eq!(account.scheduled(&[]).await, std::slice::from_ref(&moved));
    assert_eq!(account.get_scheduled(&key).await.parsed::<ScheduledEvent>(200), moved);

    let received = receiver.wait_for(1, LIMIT).await.remove(0);
    assert!(received.timestamp >= intended, "{} is before {intended}", received.timestamp);
    let body = received.json();
    assert_eq!(body["intendeddeliverytime"], intended.to_string());
    assert_eq!(body["expirytime"], expires.to_string());
    assert_eq!(body["data"], letter.json()["data"]);
    let recorded = system.operator.ended(1).await;
    assert_eq!((recorded.len(), recorded[0].state), (1, DeliveryState::Succeeded));
    assert_eq!(receiver.count(), 1);
    // It has come due: nothing about it can be changed any more.
    for answer in [
        account.patch_scheduled(&key, &json!({ "intendeddeliverytime": ahead(60).to_string() })).await,
        account.cancel_scheduled(&key).await,
        account.deliver_now(&key).await,
    ] {
        assert_eq!((answer.status, answer.problem().as_str()), (409, "blank"), "{answer}");
        assert!(answer.json()["detail"].as_str().unwrap_or_default().contains("came due"), "{answer}");
    }
    account.get_scheduled(&key).await.expect(404);
}

async fn a_scheduled_event_that_is_hurried_arrives_at_once_and_one_that_is_cancelled_never(shape: Shape) {
    let system = System::start(shape).await;
    let receiver = Receiver::start().await;
    let account = system.external().await;
    account.subscribe(receiver.url("/")).await;
    let soon = ahead(4);
    let (hurried, cancelled) = (due_at(ahead(3600)), due_at(soon));
    let cancelled_key = schedule(&account, &cancelled).await;
    let hurried_key = schedule(&account, &hurried).await;

    account.cancel_scheduled(&cancelled_key).await.expect(204);
    let again = account.cancel_scheduled(&cancelled_key).await;
    assert!(again.expect(409).json()["detail"].as_str().unwrap_or_default().contains("cancelled"), "{again}");
    account.get_scheduled(&cancelled_key).await.expect(404);
    let now: ScheduledEvent = account.deliver_now(&hurried_key).await.parsed(202);
    assert!(now.intended_delivery_time < ahead(0), "{now:?}");

    let received = receiver.wait_for(1, LIMIT).await.remove(0);
    assert_eq!(received.json()["id"], hurried.text("id"));
    assert!(waiting(&account, 0).await.is_empty());
    let explained = system.operator.explained(&account, &cancelled, |it| it.state == "cancelled").await;
    assert!(explained.matched.is_empty() && explained.summary.contains("cancelled"), "{explained:?}");
    // Another that is due later than the cancelled one was has arrived: so would that have.
    let later = due_at(soon.after(Duration::from_millis(500)));
    account.publish(&later).await;
    let received = receiver.wait_for(2, LIMIT).await;
    assert_eq!(received[1].json()["id"], later.text("id"));
    let recorded = system.operator.ended(2).await;
    assert_eq!(recorded.len(), 2, "{recorded:#?}");
}

async fn scheduled_events_are_the_business_of_who_may_publish_them(shape: Shape) {
    let system = System::start(shape).await;
    let (account, ours) = (system.external().await, system.internal().await);
    let other = "sgbHJdm";
    system.operator.put_site(other).await;
    let (public, internal) = (due_at(ahead(3600)), due_at(ahead(3600)).with("visibility", 0));
    let key = schedule(&account, &public).await;
    let internal_key = schedule(&ours, &internal).await;

    let elsewhere = NewAccount { sites: json!([other]), ..NewAccount::default() };
    let wrong_tenant = system.account(elsewhere).await;
    let subscriber = NewAccount { permissions: vec!["Webhooks.Manage"], ..NewAccount::default() };
    let patch = json!({ "intendeddeliverytime": ahead(60).to_string() });
    for nobody in [wrong_tenant, system.account(subscriber).await] {
        nobody.ask_scheduled(&[]).await.expect(403);
        nobody.get_scheduled(&key).await.expect(403);
        nobody.patch_scheduled(&key, &patch).await.expect(403);
        nobody.cancel_scheduled(&key).await.expect(403);
        nobody.deliver_now(&key).await.expect(403);
        // Whether a key exists is told to nobody who may not know.
        nobody.cancel_scheduled(UNKNOWN).await.expect(403);
    }
    account.with_key("nobody_wrong").ask_scheduled(&[]).await.expect(401);
    // A key of another site, one that nothing has, one that is none, and an internal event for a stranger.
    let there = account.at_site(other);
    eventually(LIMIT, async || there.empty_batch().await.status == 204).await;
    for (account, key) in [(&there, key.as_str()), (&account, UNKNOWN), (&account, "x"), (&account, &internal_key)] {
        account.get_scheduled(key).await.expect(404);
        account.patch_scheduled(key, &patch).await.expect(404);
        account.cancel_scheduled(key).await.expect(404);
        account.deliver_now(key).await.expect(404);
    }
    assert_eq!(waiting(&account, 1).await[0].key, key);
    assert_eq!(waiting(&ours, 2).await.len(), 2);
    // The same under the public base path (SPEC 1.1).
    let base = format!("http://{}/api/v1/sites/{}/events/scheduled", system.bases().activity_log, account.site);
    let listed = account.send(account.http().get(base).header("x-api-key", &account.key)).await;
    assert_eq!(listed.expect(200).json()["items"][0]["key"], key.as_str());
    // Whatever was refused has changed nothing.
    ours.cancel_scheduled(&internal_key).await.expect(204);
    account.cancel_scheduled(&key).await.expect(204);
}

async fn a_waiting_delivery_can_be_moved_hurried_and_cancelled_by_an_operator(shape: Shape) {
    let hour = 3_600_000;
    let system = System::with(shape, Settings { retry_schedule_ms: vec![0, hour, hour], ..Settings::default() }).await;
    let receiver = Receiver::start().await;
    receiver.script(|_, nth| if nth < 3 { Reply::status(500) } else { Reply::ok() });
    let account = system.external().await;
    account.subscribe(receiver.url("/")).await;
    for _ in 0..3 {
        account.publish(&event()).await;
    }
    let recorded = system.operator.recorded(3, |it| it.state == DeliveryState::RetryWait).await;
    let [moved, hurried, cancelled] = [0, 1, 2].map(|index: usize| recorded[index].id.clone());
    let operator = &system.operator;

    let at = ahead(3);
    let answer =
        operator.change_delivery(Method::PATCH, &[&moved], Some(json!({ "nextAttemptAt": at.to_string() }))).await;
    let told: Value = answer.parsed(200);
    assert_eq!((&told["reason"], &told["nextAttemptAt"]), (&json!("rescheduled"), &json!(at.to_string())));
    operator.change_delivery(Method::POST, &[&hurried, "deliver-now"], None).await.expect(202);
    operator.change_delivery(Method::DELETE, &[&cancelled], None).await.expect(204);

    let received = receiver.wait_for(5, LIMIT).await;
    let of =
        |id: &str| recorded.iter().find(|it| it.id == id).map(|it| it.webhook_id.clone()).expect("it was recorded");
    assert_eq!(received[3].header("webhook-id"), of(&hurried));
    assert_eq!(received[4].header("webhook-id"), of(&moved));
    assert!(received[4].timestamp >= at, "{} is before {at}", received[4].timestamp);
    let ended = operator.ended(3).await;
    let end = |id: &str| ended.iter().find(|it| it.id == id).map(|it| (it.state, it.reason, it.attempt_count));
    assert_eq!(end(&moved), Some((DeliveryState::Succeeded, None, 2)));
    assert_eq!(end(&hurried), Some((DeliveryState::Succeeded, None, 2)));
    assert_eq!(end(&cancelled), Some((DeliveryState::Cancelled, Some(Reason::CancelledByRequest), 1)));
    assert_eq!(receiver.count(), 5);
    // What has ended cannot be changed.
    operator.change_delivery(Method::DELETE, &[&moved], None).await.expect(409);
    operator.change_delivery(Method::POST, &[&cancelled, "deliver-now"], None).await.expect(409);
}
