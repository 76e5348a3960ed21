//! Writing a batch.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::{ConnectionTrait, DbErr, FromQueryResult, RuntimeErr, Statement, Value, sqlx};
use slipstream_core::config::Surface;
use slipstream_core::delivery::DeliveryState;
use slipstream_core::ids::id_hash;
use slipstream_core::slug::Slug;
use slipstream_core::timestamp::Timestamp;
use uuid::Uuid;

use super::batch::{AttemptRecord, Batch, DeliveryRecord, EventRecord};
use super::code::Code;
use super::counting::{Counted, Counts};
use super::query::{Conditions, KEYS_MAX, add_keys};
use super::upsert::{Upsert, optional_text, text};
use super::{health, quarantine, removal};
use crate::audit;
use crate::ecg::activities::{self, News};
use crate::entity::to_json;
use crate::error::StoreError;
use crate::store::Store;

/// [`EventRecord::supersedes`], in SQL.
macro_rules! supersedes {
    () => {
        "(CASE WHEN excluded.cancelled_ms IS NOT NULL THEN 1 WHEN excluded.routed_ms IS NOT NULL THEN 2 ELSE 0 END, \
         COALESCE(excluded.routed_ms, -1), COALESCE(excluded.cancelled_ms, -1), \
         COALESCE(excluded.changed_ms, -1), COALESCE(excluded.sequence, -1)) \
         > (CASE WHEN events.cancelled_ms IS NOT NULL THEN 1 WHEN events.routed_ms IS NOT NULL THEN 2 ELSE 0 END, \
         COALESCE(events.routed_ms, -1), COALESCE(events.cancelled_ms, -1), \
         COALESCE(events.changed_ms, -1), COALESCE(events.sequence, -1))"
    };
}

/// Sets columns to what the record that supersedes the other says.
macro_rules! set_superseding {
    ($($column:literal),+) => {
        concat!($(
            $column, " = CASE WHEN ", supersedes!(), " THEN excluded.", $column, " ELSE events.", $column, " END, "
        ),+)
    };
}

// What never changes is not set again. The hash is filled in by whichever record knows it (`EventRecord::absorb`);
// hence the long form, which costs nothing where a row is new, as most are.
const EVENTS: Upsert = Upsert {
    table: "events",
    columns: &[
        "accepted_ms",
        "key",
        "site",
        "source",
        "id",
        "id_hash",
        "type",
        "subject",
        "visibility",
        "lane",
        "intended_ms",
        "expires_ms",
        "routed_ms",
        "skipped",
        "sequence",
        "content_hash",
        "changed_ms",
        "cancelled_ms",
        "published_by",
    ],
    on_conflict: concat!(
        "(accepted_ms, key) DO UPDATE SET ",
        set_superseding!("intended_ms", "expires_ms", "routed_ms", "skipped", "sequence", "changed_ms", "cancelled_ms"),
        "content_hash = COALESCE(events.content_hash, excluded.content_hash) WHERE ",
        supersedes!(),
        " OR (events.content_hash IS NULL AND excluded.content_hash IS NOT NULL)"
    ),
};

// `DeliveryRecord::supersedes`, in SQL.
const DELIVERIES: Upsert = Upsert {
    table: "deliveries",
    columns: &[
        "created_ms",
        "id",
        "site",
        "event_key",
        "subscription",
        "surface",
        "lane",
        "state",
        "reason",
        "next_attempt_ms",
        "updated_ms",
        "replay",
    ],
    on_conflict: "(created_ms, id) DO UPDATE SET state = excluded.state, reason = excluded.reason, \
                  next_attempt_ms = excluded.next_attempt_ms, updated_ms = excluded.updated_ms, \
                  state_before = deliveries.state \
                  WHERE (CASE WHEN excluded.state < 20 THEN 0 ELSE excluded.state END, excluded.updated_ms, \
                  excluded.state, COALESCE(excluded.reason, 0), COALESCE(excluded.next_attempt_ms, 0)) \
                  > (CASE WHEN deliveries.state < 20 THEN 0 ELSE deliveries.state END, deliveries.updated_ms, \
                  deliveries.state, COALESCE(deliveries.reason, 0), COALESCE(deliveries.next_attempt_ms, 0))",
};

const ATTEMPTS: Upsert = Upsert {
    table: "attempts",
    columns: &["delivery_id", "number", "started_ms", "duration_us", "status", "error", "response"],
    on_conflict: "(delivery_id, number) DO UPDATE SET started_ms = excluded.started_ms, \
                  duration_us = excluded.duration_us, status = excluded.status, error = excluded.error, \
                  response = excluded.response, is_again = 1 WHERE (excluded.started_ms, excluded.duration_us) \
                  > (attempts.started_ms, attempts.duration_us)",
};

