//! A client of our own public HTTP API, as any user would write one: nothing here reaches past the API.

mod operator;

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use http::header::{HeaderName, HeaderValue};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use slipstream_core::event::{self, Event};

use crate::credentials::Running;

pub(crate) use self::operator::{Delivery, Explained, Why};

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How events are put into requests (SPEC 3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Mode {
    /// The whole event is the JSON body.
    #[default]
    Structured,
    /// The data is the body, the attributes are `ce-` headers.
    Binary,
    /// The body is a JSON array of events.
    Batch,
}

impl Mode {
    /// The mode's name.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Structured => "structured",
            Self::Binary => "binary",
            Self::Batch => "batch",
        }
    }
}

/// The API of one running system. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    http: reqwest::Client,
    base: String,
    /// Where the operator API is, if that is known.
    operator_base: Option<String>,
}

/// An event that waits for its time.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Scheduled {
    /// What it is called in a path.
    pub(crate) key: String,
    /// The event's id.
    pub(crate) id: String,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: StatusCode,
    /// From sending to the last byte.
    pub(crate) took: Duration,
    /// Its body.
    pub(crate) body: Vec<u8>,
}

impl Api {
    /// The API at `url`, with or without a slash at its end.
    ///
    /// # Errors
    /// When it is no `http` or `https` URL.
    pub(crate) fn new(url: &str) -> anyhow::Result<Self> {
        let parsed = reqwest::Url::parse(url).with_context(|| format!("`{url}` is not a URL"))?;
        anyhow::ensure!(matches!(parsed.scheme(), "http" | "https"), "`{url}` is not an http or https URL");
        let builder = reqwest::Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none());
        // A proxy has nothing to do with what is on this machine, and could not reach it.
        let is_local = matches!(parsed.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
        let builder = if is_local { builder.no_proxy() } else { builder };
        let http = builder.build().context("cannot make an HTTP client")?;
        Ok(Self { http, base: url.trim_end_matches('/').to_owned(), operator_base: None })
    }

    /// Both APIs of a running system.
    ///
    /// # Errors
    /// As [`Api::new`].
    pub(crate) fn of(running: &Running) -> anyhow::Result<Self> {
        Ok(Self { operator_base: Some(running.operator_url.clone()), ..Self::new(&running.url)? })
    }

    /// S1: publishes `events`: one in structured and binary mode, any number as a batch.
    ///
    /// # Errors
    /// When no answer comes; a refusal is an answer.
    pub(crate) async fn publish(&self, site: &str, key: &str, mode: Mode, events: &[Event]) -> anyhow::Result<Answer> {
        let (headers, body) = match (mode, events) {
            (Mode::Structured, [event]) => (content_type("application/cloudevents+json"), structured(event)),
            (Mode::Binary, [event]) => event::http::write_binary(event),
            (Mode::Batch, events) => (content_type("application/cloudevents-batch+json"), batch(events)),
            (mode, _) => anyhow::bail!("{} mode takes one event at a time", mode.as_str()),
        };
        let mut request =
            self.http.post(format!("{}/sites/{site}/events", self.base)).header("x-api-key", secret(key)?);
        for (name, value) in headers {
            let name = HeaderName::try_from(&name).with_context(|| format!("`{name}` is not a header's name"))?;
            request = request.header(name, value);
        }
        self.send(request.body(body)).await
    }

    /// S3: makes or replaces the account's physical-post subscription for the site.
    ///
    /// # Errors
    /// When it is refused.
    pub(crate) async fn subscribe(&self, site: &str, key: &str, uri: &str) -> anyhow::Result<()> {
        let url = format!("{}/sites/{site}/webhooks/features/physicalpost", self.base);
        let request = self.http.put(url).header("x-api-key", secret(key)?);
        let answer = self.send(request.json(&serde_json::json!({ "Uri": uri }))).await?;
        answer.require("subscribing").map(drop)
    }

    /// The ids and keys of the events that wait for their time at `site`, the next one to come due in front; at most 100.
    ///
    /// # Errors
    /// When it is refused.
    pub(crate) async fn scheduled(&self, site: &str, key: &str) -> anyhow::Result<Vec<Scheduled>> {
        #[derive(Deserialize)]
        struct Page {
            items: Vec<Scheduled>,
        }
        let url = format!("{}/sites/{site}/events/scheduled?limit=100", self.base);
        let answer = self.send(self.http.get(url).header("x-api-key", secret(key)?)).await?;
        let body = answer.require("listing scheduled events")?;
        let page: Page = serde_json::from_slice(&body).context("the list of scheduled events is something else")?;
        Ok(page.items)
    }

