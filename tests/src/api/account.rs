//! An account at a site: publishes and subscribes (SPEC 5.1).

use std::net::SocketAddr;

use bytes::Bytes;
use serde_json::{Value, json};
use slipstream_core::event;
use slipstream_test_support::builders::{EventBuilder, batch};

use super::{Answer, Bases, client};

const STRUCTURED: &str = "application/cloudevents+json";
const BATCHED: &str = "application/cloudevents-batch+json";

/// How events are put into requests (SPEC 3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The whole event is the JSON body.
    Structured,
    /// The data is the body, the attributes are `ce-` headers.
    Binary,
    /// The body is a JSON array.
    Batch,
}

/// What an account is known by.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// Its id.
    pub id: String,
    /// Its primary key.
    pub key: String,
}

/// An account that acts at one site. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Account {
    pub(super) http: reqwest::Client,
    pub(super) bases: Bases,
    /// The site's slug.
    pub site: String,
    /// Its id.
    pub id: String,
    /// The key it uses.
    pub key: String,
}

impl Account {
    pub(crate) fn new(bases: Bases, site: &str, Credentials { id, key }: Credentials) -> Self {
        Self { http: client(), bases, site: site.to_owned(), id, key }
    }

    /// The same account at another site.
    #[must_use]
    pub fn at_site(&self, site: &str) -> Self {
        Self { site: site.to_owned(), ..self.clone() }
    }

    /// The same account with another key.
    #[must_use]
    pub fn with_key(&self, key: &str) -> Self {
        Self { key: key.to_owned(), ..self.clone() }
    }

    /// The same account, that publishes at another replica of ingest.
    #[must_use]
    pub fn at_ingest(&self, ingest: SocketAddr) -> Self {
        Self { bases: Bases { ingest, ..self.bases }, ..self.clone() }
    }

    /// The client it uses.
    pub const fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// S1, with everything but the method and the path still to be set, the key too.
    pub fn publishing(&self) -> reqwest::RequestBuilder {
        self.http.post(format!("http://{}/sites/{}/events", self.bases.ingest, self.site))
    }

    /// S1 with a body of any type.
    pub async fn publish_body(&self, content_type: &str, body: impl Into<Bytes>) -> Answer {
        let request = self.publishing().header("x-api-key", &self.key).header("content-type", content_type);
        Answer::to(request.body(body.into())).await
    }

    /// S1 of a request that the test has made with [`Account::publishing`].
    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        Answer::to(request).await
    }

    /// S1: one event in structured mode. The answer may be a refusal.
    pub async fn try_publish(&self, event: &EventBuilder) -> Answer {
        self.publish_body(STRUCTURED, event.bytes()).await
    }

    /// As [`Account::try_publish`]; none if there was no answer at all, as when the process is killed meanwhile.
    pub async fn publish_if_answered(&self, event: &EventBuilder) -> Option<Answer> {
        let request = self.publishing().header("x-api-key", &self.key).header("content-type", STRUCTURED);
        Answer::try_to(request.body(event.bytes())).await.ok()
    }

    /// S1: one event in structured mode, which must be accepted.
    pub async fn publish(&self, event: &EventBuilder) {
        self.try_publish(event).await.expect(204);
    }

    /// S1: events in this mode, one request each unless it is a batch. All must be accepted.
    pub async fn publish_in(&self, mode: Mode, events: &[EventBuilder]) {
        if mode == Mode::Batch {
            self.publish_body(BATCHED, batch(events)).await.expect(204);
            return;
        }
        for event in events {
            match mode {
                Mode::Binary => self.publish_binary(event).await.expect(204),
                _ => self.try_publish(event).await.expect(204),
            };
        }
    }

    /// S1: a batch, which may be refused.
    pub async fn try_publish_batch(&self, events: &[EventBuilder]) -> Answer {
        self.publish_body(BATCHED, batch(events)).await
    }

    /// S1: an empty batch, which stores nothing and tells whether the account may publish.
    pub async fn empty_batch(&self) -> Answer {
        self.publish_body(BATCHED, "[]").await
    }

    async fn publish_binary(&self, event: &EventBuilder) -> Answer {
        let event = event::json::parse(&event.bytes()).unwrap_or_else(|errors| panic!("not an event: {errors:?}"));
        let (headers, body) = event::http::write_binary(&event);
        let mut request = self.publishing().header("x-api-key", &self.key).body(body);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        Answer::to(request).await
    }

    /// The status of a plain GET, for probes.
    pub async fn status_of(&self, address: SocketAddr, path: &str) -> u16 {
        Answer::to(self.http.get(format!("http://{address}{path}"))).await.status
    }

    fn webhook(&self, method: http::Method) -> reqwest::RequestBuilder {
        let path = format!("sites/{}/webhooks/features/physicalpost", self.site);
        self.http.request(method, format!("http://{}/{path}", self.bases.registry)).header("x-api-key", &self.key)
    }

    /// S3 with any body.
    pub async fn put_webhook(&self, body: Value) -> Answer {
        Answer::to(self.webhook(http::Method::PUT).json(&body)).await
    }

    /// S3 with a body that says to be JSON.
    pub async fn put_webhook_body(&self, body: impl Into<Bytes>) -> Answer {
        let request = self.webhook(http::Method::PUT).header("content-type", "application/json");
        Answer::to(request.body(body.into())).await
    }

    /// S3: subscribes `uri` to all letter events.
    pub async fn subscribe(&self, uri: impl Into<String>) {
        self.put_webhook(json!({ "Uri": uri.into() })).await.expect(200);
    }

    /// S4.
    pub async fn unsubscribe(&self) -> Answer {
        Answer::to(self.webhook(http::Method::DELETE)).await
    }

    /// S5.
    pub async fn get_webhook(&self) -> Answer {
        Answer::to(self.webhook(http::Method::GET)).await
    }

    /// S5: the endpoint's state, as the label tells it.
    pub async fn webhook_labels(&self) -> Vec<String> {
        let details: Value = self.get_webhook().await.parsed(200);
        serde_json::from_value(details["Labels"].clone()).expect("labels are texts")
    }
}
