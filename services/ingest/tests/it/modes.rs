//! Structured, binary and batched: three ways in, one form on the bus (SPEC 3.3, 3.4, 5.2).

use cloudevents::{AttributesReader as _, EventBuilder as _, EventBuilderV10};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use slipstream_bus::StreamName;

use crate::answer::Answer;
use crate::world::{BATCHED, CANARY, STRUCTURED, World, event};

/// The four attributes that every event needs, as headers.
fn with_required(request: RequestBuilder, id: &str) -> RequestBuilder {
    request
        .header("ce-specversion", "1.0")
        .header("ce-id", id)
        .header("ce-source", "https://post.example/letters")
        .header("ce-type", "Test.Canary.Sang")
}

#[tokio::test]
async fn structured_events_are_taken_under_every_spelling_of_their_type() {
    let world = World::new().await;
    let spellings = [
        STRUCTURED,
        "application/cloudevents+json; charset=utf-8",
        "Application/CloudEvents+JSON;charset=\"UTF-8\"",
        "application/cloudevent+json",
    ];
    for (number, content_type) in spellings.into_iter().enumerate() {
        let event = event().id(format!("e{number}"));
        world.publish_bytes(content_type, event.bytes()).await.expect(204);
    }
    let stored = world.stored(StreamName::Events).await;
    let ids: Vec<_> = stored.iter().map(|message| message.json()["id"].clone()).collect();
    assert_eq!(ids, ["e0", "e1", "e2", "e3"]);
}

#[tokio::test]
async fn an_event_is_stored_alike_in_all_three_modes() {
    let world = World::new().await;
    let sent = event().without("time").with("datacontenttype", "application/json").with("priority", 1);
    world.publish(&sent.clone().id("structured")).await.expect(204);
    world.publish_batch(&[sent.clone().id("batched")]).await.expect(204);
    let binary = with_required(world.post(), "binary")
        .header("content-type", "application/json")
        .header("ce-subject", sent.text("subject"))
        .header("ce-visibility", "1")
        .header("ce-priority", "1");
    Answer::to(binary.body(sent.json()["data"].to_string())).await.expect(204);

    let stored = world.stored(StreamName::Events).await;
    let [structured, batched, binary] = &stored[..] else { panic!("{} are stored", stored.len()) };
    let expected = structured.json();
    for (message, id) in [(batched, "batched"), (binary, "binary")] {
        assert_eq!(message.subject, structured.subject);
        let mut json = message.json();
        assert_eq!(json["id"].take(), id);
        json["id"] = "structured".into();
        assert_eq!(json, expected);
    }
}

#[tokio::test]
async fn binary_attributes_are_decoded_and_typed() {
    let world = World::new().await;
    let request = with_required(world.post(), "%e2%82%ac 1")
        .header("CE-Subject", "Euro%20%E2%82%AC%20%F0%9F%98%80")
        .header("ce-quoted", "\"a \\\"b\\\"\"")
        .header("ce-visibility", "1")
        .header("ce-priority", "2")
        .header("ce-billingpax", "3")
        .header("ce-deprecated", "true")
        .header("ce-unknown", "2");
    Answer::to(request).await.expect(204);
    let stored = world.only(StreamName::Events).await;
    let json = stored.json();
    assert_eq!(json["id"], "€ 1");
    assert_eq!(json["subject"], "Euro € 😀");
    assert_eq!(json["quoted"], "a \"b\"");
    assert_eq!(json["visibility"], 1);
    assert_eq!(json["billingpax"], 3);
    assert_eq!(json["deprecated"], true);
    assert_eq!(json["unknown"], "2");
    assert!(json.get("data").is_none() && json.get("data_base64").is_none());
    assert!(stored.subject.starts_with("events.public.realtime."), "{}", stored.subject);
}

