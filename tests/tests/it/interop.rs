//! Other people's libraries on both ends: they publish what we take, and verify what we send.

use std::collections::HashSet;

use serde_json::json;
use slipstream_core::delivery::DeliveryState;
use slipstream_test_support::Receiver;
use slipstream_tests::interop::{Sdk, Verifier, publish};
use slipstream_tests::{LIMIT, Mode, System};

mod rotating;
mod rust_sdk;

/// Publishes with an SDK in each of its modes, and checks every webhook: its attributes, and its signature with the
/// Standard Webhooks library.
async fn events_of_an_sdk_arrive(sdk: Sdk, modes: &[&str]) {
    const EVENTS: usize = 3;
    let system = System::four_processes().await;
    let receiver = Receiver::start().await;
    let account = system.external().await;
    account.subscribe(receiver.url("/")).await;
    let mut ids = HashSet::new();
    for mode in modes {
        let published = publish(sdk, &system, &account, mode, EVENTS).await;
        let requests = if *mode == "batch" { 1 } else { EVENTS };
        assert_eq!(published.statuses, vec![204; requests], "{mode}: {:?}", published.bodies);
        assert!(published.bodies.iter().all(String::is_empty), "{:?}", published.bodies);
        ids.extend(published.ids);
    }
    assert_eq!(ids.len(), modes.len() * EVENTS);

    let received = receiver.wait_for(ids.len(), LIMIT).await;
    let arrived: HashSet<_> =
        received.iter().map(|it| it.json()["id"].as_str().unwrap_or_default().to_owned()).collect();
    assert_eq!(arrived, ids);
    for request in &received {
        let event = request.json();
        let id = event["id"].as_str().expect("an id is a text");
        let number: usize = id.rsplit('-').next().and_then(|number| number.parse().ok()).expect("the id ends in it");
        assert_eq!(event["source"], "https://post.example/letters", "{event}");
        assert_eq!(event["type"], "communications.letter.created", "{event}");
        assert_eq!(event["datacontenttype"], "application/json", "{event}");
        assert_eq!(event["visibility"], 1, "{event}");
        let subject = event["subject"].as_str().expect("a subject is a text");
        // The JavaScript SDK does not encode headers.
        let is_plain = id.starts_with("JavaScript-binary");
        let name = if is_plain { "for Zoe" } else { "„für Zoë“" };
        assert_eq!(subject, format!("letter {number} {name}"), "{event}");
        let data = json!({ "recordId": id, "color": false, "express": number % 2 == 1, "status": "Created",
            "note": "Zoë 🦷" });
        assert_eq!(event["data"], data, "{event}");
    }

    let secrets = system.operator.secrets_of(&account).await;
    let signed: Vec<_> = received.iter().map(|request| (request.as_ref(), secrets[0].as_str())).collect();
    for verifier in Verifier::ALL {
        assert_eq!(verifier.verify(&signed).await, vec!["ok"; received.len()], "{verifier:?}");
    }
    let recorded = system.operator.ended(ids.len()).await;
    assert!(recorded.iter().all(|it| it.state == DeliveryState::Succeeded), "{recorded:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_the_javascript_sdk_arrive_and_verify() {
    events_of_an_sdk_arrive(Sdk::JavaScript, &["structured", "binary", "batch"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_the_python_sdk_arrive_and_verify() {
    events_of_an_sdk_arrive(Sdk::Python, &["structured", "binary"]).await;
}

/// The check above would be worth nothing if the libraries said ok to everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_standard_webhooks_libraries_refuse_what_another_endpoint_got() {
    let system = System::four_processes().await;
    let receiver = Receiver::start().await;
    let (first, second) = (system.external().await, system.external().await);
    first.subscribe(receiver.url("/first")).await;
    second.subscribe(receiver.url("/second")).await;
    first.publish_in(Mode::Structured, &[slipstream_test_support::builders::event()]).await;
    receiver.wait_for(2, LIMIT).await;
    let (first, second) = (receiver.received_at("/first").remove(0), system.operator.secrets_of(&second).await);
    for verifier in Verifier::ALL {
        let told = verifier.verify(&[(&first, &second[0])]).await;
        assert!(told[0].starts_with("failed: "), "{verifier:?}: {told:?}");
    }
}
