//! Rows of `ecg_activities`, as they are read and written.

use sea_orm::{ConnectionTrait, DbBackend, FromQueryResult, Statement, Value};
use slipstream_core::config::Stamps;
use slipstream_core::contract::PostKind;
use slipstream_core::ids::{ActivityId, DeliveryId, EcgEventId, ReplayId, SubscriptionId};
use slipstream_core::timestamp::Timestamp;
use uuid::Uuid;

use super::contents::Contents;
use super::{Activity, Dispatch};
use crate::activity::code::Code as _;
use crate::activity::query::{big, of_ids};
use crate::activity::upsert::{Upsert, optional_text, text};
use crate::entity;
use crate::error::StoreError;

/// The kind of a row of which only outcomes have been heard: no list and no reader shows it.
pub(super) const UNHEARD: i16 = -1;

/// One row.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub(super) struct ActivityRow {
    pub(super) id: Uuid,
    pub(super) root: Uuid,
    pub(super) parent: Option<Uuid>,
    pub(super) level: i32,
    pub(super) organization: Uuid,
    pub(super) subscription: Uuid,
    pub(super) event: Option<Uuid>,
    pub(super) kind: i16,
    pub(super) dispatch: i16,
    pub(super) delivery: Option<Uuid>,
    pub(super) number: i32,
    pub(super) replay: Option<Uuid>,
    pub(super) key: String,
    pub(super) created_ms: i64,
    pub(super) posted_ms: Option<i64>,
    pub(super) sort_ms: i64,
    pub(super) took_us: Option<i64>,
    pub(super) status: Option<i32>,
    pub(super) success: Option<i16>,
    pub(super) error: Option<String>,
    pub(super) raw_response: Option<String>,
    pub(super) next_retry_ms: Option<i64>,
    pub(super) retry_off: i16,
    pub(super) hash: Option<String>,
    pub(super) content: Uuid,
    pub(super) tree_success: i16,
    pub(super) created_by: Uuid,
    pub(super) updated_ms: i64,
    pub(super) updated_by: Uuid,
}

/// The columns of an [`ActivityRow`].
pub(super) const COLUMNS: &str = "id, root, parent, level, organization, subscription, event, kind, dispatch, delivery, \
                                  number, replay, key, created_ms, posted_ms, sort_ms, took_us, status, success, error, \
                                  raw_response, next_retry_ms, retry_off, hash, content, tree_success, created_by, \
                                  updated_ms, updated_by";

/// The same, to write them.
const WRITTEN: &[&str] = &[
    "id",
    "root",
    "parent",
    "level",
    "organization",
    "subscription",
    "event",
    "kind",
    "dispatch",
    "delivery",
    "number",
    "replay",
    "key",
    "created_ms",
    "posted_ms",
    "sort_ms",
    "took_us",
    "status",
    "success",
    "error",
    "raw_response",
    "next_retry_ms",
    "retry_off",
    "hash",
    "content",
    "tree_success",
    "created_by",
    "updated_ms",
    "updated_by",
];

/// Rows that are made, unless they are there.
pub(super) const INSERT: Upsert = Upsert { table: "ecg_activities", columns: WRITTEN, on_conflict: "(id) DO NOTHING" };

/// Sets columns to what the new row says.
macro_rules! set {
    ($first:literal $(, $column:literal)*) => {
        concat!("(id) DO UPDATE SET ", $first, " = excluded.", $first $(, ", ", $column, " = excluded.", $column)*)
    };
}

/// Rows that are made or changed, under the lock of their root. Where a row is in its tree never changes; whether its tree
/// had a success is written by itself.
pub(super) const WRITE: Upsert = Upsert {
    table: "ecg_activities",
    columns: WRITTEN,
    on_conflict: set!(
        "organization",
        "event",
        "kind",
        "created_ms",
        "posted_ms",
        "sort_ms",
        "took_us",
        "status",
        "success",
        "error",
        "raw_response",
        "next_retry_ms",
        "retry_off",
        "hash",
        "created_by",
        "updated_ms",
        "updated_by"
    ),
};

