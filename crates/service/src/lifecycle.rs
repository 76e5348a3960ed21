//! From start to stop: one [`Context`] for all services of a process, signals, serving, and the drain.
//!
//! The stop has three steps (THREATS 10, "SIGTERM"):
//!
//! 1. `stop` is cancelled. Readiness turns to 503 at once; loops stop taking new work. Requests are still answered,
//!    for [`HttpConfig::drain_min`] also on new connections, so whatever handlers lean on must go on working.
//! 2. The listeners are closed and requests in flight are finished, those too whose senders have gone. Then `drained` is
//!    cancelled: nobody will ask any more, and what handlers lean on may end too.
//! 3. All tasks are waited for, until [`HttpConfig::drain_max`] after the stop.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use futures::FutureExt as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::Routers;
use crate::config::HttpConfig;
use crate::health::Health;
use crate::http::ToTheEnd;
use crate::openapi::Documents;
use crate::quota::Quotas;
use crate::{http, metrics, openapi};

mod listeners;

pub use self::listeners::Listeners;

/// What all services of a process share. Cheap to clone; all clones are the same.
#[derive(Debug, Clone)]
pub struct Context {
    /// Cancelled when the process should end: take no new work.
    pub stop: CancellationToken,
    /// Cancelled after [`Context::stop`], once the last request has been answered: what handlers lean on (a publisher,
    /// a pool) ends now and not earlier.
    pub drained: CancellationToken,
    /// Every spawned task; they are waited for at the end.
    pub tasks: TaskTracker,
    /// What `/readyz` tells.
    pub health: Health,
    /// What everybody with a quota may still do in this process.
    pub quotas: Quotas,
    /// Requests that are finished even if nobody waits for them. [`Context::drained`] comes after the last of them.
    pub to_the_end: ToTheEnd,
    failure: Arc<Mutex<Option<anyhow::Error>>>,
    documents: Arc<Mutex<Documents>>,
}

impl Default for Context {
    fn default() -> Self {
        Self::new()
    }
}

impl Context {
    /// A context of its own, that nothing stops but its user.
    pub fn new() -> Self {
        let stop = CancellationToken::new();
        Self {
            health: Health::new(stop.clone()),
            stop,
            drained: CancellationToken::new(),
            tasks: TaskTracker::new(),
            quotas: Quotas::default(),
            to_the_end: ToTheEnd::default(),
            failure: Arc::default(),
            documents: Arc::default(),
        }
    }

    /// Spawns a loop that should run until [`Context::stop`]. If it fails or panics, everything stops, and the first
    /// such failure is what [`run`] returns. Ending without an error stops nothing.
    pub fn spawn(&self, name: &'static str, future: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        let ctx = self.clone();
        self.tasks.spawn(async move {
            let result = AssertUnwindSafe(future).catch_unwind().await;
            let error = match result {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error.context(format!("task {name}")),
                Err(panic) => anyhow::anyhow!("task {name} panicked: {}", http::panic_message(panic.as_ref())),
            };
            ctx.fail(error);
        });
    }

    /// Adds what a service has to what `/openapi.json` tells of this process.
    pub fn describe(&self, documents: Documents) {
        let mut all = self.documents.lock().unwrap_or_else(PoisonError::into_inner);
        *all = std::mem::take(&mut *all).merge(documents);
    }

    /// Stops everything because of `error`.
    pub fn fail(&self, error: anyhow::Error) {
        tracing::error!(error = format!("{error:#}"), "a part failed: stopping");
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert(error);
        drop(failure);
        self.stop.cancel();
    }

    /// Stops on SIGTERM or SIGINT. A second signal ends the process at once.
    ///
    /// # Errors
    /// When the signal handlers cannot be installed.
    pub fn stop_on_signals(&self) -> anyhow::Result<()> {
        let mut terminate = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch for SIGINT")?;
        let stop = self.stop.clone();
        // Not one of `tasks`: it waits for a second signal until the process has ended.
        tokio::spawn(async move {
            let mut next = async || tokio::select! { _ = terminate.recv() => 15, _ = interrupt.recv() => 2 };
            let number = next().await;
            tracing::info!(signal.number = number, "stopping; a second signal ends the process at once");
            stop.cancel();
            let number = next().await;
            tracing::warn!(signal.number = number, "second signal: ending without drain");
            std::process::exit(128 + number);
        });
        Ok(())
    }

