//! Everything that can grow has a limit, and an answer beyond it (SPEC 2.1, THREATS 7).

use serde_json::json;
use slipstream_bus::{StreamName, subject};
use slipstream_test_support::builders::{self, EventBuilder};

use crate::answer::Answer;
use crate::world::{BATCHED, PATH, STRUCTURED, World, event};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// The event in JSON, followed by white space up to `bytes`.
fn padded(event: &EventBuilder, bytes: usize) -> Vec<u8> {
    let mut body = event.bytes();
    assert!(body.len() <= bytes);
    body.resize(bytes, b' ');
    body
}

#[tokio::test]
async fn a_body_of_1_mib_is_taken_and_one_more_byte_is_413() {
    let world = World::new().await;
    world.publish_bytes(STRUCTURED, padded(&event(), MIB + 1)).await.expect(413);
    // Without a length beforehand.
    let pieces = padded(&event(), MIB + 1).chunks(64 * KIB).fold(String::new(), |chunked, piece| {
        let piece = std::str::from_utf8(piece).unwrap();
        chunked + &format!("{:x}\r\n{piece}\r\n", piece.len())
    });
    let head = world.raw_head(0).replace("Content-Length: 0", "Transfer-Encoding: chunked");
    let request = format!("{head}Content-Type: {STRUCTURED}\r\n\r\n{pieces}0\r\n\r\n");
    let answer = world.send_raw(request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("application/problem+json"), "{answer}");
    world.expect_nothing_stored().await;
    world.publish_bytes(STRUCTURED, padded(&event(), MIB)).await.expect(204);
    assert_eq!(world.count_stored(StreamName::Events).await, 1);
}

#[tokio::test]
async fn an_event_above_256_kib_is_413_in_every_mode() {
    let world = World::new().await;
    let large = event().sized(256 * KIB + 1);
    let answer = world.publish(&large).await;
    assert_eq!(answer.expect(413).pointers(), ["#"]);
    let answer = world.publish_batch(&[event(), large]).await;
    assert_eq!(answer.expect(413).pointers(), ["#/1"]);
    let binary = world.post().header("content-type", "application/octet-stream").header("ce-specversion", "1.0");
    let binary = binary.header("ce-id", "1").header("ce-source", "/s").header("ce-type", "T");
    // In Base64 it is a third larger.
    Answer::to(binary.body(vec![0; 200 * KIB])).await.expect(413);
    world.expect_nothing_stored().await;
    // What the site fills in counts too.
    world.publish(&event().sized(255 * KIB)).await.expect(204);
    assert!(world.only(StreamName::Events).await.payload.len() > 255 * KIB);
}

#[tokio::test]
async fn four_large_events_fit_one_batch() {
    let world = World::new().await;
    let batch: Vec<_> = (0..4).map(|_| event().sized(250 * KIB)).collect();
    world.publish_batch(&batch).await.expect(204);
    assert_eq!(world.count_stored(StreamName::Events).await, 4);
}

#[tokio::test]
async fn an_event_of_64_kib_is_taken_wherever_its_bytes_are() {
    let world = World::new().await;
    let long = "x".repeat(60 * KIB);
    for name in ["type", "id", "source", "subject", "custom", "traceparent", "billingsku", "partitionkey"] {
        let event = event().with(name, long.as_str());
        let event = event.with("datacontenttype", "application/json");
        assert!(event.bytes().len() <= 64 * KIB);
        world.publish(&event).await.expect(204);
        let stored = world.stored(StreamName::Events).await;
        let stored = stored.last().unwrap();
        assert_eq!(stored.json()[name], long, "{name}");
        assert!(stored.subject.len() < KIB, "{name}: {}", stored.subject);
        if name == "type" {
            let encoded = stored.subject.strip_prefix("events.public.normal.s8n6EzC.").unwrap();
            assert_eq!(subject::decode_type(encoded), None, "a type this long is hashed");
        }
    }
    world.publish(&event().sized(64 * KIB)).await.expect(204);
    world.publish(&event().kind(&"é.".repeat(20 * KIB))).await.expect(204);
    assert_eq!(world.count_stored(StreamName::Events).await, 10);
}

