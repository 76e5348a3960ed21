//! Clients of the public APIs, as strangers would write them.

mod account;
mod audit;
mod ecg;
mod endpoints;
mod operator;
mod records;
mod replays;
mod scheduled;

use std::net::SocketAddr;

use bytes::Bytes;
use http::HeaderMap;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use self::account::{Account, Credentials, Mode};
pub use self::ecg::{Ecg, unique};
pub use self::endpoints::SigningKey;
pub use self::operator::{NewAccount, Operator};
pub use self::records::{Attempt, Delivery, Explained, NotMatched};
pub use self::replays::{ByState, Check, Explanation, Reconciled, ReplayJob, Replayed, Totals};
pub use self::scheduled::ScheduledEvent;

/// Where each API is.
#[derive(Debug, Clone, Copy)]
pub struct Bases {
    /// Publishing.
    pub ingest: SocketAddr,
    /// Subscriptions.
    pub registry: SocketAddr,
    /// Events that wait.
    pub activity_log: SocketAddr,
    /// The operator's, of each.
    pub operator: OperatorBases,
}

/// Where each service has its operator's listener, with its probes.
#[derive(Debug, Clone, Copy)]
pub struct OperatorBases {
    /// Probes only.
    pub ingest: SocketAddr,
    /// Sites, accounts and endpoints.
    pub registry: SocketAddr,
    /// Deliveries and events.
    pub activity_log: SocketAddr,
    /// Probes only.
    pub dispatcher: SocketAddr,
}

impl Bases {
    /// All on two ports.
    pub const fn all_at(public: SocketAddr, operator: SocketAddr) -> Self {
        let all = OperatorBases { ingest: operator, registry: operator, activity_log: operator, dispatcher: operator };
        Self { ingest: public, registry: public, activity_log: public, operator: all }
    }
}

/// A client that follows no redirect and knows no proxy.
fn client() -> reqwest::Client {
    let builder = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    builder.timeout(crate::LIMIT).build().expect("the TLS provider is installed")
}

/// An answer, whatever it is.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Answer {
    async fn to(request: reqwest::RequestBuilder) -> Self {
        Self::try_to(request).await.unwrap_or_else(|error| panic!("no answer: {error:?}"))
    }

    async fn try_to(request: reqwest::RequestBuilder) -> Result<Self, reqwest::Error> {
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Self { status, headers, body: response.bytes().await? })
    }

    /// The value of a header; empty if it is absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("no JSON ({error}): {self}"))
    }

    /// The body as a `T`, of an answer with this status.
    #[track_caller]
    pub fn parsed<T: DeserializeOwned>(&self, status: u16) -> T {
        assert_eq!(self.status, status, "{self}");
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self}"))
    }

    /// Checks the status.
    #[track_caller]
    pub fn expect(&self, status: u16) -> &Self {
        assert_eq!(self.status, status, "{self}");
        self
    }

    /// The last segment of a problem's `type`; `blank` for `about:blank`.
    pub fn problem(&self) -> String {
        let body = self.json();
        let name = body["type"].as_str().unwrap_or_else(|| panic!("no problem: {self}"));
        name.rsplit(['/', ':']).next().unwrap_or_default().to_owned()
    }

    /// Where a problem's errors are.
    pub fn pointers(&self) -> Vec<String> {
        let body = self.json();
        let errors = body["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
        errors.iter().map(|error| error["pointer"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.status, String::from_utf8_lossy(&self.body))
    }
}
