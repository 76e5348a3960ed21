//! Requests that are finished although nobody waits for the answer any more.

use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use slipstream_core::problem::{Problem, ProblemKind};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::budget::{Budget, Exceeded, actor_of};
use crate::problem::ApiError;

/// How many may be under way, but those of operators. Beyond: 503.
const UNDER_WAY_MAX: usize = 512;
/// How many of one caller. A connection that is closed gives its place back, and what it began goes on: without a limit
/// here, whoever asks and hangs up would have none at all.
const UNDER_WAY_MAX_OF_ONE: usize = 128;
/// How many of operators.
const UNDER_WAY_MAX_OF_OPERATORS: usize = 128;

/// Finishes requests even if the connection ends meanwhile, which drops whatever the connection awaits: what has been
/// begun must not stop in the middle because a client went away. Cheap to clone; all clones are the same.
///
/// So many at once and no more; and the stop of the process waits for them, before what they lean on ends
/// ([`Context::drained`](crate::Context::drained)).
#[derive(Debug, Clone)]
pub struct ToTheEnd {
    tasks: TaskTracker,
    budget: Budget,
}

/// In the extensions of a request that is being finished: what stands further in need not see to it again.
#[derive(Debug, Clone, Copy)]
struct Begun;

impl Default for ToTheEnd {
    fn default() -> Self {
        let budget = Budget::new(UNDER_WAY_MAX, UNDER_WAY_MAX_OF_ONE, UNDER_WAY_MAX_OF_OPERATORS);
        Self { tasks: TaskTracker::new(), budget }
    }
}

impl ToTheEnd {
    /// The answer that `work` gives to `request`, which it comes to whoever waits. A panic goes on in whoever waits.
    ///
    /// It takes as long as the handler does: each step of that has a timeout of its own.
    pub(crate) async fn answer<F>(&self, mut request: Request, work: impl FnOnce(Request) -> F) -> Response
    where
        F: Future<Output = Response> + Send + 'static,
    {
        if request.extensions_mut().insert(Begun).is_some() {
            return work(request).await;
        }
        let mut place = self.budget.share(actor_of(request.extensions()));
        if let Err(exceeded) = place.grow(1) {
            let detail = match exceeded {
                Exceeded::All => "too many requests are under way; nothing was done",
                Exceeded::Own => "too many requests of this caller are under way; nothing was done",
            };
            return ApiError::from(Problem::new(ProblemKind::Unavailable, detail)).into_response();
        }
        let answering = work(request);
        let task = async move {
            let response = answering.await;
            drop(place);
            response
        };
        match self.tasks.spawn(task.in_current_span()).await {
            Ok(response) => response,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime ends: the process is being cut.
                Err(error) => ApiError::unavailable("the service is stopping", error).into_response(),
            },
        }
    }

    /// Waits until nothing is under way, but not beyond `deadline`. For when no requests come any more.
    pub(crate) async fn finish(&self, deadline: Instant) {
        self.tasks.close();
        if tokio::time::timeout_at(deadline, self.tasks.wait()).await.is_err() {
            tracing::warn!(requests.count = self.tasks.len(), "requests were cut at the end of the drain");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use axum::body::Body;
    use axum::http::StatusCode;
    use futures::FutureExt as _;
    use slipstream_test_support::builders;
    use slipstream_test_support::eventually;
    use tokio::sync::{Notify, oneshot};

    use super::*;
    use crate::auth::{Granted, Principal};

    fn request(principal: Option<&Principal>) -> Request {
        let mut request = Request::new(Body::empty());
        if let Some(principal) = principal {
            request.extensions_mut().insert(Granted::new(principal.clone()));
        }
        request
    }

    #[tokio::test]
    async fn what_was_begun_is_finished_without_anybody_waiting() {
        let to_the_end = ToTheEnd::default();
        let (go, gone) = oneshot::channel::<()>();
        let (finished, end) = oneshot::channel();
        let answering = to_the_end.answer(request(None), |_| async move {
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
        ToTheEnd::default().answer(request(None), |_| async { panic!("a bug") }).await;
    }

    #[tokio::test]
    async fn whoever_asks_and_hangs_up_uses_up_its_own_places_only() {
        let (to_the_end, release) = (ToTheEnd::default(), Arc::new(Notify::new()));
        let account = || Principal::of_account(builders::account().account.into());
        let (flood, other) = (account(), account());
        // Begins one, and hangs up: the answer, if there is one at once.
        let ask = |principal: &Principal| {
            let release = Arc::clone(&release);
            let work = |_| async move {
                release.notified().await;
                StatusCode::OK.into_response()
            };
            to_the_end.answer(request(Some(principal)), work).now_or_never().map(|response| response.status())
        };
        let answers: Vec<_> = (0..UNDER_WAY_MAX_OF_ONE + 40).map(|_| ask(&flood)).collect();
        assert!(answers[..UNDER_WAY_MAX_OF_ONE].iter().all(Option::is_none));
        assert!(answers[UNDER_WAY_MAX_OF_ONE..].iter().all(|it| *it == Some(StatusCode::SERVICE_UNAVAILABLE)));
        assert_eq!((ask(&other), ask(&Principal::operator())), (None, None), "others go on");
        let under_way = UNDER_WAY_MAX_OF_ONE + 2;
        assert_eq!(to_the_end.tasks.len(), under_way);
        // Each waits for its turn once it runs, so one of them is told again and again.
        eventually(Duration::from_secs(5), async || {
            release.notify_waiters();
            to_the_end.budget.used() == 0
        })
        .await;
        assert_eq!(ask(&flood), None, "places are given back");
    }

    #[tokio::test]
    async fn what_stands_further_in_needs_no_place_of_its_own() {
        let to_the_end = ToTheEnd::default();
        let inner = to_the_end.clone();
        let answer = to_the_end.answer(request(None), |request| async move {
            inner.clone().answer(request, move |_| async move { inner.budget.used().to_string().into_response() }).await
        });
        let body = axum::body::to_bytes(answer.await.into_body(), 100).await.unwrap();
        assert_eq!(body, "1");
    }
}