pub(super) fn bind(row: ActivityRow, values: &mut Vec<Value>) {
    values.extend([
        Value::Uuid(Some(row.id)),
        Value::Uuid(Some(row.root)),
        Value::Uuid(row.parent),
        Value::Int(Some(row.level)),
        Value::Uuid(Some(row.organization)),
        Value::Uuid(Some(row.subscription)),
        Value::Uuid(row.event),
        Value::SmallInt(Some(row.kind)),
        Value::SmallInt(Some(row.dispatch)),
        Value::Uuid(row.delivery),
        Value::Int(Some(row.number)),
        Value::Uuid(row.replay),
        text(row.key),
        big(row.created_ms),
        Value::BigInt(row.posted_ms),
        big(row.sort_ms),
        Value::BigInt(row.took_us),
        Value::Int(row.status),
        Value::SmallInt(row.success),
        optional_text(row.error),
        optional_text(row.raw_response),
        Value::BigInt(row.next_retry_ms),
        Value::SmallInt(Some(row.retry_off)),
        optional_text(row.hash),
        Value::Uuid(Some(row.content)),
        Value::SmallInt(Some(row.tree_success)),
        Value::Uuid(Some(row.created_by)),
        big(row.updated_ms),
        Value::Uuid(Some(row.updated_by)),
    ]);
}

impl ActivityRow {
    /// Whether anybody has heard of it but by its outcomes.
    pub(super) const fn is_heard_of(&self) -> bool {
        self.kind != UNHEARD
    }

    /// Brings the sort key up to date.
    pub(super) fn sort(&mut self) {
        self.sort_ms = self.posted_ms.unwrap_or(self.created_ms);
    }

    /// What it stands for.
    pub(super) fn activity(self, contents: &Contents) -> Result<Activity, StoreError> {
        let key = self.id.to_string();
        let row = entity::Row { table: "ecg_activities", key: &key };
        let at = Timestamp::from_millis;
        let (payload, raw_message) =
            contents.get(self.content).ok_or_else(|| row.corrupt("content", "there is no such content"))?;
        let kind = row.name("kind", PostKind::from_code(self.kind))?;
        let dispatch = row.name("dispatch", Dispatch::from_code(self.dispatch))?;
        let raw_response = self.raw_response.map(serde_json::value::RawValue::from_string).transpose();
        Ok(Activity {
            id: ActivityId(self.id),
            root: ActivityId(self.root),
            parent: self.parent.map(ActivityId),
            level: self.level.unsigned_abs(),
            organization: self.organization,
            subscription: SubscriptionId(self.subscription),
            event: self.event.map(EcgEventId),
            kind,
            dispatch,
            delivery: self.delivery.map(DeliveryId),
            number: self.number.unsigned_abs(),
            replay: self.replay.map(ReplayId),
            key: row.parse("key", &self.key)?,
            created_at: at(self.created_ms),
            posted_at: self.posted_ms.map(at),
            status: self.status.and_then(|status| status.try_into().ok()),
            success: self.success.map(|success| success != 0),
            error: self.error,
            raw_response: raw_response.map_err(|error| row.corrupt("raw_response", error))?,
            next_retry_at: self.next_retry_ms.map(at),
            hash: self.hash,
            payload,
            raw_message,
            stamps: Stamps {
                created_at: at(self.created_ms),
                created_by: self.created_by,
                updated_at: at(self.updated_ms),
                updated_by: self.updated_by,
            },
        })
    }
}

/// The rows of a question that begins behind `SELECT … FROM ecg_activities`.
pub(super) async fn rows(
    connection: &impl ConnectionTrait,
    rest: &str,
    values: Vec<Value>,
) -> Result<Vec<ActivityRow>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM ecg_activities{rest}");
    let statement = Statement::from_sql_and_values(connection.get_database_backend(), sql, values);
    Ok(ActivityRow::find_by_statement(statement).all(connection).await?)
}

/// A root that is locked.
#[derive(Debug, Clone, Copy, FromQueryResult)]
pub(super) struct Root {
    pub(super) id: Uuid,
    pub(super) tree_success: i16,
}

/// Locks the trees of these roots, which are in order, until the end of the transaction; on SQLite it holds the whole
/// database already. Those that are not there, or gone meanwhile, are left out.
pub(super) async fn lock_roots(connection: &impl ConnectionTrait, roots: &[Uuid]) -> Result<Vec<Root>, StoreError> {
    let backend = connection.get_database_backend();
    let lock = if backend == DbBackend::Postgres { " FOR UPDATE" } else { "" };
    let mut locked = Vec::with_capacity(roots.len());
    for (places, values) in of_ids(roots) {
        let sql = format!("SELECT id, tree_success FROM ecg_activities WHERE id IN ({places}) ORDER BY id{lock}");
        locked.extend(
            Root::find_by_statement(Statement::from_sql_and_values(backend, sql, values)).all(connection).await?,
        );
    }
    Ok(locked)
}
