//! Reading: lists of deliveries, one delivery with its attempts, one event with its deliveries.

use sea_orm::{ConnectionTrait, FromQueryResult, Statement, Value};
use slipstream_core::config::Surface;
use slipstream_core::delivery::DeliveryState;
use slipstream_core::ids::{DeliveryId, EventKey, SubscriptionId, id_hash};
use slipstream_core::slug::Slug;
use slipstream_core::timestamp::Timestamp;
use uuid::Uuid;

use super::batch::{AttemptRecord, DeliveryRecord, EventRecord, created_at};
use super::code::Code as _;
use super::row::{AttemptRow, DeliveryRow, EventRow};
use crate::error::StoreError;
use crate::page::{Page, fitting};

/// The most deliveries that [`event`] names.
const DELIVERIES_OF_EVENT_MAX: usize = 1000;

/// Which deliveries are wanted. Every condition that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// In one of these states; none given: in any.
    pub states: Vec<DeliveryState>,
    /// Of events of this site.
    pub site: Option<Slug>,
    /// To this subscription.
    pub subscription: Option<SubscriptionId>,
    /// Of events of this type.
    pub event_type: Option<String>,
    /// Of events with this `id`, of whatever source.
    pub event_id: Option<String>,
    /// By this interface.
    pub surface: Option<Surface>,
    /// Of the event with this key. On SQLite no index has it: it is looked for among what the other conditions leave.
    pub event: Option<EventKey>,
    /// Of events accepted at or after this instant.
    pub since: Option<Timestamp>,
    /// Of events accepted before this instant.
    pub until: Option<Timestamp>,
}

/// What an event calls itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventName {
    /// Its `source`.
    pub source: String,
    /// Its `id`.
    pub id: String,
    /// Its `type`.
    pub event_type: String,
}

/// A delivery as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Where it is.
    pub record: DeliveryRecord,
    /// Its event; none while only outcomes have been recorded.
    pub event: Option<EventName>,
    /// How many attempts were made.
    pub attempt_count: u64,
}

/// An event and who receives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainedEvent {
    /// The event, and who does not receive it.
    pub event: EventRecord,
    /// Its deliveries, the first 1,000, in the order of their ids. They do not repeat its name if that is longer than
    /// 1 KiB.
    pub deliveries: Vec<Delivery>,
}

/// A part of an event's name, if the whole is no longer than 1 KiB.
macro_rules! repeated {
    ($source:literal, $id:literal, $type:literal) => {
        concat!(repeated!("source" => $source), ", ", repeated!("id" => $id), ", ", repeated!("type" => $type))
    };
    ($column:literal => $name:literal) => {
        concat!(
            "CASE WHEN octet_length(e.source) + octet_length(e.id) + octet_length(e.type) <= 1024 THEN e.", $column,
            " END AS ", $name
        )
    };
}

/// All that an [`EventRow`] needs.
pub(super) const EVENT_COLUMNS: &str = "accepted_ms, key, site, source, id, type, subject, visibility, lane, \
                                        intended_ms, expires_ms, routed_ms, skipped, sequence, content_hash, \
                                        changed_ms, cancelled_ms, published_by";
const COLUMNS: &str = "d.id, d.site, d.event_key, d.subscription, d.surface, d.lane, d.state, d.reason, \
                       d.next_attempt_ms, d.updated_ms, d.replay, \
                       (SELECT COUNT(*) FROM attempts a WHERE a.delivery_id = d.id) AS attempts";
/// What a delivery's event is called, of deliveries of many events.
pub(super) const NAMES: &str = "e.source, e.id AS event_id, e.type";
/// The same of many deliveries of one event, which all have it: left out if it is long (N9).
pub(super) const NAMES_REPEATED: &str = repeated!("source", "event_id", "type");
pub(super) const EVENT_OF_DELIVERY: &str = "events e ON e.accepted_ms = d.created_ms AND e.key = d.event_key";

/// Bytes of text of an event that a delivery is shown with.
const NAME_BYTES: &str = "COALESCE(octet_length(e.source) + octet_length(e.id) + octet_length(e.type), 0)";

/// A delivery's key, and how much text it is shown with.
#[derive(FromQueryResult)]
struct Place {
    id: Uuid,
    bytes: i64,
}

