//! The broker dies.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use slipstream_core::delivery::DeliveryState;
use slipstream_test_support::builders::event;
use slipstream_test_support::{Receiver, eventually};
use slipstream_tests::api::Delivery;
use slipstream_tests::{LIMIT, Settings, Shape, System};

use super::load::{Load, check_all_arrived, webhook_ids};

fn settings() -> Settings {
    Settings { delivery_lease: Duration::from_secs(3), publish_deadline: Duration::from_secs(1), ..Settings::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_of_nats_server_during_publishing_loses_none_that_got_204() {
    let mut system = System::with(Shape::FourProcesses, settings()).await;
    let receiver = Receiver::start().await;
    let account = system.external().await;
    account.subscribe(receiver.url("/")).await;
    let load = Load::start(&account, 8);
    for round in 1..=2 {
        let (accepted, refused) = (load.accepted(), load.refused());
        eventually(LIMIT, async || load.accepted() >= accepted + 200).await;
        system.nats().kill9();
        eventually(LIMIT, async || load.refused() > refused).await;
        system.nats().restart().await;
        let restarted = Instant::now();
        let before = load.accepted();
        eventually(LIMIT, async || load.accepted() > before).await;
        let pause = restarted.elapsed();
        assert!(pause < Duration::from_secs(3), "round {round}: 204 again only after {pause:?}");
    }
    let accepted = load.accepted();
    eventually(LIMIT, async || load.accepted() >= accepted + 200).await;
    let accepted = load.stop().await;

    // What a router held comes again after its lease of 30 s, if its message was lost on the way.
    eventually(2 * LIMIT, async || {
        let arrived = webhook_ids(&receiver.received());
        let missing = accepted.iter().filter(|id| !arrived.contains_key(*id)).count();
        if missing == 0 { Ok(()) } else { Err(format!("{missing} of {} have not arrived", accepted.len())) }
    })
    .await;
    check_all_arrived(&receiver, &accepted);
    // Some of those that got 503 were stored all the same, which is why repeating a request must be harmless.
    let accepted: HashSet<String> = accepted.into_iter().collect();
    let count = accepted.len();
    let is_accepted = move |it: &Delivery| it.event_id.as_ref().is_some_and(|id| accepted.contains(id));
    system.operator.recorded(count, move |it| it.state == DeliveryState::Succeeded && is_accepted(it)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ingest_without_a_bus_answers_503_with_retry_after_and_recovers_by_itself() {
    let mut system = System::with(Shape::FourProcesses, settings()).await;
    let receiver = Receiver::start().await;
    let account = system.external().await;
    account.subscribe(receiver.url("/")).await;
    account.publish(&event()).await;
    receiver.wait_for(1, LIMIT).await;

    system.nats().kill9();
    let (letter, asked) = (event(), Instant::now());
    let refused = account.try_publish(&letter).await;
    assert_eq!((refused.status, refused.problem().as_str()), (503, "blank"), "{refused}");
    let seconds: u64 = refused.header("retry-after").parse().expect("it says when to come again");
    assert!((1..=60).contains(&seconds), "{seconds}");
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    let ingest = system.bases().operator.ingest;
    // Nobody should kill it for what is not its fault, and nobody should send it requests.
    assert_eq!(account.status_of(ingest, "/livez").await, 200);
    eventually(LIMIT, async || account.status_of(ingest, "/readyz").await == 503).await;
    // What it can judge without the bus it still judges.
    account.try_publish(&event().without("id")).await.expect(400);

    system.nats().restart().await;
    eventually(LIMIT, async || match account.try_publish(&letter).await {
        accepted if accepted.status == 204 => Ok(()),
        refused => Err(refused.to_string()),
    })
    .await;
    eventually(LIMIT, async || account.status_of(ingest, "/readyz").await == 200).await;
    receiver.wait_for(2, LIMIT).await;
    let recorded = system.operator.ended(2).await;
    assert!(recorded.iter().any(|it| it.event_id.as_deref() == Some(letter.text("id"))), "{recorded:#?}");
}
