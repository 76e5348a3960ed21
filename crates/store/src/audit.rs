//! Who did what, and when (THREATS 9): kept for good, in a chain.
//!
//! Records are only ever appended: there is no function that changes or removes one, and the database refuses it to
//! everybody for 6 years (migration 8). Each is kept with a hash over itself and the hash of the one before, so whoever
//! gets around that changes what [`verify`] finds. What a chain cannot show is that its newest records are missing, or
//! that all of it was computed anew: compare [`Chain::head`] with one that was noted elsewhere.

mod verify;

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, FromQueryResult, Statement, Value};
use slipstream_core::contract::{Action, AuditLink, AuditOutcome, Audited, TargetKind};
use slipstream_core::ids::AuditId;
use slipstream_core::slug::Slug;
use slipstream_core::timestamp::Timestamp;
use uuid::Uuid;

pub use self::verify::{Chain, Link, NotALink, Verification, verify};
use crate::entity::Row;
use crate::error::StoreError;
use crate::page::Page;

/// All columns, in the order that [`append`] binds them in.
const COLUMNS: &str =
    "number, id, at_ms, actor, action, kind, target, site, trace, outcome, status, begun, previous, hash";

/// The hash before the first record.
const BEGINNING: [u8; 32] = [0; 32];

/// A record, and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Its number, from 1: the order in which records came.
    pub number: u64,
    /// What it says.
    pub record: Audited,
}

/// Which records. What is none restricts nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of whom.
    pub actor: Option<String>,
    /// Of what.
    pub action: Option<Action>,
    /// Of which thing, by its id, key or slug.
    pub target: Option<String>,
    /// Of whose site.
    pub site: Option<Slug>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
}

#[derive(Debug, FromQueryResult)]
struct AuditRow {
    number: i64,
    id: Uuid,
    at_ms: i64,
    actor: String,
    action: String,
    kind: String,
    target: Option<String>,
    site: Option<String>,
    trace: Option<String>,
    outcome: String,
    status: Option<i16>,
    begun: Option<Uuid>,
    previous: Vec<u8>,
    hash: Vec<u8>,
}

impl AuditRow {
    fn link(&self) -> AuditLink<'_> {
        AuditLink {
            number: self.number.cast_unsigned(),
            id: AuditId(self.id),
            at: Timestamp::from_millis(self.at_ms),
            actor: &self.actor,
            action: &self.action,
            kind: &self.kind,
            target: self.target.as_deref(),
            site: self.site.as_deref(),
            trace: self.trace.as_deref(),
            outcome: &self.outcome,
            status: self.status.map(i16::cast_unsigned),
            begun: self.begun.map(AuditId),
        }
    }
}

impl TryFrom<AuditRow> for Recorded {
    type Error = StoreError;

    fn try_from(it: AuditRow) -> Result<Self, StoreError> {
        let key = it.number.to_string();
        let row = Row { table: "audit", key: &key };
        let record = Audited {
            id: AuditId(it.id),
            at: Timestamp::from_millis(it.at_ms),
            action: row.name("action", Action::from_name(&it.action))?,
            kind: row.name("kind", TargetKind::from_name(&it.kind))?,
            site: it.site.map(|site| row.parse("site", &site)).transpose()?,
            outcome: row.name("outcome", AuditOutcome::from_name(&it.outcome))?,
            actor: it.actor,
            target: it.target,
            trace: it.trace,
            status: it.status.map(i16::cast_unsigned),
            begun: it.begun.map(AuditId),
        };
        Ok(Self { number: it.number.cast_unsigned(), record })
    }
}