/// Deliveries, newest first by acceptance, at most `limit`, after the one named by `after`. Fewer where the texts of
/// their events are long: a page ends at about 1 MiB of them.
///
/// The position is a key, so a delivery that is recorded meanwhile neither shifts a page nor repeats one.
pub async fn list(
    connection: &impl ConnectionTrait,
    filter: &Filter,
    limit: usize,
    after: Option<DeliveryId>,
) -> Result<Page<Delivery>, StoreError> {
    let mut places = Vec::new();
    // One question per state: the index has each state's rows in order, but not those of several together.
    let states: Vec<_> = match filter.states.as_slice() {
        [] => vec![None],
        states => states.iter().copied().map(Some).collect(),
    };
    let several = states.len() > 1;
    for state in states {
        places.extend(select(connection, filter, state, limit + 1, after).await?);
    }
    if several {
        // The id begins with the time.
        places.sort_unstable_by_key(|place: &Place| std::cmp::Reverse(place.id));
        places.dedup_by_key(|place| place.id);
    }
    let fit = fitting(&places, limit, |place| place.bytes);
    let next = (fit < places.len()).then(|| places[fit - 1].id.simple().to_string());
    places.truncate(fit);
    let keys: Vec<_> = places
        .iter()
        .map(|place| (created_at(DeliveryId(place.id)).as_millis(), Value::Uuid(Some(place.id))))
        .collect();
    let mut items = Vec::with_capacity(places.len());
    for chunk in keys.chunks(KEYS_MAX) {
        let mut conditions = Conditions::default();
        add_keys(&mut conditions, "(d.created_ms, d.id)", chunk);
        items.extend(run(connection, "LEFT JOIN", conditions, "DESC", chunk.len()).await?);
    }
    Ok(Page { items, next })
}

/// Keys of one statement.
pub(crate) const KEYS_MAX: usize = 128;

/// Asks for the rows whose `columns`, a time and something unique within it, are one of `keys`. There are few numbers of
/// parameters, so that the drivers find the statement prepared; the last ones repeat one.
pub(crate) fn add_keys(conditions: &mut Conditions, columns: &str, keys: &[(i64, Value)]) {
    let Some(last) = keys.last() else { return };
    let size = [4, 16, 64].into_iter().find(|size| *size >= keys.len()).unwrap_or(KEYS_MAX);
    let places = vec!["($, $)"; size].join(", ");
    let padded = keys.iter().chain(std::iter::repeat(last)).take(size);
    let values = padded.flat_map(|(time, unique)| [big(*time), unique.clone()]);
    conditions.add(&format!("{columns} IN (VALUES {places})"), values.collect::<Vec<_>>());
}

/// Ids of one statement of [`of_ids`].
const IDS: [usize; 3] = [256, 32, 4];

/// What stands between the brackets of `IN (…)`, and its values, so often that every one of `ids` is asked for. As with
/// [`add_keys`] there are few numbers of parameters, and the last ones repeat one.
pub(crate) fn of_ids(ids: &[Uuid]) -> impl Iterator<Item = (String, Vec<Value>)> {
    let mut rest = ids;
    std::iter::from_fn(move || {
        let last = rest.last()?;
        let size = IDS.into_iter().rev().find(|size| *size >= rest.len()).unwrap_or(IDS[0]);
        let (chunk, behind) = rest.split_at(size.min(rest.len()));
        rest = behind;
        let places = (1..=size).map(|number| format!("${number}")).collect::<Vec<_>>().join(", ");
        let padded = chunk.iter().chain(std::iter::repeat(last)).take(size);
        Some((places, padded.map(|id| Value::Uuid(Some(*id))).collect()))
    })
}

/// Conditions and their values, in the order of their parameters.
#[derive(Default)]
pub(crate) struct Conditions {
    sql: Vec<String>,
    values: Vec<Value>,
}

impl Conditions {
    /// No conditions, in a statement that has these values already.
    pub(crate) fn after(values: Vec<Value>) -> Self {
        Self { sql: Vec::new(), values }
    }

