//! Events built with the CloudEvents SDK for Rust, in every mode.

use cloudevents::event::ExtensionValue;
use cloudevents::{AttributesReader as _, EventBuilder as _, EventBuilderV10};
use serde_json::json;
use slipstream_core::event::{self, Event};
use slipstream_test_support::Receiver;
use slipstream_tests::{Account, LIMIT, System};

fn letter(id: &str) -> cloudevents::Event {
    let builder = EventBuilderV10::new()
        .id(id)
        .source("https://post.example/letters")
        .ty("communications.letter.created")
        .subject("letter „für Zoë“")
        .extension("visibility", ExtensionValue::Integer(1))
        .extension("urgent", ExtensionValue::Boolean(true))
        .data("application/json", json!({ "recordId": id, "note": "Zoë 🦷" }));
    builder.build().expect("all that is required is set")
}

async fn publish_binary(account: &Account, event: &cloudevents::Event) {
    let (headers, body) = event::http::write_binary(&Event::try_from(event).expect("the event is valid"));
    let request = account.publishing().header("x-api-key", &account.key).body(body);
    let request = headers.into_iter().fold(request, |request, (name, value)| request.header(name, value));
    account.send(request).await.expect(204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_the_rust_sdk_arrive_and_can_be_read_by_it() {
    let system = System::one_process().await;
    let receiver = Receiver::start().await;
    let account = system.external().await;
    account.subscribe(receiver.url("/")).await;
    let json = |event: &cloudevents::Event| serde_json::to_vec(event).expect("the SDK writes JSON");
    // The SDK's own JSON, our writer of binary mode on the SDK's type, and the SDK's own JSON again.
    account.publish_body("application/cloudevents+json", json(&letter("structured"))).await.expect(204);
    publish_binary(&account, &letter("binary")).await;
    let batch = serde_json::to_vec(&[letter("batch 1"), letter("batch 2")]).expect("the SDK writes JSON");
    account.publish_body("application/cloudevents-batch+json", batch).await.expect(204);

    let received = receiver.wait_for(4, LIMIT).await;
    for request in received {
        let read: cloudevents::Event = serde_json::from_slice(&request.body).expect("the SDK reads what we send");
        let sent = letter(read.id());
        let extension = |event: &cloudevents::Event, name: &str| event.extension(name).map(ToString::to_string);
        assert_eq!((read.source(), read.ty(), read.subject()), (sent.source(), sent.ty(), sent.subject()));
        assert_eq!(read.data(), sent.data());
        for name in ["visibility", "urgent"] {
            assert_eq!(extension(&read, name), extension(&sent, name), "{name}");
        }
    }
}
