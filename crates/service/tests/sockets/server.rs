//! A server under test, and a client that can be as slow and as wrong as a stranger.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::routing::{get, post};
use slipstream_core::limits::BODY_BYTES_MAX;
use slipstream_service::config::HttpConfig;
use slipstream_service::{ApiError, http};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Nothing here takes longer, unless it hangs.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) stop: CancellationToken,
    pub(crate) served: JoinHandle<()>,
    pub(crate) hold: &'static Hold,
}

/// A request that `/hold` keeps until it is let go.
#[derive(Debug, Default)]
pub(crate) struct Hold {
    pub(crate) entered: Notify,
    pub(crate) released: Notify,
}

pub(crate) fn config() -> HttpConfig {
    HttpConfig { drain_min: Duration::ZERO, drain_max: Duration::from_secs(10), ..HttpConfig::default() }
}

impl Server {
    pub(crate) async fn start(config: HttpConfig) -> Self {
        let hold: &'static Hold = Box::leak(Box::default());
        let read = async |State(timeout): State<Duration>, request: Request| {
            let (parts, body) = request.into_parts();
            let body = http::read_body(&parts, body, BODY_BYTES_MAX, timeout).await?;
            Ok::<_, ApiError>(body.len().to_string())
        };
        let router = Router::new()
            .route("/", get(async || "hello"))
            .route("/read", post(read))
            .route(
                "/hold",
                get(async || {
                    hold.entered.notify_one();
                    hold.released.notified().await;
                    "held"
                }),
            )
            .with_state(config.body_timeout);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let served = tokio::spawn({
            let stop = stop.clone();
            async move { slipstream_service::http::serve(listener, router, &config, stop).await }
        });
        Self { address, stop, served, hold }
    }

    pub(crate) async fn connect(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap())
    }

    /// One request on a connection of its own, which ends after the answer.
    pub(crate) async fn ask(&self, head: &str, body: &[u8]) -> String {
        let mut client = self.connect().await;
        client.write(&format!("{head}Host: x\r\nConnection: close\r\n\r\n")).await;
        // A server that refuses a body may close before it has taken all of it.
        let _ = client.0.write_all(body).await;
        client.rest().await
    }
}

pub(crate) struct Client(pub(crate) TcpStream);

impl Client {
    pub(crate) async fn write(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// Writes these bytes as they are; an error means that the server has closed.
    pub(crate) async fn write_bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.write_all(bytes).await
    }

    /// A request on this connection, which stays open.
    pub(crate) async fn get(&mut self, path: &str) -> String {
        self.write(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        self.answer().await
    }

    /// The next answer; its body is the last bytes that came with it.
    pub(crate) async fn answer(&mut self) -> String {
        let mut buffer = [0; 4096];
        let read = tokio::time::timeout(LIMIT, self.0.read(&mut buffer)).await.expect("an answer in time").unwrap();
        String::from_utf8_lossy(&buffer[..read]).into_owned()
    }

    /// The next frame of HTTP/2: its kind, its stream, and its payload.
    pub(crate) async fn frame(&mut self) -> (u8, u32, Vec<u8>) {
        let mut start = [0; 9];
        self.0.read_exact(&mut start).await.unwrap();
        let [a, b, c, kind, _, stream @ ..] = start;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.0.read_exact(&mut payload).await.unwrap();
        (kind, u32::from_be_bytes(stream), payload)
    }

    /// Everything until the server closes.
    pub(crate) async fn rest(&mut self) -> String {
        let mut text = Vec::new();
        // A reset is an end like another; what came before it counts.
        let _ = tokio::time::timeout(LIMIT, self.0.read_to_end(&mut text)).await.expect("the end in time");
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Whether the server has closed within `limit`.
    pub(crate) async fn is_closed_within(&mut self, limit: Duration) -> bool {
        let mut byte = [0];
        match tokio::time::timeout(limit, self.0.read(&mut byte)).await {
            Ok(Ok(read)) => read == 0,
            Ok(Err(_)) => true,
            Err(_) => false,
        }
    }
}