const SUBSCRIPTIONS: Upsert = Upsert {
    table: "delivery_subscriptions",
    columns: &["subscription", "site"],
    on_conflict: "(subscription) DO NOTHING",
};

/// Writes `batch` in one transaction; then cancels, in steps of their own, what subscriptions that were removed, now or
/// before, will not receive.
///
/// Idempotent: writing a batch again, whole or in part, before or after others, changes nothing, and says the same.
///
/// Says which of the retries that the batch speaks of are not to be made any more, for whoever takes them off the bus: of
/// posts that were taken, by whatever of their tree (SPEC 6.8), or replaced, or whose deliveries have ended. Each as its news
/// told it, with what has become of it.
///
/// # Errors
/// Nothing is written, or all but some of the cancellations; writing it again makes those.
pub async fn record(store: &Store, mut batch: Batch) -> Result<Vec<DeliveryRecord>, StoreError> {
    let retries = retries(&batch.deliveries);
    batch.merge();
    let transaction = store.begin().await?;
    EVENTS.run(&transaction, batch.events, bind_event).await?;
    let successes = health::successes(&batch.deliveries);
    let mut deliveries = batch.deliveries;
    let (mut counts, posts) = write_deliveries(&transaction, &deliveries).await?;
    deliveries.iter_mut().filter(|it| posts.contains(&it.id.0)).for_each(|it| it.surface = Surface::Ecg);
    let attempts: Vec<_> = batch.attempts.iter().map(Counted::of).collect();
    let returning = "delivery_id, number, is_again";
    let written = ATTEMPTS.run_returning(&transaction, batch.attempts, bind_attempt, returning).await?;
    counts.attempts(&deliveries, &attempts, &written)?;
    let news = News { deliveries: &deliveries, posts: batch.posts, attempts: batch.post_attempts, retries };
    let (of_posts, over) = activities::record(&transaction, news).await?;
    quarantine::UPSERT.run(&transaction, batch.quarantined, quarantine::bind).await?;
    removal::remember(&transaction, &batch.removals).await?;
    // Last, since another writer may wait for these rows.
    health::note(&transaction, successes).await?;
    counts.add(&transaction).await?;
    of_posts.add(&transaction).await?;
    audit::append(&transaction, &batch.audited).await?;
    transaction.commit().await?;
    removal::settle(store, &batch.removals, &removal::waiting(&deliveries)).await?;
    Ok(over)
}

/// The last news of each post that says that it waits for a retry, whatever else the batch says of it.
fn retries(deliveries: &[DeliveryRecord]) -> BTreeMap<Uuid, DeliveryRecord> {
    let mut retries: BTreeMap<Uuid, DeliveryRecord> = BTreeMap::new();
    for record in deliveries {
        let is_one = record.surface == Surface::Ecg && record.state == DeliveryState::RetryWait;
        if is_one && retries.get(&record.id.0).is_none_or(|known| record.supersedes(known)) {
            retries.insert(record.id.0, record.clone());
        }
    }
    retries
}

/// Writes deliveries, in the order of their ids, and whose they are; says what that adds to the counts, and which are posts
/// although they were not called so.
async fn write_deliveries(
    transaction: &impl ConnectionTrait,
    deliveries: &[DeliveryRecord],
) -> Result<(Counts, BTreeSet<Uuid>), StoreError> {
    #[derive(FromQueryResult)]
    struct Written {
        id: Uuid,
        surface: i16,
    }
    let mut subscriptions: Vec<_> = deliveries.iter().map(|it| (it.subscription.0, it.site.clone())).collect();
    subscriptions.sort_unstable();
    subscriptions.dedup_by_key(|(subscription, _)| *subscription);
    let bind = |(subscription, site): (_, Slug), values: &mut Vec<Value>| {
        values.extend([Value::Uuid(Some(subscription)), text(site.to_string())]);
    };
    SUBSCRIPTIONS.run(transaction, subscriptions, bind).await?;
    let rows = deliveries.iter().collect();
    let written = DELIVERIES.run_returning(transaction, rows, bind_delivery, "id, state_before, surface").await?;
    raise_surface(transaction, deliveries).await?;
    let mut counts = Counts::default();
    counts.deliveries(deliveries, &written)?;
    let mut posts = BTreeSet::new();
    for row in &written {
        let row = Written::from_query_result(row, "")?;
        if row.surface == Surface::Ecg.code() {
            posts.insert(row.id);
        }
    }
    Ok((counts, posts))
}