    /// Cancels an event that waits for its time.
    ///
    /// # Errors
    /// When it is refused, as it is when the event has come due.
    pub(crate) async fn cancel_scheduled(&self, site: &str, key: &str, event_key: &str) -> anyhow::Result<()> {
        let url = format!("{}/sites/{site}/events/scheduled/{event_key}", self.base);
        let answer = self.send(self.http.delete(url).header("x-api-key", secret(key)?)).await?;
        answer.require("cancelling a scheduled event").map(drop)
    }

    /// A request to the operator API that answers with JSON.
    async fn operator<T: DeserializeOwned>(
        &self,
        token: &str,
        method: Method,
        url: impl reqwest::IntoUrl,
        body: Option<serde_json::Value>,
    ) -> anyhow::Result<Option<T>> {
        let doing = format!("{method} {}", url.as_str());
        let mut request = self.http.request(method, url).header("authorization", secret(&format!("Bearer {token}"))?);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = self.send(request).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let body = answer.require(&doing)?;
        serde_json::from_slice(&body).map(Some).with_context(|| format!("{doing} answered something else"))
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> anyhow::Result<Answer> {
        let began = Instant::now();
        let sent = request.send().await;
        let response = sent.with_context(|| format!("no answer from {}; is it running?", self.base))?;
        let status = response.status();
        let body = response.bytes().await.with_context(|| format!("the answer of {} broke off", self.base))?.to_vec();
        Ok(Answer { status, took: began.elapsed(), body })
    }
}

impl Answer {
    /// The body of an answer that is 2xx.
    ///
    /// # Errors
    /// With the problem that it tells otherwise.
    pub(crate) fn require(self, doing: &str) -> anyhow::Result<Vec<u8>> {
        anyhow::ensure!(self.status.is_success(), "{doing} was refused: {self}");
        Ok(self.body)
    }
}

/// The members of a problem document that help people (SPEC 2.2).
#[derive(Deserialize)]
struct Problem {
    #[serde(default)]
    detail: String,
    #[serde(default, rename = "traceId")]
    trace_id: String,
    #[serde(default)]
    errors: Vec<FieldError>,
}

#[derive(Deserialize)]
struct FieldError {
    pointer: String,
    detail: String,
}

impl fmt::Display for Answer {
    /// The status, and what a problem document says.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        let Ok(problem) = serde_json::from_slice::<Problem>(&self.body) else { return Ok(()) };
        if !problem.detail.is_empty() {
            write!(f, ": {}", problem.detail)?;
        }
        for error in problem.errors {
            write!(f, "\n  {}: {}", error.pointer, error.detail)?;
        }
        if !problem.trace_id.is_empty() {
            write!(f, "\n  trace {}", problem.trace_id)?;
        }
        Ok(())
    }
}

fn content_type(value: &str) -> Vec<(String, String)> {
    vec![("content-type".to_owned(), value.to_owned())]
}

fn structured(event: &Event) -> Vec<u8> {
    let mut body = Vec::new();
    event::json::write(event, &mut body);
    body
}

fn batch(events: &[Event]) -> Vec<u8> {
    let mut body = vec![b'['];
    for (index, event) in events.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        event::json::write(event, &mut body);
    }
    body.push(b']');
    body
}

/// A header's value that no log shows.
fn secret(text: &str) -> anyhow::Result<HeaderValue> {
    let mut value = HeaderValue::from_str(text).map_err(|_| anyhow::anyhow!("a key or token holds odd characters"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_with_all_that_is_wrong() {
        let body = br##"{"type":"about:blank","title":"Bad Request","status":400,"detail":"2 attributes are invalid",
            "traceId":"00-84c1-85d1-00","errors":[{"pointer":"#/0/id","detail":"must not be empty"}]}"##;
        let answer = Answer { status: StatusCode::BAD_REQUEST, took: Duration::ZERO, body: body.to_vec() };
        assert_eq!(
            answer.to_string(),
            "400 Bad Request: 2 attributes are invalid\n  #/0/id: must not be empty\n  trace 00-84c1-85d1-00"
        );
        let answer = Answer { status: StatusCode::BAD_GATEWAY, took: Duration::ZERO, body: b"<html>".to_vec() };
        assert_eq!(answer.to_string(), "502 Bad Gateway");
    }

    #[test]
    fn a_key_does_not_print() {
        assert!(!format!("{:?}", secret("canary").unwrap()).contains("canary"));
    }
}
