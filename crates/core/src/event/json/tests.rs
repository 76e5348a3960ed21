//! The JSON format: what the conformance suite and the limits ask for, and properties of reading and writing.

use proptest::prelude::*;
use serde_json::value::RawValue;

use super::*;

/// A valid event with these members in place of, or besides, the usual ones.
fn event_with(members: &str) -> String {
    let mut all = vec![];
    for (name, value) in [("specversion", "1.0"), ("id", "1"), ("source", "/s"), ("type", "t")] {
        if !members.contains(&format!("\"{name}\":")) {
            all.push(format!("\"{name}\":\"{value}\""));
        }
    }
    if !members.is_empty() {
        all.push(members.to_owned());
    }
    format!("{{{}}}", all.join(","))
}

fn pointers(errors: &[FieldError]) -> Vec<&str> {
    errors.iter().map(|error| error.pointer.as_str()).collect()
}

fn refused(json: &str) -> Vec<String> {
    let errors = parse(json.as_bytes()).expect_err(json);
    errors.into_iter().map(|error| error.pointer).collect()
}

#[test]
fn the_25_invalid_events_of_the_conformance_suite_are_refused() {
    let cases = [
        // Each required attribute missing.
        (r#"{"id":"1","source":"/s","type":"t"}"#, "#/specversion"),
        (r#"{"specversion":"1.0","source":"/s","type":"t"}"#, "#/id"),
        (r#"{"specversion":"1.0","id":"1","type":"t"}"#, "#/source"),
        (r#"{"specversion":"1.0","id":"1","source":"/s"}"#, "#/type"),
        // Each empty.
        (&event_with(r#""specversion":"""#), "#/specversion"),
        (&event_with(r#""id":"""#), "#/id"),
        (&event_with(r#""source":"""#), "#/source"),
        (&event_with(r#""type":"""#), "#/type"),
        (&event_with(r#""specversion":"0.9""#), "#/specversion"),
        (&event_with(r#""id":1"#), "#/id"),
        (&event_with(r#""id":{"a":[1]}"#), "#/id"),
        (&event_with(r#""time":"lunchtime""#), "#/time"),
        (&event_with(r#""time":"2026-03-02T09:30Z""#), "#/time"),
        (&event_with(r#""time":"2026-03-02T09:30:00X""#), "#/time"),
        (&event_with(r#""time":"2026-03-02T09:30:00+25:00""#), "#/time"),
        (&event_with(r#""time":"2026-03-02T09:30:00+xx:00""#), "#/time"),
        (&event_with(r#""time":"2026-03-02T09:30:00+05""#), "#/time"),
        (&event_with(r#""datacontenttype":"xyz""#), "#/datacontenttype"),
        (&event_with(r#""datacontenttype":"""#), "#/datacontenttype"),
        (&event_with(r#""dataschema":"""#), "#/dataschema"),
        (&event_with(r#""subject":"""#), "#/subject"),
        (&event_with(r#""MyExtension":"x""#), "#/MyExtension"),
        (&event_with(r#""my.extension":"x""#), "#/my.extension"),
        (&event_with(r#""my.extension":1.5"#), "#/my.extension"),
        (&event_with(r#""data":"x","data_base64":"eA==""#), "#/data_base64"),
    ];
    for (json, pointer) in cases {
        assert_eq!(refused(json), [pointer], "{json}");
    }
}

#[test]
fn the_three_invalid_batches_of_the_conformance_suite_are_refused() {
    let good = event_with("");
    let cases = [
        (format!("[{good},{}]", event_with(r#""specversion":"0.3""#)), "#/1/specversion"),
        (format!("[{good},{}]", event_with(r#""id":"""#)), "#/1/id"),
        (format!("[{good},5,{good}]"), "#/1"),
    ];
    for (json, pointer) in cases {
        assert_eq!(pointers(&parse_batch(json.as_bytes()).expect_err(&json)), [pointer], "{json}");
    }
}

#[test]
fn errors_of_all_events_of_a_batch_are_told() {
    let json = format!("[{{}},[],{},\"x\"]", event_with(r#""subject":"","time":"x""#));
    assert_eq!(
        pointers(&parse_batch(json.as_bytes()).unwrap_err()),
        ["#/0/specversion", "#/0/id", "#/0/source", "#/0/type", "#/1", "#/2/subject", "#/2/time", "#/3"]
    );
    let many = format!("[{}0]", "{},".repeat(5000));
    assert_eq!(parse_batch(many.as_bytes()).unwrap_err().len(), crate::limits::ERRORS_MAX);
}

#[test]
fn what_is_no_object_or_no_array_is_refused_at_the_root() {
    for json in ["1", "-1", "1.5", "\"x\"", "null", "true", "[]", "[{\"a\":[1]}]"] {
        assert_eq!(refused(json), ["#"], "{json}");
    }
    for json in ["1", "-1", "1.5", "\"x\"", "null", "true", "{}", "{\"a\":{\"b\":1}}"] {
        assert_eq!(pointers(&parse_batch(json.as_bytes()).unwrap_err()), ["#"], "{json}");
    }
    assert_eq!(parse_batch(b" [ ] "), Ok(vec![]));
}

#[test]
fn malformed_json_is_named_with_line_and_column() {
    for json in
        ["", "{", "{\"id\":\"1\",}", "{} x", "\u{feff}{}", "{\"id\":\"\\ud800\"}", "{\"id\":\"a\nb\"}", "{\"a\":01}"]
    {
        let errors = parse(json.as_bytes()).unwrap_err();
        assert_eq!(pointers(&errors), ["#"], "{json}");
        assert!(errors[0].detail.contains("line") && errors[0].detail.contains("column"), "{}", errors[0].detail);
    }
    for bytes in [&b"{\"id\":\"\xff\"}"[..], b"{\"data\":\"\xc3\"}", b"\xff"] {
        assert_eq!(pointers(&parse(bytes).unwrap_err()), ["#"]);
        assert_eq!(pointers(&parse_batch(bytes).unwrap_err()), ["#"]);
    }
}

#[test]
fn each_bad_member_is_named() {
    let json =
        r#"{"specversion":1.0,"id":"","source":"a b","x":[],"y":1e2,"z":2147483648,"n":{"a":1},"w":-2147483649}"#;
    assert_eq!(refused(json), ["#/specversion", "#/id", "#/source", "#/x", "#/y", "#/z", "#/n", "#/w", "#/type"]);
}

#[test]
fn null_means_absent() {
    let json = event_with(r#""subject":null,"time":null,"dataschema":null,"datacontenttype":null,"ext":null"#);
    let event = parse(json.as_bytes()).unwrap();
    assert_eq!((event.subject, event.time, event.extensions.len(), event.data), (None, None, 0, None));
    assert_eq!(refused(&event_with(r#""id":null"#)), ["#/id"]);
    assert_eq!(refused(&event_with(r#""My":null"#)), ["#/My"]);
}

#[test]
fn data_null_is_a_payload() {
    let event = parse(event_with(r#""data":null"#).as_bytes()).unwrap();
    let Some(Data::Json(raw)) = event.data else { panic!("no JSON data") };
    assert_eq!(raw.get(), "null");
}

#[test]
fn repeated_names_are_refused_at_any_depth() {
    assert_eq!(refused(&event_with(r#""id":"1","id":"1""#)), ["#/id"]);
    assert_eq!(refused(&event_with(r#""a":null,"\u0061":"x","b":1,"b":2"#)), ["#/a", "#/b"]);
    assert_eq!(refused(&event_with(r#""data":1,"data":1"#)), ["#/data"]);
    assert_eq!(refused(&event_with(r#""data":[{"x":{"a":1,"a":2}}]"#)), ["#/data"]);
    let many = (0..50_000).map(|n| format!("\"a{n}\":1")).collect::<Vec<_>>().join(",");
    assert!(parse(event_with(&many).as_bytes()).is_ok());
    assert_eq!(refused(&event_with(&(many + ",\"a77\":1"))), ["#/a77"]);
}

#[test]
fn nesting_is_limited_to_64_levels_and_costs_no_stack() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(parse(event_with(&format!("\"data\":{}", nested(63))).as_bytes()).is_ok());
    assert_eq!(refused(&event_with(&format!("\"data\":{}", nested(64)))), ["#/data"]);
    assert_eq!(refused(&event_with(&format!("\"data\":{}", nested(500_000)))), ["#/data"]);
    assert_eq!(refused(&event_with(&format!("\"ext\":{}", nested(500_000)))), ["#/ext"]);
    assert_eq!(refused(&nested(500_000)), ["#"]);
    let batch = format!("[{}]", event_with(&format!("\"data\":{}", nested(63))));
    assert!(parse_batch(batch.as_bytes()).is_ok());
}

#[test]
fn data_follows_its_content_type() {
    let data = |members: &str| parse(event_with(members).as_bytes()).map(|event| event.data);
    assert_eq!(data(r#""datacontenttype":"text/plain","data":"a\n\u00e9""#), Ok(Some(Data::Text("a\né".into()))));
    assert_eq!(data(r#""data":"x","datacontenttype":"text/xml""#), Ok(Some(Data::Text("x".into()))));
    for content_type in ["application/json", "text/JSON", "application/vnd.x+Json; charset=utf-8"] {
        let json = format!(r#""datacontenttype":"{content_type}","data":"x""#);
        assert!(matches!(data(&json), Ok(Some(Data::Json(raw))) if raw.get() == "\"x\""), "{content_type}");
    }
    assert_eq!(data(r#""data_base64":"AP8=""#), Ok(Some(Data::Binary("AP8=".into()))));
    assert_eq!(data(r#""data_base64":null"#), Ok(None));
    for bad in [
        r#""datacontenttype":"text/plain","data":{"a":1}"#,
        r#""datacontenttype":"text/plain","data":null"#,
        r#""datacontenttype":"text/plain","data":"\ud800""#,
    ] {
        assert_eq!(refused(&event_with(bad)), ["#/data"], "{bad}");
    }
    for bad in [r#""data_base64":"AP8""#, r#""data_base64":"A*8=""#, r#""data_base64":5"#, r#""data_base64":"AP9=""#] {
        assert_eq!(refused(&event_with(bad)), ["#/data_base64"], "{bad}");
    }
}

#[test]
fn bytes_order_and_precision_of_data_survive() {
    let data = r#"{"z":123456789012345678901234567890,"a":1.50, "é":"\u00e9\/","m":[1E400,-0]}"#;
    let event = parse(event_with(&format!("\"data\": {data} ,\"x\":1")).as_bytes()).unwrap();
    let mut written = Vec::new();
    write(&event, &mut written);
    let written = String::from_utf8(written).unwrap();
    assert!(written.ends_with(&format!("\"data\":{data}}}")), "{written}");
}

#[test]
fn time_keeps_its_offset_and_precision() {
    let time = "2026-03-02t10:30:00.123456789+01:00";
    let event = parse(event_with(&format!("\"time\":\"{time}\"")).as_bytes()).unwrap();
    assert_eq!(event.time.as_deref(), Some(time));
}

#[test]
fn control_characters_and_noncharacters_in_attributes_are_refused() {
    for text in ["a\\u0000", "\\n", "\\u007f", "\\u0085", "\u{fffe}", "\\uFDD0", "\\ud83f\\udfff"] {
        assert_eq!(refused(&event_with(&format!("\"subject\":\"{text}\""))), ["#/subject"], "{text}");
        assert_eq!(refused(&event_with(&format!("\"ext\":\"{text}\""))), ["#/ext"], "{text}");
    }
}

#[test]
fn overlong_names_do_not_come_back_whole() {
    let name = "a".repeat(1000);
    let pointer = refused(&event_with(&format!("\"{name}\":1"))).remove(0);
    assert!(pointer.len() < 100 && pointer.starts_with("#/aaa"), "{pointer}");
}

#[test]
fn sunset_is_not_before_deprecation() {
    let json = |from: &str, sunset: &str| {
        event_with(&format!(r#""deprecated":true,"deprecationsunset":"{sunset}","deprecationfrom":"{from}""#))
    };
    assert!(parse(json("2026-01-01T01:00:00+01:00", "2026-01-01T00:00:00Z").as_bytes()).is_ok());
    assert_eq!(refused(&json("2026-01-01T00:00:01Z", "2026-01-01T00:00:00Z")), ["#/deprecationsunset"]);
}

/// Attribute text: no control characters, no noncharacters.
fn text() -> impl Strategy<Value = String> {
    "[ -~]{1,12}|[a-zé€😀\"\\\\/ ]{1,12}".prop_filter("not empty", |text| !text.is_empty())
}

fn data() -> impl Strategy<Value = (Option<String>, Option<Data>)> {
    let json =
        prop::sample::select(vec!["null", "{\"b\":1.50,\"a\":[1e3]}", "\"x\"", "123456789012345678901234567890"])
            .prop_map(|json| Some(Data::Json(RawValue::from_string(json.to_owned()).unwrap())));
    let json_type = prop::option::of(prop::sample::select(vec!["application/json", "Text/Json", "a/b+json; v=1"]));
    let bytes = prop::collection::vec(any::<u8>(), 0..20);
    prop_oneof![
        (json_type, json).prop_map(|(content_type, data)| (content_type.map(str::to_owned), data)),
        any::<String>().prop_map(|text| (Some("text/plain".to_owned()), Some(Data::Text(text)))),
        bytes.prop_map(|bytes| (None, Some(Data::Binary(crate::event::base64_text::encode(&bytes))))),
        Just((Some("application/json".to_owned()), None)),
    ]
}

/// Events as the codecs make them.
pub(crate) fn events() -> impl Strategy<Value = Event> {
    let value = prop_oneof![
        any::<bool>().prop_map(Value::Boolean),
        any::<i32>().prop_map(Value::Integer),
        text().prop_map(Value::String),
    ];
    let names = "x[a-z0-9]{1,20}";
    let extensions = prop::collection::btree_map(names, value, 0..12).prop_map(|map| map.into_iter().collect());
    let source = "[a-z]{1,5}:[a-z0-9/]{0,8}|/[a-z/]{0,8}(%20)?(#[a-z]*)?";
    (
        text(),
        source,
        text(),
        prop::option::of(text()),
        prop::option::of(Just("2026-03-02T09:30:00+01:00")),
        extensions,
        data(),
    )
        .prop_map(|(id, source, event_type, subject, time, extensions, (datacontenttype, data))| Event {
            id,
            source,
            event_type,
            datacontenttype,
            dataschema: subject.as_ref().map(|_| "urn:schema:1".to_owned()),
            subject,
            time: time.map(str::to_owned),
            extensions,
            data,
        })
}

proptest! {
    #[test]
    fn writing_and_reading_are_inverse(event in events()) {
        let mut written = Vec::new();
        write(&event, &mut written);
        prop_assert_eq!(parse(&written), Ok(event.clone()), "{}", String::from_utf8_lossy(&written));
        let batch = [b"[", &written[..], b",", &written[..], b"]"].concat();
        prop_assert_eq!(parse_batch(&batch), Ok(vec![event.clone(), event]));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&bytes);
        let _ = parse_batch(&bytes);
    }

    #[test]
    fn no_damage_to_an_event_makes_it_panic(event in events(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut written = Vec::new();
        write(&event, &mut written);
        let at = at.index(written.len());
        written[at] = byte;
        let _ = parse(&written);
        written.truncate(at);
        prop_assert!(parse(&written).is_err());
    }
}
