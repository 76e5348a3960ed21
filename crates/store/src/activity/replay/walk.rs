//! Which deliveries there are to make again.

use sea_orm::{ConnectionTrait, FromQueryResult, Value};
use slipstream_core::config::Surface;
use slipstream_core::delivery::DeliveryState;
use slipstream_core::ids::{DeliveryId, EventKey, SubscriptionId};
use slipstream_core::slug::Slug;
use slipstream_core::timestamp::Timestamp;
use uuid::Uuid;

use super::jobs::{at, statement, uuid};
use crate::activity::batch::{EventRecord, created_at};
use crate::activity::code::Code as _;
use crate::activity::query::{
    Conditions, Delivery, EVENT_COLUMNS, EVENT_OF_DELIVERY, Filter, NAMES_REPEATED, big, conditions, is_by_event,
    run_ordered, string,
};
use crate::activity::row::EventRow;
use crate::entity::Row;
use crate::error::StoreError;

/// Replays of one delivery that [`replays_to`] names, beside one that succeeded.
const REPLAYS_MAX: usize = 100;

/// A delivery to make again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Original {
    /// Which delivery.
    pub id: DeliveryId,
    /// The event's site.
    pub site: Slug,
    /// The event.
    pub event_key: EventKey,
    /// To whom.
    pub subscription: SubscriptionId,
    /// By which interface.
    pub surface: Surface,
    /// Where the event lies; none if that was not recorded.
    pub sequence: Option<u64>,
}

impl Original {
    /// When its event was accepted.
    pub fn accepted_at(&self) -> Timestamp {
        created_at(self.id)
    }
}

#[derive(FromQueryResult)]
struct OriginalRow {
    id: Uuid,
    site: String,
    event_key: String,
    subscription: Uuid,
    surface: i16,
    sequence: Option<i64>,
}

impl TryFrom<OriginalRow> for Original {
    type Error = StoreError;

    fn try_from(original: OriginalRow) -> Result<Self, StoreError> {
        let key = original.id.to_string();
        let row = Row { table: "deliveries", key: &key };
        Ok(Self {
            id: DeliveryId(original.id),
            site: row.parse("site", &original.site)?,
            event_key: row.parse("event_key", &original.event_key)?,
            subscription: SubscriptionId(original.subscription),
            surface: row.name("surface", Surface::from_code(original.surface))?,
            sequence: original.sequence.map(i64::cast_unsigned),
        })
    }
}

/// What a job made at `before` is about: what had ended before it. No replays: each would be made again as many times
/// as it was. No posts of the ECG surface: they are repeated there, as activities of their trees (SPEC 6.8).
fn of_job(filter: &Filter, state: DeliveryState, before: Timestamp) -> Conditions {
    let mut conditions = conditions(filter, Some(state));
    conditions.add("d.replay IS NULL AND d.created_ms < $ AND d.updated_ms < $", [at(before), at(before)]);
    conditions.add("d.surface <> $", [Value::SmallInt(Some(Surface::Ecg.code()))]);
    conditions
}

/// How many deliveries a job over `filter` is about that is made at `before`.
pub async fn count(connection: &impl ConnectionTrait, filter: &Filter, before: Timestamp) -> Result<u64, StoreError> {
    #[derive(FromQueryResult)]
    struct Counted {
        found: i64,
    }
    let join = if is_by_event(filter) { format!(" JOIN {EVENT_OF_DELIVERY}") } else { String::new() };
    let mut total = 0;
    for state in &filter.states {
        let (filter, values) = of_job(filter, *state, before).into_where();
        let sql = format!("SELECT COUNT(*) AS found FROM deliveries d{join}{filter}");
        let counted = Counted::find_by_statement(statement(connection, sql, values)).one(connection).await?;
        total += counted.map_or(0, |counted| counted.found.unsigned_abs());
    }
    Ok(total)
}

/// The next deliveries that a job over `filter` is about, oldest first, at most `limit`, after the one named by `after`.
pub async fn originals(
    connection: &impl ConnectionTrait,
    filter: &Filter,
    before: Timestamp,
    after: Option<DeliveryId>,
    limit: usize,
) -> Result<Vec<Original>, StoreError> {
    let join = if is_by_event(filter) { "JOIN" } else { "LEFT JOIN" };
    let mut originals = Vec::new();
    // One question per state, as in a list: the index has each state's rows in order.
    for state in &filter.states {
        let mut conditions = of_job(filter, *state, before);
        if let Some(id) = after {
            conditions.add("(d.created_ms, d.id) > ($, $)", [at(created_at(id)), uuid(id.0)]);
        }
        let (filter, mut values) = conditions.into_where();
        values.push(big(limit as i64));
        let sql = format!(
            "SELECT d.id, d.site, d.event_key, d.subscription, d.surface, e.sequence FROM deliveries d \
             {join} {EVENT_OF_DELIVERY}{filter} ORDER BY d.created_ms, d.id LIMIT ${}",
            values.len()
        );
        let rows = OriginalRow::find_by_statement(statement(connection, sql, values)).all(connection).await?;
        for row in rows {
            originals.push(Original::try_from(row)?);
        }
    }
    // The id begins with the time.
    originals.sort_unstable_by_key(|original| original.id);
    originals.dedup_by_key(|original| original.id);
    originals.truncate(limit);
    Ok(originals)
}

/// The event `key` that was accepted at `accepted_at`.
pub async fn event_of(
    connection: &impl ConnectionTrait,
    accepted_at: Timestamp,
    key: &EventKey,
) -> Result<Option<EventRecord>, StoreError> {
    let sql = format!("SELECT {EVENT_COLUMNS} FROM events WHERE accepted_ms = $1 AND key = $2");
    let values = [at(accepted_at), string(key.as_str())];
    let row = EventRow::find_by_statement(statement(connection, sql, values)).one(connection).await?;
    row.map(EventRecord::try_from).transpose()
}

/// What replays made of that event for `subscription`, oldest first: the newest 100, and, if none of these succeeded, the
/// newest of all that did. They do not repeat the event's name if that is longer than 1 KiB.
pub async fn replays_to(
    connection: &impl ConnectionTrait,
    accepted_at: Timestamp,
    key: &EventKey,
    subscription: SubscriptionId,
) -> Result<Vec<Delivery>, StoreError> {
    let newest = async |condition: &str, limit: usize| {
        let mut conditions = Conditions::default();
        let values = [at(accepted_at), string(key.as_str()), Value::Uuid(Some(subscription.0))];
        conditions.add("d.created_ms = $ AND d.event_key = $ AND d.subscription = $", values);
        conditions.add(condition, []);
        // A replay's id begins with the time of its making.
        run_ordered(connection, "LEFT JOIN", conditions, (NAMES_REPEATED, "d.replay DESC"), limit).await
    };
    let mut replays = newest("d.replay IS NOT NULL", REPLAYS_MAX).await?;
    let has_succeeded = |it: &Delivery| it.record.state == DeliveryState::Succeeded;
    if replays.len() == REPLAYS_MAX && !replays.iter().any(has_succeeded) {
        replays.extend(newest("d.replay IS NOT NULL AND d.state = 60", 1).await?);
    }
    replays.reverse();
    Ok(replays)
}
