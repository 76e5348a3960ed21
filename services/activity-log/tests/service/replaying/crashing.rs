//! A job outlives whoever works on it, and an outage of what it leans on.

use std::cell::Cell;
use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde_json::json;
use slipstream_core::delivery::DeliveryState;
use slipstream_store::{ConnectionTrait as _, DatabaseConfig, Store};
use slipstream_test_support::{NatsServer, eventually};
use tokio::sync::oneshot;

use super::jobs::{finished, job, made_again};
use crate::stage::{Instance, Stage, staged_on_both_backends};
use crate::world::subscription;

staged_on_both_backends!(
    an_instance_that_stops_hands_its_job_over_at_once,
    what_was_published_and_not_written_down_is_known_to_the_stream,
    a_bus_that_hangs_is_waited_for,
);

/// How long a lease is, and a look for free jobs, and some.
const TAKEN_OVER: Duration = Duration::from_secs(40);

/// An instance in a runtime of its own, which ends as a process does that is killed: everything in it stops where it
/// is, and nothing says goodbye.
struct Doomed {
    kill: oneshot::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Doomed {
    async fn start(nats: String, database: String) -> (Self, Instance) {
        let (kill, killed) = oneshot::channel();
        let (started, instance) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                assert!(started.send(Instance::start(&nats, &database).await).is_ok());
                let _ = killed.await;
            });
            runtime.shutdown_background();
        });
        (Self { kill, thread }, instance.await.unwrap())
    }

    fn kill(self) {
        self.kill.send(()).unwrap();
        self.thread.join().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_a_job_whose_worker_is_killed_is_taken_over() {
    let (_directory, url) = slipstream_test_support::sqlite::database();
    a_job_whose_worker_is_killed_is_taken_over(url).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_a_job_whose_worker_is_killed_is_taken_over() {
    let url = slipstream_test_support::postgres::database().await;
    a_job_whose_worker_is_killed_is_taken_over(url).await;
}

async fn a_job_whose_worker_is_killed_is_taken_over(database: String) {
    let nats = NatsServer::start().await;
    let (doomed, instance) = Doomed::start(nats.url(), database.clone()).await;
    let mut stage = Stage::around(nats, instance, database.clone()).await;
    stage.subscribe(subscription(1), |_| {}).await;
    let events = stage.ended(0, 60, DeliveryState::Failed).await;
    let id = job(&stage, json!({ "ratePerSecond": 30 })).await;
    let seen = stage.get_until(&format!("/replays/{id}"), |job| job["published"].as_u64().unwrap() >= 20).await;
    doomed.kill();
    // What the worker had published when it died and what it had written down may differ by the chunk in hand.
    let before = stage.take_rest().await;
    assert!(before.len() as u64 >= seen["published"].as_u64().unwrap() && before.len() < 60, "{}", before.len());

    stage.instance = Instance::start(&stage.nats.url(), &database).await;
    let done = eventually(TAKEN_OVER, async || {
        let (_, job) = stage.get(&format!("/replays/{id}")).await;
        if job["state"] == "finished" { Ok(job) } else { Err(job) }
    })
    .await;
    assert_eq!(
        (&done["matched"], &done["published"]),
        (&json!(60), &json!(60)),
        "its place was neither lost nor doubled"
    );
    let mut messages = before;
    messages.extend(stage.take_rest().await);
    let expected: HashSet<_> = events.iter().map(|event| event.matched[0].delivery).collect();
    // The chunk that was published again has the same ids, and the stream knew them.
    assert_eq!(made_again(&messages, &id), expected);
    stage.stop().await;
}

async fn an_instance_that_stops_hands_its_job_over_at_once(mut stage: Stage) {
    stage.subscribe(subscription(1), |_| {}).await;
    let events = stage.ended(0, 60, DeliveryState::Failed).await;
    let id = job(&stage, json!({ "ratePerSecond": 20 })).await;
    stage.get_until(&format!("/replays/{id}"), |job| job["published"].as_u64().unwrap() >= 10).await;
    let second = Instance::start(&stage.nats.url(), &stage.database).await;
    std::mem::replace(&mut stage.instance, second).stop().await;
    let began = Instant::now();
    let done = finished(&stage, &id).await;
    // Well below the lease: it was given back. What was left took up to 2.5 s.
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(done["published"], 60);
    let expected: HashSet<_> = events.iter().map(|event| event.matched[0].delivery).collect();
    assert_eq!(made_again(&stage.take_rest().await, &id), expected);
    stage.stop().await;
}

/// The place of the worst crash: everything was published, and nothing of it written down.
async fn what_was_published_and_not_written_down_is_known_to_the_stream(mut stage: Stage) {
    stage.subscribe(subscription(1), |_| {}).await;
    let events = stage.ended(0, 40, DeliveryState::Failed).await;
    let id = job(&stage, json!({ "ratePerSecond": 40 })).await;
    let path = format!("/replays/{id}");
    stage.get_until(&path, |job| job["published"].as_u64().unwrap() >= 20).await;
    assert_eq!(stage.post(&format!("{path}/pause"), None).await.0, 200);
    let mut messages = stage.take_rest().await;
    assert!((20..40).contains(&messages.len()), "{}", messages.len());
    let store =
        Store::connect(&DatabaseConfig { url: stage.database.as_str().into(), max_connections: 1 }).await.unwrap();
    let forget = "UPDATE replay_jobs SET cursor = NULL, published = 0";
    store.connection().execute_unprepared(forget).await.unwrap();
    assert_eq!(stage.post(&format!("{path}/resume"), None).await.0, 200);
    assert_eq!(finished(&stage, &id).await["published"], 40);
    messages.extend(stage.take_rest().await);
    let expected: HashSet<_> = events.iter().map(|event| event.matched[0].delivery).collect();
    assert_eq!(made_again(&messages, &id), expected, "each once, though most were published twice");
    stage.stop().await;
}

async fn a_bus_that_hangs_is_waited_for(mut stage: Stage) {
    stage.subscribe(subscription(1), |_| {}).await;
    let events = stage.ended(0, 60, DeliveryState::Failed).await;
    let id = job(&stage, json!({ "ratePerSecond": 30 })).await;
    let path = format!("/replays/{id}");
    stage.get_until(&path, |job| job["published"].as_u64().unwrap() >= 15).await;
    stage.nats.pause();
    // The job stands still, and can be looked at meanwhile.
    let still = Cell::new((u64::MAX, Instant::now()));
    eventually(Duration::from_secs(20), async || {
        let (_, job) = stage.get(&path).await;
        let published = job["published"].as_u64().unwrap();
        if still.get().0 != published {
            still.set((published, Instant::now()));
        }
        if still.get().1.elapsed() > Duration::from_secs(2) && published < 60 { Ok(()) } else { Err(job) }
    })
    .await;
    stage.nats.resume();
    let done = eventually(TAKEN_OVER, async || {
        let (_, job) = stage.get(&path).await;
        if job["state"] == "finished" { Ok(job) } else { Err(job) }
    })
    .await;
    assert_eq!(done["published"], 60);
    let expected: HashSet<_> = events.iter().map(|event| event.matched[0].delivery).collect();
    assert_eq!(made_again(&stage.take_rest().await, &id), expected);
    stage.stop().await;
}
