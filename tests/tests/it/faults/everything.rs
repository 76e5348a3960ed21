//! All of it dies at once, as in a power cut, and starts again.

use std::time::Duration;

use slipstream_core::delivery::DeliveryState;
use slipstream_service::clock;
use slipstream_test_support::builders::event;
use slipstream_test_support::{Receiver, Reply};
use slipstream_tests::{LIMIT, Service, Settings, Shape, System, signature};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_kill_9_of_everything_what_waited_is_delivered_and_what_was_configured_is_in_force() {
    let settings = Settings { retry_schedule_ms: vec![0, 4000], ..Settings::default() };
    let mut system = System::with(Shape::FourProcesses, settings).await;
    let receiver = Receiver::start().await;
    receiver.script(|_, nth| if nth == 0 { Reply::status(500) } else { Reply::ok() });
    let account = system.external().await;
    account.subscribe(receiver.url("/")).await;
    let retried = event();
    account.publish(&retried).await;
    let intended = clock::now().after(Duration::from_secs(4));
    let later = event().with("intendeddeliverytime", intended.to_string());
    account.publish(&later).await;
    system.operator.explained(&account, &later, |it| it.state == "held").await;
    system.operator.recorded(1, |it| it.state == DeliveryState::RetryWait).await;

    for service in Service::ALL {
        system.kill9(service);
    }
    system.nats().restart().await;
    for service in Service::ALL {
        system.restart(service).await;
    }
    let received = receiver.wait_for(3, LIMIT).await;
    let secrets = system.operator.secrets_of(&account).await;
    for request in &received {
        signature::check(request, &secrets);
    }
    let of = |id: &str| received.iter().filter(|it| it.json()["id"] == id).collect::<Vec<_>>();
    let attempts = of(retried.text("id"));
    assert_eq!(attempts.len(), 2);
    assert_eq!(attempts[0].header("webhook-id"), attempts[1].header("webhook-id"));
    assert!(of(later.text("id"))[0].timestamp >= intended);
    account.publish(&event()).await;
    let recorded = system.operator.ended(3).await;
    assert!(recorded.iter().all(|it| it.state == DeliveryState::Succeeded), "{recorded:#?}");
    assert_eq!(receiver.count(), 4);
}