    /// Answers requests on `listeners` until [`Context::stop`], then drains and waits for all tasks. The operator's
    /// routes get the health routes added.
    ///
    /// # Errors
    /// With the failure that stopped it, if it was one.
    pub async fn serve(&self, listeners: Listeners, routers: Routers, config: &HttpConfig) -> anyhow::Result<()> {
        let drained = self.drained.clone();
        self.tasks.spawn(async move {
            tokio::select! { () = drained.cancelled() => {}, () = metrics::upkeep() => {} }
        });
        let Listeners { public, operator } = listeners;
        let documents = std::mem::take(&mut *self.documents.lock().unwrap_or_else(PoisonError::into_inner));
        let described = openapi::routes(documents).context("an operation is described that is none")?;
        let routers = routers.merge(self.health.routes()).merge(described);
        let (for_everybody, for_operators) = routers.into_parts();
        let public = async {
            if let Some(listener) = public {
                http::serve(listener, for_everybody, config, self.stop.clone()).await;
            }
        };
        tokio::join!(public, http::serve(operator, for_operators, config, self.stop.clone()));
        self.finish(config).await
    }

    /// Ends what is left after the last request.
    async fn finish(&self, config: &HttpConfig) -> anyhow::Result<()> {
        // Everything a start may have left behind ends too, when it failed before anything was served.
        self.stop.cancel();
        let deadline = Instant::now() + config.drain_max.saturating_sub(config.drain_min);
        self.to_the_end.finish(deadline).await;
        self.drained.cancel();
        self.tasks.close();
        if tokio::time::timeout_at(deadline, self.tasks.wait()).await.is_err() {
            tracing::warn!(tasks.count = self.tasks.len(), "tasks were cut at the end of the drain");
        }
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        failure.map_or(Ok(()), Err)
    }
}

