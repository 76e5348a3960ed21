//! Delivering again (SPEC 4.1, 4.9): one delivery, one event to one subscription, many by filter.

use std::time::Duration;

use serde_json::json;
use slipstream_core::delivery::{DeliveryState, Reason};
use slipstream_test_support::builders::{EventBuilder, event};
use slipstream_test_support::{Receiver, Reply, eventually};
use slipstream_tests::api::{ReplayJob, Replayed};
use slipstream_tests::{LIMIT, Mode, Shape, System, signature};

slipstream_tests::journeys![
    a_delivery_that_failed_is_made_again_under_its_webhook_id,
    an_event_goes_to_a_subscription_that_was_made_after_it,
    many_deliveries_are_counted_first_and_then_made_again_as_a_job_that_can_be_steered,
];

async fn a_delivery_that_failed_is_made_again_under_its_webhook_id(shape: Shape) {
    let system = System::start(shape).await;
    let receiver = Receiver::start().await;
    receiver.script(|_, nth| if nth == 0 { Reply::status(404) } else { Reply::ok() });
    let account = system.external().await;
    account.subscribe(receiver.url("/")).await;
    let letter = event();
    account.publish(&letter).await;
    let failed = system.operator.ended(1).await.remove(0);
    assert_eq!((failed.state, failed.reason), (DeliveryState::Failed, Some(Reason::FinalAnswer)));

    let replayed: Replayed = system.operator.replay_delivery(&failed.webhook_id).await.parsed(202);
    assert_eq!(replayed.webhook_id, failed.webhook_id);
    assert_eq!(replayed.replay_of.as_deref(), Some(failed.id.as_str()));
    assert!(replayed.replay.is_some() && replayed.delivery != failed.id, "{replayed:?}");
    let received = receiver.wait_for(2, LIMIT).await;
    assert_eq!(received[1].header("webhook-id"), received[0].header("webhook-id"));
    assert_eq!(received[1].body, received[0].body);
    signature::check(&received[1], &system.operator.secrets_of(&account).await);

    let recorded = system.operator.ended(2).await;
    let state = |id: &str| recorded.iter().find(|it| it.id == id).map(|it| (it.state, it.attempt_count));
    assert_eq!(state(&failed.id), Some((DeliveryState::Failed, 1)), "what it was stays");
    assert_eq!(state(&replayed.delivery), Some((DeliveryState::Succeeded, 1)));
    assert_eq!((recorded.len(), receiver.count()), (2, 2));
    // What has gone well can be made again too; what has not ended cannot, nor what is not there.
    system.operator.replay_delivery(&replayed.delivery).await.expect(202);
    receiver.wait_for(3, LIMIT).await;
    receiver.script(|_, _| Reply::status(503).header("retry-after", "3600"));
    account.publish(&event()).await;
    let waiting = system.operator.recorded(1, |it| it.state == DeliveryState::RetryWait).await;
    let waiting = waiting.iter().find(|it| it.state == DeliveryState::RetryWait).expect("there is one");
    system.operator.replay_delivery(&waiting.id).await.expect(409);
    system.operator.replay_delivery("msg_00000000000000000000000000000000").await.expect(404);
    // Without its subscription it has nowhere to go.
    account.unsubscribe().await.expect(204);
    eventually(LIMIT, async || system.operator.replay_delivery(&failed.id).await.status == 409).await;
}

