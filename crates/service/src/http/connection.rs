//! One connection, from its first byte to its end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::activity::{Activity, Judgement};
use super::noted::Noted;
use super::{App, HEAD_BYTES_MAX, HEAD_FIELDS_MAX, STREAMS_MAX};
use crate::config::HttpConfig;
use crate::names;

/// How long a connection that is being closed may take to write what it still has.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes that a peer of HTTP/2 may send ahead of us on a stream: what a stream that waits (for a key, for the bus) holds
/// of a body that nobody has asked for yet. It is not counted against the budget of bodies, which are counted as they are
/// read.
const STREAM_WINDOW: u32 = 64 * 1024;
/// The same of all streams of a connection together.
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// Streams that a peer of HTTP/2 opened and reset before we looked; one more ends the connection. How often a peer may
/// do so in the long run is the matter of `frames`.
const RESET_STREAMS_MAX: usize = 20;
/// Streams that we had to reset because of a peer's errors, in the whole life of a connection; one more ends it.
const ERROR_STREAMS_MAX: usize = 1024;

/// What all connections of a listener share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) app: App,
    builder: Builder<TokioExecutor>,
    head_timeout: Duration,
    idle_timeout: Duration,
    /// Cancelled when connections should finish what they have and close.
    pub(super) drain: CancellationToken,
    /// Cancelled when they should end at once.
    pub(super) cut: CancellationToken,
}

impl Shared {
    pub(super) fn new(app: App, config: &HttpConfig) -> Self {
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            // Ours, see `activity`.
            .header_read_timeout(None)
            .max_headers(HEAD_FIELDS_MAX)
            .max_buf_size(HEAD_BYTES_MAX);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(HEAD_BYTES_MAX as u32)
            // Both are as h2 has them: streams reset by the peer before we took them, and by us for the peer's errors.
            .max_pending_accept_reset_streams(RESET_STREAMS_MAX)
            .max_local_error_reset_streams(ERROR_STREAMS_MAX)
            // A peer that has gone away without a word keeps no streams open.
            .keep_alive_interval(config.idle_timeout)
            .keep_alive_timeout(CLOSE_TIMEOUT);
        Self {
            app,
            builder,
            head_timeout: config.head_timeout,
            idle_timeout: config.idle_timeout,
            drain: CancellationToken::new(),
            cut: CancellationToken::new(),
        }
    }
}

/// Why a connection should end.
enum End {
    /// Finish what there is, then close.
    Close,
    /// At once.
    Cut,
}

/// Serves `stream` until it ends by itself, is idle or slow for too long, or the server drains.
pub(super) async fn serve(shared: Arc<Shared>, stream: TcpStream, peer: SocketAddr) {
    // Answers are written whole: waiting for more would only delay them. Fails only on a socket that is dead already.
    let _ = stream.set_nodelay(true);
    let activity = Activity::new();
    let io = TokioIo::new(Noted::new(stream, Arc::clone(&activity)));
    let service = service_fn({
        let (shared, activity) = (Arc::clone(&shared), Arc::clone(&activity));
        move |request| {
            let shared = Arc::clone(&shared);
            let busy = activity.begin();
            async move {
                let response = shared.app.call(request).await;
                drop(busy);
                Ok::<_, Infallible>(response)
            }
        }
    });
    let mut connection = pin!(shared.builder.serve_connection(io, service));
    // In a set of one, because a set polls its future only when that future was woken, and not at every byte.
    let mut ends = FuturesUnordered::from_iter([next_end(&shared, &activity, false)]);
    loop {
        tokio::select! {
            biased;
            result = connection.as_mut() => {
                if let Err(error) = result {
                    // Peers break off and send garbage all the time; that is their matter.
                    tracing::debug!(client.address = %peer, error = error.to_string(), "connection ended");
                }
                return;
            }
            Some(end) = ends.next() => match end {
                End::Cut => return,
                End::Close => {
                    connection.as_mut().graceful_shutdown();
                    ends.push(next_end(&shared, &activity, true));
                }
            },
        }
    }
}

/// Waits until the connection should end: politely first, and then `closing` and at once.
async fn next_end(shared: &Shared, activity: &Activity, closing: bool) -> End {
    if closing {
        // While the server drains, requests in flight have as long as the drain; an idle connection has nothing left.
        tokio::select! {
            () = shared.cut.cancelled() => {}
            () = tokio::time::sleep(CLOSE_TIMEOUT), if !shared.drain.is_cancelled() => {}
        }
        return End::Cut;
    }
    let mut look = pin!(tokio::time::sleep(shared.head_timeout));
    loop {
        tokio::select! {
            () = shared.drain.cancelled() => return End::Close,
            () = shared.cut.cancelled() => return End::Cut,
            () = look.as_mut() => match activity.judge(shared.head_timeout, shared.idle_timeout) {
                Judgement::Wait(until) => look.as_mut().reset(until),
                Judgement::SlowHead => {
                    metrics::counter!(names::HTTP_SERVER_CONNECTIONS_CUT, names::ERROR_TYPE => "slow_head").increment(1);
                    return End::Cut;
                }
                Judgement::Idle => return End::Close,
            },
        }
    }
}
