//! From start to stop: one [`Context`] for all services of a process, signals, serving, and the drain.
//!
//! The stop has three steps (THREATS 10, "SIGTERM"):
//!
//! 1. `stop` is cancelled. Readiness turns to 503 at once; loops stop taking new work. Requests are still answered,
//!    for [`HttpConfig::drain_min`] also on new connections, so whatever handlers lean on must go on working.
//! 2. The listener is closed and requests in flight are finished. Then `drained` is cancelled: nobody will ask any
//!    more, and what handlers lean on may end too.
//! 3. All tasks are waited for, until [`HttpConfig::drain_max`] after the stop.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use axum::Router;
use futures::FutureExt as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::HttpConfig;
use crate::health::Health;
use crate::{http, metrics};

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
    failure: Arc<Mutex<Option<anyhow::Error>>>,
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
            failure: Arc::default(),
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

    /// Answers requests on `listener` until [`Context::stop`], then drains and waits for all tasks. `router` gets the
    /// health routes added.
    ///
    /// # Errors
    /// With the failure that stopped it, if it was one.
    pub async fn serve(&self, listener: TcpListener, router: Router, config: &HttpConfig) -> anyhow::Result<()> {
        let drained = self.drained.clone();
        self.tasks.spawn(async move {
            tokio::select! { () = drained.cancelled() => {}, () = metrics::upkeep() => {} }
        });
        http::serve(listener, router.merge(self.health.router()), config, self.stop.clone()).await;
        self.finish(config).await
    }

    /// Ends what is left after the last request.
    async fn finish(&self, config: &HttpConfig) -> anyhow::Result<()> {
        // Everything a start may have left behind ends too, when it failed before anything was served.
        self.stop.cancel();
        let deadline = Instant::now() + config.drain_max.saturating_sub(config.drain_min);
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
    F: AsyncFnOnce(&Context) -> anyhow::Result<Router>,
{
    metrics::install();
    let ctx = Context::new();
    ctx.stop_on_signals()?;
    // A signal during the start ends the start.
    let started = tokio::select! {
        biased;
        () = ctx.stop.cancelled() => None,
        router = start(&ctx) => Some(router),
    };
    let served = match started {
        Some(Ok(router)) => match bind(&config).await {
            Ok(listener) => {
                tracing::info!(service.name = name, http.listen = %config.listen, "serving");
                return ctx.serve(listener, router, &config).await.with_context(|| name);
            }
            Err(error) => Err(error),
        },
        Some(Err(error)) => Err(error.context(format!("{name} did not start"))),
        None => Ok(()),
    };
    let finished = ctx.finish(&config).await;
    served.and(finished)
}

/// Binds the configured address.
///
/// # Errors
/// When it is taken or not ours, naming it.
pub async fn bind(config: &HttpConfig) -> anyhow::Result<TcpListener> {
    let listen = config.listen;
    TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen} (http.listen)"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn config() -> HttpConfig {
        HttpConfig {
            listen: ([127, 0, 0, 1], 0).into(),
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
            Ok(Router::new())
        })
        .await
        .unwrap_err();
        assert_eq!(format!("{error:#}"), "test: task broken: the canary died");
    }

    #[tokio::test]
    async fn a_panic_in_a_task_stops_everything() {
        let error = run("test", config(), async |ctx: &Context| {
            ctx.spawn("broken", async { panic!("the canary {}", "fell") });
            Ok(Router::new())
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

    #[tokio::test]
    async fn a_taken_address_is_named() {
        let taken = bind(&config()).await.unwrap();
        let config = HttpConfig { listen: taken.local_addr().unwrap(), ..config() };
        let error = run("test", config.clone(), async |_: &Context| Ok(Router::new())).await.unwrap_err();
        assert!(error.to_string().contains(&config.listen.to_string()), "{error:#}");
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
        let listener = bind(&config()).await.unwrap();
        ctx.stop.cancel();
        ctx.serve(listener, Router::new(), &config()).await.unwrap();
        assert!(ctx.tasks.is_empty());
    }
}
