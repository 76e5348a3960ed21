//! A bulk replay survives those who make and deliver it (THREATS 10; issue 3, "Must show").

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::json;
use slipstream_test_support::builders::{EventBuilder, event};
use slipstream_test_support::{Receiver, Reply, eventually};
use slipstream_tests::api::ReplayJob;
use slipstream_tests::{Mode, Service, Settings, Shape, System};

/// How many deliveries, unless the variable `REPLAY_DELIVERIES` says another number.
const DELIVERIES: usize = 50_000;
/// Events of one request.
const BATCH: usize = 1000;
/// Attempts that one dispatcher has under way at most (`delivery.attempts_in_flight_max`).
const IN_FLIGHT_MAX: usize = 512;
/// Deliveries that a job publishes before it writes its place down.
const CHUNK_MAX: usize = 500;
/// How long any part of it may take: at 500 a second there would be time for all.
const PATIENCE: Duration = Duration::from_mins(2);

#[expect(clippy::disallowed_methods, reason = "the number of deliveries is the caller's to choose")]
fn deliveries() -> usize {
    std::env::var("REPLAY_DELIVERIES").map_or(DELIVERIES, |text| text.parse().expect("REPLAY_DELIVERIES is a number"))
}

async fn count_failed(system: &System) -> u64 {
    let counted = system.operator.replay_many(json!({ "state": ["failed"], "dryRun": true })).await.expect(200).json();
    counted["count"].as_u64().expect("a count is a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_of_the_activity_log_and_of_the_dispatcher_in_the_middle_of_a_bulk_replay_loses_none() {
    let count = deliveries();
    // Long enough for all that a dispatcher has fetched on a slow machine: what it holds longer is sent twice.
    let settings = Settings { delivery_lease: Duration::from_secs(20), ..Settings::default() };
    let mut system = System::with(Shape::FourProcesses, settings).await;
    let receiver = Receiver::start().await;
    receiver.script(|_, _| Reply::status(404));
    let account = system.external().await;
    account.subscribe(receiver.url("/")).await;
    let began = Instant::now();
    for start in (0..count).step_by(BATCH) {
        let events: Vec<EventBuilder> = (start..count.min(start + BATCH)).map(|_| event()).collect();
        account.publish_in(Mode::Batch, &events).await;
    }
    receiver.wait_for(count, PATIENCE).await;
    eventually(PATIENCE, async || match count_failed(&system).await {
        failed if failed == count as u64 => Ok(()),
        failed => Err(failed),
    })
    .await;
    assert_eq!(receiver.count(), count, "one attempt each");
    let first = began.elapsed();

    receiver.script(|_, _| Reply::ok());
    let began = Instant::now();
    let wanted = json!({ "state": ["failed"], "ratePerSecond": 10_000 });
    let job: ReplayJob = system.operator.replay_many(wanted).await.parsed(202);
    assert_eq!(job.matched, count as u64);
    receiver.wait_for(count + count / 3, PATIENCE).await;
    system.kill9(Service::ActivityLog);
    system.restart(Service::ActivityLog).await;
    receiver.wait_for(count + 2 * count / 3, PATIENCE).await;
    system.kill9(Service::Dispatcher);
    let at_kill = receiver.count();
    assert!(at_kill < 2 * count, "killed too late: all {at_kill} had been sent");
    system.restart(Service::Dispatcher).await;

    let done = eventually(PATIENCE, async || match system.operator.replay_job(&job.id).await {
        Some(job) if job.state == "finished" => Ok(job),
        other => Err(other),
    })
    .await;
    assert_eq!((done.published, done.not_kept, done.skipped), (count as u64, 0, 0), "its own count");
    // As often as each came before and after the receiver changed its mind: at first once, under ids of their own.
    let arrivals = eventually(PATIENCE, async || {
        let mut arrivals: HashMap<String, usize> = HashMap::new();
        let received = receiver.received();
        for request in received.get(count..).unwrap_or_default() {
            *arrivals.entry(request.header("webhook-id").to_owned()).or_default() += 1;
        }
        if arrivals.len() == count { Ok(arrivals) } else { Err(format!("{} of {count}", arrivals.len())) }
    })
    .await;
    for request in &receiver.received()[..count] {
        assert!(
            arrivals.contains_key(request.header("webhook-id")),
            "{} was not made again",
            request.header("webhook-id")
        );
    }
    let replayed = began.elapsed();
    // What comes twice comes when the lease of what the dead dispatcher held is over; then all of it is recorded.
    let totals = eventually(PATIENCE, async || {
        let reconciled = system.operator.totals().await;
        let is_done = reconciled.complete && reconciled.totals.replays.succeeded == count as u64;
        if is_done { Ok(reconciled.totals) } else { Err(reconciled.totals) }
    })
    .await;
    // What is unmatched is what we tell of the endpoint ourselves: that it recovered.
    assert_eq!((totals.failed, totals.accepted - totals.unmatched), (count as u64, count as u64), "{totals:?}");
    assert!(totals.adds_up, "{totals:?}");
    assert_eq!(totals.replays.waiting, 0, "{totals:?}");
    let sent = receiver.count() - count;
    let duplicates = sent - count;
    println!(
        "{count} deliveries made in {first:.1?} and again in {replayed:.1?}; {sent} sent again, {duplicates} of them \
         duplicates",
    );
    assert!(duplicates <= IN_FLIGHT_MAX + CHUNK_MAX, "{duplicates} duplicates");
}
