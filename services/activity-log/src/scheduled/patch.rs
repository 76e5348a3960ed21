//! The body that moves a scheduled event: a JSON merge patch (RFC 7396) of its two times, strictly read.

use axum::http::{HeaderMap, header};
use serde_json::{Map, Value};
use slipstream_core::problem::{FieldError, Problem, ProblemKind};
use slipstream_core::reschedule::Times;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::json;
use utoipa::ToSchema;

const INTENDED: &str = "intendeddeliverytime";
const EXPIRY: &str = "expirytime";

/// Refuses a `Content-Type` that is neither JSON nor a merge patch, or not in UTF-8.
pub(super) fn check_content_type(headers: &HeaderMap) -> Result<(), Problem> {
    json::check_content_type(headers)?;
    let text = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = text.split(';').next().unwrap_or_default().trim();
    // Not every `+json` is a merge patch: `application/json-patch+json` says something else.
    if ["application/json", "application/merge-patch+json"].iter().any(|known| media_type.eq_ignore_ascii_case(known)) {
        return Ok(());
    }
    let detail = "the Content-Type must be application/json or application/merge-patch+json";
    Err(Problem::new(ProblemKind::UnsupportedMediaType, detail))
}

/// A body for documents.
#[derive(ToSchema)]
#[schema(example = json!({ "intendeddeliverytime": "2100-01-01T00:00:00Z" }))]
#[expect(
    dead_code,
    reason = "documents take its fields' names and rules; null and absent are two things, so it is read by hand"
)]
pub(super) struct NewTimes {
    /// When the event is to be delivered; before `expirytime`. A time that has passed means at once.
    #[schema(inline, nullable = false)]
    intendeddeliverytime: Option<Timestamp>,
    /// When it is worth nothing any more; null for never.
    #[schema(inline)]
    expirytime: Option<Timestamp>,
}

/// New times: one, the other, or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Patch {
    intended_at: Option<Timestamp>,
    expiry: Expiry,
}

/// What becomes of an event's `expirytime`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expiry {
    /// It stays as it is.
    Same,
    /// It is taken away.
    Never,
    At(Timestamp),
}

impl Patch {
    /// Reads a body. Members that are not known are ignored.
    ///
    /// # Errors
    /// 400, naming the member that is wrong, if it is one: no JSON object, a member name twice, neither of the two
    /// times, a time that is none, an expiry that has passed at `now`.
    pub(super) fn read(body: &[u8], now: Timestamp) -> Result<Self, Problem> {
        let members: Map<String, Value> = json::read(body)?;
        let intended_at = members.get(INTENDED).map(|value| time(INTENDED, value)).transpose()?;
        let expiry = match members.get(EXPIRY) {
            None => Expiry::Same,
            Some(Value::Null) => Expiry::Never,
            Some(value) => Expiry::At(time(EXPIRY, value)?),
        };
        if intended_at.is_none() && expiry == Expiry::Same {
            let detail = "the body must have intendeddeliverytime, expirytime or both";
            return Err(Problem::new(ProblemKind::BadRequest, detail));
        }
        if matches!(expiry, Expiry::At(at) if at <= now) {
            return Err(refuse(EXPIRY, "must not have passed"));
        }
        Ok(Self { intended_at, expiry })
    }

    /// The times that an event with these has then.
    ///
    /// # Errors
    /// 400 when the first would not be before the second.
    pub(super) fn apply(self, intended: Option<Timestamp>, expires: Option<Timestamp>) -> Result<Times, Problem> {
        let expires_at = match self.expiry {
            Expiry::Same => expires,
            Expiry::Never => None,
            Expiry::At(at) => Some(at),
        };
        // What waits has a time; were there none, it would have come due at once.
        let intended_at = self.intended_at.or(intended).unwrap_or_default();
        if expires_at.is_some_and(|expires_at| intended_at >= expires_at) {
            return Err(refuse(INTENDED, "must be before expirytime"));
        }
        Ok(Times { intended_at, expires_at })
    }
}

fn refuse(member: &str, detail: &'static str) -> Problem {
    Problem::with_errors(ProblemKind::BadRequest, vec![FieldError::at(member, detail)])
}

