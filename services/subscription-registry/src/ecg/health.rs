//! Whether posts can be configured and dispatched (SPEC 6.3; E1).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Json as Answer;
use axum::extract::State;
use axum::response::IntoResponse;
use futures::FutureExt as _;
use futures::future::{BoxFuture, WeakShared};
use http::StatusCode;
use serde::Serialize;
use slipstream_bus::{Bus, BusError};
use slipstream_service::Context;
use slipstream_store::Store;
use slipstream_store::ecg::seeds;
use tokio::sync::watch;
use tokio::time::timeout;
use utoipa::ToSchema;

use crate::operator::NO_STORE;
use crate::state::AppState;

/// How long the database may take to answer.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(2);

/// A question to the database, which several may wait for.
type Asking = WeakShared<BoxFuture<'static, Indicator>>;

/// What the answer is found out from. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Indicators {
    store: Store,
    /// How many dispatchers are heard; none until one had the time to be.
    dispatchers: watch::Receiver<Option<usize>>,
    /// The question to the database that is under way.
    asking: Arc<Mutex<Option<Asking>>>,
}

impl Indicators {
    /// Listens for dispatchers from now on, until `ctx.stop`.
    ///
    /// # Errors
    /// When the bus is closed for good.
    pub(crate) async fn start(store: &Store, bus: &Bus, ctx: &Context) -> Result<Self, BusError> {
        let (dispatchers, listening) = bus.listen_for("dispatcher").await?;
        let stop = ctx.stop.clone();
        ctx.spawn("registry dispatchers heard", async move {
            stop.run_until_cancelled(listening).await;
            Ok(())
        });
        Ok(Self { store: store.clone(), dispatchers, asking: Arc::default() })
    }

    /// Whether the database answers a query. Everybody may ask, so all who ask at once share one query.
    async fn database(&self) -> Indicator {
        let asking = {
            // What is in there is whole at any time, so a panic elsewhere does not spoil it.
            let mut under_way = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
            let running = under_way.as_ref().and_then(WeakShared::upgrade).filter(|asking| asking.peek().is_none());
            running.unwrap_or_else(|| {
                let asking = ask(self.store.clone()).boxed().shared();
                *under_way = asking.downgrade();
                asking
            })
        };
        asking.await
    }

    /// Whether a dispatcher is heard. Waits, after the start, until one had the time to be.
    async fn dispatcher(&self) -> Indicator {
        let mut dispatchers = self.dispatchers.clone();
        match dispatchers.wait_for(Option::is_some).await.map(|count| *count) {
            Ok(Some(1..)) => Indicator::UP,
            // Nobody listens any more while the process stops.
            Ok(_) | Err(_) => Indicator::down("no dispatcher has been heard for 6 s"),
        }
    }
}

async fn ask(store: Store) -> Indicator {
    match timeout(DATABASE_TIMEOUT, seeds::all(store.connection())).await {
        Ok(Ok(_)) => Indicator::UP,
        Ok(Err(error)) => {
            let error = format!("{:#}", anyhow::Error::from(error));
            tracing::warn!(error, "the database does not answer the health check");
            Indicator::down("the database failed")
        }
        Err(_) => Indicator::down("the database did not answer within 2 s"),
    }
}

/// How one thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = HealthIndicator)]
pub(super) struct Indicator {
    /// `up` or `down`.
    status: &'static str,
    /// What is wrong, if something is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    message: Option<&'static str>,
}

impl Indicator {
    const UP: Self = Self { status: "up", message: None };

    const fn down(message: &'static str) -> Self {
        Self { status: "down", message: Some(message) }
    }
}

/// How things are.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    /// `ok`, or `error` if one thing is down.
    status: &'static str,
    /// What is up.
    info: BTreeMap<&'static str, Indicator>,
    /// What is down.
    error: BTreeMap<&'static str, Indicator>,
    /// Both.
    details: BTreeMap<&'static str, Indicator>,
}

impl Health {
    fn of(details: BTreeMap<&'static str, Indicator>) -> Self {
        let (info, error): (BTreeMap<_, _>, BTreeMap<_, _>) =
            details.iter().map(|(name, it)| (*name, *it)).partition(|(_, it)| *it == Indicator::UP);
        Self { status: if error.is_empty() { "ok" } else { "error" }, info, error, details }
    }
}

/// E1. For everybody, and as it is now.
#[utoipa::path(
    get,
    path = "/healthcheck",
    tag = "Health",
    operation_id = "checkHealth",
    summary = "Whether posts can be configured and dispatched",
    responses(
        (status = 200, description = "They can.", body = Health),
        (status = 503, description = "They cannot, for the reason given.", body = Health),
    )
)]
pub(super) async fn get(State(state): State<AppState>) -> impl IntoResponse {
    let (database, dispatcher) = tokio::join!(state.indicators.database(), state.indicators.dispatcher());
    let health = Health::of(BTreeMap::from([("database", database), ("dispatcher", dispatcher)]));
    let status = if health.error.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, NO_STORE, Answer(health))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_down_is_told_from_what_is_up() {
        let of = |dispatcher| {
            let details = BTreeMap::from([("database", Indicator::UP), ("dispatcher", dispatcher)]);
            serde_json::to_value(Health::of(details)).unwrap()
        };
        let up = json!({ "status": "up" });
        let both = json!({ "database": up, "dispatcher": up });
        assert_eq!(of(Indicator::UP), json!({ "status": "ok", "info": both, "error": {}, "details": both }));
        let down = json!({ "status": "down", "message": "it is away" });
        let expected = json!({
            "status": "error",
            "info": { "database": up },
            "error": { "dispatcher": down },
            "details": { "database": up, "dispatcher": down },
        });
        assert_eq!(of(Indicator::down("it is away")), expected);
    }
}
