//! Answers the dispatcher's question which events were accepted before (SPEC 4.7, DESIGN 3.6).
//!
//! Whoever asks waits for a moment only and goes on without an answer, so a late one is worth nothing and a wrong one does
//! harm: when the database does not answer, neither do we.

use std::time::Duration;

use futures::StreamExt as _;
use slipstream_bus::Bus;
use slipstream_bus::ask::SeenRequest;
use slipstream_store::Store;
use slipstream_store::activity::seen;
use tokio_util::sync::CancellationToken;

/// Requests that are answered at once: more than the dispatcher has batches under way in a lane, and no more than leave
/// the other questions a connection to the database.
const AT_ONCE: usize = 4;
/// How long one may take. Longer than anybody waits.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Answers until `stop`.
pub(crate) async fn run(bus: Bus, store: Store, stop: CancellationToken) -> anyhow::Result<()> {
    let requests = bus.seen_requests().await?;
    let answering = requests.for_each_concurrent(AT_ONCE, |request| answer(request, store.clone()));
    let _stopped = stop.run_until_cancelled(answering).await;
    Ok(())
}

async fn answer(request: SeenRequest, store: Store) {
    match tokio::time::timeout(TIMEOUT, seen(store.connection(), &request.questions)).await {
        Ok(Ok(answers)) => request.answer(&answers).await,
        // Not louder: the check of the database tells it, and this comes as often as batches do.
        Ok(Err(error)) => {
            tracing::debug!(error = format!("{:#}", anyhow::Error::new(error)), "cannot tell what was seen before");
        }
        Err(_) => tracing::debug!("what was seen before takes too long to find"),
    }
}