/// Runs a process: starts the service (or services), serves its routes until SIGTERM or SIGINT, drains and ends.
///
/// # Errors
/// When the start fails, the address cannot be bound, or a task failed.
pub async fn run<F>(name: &'static str, config: HttpConfig, start: F) -> anyhow::Result<()>
where
    F: AsyncFnOnce(&Context) -> anyhow::Result<Routers>,
{
    metrics::install();
    let ctx = Context::new();
    ctx.stop_on_signals()?;
    // A signal during the start ends the start.
    let started = tokio::select! {
        biased;
        () = ctx.stop.cancelled() => None,
        routers = start(&ctx) => Some(routers),
    };
    let served = match started {
        Some(Ok(routers)) => match Listeners::bind_for(&routers, &config).await {
            Ok(listeners) => {
                let (public, operator) = (listeners.public_address(), listeners.operator_address());
                tracing::info!(
                    service.name = name,
                    http.listen = public.map(tracing::field::display),
                    http.operator_listen = %operator,
                    "serving"
                );
                return ctx.serve(listeners, routers, &config).await.with_context(|| name);
            }
            Err(error) => Err(error),
        },
        Some(Err(error)) => Err(error.context(format!("{name} did not start"))),
        None => Ok(()),
    };
    let finished = ctx.finish(&config).await;
    served.and(finished)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::http::Method;

    use super::*;
    use crate::access::Routes;
    use crate::auth::Guards;

    fn config() -> HttpConfig {
        HttpConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            operator_listen: ([127, 0, 0, 1], 0).into(),
            drain_min: Duration::ZERO,
            drain_max: Duration::from_secs(5),
            ..HttpConfig::default()
        }
    }

    #[tokio::test]
    async fn the_first_failure_stops_everything_and_is_told() {
        let error = run("test", config(), async |ctx: &Context| {
            let stop = ctx.stop.clone();
            ctx.spawn("healthy", async move {
                stop.cancelled().await;
                Ok(())
            });
            ctx.spawn("broken", async { anyhow::bail!("the canary died") });
            Ok(Routers::default())
        })
        .await
        .unwrap_err();
        assert_eq!(format!("{error:#}"), "test: task broken: the canary died");
    }

    #[tokio::test]
    async fn a_panic_in_a_task_stops_everything() {
        let error = run("test", config(), async |ctx: &Context| {
            ctx.spawn("broken", async { panic!("the canary {}", "fell") });
            Ok(Routers::default())
        })
        .await
        .unwrap_err();
        assert_eq!(format!("{error:#}"), "test: task broken panicked: the canary fell");
    }

    #[tokio::test]
    async fn a_failed_start_ends_what_it_had_spawned() {
        let error = run("test", config(), async |ctx: &Context| {
            let stop = ctx.stop.clone();
            ctx.spawn("loop", async move {
                stop.cancelled().await;
                Ok(())
            });
            anyhow::bail!("no bus")
        })
        .await
        .unwrap_err();
        assert_eq!(format!("{error:#}"), "test did not start: no bus");
    }

    /// The routes of a service with one for everybody.
    fn routers() -> Routers {
        let routes = Routes::new(&Guards::none());
        let routes = routes.add(Method::GET, "/webhooks/keys/{subscription}", async || "public");
        routes.with_state(()).expect("the access table has it, for everybody")
    }

    #[tokio::test]
    async fn a_taken_address_is_named() {
        let taken = Listeners::bind(&config()).await.unwrap();
        let (public, operator) = (taken.public_address().unwrap(), taken.operator_address());
        for (config, address, setting) in [
            (HttpConfig { listen: public, ..config() }, public, "(http.listen)"),
            (HttpConfig { operator_listen: operator, ..config() }, operator, "(http.operator_listen)"),
        ] {
            let error = run("test", config, async |_: &Context| Ok(routers())).await.unwrap_err().to_string();
            assert!(error.contains(&address.to_string()) && error.contains(setting), "{error}");
        }
    }

    #[tokio::test]
    async fn a_service_with_a_route_that_no_entry_names_does_not_start() {
        let error = run("test", config(), async |_: &Context| {
            let routes = Routes::new(&Guards::none());
            let routes = routes.add(Method::GET, "/livez", async || "ok").add(Method::GET, "/extra", async || "in");
            Ok(routes.with_state(())?)
        })
        .await
        .unwrap_err();
        assert_eq!(format!("{error:#}"), "test did not start: the route GET /extra has no entry in the access table");
    }

    #[tokio::test]
    async fn what_is_not_for_everybody_has_no_public_socket() {
        let (nothing, something) = (Routers::default(), routers());
        assert_eq!(Listeners::bind_for(&nothing, &config()).await.unwrap().public_address(), None);
        assert!(Listeners::bind_for(&something, &config()).await.unwrap().public_address().is_some());
    }

    #[tokio::test]
    async fn what_handlers_lean_on_ends_after_requests_that_nobody_waits_for() {
        let ctx = Context::new();
        let (stop, drained) = (ctx.stop.clone(), ctx.drained.clone());
        let (told, tell) = tokio::sync::oneshot::channel();
        let request = axum::extract::Request::new(axum::body::Body::empty());
        let asked = ctx.to_the_end.answer(request, |_| async move {
            stop.cancelled().await;
            // Longer than everything else takes to end.
            tokio::time::sleep(Duration::from_millis(300)).await;
            let _ = told.send(drained.is_cancelled());
            axum::response::Response::default()
        });
        assert!(asked.now_or_never().is_none(), "its sender hangs up");
        let listeners = Listeners::bind(&config()).await.unwrap();
        ctx.stop.cancel();
        ctx.serve(listeners, Routers::default(), &config()).await.unwrap();
        assert!(ctx.drained.is_cancelled());
        assert_eq!(tell.await, Ok(false), "it was finished, and before that");
    }

    #[tokio::test]
    async fn what_handlers_lean_on_ends_after_the_stop() {
        let ctx = Context::new();
        let (stop, drained) = (ctx.stop.clone(), ctx.drained.clone());
        ctx.spawn("publisher", async move {
            drained.cancelled().await;
            anyhow::ensure!(stop.is_cancelled(), "drained before the stop");
            Ok(())
        });
        let listeners = Listeners::bind(&config()).await.unwrap();
        ctx.stop.cancel();
        ctx.serve(listeners, Routers::default(), &config()).await.unwrap();
        assert!(ctx.tasks.is_empty());
    }
}