/// Says of rows that they are posts, of which somebody spoke before who did not know it ([`DeliveryRecord::absorb`]).
async fn raise_surface(transaction: &impl ConnectionTrait, deliveries: &[DeliveryRecord]) -> Result<(), StoreError> {
    let posts = deliveries.iter().filter(|it| it.surface == Surface::Ecg);
    let keys: Vec<_> = posts.map(|it| (it.created_at().as_millis(), Value::Uuid(Some(it.id.0)))).collect();
    for keys in keys.chunks(KEYS_MAX) {
        let mut conditions = Conditions::after(vec![code(Some(Surface::Ecg))]);
        conditions.add("surface <> $", [code(Some(Surface::Ecg))]);
        add_keys(&mut conditions, "(created_ms, id)", keys);
        let (condition, values) = conditions.into_where();
        let sql = format!("UPDATE deliveries SET surface = $1{condition}");
        let statement = Statement::from_sql_and_values(transaction.get_database_backend(), sql, values);
        transaction.execute_raw(statement).await?;
    }
    Ok(())
}

/// Writes deliveries that were just made, in the order of their ids, in a transaction of somebody else.
pub(crate) async fn note_deliveries(
    transaction: &impl ConnectionTrait,
    deliveries: &[DeliveryRecord],
) -> Result<(), StoreError> {
    write_deliveries(transaction, deliveries).await?.0.add(transaction).await
}

fn millis(at: Option<Timestamp>) -> Value {
    Value::BigInt(at.map(Timestamp::as_millis))
}

fn code(member: Option<impl Code>) -> Value {
    Value::SmallInt(member.map(Code::code))
}

fn bind_event(event: EventRecord, values: &mut Vec<Value>) {
    let id_hash = id_hash(&event.id);
    let skipped = (!event.skipped.is_empty()).then(|| to_json(&event.skipped));
    values.extend([
        millis(Some(event.accepted_at)),
        text(event.key.to_string()),
        text(event.site.to_string()),
        text(event.source),
        text(event.id),
        Value::Int(Some(id_hash)),
        text(event.event_type),
        optional_text(event.subject),
        code(Some(event.visibility)),
        code(Some(event.lane)),
        millis(event.intended_at),
        millis(event.expires_at),
        millis(event.routed_at),
        optional_text(skipped),
        Value::BigInt(event.sequence.map(u64::cast_signed)),
        Value::BigInt(event.content_hash),
        millis(event.changed_at),
        millis(event.cancelled_at),
        Value::Uuid(event.published_by.map(|account| account.0)),
    ]);
}

fn bind_delivery(delivery: &DeliveryRecord, values: &mut Vec<Value>) {
    values.extend([
        millis(Some(delivery.created_at())),
        Value::Uuid(Some(delivery.id.0)),
        text(delivery.site.to_string()),
        text(delivery.event_key.to_string()),
        Value::Uuid(Some(delivery.subscription.0)),
        code(Some(delivery.surface)),
        code(Some(delivery.lane)),
        code(Some(delivery.state)),
        code(delivery.reason),
        millis(delivery.next_attempt_at),
        millis(Some(delivery.updated_at)),
        Value::Uuid(delivery.replay.map(|replay| replay.0)),
    ]);
}

fn bind_attempt(attempt: AttemptRecord, values: &mut Vec<Value>) {
    values.extend([
        Value::Uuid(Some(attempt.delivery.0)),
        Value::Int(Some(i32::try_from(attempt.number).unwrap_or(i32::MAX))),
        millis(Some(attempt.started_at)),
        Value::BigInt(Some(i64::try_from(attempt.duration_us).unwrap_or(i64::MAX))),
        Value::SmallInt(attempt.status.map(|status| i16::try_from(status).unwrap_or(i16::MAX))),
        code(attempt.error),
        Value::Bytes(attempt.response),
    ]);
}

/// Whether the database refused rows for what is in them, so that trying again is in vain while other rows may pass.
///
/// PostgreSQL: data exception, constraint, program limit. SQLite: too big, constraint, mismatch. Everything else (a
/// lost connection, a lock, a full disk, a table that is missing) is about the database.
pub fn is_about_the_rows(error: &StoreError) -> bool {
    let (StoreError::Conflict(error) | StoreError::Refused(error)) = error else { return false };
    let (DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error))) = error else {
        return false;
    };
    match &**error {
        sqlx::Error::Database(error) => error.code().is_some_and(|code| match code.parse::<u32>() {
            Ok(number) if code.len() < 5 => matches!(number & 0xff, 18..=20),
            _ => ["22", "23", "54"].contains(&&code[..2.min(code.len())]),
        }),
        sqlx::Error::Encode(_) => true,
        _ => false,
    }
}