#[tokio::test]
async fn packed_bodies_are_415_and_never_unpacked() {
    let world = World::new().await;
    for (encoding, status) in [("gzip", 415), ("deflate", 415), ("br", 415), ("zstd", 415), ("identity", 204)] {
        let request = world.post().header("content-type", STRUCTURED).header("content-encoding", encoding);
        Answer::to(request.body(event().bytes())).await.expect(status);
    }
    assert_eq!(world.count_stored(StreamName::Events).await, 1);
}

#[tokio::test]
async fn json_is_nested_64_deep_at_most() {
    let world = World::new().await;
    // The event's own object is the first level.
    let nested = |depth: usize| {
        let (open, close) = ("[".repeat(depth - 1), "]".repeat(depth - 1));
        format!(r#"{{"specversion":"1.0","id":"{depth}","source":"/s","type":"T","data":{open}{close}}}"#)
    };
    world.publish_bytes(STRUCTURED, nested(64)).await.expect(204);
    for depth in [65, 1000, 400_000] {
        world.publish_bytes(STRUCTURED, nested(depth)).await.expect_invalid(&["#/data"]);
        world.publish_bytes(BATCHED, format!("[{}]", nested(depth))).await.expect_invalid(&["#/0/data"]);
    }
    assert_eq!(world.count_stored(StreamName::Events).await, 1);
}

#[tokio::test]
async fn attribute_names_have_64_characters_at_most() {
    let world = World::new().await;
    world.publish(&event().with(&"a".repeat(64), "x")).await.expect(204);
    let answer = world.publish(&event().with(&"a".repeat(65), "x")).await;
    assert_eq!(answer.expect(400).pointers().len(), 1);
    let answer = world.publish(&event().with(&"a".repeat(100 * KIB), "x")).await;
    assert!(answer.expect(400).text.len() < KIB, "a name is not repeated whole: {}", answer.text);
}

#[tokio::test]
async fn a_hundred_and_one_header_fields_are_431() {
    let world = World::new().await;
    let body = event().bytes();
    // Four stand there already, the content type is the fifth.
    let head = |fields: usize| {
        let head = format!("{}Content-Type: {STRUCTURED}\r\n", world.raw_head(body.len()));
        let head = (5..fields).fold(head, |head, number| head + &format!("X-{number}: 1\r\n"));
        [head.as_bytes(), b"\r\n", &body].concat()
    };
    let refused = world.send_raw(&head(101)).await;
    assert!(refused.starts_with("HTTP/1.1 431"), "{refused}");
    let taken = world.send_raw(&head(100)).await;
    assert!(taken.starts_with("HTTP/1.1 204"), "{taken}");
}

#[tokio::test]
async fn a_refusal_reaches_a_sender_of_a_large_body_that_is_not_wanted() {
    let world = World::new().await;
    let body = padded(&event(), 900 * KIB);
    let wrong_key = world.request("POST", PATH).header("content-type", STRUCTURED).body(body.clone());
    let foreign_site = world.request("POST", "/sites/sgbHJdm/events").header("x-api-key", &world.account.primary_key);
    let wrong_type = world.post().header("content-type", "application/cloudevents+avro").body(body.clone());
    for (request, status) in [(wrong_key, 401), (foreign_site.body(body), 403), (wrong_type, 415)] {
        Answer::to(request).await.expect(status);
    }
    world.expect_nothing_stored().await;
}

#[tokio::test]
async fn letters_of_internal_accounts_are_held_to_their_schema() {
    let world = World::new().await;
    world.publish(&builders::event()).await.expect(204);
    let broken = builders::event().with("data", json!({"recordId": crate::world::CANARY, "color": "no"}));
    world.publish(&broken).await.expect_invalid(&["#/data/color", "#/data/recordId"]);
    let external = builders::account().external();
    world.add(&external).await;
    world.publish_as(&external, &broken).await.expect(204);
}
