//! A receiver of webhooks: verifies each by Standard Webhooks, as any receiver should, and answers as it is told.
//!
//! Whoever asks first whether it wants webhooks (SPEC 3.7) is told that it does, as many as there are: without that
//! consent a receiver gets 60 a minute.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use slipstream_core::limits::BODY_BYTES_MAX;
use slipstream_core::signing::{Key, VerifyError, verify};
use slipstream_core::timestamp::Timestamp;
use slipstream_service::clock;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const REQUEST_ORIGIN: HeaderName = HeaderName::from_static("webhook-request-origin");
const ALLOWED_ORIGIN: HeaderName = HeaderName::from_static("webhook-allowed-origin");
const ALLOWED_RATE: HeaderName = HeaderName::from_static("webhook-allowed-rate");

/// A webhook that arrived.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    /// When its body was complete.
    pub(crate) at: Timestamp,
    /// Its headers.
    pub(crate) headers: HeaderMap,
    /// Its body, as it came.
    pub(crate) body: Bytes,
    /// Whether it is from whom it says.
    pub(crate) verified: Result<(), VerifyError>,
}

impl Arrival {
    /// The text of a header; empty if it is missing or no text.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The event in the body; `Null` if it is not JSON.
    pub(crate) fn event(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// What the receiver answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reply {
    /// The status.
    pub(crate) status: StatusCode,
    /// `Retry-After`, in seconds.
    pub(crate) retry_after_seconds: Option<u32>,
}

impl From<StatusCode> for Reply {
    fn from(status: StatusCode) -> Self {
        Self { status, retry_after_seconds: None }
    }
}

type Handler = Box<dyn Fn(Arrival) -> Reply + Send + Sync>;

/// A receiver on a loopback port; gone when dropped.
pub(crate) struct Receiver {
    address: SocketAddr,
    state: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    keys: RwLock<Vec<Key>>,
    handler: Handler,
}

impl Receiver {
    /// Listens on `port` (0 for any), and asks `handler` for the reply to each webhook.
    ///
    /// # Errors
    /// When the port is taken.
    pub(crate) async fn start(
        port: u16,
        handler: impl Fn(Arrival) -> Reply + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
        let listener = bound.with_context(|| format!("cannot listen on 127.0.0.1:{port}"))?;
        let address = listener.local_addr().context("a bound socket has an address")?;
        let state = Arc::new(Shared { keys: RwLock::default(), handler: Box::new(handler) });
        let router = Router::new().fallback(receive).with_state(Arc::clone(&state));
        #[expect(clippy::disallowed_methods, reason = "this is a receiver of webhooks, which nobody else reaches")]
        let task = tokio::spawn(async move {
            // Ends only with the task.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { address, state, task })
    }

    /// Where webhooks should be sent.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Verifies with these keys from now on.
    pub(crate) fn set_keys(&self, keys: Vec<Key>) {
        *self.state.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn receive(State(state): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if parts.method == Method::OPTIONS {
        return consent(&parts.headers);
    }
    let reply = match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(body) => {
            let (at, headers, body) = (clock::now(), parts.headers, body.to_bytes());
            let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
            let keys = state.keys.read().unwrap_or_else(PoisonError::into_inner).clone();
            let verified = verify(
                &keys,
                header("webhook-id"),
                header("webhook-timestamp"),
                header("webhook-signature"),
                &body,
                at.as_seconds(),
            );
            (state.handler)(Arrival { at, headers, body, verified })
        }
        Err(_) => StatusCode::PAYLOAD_TOO_LARGE.into(),
    };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = reply.status;
    if let Some(seconds) = reply.retry_after_seconds {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// The answer to whoever asks whether webhooks are welcome: to whoever gives a name, yes, in any number.
fn consent(asked: &HeaderMap) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ALLOW, HeaderValue::from_static("OPTIONS, POST"));
    if let Some(origin) = asked.get(REQUEST_ORIGIN) {
        headers.insert(ALLOWED_ORIGIN, origin.clone());
        headers.insert(ALLOWED_RATE, HeaderValue::from_static("*"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_webhook_is_verified_and_a_forged_one_is_told() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let key = Key::from_bytes(vec![7; 32]).unwrap();
        let (tx, mut arrivals) = tokio::sync::mpsc::channel(2);
        let receiver = Receiver::start(0, move |arrival: Arrival| {
            tx.try_send(arrival.verified).expect("there is room for two");
            Reply { status: StatusCode::SERVICE_UNAVAILABLE, retry_after_seconds: Some(1) }
        })
        .await
        .unwrap();
        receiver.set_keys(vec![key.clone()]);
        let now = clock::now().as_seconds();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        for body in ["signed", "forged"] {
            let request = http
                .post(receiver.url())
                .header("webhook-id", "msg_1")
                .header("webhook-timestamp", now.to_string())
                .header("webhook-signature", slipstream_core::signing::sign([&key], "msg_1", now, b"signed"));
            let response = request.body(body).send().await.unwrap();
            assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (503, &"1".parse().unwrap()));
        }
        assert_eq!(arrivals.recv().await, Some(Ok(())));
        assert_eq!(arrivals.recv().await, Some(Err(VerifyError::NoMatch)));
    }

    #[tokio::test]
    async fn whoever_asks_first_is_told_that_all_are_welcome_and_that_is_no_webhook() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let receiver = Receiver::start(0, |arrival| panic!("no webhook: {arrival:?}")).await.unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let ask = || http.request(Method::OPTIONS, receiver.url());
        let granted = ask().header(REQUEST_ORIGIN, "events.example").send().await.unwrap();
        assert_eq!(granted.status(), 204);
        assert_eq!(
            (&granted.headers()[ALLOWED_ORIGIN], &granted.headers()[ALLOWED_RATE]),
            (&HeaderValue::from_static("events.example"), &HeaderValue::from_static("*"),)
        );
        let nobody = ask().send().await.unwrap();
        assert!(!nobody.headers().contains_key(ALLOWED_ORIGIN));
    }
}
