//! Replay jobs: many deliveries by filter (SPEC 4.9; issue 3, "Replay").

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use slipstream_bus::{Bus, ConsumerName};
use slipstream_core::delivery::DeliveryState;
use slipstream_core::ids::{ReplayId, SubscriptionId};
use slipstream_core::problem::{Problem, ProblemKind};
use slipstream_core::slug::Slug;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::audit::Note;
use slipstream_service::idempotency::NewId;
use slipstream_service::list::{LIMIT_DEFAULT, Pairs, bad_cursor, each_once, parse_limit, unknown_parameter};
use slipstream_service::openapi::{Conflict, NotFound, Paging};
use slipstream_service::{ApiError, clock};
use slipstream_store::StoreError;
use slipstream_store::activity::Filter;
use slipstream_store::activity::replay as store;
use slipstream_store::activity::replay::{JobState, NewJob, ReplayJob, count, create, job, jobs};
use tokio::time::timeout;
use utoipa::ToSchema;

use super::{DEAD, body};
use crate::database::{QUERY_TIMEOUT, ask};
use crate::replay::Replayer;

/// Deliveries a second unless asked for otherwise: a tenth of what one dispatcher does beside its work.
const RATE_DEFAULT: u32 = 100;
/// The most deliveries a second of one job.
const RATE_MAX: u32 = 10_000;

/// Which deliveries to make again, and how.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schema(as = NewReplay)]
struct Wanted {
    site: Option<Slug>,
    subscription: Option<SubscriptionId>,
    #[schema(min_length = 1)]
    r#type: Option<String>,
    /// States in which a delivery has ended.
    #[schema(min_items = 1)]
    state: Vec<DeliveryState>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    /// Whether only to count them.
    dry_run: bool,
    #[schema(minimum = 1, maximum = 10_000)]
    rate_per_second: u32,
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            site: None,
            subscription: None,
            r#type: None,
            state: DEAD.to_vec(),
            since: None,
            until: None,
            dry_run: false,
            rate_per_second: RATE_DEFAULT,
        }
    }
}

impl Wanted {
    fn into_filter(mut self) -> Result<Filter, Problem> {
        if !(1..=RATE_MAX).contains(&self.rate_per_second) {
            return Err(body::bad_member("ratePerSecond", format!("must be a number from 1 to {RATE_MAX}")));
        }
        self.state.sort_unstable_by_key(|state| state.as_str());
        self.state.dedup();
        if self.state.is_empty() || !self.state.iter().all(|state| state.is_terminal()) {
            let ended = DeliveryState::ALL.into_iter().filter(|state| state.is_terminal());
            let names: Vec<_> = ended.map(DeliveryState::as_str).collect();
            return Err(body::bad_member("state", format!("must hold one or several of {}", names.join(", "))));
        }
        if self.r#type.as_ref().is_some_and(|text| text.is_empty() || text.contains('\0')) {
            return Err(body::bad_member("type", "must not be empty or contain NUL"));
        }
        if let (Some(since), Some(until)) = (self.since, self.until)
            && since >= until
        {
            return Err(body::bad_member("until", "must be later than since"));
        }
        Ok(Filter {
            states: self.state,
            site: self.site,
            subscription: self.subscription,
            event_type: self.r#type,
            event_id: None,
            since: self.since,
            until: self.until,
            surface: None,
            event: None,
        })
    }
}

/// How many deliveries there are to make again.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CountedDeliveries)]
struct Counted {
    count: u64,
    complete: bool,
}

/// A job that was just made.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StartedReplay)]
struct Made {
    #[serde(flatten)]
    job: JobView,
    complete: bool,
}

/// How long to wait for what the dispatcher has decided already to be recorded.
const RECORDED_WITHIN: Duration = Duration::from_secs(2);
/// How often to look.
const RECORDED_LOOKS: Duration = Duration::from_millis(50);

/// Waits until nothing that was decided so far is still to be recorded, for a while; says whether it came to that. A
/// delivery whose end is not recorded is no part of what is counted then.
async fn all_is_recorded(bus: &Bus) -> bool {
    let looking = async {
        loop {
            match bus.backlog(ConsumerName::ActivityLog).await {
                Ok(0) => return true,
                Ok(_) => tokio::time::sleep(RECORDED_LOOKS).await,
                Err(error) => {
                    let error = format!("{:#}", anyhow::Error::new(error));
                    tracing::warn!(error, "the bus does not tell what is still to be recorded");
                    return false;
                }
            }
        }
    };
    timeout(RECORDED_WITHIN, looking).await.unwrap_or(false)
}

