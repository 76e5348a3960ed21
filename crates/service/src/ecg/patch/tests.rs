//! The public records of <https://github.com/json-patch/json-patch-tests>, and what they do not cover.

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::*;

/// A record of the suite.
#[derive(Deserialize)]
struct Case {
    #[serde(default)]
    comment: String,
    doc: Value,
    /// As it is written: some have a member twice.
    patch: Box<RawValue>,
    #[serde(default)]
    expected: Option<Value>,
    #[serde(default)]
    error: Option<String>,
}

const TESTS: &str = include_str!("../../../tests/json_patch/tests.json");
const SPEC_TESTS: &str = include_str!("../../../tests/json_patch/spec_tests.json");

fn headers(content_type: &str) -> HeaderMap {
    HeaderMap::from_iter([(header::CONTENT_TYPE, content_type.parse().unwrap())])
}

fn of(patch: &str) -> Result<Patch, Problem> {
    read(&headers("application/json-patch+json"), patch.as_bytes())
}

/// What a patch makes of a document of which all may be patched: the same whether that is a value or as it is written.
fn patched(document: &Value, patch: &str) -> Result<Value, Problem> {
    let patch = of(patch)?;
    let result = apply(&patch, document, &[""]);
    let written = apply_as_written(&patch, &document.to_string(), &[""]);
    let written = written.map(|text| serde_json::from_str::<Value>(&text).unwrap());
    assert_eq!(written, result, "{patch:?}");
    result
}

fn told(problem: &Problem) -> (ProblemKind, &str, &str) {
    let error = &problem.errors[0];
    (problem.kind, error.pointer.as_str(), error.detail.as_ref())
}

#[test]
fn all_public_records_come_out_as_they_say() {
    let (mut count, mut refused) = (0, 0);
    for suite in [TESTS, SPEC_TESTS] {
        // Those that are disabled there, because some implementations differ, are kept too.
        for Case { comment, doc, patch, expected, error } in serde_json::from_str::<Vec<Case>>(suite).unwrap() {
            let result = patched(&doc, patch.get());
            count += 1;
            if let Some(error) = error {
                let problem = result.expect_err(&format!("{comment}: {patch}: {error}"));
                assert!(matches!(problem.kind, ProblemKind::BadRequest | ProblemKind::Unprocessable), "{problem:?}");
                refused += 1;
            } else {
                let result = result.unwrap_or_else(|problem| panic!("{comment}: {patch}: {problem:?}"));
                // A few say only that the patch can be carried out.
                assert!(expected.is_none_or(|expected| expected == result), "{comment}: {patch}: {result}");
            }
        }
    }
    assert_eq!((count, refused), (112, 36));
}

