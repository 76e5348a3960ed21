//! Everything accepted in a time, and what became of it (issue 3, "Reconcile"): page by page, and in numbers.
//!
//! The numbers come from two sides that are written by different messages. What was accepted is counted from events and
//! the deliveries that belong to each; what became of it is counted from deliveries alone, and from events that have
//! none. A delivery whose event was never recorded, or an event that lost its record of routing, makes the two differ.
//! What they cannot show by themselves is a delivery that is recorded as waiting and waits nowhere: it stays `waiting`.
//!
//! One statement counts all, so all numbers are of one moment.

use std::collections::HashMap;

use sea_orm::{ConnectionTrait, FromQueryResult, Statement};
use slipstream_core::delivery::{DeliveryState, Reason};
use slipstream_core::ids::{DeliveryId, EventKey, SubscriptionId};
use slipstream_core::slug::Slug;
use slipstream_core::timestamp::Timestamp;
use uuid::Uuid;

use super::batch::EventRecord;
use super::code::Code;
use super::query::{Conditions, big, string};
use super::scheduled::{EVENT_BYTES, events_at};
use crate::entity::Row;
use crate::error::StoreError;
use crate::page::fitting;

/// The most deliveries in one page; a page ends before the event with which there would be more. Of an event that has
/// more by itself, the first so many.
pub const RECONCILED_DELIVERIES_MAX: usize = 10_000;

/// Which events are looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// Accepted at or after this instant.
    pub since: Timestamp,
    /// And before this one.
    pub until: Timestamp,
    /// Of this site; none: of all.
    pub site: Option<Slug>,
}

impl Range {
    /// The condition on `time` and `site` of a table called `name` in the statement.
    fn add_to(&self, conditions: &mut Conditions, name: &str, time: &str) {
        let bounds = [big(self.since.as_millis()), big(self.until.as_millis())];
        conditions.add(&format!("{name}.{time} >= $ AND {name}.{time} < $"), bounds);
        if let Some(site) = &self.site {
            conditions.add(&format!("{name}.site = $"), [string(site.as_str())]);
        }
    }
}

/// Deliveries by what became of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ByState {
    /// Not ended.
    pub waiting: u64,
    /// A receiver took it.
    pub succeeded: u64,
    /// A receiver gave a final answer.
    pub failed: u64,
    /// No attempts were left.
    pub exhausted: u64,
    /// Its `expirytime` passed.
    pub expired: u64,
    /// Somebody, or the end of its subscription, ended it.
    pub cancelled: u64,
}

impl ByState {
    fn add(&mut self, state: DeliveryState, count: u64) {
        *match state {
            DeliveryState::Scheduled | DeliveryState::RetryWait => &mut self.waiting,
            DeliveryState::Succeeded => &mut self.succeeded,
            DeliveryState::Failed => &mut self.failed,
            DeliveryState::Exhausted => &mut self.exhausted,
            DeliveryState::Expired => &mut self.expired,
            DeliveryState::Cancelled => &mut self.cancelled,
        } += count;
    }

    /// All of them.
    pub fn sum(&self) -> u64 {
        self.waiting + self.succeeded + self.failed + self.exhausted + self.expired + self.cancelled
    }
}

/// What a range amounts to. Counted are pairs of an event and a subscription that matches it; an event without one
/// counts once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Events.
    pub events: u64,
    /// What was accepted, counted by event: its deliveries, or 1 if it has none.
    pub accepted: u64,
    /// Events that nobody matched.
    pub unmatched: u64,
    /// What became of the pairs, counted by delivery. An event that is still held is one that waits, one that was
    /// cancelled while it was held is one that was cancelled.
    pub states: ByState,
    /// Deliveries made by replays.
    pub replays: ByState,
}

impl Totals {
    /// Whether both sides of the account come to the same.
    pub fn add_up(&self) -> bool {
        self.accepted == self.states.sum() + self.unmatched
    }
}

// What a row of the totals counts.
const HELD: i16 = 1;
const CANCELLED: i16 = 2;
const UNMATCHED: i16 = 3;
const MATCHED: i16 = 4;
const DELIVERY: i16 = 5;
const REPLAY: i16 = 6;

#[derive(FromQueryResult)]
struct CountRow {
    kind: i16,
    state: i16,
    count: i64,
    pairs: i64,
}