/// `POST /deliveries/replay`: makes a job, or counts what it would be about. `complete` is false when some ends that were
/// decided before may not be recorded, so that the job goes without them.
#[utoipa::path(
    post,
    path = "/admin/v1/deliveries/replay",
    tag = "Replays",
    operation_id = "startReplay",
    summary = "Start a job that makes many deliveries again, or count them",
    request_body = Wanted,
    responses(
        (status = 200, description = "How many they would be (`dryRun`).", body = Counted),
        (status = 202, description = "The job.", body = Made, headers(("Location" = String, description = "Where it is"))),
    )
)]
pub(super) async fn start(
    State(replayer): State<Replayer>,
    note: Note,
    new_id: NewId,
    request: Request,
) -> Result<Response, ApiError> {
    let wanted: Wanted = body::read(request, replayer.body_timeout).await?;
    let (dry_run, rate_per_second) = (wanted.dry_run, wanted.rate_per_second);
    let filter = wanted.into_filter()?;
    filter.site.iter().for_each(|site| note.site(site));
    let (connection, now) = (replayer.store.connection(), clock::now());
    let complete = all_is_recorded(&replayer.bus).await;
    let matched = ask(count(connection, &filter, now)).await?;
    if dry_run {
        return Ok(Json(Counted { count: matched, complete }).into_response());
    }
    let id = ReplayId(new_id.get());
    note.target(id);
    let new = NewJob { id, filter, rate_per_second, matched, created_at: now };
    let job = make(&replayer, new, new_id).await?;
    replayer.wake.notify_one();
    tracing::info!(replay.id = %id, replay.matched = job.matched, "replay job made by an operator");
    let location = [(header::LOCATION, format!("/admin/v1/replays/{id}"))];
    let made = Made { job: job.into(), complete };
    Ok((StatusCode::ACCEPTED, location, Json(made)).into_response())
}

/// Writes the job down. An answer that does not come leaves open whether it is; with a key, a repeat finds out.
async fn make(replayer: &Replayer, new: NewJob, new_id: NewId) -> Result<ReplayJob, ApiError> {
    const UNSURE: &str = "the database did not confirm in time; look at /admin/v1/replays before you repeat the request, \
                          or repeat it with the Idempotency-Key that it had";
    match timeout(QUERY_TIMEOUT, create(replayer.store.connection(), &new)).await {
        // From what was written, and not read again: were that to fail, whoever asked would ask for a second job.
        Ok(Ok(())) => Ok(new.into()),
        Ok(Err(StoreError::Conflict(_))) if new_id.may_exist() => find(replayer, new.id).await,
        Ok(Err(error)) if error.is_transient() => Err(ApiError::unavailable(UNSURE, error)),
        Ok(Err(error)) => Err(ApiError::internal(error)),
        Err(elapsed) => Err(ApiError::unavailable(UNSURE, elapsed)),
    }
}

/// A page of jobs. `next` is null on the last one.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReplayPage)]
pub(super) struct JobPage {
    items: Vec<JobView>,
    #[schema(required)]
    next: Option<String>,
}

/// `GET /replays`: jobs, newest first.
#[utoipa::path(
    get,
    path = "/admin/v1/replays",
    tag = "Replays",
    operation_id = "listReplays",
    summary = "List replay jobs, newest first",
    params(Paging),
    responses((status = 200, description = "A page of them.", body = JobPage))
)]
pub(super) async fn list(
    State(replayer): State<Replayer>,
    Query(pairs): Query<Pairs>,
) -> Result<Json<JobPage>, ApiError> {
    let (mut limit, mut after) = (LIMIT_DEFAULT, None);
    each_once(pairs, |name, value| {
        match name {
            "limit" => limit = parse_limit(&value)?,
            "cursor" => after = Some(value.parse().map_err(|_| bad_cursor())?),
            _ => return Err(unknown_parameter(name, "limit and cursor")),
        }
        Ok(())
    })?;
    let page = ask(jobs(replayer.store.connection(), limit, after)).await?;
    Ok(Json(JobPage { items: page.items.into_iter().map(JobView::from).collect(), next: page.next }))
}

/// `GET /replays/{id}`
#[utoipa::path(
    get,
    path = "/admin/v1/replays/{id}",
    tag = "Replays",
    operation_id = "getReplay",
    summary = "Get a replay job",
    params(("id" = inline(ReplayId), Path, description = "The job")),
    responses((status = 200, description = "It.", body = JobView), NotFound)
)]
pub(super) async fn get(State(replayer): State<Replayer>, Path(id): Path<String>) -> Result<Json<JobView>, ApiError> {
    Ok(Json(find(&replayer, replay_id(&id)?).await?.into()))
}