#[test]
fn a_malformed_patch_is_told_from_one_that_does_not_fit() {
    let document = json!({ "name": "a", "events": ["x"], "n": null });
    for (patch, pointer, detail) in [
        ("{}", "#", "must be an array"),
        ("[1]", "#/0", "must be an object"),
        (r#"[{"op":"test","path":"/name","value":"a"},{"op":"add","path":"/name"}]"#, "#/1/value", "is required"),
        (r#"[{"op":"copy","path":"/name"}]"#, "#/0/from", "is required"),
        (r#"[{"op":"remove"}]"#, "#/0/path", "is required"),
        (r#"[{"path":"/name"}]"#, "#/0/op", "is required"),
        (r#"[{"op":"remove","path":"/name","path":"/n"}]"#, "#/0/path", "stands twice in its object"),
    ] {
        let problem = patched(&document, patch).unwrap_err();
        assert_eq!(told(&problem), (ProblemKind::BadRequest, pointer, detail), "{patch}");
    }
    for patch in [
        r#"[{"op":"spam","path":"/name"}]"#,
        r#"[{"op":"remove","path":"name"}]"#,
        r#"[{"op":"remove","path":"/na~2me"}]"#,
        r#"[{"op":"remove","path":"/name~"}]"#,
        r#"[{"op":"move","from":"name","path":"/n"}]"#,
        r#"[{"op":"remove","path":7}]"#,
        "nonsense",
    ] {
        assert_eq!(patched(&document, patch).unwrap_err().kind, ProblemKind::BadRequest, "{patch}");
    }
    for (patch, pointer, detail) in [
        (r#"[{"op":"remove","path":"/nothing"}]"#, "#/0/path", "does not exist"),
        (r#"[{"op":"add","path":"/name/x","value":1}]"#, "#/0/path", "does not exist"),
        (r#"[{"op":"add","path":"/events/2","value":1}]"#, "#/0/path", "does not exist"),
        (r#"[{"op":"replace","path":"/events/-","value":1}]"#, "#/0/path", "does not exist"),
        (r#"[{"op":"copy","from":"/nothing","path":"/n"}]"#, "#/0/from", "does not exist"),
        (r#"[{"op":"test","path":"/name","value":"b"}]"#, "#/0/value", "is not what is there"),
        (r#"[{"op":"move","from":"/events","path":"/events/0"}]"#, "#/0/path", "is inside of what is moved"),
    ] {
        let problem = patched(&document, patch).unwrap_err();
        assert_eq!(told(&problem), (ProblemKind::Unprocessable, pointer, detail), "{patch}");
    }
    assert_eq!(patched(&document, "[]"), Ok(document));
}

#[test]
fn numbers_are_compared_by_what_they_are_worth() {
    let document = json!({ "n": [1, { "m": 2.0 }], "big": 9_007_199_254_740_993_u64 });
    let test = |path: &str, value: &str| {
        patched(&document, &format!(r#"[{{"op":"test","path":"{path}","value":{value}}}]"#)).is_ok()
    };
    assert!(test("/n/0", "1.0") && test("/n", r#"[1.0,{"m":2}]"#) && test("/big", "9007199254740993"));
    for (path, value) in [
        ("/n/0", "2"),
        ("/n/0", r#""1""#),
        ("/n", "[1]"),
        ("/n", r#"[1,{"m":2,"k":1}]"#),
        ("/n", r#"[1,{"k":2}]"#),
        ("/big", "9007199254740992"),
    ] {
        assert!(!test(path, value), "{path} {value}");
    }
}

#[test]
fn what_is_not_touched_stays_as_it_is_written_and_what_comes_is_taken_as_it_is() {
    let document = r#"{ "z": 1.50, "a": {"y": 1e999, "b": [0.10, 12345678901234567890123]}, "m": "\u00e9" }"#;
    for (patch, expected) in [
        ("[]", r#"{"z":1.50,"a":{"y":1e999,"b":[0.10,12345678901234567890123]},"m":"\u00e9"}"#),
        (
            r#"[{"op":"add","path":"/a/b/1","value":{"q":2.0,"c":-0.0}},{"op":"replace","path":"/m","value":10.00}]"#,
            r#"{"z":1.50,"a":{"y":1e999,"b":[0.10,{"q":2.0,"c":-0.0},12345678901234567890123]},"m":10.00}"#,
        ),
        (
            r#"[{"op":"move","from":"/a","path":"/k"},{"op":"copy","from":"/k/y","path":"/z"},{"op":"remove","path":"/m"}]"#,
            r#"{"z":1e999,"k":{"y":1e999,"b":[0.10,12345678901234567890123]}}"#,
        ),
        (
            r#"[{"op":"test","path":"/a/b","value":[0.1,12345678901234567890123]},{"op":"add","path":"/z","value":null}]"#,
            r#"{"z":null,"a":{"y":1e999,"b":[0.10,12345678901234567890123]},"m":"\u00e9"}"#,
        ),
    ] {
        assert_eq!(apply_as_written(&of(patch).unwrap(), document, &[""]).as_deref(), Ok(expected), "{patch}");
    }
    let refused = apply_as_written(&of(r#"[{"op":"remove","path":"/a/x"}]"#).unwrap(), document, &[""]).unwrap_err();
    assert_eq!(told(&refused), (ProblemKind::Unprocessable, "#/0/path", "does not exist"));
}

#[test]
fn only_what_may_be_patched_is_changed_and_all_may_be_read() {
    let document = json!({ "id": 1, "name": "a", "names": "b", "events": ["x"] });
    let patchable = ["/name", "/events"];
    let apply = |patch: &str| super::apply(&of(patch).unwrap(), &document, &patchable);
    for (patch, pointer) in [
        (r#"[{"op":"replace","path":"/id","value":2}]"#, "#/0/path"),
        (r#"[{"op":"replace","path":"/names","value":"c"}]"#, "#/0/path"),
        (r#"[{"op":"add","path":"/new","value":2}]"#, "#/0/path"),
        (r#"[{"op":"remove","path":"/id"}]"#, "#/0/path"),
        (r#"[{"op":"add","path":"","value":{}}]"#, "#/0/path"),
        (r#"[{"op":"remove","path":""}]"#, "#/0/path"),
        (r#"[{"op":"copy","from":"/name","path":"/id"}]"#, "#/0/path"),
        (r#"[{"op":"move","from":"/id","path":"/name"}]"#, "#/0/from"),
    ] {
        let problem = apply(patch).unwrap_err();
        assert_eq!(told(&problem), (ProblemKind::Unprocessable, pointer, "cannot be patched"), "{patch}");
    }
    let patch = r#"[{"op":"test","path":"/id","value":1},{"op":"copy","from":"/names","path":"/name"},
        {"op":"add","path":"/events/-","value":"y"},{"op":"remove","path":"/events/0"}]"#;
    assert_eq!(apply(patch), Ok(json!({ "id": 1, "name": "b", "names": "b", "events": ["y"] })));
}

#[test]
fn a_patch_cannot_make_more_of_a_document_than_a_body_may_have() {
    let document = json!({ "payload": { "a": "x".repeat(1000) } });
    let doubling: Vec<_> = (0..40)
        .map(|number| json!({ "op": "copy", "from": "/payload", "path": format!("/payload/{number}") }))
        .collect();
    let problem = patched(&document, &json!(doubling[..5]).to_string());
    assert!(problem.is_ok(), "{problem:?}");
    let problem = patched(&document, &json!(doubling).to_string()).unwrap_err();
    assert_eq!(problem.kind, ProblemKind::Unprocessable);
    assert!(problem.errors[0].detail.contains("more than is allowed"), "{problem:?}");

    let deeper: Vec<_> = (1..80)
        .map(|depth| json!({ "op": "add", "path": "/payload".to_owned() + &"/a".repeat(depth), "value": {} }))
        .collect();
    assert!(patched(&document, &json!(deeper[..JSON_DEPTH_MAX - 2]).to_string()).is_ok());
    let problem = patched(&document, &json!(deeper).to_string()).unwrap_err();
    assert_eq!(told(&problem).2, "would be nested too deep");
}

#[test]
fn a_patch_is_json_and_no_other_kind_of_it() {
    for fits in ["application/json", "Application/JSON-Patch+JSON; charset=utf-8"] {
        assert!(read(&headers(fits), b"[]").is_ok(), "{fits}");
    }
    for other in ["application/merge-patch+json", "text/plain", "application/json; charset=utf-16", ""] {
        let problem = read(&headers(other), b"[]").unwrap_err();
        assert_eq!(problem.kind, ProblemKind::UnsupportedMediaType, "{other}");
    }
    assert!(read(&HeaderMap::new(), b"[]").is_err());
}
