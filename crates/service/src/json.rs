//! Reading a JSON body strictly: UTF-8, no member twice, bounded depth and a bounded number of values, and every refusal
//! names the place (SPEC 2.1, 2.2; THREATS 7).
//!
//! Members that a type does not know are ignored, unless it denies them (`deny_unknown_fields`): then they are refused
//! by name. A refusal never repeats a value that was sent: bodies hold secrets.

mod object;

use std::fmt;

use http::{HeaderMap, header};
use serde::Deserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_path_to_error::Segment;
use slipstream_core::event::is_json_content_type;
use slipstream_core::limits::{JSON_DEPTH_MAX, JSON_VALUES_MAX};
use slipstream_core::problem::{FieldError, Problem, ProblemKind};

/// Refuses a `Content-Type` that is not JSON, by name or by its suffix `+json`, in UTF-8.
///
/// # Errors
/// 415 saying what is wanted.
pub fn check_content_type(headers: &HeaderMap) -> Result<(), Problem> {
    let refuse = |detail| Err(Problem::new(ProblemKind::UnsupportedMediaType, detail));
    let Some(content_type) = headers.get(header::CONTENT_TYPE) else {
        return refuse("a Content-Type of application/json is required");
    };
    let content_type = content_type.to_str().unwrap_or_default();
    if !is_json_content_type(content_type) {
        return refuse("the Content-Type must be application/json");
    }
    let charset = content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"'))
    });
    match charset {
        Some(charset) if !["utf-8", "us-ascii"].iter().any(|known| charset.eq_ignore_ascii_case(known)) => {
            refuse("the charset must be utf-8")
        }
        _ => Ok(()),
    }
}

/// Reads `body` as a `T`. A struct is an object: an array of its members in order is none.
///
/// # Errors
/// 400 with the JSON Pointer of the member that is wrong and the rule it breaks, or, if the body is not JSON, with the
/// line and the column.
pub fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    read_value(parse(body)?)
}

/// As [`read`], of a value that is there already: what a patch has left.
///
/// # Errors
/// 400 with the JSON Pointer of the member that is wrong and the rule it breaks.
pub fn read_value<T: DeserializeOwned>(value: Value) -> Result<T, Problem> {
    serde_path_to_error::deserialize(object::ObjectsOnly(value)).map_err(|error| {
        let mut pointer = String::from("#");
        for segment in error.path() {
            match segment {
                Segment::Seq { index } => push_token(&mut pointer, &index.to_string()),
                Segment::Map { key } => push_token(&mut pointer, key),
                Segment::Enum { .. } | Segment::Unknown => {}
            }
        }
        let detail = explain(&error.inner().to_string(), &mut pointer);
        invalid(pointer, detail)
    })
}

fn invalid(pointer: String, detail: String) -> Problem {
    Problem::with_errors(ProblemKind::BadRequest, vec![FieldError { pointer, detail: detail.into() }])
}

fn push_token(pointer: &mut String, token: &str) {
    // `FieldError` knows how to escape one.
    pointer.push_str(&FieldError::at(token, "").pointer[1..]);
}

/// Says what the rule is, out of serde's words but without the value that they repeat; a missing member is added to
/// the pointer.
fn explain(error: &str, pointer: &mut String) -> String {
    if let Some(name) = error.strip_prefix("missing field `").and_then(|rest| rest.split('`').next()) {
        push_token(pointer, name);
        return "is required".to_owned();
    }
    if let Some((found, expected)) = error.rsplit_once(", expected ") {
        return match expected {
            known if found.starts_with("unknown field `") => {
                format!("is not known here; known: {}", known.trim_start_matches("one of "))
            }
            "a map" => "must be an object".to_owned(),
            "a sequence" => "must be an array".to_owned(),
            "u32" => format!("must be a whole number from 0 to {}", u32::MAX),
            expected if ["struct ", "internally tagged enum "].iter().any(|start| expected.starts_with(start)) => {
                "must be an object".to_owned()
            }
            expected => format!("must be {expected}"),
        };
    }
    if error.starts_with("unknown field `") {
        return "is not known here".to_owned();
    }
    if ["invalid ", "unknown "].iter().any(|start| error.starts_with(start)) {
        return "has a value that is not allowed here".to_owned();
    }
    // An error of one of our own types: it states the rule and nothing else.
    error.to_owned()
}

