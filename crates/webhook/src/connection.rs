//! One open connection to a receiver, and how a request travels over it.
//!
//! An HTTP/1.1 connection is driven by the task that uses it, not by a task of its own: that saves two switches between
//! tasks per request, and dropping the connection closes its socket at once, whatever the receiver is still sending.
//! While it waits in the pool nobody drives it; [`Connection::is_reusable`] looks at it before it is used again.
//! An HTTP/2 connection is shared by many requests and has a task.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::rt::{TokioExecutor, TokioIo};
use slipstream_core::answer::ErrorCode;
use slipstream_core::limits::ANSWER_BYTES_READ_MAX;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// Bytes of an answer's head, status line and fields: 64 KiB (THREATS 3).
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Fields of an answer's head (THREATS 3). For HTTP/1.1 this is the parser's own limit.
pub(crate) const HEAD_FIELDS_MAX: usize = 100;
/// What an HTTP/2 peer may send ahead of our reading, over all streams of a connection.
const WINDOW_BYTES: u32 = 1024 * 1024;

pub(crate) type Body = Full<Bytes>;
pub(crate) type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// An open connection. Dropping it closes it, except while others share it.
pub(crate) struct Connection {
    /// When the address was judged: decides for how long the connection gets new requests.
    pub(crate) checked_at: Instant,
    protocol: Protocol,
}

enum Protocol {
    Http1 {
        sender: http1::SendRequest<Body>,
        /// None once it has ended.
        driver: Option<Pin<Box<http1::Connection<Stream, Body>>>>,
    },
    Http2 {
        sender: http2::SendRequest<Body>,
        task: Arc<Task>,
    },
}

/// The task of an HTTP/2 connection; ends with the last user of the connection.
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Why a request got no answer.
pub(crate) enum SendError {
    /// No byte of it was written, so it may go over another connection.
    Unsent,
    /// The attempt is over.
    Failed(ErrorCode),
}

impl Connection {
    pub(crate) async fn http1(stream: Stream, checked_at: Instant) -> hyper::Result<Self> {
        let (sender, driver) = http1::Builder::new()
            .max_header_size(HEAD_BYTES_MAX)
            .max_buf_size(HEAD_BYTES_MAX)
            .handshake(stream)
            .await?;
        Ok(Self { checked_at, protocol: Protocol::Http1 { sender, driver: Some(Box::pin(driver)) } })
    }

    /// Also starts the task, which ends after `lifetime` even if the connection is still used.
    pub(crate) async fn http2(stream: Stream, checked_at: Instant, lifetime: Duration) -> hyper::Result<Self> {
        let (sender, driver) = http2::Builder::new(TokioExecutor::new())
            .max_header_list_size(HEAD_BYTES_MAX as u32)
            .initial_stream_window_size(ANSWER_BYTES_READ_MAX as u32)
            .initial_connection_window_size(WINDOW_BYTES)
            .handshake(stream)
            .await?;
        let task = tokio::spawn(tokio::time::timeout(lifetime, driver)).abort_handle();
        Ok(Self { checked_at, protocol: Protocol::Http2 { sender, task: Arc::new(Task(task)) } })
    }

    pub(crate) fn is_http2(&self) -> bool {
        matches!(self.protocol, Protocol::Http2 { .. })
    }

    /// Another handle of the same connection, if it can be shared.
    pub(crate) fn share(&self) -> Option<Self> {
        match &self.protocol {
            Protocol::Http1 { .. } => None,
            Protocol::Http2 { sender, task } => Some(Self {
                checked_at: self.checked_at,
                protocol: Protocol::Http2 { sender: sender.clone(), task: Arc::clone(task) },
            }),
        }
    }

    /// Whether both are handles of one connection.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (&self.protocol, &other.protocol) {
            (Protocol::Http2 { task, .. }, Protocol::Http2 { task: other, .. }) => Arc::ptr_eq(task, other),
            _ => false,
        }
    }

    /// Whether the connection can take a request now. Notices what arrived since it was last driven: a close by the
    /// peer, or bytes that nobody asked for, end it.
    pub(crate) async fn is_reusable(&mut self) -> bool {
        match &mut self.protocol {
            Protocol::Http1 { sender, driver } => {
                poll_fn(|cx| {
                    if driver.as_mut().is_some_and(|running| running.as_mut().poll(cx).is_ready()) {
                        *driver = None;
                    }
                    Poll::Ready(())
                })
                .await;
                driver.is_some() && sender.is_ready()
            }
            Protocol::Http2 { sender, .. } => sender.is_ready(),
        }
    }

    /// Sends a request and waits for the head of its answer.
    pub(crate) async fn send(&mut self, request: Request<Body>) -> Result<Response<Incoming>, SendError> {
        let sent = match &mut self.protocol {
            Protocol::Http1 { sender, .. } => {
                let answer = sender.try_send_request(request);
                self.drive(answer).await
            }
            Protocol::Http2 { sender, .. } => sender.try_send_request(request).await,
        };
        sent.map_err(|mut error| {
            if error.take_message().is_some() {
                return SendError::Unsent;
            }
            tracing::debug!(error = %Chain(error.error()), "the exchange failed");
            SendError::Failed(if is_tls(error.error()) { ErrorCode::Tls } else { ErrorCode::Protocol })
        })
    }

    /// Runs `work` to its end, with the connection moving meanwhile.
    pub(crate) async fn drive<F: Future>(&mut self, work: F) -> F::Output {
        let Protocol::Http1 { driver, .. } = &mut self.protocol else { return work.await };
        let mut work = pin!(work);
        poll_fn(|cx| {
            if let Poll::Ready(output) = work.as_mut().poll(cx) {
                return Poll::Ready(output);
            }
            let Some(running) = driver else { return Poll::Pending };
            if running.as_mut().poll(cx).is_ready() {
                // Dropped, so that whatever `work` still waits for is told that it will not come.
                *driver = None;
            }
            // What the driver has just read is there without another round through the scheduler.
            work.as_mut().poll(cx)
        })
        .await
    }
}

/// Whether TLS broke after its handshake: with TLS 1.3 a peer's refusal arrives only then.
fn is_tls(error: &hyper::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()).is_some() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Prints an error with its causes. Holds no data of the exchange: hyper and rustls name what broke, not what was read.
pub(crate) struct Chain<'a>(pub(crate) &'a (dyn std::error::Error + 'static));

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
