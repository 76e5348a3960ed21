//! Receivers that do not answer 2xx (SPEC 4.2, 4.3).

use std::time::Duration;

use slipstream_core::answer::ErrorCode;
use slipstream_core::delivery::{DeliveryState, Reason};
use slipstream_test_support::builders::event;
use slipstream_test_support::{Receiver, Reply, eventually};
use slipstream_tests::{Handshake, LIMIT, Settings, Shape, System, Targets, signature};

slipstream_tests::journeys![
    a_503_is_retried_under_the_same_webhook_id_and_not_before_its_retry_after,
    a_404_is_final_and_a_302_is_not_followed,
    a_410_disables_the_endpoint_until_it_is_put_again,
    a_delivery_without_attempts_left_is_a_dead_letter,
    a_target_that_is_no_longer_allowed_gets_no_packet,
];

async fn a_503_is_retried_under_the_same_webhook_id_and_not_before_its_retry_after(shape: Shape) {
    let system = System::start(shape).await;
    let receiver = Receiver::start().await;
    receiver.script(|_, nth| match nth {
        0 => Reply::status(503).header("retry-after", "2").body("busy"),
        1 => Reply::reset(),
        _ => Reply::ok(),
    });
    let account = system.external().await;
    account.subscribe(receiver.url("/")).await;
    account.publish(&event()).await;

    let received = receiver.wait_for(3, LIMIT).await;
    let wait = received[1].at - received[0].at;
    assert!(wait >= Duration::from_secs(2), "{wait:?}");
    let secrets = system.operator.secrets_of(&account).await;
    for request in &received {
        assert_eq!(request.header("webhook-id"), received[0].header("webhook-id"));
        assert_eq!(request.body, received[0].body);
        signature::check(request, &secrets);
    }
    assert_ne!(received[0].header("webhook-timestamp"), received[1].header("webhook-timestamp"));

    let recorded = system.operator.ended(1).await.remove(0);
    assert_eq!((recorded.state, recorded.attempt_count), (DeliveryState::Succeeded, 3));
    let attempts = system.operator.delivery(&recorded.id).await.attempts;
    let told: Vec<_> = attempts.iter().map(|it| (it.number, it.status, it.error)).collect();
    assert_eq!(told, [(1, Some(503), None), (2, None, Some(ErrorCode::Protocol)), (3, Some(200), None)]);
    assert_eq!(attempts[0].response.as_deref(), Some("busy"));
}

async fn a_404_is_final_and_a_302_is_not_followed(shape: Shape) {
    let system = System::start(shape).await;
    let receiver = Receiver::start().await;
    let elsewhere = receiver.url("/elsewhere");
    receiver.script_path("/missing", |_, _| Reply::status(404));
    receiver.script_path("/moved", move |_, nth| {
        if nth == 0 { Reply::status(302).header("location", &elsewhere) } else { Reply::ok() }
    });
    for path in ["/missing", "/moved"] {
        system.external().await.subscribe(receiver.url(path)).await;
    }
    system.external().await.publish(&event()).await;

    let recorded = system.operator.ended(2).await;
    let ended = |state| recorded.iter().find(|it| it.state == state).unwrap_or_else(|| panic!("{recorded:#?}"));
    let missing = ended(DeliveryState::Failed);
    assert_eq!((missing.reason, missing.attempt_count), (Some(Reason::FinalAnswer), 1));
    assert_eq!(ended(DeliveryState::Succeeded).attempt_count, 2);
    assert_eq!(receiver.received_at("/missing").len(), 1);
    assert_eq!(receiver.received_at("/moved").len(), 2);
    assert_eq!(receiver.received_at("/elsewhere").len(), 0);
    let dead = system.operator.dead_letters().await;
    assert_eq!(dead.iter().map(|it| &it.id).collect::<Vec<_>>(), [&missing.id]);
}

async fn a_410_disables_the_endpoint_until_it_is_put_again(shape: Shape) {
    let system = System::start(shape).await;
    let receiver = Receiver::start().await;
    receiver.script(|_, nth| if nth == 0 { Reply::status(410) } else { Reply::ok() });
    let account = system.external().await;
    account.subscribe(receiver.url("/")).await;
    account.publish(&event()).await;
    receiver.wait_for(1, LIMIT).await;
    eventually(LIMIT, async || match account.webhook_labels().await {
        labels if labels == ["state:disabled"] => Ok(()),
        labels => Err(labels),
    })
    .await;
    account.publish(&event()).await;
    let recorded = system.operator.ended(2).await;
    let reasons: Vec<_> = recorded.iter().map(|it| (it.state, it.reason, it.attempt_count)).collect();
    assert!(reasons.contains(&(DeliveryState::Failed, Some(Reason::EndpointGone), 1)), "{reasons:?}");
    assert!(reasons.contains(&(DeliveryState::Cancelled, Some(Reason::EndpointDisabled), 0)), "{reasons:?}");

    account.subscribe(receiver.url("/")).await;
    assert_eq!(account.webhook_labels().await, ["state:active"]);
    // The dispatcher hears of it by itself, some milliseconds later; an event in between would be cancelled too.
    let received = eventually(LIMIT, async || {
        account.publish(&event()).await;
        receiver.received().get(1).cloned()
    })
    .await;
    signature::check(&received, &system.operator.secrets_of(&account).await);
}

async fn a_delivery_without_attempts_left_is_a_dead_letter(shape: Shape) {
    let system = System::start(shape).await;
    let receiver = Receiver::start().await;
    receiver.script(|_, _| Reply::status(500));
    let account = system.external().await;
    account.subscribe(receiver.url("/")).await;
    let letter = event();
    account.publish(&letter).await;
    let recorded = system.operator.ended(1).await.remove(0);
    assert_eq!((recorded.state, recorded.reason), (DeliveryState::Exhausted, Some(Reason::NoAttemptsLeft)));
    assert_eq!((recorded.attempt_count, receiver.count()), (3, 3));
    let dead = system.operator.dead_letters().await;
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].event_id.as_deref(), Some(letter.text("id")));
}

/// What was allowed when it was registered is judged again at every attempt.
async fn a_target_that_is_no_longer_allowed_gets_no_packet(shape: Shape) {
    // The registry, which asks for consent, has no such policy: it stays out of this.
    let settings = Settings { delivery_targets: Targets::Global, handshake: Handshake::Off, ..Settings::default() };
    let system = System::with(shape, settings).await;
    let receiver = Receiver::start().await;
    let account = system.external().await;
    account.subscribe(receiver.url("/")).await;
    account.publish(&event()).await;
    let recorded = system.operator.ended(1).await.remove(0);
    let attempts = system.operator.delivery(&recorded.id).await.attempts;
    assert!(attempts.iter().all(|it| it.error == Some(ErrorCode::TargetNotAllowed)), "{attempts:?}");
    assert_eq!((attempts.len(), recorded.state), (3, DeliveryState::Exhausted));
    assert_eq!(receiver.connections(), 0);
}
