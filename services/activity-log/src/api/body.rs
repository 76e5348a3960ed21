//! Reading the JSON body of a request of an operator, strictly: a misspelt member that is ignored does something else
//! than was asked for, and whoever asked believes it.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use serde::de::DeserializeOwned;
use serde_path_to_error::{Path, Segment};
use slipstream_core::event::is_json_content_type;
use slipstream_core::problem::{FieldError, Problem, ProblemKind};
use slipstream_service::http::read_body;

/// Bytes of a body: far more than all members of any of them need.
const BYTES_MAX: usize = 16 * 1024;

/// The body of a request as a `T`, arrived within `timeout`.
///
/// # Errors
/// 415, 413, 408 and 503 as [`read_body`] has them; 400 naming the member at fault.
pub(super) async fn read<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
    timeout: Duration,
) -> Result<T, Problem> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if !content_type.is_some_and(is_json_content_type) {
        return Err(Problem::new(ProblemKind::UnsupportedMediaType, "a Content-Type of application/json is required"));
    }
    parse(&read_body(headers, body, BYTES_MAX, timeout).await?)
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // An array would do for a struct too, member by member in their order.
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(Problem::new(ProblemKind::BadRequest, "the body must be a JSON object"));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let read: Result<T, _> = serde_path_to_error::deserialize(&mut deserializer);
    match read {
        Ok(value) => match deserializer.end() {
            Ok(()) => Ok(value),
            Err(_) => Err(Problem::new(ProblemKind::BadRequest, "the body is more than one JSON value")),
        },
        Err(error) if error.inner().is_data() => {
            // Without the place in the text: the pointer says where it is.
            let text = error.inner().to_string();
            let detail = text.split(" at line ").next().unwrap_or_default().to_owned();
            let pointer = pointer(error.path());
            Err(Problem::with_errors(ProblemKind::BadRequest, vec![FieldError { pointer, detail: detail.into() }]))
        }
        Err(_) => Err(Problem::new(ProblemKind::BadRequest, "the body is not valid JSON")),
    }
}

fn pointer(path: &Path) -> String {
    path.iter().fold("#".to_owned(), |pointer, segment| match segment {
        Segment::Seq { index } => format!("{pointer}/{index}"),
        // `FieldError` knows how to escape one.
        Segment::Map { key } => pointer + &FieldError::at(key, "").pointer[1..],
        Segment::Enum { .. } | Segment::Unknown => pointer,
    })
}

/// 400: the member `name` breaks a rule.
pub(super) fn bad_member(name: &'static str, detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::with_errors(ProblemKind::BadRequest, vec![FieldError::at(name, detail)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wanted {
        #[expect(dead_code, reason = "only reading is tested")]
        at: slipstream_core::timestamp::Timestamp,
    }

    #[test]
    fn refusals_name_the_member() {
        for (body, pointer) in
            [(r#"{"at":"soon"}"#, "#/at"), (r#"{"at":5}"#, "#/at"), (r#"{"when":"2026-03-02T09:30:00Z"}"#, "#/when")]
        {
            let problem = parse::<Wanted>(body.as_bytes()).unwrap_err();
            assert_eq!(problem.errors[0].pointer, pointer, "{body}: {problem:?}");
        }
        // Of the object as a whole, with the member in words.
        let twice = r#"{"at":"2026-03-02T09:30:00Z","at":"2026-03-02T09:30:00Z"}"#;
        for (body, detail) in [("{}", "missing field `at`"), (twice, "duplicate field `at`")] {
            assert_eq!(parse::<Wanted>(body.as_bytes()).unwrap_err().errors[0].detail, detail);
        }
        for body in ["", "{", "[1", r#" ["2026-03-02T09:30:00Z"]"#, r#"{"at":"2026-03-02T09:30:00Z"} x"#] {
            assert!(parse::<Wanted>(body.as_bytes()).unwrap_err().detail.starts_with("the body "), "{body}");
        }
    }
}
