//! Many deliveries again: counted first, at a rate, paused, resumed, cancelled.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};
use slipstream_bus::{Message, subject};
use slipstream_core::contract::{Outcome, RoutedEvent};
use slipstream_core::delivery::DeliveryState;
use slipstream_core::ids::{DeliveryId, ReplayId};
use slipstream_core::lane::Lane;
use slipstream_store::{ConnectionTrait as _, DatabaseConfig, DbBackend, Store};
use slipstream_test_support::eventually;

use super::{LATER, trim};
use crate::stage::{Stage, staged_on_both_backends};
use crate::world::{SOON, at, outcome, site, subscription};

staged_on_both_backends!(
    what_a_dry_run_counts_is_replayed_once_and_in_the_normal_lane,
    what_is_not_kept_and_who_is_gone_is_counted,
    a_job_keeps_its_rate,
    a_job_is_paused_resumed_and_cancelled,
    jobs_run_beside_each_other,
    what_is_asked_for_wrongly_is_refused,
    replays_are_not_replayed,
    a_job_is_told_of_without_being_read_again,
    ends_that_are_still_to_be_recorded_are_waited_for,
);

/// Makes a job; its id.
pub(super) async fn job(stage: &Stage, body: Value) -> String {
    let (status, job) = stage.post("/deliveries/replay", Some(body)).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{job}");
    job["id"].as_str().unwrap().to_owned()
}

/// Waits until the job has come to its end.
pub(super) async fn finished(stage: &Stage, id: &str) -> Value {
    stage.get_until(&format!("/replays/{id}"), |job| job["state"] == "finished").await
}

/// The originals that these messages make again, each once, by the job `id`.
pub(super) fn made_again(messages: &[Message], id: &str) -> HashSet<DeliveryId> {
    let replay: ReplayId = id.parse().unwrap();
    let mut originals = HashSet::new();
    for message in messages {
        let meta = message.meta.as_ref().unwrap();
        let (lane, subscription, key) = subject::parse_delivery(&message.subject).unwrap();
        assert_eq!((lane, meta.replay, meta.attempt), (Lane::Normal, Some(replay), 1));
        let original = DeliveryId::derive(meta.accepted_at, subscription, &key);
        assert!(originals.insert(original), "{original} was made again twice");
    }
    originals
}

fn ids(events: &[RoutedEvent]) -> HashSet<DeliveryId> {
    events.iter().map(|event| event.matched[0].delivery).collect()
}

