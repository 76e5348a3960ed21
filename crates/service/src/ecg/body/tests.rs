use slipstream_core::limits::JSON_DEPTH_MAX;

use super::*;

fn told(problem: &Problem) -> (u16, String, String) {
    let at = problem.errors.first();
    let detail = at.map_or(problem.detail.as_ref(), |error| error.detail.as_ref());
    (problem.kind.status(), at.map(|error| error.pointer.clone()).unwrap_or_default(), detail.to_owned())
}

fn refused<T: std::fmt::Debug>(result: Result<T, Problem>) -> (u16, String, String) {
    told(&result.unwrap_err())
}

fn bad(pointer: &str, detail: &str) -> (u16, String, String) {
    (400, pointer.to_owned(), detail.to_owned())
}

#[test]
fn a_payload_stays_as_it_was_written() {
    let body = r#" { "type" : 1, "payload" : {"z":1.50, "a": "\u00e9", "n":12345678901234567890123 ,"z2":[ ]}, "x": null, "other": 1 } "#;
    let mut raw = Raw::read(body.as_bytes()).unwrap();
    assert_eq!(
        raw.object("payload").unwrap().get(),
        r#"{"z":1.50, "a": "\u00e9", "n":12345678901234567890123 ,"z2":[ ]}"#
    );
    assert_eq!((raw.required::<u8>("type"), raw.optional::<u8>("x")), (Ok(1), Ok(None)));
    assert_eq!(raw.optional_value("nothing").unwrap().map(|it| it.to_string()), None);
    assert_eq!(refused(raw.object("payload")), bad("#/payload", "is required"));
}

#[test]
fn members_are_named_when_they_are_not_as_they_must_be() {
    let read = |body: &str| Raw::read(body.as_bytes()).unwrap();
    let body = r#"{"payload":"text","type":"one","events":["a",7],"at":null,"null":null}"#;
    assert_eq!(refused(read(body).object("payload")), bad("#/payload", "must be an object"));
    assert_eq!(read(body).value("payload").unwrap().get(), r#""text""#);
    assert_eq!(read(body).value("null").unwrap().get(), "null");
    assert_eq!(refused(read(body).value("none")), bad("#/none", "is required"));
    assert_eq!(refused(read(body).required::<String>("at")), bad("#/at", "must be a string"));
    assert_eq!(refused(read(body).required::<Vec<String>>("events")), bad("#/events/1", "must be a string"));
    assert_eq!(
        refused(read(body).required::<u32>("type")),
        bad("#/type", "must be a whole number from 0 to 4294967295")
    );
    assert_eq!(refused(read(body).optional::<u32>("events")).0, 400);
}

#[test]
fn what_is_no_object_or_has_a_member_twice_is_refused() {
    for (body, pointer, detail) in [
        ("[]", "#", "must be an object"),
        ("null", "#", "must be an object"),
        (r#"{"a":1,"a":2}"#, "#/a", "stands twice in its object"),
        (r#"{"payload":{"x":[{"b/c":1,"b/c":1}]}}"#, "#/payload/x/0/b~1c", "stands twice in its object"),
        (r#"{"payload":{"x":1,"\u0078":1}}"#, "#/payload/x", "stands twice in its object"),
    ] {
        assert_eq!(refused(Raw::read(body.as_bytes())), bad(pointer, detail), "{body}");
    }
    for body in ["", "{", r#"{"a":1} x"#, r#"{"a":"\ud800"}"#, "{\"a\":\"\u{1}\"}", "{'a':1}"] {
        let (status, _, detail) = refused(Raw::read(body.as_bytes()));
        assert!(status == 400 && detail.starts_with("the body is not valid JSON: line 1"), "{body}: {detail}");
    }
    assert!(Raw::read(b"{\"a\":\"\xff\"}").is_err());
    // One object may have the names of another.
    assert!(Raw::read(br#"{"a":{"a":{"a":1}},"b":[{"a":1},{"a":1}]}"#).is_ok());
}

#[test]
fn depth_and_size_have_limits_that_can_be_reached() {
    let nested = |depth: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(depth - 1), "]".repeat(depth - 1));
    assert!(Raw::read(nested(JSON_DEPTH_MAX).as_bytes()).is_ok());
    let (status, _, detail) = refused(Raw::read(nested(JSON_DEPTH_MAX + 1).as_bytes()));
    assert!(status == 400 && detail.contains("nested deeper than 64"), "{detail}");
    assert!(Raw::read(nested(100_000).as_bytes()).is_err());

    let payload = |bytes: usize| format!(r#"{{"payload":{{"a":"{}"}}}}"#, "x".repeat(bytes - r#"{"a":""}"#.len()));
    let object = |bytes| Raw::read(payload(bytes).as_bytes()).unwrap().object("payload");
    assert_eq!(object(EVENT_BYTES_MAX).unwrap().get().len(), EVENT_BYTES_MAX);
    assert_eq!(object(EVENT_BYTES_MAX + 1).unwrap_err().kind, ProblemKind::TooLarge);
}

#[tokio::test]
async fn a_body_is_extracted_as_what_it_must_be() {
    #[derive(Debug, serde::Deserialize)]
    struct Category {
        name: String,
    }
    struct State;
    impl BodyTimeout for State {
        fn body_timeout(&self) -> Duration {
            Duration::from_secs(10)
        }
    }
    let extract = async |content_type: &str, body: String| {
        let request = Request::post("/").header("content-type", content_type).body(body.into()).unwrap();
        let extracted = Json::<Category>::from_request(request, &Arc::new(State)).await;
        extracted.map(|Json(Category { name })| name).map_err(|error| told(error.problem()))
    };
    let json = "application/json";
    assert_eq!(extract(json, r#"{"name":"a","other":{}}"#.to_owned()).await, Ok("a".to_owned()));
    assert_eq!(extract(json, r#"{"nam":"a"}"#.to_owned()).await, Err(bad("#/name", "is required")));
    assert_eq!(extract("text/plain", r#"{"name":"a"}"#.to_owned()).await.unwrap_err().0, 415);
    let long = format!(r#"{{"name":"{}"}}"#, "x".repeat(BODY_BYTES_MAX));
    assert_eq!(extract(json, long).await.unwrap_err().0, 413);
}
