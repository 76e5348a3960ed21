//! Jobs as workers see them: one at a time has each.

use sea_orm::{ConnectionTrait, FromQueryResult, Value};
use slipstream_core::ids::{DeliveryId, ReplayId};
use slipstream_core::timestamp::Timestamp;
use uuid::Uuid;

use super::jobs::{COLUMNS, JobRow, JobState, ReplayJob, at, state, statement, uuid};
use crate::activity::query::big;
use crate::entity::Row;
use crate::error::StoreError;

/// A job that is ours until our lease ends.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The job as it was claimed.
    pub job: ReplayJob,
    /// Names our claim. Whoever claims the job after us has a greater one.
    pub fence: i64,
    /// The last delivery that is done with.
    pub cursor: Option<DeliveryId>,
}

/// What a worker did, all of it or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The last delivery that is done with now.
    pub cursor: DeliveryId,
    /// How many were published.
    pub published: u64,
    /// How many were not, because the event's data is no longer kept.
    pub not_kept: u64,
    /// How many were not, because their subscription does not exist any more.
    pub skipped: u64,
}

/// Claims a running job that nobody works on, until `until`. None if there is none, or somebody else was faster.
///
/// Leases are compared with the clock of whoever claims: a clock that is ahead takes a job too early, and then the
/// fence decides.
pub async fn claim(
    connection: &impl ConnectionTrait,
    now: Timestamp,
    until: Timestamp,
) -> Result<Option<Claim>, StoreError> {
    #[derive(FromQueryResult)]
    struct Free {
        id: Uuid,
        fence: i64,
    }
    let sql = "SELECT id, fence FROM replay_jobs WHERE state = 'running' AND lease_until_ms < $1 ORDER BY id LIMIT 1";
    let Some(free) = Free::find_by_statement(statement(connection, sql, [at(now)])).one(connection).await? else {
        return Ok(None);
    };
    let sql = "UPDATE replay_jobs SET fence = $1, lease_until_ms = $2 WHERE id = $3 AND fence = $4";
    let fence = free.fence + 1;
    let values = [big(fence), at(until), uuid(free.id), big(free.fence)];
    if connection.execute_raw(statement(connection, sql, values)).await?.rows_affected() == 0 {
        return Ok(None);
    }
    let sql = format!("SELECT {COLUMNS} FROM replay_jobs WHERE id = $1 AND fence = $2");
    let values = [uuid(free.id), big(fence)];
    let row = JobRow::find_by_statement(statement(connection, sql, values)).one(connection).await?;
    let claim = |row: JobRow| {
        let cursor = row.cursor.map(DeliveryId);
        Ok(Claim { job: row.try_into()?, fence, cursor })
    };
    row.map(claim).transpose()
}

/// The state of a job that is still ours; none if it is not.
pub async fn state_of(
    connection: &impl ConnectionTrait,
    id: ReplayId,
    fence: i64,
) -> Result<Option<JobState>, StoreError> {
    #[derive(FromQueryResult)]
    struct StateRow {
        state: String,
    }
    let sql = "SELECT state FROM replay_jobs WHERE id = $1 AND fence = $2";
    let found = StateRow::find_by_statement(statement(connection, sql, [uuid(id.0), big(fence)]));
    let Some(found) = found.one(connection).await? else { return Ok(None) };
    let key = id.to_string();
    let row = Row { table: "replay_jobs", key: &key };
    row.name("state", JobState::from_name(&found.state)).map(Some)
}

/// Writes down a step that began after the delivery of `from`, and keeps the job until `until`. False if it is not ours
/// any more; then nothing is written.
///
/// A step that is written down already, because the answer to the first try was lost, is not counted again.
///
/// Also of a job that was paused or cancelled meanwhile: what was done is done, and its place is behind it.
pub async fn advance(
    connection: &impl ConnectionTrait,
    id: ReplayId,
    fence: i64,
    (from, step): (Option<DeliveryId>, Step),
    now: Timestamp,
    until: Timestamp,
) -> Result<bool, StoreError> {
    #[derive(FromQueryResult)]
    struct Place {
        cursor: Option<Uuid>,
    }
    let sql = "UPDATE replay_jobs SET cursor = $1, published = published + $2, not_kept = not_kept + $3, \
               skipped = skipped + $4, updated_ms = $5, lease_until_ms = $6 WHERE id = $7 AND fence = $8 \
               AND (cursor = $9 OR (cursor IS NULL AND $10 = 1))";
    let number = |number: u64| big(number.cast_signed());
    let values = [
        uuid(step.cursor.0),
        number(step.published),
        number(step.not_kept),
        number(step.skipped),
        at(now),
        at(until),
        uuid(id.0),
        big(fence),
        Value::Uuid(from.map(|from| from.0)),
        big(i64::from(from.is_none())),
    ];
    if ours(connection, sql, values).await? {
        return Ok(true);
    }
    let sql = "SELECT cursor FROM replay_jobs WHERE id = $1 AND fence = $2";
    let place = Place::find_by_statement(statement(connection, sql, [uuid(id.0), big(fence)])).one(connection).await?;
    Ok(place.is_some_and(|place| place.cursor == Some(step.cursor.0)))
}

/// Keeps the job until `until`. False if it is not ours any more.
pub async fn renew(
    connection: &impl ConnectionTrait,
    id: ReplayId,
    fence: i64,
    until: Timestamp,
) -> Result<bool, StoreError> {
    let sql = "UPDATE replay_jobs SET lease_until_ms = $1 WHERE id = $2 AND fence = $3";
    ours(connection, sql, [at(until), uuid(id.0), big(fence)]).await
}

/// Gives the job back, so that somebody else need not wait for the end of the lease.
pub async fn release(connection: &impl ConnectionTrait, id: ReplayId, fence: i64) -> Result<(), StoreError> {
    let sql = "UPDATE replay_jobs SET lease_until_ms = 0 WHERE id = $1 AND fence = $2";
    ours(connection, sql, [uuid(id.0), big(fence)]).await.map(drop)
}

/// Writes down that the job is done. False if it is not ours any more, or not running.
pub async fn finish(
    connection: &impl ConnectionTrait,
    id: ReplayId,
    fence: i64,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let sql = "UPDATE replay_jobs SET state = $1, updated_ms = $2, finished_ms = $3, lease_until_ms = 0 \
               WHERE id = $4 AND fence = $5 AND state = 'running'";
    ours(connection, sql, [state(JobState::Finished), at(now), at(now), uuid(id.0), big(fence)]).await
}

/// Whether the statement found its one row.
async fn ours<const N: usize>(
    connection: &impl ConnectionTrait,
    sql: &'static str,
    values: [Value; N],
) -> Result<bool, StoreError> {
    Ok(connection.execute_raw(statement(connection, sql, values)).await?.rows_affected() == 1)
}
