//! `GET /admin/v1/endpoints/{id}/statistics`: what the deliveries to one endpoint amount to (SPEC 4.9, "counters").
//!
//! Apart from `/admin/v1/endpoints/{id}`, which the registry answers: how an endpoint is configured and whether it is
//! healthy has to be known and changed while the activity log is away, and these numbers have to be there while the
//! registry is. Neither service asks the other; together they answer under one path whether they are one process or two.
//!
//! Counted are deliveries of events that were accepted in whole hours, from the hour of `since` to that of `until`: the
//! last 24 hours and the one that runs, if neither is given. So the numbers under `deliveries` are each delivery once, by
//! what has become of it until now, as `GET /deliveries` with the same times would show them one by one; `attempts` are
//! theirs. `waiting`, `lastSuccessAt` and `lastFailureAt` are of whatever is recorded.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::Method;
use serde::Serialize;
use slipstream_core::ids::SubscriptionId;
use slipstream_core::problem::{Problem, ProblemKind};
use slipstream_core::timestamp::Timestamp;
use slipstream_service::access::{RouteError, Routers, Routes};
use slipstream_service::auth::Guards;
use slipstream_service::list::{Pairs, bad_parameter, each_once, parse, unknown_parameter};
use slipstream_service::openapi::{NotFound, Times};
use slipstream_service::{ApiError, Directory, clock};
use slipstream_store::Store;
use slipstream_store::activity::{ByState, Statistics, statistics};
use utoipa::ToSchema;

use crate::database::{ask, before};

/// From how long ago on, if nobody says since when.
const AGE_DEFAULT: Duration = Duration::from_hours(24);
/// Every parameter, in words.
const KNOWN: &str = "since and until";

/// What the answer needs.
#[derive(Debug, Clone)]
pub(super) struct Counted {
    store: Store,
    directory: Directory,
}

/// The route, not yet guarded.
pub(crate) fn routes(guards: &Guards, store: Store, directory: Directory) -> Result<Routers, RouteError> {
    let routes = Routes::new(guards).add(Method::GET, "/admin/v1/endpoints/{id}/statistics", answer);
    routes.with_state(Counted { store, directory })
}

#[utoipa::path(
    get,
    path = "/admin/v1/endpoints/{id}/statistics",
    tag = "Endpoints",
    operation_id = "getEndpointStatistics",
    summary = "Get what the deliveries to an endpoint amount to",
    params(Times, ("id" = inline(SubscriptionId), Path, description = "The subscription")),
    responses(
        (status = 200, description = "Of whole hours: the last day, unless told otherwise.", body = StatisticsView),
        NotFound,
    )
)]
pub(super) async fn answer(
    State(it): State<Counted>,
    Path(id): Path<String>,
    Query(pairs): Query<Pairs>,
) -> Result<Json<StatisticsView>, ApiError> {
    let Parameters { since, until } = Parameters::parse(pairs, clock::now())?;
    let unknown = || Problem::new(ProblemKind::NotFound, "there is no such endpoint");
    let id: SubscriptionId = id.parse().map_err(|_| unknown())?;
    let found = ask(statistics(it.store.connection(), id, since, until)).await?;
    // One that was removed is known by what it received; one that is new, by its record alone.
    if found.is_none() && it.directory.load().endpoint(id).is_none() {
        return Err(unknown().into());
    }
    Ok(Json(StatisticsView::new(id, &found.unwrap_or_else(|| Statistics::none(since, until)))))
}

#[derive(Debug, PartialEq, Eq)]
struct Parameters {
    since: Timestamp,
    until: Timestamp,
}

impl Parameters {
    fn parse(pairs: Pairs, now: Timestamp) -> Result<Self, Problem> {
        let (mut since, mut until) = (None, None);
        each_once(pairs, |name, value| {
            match name {
                "since" => since = Some(parse(name, &value, "must be an RFC 3339 timestamp")?),
                "until" => until = Some(parse(name, &value, "must be an RFC 3339 timestamp")?),
                _ => return Err(unknown_parameter(name, KNOWN)),
            }
            Ok(())
        })?;
        let until = until.unwrap_or(now);
        let since = since.unwrap_or_else(|| before(until, AGE_DEFAULT));
        if since > until {
            return Err(bad_parameter("since", "must not be later than `until`"));
        }
        Ok(Self { since, until })
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Statistics)]
pub(super) struct StatisticsView {
    id: SubscriptionId,
    /// The beginning of the first hour that is counted, and the end of the last.
    since: Timestamp,
    until: Timestamp,
    deliveries: DeliveriesView,
    attempts: AttemptsView,
    /// Deliveries that wait now, whenever their events were accepted.
    waiting: u64,
    /// Null if there was none.
    #[schema(required)]
    last_success_at: Option<Timestamp>,
    #[schema(required)]
    last_failure_at: Option<Timestamp>,
}

/// Deliveries by what has become of them; those of replays are among them.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeliveryCounts)]
struct DeliveriesView {
    total: u64,
    waiting: u64,
    succeeded: u64,
    failed: u64,
    exhausted: u64,
    expired: u64,
    cancelled: u64,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AttemptCounts)]
struct AttemptsView {
    total: u64,
    succeeded: u64,
    failed: u64,
    /// How long an attempt took in the mean, in microseconds; null if there was none.
    #[schema(required)]
    mean_duration_us: Option<u64>,
}

impl StatisticsView {
    fn new(id: SubscriptionId, it: &Statistics) -> Self {
        let ByState { waiting, succeeded, failed, exhausted, expired, cancelled } = it.deliveries;
        let total = it.deliveries.sum();
        Self {
            id,
            since: it.since,
            until: it.until,
            deliveries: DeliveriesView { total, waiting, succeeded, failed, exhausted, expired, cancelled },
            attempts: AttemptsView {
                total: it.attempts,
                succeeded: it.attempts.saturating_sub(it.attempts_failed),
                failed: it.attempts_failed,
                mean_duration_us: it.attempts_us.checked_div(it.attempts),
            },
            waiting: it.waiting,
            last_success_at: it.last_success_at,
            last_failure_at: it.last_failure_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(pairs: &[(&str, &str)]) -> Result<(String, String), String> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let now: Timestamp = "2026-03-02T09:30:00Z".parse().unwrap();
        let parameters = Parameters::parse(pairs, now).map_err(|problem| problem.detail.into_owned())?;
        Ok((parameters.since.to_string(), parameters.until.to_string()))
    }

    #[test]
    fn the_last_day_is_meant_unless_something_else_is_asked_for() {
        let expected = |since: &str, until: &str| Ok((format!("{since}.000Z"), format!("{until}.000Z")));
        assert_eq!(parsed(&[]), expected("2026-03-01T09:30:00", "2026-03-02T09:30:00"));
        let until = ("until", "2026-02-02T01:00:00+01:00");
        assert_eq!(parsed(&[until]), expected("2026-02-01T00:00:00", "2026-02-02T00:00:00"));
        let since = ("since", "2026-02-02T00:00:00Z");
        assert_eq!(parsed(&[until, since]), expected("2026-02-02T00:00:00", "2026-02-02T00:00:00"));
    }

    #[test]
    fn every_bad_parameter_is_named() {
        for (name, value) in [("since", "yesterday"), ("until", ""), ("since", "2026-03-02T09:30:01Z"), ("limit", "1")]
        {
            let detail = parsed(&[(name, value)]).unwrap_err();
            assert!(detail.contains(&format!("`{name}`")), "{name}={value}: {detail}");
        }
    }
}
