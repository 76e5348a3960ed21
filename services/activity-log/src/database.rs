//! Asking the database: bounded in time; and watching whether it answers.

use std::time::Duration;

use slipstream_core::timestamp::Timestamp;
use slipstream_service::ApiError;
use slipstream_service::health::Check;
use slipstream_store::{Store, StoreError};
use tokio_util::sync::CancellationToken;

/// How long a question may take (THREATS 8).
pub(crate) const QUERY_TIMEOUT: Duration = Duration::from_secs(5);
/// How often to see whether the database answers.
const PING_EVERY: Duration = Duration::from_secs(5);

/// What `query` finds, for a handler.
///
/// # Errors
/// 503 when the database does not answer within 5 s or is away; 500 when it answers what it should not.
pub(crate) async fn ask<T>(query: impl Future<Output = Result<T, StoreError>>) -> Result<T, ApiError> {
    ask_or(query, "the search took too long; narrow it by time, site or state").await
}

/// As [`ask`]; `too_long` is what is told when the database does not answer within 5 s.
///
/// # Errors
/// As [`ask`].
pub(crate) async fn ask_or<T>(
    query: impl Future<Output = Result<T, StoreError>>,
    too_long: &'static str,
) -> Result<T, ApiError> {
    match tokio::time::timeout(QUERY_TIMEOUT, query).await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) if error.is_transient() => Err(ApiError::unavailable("the database did not answer", error)),
        Ok(Err(error)) => Err(ApiError::internal(error)),
        Err(elapsed) => Err(ApiError::unavailable(too_long, elapsed)),
    }
}

/// The instant that is `age` before `now`.
pub(crate) fn before(now: Timestamp, age: Duration) -> Timestamp {
    Timestamp::from_millis(now.as_millis().saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX)))
}

/// Keeps `check` true to whether the database answers, until `stop`.
pub(crate) async fn watch(store: Store, check: Check, stop: CancellationToken) -> anyhow::Result<()> {
    loop {
        match tokio::time::timeout(QUERY_TIMEOUT, store.ping()).await {
            Ok(Ok(())) => check.set_ready(),
            Ok(Err(error)) => check.set_not_ready(error.to_string()),
            Err(_) => check.set_not_ready("the database did not answer in time"),
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(PING_EVERY) => {}
        }
    }
}
