//! Jobs as people see and steer them.

use sea_orm::{ConnectionTrait, FromQueryResult, Statement, Value};
use slipstream_core::delivery::DeliveryState;
use slipstream_core::ids::{ReplayId, SubscriptionId};
use slipstream_core::timestamp::Timestamp;
use uuid::Uuid;

use crate::activity::query::{Filter, big};
use crate::activity::upsert::{optional_text, text};
use crate::entity::Row;
use crate::error::StoreError;
use crate::page::Page;

/// Where a job is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobState {
    /// Somebody works on it, or will.
    Running,
    /// It keeps its place until it is resumed.
    Paused,
    /// It was ended before its end.
    Cancelled,
    /// It is done.
    Finished,
}

impl JobState {
    const ALL: [Self; 4] = [Self::Running, Self::Paused, Self::Cancelled, Self::Finished];

    /// The state's text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Cancelled => "cancelled",
            Self::Finished => "finished",
        }
    }

    /// The state named by [`JobState::as_str`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

/// A job to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJob {
    /// Its id, by which its deliveries are known: a UUIDv7, so that jobs are in the order of their making.
    pub id: ReplayId,
    /// Which deliveries. At least one state, and final ones only.
    pub filter: Filter,
    /// How many deliveries a second.
    pub rate_per_second: u32,
    /// How many there are: see [`super::count`].
    pub matched: u64,
    /// When it is made. It is about what had ended before.
    pub created_at: Timestamp,
}

/// The job as it is when it is made.
impl From<NewJob> for ReplayJob {
    fn from(new: NewJob) -> Self {
        Self {
            id: new.id,
            filter: new.filter,
            rate_per_second: new.rate_per_second,
            state: JobState::Running,
            matched: new.matched,
            published: 0,
            not_kept: 0,
            skipped: 0,
            created_at: new.created_at,
            updated_at: new.created_at,
            finished_at: None,
        }
    }
}

/// A job and how far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayJob {
    /// Its id.
    pub id: ReplayId,
    /// Which deliveries it is about.
    pub filter: Filter,
    /// How many deliveries a second.
    pub rate_per_second: u32,
    /// Where it is in its life.
    pub state: JobState,
    /// How many deliveries there were when it was made.
    pub matched: u64,
    /// How many were made again.
    pub published: u64,
    /// How many were not, because the event's data is no longer kept.
    pub not_kept: u64,
    /// How many were not, because their subscription does not exist any more.
    pub skipped: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it came to its end.
    pub finished_at: Option<Timestamp>,
}

pub(super) const COLUMNS: &str = "id, site, subscription, type, event_id, states, since_ms, until_ms, \
                                  rate_per_second, state, matched, published, not_kept, skipped, cursor, \
                                  created_ms, updated_ms, finished_ms";

#[derive(FromQueryResult)]
pub(super) struct JobRow {
    pub(super) id: Uuid,
    site: Option<String>,
    subscription: Option<Uuid>,
    r#type: Option<String>,
    event_id: Option<String>,
    states: String,
    since_ms: Option<i64>,
    until_ms: Option<i64>,
    rate_per_second: i32,
    state: String,
    matched: i64,
    published: i64,
    not_kept: i64,
    skipped: i64,
    pub(super) cursor: Option<Uuid>,
    created_ms: i64,
    updated_ms: i64,
    finished_ms: Option<i64>,
}

impl TryFrom<JobRow> for ReplayJob {
    type Error = StoreError;

    fn try_from(job: JobRow) -> Result<Self, StoreError> {
        let key = job.id.to_string();
        let row = Row { table: "replay_jobs", key: &key };
        let states = job.states.split(',').map(|name| row.name("states", DeliveryState::from_name(name)));
        Ok(Self {
            id: ReplayId(job.id),
            filter: Filter {
                states: states.collect::<Result<_, _>>()?,
                site: job.site.map(|site| row.parse("site", &site)).transpose()?,
                subscription: job.subscription.map(SubscriptionId),
                event_type: job.r#type,
                event_id: job.event_id,
                surface: None,
                event: None,
                since: job.since_ms.map(Timestamp::from_millis),
                until: job.until_ms.map(Timestamp::from_millis),
            },
            rate_per_second: job.rate_per_second.unsigned_abs(),
            state: row.name("state", JobState::from_name(&job.state))?,
            matched: job.matched.unsigned_abs(),
            published: job.published.unsigned_abs(),
            not_kept: job.not_kept.unsigned_abs(),
            skipped: job.skipped.unsigned_abs(),
            created_at: Timestamp::from_millis(job.created_ms),
            updated_at: Timestamp::from_millis(job.updated_ms),
            finished_at: job.finished_ms.map(Timestamp::from_millis),
        })
    }
}

/// A statement with its values.
pub(super) fn statement(
    connection: &impl ConnectionTrait,
    sql: impl Into<String>,
    values: impl IntoIterator<Item = Value>,
) -> Statement {
    Statement::from_sql_and_values(connection.get_database_backend(), sql, values)
}

pub(super) fn at(at: Timestamp) -> Value {
    big(at.as_millis())
}

pub(super) fn uuid(id: Uuid) -> Value {
    Value::Uuid(Some(id))
}

