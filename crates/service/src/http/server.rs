//! Accepts connections until the stop, then drains.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::App;
use super::connection::{self, Shared};
use super::gate::Gate;
use crate::config::HttpConfig;
use crate::names;

/// How long to wait after an accept failed for want of descriptors or memory: they come back as connections end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `router` on `listener` until `stop` is cancelled, then drains.
///
/// After the stop the listener stays open for `drain_min`; then it is closed, idle connections end, and requests in
/// flight are finished. What is left `drain_max` after the stop is cut. Returns when no connection is left.
pub async fn serve(listener: TcpListener, router: Router, config: &HttpConfig, stop: CancellationToken) {
    let shared = Arc::new(Shared::new(App::new(router, config), config));
    let gate = Gate::new(config.connections_max, config.connections_per_address_max);
    let connections = TaskTracker::new();

    let mut accept = Box::pin(accept(listener, gate, Arc::clone(&shared), connections.clone()));
    tokio::select! {
        never = &mut accept => match never {},
        () = stop.cancelled() => {}
    }
    let stopped = Instant::now();
    // New connections may still come, from those who have not yet heard that we are not ready.
    tokio::select! {
        never = &mut accept => match never {},
        () = tokio::time::sleep_until(stopped + config.drain_min) => {}
    }
    // And the listener with it.
    drop(accept);

    tracing::debug!(connections.count = connections.len(), "draining connections");
    shared.drain.cancel();
    connections.close();
    if tokio::time::timeout_at(stopped + config.drain_max, connections.wait()).await.is_err() {
        tracing::warn!(connections.count = connections.len(), "connections were cut at the end of the drain");
        shared.cut.cancel();
        connections.wait().await;
    }
}

/// Accepts for ever.
async fn accept(
    listener: TcpListener,
    gate: Arc<Gate>,
    shared: Arc<Shared>,
    connections: TaskTracker,
) -> std::convert::Infallible {
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) if is_of_one_connection(&error) => continue,
            Err(error) => {
                tracing::warn!(error = error.to_string(), "cannot accept connections for the moment");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        match gate.enter(peer.ip()) {
            Ok(pass) => {
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    connection::serve(shared, stream, peer).await;
                    drop(pass);
                });
            }
            // Dropping the stream closes it: the cheapest answer there is.
            Err(refusal) => {
                metrics::counter!(names::HTTP_SERVER_CONNECTIONS_REFUSED, names::ERROR_TYPE => refusal.as_str())
                    .increment(1);
            }
        }
    }
}

/// Whether a failed accept says nothing of the next one: the peer has gone while it waited.
fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
