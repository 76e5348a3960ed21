//! Lists for tenants, a few at a time.
//!
//! What happens to events and deliveries is recorded over the same connections. A tenant whose list is slow, because nothing
//! fits its filter, may ask for it over and over; so lists never get all connections.

use std::sync::Arc;
use std::time::Duration;

use slipstream_core::problem::{Problem, ProblemKind};
use slipstream_service::ApiError;
use slipstream_store::StoreError;
use tokio::sync::Semaphore;

use crate::database::ask;

/// The most lists at once, over all tenants.
const AT_ONCE_MAX: u32 = 2;
/// How long a list may wait for its turn.
const TURN_WITHIN: Duration = Duration::from_secs(1);
/// How long one that has been answered in part may wait for the next.
const NEXT_TURN_WITHIN: Duration = Duration::from_secs(20);
/// When to come again if that was not enough.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// The turns of lists. Cheap to clone; all clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Lists(Arc<Semaphore>);

impl Lists {
    /// At most half of a pool of so many connections, and no more than two.
    pub(crate) fn new(connections: u32) -> Self {
        Self(Arc::new(Semaphore::new((connections / 2).clamp(1, AT_ONCE_MAX) as usize)))
    }

    /// What `query` finds, when its turn has come.
    ///
    /// # Errors
    /// 503 with `Retry-After` when that takes more than a second; else as [`ask`].
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        query: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, ApiError> {
        self.ask_within(TURN_WITHIN, query).await
    }

    /// The same for what follows on an answer that has begun: it has no status any more to say that it is busy, so it is
    /// more patient.
    ///
    /// # Errors
    /// 503 when that takes more than 20 seconds; else as [`ask`].
    pub(crate) async fn go_on<T: Send + 'static>(
        &self,
        query: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, ApiError> {
        self.ask_within(NEXT_TURN_WITHIN, query).await
    }

    async fn ask_within<T: Send + 'static>(
        &self,
        patience: Duration,
        query: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, ApiError> {
        let turn = tokio::time::timeout(patience, self.0.clone().acquire_owned()).await;
        let turn = turn.map_err(|_| busy())?.map_err(ApiError::internal)?;
        // Detached: SQLite goes on with what nobody waits for any more, and its connection is taken as long as that.
        let asking = tokio::spawn(async move {
            let found = query.await;
            drop(turn);
            found
        });
        let found = ask(async { Ok(asking.await) }).await?.map_err(ApiError::internal)?;
        ask(std::future::ready(found)).await
    }
}

fn busy() -> Problem {
    let detail = "too many lists are being made; try again later";
    Problem { retry_after: Some(RETRY_AFTER), ..Problem::new(ProblemKind::Unavailable, detail) }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn no_more_than_two_lists_are_made_at_once_and_one_that_nobody_waits_for_counts_until_it_ends() {
        let lists = Lists::new(4);
        let mut ends = Vec::new();
        for _ in 0..2 {
            let (end, ended) = oneshot::channel::<()>();
            ends.push(end);
            let list = lists.ask(async move { Ok(ended.await.is_ok()) });
            assert!(tokio::time::timeout(Duration::from_millis(10), list).await.is_err(), "it has not ended");
        }
        let refused = lists.ask(async { Ok(()) }).await.unwrap_err();
        assert_eq!(refused.status().as_u16(), 503);
        assert_eq!(refused.problem().retry_after, Some(RETRY_AFTER));
        ends.pop().unwrap().send(()).unwrap();
        assert_eq!(lists.ask(async { Ok(7) }).await.unwrap(), 7);
    }

    #[test]
    fn lists_never_get_all_connections_of_a_pool() {
        let at_once = |connections| Lists::new(connections).0.available_permits();
        assert_eq!([1, 2, 3, 4, 100].map(at_once), [1, 1, 1, 2, 2]);
    }
}