/// Appends `records` to the chain. One that is there already stays as it is.
///
/// Whoever appends waits for whoever does so in another transaction, until that ends: a chain has one end.
pub async fn append(transaction: &DatabaseTransaction, records: &[Audited]) -> Result<(), StoreError> {
    if records.is_empty() {
        return Ok(());
    }
    let backend = transaction.get_database_backend();
    if backend == DbBackend::Postgres {
        // SQLite has one writer anyway (`Store::begin`). Readers are not kept waiting.
        transaction.execute_unprepared("LOCK TABLE audit IN SHARE ROW EXCLUSIVE MODE").await?;
    }
    let (mut number, mut previous) = end(transaction).await?;
    for record in records {
        let known = Statement::from_sql_and_values(
            backend,
            "SELECT number FROM audit WHERE id = $1",
            [Value::Uuid(Some(record.id.0))],
        );
        if transaction.query_one_raw(known).await?.is_some() {
            continue;
        }
        number += 1;
        let row = row(number, record, previous);
        previous = row.link().hash(&previous);
        let parameters = (1..=14).map(|it| format!("${it}")).collect::<Vec<_>>().join(", ");
        let sql = format!("INSERT INTO audit ({COLUMNS}) VALUES ({parameters})");
        let values = [
            Value::BigInt(Some(row.number)),
            Value::Uuid(Some(row.id)),
            Value::BigInt(Some(row.at_ms)),
            Value::String(Some(row.actor)),
            Value::String(Some(row.action)),
            Value::String(Some(row.kind)),
            Value::String(row.target),
            Value::String(row.site),
            Value::String(row.trace),
            Value::String(Some(row.outcome)),
            Value::SmallInt(row.status),
            Value::Uuid(row.begun),
            Value::Bytes(Some(row.previous)),
            Value::Bytes(Some(previous.to_vec())),
        ];
        transaction.execute_raw(Statement::from_sql_and_values(backend, sql, values)).await?;
    }
    Ok(())
}

/// A record as it is kept, its own hash not yet computed. NUL, which PostgreSQL does not take, is none of our writers'.
fn row(number: u64, record: &Audited, previous: [u8; 32]) -> AuditRow {
    let clean = |text: &String| text.replace('\0', "\u{fffd}");
    AuditRow {
        number: number.cast_signed(),
        id: record.id.0,
        at_ms: record.at.as_millis(),
        actor: clean(&record.actor),
        action: record.action.as_str().to_owned(),
        kind: record.kind.as_str().to_owned(),
        target: record.target.as_ref().map(clean),
        site: record.site.as_ref().map(ToString::to_string),
        trace: record.trace.as_ref().map(clean),
        outcome: record.outcome.as_str().to_owned(),
        status: record.status.map(u16::cast_signed),
        begun: record.begun.map(|it| it.0),
        previous: previous.to_vec(),
        hash: Vec::new(),
    }
}

/// The number and the hash of the newest record.
async fn end(connection: &impl ConnectionTrait) -> Result<(u64, [u8; 32]), StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM audit ORDER BY number DESC LIMIT 1");
    let statement = Statement::from_string(connection.get_database_backend(), sql);
    let Some(newest) = AuditRow::find_by_statement(statement).one(connection).await? else {
        return Ok((0, BEGINNING));
    };
    let key = newest.number.to_string();
    let hash = newest.hash.as_slice().try_into();
    let hash = hash.map_err(|_| Row { table: "audit", key: &key }.corrupt("hash", "not 32 bytes"))?;
    Ok((newest.number.cast_unsigned(), hash))
}

/// A page of records, newest first, beginning with the one before `after`, which is a [`Recorded::number`].
pub async fn list(
    connection: &impl ConnectionTrait,
    filter: &Filter,
    limit: usize,
    after: Option<u64>,
) -> Result<Page<Recorded>, StoreError> {
    let (mut conditions, mut values) = (vec!["1 = 1".to_owned()], Vec::new());
    let mut restrict = |condition: &str, value: Option<Value>| {
        if let Some(value) = value {
            values.push(value);
            conditions.push(format!("{condition} ${}", values.len()));
        }
    };
    let text = |text: &str| Value::String(Some(text.to_owned()));
    let millis = |at: Timestamp| Value::BigInt(Some(at.as_millis()));
    restrict("number <", after.map(|number| Value::BigInt(Some(number.cast_signed()))));
    restrict("actor =", filter.actor.as_deref().map(text));
    restrict("action =", filter.action.map(|action| text(action.as_str())));
    restrict("target =", filter.target.as_deref().map(text));
    restrict("site =", filter.site.as_ref().map(|site| text(site.as_str())));
    restrict("at_ms >=", filter.since.map(millis));
    restrict("at_ms <", filter.until.map(millis));
    values.push(Value::BigInt(Some(limit as i64 + 1)));
    let sql = format!(
        "SELECT {COLUMNS} FROM audit WHERE {} ORDER BY number DESC LIMIT ${}",
        conditions.join(" AND "),
        values.len()
    );
    let statement = Statement::from_sql_and_values(connection.get_database_backend(), sql, values);
    let rows = AuditRow::find_by_statement(statement).all(connection).await?;
    let records = rows.into_iter().map(Recorded::try_from).collect::<Result<Vec<_>, _>>()?;
    Ok(Page::of(records, limit, |last| last.number.to_string()))
}