    /// Adds a condition; each `$` in it stands for the next of `values`.
    pub(crate) fn add(&mut self, condition: &str, values: impl IntoIterator<Item = Value>) {
        let mut values = values.into_iter();
        let mut sql = String::new();
        for character in condition.chars() {
            sql.push(character);
            if character == '$' {
                self.values.extend(values.next());
                sql.push_str(&self.values.len().to_string());
            }
        }
        self.sql.push(sql);
    }

    /// ` WHERE …`, or nothing if there is no condition; and the values.
    pub(crate) fn into_where(self) -> (String, Vec<Value>) {
        let sql = if self.sql.is_empty() { String::new() } else { format!(" WHERE {}", self.sql.join(" AND ")) };
        (sql, self.values)
    }
}

pub(crate) fn big(number: i64) -> Value {
    Value::BigInt(Some(number))
}

pub(crate) fn string(text: &str) -> Value {
    Value::String(Some(text.to_owned()))
}

async fn select(
    connection: &impl ConnectionTrait,
    filter: &Filter,
    state: Option<DeliveryState>,
    limit: usize,
    after: Option<DeliveryId>,
) -> Result<Vec<Place>, StoreError> {
    let mut conditions = conditions(filter, state);
    if let Some(id) = after {
        conditions.add("(d.created_ms, d.id) < ($, $)", [big(created_at(id).as_millis()), Value::Uuid(Some(id.0))]);
    }
    let by_event = is_by_event(filter);
    let join = if by_event { "JOIN" } else { "LEFT JOIN" };
    let (filter, mut values) = conditions.into_where();
    values.push(big(limit as i64));
    let sql = format!(
        "SELECT d.id, CAST({NAME_BYTES} AS BIGINT) AS bytes FROM deliveries d {join} {EVENT_OF_DELIVERY}{filter} \
         ORDER BY d.created_ms DESC, d.id DESC LIMIT ${}",
        values.len()
    );
    let statement = Statement::from_sql_and_values(connection.get_database_backend(), sql, values);
    Ok(Place::find_by_statement(statement).all(connection).await?)
}

/// Whether the filter asks for something that only the event knows.
pub(super) fn is_by_event(filter: &Filter) -> bool {
    filter.event_id.is_some() || filter.event_type.is_some()
}

/// What `filter` asks of a delivery `d` and its event `e`; of its states, for `state` only, if one is given.
pub(super) fn conditions(filter: &Filter, state: Option<DeliveryState>) -> Conditions {
    let mut conditions = Conditions::default();
    if let Some(since) = filter.since {
        conditions.add("d.created_ms >= $", [big(since.as_millis())]);
    }
    if let Some(until) = filter.until {
        conditions.add("d.created_ms < $", [big(until.as_millis())]);
    }
    if let Some(state) = state {
        conditions.add("d.state = $", [Value::SmallInt(Some(state.code()))]);
        if state != DeliveryState::Succeeded {
            // As the partial index has it, word for word: else neither planner uses it.
            conditions.add("d.state <> 60", []);
        }
    }
    if let Some(site) = &filter.site {
        conditions.add("d.site = $", [string(site.as_str())]);
    }
    if let Some(subscription) = filter.subscription {
        let id = || Value::Uuid(Some(subscription.0));
        // A subscription is of one site, and the site has an index.
        conditions.add(
            "d.subscription = $ AND d.site = (SELECT s.site FROM delivery_subscriptions s WHERE s.subscription = $)",
            [id(), id()],
        );
    }
    if let Some(surface) = filter.surface {
        conditions.add("d.surface = $", [Value::SmallInt(Some(surface.code()))]);
    }
    if let Some(key) = &filter.event {
        conditions.add("d.event_key = $", [string(key.as_str())]);
    }
    if let Some(id) = &filter.event_id {
        conditions.add("e.id_hash = $ AND e.id = $", [Value::Int(Some(id_hash(id))), string(id)]);
    }
    if let Some(event_type) = &filter.event_type {
        conditions.add("e.type = $", [string(event_type)]);
    }
    conditions
}

pub(super) async fn run(
    connection: &impl ConnectionTrait,
    join: &str,
    conditions: Conditions,
    direction: &str,
    limit: usize,
) -> Result<Vec<Delivery>, StoreError> {
    let order = format!("d.created_ms {direction}, d.id {direction}");
    run_ordered(connection, join, conditions, (NAMES, &order), limit).await
}

