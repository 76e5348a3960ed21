//! Our codec and the public SDK's, each judging what the other wrote.

use cloudevents::{AttributesReader as _, EventBuilder as _, EventBuilderV10};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::event::json;

fn built() -> EventBuilderV10 {
    EventBuilderV10::new().id("1").source("https://post.example/letters").ty("communications.letter.created")
}

#[test]
fn events_of_the_sdk_come_over_whole() {
    let sdk = built()
        .subject("s")
        .time("2026-03-02T10:30:00.5+01:00")
        .extension("priority", 2)
        .extension("flag", true)
        .data_with_schema("application/json", "https://schema.example/a", json!({"recordId": "x"}))
        .build()
        .unwrap();
    let event = Event::try_from(&sdk).unwrap();
    assert_eq!(event.time.as_deref(), Some("2026-03-02T09:30:00.500Z"));
    assert_eq!(event.extension("priority"), Some(&Value::Integer(2)));
    assert_eq!(event.dataschema.as_deref(), Some("https://schema.example/a"));
    assert_eq!(cloudevents::Event::try_from(event).unwrap(), sdk);
}

#[test]
fn what_the_sdk_lets_pass_is_refused() {
    for (sdk, pointer) in [
        (built().id("").build().unwrap(), "#/id"),
        (built().extension("id", "2").build().unwrap(), "#/id"),
        (built().extension("Upper", "x").build().unwrap(), "#/Upper"),
        (built().extension("big", i64::from(i32::MAX) + 1).build().unwrap(), "#/big"),
        (built().data("xyz", "x").build().unwrap(), "#/datacontenttype"),
        (cloudevents::EventBuilderV03::new().id("1").source("http://a/").ty("t").build().unwrap(), "#/specversion"),
    ] {
        let InvalidSdkEvent(errors) = Event::try_from(&sdk).expect_err(pointer);
        assert_eq!(errors.iter().map(|error| error.pointer.as_str()).collect::<Vec<_>>(), [pointer]);
    }
}

#[test]
fn json_that_the_sdk_holds_as_bytes_becomes_json_again() {
    let sdk = built().data("application/json", b"{\"b\":1}".to_vec()).build().unwrap();
    assert!(matches!(Event::try_from(&sdk).unwrap().data, Some(Data::Json(raw)) if raw.get() == "{\"b\":1}"));
    let sdk = built().data("image/png", vec![0u8, 255]).build().unwrap();
    assert_eq!(Event::try_from(&sdk).unwrap().data, Some(Data::Binary("AP8=".into())));
}

#[test]
fn the_sdk_writes_what_we_read() {
    for sdk in [
        built().build().unwrap(),
        built().data("application/json", json!([1, {"a": null}])).build().unwrap(),
        built().data("text/plain", "é\n").build().unwrap(),
        built().data("application/xml", vec![1u8, 2]).extension("n", -5).build().unwrap(),
    ] {
        let written = serde_json::to_vec(&sdk).unwrap();
        assert_eq!(json::parse(&written).unwrap(), Event::try_from(&sdk).unwrap());
    }
}

proptest! {
    #[test]
    fn the_sdk_reads_what_we_write(event in crate::event::events()) {
        // The SDK knows JSON types in lower case and without parameters only.
        prop_assume!(matches!(event.datacontenttype.as_deref(), None | Some("application/json" | "text/plain")));
        let mut written = Vec::new();
        json::write(&event, &mut written);
        let sdk: cloudevents::Event = serde_json::from_slice(&written).unwrap();
        prop_assert_eq!(sdk.id(), &event.id);
        prop_assert_eq!(sdk.source(), &event.source);
        prop_assert_eq!(sdk.ty(), &event.event_type);
        prop_assert_eq!(sdk.subject(), event.subject.as_deref());
        prop_assert_eq!(sdk.iter_extensions().count(), event.extensions.len());
        for (name, value) in &event.extensions {
            prop_assert_eq!(sdk.extension(name).map(ToString::to_string), Some(value.canonical().into_owned()));
        }
        if let Some(Data::Text(text)) = &event.data {
            prop_assert_eq!(sdk.data(), Some(&SdkData::String(text.clone())));
        }
    }
}