/// The body as a value.
fn parse(body: &[u8]) -> Result<Value, Problem> {
    let (mut path, mut left) = (Vec::new(), JSON_VALUES_MAX);
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let strict = Strict { path: &mut path, left: &mut left };
    let read = strict.deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
    read.map_err(|error| {
        if error.is_data() {
            let mut pointer = String::from("#");
            for token in &path {
                push_token(&mut pointer, token);
            }
            let text = error.to_string();
            return invalid(pointer, text.split(" at line ").next().unwrap_or_default().to_owned());
        }
        let detail = format!("the body is not valid JSON: line {}, column {}", error.line(), error.column());
        Problem::new(ProblemKind::BadRequest, detail)
    })
}

/// Reads any value, keeping the path to where it stands; an error leaves the path where it arose.
struct Strict<'a> {
    path: &'a mut Vec<String>,
    /// How many values there may still be.
    left: &'a mut usize,
}

impl Strict<'_> {
    fn inside(&mut self) -> Strict<'_> {
        Strict { path: self.path, left: self.left }
    }

    fn check_depth<E: serde::de::Error>(&self) -> Result<(), E> {
        if self.path.len() < JSON_DEPTH_MAX {
            return Ok(());
        }
        Err(E::custom(format_args!("must not be nested deeper than {JSON_DEPTH_MAX}")))
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let Some(left) = self.left.checked_sub(1) else {
            return Err(D::Error::custom(format_args!("is one value too many: a body has at most {JSON_VALUES_MAX}")));
        };
        *self.left = left;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<Value, A::Error> {
        self.check_depth()?;
        let mut list = Vec::new();
        loop {
            self.path.push(list.len().to_string());
            let element = elements.next_element_seed(self.inside())?;
            self.path.pop();
            match element {
                Some(element) => list.push(element),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<Value, A::Error> {
        self.check_depth()?;
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            self.path.push(name);
            let name = self.path.last().expect("it was pushed just now");
            if object.contains_key(name) {
                return Err(A::Error::custom("stands twice in its object"));
            }
            let value = members.next_value_seed(self.inside())?;
            let name = self.path.pop().expect("each level takes away what it put there");
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Body {
        #[expect(dead_code, reason = "only reading is tested")]
        name: String,
        #[serde(default)]
        list: Vec<Item>,
    }

    #[derive(Debug, serde::Deserialize)]
    struct Item {
        #[expect(dead_code, reason = "only reading is tested")]
        value: u32,
    }

    /// A body that is refused with what it does not know.
    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Closed {
        #[serde(default)]
        #[expect(dead_code, reason = "only reading is tested")]
        a: bool,
        #[serde(default)]
        #[expect(dead_code, reason = "only reading is tested")]
        b: bool,
    }

    fn refusal(body: &str) -> (String, String) {
        refusal_of::<Body>(body)
    }

    fn refusal_of<T: DeserializeOwned + fmt::Debug>(body: &str) -> (String, String) {
        let problem = read::<T>(body.as_bytes()).unwrap_err();
        assert_eq!(problem.kind, ProblemKind::BadRequest);
        match problem.errors.into_iter().next() {
            Some(error) => (error.pointer, error.detail.into_owned()),
            None => (String::new(), problem.detail.into_owned()),
        }
    }

    #[test]
    fn unknown_members_are_ignored_at_any_depth() {
        let body = read::<Body>(br#"{"Name":"a","List":[{"value":1,"x":{"y":[null]}}],"Other":-1.5}"#).unwrap();
        assert_eq!(body.list.len(), 1);
    }

    #[test]
    fn a_type_that_denies_unknown_members_refuses_them_by_name() {
        assert!(read::<Closed>(br#"{"a":true}"#).is_ok());
        let refused = |pointer: &str, detail: &str| (pointer.to_owned(), detail.to_owned());
        let unknown = "is not known here; known: `a` or `b`";
        assert_eq!(refusal_of::<Closed>(r#"{"a":true,"c/d":1}"#), refused("#/c~1d", unknown));
        assert_eq!(refusal_of::<Closed>(r#"{", expected x":1}"#), refused("#/%2C%20expected%20x", unknown));
        assert_eq!(refusal_of::<Closed>(r#"{"a":true,"a":true}"#), refused("#/a", "stands twice in its object"));
    }

    #[test]
    fn any_object_may_be_read_as_a_map() {
        assert_eq!(read::<Map<String, Value>>(br#"{"a":[1,null]}"#).unwrap()["a"], serde_json::json!([1, null]));
        assert_eq!(refusal_of::<Map<String, Value>>("[]"), ("#".to_owned(), "must be an object".to_owned()));
    }

    #[test]
    fn refusals_name_the_member_and_the_rule() {
        for (body, pointer, detail) in [
            ("{}", "#/Name", "is required"),
            (r#"{"Name":5}"#, "#/Name", "must be a string"),
            (
                r#"{"Name":"a","List":[{"value":1},{"value":"canary"}]}"#,
                "#/List/1/value",
                "must be a whole number from 0 to 4294967295",
            ),
            (r#"{"Name":"a","List":[{"value":1},{}]}"#, "#/List/1/value", "is required"),
            (r#"{"Name":"a","List":{}}"#, "#/List", "must be an array"),
            ("[]", "#", "must be an object"),
            (r#"["a",[]]"#, "#", "must be an object"),
            (r#"{"Name":"a","List":[[1]]}"#, "#/List/0", "must be an object"),
            (r#"{"Name":null}"#, "#/Name", "must be a string"),
            (r#"{"Name":"a","Name":"b"}"#, "#/Name", "stands twice in its object"),
            (r#"{"Name":"a","Other":[0,{"a/b":1,"a/b":1}]}"#, "#/Other/1/a~1b", "stands twice in its object"),
        ] {
            let refused = refusal(body);
            assert_eq!((refused.0.as_str(), refused.1.as_str()), (pointer, detail), "{body}");
        }
    }

    #[test]
    fn refusals_do_not_repeat_what_was_sent() {
        for body in [r#"{"Name":["canary"]}"#, r#"{"Name":"a","List":"canary"}"#, r#"{"Name":"canary"#, "canary"] {
            let problem = read::<Body>(body.as_bytes()).unwrap_err();
            assert!(!format!("{problem:?}").contains("canary"), "{problem:?}");
        }
    }

    #[test]
    fn what_is_not_json_is_refused_with_its_place() {
        for body in ["", "{", "{\"Name\":\"a\"} x", "{\"Name\":\"\u{1}\"}", "{'Name':1}"] {
            let (pointer, detail) = refusal(body);
            assert!(pointer.is_empty() && detail.starts_with("the body is not valid JSON: line 1"), "{detail}");
        }
        assert!(read::<Body>(b"{\"Name\":\"\xff\"}").is_err());
    }

    #[test]
    fn depth_has_a_limit_that_can_be_reached() {
        let nested = |depth: usize| format!(r#"{{"Name":"a","X":{}{}}}"#, "[".repeat(depth - 1), "]".repeat(depth - 1));
        assert!(read::<Body>(nested(JSON_DEPTH_MAX).as_bytes()).is_ok());
        assert!(refusal(&nested(JSON_DEPTH_MAX + 1)).1.contains("nested deeper than 64"));
        assert!(read::<Body>(nested(100_000).as_bytes()).is_err());
    }

    #[test]
    fn values_have_a_limit_that_can_be_reached() {
        // Besides these: the object, the name, and the list.
        let list = |count: usize| format!(r#"{{"Name":"a","X":[{}0]}}"#, r#"{"":0},"#.repeat((count - 4) / 2));
        assert!(read::<Body>(list(JSON_VALUES_MAX).as_bytes()).is_ok());
        let (pointer, detail) = refusal(&list(JSON_VALUES_MAX + 2));
        assert!(pointer.starts_with("#/X/") && detail == "is one value too many: a body has at most 10000", "{detail}");
        // Of any shape, and counted over the whole body.
        let flat = format!(r#"{{"Name":"a","X":[{}0]}}"#, "0,".repeat(JSON_VALUES_MAX));
        assert!(refusal(&flat).1.starts_with("is one value too many"));
        let names: Vec<_> = (0..JSON_VALUES_MAX).map(|number| format!(r#""{number}":[]"#)).collect();
        assert!(refusal(&format!("{{{}}}", names.join(","))).1.starts_with("is one value too many"));
    }

    #[test]
    fn only_json_in_utf_8_is_read() {
        let check = |text: &str| {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, text.parse().unwrap())]);
            check_content_type(&headers)
        };
        for fits in ["application/json", "APPLICATION/JSON; charset=UTF-8", "application/x+json;charset=\"us-ascii\""] {
            assert_eq!(check(fits), Ok(()), "{fits}");
        }
        for refused in ["", "text/plain", "application/jsonx", "application/json; charset=utf-16"] {
            let problem = check(refused).unwrap_err();
            assert_eq!(problem.kind, ProblemKind::UnsupportedMediaType, "{refused}");
        }
        assert!(check_content_type(&HeaderMap::new()).is_err());
    }
}
