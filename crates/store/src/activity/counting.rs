//! What each endpoint's deliveries amount to, counted as they are written: table `endpoint_hours`.
//!
//! A delivery is counted in the hour in which its event was accepted, for good, and its attempts with it: whatever becomes
//! of it moves it from one column of that row to another, so each row says what counting the deliveries themselves would.
//! Each is counted once, however often messages repeat it, because the statement that writes a row also says what it
//! found there.

use std::collections::BTreeMap;

use sea_orm::{ConnectionTrait, FromQueryResult, QueryResult, Value};
use slipstream_core::delivery::DeliveryState;
use uuid::Uuid;

use super::batch::{AttemptRecord, DeliveryRecord};
use super::code::Code;
use super::query::big;
use super::upsert::Upsert;
use crate::entity::Row;
use crate::error::StoreError;

/// Milliseconds of an hour.
pub(super) const HOUR_MS: i64 = 3_600_000;

/// By how much a row grows.
#[derive(Debug, Clone, Copy, Default)]
struct Growth {
    /// Waiting, succeeded, failed, exhausted, expired, cancelled: the order of the columns.
    states: [i64; 6],
    attempts: i64,
    attempts_failed: i64,
    attempts_us: i64,
    succeeded_ms: Option<i64>,
    failed_ms: Option<i64>,
}

/// What a transaction has to add to the counts.
#[derive(Debug, Default)]
pub(super) struct Counts {
    by_hour: BTreeMap<(Uuid, i64), Growth>,
}

/// The column of `state` among [`Growth::states`].
const fn column(state: DeliveryState) -> usize {
    match state {
        DeliveryState::Scheduled | DeliveryState::RetryWait => 0,
        DeliveryState::Succeeded => 1,
        DeliveryState::Failed => 2,
        DeliveryState::Exhausted => 3,
        DeliveryState::Expired => 4,
        DeliveryState::Cancelled => 5,
    }
}

/// A delivery that was written: made, or changed from the state `state_before`.
#[derive(FromQueryResult)]
struct Written {
    id: Uuid,
    state_before: Option<i16>,
}

/// An attempt that was written: for the first time, unless `is_again` says something.
#[derive(FromQueryResult)]
struct Tried {
    delivery_id: Uuid,
    number: i32,
    is_again: Option<i16>,
}

/// What counts of an attempt.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counted {
    key: (Uuid, u32),
    duration_us: i64,
    ended_ms: i64,
    is_success: bool,
}

impl Counted {
    /// A success is what is one on every surface: 2xx (SPEC 4.2).
    pub(super) fn of(attempt: &AttemptRecord) -> Self {
        let duration_us = i64::try_from(attempt.duration_us).unwrap_or(i64::MAX);
        Self {
            key: (attempt.delivery.0, attempt.number),
            duration_us,
            ended_ms: attempt.started_at.as_millis().saturating_add(duration_us / 1000),
            is_success: attempt.status.is_some_and(|status| (200..300).contains(&status)),
        }
    }
}

impl Counts {
    fn of(&mut self, subscription: Uuid, created_ms: i64) -> &mut Growth {
        self.by_hour.entry((subscription, created_ms - created_ms.rem_euclid(HOUR_MS))).or_default()
    }

    /// A delivery came into the state `to`, from `from` if it was recorded before.
    pub(super) fn moved(
        &mut self,
        subscription: Uuid,
        created_ms: i64,
        from: Option<DeliveryState>,
        to: DeliveryState,
    ) {
        let growth = self.of(subscription, created_ms);
        if let Some(from) = from {
            growth.states[column(from)] -= 1;
        }
        growth.states[column(to)] += 1;
    }

    /// Of `deliveries`, in the order of their ids, those that the statement which returned `written` wrote.
    pub(super) fn deliveries(
        &mut self,
        deliveries: &[DeliveryRecord],
        written: &[QueryResult],
    ) -> Result<(), StoreError> {
        for row in written {
            let Written { id, state_before } = Written::from_query_result(row, "")?;
            let Some(record) = find(deliveries, id) else { continue };
            let from = state_before.map(|code| {
                let key = id.to_string();
                Row { table: "deliveries", key: &key }.name("state_before", DeliveryState::from_code(code))
            });
            self.moved(record.subscription.0, record.created_at().as_millis(), from.transpose()?, record.state);
        }
        Ok(())
    }

