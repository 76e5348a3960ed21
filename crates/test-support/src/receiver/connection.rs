//! The receiver's accept loop, and connections that can be reset.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use slipstream_core::timestamp::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::Received;
use super::reply::{CutShort, Reply, ReplyBody, Then};
use super::state::State;

/// Whether a connection ends with a reset instead of an orderly close.
#[derive(Debug, Clone, Default)]
pub(super) struct ResetSwitch(Arc<AtomicBool>);

impl ResetSwitch {
    pub(super) fn turn_on(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Serves until `stop`; every connection is then cut by the end of its runtime.
pub(super) async fn serve(listener: std::net::TcpListener, state: Arc<State>, stop: CancellationToken) {
    let listener = TcpListener::from_std(listener).expect("the listener is nonblocking and the runtime runs");
    let accept = async {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    state.opened();
                    tokio::spawn(connection(stream, Arc::clone(&state)));
                }
                // Out of descriptors or a connection gone before it was taken: the next may do.
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    stop.run_until_cancelled(accept).await;
}

async fn connection(stream: TcpStream, state: Arc<State>) {
    // Nagle's algorithm would hold small answers back for 40 ms. An error means that the sender has gone.
    let _ = stream.set_nodelay(true);
    let reset = ResetSwitch::default();
    let stream = Connection { stream, reset: reset.clone() };
    let service = service_fn(|request| answer(request, &state, &reset));
    // Errors are what scripts provoke (`CutShort`) or the sender's own: neither concerns the receiver.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(
    request: Request<Incoming>,
    state: &State,
    reset: &ResetSwitch,
) -> Result<Response<ReplyBody>, CutShort> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| CutShort)?.to_bytes();
    let (reply, _answering) = state.take(Received {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().map(ToOwned::to_owned),
        headers: head.headers,
        body,
        at: Instant::now(),
        timestamp: now(),
    });
    if !reply.delay.is_zero() {
        tokio::time::sleep(reply.delay).await;
    }
    match reply.then {
        Then::Complete => {
            let body = ReplyBody::Whole(Some(reply.body.clone()).filter(|body| !body.is_empty()));
            Ok(respond(reply, body))
        }
        Then::Reset => {
            reset.turn_on();
            Err(CutShort)
        }
        Then::Hang => std::future::pending().await,
        Then::Cut => {
            let announced = reply.body.len().max(2);
            let part = if reply.body.is_empty() { Bytes::from_static(b" ") } else { reply.body.slice(..announced / 2) };
            let body =
                ReplyBody::Half { part: Some(part), flushed: false, announced: announced as u64, reset: reset.clone() };
            Ok(respond(reply, body))
        }
        Then::Drip(every) => {
            let body = ReplyBody::drip(reply.body.clone(), every);
            Ok(respond(reply, body))
        }
    }
}

fn respond(reply: Reply, body: ReplyBody) -> Response<ReplyBody> {
    let mut response = Response::new(body);
    *response.status_mut() = reply.status;
    *response.headers_mut() = reply.headers;
    response
}

#[expect(clippy::disallowed_methods, reason = "the receiver has a clock of its own, as a stranger's has")]
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    Timestamp::from_millis(since.as_millis() as i64)
}

/// A TCP stream that is reset when dropped, if the switch says so.
struct Connection {
    stream: TcpStream,
    reset: ResetSwitch,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.reset.0.load(Ordering::Relaxed) {
            // An error means that the sender closed first: nothing left to reset.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // An orderly close would come before the reset and spoil it.
        if self.reset.0.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