pub(super) async fn run_ordered(
    connection: &impl ConnectionTrait,
    join: &str,
    conditions: Conditions,
    (names, order): (&str, &str),
    limit: usize,
) -> Result<Vec<Delivery>, StoreError> {
    let (filter, mut values) = conditions.into_where();
    values.push(big(limit as i64));
    let sql = format!(
        "SELECT {COLUMNS}, {names} FROM deliveries d {join} {EVENT_OF_DELIVERY}{filter} ORDER BY {order} LIMIT ${}",
        values.len()
    );
    let statement = Statement::from_sql_and_values(connection.get_database_backend(), sql, values);
    DeliveryRow::find_by_statement(statement).all(connection).await?.into_iter().map(Delivery::try_from).collect()
}

/// The records of these deliveries, as far as there are any.
pub(crate) async fn of_deliveries(
    connection: &impl ConnectionTrait,
    ids: &[DeliveryId],
) -> Result<Vec<DeliveryRecord>, StoreError> {
    let mut records = Vec::with_capacity(ids.len());
    let keys: Vec<_> = ids.iter().map(|id| (created_at(*id).as_millis(), Value::Uuid(Some(id.0)))).collect();
    for chunk in keys.chunks(KEYS_MAX) {
        let mut conditions = Conditions::default();
        add_keys(&mut conditions, "(d.created_ms, d.id)", chunk);
        let found = run(connection, "LEFT JOIN", conditions, "ASC", chunk.len()).await?;
        records.extend(found.into_iter().map(|delivery| delivery.record));
    }
    Ok(records)
}

/// The delivery with this id and all its attempts, the first in front.
pub async fn delivery(
    connection: &impl ConnectionTrait,
    id: DeliveryId,
) -> Result<Option<(Delivery, Vec<AttemptRecord>)>, StoreError> {
    let mut conditions = Conditions::default();
    let key = [big(created_at(id).as_millis()), Value::Uuid(Some(id.0))];
    conditions.add("d.created_ms = $ AND d.id = $", key);
    let Some(delivery) = run(connection, "LEFT JOIN", conditions, "DESC", 1).await?.pop() else { return Ok(None) };
    let sql = "SELECT delivery_id, number, started_ms, duration_us, status, error, response FROM attempts \
               WHERE delivery_id = $1 ORDER BY number";
    let values = [Value::Uuid(Some(id.0))];
    let statement = Statement::from_sql_and_values(connection.get_database_backend(), sql, values);
    let attempts = AttemptRow::find_by_statement(statement).all(connection).await?;
    let attempts: Result<_, StoreError> = attempts.into_iter().map(AttemptRecord::try_from).collect();
    Ok(Some((delivery, attempts?)))
}

/// The event that `source` and `id` identify within `site`, and its deliveries. If the same event was accepted
/// twice, long enough apart not to be recognised, the later one.
pub async fn event(
    connection: &impl ConnectionTrait,
    site: &Slug,
    source: &str,
    id: &str,
) -> Result<Option<ExplainedEvent>, StoreError> {
    let key = EventKey::new(site, source, id);
    let sql =
        format!("SELECT {EVENT_COLUMNS} FROM events WHERE id_hash = $1 AND key = $2 ORDER BY accepted_ms DESC LIMIT 1");
    let values = [Value::Int(Some(id_hash(id))), string(key.as_str())];
    let statement = Statement::from_sql_and_values(connection.get_database_backend(), sql, values);
    let Some(row) = EventRow::find_by_statement(statement).one(connection).await? else { return Ok(None) };
    let event = EventRecord::try_from(row)?;
    let mut conditions = Conditions::default();
    let key = [big(event.accepted_at.as_millis()), string(event.key.as_str())];
    conditions.add("d.created_ms = $ AND d.event_key = $", key);
    let columns = (NAMES_REPEATED, "d.created_ms, d.id");
    let deliveries = run_ordered(connection, "LEFT JOIN", conditions, columns, DELIVERIES_OF_EVENT_MAX).await?;
    Ok(Some(ExplainedEvent { event, deliveries }))
}