async fn what_a_dry_run_counts_is_replayed_once_and_in_the_normal_lane(mut stage: Stage) {
    stage.subscribe(subscription(1), |_| {}).await;
    let failed = stage.ended(0, 12, DeliveryState::Failed).await;
    let exhausted = stage.ended(100, 8, DeliveryState::Exhausted).await;
    stage.ended(200, 3, DeliveryState::Succeeded).await;
    stage.ended(300, 3, DeliveryState::RetryWait).await;
    // Of another type, and published as urgent.
    let urgent = stage
        .accept("400", 400, |event| {
            event.lane = Lane::Realtime;
            event.event_type = "communications.letter.status_updated".into();
        })
        .await;
    stage.routed(vec![urgent.clone()]).await;
    stage.outcomes(vec![Outcome { lane: Lane::Realtime, ..outcome("400", 400, DeliveryState::Failed, 1, 404) }]).await;
    let dead: HashSet<_> =
        ids(&failed).into_iter().chain(ids(&exhausted)).chain(ids(std::slice::from_ref(&urgent))).collect();
    let cases = [
        (json!({}), dead.clone()),
        (json!({ "state": ["exhausted"] }), ids(&exhausted)),
        (json!({ "state": ["failed", "failed"], "since": at(4), "until": at(9) }), ids(&failed[4..9])),
        (json!({ "type": "communications.letter.status_updated" }), ids(&[urgent])),
        (json!({ "site": site(), "subscription": subscription(1) }), dead),
        (json!({ "site": "sUkLWZg" }), HashSet::new()),
        (json!({ "subscription": LATER }), HashSet::new()),
    ];
    for (mut filter, expected) in cases {
        filter["dryRun"] = true.into();
        let (status, counted) = stage.post("/deliveries/replay", Some(filter.clone())).await;
        let all = json!({ "count": expected.len(), "complete": true });
        assert_eq!((status, &counted), (StatusCode::OK, &all), "{filter}");
        filter["dryRun"] = false.into();
        filter["ratePerSecond"] = 1000.into();
        let id = job(&stage, filter.clone()).await;
        let done = finished(&stage, &id).await;
        let numbers = ["matched", "published", "notKept", "skipped"].map(|name| done[name].as_u64().unwrap());
        assert_eq!(numbers, [expected.len() as u64, expected.len() as u64, 0, 0], "{done}");
        assert!(done["finishedAt"].is_string() && done["ratePerSecond"] == 1000);
        let messages = stage.take(expected.len()).await;
        assert_eq!(made_again(&messages, &id), expected, "{filter}");
        // With the bytes of the event that was accepted under this id.
        for message in &messages {
            let text = String::from_utf8(message.payload.to_vec()).unwrap();
            let id = text.split("\"id\":\"").nth(1).unwrap().split('"').next().unwrap();
            let accepted = message.meta.as_ref().unwrap().accepted_at;
            assert_eq!(accepted, at(id.parse().unwrap()));
        }
    }
    assert!(stage.take_rest().await.is_empty(), "nothing but that");
    // What was made is seen.
    let shown = stage.get_until("/deliveries?state=scheduled&limit=100", |page| {
        page["items"].as_array().unwrap().len() == 12 + 8 + 1 + 8 + 5 + 1 + 21
    });
    assert!(shown.await["items"][0]["replay"].is_string());
    // Newest first, and page by page.
    let (mut listed, mut path) = (Vec::new(), "/replays?limit=3".to_owned());
    loop {
        let (_, page) = stage.get(&path).await;
        listed.extend(page["items"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/replays?limit=3&cursor={next}");
    }
    let mut sorted = listed.clone();
    sorted.sort_unstable_by(|a, b| b.cmp(a));
    assert!(listed.len() == 7 && listed == sorted, "{listed:?}");
    stage.stop().await;
}

async fn what_is_not_kept_and_who_is_gone_is_counted(mut stage: Stage) {
    stage.subscribe(subscription(1), |_| {}).await;
    stage.ended(0, 5, DeliveryState::Failed).await;
    trim(&stage).await;
    let kept = stage.ended(100, 4, DeliveryState::Failed).await;
    // One whose place was not recorded.
    let mut nowhere = stage.accept("200", 200, |_| {}).await;
    nowhere.sequence = None;
    // Three to a subscription that does not exist any more.
    let mut events = vec![nowhere];
    for number in 300..303 {
        let mut event = stage.accept(&number.to_string(), number, |_| {}).await;
        event.matched[0].subscription = LATER;
        event.matched[0].delivery = DeliveryId::derive(event.accepted_at, LATER, &event.key);
        events.push(event);
    }
    stage.routed(events.clone()).await;
    let end = |event: &RoutedEvent| Outcome {
        delivery: event.matched[0].delivery,
        ..outcome(&event.id, event.id.parse().unwrap(), DeliveryState::Failed, 1, 404)
    };
    stage.outcomes(events[..1].iter().map(end).collect()).await;
    stage.outcomes_of(LATER, events[1..].iter().map(end).collect()).await;
    let id = job(&stage, json!({ "ratePerSecond": 1000 })).await;
    let done = finished(&stage, &id).await;
    let numbers = ["matched", "published", "notKept", "skipped"].map(|name| done[name].as_u64().unwrap());
    assert_eq!(numbers, [13, 4, 6, 3], "{done}");
    assert_eq!(made_again(&stage.take(4).await, &id), ids(&kept));
    assert!(stage.take_rest().await.is_empty());
    stage.stop().await;
}

async fn a_job_keeps_its_rate(mut stage: Stage) {
    stage.subscribe(subscription(1), |_| {}).await;
    stage.ended(0, 40, DeliveryState::Failed).await;
    let began = Instant::now();
    let id = job(&stage, json!({ "ratePerSecond": 20 })).await;
    let mut arrivals = Vec::new();
    for _ in 0..40 {
        stage.take(1).await;
        arrivals.push(began.elapsed());
    }
    finished(&stage, &id).await;
    // Chunks of five every quarter of a second, so 35 of them are behind the first.
    assert!(arrivals[39] >= Duration::from_millis(1700), "40 at 20/s took {:?}", arrivals[39]);
    for (number, arrival) in arrivals.iter().enumerate() {
        let allowed = 20.0 * arrival.as_secs_f64() + 5.5;
        assert!((number as f64) < allowed, "{number} had come after {arrival:?}");
    }
    stage.stop().await;
}

async fn a_job_is_paused_resumed_and_cancelled(mut stage: Stage) {
    stage.subscribe(subscription(1), |_| {}).await;
    let events = stage.ended(0, 60, DeliveryState::Failed).await;
    let id = job(&stage, json!({ "ratePerSecond": 10 })).await;
    let path = format!("/replays/{id}");
    let published = |job: &Value| job["published"].as_u64().unwrap();
    stage.get_until(&path, |job| published(job) >= 4).await;
    let (status, paused) = stage.post(&format!("{path}/pause"), None).await;
    assert_eq!((status, &paused["state"]), (StatusCode::OK, &json!("paused")));
    // A second later nothing more comes, and its place is kept.
    let mut messages = stage.take_rest().await;
    let rest = published(&stage.get(&path).await.1);
    assert_eq!(messages.len() as u64, rest);
    assert!(rest <= published(&paused) + 2, "one chunk may have been in hand: {} then {rest}", published(&paused));
    assert_eq!(stage.post(&format!("{path}/pause"), None).await.0, StatusCode::OK, "a repeat changes nothing");

    let (status, resumed) = stage.post(&format!("{path}/resume"), None).await;
    assert_eq!((status, &resumed["state"]), (StatusCode::OK, &json!("running")));
    messages.extend(stage.take(6).await);
    let began = Instant::now();
    let (status, cancelled) = stage.post(&format!("{path}/cancel"), None).await;
    assert_eq!((status, &cancelled["state"]), (StatusCode::OK, &json!("cancelled")));
    assert!(cancelled["finishedAt"].is_string());
    messages.extend(stage.take_rest().await);
    let quiet = began.elapsed();
    assert!(quiet < Duration::from_secs(2), "it went on for {quiet:?}");
    let (_, ended) = stage.get(&path).await;
    assert_eq!((ended["state"].as_str(), published(&ended)), (Some("cancelled"), messages.len() as u64));
    // In order, without a gap and without one twice.
    assert_eq!(made_again(&messages, &id), ids(&events[..messages.len()]));
    for change in ["pause", "resume"] {
        Stage::refused(&stage.post(&format!("{path}/{change}"), None).await, 409, "is cancelled");
    }
    assert_eq!(stage.post(&format!("{path}/cancel"), None).await.0, StatusCode::OK);
    stage.stop().await;
}

/// A slow job does not hold up the next one.
async fn jobs_run_beside_each_other(mut stage: Stage) {
    stage.subscribe(subscription(1), |_| {}).await;
    let events = stage.ended(0, 10, DeliveryState::Failed).await;
    let slow = job(&stage, json!({ "ratePerSecond": 1 })).await;
    let fast = job(&stage, json!({ "ratePerSecond": 1000 })).await;
    let done = finished(&stage, &fast).await;
    assert_eq!(done["published"], 10);
    assert_eq!(stage.get(&format!("/replays/{slow}")).await.1["state"], "running");
    assert_eq!(stage.post(&format!("/replays/{slow}/cancel"), None).await.0, StatusCode::OK);
    Stage::refused(&stage.post(&format!("/replays/{fast}/cancel"), None).await, 409, "is finished");
    let messages = stage.take_rest().await;
    let (of_fast, of_slow): (Vec<_>, Vec<_>) =
        messages.into_iter().partition(|it| it.meta.as_ref().unwrap().replay == Some(fast.parse().unwrap()));
    assert_eq!(made_again(&of_fast, &fast), ids(&events));
    assert!(made_again(&of_slow, &slow).len() < 10);
    stage.stop().await;
}

async fn what_is_asked_for_wrongly_is_refused(stage: Stage) {
    for (body, pointer) in [
        (json!({ "site": "x" }), "#/site"),
        (json!({ "subscription": "1" }), "#/subscription"),
        (json!({ "type": "" }), "#/type"),
        (json!({ "state": [] }), "#/state"),
        (json!({ "state": ["failed", "scheduled"] }), "#/state"),
        (json!({ "state": ["done"] }), "#/state/0"),
        (json!({ "state": "failed" }), "#/state"),
        (json!({ "since": "yesterday" }), "#/since"),
        (json!({ "since": at(5), "until": at(5) }), "#/until"),
        (json!({ "ratePerSecond": 0 }), "#/ratePerSecond"),
        (json!({ "ratePerSecond": 10_001 }), "#/ratePerSecond"),
        (json!({ "dryrun": true }), "#/dryrun"),
    ] {
        let (status, problem) = stage.post("/deliveries/replay", Some(body.clone())).await;
        assert_eq!((status, &problem["errors"][0]["pointer"]), (StatusCode::BAD_REQUEST, &json!(pointer)), "{body}");
    }
    let nobody = "018f2b1e-0000-7000-8000-000000000001";
    assert_eq!(stage.get(&format!("/replays/{nobody}")).await.0, StatusCode::NOT_FOUND);
    assert_eq!(stage.get("/replays/7").await.0, StatusCode::NOT_FOUND);
    for change in ["pause", "resume", "cancel"] {
        assert_eq!(stage.post(&format!("/replays/{nobody}/{change}"), None).await.0, StatusCode::NOT_FOUND);
    }
    for query in ["limit=0", "cursor=x", "state=running"] {
        assert_eq!(stage.get(&format!("/replays?{query}")).await.0, StatusCode::BAD_REQUEST, "{query}");
    }
    assert_eq!(stage.get("/replays").await.1, json!({ "items": [], "next": null }), "nothing was made");
    stage.stop().await;
}

async fn replays_are_not_replayed(mut stage: Stage) {
    stage.subscribe(subscription(1), |_| {}).await;
    let events = stage.ended(0, 3, DeliveryState::Failed).await;
    let first = job(&stage, json!({ "ratePerSecond": 1000 })).await;
    finished(&stage, &first).await;
    stage.take(3).await;
    // They fail too.
    let replay: ReplayId = first.parse().unwrap();
    let again = |event: &RoutedEvent| Outcome {
        delivery: DeliveryId::derive_replay(event.accepted_at, subscription(1), &event.key, replay),
        replay: Some(replay),
        at: slipstream_service::clock::now(),
        ..outcome(&event.id, event.id.parse().unwrap(), DeliveryState::Failed, 1, 404)
    };
    stage.outcomes(events.iter().map(again).collect()).await;
    eventually(SOON, async || {
        let (_, page) = stage.get("/deliveries?state=failed").await;
        (page["items"].as_array().unwrap().len() == 6).then_some(())
    })
    .await;
    let second = job(&stage, json!({ "ratePerSecond": 1000 })).await;
    assert_eq!(finished(&stage, &second).await["matched"], 3);
    assert_eq!(made_again(&stage.take_rest().await, &second), ids(&events));
    stage.stop().await;
}

async fn a_job_is_told_of_without_being_read_again(stage: Stage) {
    stage.subscribe(subscription(1), |_| {}).await;
    stage.ended(0, 3, DeliveryState::Failed).await;
    let (status, made) = stage.post("/deliveries/replay", Some(json!({ "ratePerSecond": 1 }))).await;
    let (_, read) = stage.get(&format!("/replays/{}", made["id"].as_str().unwrap())).await;
    assert_eq!((status, &made["complete"]), (StatusCode::ACCEPTED, &json!(true)));
    for name in ["id", "filter", "ratePerSecond", "matched", "createdAt"] {
        assert_eq!(made[name], read[name], "{name}");
    }
    assert_eq!((&made["state"], &made["published"]), (&json!("running"), &json!(0)));

    // A database that takes a row and then does not have it: reading it again would answer with an error.
    let store =
        Store::connect(&DatabaseConfig { url: stage.database.as_str().into(), max_connections: 1 }).await.unwrap();
    let swallow = match store.connection().get_database_backend() {
        DbBackend::Postgres => "CREATE RULE swallow AS ON INSERT TO replay_jobs DO INSTEAD NOTHING",
        _ => "CREATE TRIGGER swallow BEFORE INSERT ON replay_jobs BEGIN SELECT RAISE(IGNORE); END",
    };
    store.connection().execute_unprepared(swallow).await.unwrap();
    let (status, made) = stage.post("/deliveries/replay", Some(json!({ "site": site() }))).await;
    assert_eq!((status, &made["matched"]), (StatusCode::ACCEPTED, &json!(3)), "{made}");
    assert_eq!(stage.get(&format!("/replays/{}", made["id"].as_str().unwrap())).await.0, StatusCode::NOT_FOUND);
    stage.stop().await;
}

async fn ends_that_are_still_to_be_recorded_are_waited_for(stage: Stage) {
    stage.subscribe(subscription(1), |_| {}).await;
    stage.ended(0, 3, DeliveryState::Failed).await;
    let count = async || stage.post("/deliveries/replay", Some(json!({ "dryRun": true }))).await.1;
    // Decided, and on its way to the record when the question comes.
    stage.decided(outcome("late", 9, DeliveryState::Failed, 1, 404)).await;
    assert_eq!(count().await, json!({ "count": 4, "complete": true }));

    // A record that is not written: the answer comes all the same, and says so.
    let store =
        Store::connect(&DatabaseConfig { url: stage.database.as_str().into(), max_connections: 1 }).await.unwrap();
    store.connection().execute_unprepared("ALTER TABLE attempts RENAME TO away").await.unwrap();
    stage.decided(outcome("never", 10, DeliveryState::Failed, 1, 404)).await;
    let began = Instant::now();
    assert_eq!(count().await, json!({ "count": 4, "complete": false }));
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    store.connection().execute_unprepared("ALTER TABLE away RENAME TO attempts").await.unwrap();
    eventually(SOON, async || (count().await == json!({ "count": 5, "complete": true })).then_some(())).await;
    stage.stop().await;
}