async fn an_event_goes_to_a_subscription_that_was_made_after_it(shape: Shape) {
    let system = System::start(shape).await;
    let receiver = Receiver::start().await;
    let (first, second) = (system.external().await, system.external().await);
    first.subscribe(receiver.url("/first")).await;
    let (letter, internal) = (event(), event().with("visibility", 0));
    first.publish(&letter).await;
    first.publish(&internal).await;
    system.operator.ended(1).await;
    system.operator.explained(&first, &internal, |it| it.state == "routed").await;
    second.subscribe(receiver.url("/second")).await;
    let to = system.operator.endpoint_of(&second).await;

    // Each service learns of a subscription by itself, some milliseconds later.
    let replay = async |event: &EventBuilder| system.operator.replay_event(&second, event, &to).await;
    let answer = eventually(LIMIT, async || {
        let answer = replay(&letter).await;
        if answer.status == 404 { Err(answer.to_string()) } else { Ok(answer) }
    })
    .await;
    let own: Replayed = answer.parsed(202);
    assert_eq!((own.replay, own.replay_of), (None, None), "it had none yet: it is the event's own");
    let arrived = receiver.wait_for_at("/second", 1, LIMIT).await.remove(0);
    assert_eq!(arrived.json()["id"], letter.text("id"));
    assert_eq!(arrived.header("webhook-id"), own.webhook_id);
    signature::check(&arrived, &system.operator.secrets_of(&second).await);
    system.operator.ended(2).await;

    let again: Replayed = replay(&letter).await.parsed(202);
    assert!(again.replay.is_some() && again.replay_of.as_deref() == Some(&own.delivery), "{again:?}");
    let arrived = receiver.wait_for_at("/second", 2, LIMIT).await.remove(1);
    assert_eq!(arrived.header("webhook-id"), own.webhook_id);
    let recorded = system.operator.ended(3).await;
    assert!(recorded.iter().all(|it| it.state == DeliveryState::Succeeded), "{recorded:#?}");
    assert_eq!(receiver.received_at("/first").len(), 1, "nobody else got it again");

    // No webhook receives what is not public, no site what is another's, and nobody what was never accepted (N11).
    replay(&internal).await.expect(409);
    replay(&event()).await.expect(404);
    let other = second.at_site("sgbHJdm");
    system.operator.put_site("sgbHJdm").await;
    eventually(LIMIT, async || other.empty_batch().await.status == 204).await;
    other.subscribe(receiver.url("/other")).await;
    let elsewhere = system.operator.endpoint_of(&other).await;
    eventually(LIMIT, async || match system.operator.replay_event(&first, &letter, &elsewhere).await.status {
        409 => Ok(()),
        status => Err(status),
    })
    .await;
    assert_eq!(receiver.count(), 3);
}

async fn many_deliveries_are_counted_first_and_then_made_again_as_a_job_that_can_be_steered(shape: Shape) {
    const FAILED: usize = 40;
    let system = System::start(shape).await;
    let receiver = Receiver::start().await;
    receiver.script(|_, _| Reply::status(404));
    let account = system.external().await;
    account.subscribe(receiver.url("/")).await;
    let events: Vec<EventBuilder> = (0..FAILED).map(|_| event()).collect();
    account.publish_in(Mode::Batch, &events).await;
    let failed = system.operator.ended(FAILED).await;
    receiver.script(|_, _| Reply::ok());
    account.publish(&event()).await; // taken, and no part of it
    system.operator.ended(FAILED + 1).await;

    let operator = &system.operator;
    let wanted = json!({ "state": ["failed"], "site": account.site, "dryRun": true });
    assert_eq!(operator.replay_many(wanted).await.expect(200).json()["count"], FAILED);
    assert_eq!(receiver.count(), FAILED + 1, "counting sends nothing");
    for refused in [json!({ "state": ["scheduled"] }), json!({ "ratePerSecond": 0 }), json!({ "states": ["failed"] })] {
        operator.replay_many(refused).await.expect(400);
    }

    let job: ReplayJob = operator.replay_many(json!({ "state": ["failed"], "ratePerSecond": 10 })).await.parsed(202);
    assert_eq!(job.matched, FAILED as u64);
    receiver.wait_for(FAILED + 1 + 5, LIMIT).await;
    let steer = async |what: &str| operator.steer_replay(&job.id, what).await;
    let paused: ReplayJob = steer("pause").await.parsed(200);
    assert!(paused.published < FAILED as u64, "paused too late: {paused:?}");
    // In this time it would make ten; what it had in hand, a quarter of a second's worth, it may still finish.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let still = operator.replay_job(&job.id).await.expect("it answers");
    assert_eq!(still.state, "paused");
    assert!(still.published <= paused.published + 4, "{paused:?} and then {still:?}");
    steer("resume").await.expect(200);
    let done = eventually(LIMIT, async || match operator.replay_job(&job.id).await {
        Some(job) if job.state == "finished" => Ok(job),
        other => Err(other),
    })
    .await;
    assert_eq!((done.published, done.not_kept, done.skipped), (FAILED as u64, 0, 0));
    steer("cancel").await.expect(409);

    let received = receiver.wait_for(2 * FAILED + 1, LIMIT).await;
    let mut again: Vec<_> = received[FAILED + 1..].iter().map(|it| it.header("webhook-id").to_owned()).collect();
    let mut expected: Vec<_> = failed.iter().map(|it| it.webhook_id.clone()).collect();
    again.sort();
    expected.sort();
    assert_eq!(again, expected, "each of them once");
    let recorded = operator.ended(2 * FAILED + 1).await;
    let succeeded = recorded.iter().filter(|it| it.state == DeliveryState::Succeeded).count();
    assert_eq!((recorded.len(), succeeded), (2 * FAILED + 1, FAILED + 1));
}