#[tokio::test]
async fn binary_data_keeps_its_kind() {
    let world = World::new().await;
    let default = "application/slipstreamevent+json";
    let cases: [(Option<&str>, &[u8], Value); 9] = [
        (Some("application/json"), br#"{"a":[1]}"#, json!({"datacontenttype": "application/json", "data": {"a": [1]}})),
        (Some("application/x+json"), b"null", json!({"datacontenttype": "application/x+json", "data": null})),
        (Some("application/json"), b"\"text\"", json!({"datacontenttype": "application/json", "data": "text"})),
        (Some("text/plain"), b"{}", json!({"datacontenttype": "text/plain", "data": "{}"})),
        (Some("image/png"), b"\x89P", json!({"datacontenttype": "image/png", "data_base64": "iVA="})),
        (Some("application/json"), b"", json!({"datacontenttype": "application/json"})),
        (None, b"{\"a\":1}", json!({"datacontenttype": default, "data": {"a": 1}})),
        (None, b"\xff\x00", json!({"data_base64": "/wA="})),
        (None, b"", json!({})),
    ];
    for (number, (content_type, body, expected)) in cases.iter().enumerate() {
        let mut request = with_required(world.post(), &number.to_string());
        if let Some(content_type) = content_type {
            request = request.header("content-type", *content_type);
        }
        Answer::to(request.body(body.to_vec())).await.expect(204);
        let stored = world.stored(StreamName::Events).await;
        let json = stored.last().expect("it is stored").json();
        for member in ["datacontenttype", "data", "data_base64"] {
            assert_eq!(json.get(member), expected.get(member), "case {number}, {member}");
        }
    }
}

#[tokio::test]
async fn binary_requests_that_are_almost_events_name_what_is_missing() {
    let world = World::new().await;
    let without_source = world.post().header("ce-specversion", "1.0").header("ce-id", "1").header("ce-type", "T");
    Answer::to(without_source).await.expect_invalid(&["#/source"]);
    Answer::to(world.post().header("ce-id", "1")).await.expect_invalid(&["#/specversion", "#/source", "#/type"]);
    let named_twice = with_required(world.post(), "1").header("ce-id", "2");
    Answer::to(named_twice).await.expect_invalid(&["#/id"]);
    let typed_in_header = with_required(world.post(), "1").header("ce-datacontenttype", "text/plain");
    Answer::to(typed_in_header).await.expect_invalid(&["#/datacontenttype"]);
    let not_json = with_required(world.post(), "1").header("content-type", "application/json").body(CANARY);
    Answer::to(not_json).await.expect_invalid(&["#/data"]);
    let other_version = with_required(world.post(), "1").header("ce-specversion", "0.3");
    Answer::to(other_version).await.expect(400);
    world.expect_nothing_stored().await;
}

#[tokio::test]
async fn what_is_no_cloud_event_is_415() {
    let world = World::new().await;
    let body = event().bytes();
    Answer::to(world.post().body(body.clone())).await.expect(415);
    for content_type in [
        "application/json",
        "text/plain",
        "application/cloudevents",
        "application/cloudevents+avro",
        "application/cloudevents+protobuf",
        "application/cloudevents-batch+avro",
        "application/cloudevents+json; charset=iso-8859-1",
        "application/cloudevents-batch+json; charset=utf-16",
        "nonsense",
    ] {
        let answer = world.publish_bytes(content_type, body.clone()).await;
        assert_eq!(answer.expect(415).kind(), "about:blank", "{content_type}");
    }
    world.expect_nothing_stored().await;
}

#[tokio::test]
async fn the_body_of_a_structured_event_wins_over_headers() {
    let world = World::new().await;
    let request = world.post().header("content-type", STRUCTURED).header("ce-id", "header").header("ce-type", "Header");
    Answer::to(request.body(event().id("body").bytes())).await.expect(204);
    let json = world.only(StreamName::Events).await.json();
    assert_eq!(json["id"], "body");
    assert_eq!(json["type"], "Test.Canary.Sang");
}

#[tokio::test]
async fn an_empty_batch_is_204_and_leaves_nothing() {
    let world = World::new().await;
    for body in ["[]", " [ ] "] {
        world.publish_bytes(BATCHED, body).await.expect(204);
    }
    world.expect_nothing_stored().await;
}

#[tokio::test]
async fn events_of_the_public_sdk_go_in_and_come_back() {
    let world = World::new().await;
    let sent = EventBuilderV10::new()
        .id("sdk-1")
        .source("https://post.example/letters")
        .ty("Test.Canary.Sang")
        .subject("a subject")
        .time("2026-03-02T09:30:00Z")
        .extension("visibility", 1_i64)
        .extension("custom", "kept")
        .data("application/json", json!({ "note": CANARY }))
        .build()
        .unwrap();
    let batch = serde_json::to_vec(&[&sent]).unwrap();
    world.publish_bytes(STRUCTURED, serde_json::to_vec(&sent).unwrap()).await.expect(204);
    world.publish_bytes(BATCHED, batch).await.expect(204);

    let stored = world.only(StreamName::Events).await;
    let back: cloudevents::Event = serde_json::from_slice(&stored.payload).unwrap();
    assert_eq!((back.id(), back.ty(), back.subject()), (sent.id(), sent.ty(), sent.subject()));
    assert_eq!(
        (back.time(), back.data(), back.extension("custom")),
        (sent.time(), sent.data(), sent.extension("custom"))
    );
}

#[tokio::test]
async fn only_headers_of_our_own_making_reach_the_bus() {
    let world = World::new().await;
    let request = with_required(world.post(), "1").header("x-evil", "a").header("nats-msg-id", "b");
    let request = request.header("nats-expected-stream", "OTHER").header("nats-rollup", "all").header("slip-meta", "c");
    Answer::to(request.header("ce-visibility", "1").body("{}")).await.expect(204);
    let stored = world.only(StreamName::Events).await;
    let mut names = stored.header_names();
    names.retain(|name| !name.starts_with("Nats-Batch-"));
    assert_eq!(names, ["Nats-Msg-Id", "Slip-Meta", "traceparent"]);
    let _ = (stored.meta(), stored.trace());
}
