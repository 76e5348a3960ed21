//! Deliveries not yet succeeded are cancelled (SPEC 5.4, S4).

use slipstream_core::delivery::{DeliveryState, Reason};
use slipstream_test_support::builders::{EventBuilder, event};
use slipstream_test_support::{Receiver, Reply, eventually};
use slipstream_tests::{LIMIT, Mode, Shape, System};

slipstream_tests::journeys![unsubscribing_cancels_the_deliveries_that_wait];

async fn unsubscribing_cancels_the_deliveries_that_wait(shape: Shape) {
    let system = System::start(shape).await;
    let receiver = Receiver::start().await;
    receiver.script_path("/busy", |_, _| Reply::status(503).header("retry-after", "3600"));
    let (leaving, staying) = (system.external().await, system.external().await);
    leaving.subscribe(receiver.url("/busy")).await;
    staying.subscribe(receiver.url("/busy")).await;
    let events: Vec<EventBuilder> = (0..20).map(|_| event()).collect();
    leaving.publish_in(Mode::Batch, &events).await;
    let endpoint = system.operator.endpoint_of(&leaving).await;
    // Some were attempted, the others wait without, because the receiver asked for less.
    system.operator.recorded(40, |it| it.next_attempt_at.is_some()).await;
    let bus = system.bus().await;
    assert_eq!(bus.count_schedules("waiting.>").await.expect("the broker answers"), 40);

    leaving.unsubscribe().await.expect(204);
    let recorded = system.operator.ended(20).await;
    for delivery in &recorded {
        let is_ended =
            (delivery.state, delivery.reason) == (DeliveryState::Cancelled, Some(Reason::SubscriptionRemoved));
        assert_eq!(is_ended, delivery.subscription == endpoint, "{delivery:#?}");
    }
    assert_eq!(recorded.len(), 40);
    eventually(LIMIT, async || match bus.count_schedules("waiting.>").await {
        Ok(20) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}
