//! What an endpoint's deliveries amount to (SPEC 4.9: counters), without looking at any of them.
//!
//! [`super::record`] keeps one row per subscription and hour, which are some hundreds of rows within the time that records
//! are kept, however many deliveries there are.

use sea_orm::{ConnectionTrait, FromQueryResult, Statement, Value};
use slipstream_core::ids::SubscriptionId;
use slipstream_core::timestamp::Timestamp;

use super::counting::HOUR_MS;
use super::query::big;
use super::reconcile::ByState;
use crate::error::StoreError;

/// What an endpoint's deliveries amount to. Those of replays are among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statistics {
    /// Counted are deliveries of events accepted from here on: the beginning of an hour.
    pub since: Timestamp,
    /// And before this instant: the end of an hour.
    pub until: Timestamp,
    /// The deliveries by what has become of them.
    pub deliveries: ByState,
    /// How many attempts were made of them.
    pub attempts: u64,
    /// How many of these were no success.
    pub attempts_failed: u64,
    /// How long all attempts took together, in microseconds.
    pub attempts_us: u64,
    /// How many deliveries to this endpoint wait now, whenever their events were accepted.
    pub waiting: u64,
    /// When the last attempt ended that was a success, of all that is recorded.
    pub last_success_at: Option<Timestamp>,
    /// When the last attempt ended that was none.
    pub last_failure_at: Option<Timestamp>,
}

impl Statistics {
    /// Those of an endpoint that nothing is recorded of.
    pub fn none(since: Timestamp, until: Timestamp) -> Self {
        let (since, until) = hours(since, until);
        Self {
            since: Timestamp::from_millis(since),
            until: Timestamp::from_millis(until),
            deliveries: ByState::default(),
            attempts: 0,
            attempts_failed: 0,
            attempts_us: 0,
            waiting: 0,
            last_success_at: None,
            last_failure_at: None,
        }
    }
}

/// The beginning of the hour of `since` and the end of that of `until`. An hour that begins at `until` is no part of it.
fn hours(since: Timestamp, until: Timestamp) -> (i64, i64) {
    let (since, until) = (since.as_millis(), until.as_millis());
    (since - since.rem_euclid(HOUR_MS), until.saturating_add((-until).rem_euclid(HOUR_MS)))
}

#[derive(FromQueryResult)]
struct SumRow {
    hours: i64,
    waiting: i64,
    succeeded: i64,
    failed: i64,
    exhausted: i64,
    expired: i64,
    cancelled: i64,
    attempts: i64,
    attempts_failed: i64,
    attempts_us: i64,
    waiting_ever: i64,
    succeeded_ms: Option<i64>,
    failed_ms: Option<i64>,
}

/// Sums of these columns over the hours asked for.
const SUMMED: [&str; 9] = [
    "waiting",
    "succeeded",
    "failed",
    "exhausted",
    "expired",
    "cancelled",
    "attempts",
    "attempts_failed",
    "attempts_us",
];

/// What the deliveries to `subscription` amount to, of events accepted from the hour of `since` to the hour of `until`, both
/// whole; none if nothing is recorded of it at any time.
pub async fn statistics(
    connection: &impl ConnectionTrait,
    subscription: SubscriptionId,
    since: Timestamp,
    until: Timestamp,
) -> Result<Option<Statistics>, StoreError> {
    let (since, until) = hours(since, until);
    let sums = SUMMED.map(|name| {
        format!(
            "CAST(COALESCE(SUM(CASE WHEN hour_ms >= $2 AND hour_ms < $3 THEN {name} END), 0) AS BIGINT) AS {name}, "
        )
    });
    let sql = format!(
        "SELECT {}CAST(COALESCE(SUM(waiting), 0) AS BIGINT) AS waiting_ever, COUNT(*) AS hours, \
         MAX(succeeded_ms) AS succeeded_ms, MAX(failed_ms) AS failed_ms FROM endpoint_hours WHERE subscription = $1",
        sums.concat()
    );
    let values = [Value::Uuid(Some(subscription.0)), big(since), big(until)];
    let statement = Statement::from_sql_and_values(connection.get_database_backend(), sql, values);
    let Some(row) = SumRow::find_by_statement(statement).one(connection).await?.filter(|row| row.hours > 0) else {
        return Ok(None);
    };
    // Below 0 is what was counted before its hour was forgotten, and ended otherwise after that.
    let count = |sum: i64| u64::try_from(sum).unwrap_or(0);
    Ok(Some(Statistics {
        since: Timestamp::from_millis(since),
        until: Timestamp::from_millis(until),
        deliveries: ByState {
            waiting: count(row.waiting),
            succeeded: count(row.succeeded),
            failed: count(row.failed),
            exhausted: count(row.exhausted),
            expired: count(row.expired),
            cancelled: count(row.cancelled),
        },
        attempts: count(row.attempts),
        attempts_failed: count(row.attempts_failed),
        attempts_us: count(row.attempts_us),
        waiting: count(row.waiting_ever),
        last_success_at: row.succeeded_ms.map(Timestamp::from_millis),
        last_failure_at: row.failed_ms.map(Timestamp::from_millis),
    }))
}