    /// Of `attempts`, in the order of their keys, those that the statement which returned `written` wrote for the first
    /// time; one that was made again, after a crash, counts as it was recorded first. Each comes with a record of its
    /// delivery, or nobody knows whose it is.
    pub(super) fn attempts(
        &mut self,
        deliveries: &[DeliveryRecord],
        attempts: &[Counted],
        written: &[QueryResult],
    ) -> Result<(), StoreError> {
        for row in written {
            let Tried { delivery_id, number, is_again } = Tried::from_query_result(row, "")?;
            let found = attempts.binary_search_by_key(&(delivery_id, number.unsigned_abs()), |it| it.key);
            let (None, Ok(at), Some(delivery)) = (is_again, found, find(deliveries, delivery_id)) else { continue };
            let Counted { duration_us, ended_ms, is_success, .. } = attempts[at];
            let growth = self.of(delivery.subscription.0, delivery.created_at().as_millis());
            growth.attempts += 1;
            growth.attempts_us = growth.attempts_us.saturating_add(duration_us);
            if is_success {
                growth.succeeded_ms = growth.succeeded_ms.max(Some(ended_ms));
            } else {
                growth.attempts_failed += 1;
                growth.failed_ms = growth.failed_ms.max(Some(ended_ms));
            }
        }
        Ok(())
    }

    /// Adds it. The last statement of its transaction, since another writer may wait for these rows.
    pub(super) async fn add(self, connection: &impl ConnectionTrait) -> Result<(), StoreError> {
        let says_something = |growth: &Growth| growth.attempts != 0 || growth.states.iter().any(|count| *count != 0);
        let rows = self.by_hour.into_iter().filter(|(_, growth)| says_something(growth)).collect();
        let bind = |((subscription, hour_ms), growth): (_, Growth), values: &mut Vec<Value>| {
            values.extend([Value::Uuid(Some(subscription)), big(hour_ms)]);
            values.extend(growth.states.map(big));
            values.extend([growth.attempts, growth.attempts_failed, growth.attempts_us].map(big));
            values.extend([growth.succeeded_ms, growth.failed_ms].map(Value::BigInt));
        };
        HOURS.run(connection, rows, bind).await
    }
}

fn find(deliveries: &[DeliveryRecord], id: Uuid) -> Option<&DeliveryRecord> {
    deliveries.binary_search_by_key(&id, |it| it.id.0).ok().map(|at| &deliveries[at])
}

/// Adds to a column what the new row has.
macro_rules! grow {
    ($($column:literal),+) => {
        concat!($($column, " = endpoint_hours.", $column, " + excluded.", $column, ", "),+)
    };
}

/// Sets a column to the later of both, either of which may be missing.
macro_rules! later {
    ($column:literal) => {
        concat!(
            $column,
            " = CASE WHEN endpoint_hours.",
            $column,
            " IS NULL OR endpoint_hours.",
            $column,
            " < excluded.",
            $column,
            " THEN excluded.",
            $column,
            " ELSE endpoint_hours.",
            $column,
            " END"
        )
    };
}

const HOURS: Upsert = Upsert {
    table: "endpoint_hours",
    columns: &[
        "subscription",
        "hour_ms",
        "waiting",
        "succeeded",
        "failed",
        "exhausted",
        "expired",
        "cancelled",
        "attempts",
        "attempts_failed",
        "attempts_us",
        "succeeded_ms",
        "failed_ms",
    ],
    on_conflict: concat!(
        "(subscription, hour_ms) DO UPDATE SET ",
        grow!(
            "waiting",
            "succeeded",
            "failed",
            "exhausted",
            "expired",
            "cancelled",
            "attempts",
            "attempts_failed",
            "attempts_us"
        ),
        later!("succeeded_ms"),
        ", ",
        later!("failed_ms")
    ),
};
