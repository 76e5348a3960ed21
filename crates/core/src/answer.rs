//! What a receiver's answer means (SPEC 4.2), and how its `Retry-After` is read (SPEC 2.5).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::Surface;
use crate::limits::RETRY_AFTER_SECONDS_MAX;
use crate::timestamp::Timestamp;

/// Why an attempt ended without an HTTP status. A closed set: safe as a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The name did not resolve in time.
    Dns,
    /// The address policy refused the target; no packet was sent.
    TargetNotAllowed,
    /// No connection.
    Connect,
    /// The TLS handshake failed, or the certificate was not accepted.
    Tls,
    /// The deadline passed.
    Timeout,
    /// The peer broke HTTP, or cut the connection.
    Protocol,
}

impl ErrorCode {
    /// The code's text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::TargetNotAllowed => "target_not_allowed",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Protocol => "protocol",
        }
    }

    /// The code named by [`ErrorCode::as_str`].
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Dns, Self::TargetNotAllowed, Self::Connect, Self::Tls, Self::Timeout, Self::Protocol]
            .into_iter()
            .find(|code| code.as_str() == name)
    }
}

/// What came back from one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status, or why there is none.
    pub result: Result<u16, ErrorCode>,
    /// The raw `Retry-After` value, if there was exactly one.
    pub retry_after: Option<String>,
    /// The first bytes of the body, at most [`crate::limits::ANSWER_BYTES_KEPT_MAX`].
    pub body: Vec<u8>,
}

impl Answer {
    /// An answer that never came.
    pub fn error(code: ErrorCode) -> Self {
        Self { result: Err(code), retry_after: None, body: Vec::new() }
    }
}

/// The meaning of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Taken.
    Success,
    /// Not taken now: try again, not before `floor` from now; `slow` slows the whole endpoint.
    Retry {
        /// The receiver's `Retry-After`, on 429 and 503.
        floor: Option<Duration>,
        /// Whether no other delivery to this endpoint should start meanwhile (429, 502, 503, 504).
        slow: bool,
    },
    /// Never to be taken: no further attempt.
    Final,
    /// 410: no further attempt, and the endpoint is disabled.
    Gone,
}

/// Classifies an answer by the table of SPEC 4.2. The one place where that table lives.
pub fn classify(surface: Surface, answer: &Answer, now: Timestamp) -> Verdict {
    let Ok(status) = answer.result else { return Verdict::Retry { floor: None, slow: false } };
    let floor = || answer.retry_after.as_deref().and_then(|text| parse_retry_after(text, now));
    match (surface, status) {
        (_, 200..=299) => Verdict::Success,
        (_, 410) => Verdict::Gone,
        (_, 429 | 503) => Verdict::Retry { floor: floor(), slow: true },
        (_, 502 | 504) => Verdict::Retry { floor: None, slow: true },
        (Surface::Slipstream, 400..=499) => Verdict::Final,
        // 3xx is never followed; 1xx and numbers outside the classes are no answer at all. ECG has no final answers (D-11).
        (Surface::Slipstream | Surface::Ecg, _) => Verdict::Retry { floor: None, slow: false },
    }
}

/// Reads a `Retry-After` value: delta-seconds or one of the three HTTP date forms (RFC 9110, SPEC 2.5).
///
/// A past date is zero, anything above 24 h is 24 h, anything else is `None`.
pub fn parse_retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim_matches([' ', '\t']);
    let seconds = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().unwrap_or(u64::MAX)
    } else {
        let date = parse_http_date(text, now)?;
        // Rounded up: a floor must not be undercut.
        date.since(now).as_millis().div_ceil(1000) as u64
    };
    Some(Duration::from_secs(seconds.min(RETRY_AFTER_SECONDS_MAX)))
}

fn parse_http_date(text: &str, now: Timestamp) -> Option<Timestamp> {
    use chrono::{Datelike as _, NaiveDateTime};
    let naive = |format: &str| NaiveDateTime::parse_from_str(text, format).ok();
    let date = naive("%a, %d %b %Y %H:%M:%S GMT").or_else(|| naive("%a %b %e %H:%M:%S %Y")).or_else(|| {
        // RFC 850 has the weekday in full and two digits of the year: the nearest such year that is not more than
        // 50 years ahead (RFC 9110, 5.6.7).
        let (_, rest) = text.split_once(", ")?;
        let date = NaiveDateTime::parse_from_str(rest, "%d-%b-%y %H:%M:%S GMT").ok()?;
        let this_year = chrono::DateTime::from_timestamp_millis(now.as_millis())?.year();
        let mut year = this_year - this_year % 100 + date.year() % 100;
        if year > this_year + 50 {
            year -= 100;
        }
        date.with_year(year)
    })?;
    Some(Timestamp::from_millis(date.and_utc().timestamp_millis()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_millis(784_111_777_000); // Sun, 06 Nov 1994 08:49:37 GMT

    fn verdict(status: u16) -> Verdict {
        classify(Surface::Slipstream, &Answer { result: Ok(status), retry_after: Some("7".into()), body: vec![] }, NOW)
    }

    #[test]
    fn letters_follow_the_table() {
        let seconds = |n| Some(Duration::from_secs(n));
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(verdict(status), Verdict::Success, "{status}");
        }
        for status in [400, 401, 403, 404, 408, 415, 422, 425, 499] {
            assert_eq!(verdict(status), Verdict::Final, "{status}");
        }
        for status in [301, 302, 307, 500, 501, 505, 599, 101, 600] {
            assert_eq!(verdict(status), Verdict::Retry { floor: None, slow: false }, "{status}");
        }
        assert_eq!(verdict(410), Verdict::Gone);
        assert_eq!(verdict(429), Verdict::Retry { floor: seconds(7), slow: true });
        assert_eq!(verdict(503), Verdict::Retry { floor: seconds(7), slow: true });
        assert_eq!(verdict(502), Verdict::Retry { floor: None, slow: true });
        let timeout = Answer::error(ErrorCode::Timeout);
        assert_eq!(classify(Surface::Slipstream, &timeout, NOW), Verdict::Retry { floor: None, slow: false });
    }

    #[test]
    fn ecg_has_no_final_answer_but_410() {
        let verdict =
            |status| classify(Surface::Ecg, &Answer { result: Ok(status), retry_after: None, body: vec![] }, NOW);
        for status in [301, 400, 401, 404, 415, 422, 500] {
            assert_eq!(verdict(status), Verdict::Retry { floor: None, slow: false }, "{status}");
        }
        assert_eq!((verdict(202), verdict(410)), (Verdict::Success, Verdict::Gone));
    }

    #[test]
    fn all_forms_of_retry_after_are_read() {
        let seconds = |text: &str| parse_retry_after(text, NOW).map(|d| d.as_secs());
        assert_eq!(seconds("7"), Some(7));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:47 GMT"), Some(10));
        assert_eq!(seconds("Sunday, 06-Nov-94 08:49:47 GMT"), Some(10));
        assert_eq!(seconds("Sun Nov  6 08:49:47 1994"), Some(10));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:30 GMT"), Some(0));
        assert_eq!(seconds("99999999999999999999"), Some(RETRY_AFTER_SECONDS_MAX));
        for garbage in ["", "-1", "1.5", "soon", "+5", "７"] {
            assert_eq!(seconds(garbage), None, "{garbage}");
        }
    }

    proptest! {
        #[test]
        fn reading_retry_after_never_panics(text in ".{0,60}") {
            let _ = parse_retry_after(&text, NOW);
        }
    }
}
