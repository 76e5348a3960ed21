//! Receivers for the client's tests: scripts over raw sockets, because a proper server cannot misbehave.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use slipstream_core::answer::Answer;
use slipstream_core::config::SubscriptionHeader;
use slipstream_webhook::resolve::{Lookup, Resolve};
use slipstream_webhook::{AddressPolicy, Client, ClientConfig, PreparedHeaders, Target, WebhookRequest};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

pub(crate) mod tls;

/// A receiver on a loopback port that runs a script for each connection.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Receiver {
    pub(crate) async fn start<S, F>(script: S) -> Self
    where
        S: Fn(TcpStream) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(script(stream));
            }
        });
        Self { address, accepted, task }
    }

    /// A receiver that gives this answer to each request, and keeps the connection.
    pub(crate) async fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer = Arc::new(answer.into());
        Self::start(move |mut stream| {
            let answer = Arc::clone(&answer);
            async move {
                while read_request(&mut stream).await.is_some() {
                    if stream.write_all(&answer).await.is_err() {
                        return;
                    }
                }
            }
        })
        .await
    }

    /// Connections so far.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/post?q=1", self.address)
    }

    pub(crate) fn target(&self) -> Target {
        target(&self.url())
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Head and body of one request; none at the end of the connection.
pub(crate) async fn read_request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let head_len = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..head_len].to_vec()).unwrap();
    let body_len = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse::<usize>().unwrap());
    while bytes.len() < head_len + body_len {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    Some((head, bytes[head_len..].to_vec()))
}

pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
pub(crate) const BODY: &[u8] = br#"{"id":"1"}"#;

pub(crate) fn target(url: &str) -> Target {
    Target::parse(url, &development()).unwrap_or_else(|refused| panic!("{url}: {refused}"))
}

/// Loopback allowed, and `http` for names too.
pub(crate) fn development() -> AddressPolicy {
    AddressPolicy { allow_http: true, ..AddressPolicy::with_loopback() }
}

pub(crate) fn client() -> Client {
    client_with(ClientConfig::default())
}

/// A client whose exchanges end after half a second.
pub(crate) fn hasty_client() -> Client {
    client_with(ClientConfig { timeout: Duration::from_millis(500), ..ClientConfig::default() })
}

pub(crate) fn client_with(config: ClientConfig) -> Client {
    client_under(development(), config)
}

pub(crate) fn client_under(policy: AddressPolicy, config: ClientConfig) -> Client {
    Client::new(Arc::new(policy), config)
}

/// Moves the clock of timers, which stands still meanwhile and goes on from there.
pub(crate) async fn move_clock(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

/// A resolver that gives everybody the same answer.
#[derive(Debug)]
pub(crate) struct Fixed(pub(crate) Result<Vec<IpAddr>, io::ErrorKind>);

impl Fixed {
    pub(crate) fn addresses(texts: &[&str]) -> Arc<dyn Resolve> {
        Arc::new(Self(Ok(texts.iter().map(|text| text.parse().unwrap()).collect())))
    }
}

impl Resolve for Fixed {
    fn resolve(&self, _name: &str) -> Lookup {
        let answer = self.0.clone().map_err(io::Error::from);
        Box::pin(async { answer })
    }
}

/// A resolver whose one answer changes.
#[derive(Debug, Default)]
pub(crate) struct Changing(Mutex<Vec<IpAddr>>);

impl Changing {
    pub(crate) fn becomes(&self, addresses: &[IpAddr]) {
        *self.0.lock().unwrap() = addresses.to_vec();
    }
}

impl Resolve for Changing {
    fn resolve(&self, _name: &str) -> Lookup {
        let answer = self.0.lock().unwrap().clone();
        Box::pin(async { Ok(answer) })
    }
}

pub(crate) async fn post(client: &Client, target: &Target) -> Answer {
    post_with(client, target, &[]).await
}

pub(crate) async fn post_with(client: &Client, target: &Target, headers: &[(&str, &str)]) -> Answer {
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| SubscriptionHeader { name: (*name).into(), value: (*value).into() })
        .collect();
    post_full(client, target, &PreparedHeaders::new(&headers).unwrap(), None).await
}

/// A delivery that names our origin.
pub(crate) async fn post_as(client: &Client, target: &Target, origin: &HeaderValue) -> Answer {
    post_full(client, target, &PreparedHeaders::default(), Some(origin)).await
}

async fn post_full(
    client: &Client,
    target: &Target,
    headers: &PreparedHeaders,
    request_origin: Option<&HeaderValue>,
) -> Answer {
    let request = WebhookRequest {
        target,
        content_type: &HeaderValue::from_static("application/cloudevent+json"),
        webhook_id: "msg_0",
        timestamp_seconds: 1_614_265_330,
        signature: Some("v1,abc v1,def".to_owned()),
        headers,
        surface_headers: &[],
        request_origin,
        traceparent: Some("00-84c1fd4063c38d9f3900d06e56542d48-85d1d4a1b2c3d4e5-01".parse().unwrap()),
        body: Bytes::from_static(BODY),
    };
    client.send(request).await
}