/// Counts what became of everything accepted in `range`.
pub async fn totals(connection: &impl ConnectionTrait, range: &Range) -> Result<Totals, StoreError> {
    let mut of_deliveries = Conditions::default();
    range.add_to(&mut of_deliveries, "d", "created_ms");
    let (deliveries, values) = of_deliveries.into_where();
    let mut of_events = Conditions::after(values);
    range.add_to(&mut of_events, "e", "accepted_ms");
    let (events, values) = of_events.into_where();
    // Grouped before it is joined: then the join is one look-up per event, whatever happened in the same millisecond.
    let sql = format!(
        "WITH made AS (SELECT d.created_ms, d.event_key, d.state, d.replay FROM deliveries d{deliveries}), \
         per_event AS (SELECT created_ms, event_key, COUNT(*) AS pairs FROM made WHERE replay IS NULL \
         GROUP BY created_ms, event_key), \
         ended AS (SELECT COALESCE(p.pairs, 0) AS pairs, \
         CASE WHEN p.pairs IS NOT NULL THEN {MATCHED} WHEN e.cancelled_ms IS NOT NULL THEN {CANCELLED} \
         WHEN e.routed_ms IS NOT NULL THEN {UNMATCHED} ELSE {HELD} END AS kind FROM events e \
         LEFT JOIN per_event p ON p.created_ms = e.accepted_ms AND p.event_key = e.key{events}), \
         counted AS (SELECT kind, 0 AS state, COUNT(*) AS count, SUM(pairs) AS pairs FROM ended GROUP BY kind \
         UNION ALL SELECT CASE WHEN replay IS NULL THEN {DELIVERY} ELSE {REPLAY} END, state, COUNT(*), 0 FROM made \
         GROUP BY 1, 2) \
         SELECT CAST(kind AS SMALLINT) AS kind, CAST(state AS SMALLINT) AS state, \
         CAST(count AS BIGINT) AS count, CAST(pairs AS BIGINT) AS pairs FROM counted"
    );
    let statement = Statement::from_sql_and_values(connection.get_database_backend(), sql, values);
    let mut totals = Totals::default();
    for row in CountRow::find_by_statement(statement).all(connection).await? {
        add(&mut totals, &row)?;
    }
    Ok(totals)
}

fn add(totals: &mut Totals, row: &CountRow) -> Result<(), StoreError> {
    let (count, pairs) = (row.count.unsigned_abs(), row.pairs.unsigned_abs());
    let state = || Row { table: "deliveries", key: "*" }.name("state", DeliveryState::from_code(row.state));
    match row.kind {
        DELIVERY => totals.states.add(state()?, count),
        REPLAY => totals.replays.add(state()?, count),
        of_event => {
            totals.events += count;
            totals.accepted += if of_event == MATCHED { pairs } else { count };
            match of_event {
                HELD => totals.states.waiting += count,
                CANCELLED => totals.states.cancelled += count,
                UNMATCHED => totals.unmatched += count,
                _ => {}
            }
        }
    }
    Ok(())
}

/// An event's place in the order of acceptance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcceptedPlace {
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// Which event.
    pub key: EventKey,
}

/// One delivery of an event, as far as reconciling goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReconciledDelivery {
    /// Which delivery.
    pub id: DeliveryId,
    /// To whom.
    pub subscription: SubscriptionId,
    /// Its state.
    pub state: DeliveryState,
    /// Why, where the state does not say.
    pub reason: Option<Reason>,
}

/// An event with what became of it, for each subscription that matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconciled {
    /// The event.
    pub event: EventRecord,
    /// Its own deliveries, not those of replays.
    pub deliveries: Vec<ReconciledDelivery>,
    /// Whether it has more of them than [`RECONCILED_DELIVERIES_MAX`], and the others are not here.
    pub is_cut: bool,
}

#[derive(FromQueryResult)]
struct ReconciledRow {
    created_ms: i64,
    event_key: String,
    id: Uuid,
    subscription: Uuid,
    state: i16,
    reason: Option<i16>,
}

/// A page of [`reconcile`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReconciledPage {
    /// Events in the order of their acceptance.
    pub items: Vec<Reconciled>,
    /// After which of them the next page begins; none after the last.
    pub next: Option<AcceptedPlace>,
}

/// The events of `range` in the order of their acceptance, at most `limit`, after the place of `after`. Fewer where they
/// have many deliveries, or long texts: a page ends at about 1 MiB of them.
pub async fn reconcile(
    connection: &impl ConnectionTrait,
    range: &Range,
    limit: usize,
    after: Option<AcceptedPlace>,
) -> Result<ReconciledPage, StoreError> {
    let (events, mut more) = events(connection, range, limit, after).await?;
    let mut items: Vec<Reconciled> =
        events.into_iter().map(|event| Reconciled { event, deliveries: Vec::new(), is_cut: false }).collect();
    let found = deliveries(connection, &items).await?;
    // By a map and not by order: how PostgreSQL orders text depends on the database's collation.
    let places: HashMap<_, _> =
        items.iter().enumerate().map(|(at, it)| ((it.event.accepted_at.as_millis(), it.event.key), at)).collect();
    let is_cut = found.len() > RECONCILED_DELIVERIES_MAX;
    let mut last = 0;
    for (number, found) in found.into_iter().enumerate() {
        let key = Row { table: "deliveries", key: &found.event_key }.parse("event_key", &found.event_key)?;
        // None: of the same event accepted at another time within the page.
        let Some(at) = places.get(&(found.created_ms, key)) else { continue };
        if number < RECONCILED_DELIVERIES_MAX {
            last = *at;
            items[last].deliveries.push(found.try_into()?);
        } else {
            items[*at].is_cut = *at == last;
        }
    }
    if is_cut {
        more |= items.len() > last.max(1);
        items.truncate(last.max(1));
    }
    let next = items.last().filter(|_| more);
    let next = next.map(|item| AcceptedPlace { accepted_at: item.event.accepted_at, key: item.event.key });
    Ok(ReconciledPage { items, next })
}

