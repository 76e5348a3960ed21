//! The HTTP binding: modes, headers and their encoding.

use proptest::prelude::*;

use super::*;
use crate::event::events;

const REQUIRED: [(&str, &str); 4] = [("ce-specversion", "1.0"), ("CE-Id", "1"), ("ce-source", "/s"), ("Ce-Type", "t")];

fn read(extra: &[(&str, &str)], content_type: Option<&str>, body: &[u8]) -> Result<Event, BinaryError> {
    let all = REQUIRED.iter().filter(|(name, _)| !extra.iter().any(|(other, _)| other == name)).chain(extra);
    parse_binary(all.map(|(name, value)| (*name, value.as_bytes())), content_type, body)
}

fn refused(extra: &[(&str, &str)], content_type: Option<&str>, body: &[u8]) -> Vec<String> {
    match read(extra, content_type, body) {
        Err(BinaryError::Invalid(errors)) => errors.into_iter().map(|error| error.pointer).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_content_type_decides_the_mode() {
    for (content_type, expected) in [
        (None, Ok(Mode::Binary)),
        (Some(""), Ok(Mode::Binary)),
        (Some("application/json"), Ok(Mode::Binary)),
        (Some("application/json; charset=latin1"), Ok(Mode::Binary)),
        (Some("application/cloudevents+json"), Ok(Mode::Structured)),
        (Some("Application/CloudEvents+JSON ; Charset=\"UTF-8\""), Ok(Mode::Structured)),
        (Some("application/cloudevent+json"), Ok(Mode::Structured)),
        (Some("application/cloudevents-batch+json;charset=us-ascii"), Ok(Mode::Batched)),
        (Some("application/cloudevents+avro"), Err(UnsupportedMediaType)),
        (Some("application/cloudevents+protobuf"), Err(UnsupportedMediaType)),
        (Some("application/cloudevents-batch+protobuf"), Err(UnsupportedMediaType)),
        (Some("application/cloudevent+xml"), Err(UnsupportedMediaType)),
        (Some("application/cloudevents"), Err(UnsupportedMediaType)),
        (Some("application/cloudevents+json; charset=iso-8859-1"), Err(UnsupportedMediaType)),
    ] {
        assert_eq!(mode(content_type), expected, "{content_type:?}");
    }
}

#[test]
fn headers_become_attributes_with_their_types() {
    let event = read(
        &[
            ("ce-subject", "Euro%20%E2%82%AC%20%F0%9F%98%80"),
            ("ce-priority", "2"),
            ("ce-deprecated", "true"),
            ("ce-sampledrate", "7"),
            ("ce-unknown", "5"),
            ("ce-time", "2026-03-02T09:30:00Z"),
            ("X-Other", "\u{ff}"),
        ],
        Some("application/json"),
        b" {\"b\":1.50,\"a\":2} ",
    )
    .unwrap();
    assert_eq!((event.id.as_str(), event.subject.as_deref()), ("1", Some("Euro € 😀")));
    assert_eq!(event.extension("priority"), Some(&Value::Integer(2)));
    assert_eq!(event.extension("deprecated"), Some(&Value::Boolean(true)));
    assert_eq!(event.extension("sampledrate"), Some(&Value::Integer(7)));
    assert_eq!(event.extension("unknown"), Some(&Value::from("5")));
    assert_eq!(event.datacontenttype.as_deref(), Some("application/json"));
    assert!(matches!(&event.data, Some(Data::Json(raw)) if raw.get() == "{\"b\":1.50,\"a\":2}"));
}

#[test]
fn without_required_headers_it_is_not_a_cloud_event() {
    for headers in [vec![], vec![("content-length", &b"2"[..])], vec![("ce-priority", &b"1"[..])]] {
        assert_eq!(parse_binary(headers, Some("application/json"), b"{}"), Err(BinaryError::NotACloudEvent));
    }
    let one = parse_binary([("ce-id", &b"1"[..])], None, b"");
    let Err(BinaryError::Invalid(errors)) = one else { panic!("{one:?}") };
    let pointers: Vec<_> = errors.iter().map(|error| error.pointer.as_str()).collect();
    assert_eq!(pointers, ["#/specversion", "#/source", "#/type"]);
}

#[test]
fn broken_headers_are_named() {
    for (name, value, pointer) in [
        ("CE-Id", "", "#/id"),
        ("CE-Id", "%C0%A0", "#/id"),
        ("ce-source", "a%20b", "#/source"),
        ("ce-specversion", "0.3", "#/specversion"),
        ("ce-time", "lunchtime", "#/time"),
        ("ce-ext", "%0D%0A", "#/ext"),
        ("ce-datacontenttype", "application/json", "#/datacontenttype"),
        ("ce-my_ext", "x", "#/my_ext"),
        ("ce-data", "x", "#/data"),
        ("ce-", "x", "#/"),
        ("ce-sampledrate", "0", "#/sampledrate"),
        ("ce-sampledrate", "many", "#/sampledrate"),
        ("ce-subject", "100%", "#/subject"),
    ] {
        assert_eq!(refused(&[(name, value)], None, b""), [pointer], "{name}: {value}");
    }
    assert_eq!(refused(&[("ce-ext", "1"), ("Ce-Ext", "1")], None, b""), ["#/ext"]);
    assert_eq!(refused(&[], Some("xyz"), b"x"), ["#/datacontenttype"]);
    assert_eq!(refused(&[], Some("text/plain\r\nX: y"), b"x"), ["#/datacontenttype"]);
}

#[test]
fn the_body_is_read_by_its_content_type() {
    let data = |content_type, body: &[u8]| read(&[], content_type, body).unwrap().data;
    assert_eq!(data(None, b""), None);
    assert_eq!(data(Some("application/json"), b""), None);
    assert!(matches!(data(None, b"{}"), Some(Data::Json(raw)) if raw.get() == "{}"));
    assert_eq!(data(None, b"<x/>"), Some(Data::Binary("PHgvPg==".into())));
    assert_eq!(data(Some("text/xml"), "<é/>".as_bytes()), Some(Data::Text("<é/>".into())));
    assert_eq!(data(Some("text/plain"), b"\xff"), Some(Data::Binary("/w==".into())));
    assert_eq!(data(Some("text/plain;charset=latin1"), "é".as_bytes()), Some(Data::Binary("w6k=".into())));
    assert_eq!(data(Some("image/png"), b"\x89P"), Some(Data::Binary("iVA=".into())));
    for body in [&b"{"[..], b"", b"{\"a\":1,\"a\":2}", b"\"\xff\"", &b"[".repeat(100)[..]] {
        if !body.is_empty() {
            assert_eq!(refused(&[], Some("application/vnd.x+json"), body), ["#/data"]);
        }
    }
    assert_eq!(refused(&[], None, b"{\"a\":1,\"a\":2}"), ["#/data"]);
}

#[test]
fn the_implied_content_type_is_set_when_writing() {
    let event = read(&[], None, b"1").unwrap();
    let (headers, body) = write_binary(&event);
    assert!(headers.contains(&("content-type".to_owned(), "application/json".to_owned())));
    assert_eq!(body, b"1");
}

proptest! {
    #[test]
    fn a_written_event_is_read_again(event in events()) {
        let (headers, body) = write_binary(&event);
        let content_type = headers.iter().find(|(name, _)| name == "content-type").map(|(_, value)| value.as_str());
        let pairs = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let read = parse_binary(pairs, content_type, &body).unwrap();
        prop_assert_eq!((&read.id, &read.source, &read.event_type), (&event.id, &event.source, &event.event_type));
        prop_assert_eq!((&read.subject, &read.time), (&event.subject, &event.time));
        for (name, value) in &event.extensions {
            let canonical = value.canonical();
            // A header's own white space and quotes are encoded, so even those come back.
            prop_assert_eq!(read.extension(name).map(|value| value.canonical()), Some(canonical));
        }
        if matches!(event.data, Some(Data::Json(_))) {
            prop_assert_eq!(read.data, event.data);
        }
    }

    #[test]
    fn no_headers_and_no_body_make_it_panic(
        headers in prop::collection::vec(("(ce-|CE-|x)?[ -~é]{0,10}", prop::collection::vec(any::<u8>(), 0..20)), 0..8),
        content_type in prop::option::of(any::<String>()),
        body in prop::collection::vec(any::<u8>(), 0..50),
    ) {
        let _ = mode(content_type.as_deref());
        let pairs = headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
        let required = REQUIRED.iter().map(|(name, value)| (*name, value.as_bytes()));
        let _ = parse_binary(pairs.chain(required), content_type.as_deref(), &body);
    }
}
