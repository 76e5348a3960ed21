//! Which headers a subscription may add to its deliveries (SPEC 5.4, THREATS 4).

use http::{HeaderName, HeaderValue};
use slipstream_core::config::SubscriptionHeader;
use slipstream_core::limits::{SUBSCRIPTION_HEADER_VALUE_BYTES_MAX, SUBSCRIPTION_HEADERS_MAX};

/// A subscription's headers, checked and ready to be sent. Values are marked as secret and do not print.
#[derive(Debug, Clone, Default)]
pub struct PreparedHeaders(Box<[(HeaderName, HeaderValue)]>);

/// One thing that is wrong with a list of headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct HeaderError {
    /// Which header, from 0; none if the list itself is at fault.
    pub index: Option<usize>,
    /// What is wrong with it.
    pub problem: HeaderProblem,
}

/// What is wrong with a header, written for the caller. Never holds the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderProblem {
    /// More than [`SUBSCRIPTION_HEADERS_MAX`].
    #[error("at most {SUBSCRIPTION_HEADERS_MAX} headers are allowed")]
    TooMany,
    /// The name is no RFC 9110 token.
    #[error("must be a header name (an RFC 9110 token)")]
    BadName,
    /// The name is one that we set, or that steers the connection.
    #[error("this header is set by the platform and cannot be chosen")]
    ForbiddenName,
    /// The name stands in the list already; compared without case.
    #[error("this header is given twice")]
    Repeated,
    /// The value is not visible ASCII, or begins or ends with a space.
    #[error("must be visible ASCII characters, with spaces only between them")]
    BadValue,
    /// The value is longer than [`SUBSCRIPTION_HEADER_VALUE_BYTES_MAX`].
    #[error("must have at most {SUBSCRIPTION_HEADER_VALUE_BYTES_MAX} characters")]
    ValueTooLong,
    /// The value is still sealed, see [`slipstream_core::sealing`].
    #[error("the value is still sealed")]
    Sealed,
}

impl HeaderProblem {
    /// Whether the value is at fault, and not the name or the list.
    pub const fn is_of_value(self) -> bool {
        matches!(self, Self::BadValue | Self::ValueTooLong | Self::Sealed)
    }
}

/// Names that are refused, in lower case.
const FORBIDDEN: [&str; 15] = [
    "host",
    "content-length",
    "content-type",
    "connection",
    "transfer-encoding",
    "te",
    "upgrade",
    "expect",
    "traceparent",
    "cookie",
    "accept-encoding",
    "content-encoding",
    "range",
    "keep-alive",
    "trailer",
];

/// Beginnings of names that are refused, in lower case.
const FORBIDDEN_PREFIXES: [&str; 3] = ["webhook-", "ce-", "proxy-"];

/// Longest header name: what one line of a request head may reasonably hold. A token has no limit of its own.
const NAME_BYTES_MAX: usize = 256;

impl PreparedHeaders {
    /// Checks and prepares a list of headers. Values are sent literally; nothing in them is a template.
    ///
    /// # Errors
    /// Everything that is wrong, in the list's order; nothing beyond the count if there are too many.
    pub fn new(headers: &[SubscriptionHeader]) -> Result<Self, Vec<HeaderError>> {
        if headers.len() > SUBSCRIPTION_HEADERS_MAX {
            return Err(vec![HeaderError { index: None, problem: HeaderProblem::TooMany }]);
        }
        let mut errors = Vec::new();
        let mut prepared: Vec<(HeaderName, HeaderValue)> = Vec::with_capacity(headers.len());
        for (index, header) in headers.iter().enumerate() {
            let mut fail = |problem| errors.push(HeaderError { index: Some(index), problem });
            let name = name(&header.name);
            let value = header.value.expose().map_err(|_| HeaderProblem::Sealed).and_then(value);
            match (&name, &value) {
                (Ok(name), _) if prepared.iter().any(|(earlier, _)| earlier == name) => fail(HeaderProblem::Repeated),
                (Err(problem), _) => fail(*problem),
                _ => {}
            }
            match value {
                Err(problem) => fail(problem),
                Ok(value) => prepared.extend(name.ok().map(|name| (name, value))),
            }
        }
        if errors.is_empty() { Ok(Self(prepared.into())) } else { Err(errors) }
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &(HeaderName, HeaderValue)> {
        self.0.iter()
    }
}

fn name(text: &str) -> Result<HeaderName, HeaderProblem> {
    if text.len() > NAME_BYTES_MAX {
        return Err(HeaderProblem::BadName);
    }
    // `HeaderName` is lower case and takes exactly the tokens of RFC 9110.
    let name = HeaderName::from_bytes(text.as_bytes()).map_err(|_| HeaderProblem::BadName)?;
    let is_forbidden =
        FORBIDDEN.contains(&name.as_str()) || FORBIDDEN_PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix));
    if is_forbidden { Err(HeaderProblem::ForbiddenName) } else { Ok(name) }
}