fn time(member: &str, value: &Value) -> Result<Timestamp, Problem> {
    let time = value.as_str().and_then(|text| text.parse().ok());
    time.ok_or_else(|| refuse(member, "must be an RFC 3339 timestamp"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_772_443_800_000);

    fn read(body: &str) -> Result<Patch, (String, String)> {
        Patch::read(body.as_bytes(), NOW).map_err(|problem| {
            assert_eq!(problem.kind, ProblemKind::BadRequest);
            match problem.errors.into_iter().next() {
                Some(error) => (error.pointer, error.detail.into_owned()),
                None => (String::new(), problem.detail.into_owned()),
            }
        })
    }

    #[test]
    fn each_time_may_be_given_alone_and_the_expiry_taken_away() {
        let at = NOW.after(std::time::Duration::from_secs(1));
        let intended = r#"{"intendeddeliverytime":"2026-03-02T09:30:01Z","other":{"a":[1,-1,1.5,null,true,"x"]}}"#;
        assert_eq!(read(intended), Ok(Patch { intended_at: Some(at), expiry: Expiry::Same }));
        assert_eq!(read(r#"{"expirytime":null}"#), Ok(Patch { intended_at: None, expiry: Expiry::Never }));
        let expiry = r#"{"expirytime":"2026-03-02T10:30:01+01:00"}"#;
        assert_eq!(read(expiry), Ok(Patch { intended_at: None, expiry: Expiry::At(at) }));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let time = "must be an RFC 3339 timestamp";
        for (body, pointer, detail) in [
            (r#"{"intendeddeliverytime":null}"#, "#/intendeddeliverytime", time),
            (r#"{"intendeddeliverytime":1772443800000}"#, "#/intendeddeliverytime", time),
            (r#"{"intendeddeliverytime":"tomorrow"}"#, "#/intendeddeliverytime", time),
            (r#"{"expirytime":["2026-03-02T09:30:01Z"]}"#, "#/expirytime", time),
            (r#"{"expirytime":"2026-03-02T09:30:00Z"}"#, "#/expirytime", "must not have passed"),
            ("{}", "", "the body must have intendeddeliverytime, expirytime or both"),
            ("[]", "#", "must be an object"),
            (r#"{"expirytime":null,"expirytime":null}"#, "#/expirytime", "stands twice in its object"),
            (r#"{"expirytime":null,"x":[{"y":1,"y":2}]}"#, "#/x/0/y", "stands twice in its object"),
            ("", "", "the body is not valid JSON: line 1, column 0"),
            (r#"{"expirytime":null} x"#, "", "the body is not valid JSON: line 1, column 21"),
        ] {
            assert_eq!(read(body), Err((pointer.to_owned(), detail.to_owned())), "{body}");
        }
    }

    #[test]
    fn the_intended_time_is_before_the_expiry_whichever_is_moved() {
        let at = |seconds: u64| NOW.after(std::time::Duration::from_secs(seconds));
        let (intended, expires) = (Some(at(10)), Some(at(20)));
        let apply = |intended_at, expiry| {
            let applied = Patch { intended_at, expiry }.apply(intended, expires);
            applied
                .map(|times| (times.intended_at, times.expires_at))
                .map_err(|problem| problem.errors[0].pointer.clone())
        };
        assert_eq!(apply(Some(at(15)), Expiry::Same), Ok((at(15), expires)));
        assert_eq!(apply(Some(NOW), Expiry::Same), Ok((NOW, expires)));
        assert_eq!(apply(None, Expiry::Never), Ok((at(10), None)));
        assert_eq!(apply(Some(at(30)), Expiry::At(at(31))), Ok((at(30), Some(at(31)))));
        let refused = Err("#/intendeddeliverytime".to_owned());
        assert_eq!(apply(Some(at(20)), Expiry::Same), refused);
        assert_eq!(apply(None, Expiry::At(at(10))), refused);
    }

    #[test]
    fn only_json_and_merge_patches_in_utf_8_are_read() {
        let check = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, text.parse().unwrap());
            check_content_type(&headers).is_ok()
        };
        assert!(check("application/json") && check("Application/Merge-Patch+JSON; charset=\"UTF-8\""));
        assert!(
            !check("text/plain") && !check("application/json; charset=utf-16") && !check("application/json-patch+json")
        );
        assert!(check_content_type(&HeaderMap::new()).is_err());
    }
}
