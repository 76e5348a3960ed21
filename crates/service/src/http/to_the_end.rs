//! Requests that are finished although nobody waits for the answer any more.

use axum::response::{IntoResponse as _, Response};
use tracing::Instrument as _;

use crate::problem::ApiError;

/// Finishes `answering` even if the connection ends meanwhile, which drops whatever the connection awaits: what has been
/// begun must not stop in the middle because a client went away. A panic goes on in whoever waits.
///
/// It is as bounded as the handler is: each step of it has a timeout of its own.
pub(crate) async fn to_the_end(answering: impl Future<Output = Response> + Send + 'static) -> Response {
    match tokio::spawn(answering.in_current_span()).await {
        Ok(response) => response,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime ends: the process is being cut.
            Err(error) => ApiError::unavailable("the service is stopping", error).into_response(),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::http::StatusCode;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_was_begun_is_finished_without_anybody_waiting() {
        let (go, gone) = oneshot::channel::<()>();
        let (finished, end) = oneshot::channel();
        let answering = to_the_end(async move {
            let _ = gone.await;
            let _ = finished.send(());
            StatusCode::OK.into_response()
        });
        let dropped = tokio::time::timeout(Duration::from_millis(20), answering).await;
        assert!(dropped.is_err(), "it waits to be told");
        go.send(()).expect("it is still there");
        tokio::time::timeout(Duration::from_secs(5), end).await.expect("it goes on").expect("to its end");
    }

    #[tokio::test]
    #[should_panic(expected = "a bug")]
    async fn a_panic_goes_on_in_whoever_waits() {
        to_the_end(async { panic!("a bug") }).await;
    }
}