fn value(text: &str) -> Result<HeaderValue, HeaderProblem> {
    if text.len() > SUBSCRIPTION_HEADER_VALUE_BYTES_MAX {
        return Err(HeaderProblem::ValueTooLong);
    }
    // A space inside is needed (`Bearer …`); at an end it would be lost on the way.
    let is_visible = text.bytes().all(|byte| matches!(byte, b' '..=b'~')) && text.trim_matches(' ') == text;
    let mut value = Some(text)
        .filter(|_| is_visible)
        .and_then(|text| HeaderValue::from_str(text).ok())
        .ok_or(HeaderProblem::BadValue)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<SubscriptionHeader> {
        pairs.into_iter().map(|(name, value)| SubscriptionHeader { name: name.into(), value: value.into() }).collect()
    }

    fn problems<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<(Option<usize>, HeaderProblem)> {
        let errors = PreparedHeaders::new(&headers(pairs)).expect_err("the headers are wrong");
        errors.into_iter().map(|error| (error.index, error.problem)).collect()
    }

    #[test]
    fn ordinary_headers_are_taken_and_their_values_do_not_print() {
        let list = headers([("X-API-KEY", "s3cr3t-canary"), ("Authorization", "Bearer canary"), ("x.y_z~", "")]);
        let prepared = PreparedHeaders::new(&list).unwrap();
        assert_eq!(prepared.iter().len(), 3);
        assert!(!format!("{prepared:?}").contains("canary"));
    }

    #[test]
    fn names_that_are_ours_or_steer_the_connection_are_refused_in_any_case() {
        for name in [
            "Host",
            "HOST",
            "Content-Length",
            "Content-Type",
            "Connection",
            "Transfer-Encoding",
            "TE",
            "Upgrade",
            "Expect",
            "traceparent",
            "webhook-id",
            "Webhook-Signature",
            "WebHook-Request-Origin",
            "ce-id",
            "CE-x",
            "Cookie",
            "Accept-Encoding",
            "Content-Encoding",
            "Range",
            "Keep-Alive",
            "Trailer",
            "Proxy-Authorization",
            "proxy-connection",
        ] {
            assert_eq!(problems([(name, "x")]), [(Some(0), HeaderProblem::ForbiddenName)], "{name}");
        }
        for name in ["X-Host", "webhooks", "cell", "Content-Language", "If-Range", "Set-Cookie"] {
            assert!(PreparedHeaders::new(&headers([(name, "x")])).is_ok(), "{name}");
        }
    }

    #[test]
    fn nothing_can_end_a_header_line() {
        for value in ["a\r\nX: y", "a\n", "\r", "a\0b", "a\tb", "é", " a", "a ", "\x7f", "a\u{2028}b"] {
            assert_eq!(problems([("X-A", value)]), [(Some(0), HeaderProblem::BadValue)], "{value:?}");
        }
        for name in ["", "X A", "X:A", "X\r\nA", "X\0", "Ü", "(x)", "a/b", "X,"] {
            assert_eq!(problems([(name, "x")]), [(Some(0), HeaderProblem::BadName)], "{name:?}");
        }
    }

    #[test]
    fn limits_hold_exactly() {
        let (fits, long) = ("v".repeat(4096), "v".repeat(4097));
        assert!(PreparedHeaders::new(&headers([("X-A", fits.as_str())])).is_ok());
        assert_eq!(problems([("X-A", long.as_str())]), [(Some(0), HeaderProblem::ValueTooLong)]);
        let names: Vec<_> = (0..21).map(|n| format!("X-{n}")).collect();
        let list = |count| names.iter().take(count).map(|name| (name.as_str(), "x"));
        assert!(PreparedHeaders::new(&headers(list(20))).is_ok());
        assert_eq!(problems(list(21)), [(None, HeaderProblem::TooMany)]);
    }

    #[test]
    fn every_error_is_told_with_its_index() {
        assert_eq!(
            problems([("X-A", "x"), ("Host", "\n"), ("x-a", "y"), ("", "z")]),
            [
                (Some(1), HeaderProblem::ForbiddenName),
                (Some(1), HeaderProblem::BadValue),
                (Some(2), HeaderProblem::Repeated),
                (Some(3), HeaderProblem::BadName),
            ]
        );
    }

    proptest! {
        #[test]
        fn what_is_taken_holds_no_control_character(name in ".{0,12}", value in "(.|\n|\r|\0){0,12}") {
            if let Ok(prepared) = PreparedHeaders::new(&headers([(name.as_str(), value.as_str())])) {
                for (name, value) in prepared.iter() {
                    prop_assert!(name.as_str().bytes().chain(value.as_bytes().iter().copied()).all(|b| (32..127).contains(&b)));
                }
            }
        }
    }
}
