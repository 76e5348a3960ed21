//! Valid events of every kind are accepted and forwarded equal (SPEC 9.1: what `cloudevents invoke` posts).
//!
//! `conformance/events.json` holds events in our own words that cover what the public suite's do, with a letter's type
//! and public, so that a webhook carries them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use slipstream_test_support::{Receiver, builders};
use slipstream_tests::{LIMIT, Mode, Shape, System};

slipstream_tests::journeys![valid_events_of_every_kind_are_forwarded_equal_in_every_mode];

const EVENTS: &str = include_str!("conformance/events.json");

/// Each valid event as a builder, its id made unlike those of other modes.
fn events(mode: Mode) -> Vec<builders::EventBuilder> {
    let events: Vec<serde_json::Map<String, Value>> = serde_json::from_str(EVENTS).expect("the file is JSON");
    let build = |event: serde_json::Map<String, Value>| {
        let empty = ["specversion", "id", "source", "type", "subject", "time", "visibility", "data"]
            .into_iter()
            .fold(builders::event(), builders::EventBuilder::without);
        let id = format!("{} {mode:?}", event["id"].as_str().expect("an id is a text"));
        event.into_iter().fold(empty, |built, (name, value)| built.with(&name, value)).id(id)
    };
    events.into_iter().map(build).collect()
}

/// A value as a header would carry it: extensions that we do not know come out of binary mode as texts.
fn canonical(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The data as bytes, for types that are not JSON.
fn bytes(event: &Value) -> Option<Vec<u8>> {
    let text = event.get("data").and_then(Value::as_str).map(|text| text.as_bytes().to_vec());
    let encoded = event.get("data_base64").and_then(Value::as_str);
    text.or_else(|| encoded.map(|encoded| STANDARD.decode(encoded).expect("it is Base64")))
}

fn check_equal(sent: &Value, forwarded: &Value) {
    for (name, value) in sent.as_object().expect("an event is an object") {
        if !matches!(name.as_str(), "data" | "data_base64") {
            assert_eq!(canonical(&forwarded[name]), canonical(value), "{name} of {forwarded}");
        }
    }
    let is_json = sent.get("datacontenttype").and_then(Value::as_str).is_none_or(|it| it.contains("json"));
    if is_json && sent.get("data").is_some() {
        assert_eq!(forwarded.get("data"), sent.get("data"), "{forwarded}");
    } else {
        assert_eq!(bytes(forwarded), bytes(sent), "{forwarded}");
    }
}

async fn valid_events_of_every_kind_are_forwarded_equal_in_every_mode(shape: Shape) {
    let system = System::start(shape).await;
    let receiver = Receiver::start().await;
    let account = system.external().await;
    account.subscribe(receiver.url("/")).await;
    for mode in [Mode::Structured, Mode::Binary, Mode::Batch] {
        receiver.clear();
        let events = events(mode);
        account.publish_in(mode, &events).await;
        let received = receiver.wait_for(events.len(), LIMIT).await;
        for sent in events {
            let forwarded = received.iter().map(|it| it.json()).find(|it| it["id"] == sent.text("id"));
            check_equal(&sent.json(), &forwarded.unwrap_or_else(|| panic!("{} did not arrive", sent.text("id"))));
        }
    }
}