/// An event's key, and how much text it has.
#[derive(FromQueryResult)]
struct PlaceRow {
    accepted_ms: i64,
    key: String,
    bytes: i64,
}

/// The events of a page, and whether there are more.
async fn events(
    connection: &impl ConnectionTrait,
    range: &Range,
    limit: usize,
    after: Option<AcceptedPlace>,
) -> Result<(Vec<EventRecord>, bool), StoreError> {
    let mut conditions = Conditions::default();
    range.add_to(&mut conditions, "events", "accepted_ms");
    if let Some(AcceptedPlace { accepted_at, key }) = after {
        conditions.add("(accepted_ms, key) > ($, $)", [big(accepted_at.as_millis()), string(key.as_str())]);
    }
    let (filter, mut values) = conditions.into_where();
    values.push(big(limit as i64 + 1));
    let sql = format!(
        "SELECT accepted_ms, key, CAST({EVENT_BYTES} AS BIGINT) AS bytes FROM events{filter} \
         ORDER BY accepted_ms, key LIMIT ${}",
        values.len()
    );
    let statement = Statement::from_sql_and_values(connection.get_database_backend(), sql, values);
    let places = PlaceRow::find_by_statement(statement).all(connection).await?;
    let fit = fitting(&places, limit, |place| place.bytes);
    let keys = places[..fit].iter().map(|place| (place.accepted_ms, place.key.as_str()));
    let mut events = events_at(connection, keys, "accepted_ms IS NOT NULL").await?;
    // By place and not by key: how PostgreSQL orders text depends on the database's collation.
    let order: HashMap<_, _> =
        places.iter().enumerate().map(|(at, place)| ((place.accepted_ms, place.key.as_str()), at)).collect();
    events.sort_by_key(|event| order.get(&(event.accepted_at.as_millis(), event.key.as_str())).copied());
    Ok((events, fit < places.len()))
}

/// Deliveries of these events, in the order of the events; one more than [`RECONCILED_DELIVERIES_MAX`] at most.
async fn deliveries(connection: &impl ConnectionTrait, items: &[Reconciled]) -> Result<Vec<ReconciledRow>, StoreError> {
    let (Some(first), Some(last)) = (items.first(), items.last()) else { return Ok(Vec::new()) };
    let mut conditions = Conditions::default();
    let bounds = [big(first.event.accepted_at.as_millis()), big(last.event.accepted_at.as_millis())];
    conditions.add("created_ms >= $ AND created_ms <= $ AND replay IS NULL", bounds);
    // Whatever else was accepted in the first and last millisecond does not fill the page.
    let keys: Vec<_> = items.iter().map(|item| string(item.event.key.as_str())).collect();
    conditions.add(&format!("event_key IN ({})", vec!["$"; keys.len()].join(", ")), keys);
    let (filter, mut values) = conditions.into_where();
    values.push(big(RECONCILED_DELIVERIES_MAX as i64 + 1));
    let sql = format!(
        "SELECT created_ms, event_key, id, subscription, state, reason FROM deliveries{filter} \
         ORDER BY created_ms, event_key, id LIMIT ${}",
        values.len()
    );
    let statement = Statement::from_sql_and_values(connection.get_database_backend(), sql, values);
    Ok(ReconciledRow::find_by_statement(statement).all(connection).await?)
}

impl TryFrom<ReconciledRow> for ReconciledDelivery {
    type Error = StoreError;

    fn try_from(delivery: ReconciledRow) -> Result<Self, StoreError> {
        let key = delivery.id.to_string();
        let row = Row { table: "deliveries", key: &key };
        Ok(Self {
            id: DeliveryId(delivery.id),
            subscription: SubscriptionId(delivery.subscription),
            state: row.name("state", DeliveryState::from_code(delivery.state))?,
            reason: delivery.reason.map(|reason| row.name("reason", Reason::from_code(reason))).transpose()?,
        })
    }
}