pub(super) fn state(state: JobState) -> Value {
    Value::String(Some(state.as_str().to_owned()))
}

/// Writes a new job down; workers find it by themselves.
pub async fn create(connection: &impl ConnectionTrait, job: &NewJob) -> Result<(), StoreError> {
    let sql = "INSERT INTO replay_jobs (id, site, subscription, type, event_id, states, since_ms, until_ms, \
               rate_per_second, state, matched, published, not_kept, skipped, created_ms, updated_ms, fence, \
               lease_until_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 0, 0, 0, $12, $13, 0, 0)";
    // A job is not asked for by surface or event.
    let Filter { states, site, subscription, event_type, event_id, since, until, surface: _, event: _ } = &job.filter;
    let states: Vec<_> = states.iter().map(|state| state.as_str()).collect();
    let values = [
        uuid(job.id.0),
        Value::String(site.as_ref().map(|site| site.as_str().to_owned())),
        Value::Uuid(subscription.map(|subscription| subscription.0)),
        optional_text(event_type.clone()),
        optional_text(event_id.clone()),
        text(states.join(",")),
        Value::BigInt(since.map(Timestamp::as_millis)),
        Value::BigInt(until.map(Timestamp::as_millis)),
        Value::Int(Some(job.rate_per_second.try_into().unwrap_or(i32::MAX))),
        state(JobState::Running),
        big(job.matched.cast_signed()),
        at(job.created_at),
        at(job.created_at),
    ];
    connection.execute_raw(statement(connection, sql, values)).await?;
    Ok(())
}

/// The job with this id.
pub async fn job(connection: &impl ConnectionTrait, id: ReplayId) -> Result<Option<ReplayJob>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM replay_jobs WHERE id = $1");
    let row = JobRow::find_by_statement(statement(connection, sql, [uuid(id.0)])).one(connection).await?;
    row.map(ReplayJob::try_from).transpose()
}

/// Jobs, newest first, at most `limit`, after the one named by `after`.
pub async fn jobs(
    connection: &impl ConnectionTrait,
    limit: usize,
    after: Option<ReplayId>,
) -> Result<Page<ReplayJob>, StoreError> {
    // No id is greater than this one.
    let before = after.map_or(Uuid::max(), |id| id.0);
    let sql = format!("SELECT {COLUMNS} FROM replay_jobs WHERE id < $1 ORDER BY id DESC LIMIT $2");
    let values = [uuid(before), big(limit as i64 + 1)];
    let rows = JobRow::find_by_statement(statement(connection, sql, values)).all(connection).await?;
    let jobs: Result<_, StoreError> = rows.into_iter().map(ReplayJob::try_from).collect();
    Ok(Page::of(jobs?, limit, |job: &ReplayJob| job.id.to_string()))
}

/// Stops a running job, which keeps its place. The job as it is then; its state is another one than `Paused` if it had
/// come to its end before. None if there is no such job.
pub async fn pause(
    connection: &impl ConnectionTrait,
    id: ReplayId,
    now: Timestamp,
) -> Result<Option<ReplayJob>, StoreError> {
    let sql = "UPDATE replay_jobs SET state = $1, updated_ms = $2 WHERE id = $3 AND state = 'running'";
    change(connection, id, sql, [state(JobState::Paused), at(now), uuid(id.0)]).await
}

/// Lets a paused job go on. The job as it is then; its state is another one than `Running` if it had come to its end
/// before. None if there is no such job.
pub async fn resume(
    connection: &impl ConnectionTrait,
    id: ReplayId,
    now: Timestamp,
) -> Result<Option<ReplayJob>, StoreError> {
    let sql = "UPDATE replay_jobs SET state = $1, updated_ms = $2 WHERE id = $3 AND state = 'paused'";
    change(connection, id, sql, [state(JobState::Running), at(now), uuid(id.0)]).await
}

/// Ends a job before its end; what it has published stays. The job as it is then; its state is another one than
/// `Cancelled` if it was finished before. None if there is no such job.
pub async fn cancel(
    connection: &impl ConnectionTrait,
    id: ReplayId,
    now: Timestamp,
) -> Result<Option<ReplayJob>, StoreError> {
    let sql = "UPDATE replay_jobs SET state = $1, updated_ms = $2, finished_ms = $3 \
               WHERE id = $4 AND state IN ('running', 'paused')";
    change(connection, id, sql, [state(JobState::Cancelled), at(now), at(now), uuid(id.0)]).await
}

async fn change<const N: usize>(
    connection: &impl ConnectionTrait,
    id: ReplayId,
    sql: &'static str,
    values: [Value; N],
) -> Result<Option<ReplayJob>, StoreError> {
    connection.execute_raw(statement(connection, sql, values)).await?;
    job(connection, id).await
}

/// Forgets jobs that came to their end before `before`; says how many.
pub async fn forget(connection: &impl ConnectionTrait, before: Timestamp) -> Result<u64, StoreError> {
    let sql = "DELETE FROM replay_jobs WHERE finished_ms < $1";
    Ok(connection.execute_raw(statement(connection, sql, [at(before)])).await?.rows_affected())
}