/// `POST /replays/{id}/pause`: it keeps its place.
#[utoipa::path(
    post,
    path = "/admin/v1/replays/{id}/pause",
    tag = "Replays",
    operation_id = "pauseReplay",
    summary = "Pause a replay job; it keeps its place",
    params(("id" = inline(ReplayId), Path, description = "The job")),
    responses((status = 200, description = "The job as it is now.", body = JobView), NotFound, Conflict)
)]
pub(super) async fn pause(
    State(replayer): State<Replayer>,
    note: Note,
    Path(id): Path<String>,
) -> Result<Json<JobView>, ApiError> {
    let paused = ask(store::pause(replayer.store.connection(), replay_id(&id)?, clock::now())).await?;
    Ok(changed(&note, paused, JobState::Paused)?)
}

/// `POST /replays/{id}/resume`: it goes on where it was.
#[utoipa::path(
    post,
    path = "/admin/v1/replays/{id}/resume",
    tag = "Replays",
    operation_id = "resumeReplay",
    summary = "Let a paused replay job go on",
    params(("id" = inline(ReplayId), Path, description = "The job")),
    responses((status = 200, description = "The job as it is now.", body = JobView), NotFound, Conflict)
)]
pub(super) async fn resume(
    State(replayer): State<Replayer>,
    note: Note,
    Path(id): Path<String>,
) -> Result<Json<JobView>, ApiError> {
    let resumed = ask(store::resume(replayer.store.connection(), replay_id(&id)?, clock::now())).await?;
    replayer.wake.notify_one();
    Ok(changed(&note, resumed, JobState::Running)?)
}

/// `POST /replays/{id}/cancel`: it ends where it is. What it has made stays.
#[utoipa::path(
    post,
    path = "/admin/v1/replays/{id}/cancel",
    tag = "Replays",
    operation_id = "cancelReplay",
    summary = "End a replay job; what it has made stays",
    params(("id" = inline(ReplayId), Path, description = "The job")),
    responses((status = 200, description = "The job as it is now.", body = JobView), NotFound, Conflict)
)]
pub(super) async fn cancel(
    State(replayer): State<Replayer>,
    note: Note,
    Path(id): Path<String>,
) -> Result<Json<JobView>, ApiError> {
    let cancelled = ask(store::cancel(replayer.store.connection(), replay_id(&id)?, clock::now())).await?;
    Ok(changed(&note, cancelled, JobState::Cancelled)?)
}

fn replay_id(text: &str) -> Result<ReplayId, Problem> {
    text.parse().map_err(|_| not_found())
}

fn not_found() -> Problem {
    Problem::new(ProblemKind::NotFound, "there is no such replay job")
}

async fn find(replayer: &Replayer, id: ReplayId) -> Result<ReplayJob, ApiError> {
    Ok(ask(job(replayer.store.connection(), id)).await?.ok_or_else(not_found)?)
}

/// The job as it is after a change, if that led where it should.
fn changed(note: &Note, job: Option<ReplayJob>, wanted: JobState) -> Result<Json<JobView>, Problem> {
    let job = job.ok_or_else(not_found)?;
    job.filter.site.iter().for_each(|site| note.site(site));
    if job.state != wanted {
        let detail = format!("the job is {}, and stays so", job.state.as_str());
        return Err(Problem::new(ProblemKind::Conflict, detail));
    }
    tracing::info!(replay.id = %job.id, state = job.state.as_str(), "replay job steered by an operator");
    Ok(Json(job.into()))
}

/// A job and how far it is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Replay)]
pub(super) struct JobView {
    id: ReplayId,
    state: &'static str,
    filter: FilterView,
    rate_per_second: u32,
    /// How many deliveries there were when it was made.
    matched: u64,
    published: u64,
    /// Not made again, because the event's data is no longer kept.
    not_kept: u64,
    /// Not made again, because the subscription does not exist any more.
    skipped: u64,
    created_at: Timestamp,
    updated_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<Timestamp>,
}

/// Which deliveries, in the members that they were asked for with.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReplayFilter)]
struct FilterView {
    #[serde(skip_serializing_if = "Option::is_none")]
    site: Option<Slug>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscription: Option<SubscriptionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<String>,
    state: Vec<DeliveryState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
}

impl From<ReplayJob> for JobView {
    fn from(job: ReplayJob) -> Self {
        let Filter { states, site, subscription, event_type, since, until, .. } = job.filter;
        Self {
            id: job.id,
            state: job.state.as_str(),
            filter: FilterView { site, subscription, r#type: event_type, state: states, since, until },
            rate_per_second: job.rate_per_second,
            matched: job.matched,
            published: job.published,
            not_kept: job.not_kept,
            skipped: job.skipped,
            created_at: job.created_at,
            updated_at: job.updated_at,
            finished_at: job.finished_at,
        }
    }
}
