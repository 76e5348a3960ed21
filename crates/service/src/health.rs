//! Whether this process lives and whether it should get requests: `/livez`, `/readyz`, `/metrics`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Json;
use axum::extract::State;
use axum::http::{Method, StatusCode, header};
use axum::response::IntoResponse;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use crate::access::{Routers, Routes};
use crate::auth::Guards;
use crate::metrics;

/// The checks and facts of one process. Cheap to clone; all clones are the same.
#[derive(Debug, Clone)]
pub struct Health {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    stop: CancellationToken,
    state: Mutex<Registered>,
}

#[derive(Debug, Default)]
struct Registered {
    checks: Vec<CheckState>,
    facts: BTreeMap<String, serde_json::Value>,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Check)]
struct CheckState {
    name: String,
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// The answer of `/readyz`.
#[derive(Debug, Serialize, ToSchema)]
struct Readiness {
    /// `ready`, `not_ready` or `stopping`.
    status: &'static str,
    checks: Vec<CheckState>,
    facts: BTreeMap<String, serde_json::Value>,
}

/// One thing that must work before requests are welcome. Begins as not ready.
#[derive(Debug, Clone)]
pub struct Check {
    shared: Arc<Shared>,
    index: usize,
}

impl Health {
    /// No checks yet. From the moment `stop` is cancelled the process is not ready, whatever the checks say.
    pub fn new(stop: CancellationToken) -> Self {
        Self { shared: Arc::new(Shared { stop, state: Mutex::default() }) }
    }

    /// Adds a check. Two services in one process may use the same name; each has its own check.
    pub fn add(&self, name: impl Into<String>) -> Check {
        let mut state = self.shared.lock();
        state.checks.push(CheckState { name: name.into(), ready: false, detail: Some("starting".into()) });
        Check { shared: Arc::clone(&self.shared), index: state.checks.len() - 1 }
    }

    /// States a fact that operators should see in `/readyz`, such as how the bus syncs (DESIGN 3.7). No secrets.
    pub fn set_fact(&self, name: impl Into<String>, value: impl Into<serde_json::Value>) {
        self.shared.lock().facts.insert(name.into(), value.into());
    }

    /// Whether all checks are ready and no stop was asked for.
    pub fn is_ready(&self) -> bool {
        !self.shared.stop.is_cancelled() && self.shared.lock().checks.iter().all(|check| check.ready)
    }

    /// The routes `/livez`, `/readyz` and `/metrics`, for the operator's listener.
    ///
    /// `/livez` looks at nothing: a dependency that is away must not get this process killed (THREATS 10).
    pub fn routes(&self) -> Routers {
        Routes::new(&Guards::none())
            .add(Method::GET, "/livez", livez)
            .add(Method::GET, "/readyz", readyz)
            .add(Method::GET, "/metrics", render_metrics)
            .with_state(self.clone())
            .expect("the access table has the probes, which need nothing")
    }

    fn readiness(&self) -> Readiness {
        let status = match (self.shared.stop.is_cancelled(), self.is_ready()) {
            (true, _) => "stopping",
            (false, true) => "ready",
            (false, false) => "not_ready",
        };
        let state = self.shared.lock();
        Readiness { status, checks: state.checks.clone(), facts: state.facts.clone() }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Registered> {
        // Nothing is left half done under this lock, so a panic elsewhere does not spoil what it guards.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Check {
    /// It works.
    pub fn set_ready(&self) {
        self.set(true, None);
    }

    /// It does not work now; `detail` says why, to operators. No secrets.
    pub fn set_not_ready(&self, detail: impl Into<String>) {
        self.set(false, Some(detail.into()));
    }

    fn set(&self, ready: bool, detail: Option<String>) {
        let mut state = self.shared.lock();
        let check = &mut state.checks[self.index];
        if check.ready != ready {
            tracing::info!(health.check = check.name, health.ready = ready, health.detail = detail, "check changed");
        }
        check.ready = ready;
        check.detail = detail;
    }
}

#[utoipa::path(
    get,
    path = "/livez",
    tag = "Process",
    summary = "Tell that this process lives",
    responses((status = 200, description = "It lives.", body = String, content_type = "text/plain"))
)]
pub(crate) async fn livez() -> &'static str {
    "ok"
}

#[utoipa::path(
    get,
    path = "/readyz",
    tag = "Process",
    summary = "Tell whether this process should get requests",
    responses(
        (status = 200, description = "It should.", body = Readiness),
        (status = 503, description = "It should not; the checks say why.", body = Readiness),
    )
)]
pub(crate) async fn readyz(State(health): State<Health>) -> impl IntoResponse {
    let readiness = health.readiness();
    let status = if readiness.status == "ready" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CACHE_CONTROL, "no-store")], Json(readiness))
}

#[utoipa::path(
    get,
    path = "/metrics",
    tag = "Process",
    operation_id = "getMetrics",
    summary = "Get the metrics of this process",
    responses((status = 200, description = "In the text format of Prometheus.", body = String, content_type = "text/plain"))
)]
pub(crate) async fn render_metrics() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], metrics::render())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_means_that_every_check_is_ready_and_no_stop_was_asked_for() {
        let stop = CancellationToken::new();
        let health = Health::new(stop.clone());
        let (bus, directory) = (health.add("bus"), health.add("directory"));
        bus.set_ready();
        assert!(!health.is_ready());
        directory.set_ready();
        assert!(health.is_ready());
        bus.set_not_ready("no quorum");
        assert!(!health.is_ready());
        bus.set_ready();
        stop.cancel();
        assert!(!health.is_ready());
        assert_eq!(health.readiness().status, "stopping");
    }

    #[test]
    fn readiness_tells_each_check_and_the_facts() {
        let health = Health::new(CancellationToken::new());
        health.add("bus").set_not_ready("no quorum");
        health.add("directory").set_ready();
        health.set_fact("sync", "always");
        insta::assert_json_snapshot!(health.readiness(), @r#"
        {
          "status": "not_ready",
          "checks": [
            {
              "name": "bus",
              "ready": false,
              "detail": "no quorum"
            },
            {
              "name": "directory",
              "ready": true
            }
          ],
          "facts": {
            "sync": "always"
          }
        }
        "#);
    }
}
