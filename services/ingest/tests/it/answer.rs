//! What ingest answered.

use http::HeaderMap;
use reqwest::RequestBuilder;
use serde_json::Value;
use slipstream_core::trace::TraceContext;

use crate::world::CANARY;

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// The body as text.
    pub(crate) text: String,
    /// The body as JSON; null if it has none.
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) async fn to(request: RequestBuilder) -> Self {
        let response = request.send().await.expect("an answer");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.expect("a body that is text");
        let body = serde_json::from_str(&text).unwrap_or_default();
        Self { status, headers, text, body }
    }

    /// Checks the status, and everything that every answer with that status promises.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> &Self {
        assert_eq!(self.status, status, "{}", self.text);
        assert!(!self.text.contains(CANARY), "data in an answer: {}", self.text);
        if status == 204 {
            assert_eq!(self.text, "");
            assert!(!self.headers.contains_key("content-type"));
        } else {
            assert_eq!(self.headers["content-type"], "application/problem+json");
            assert_eq!(self.headers["cache-control"], "no-store");
            assert_eq!(self.body["status"], status);
            assert!(self.body["type"].is_string() && self.body["title"].is_string(), "{}", self.text);
            assert!(self.body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{}", self.text);
            let _ = self.trace();
        }
        assert_eq!(matches!(status, 429 | 503), self.headers.contains_key("retry-after"), "{:?}", self.headers);
        self
    }

    /// Checks that it is 400 and names exactly these members.
    #[track_caller]
    pub(crate) fn expect_invalid(&self, pointers: &[&str]) -> &Self {
        self.expect(400);
        assert_eq!(self.kind(), "invalid-event", "{}", self.text);
        assert_eq!(self.pointers(), pointers, "{}", self.text);
        self
    }

    /// The last segment of the problem's type.
    #[track_caller]
    pub(crate) fn kind(&self) -> &str {
        self.body["type"].as_str().expect("a type").trim_start_matches("https://docs.example/problems/")
    }

    /// The value of a header; empty if it is absent.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("our headers are text"))
    }

    /// The pointers of the members at fault.
    pub(crate) fn pointers(&self) -> Vec<&str> {
        let errors = self.body["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
        errors.iter().map(|error| error["pointer"].as_str().expect("a pointer")).collect()
    }

    /// The `traceId`, which is a whole traceparent (SPEC 2.2).
    #[track_caller]
    pub(crate) fn trace(&self) -> TraceContext {
        self.body["traceId"].as_str().expect("a traceId").parse().expect("a traceparent")
    }
}
