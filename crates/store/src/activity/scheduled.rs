//! Events that wait for their time (issue 3, "Scheduled events"): what SQL knows of them. What really waits is on the bus.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use sea_orm::{ConnectionTrait, FromQueryResult, Statement, Value};
use slipstream_core::ids::{AccountId, EventKey};
use slipstream_core::lane::Visibility;
use slipstream_core::slug::Slug;
use slipstream_core::timestamp::Timestamp;

use super::batch::EventRecord;
use super::code::Code as _;
use super::query::{Conditions, EVENT_COLUMNS, KEYS_MAX, add_keys, big, string};
use super::row::EventRow;
use crate::entity::Row;
use crate::error::StoreError;
use crate::page::{Page, fitting};

/// Which of a site's events that wait are wanted. Every condition that is given must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldFilter {
    /// Of this site.
    pub site: Slug,
    /// Of this type.
    pub event_type: Option<String>,
    /// Only what this account, which is not one of ours, may see: public events, and those it published itself.
    pub visible_to: Option<AccountId>,
    /// Intended to be delivered at or after this instant.
    pub from: Option<Timestamp>,
    /// Intended to be delivered before this instant.
    pub until: Option<Timestamp>,
}

/// A place in the order of coming due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldPlace {
    /// When the event is intended to be delivered.
    pub intended_at: Timestamp,
    /// Which event.
    pub key: EventKey,
}

/// The text is not a place as [`HeldPlace`] prints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a place in a list of scheduled events")]
pub struct NotAPlace;

impl fmt::Display for HeldPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.intended_at.as_millis(), self.key)
    }
}

impl FromStr for HeldPlace {
    type Err = NotAPlace;

    fn from_str(text: &str) -> Result<Self, NotAPlace> {
        let (millis, key) = text.split_once('.').ok_or(NotAPlace)?;
        let intended_at = millis.parse().map(Timestamp::from_millis).map_err(|_| NotAPlace)?;
        Ok(Self { intended_at, key: key.parse().map_err(|_| NotAPlace)? })
    }
}

/// What of a row says that its event waits, word for word as the partial index has it: else neither planner uses it.
const WAITS: &str = "routed_ms IS NULL AND cancelled_ms IS NULL";

/// Where an event stands in the list and in its table, and how much text it has.
#[derive(FromQueryResult)]
struct PlaceRow {
    intended_ms: i64,
    accepted_ms: i64,
    key: String,
    bytes: i64,
}

/// Events that wait, the one that comes due first in front, at most `limit`, after the place of `after`. Fewer where
/// their texts are long: a page ends at about 1 MiB of them.
///
/// The position is a key, so an event that comes due or is recorded meanwhile neither shifts a page nor repeats one; an
/// event that is moved meanwhile may be seen twice, or not at all, as its new time says.
pub async fn held(
    connection: &impl ConnectionTrait,
    filter: &HeldFilter,
    limit: usize,
    after: Option<HeldPlace>,
) -> Result<Page<EventRecord>, StoreError> {
    let (sql, values) = places_sql(filter, limit, after);
    let statement = Statement::from_sql_and_values(connection.get_database_backend(), sql, values);
    let places = PlaceRow::find_by_statement(statement).all(connection).await?;
    let fit = fitting(&places, limit, |place| place.bytes);
    let next = match places.get(..fit).and_then(<[_]>::last) {
        Some(last) if fit < places.len() => {
            let key = Row { table: "events", key: &last.key }.parse("key", &last.key)?;
            Some(HeldPlace { intended_at: Timestamp::from_millis(last.intended_ms), key }.to_string())
        }
        _ => None,
    };
    let keys = places[..fit].iter().map(|place| (place.accepted_ms, place.key.as_str()));
    let mut items = events_at(connection, keys, WAITS).await?;
    // In the order of the places, which is not that of the keys.
    let order: HashMap<_, _> =
        places.iter().enumerate().map(|(at, place)| ((place.accepted_ms, place.key.as_str()), at)).collect();
    items.sort_by_key(|event| order.get(&(event.accepted_at.as_millis(), event.key.as_str())).copied());
    Ok(Page { items, next })
}

/// What finds the places of a page, and one more.
fn places_sql(filter: &HeldFilter, limit: usize, after: Option<HeldPlace>) -> (String, Vec<Value>) {
    let mut conditions = Conditions::default();
    conditions.add(WAITS, []);
    conditions.add("site = $", [string(filter.site.as_str())]);
    // Nothing is held without a time; and only so does the first page begin where the index does.
    conditions.add("intended_ms IS NOT NULL", []);
    if let Some(HeldPlace { intended_at, key }) = after {
        conditions.add("(intended_ms, key) > ($, $)", [big(intended_at.as_millis()), string(key.as_str())]);
    }
    if let Some(from) = filter.from {
        conditions.add("intended_ms >= $", [big(from.as_millis())]);
    }
    if let Some(until) = filter.until {
        conditions.add("intended_ms < $", [big(until.as_millis())]);
    }
    if let Some(event_type) = &filter.event_type {
        conditions.add("type = $", [string(event_type)]);
    }
    if let Some(account) = filter.visible_to {
        let public = Value::SmallInt(Some(Visibility::Public.code()));
        conditions.add("(visibility = $ OR published_by = $)", [public, Value::Uuid(Some(account.0))]);
    }
    let (condition, mut values) = conditions.into_where();
    values.push(big(limit as i64 + 1));
    let sql = format!(
        "SELECT intended_ms, accepted_ms, key, CAST({EVENT_BYTES} AS BIGINT) AS bytes FROM events{condition} \
         ORDER BY intended_ms, key LIMIT ${}",
        values.len()
    );
    (sql, values)
}

/// Bytes of text of an event.
pub(super) const EVENT_BYTES: &str = "octet_length(source) + octet_length(id) + octet_length(type) \
                                      + COALESCE(octet_length(subject), 0) + COALESCE(octet_length(skipped), 0)";

/// The events with these keys of which `condition` holds, in no order that means anything.
pub(super) async fn events_at<'a>(
    connection: &impl ConnectionTrait,
    keys: impl Iterator<Item = (i64, &'a str)>,
    condition: &str,
) -> Result<Vec<EventRecord>, StoreError> {
    let keys: Vec<_> = keys.map(|(accepted_ms, key)| (accepted_ms, string(key))).collect();
    let mut events = Vec::with_capacity(keys.len());
    for chunk in keys.chunks(KEYS_MAX) {
        let mut conditions = Conditions::default();
        conditions.add(condition, []);
        add_keys(&mut conditions, "(accepted_ms, key)", chunk);
        let (condition, values) = conditions.into_where();
        let sql = format!("SELECT {EVENT_COLUMNS} FROM events{condition}");
        let statement = Statement::from_sql_and_values(connection.get_database_backend(), sql, values);
        for row in EventRow::find_by_statement(statement).all(connection).await? {
            events.push(row.try_into()?);
        }
    }
    Ok(events)
}

/// The event of `site` with this key that was to be delivered at a certain time, whether it still waits or not. If it was
/// accepted twice, the later one.
pub async fn scheduled(
    connection: &impl ConnectionTrait,
    site: &Slug,
    key: &EventKey,
) -> Result<Option<EventRecord>, StoreError> {
    let sql = format!(
        "SELECT {EVENT_COLUMNS} FROM events WHERE intended_ms IS NOT NULL AND key = $1 AND site = $2 \
         ORDER BY accepted_ms DESC LIMIT 1"
    );
    let values = [string(key.as_str()), string(site.as_str())];
    let statement = Statement::from_sql_and_values(connection.get_database_backend(), sql, values);
    EventRow::find_by_statement(statement).one(connection).await?.map(EventRecord::try_from).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{DatabaseConfig, Store};

    /// Else a tenant that asks for a type which none of its events has would have them all read.
    #[tokio::test]
    async fn a_list_reads_no_events_of_another_type() {
        let (_directory, url) = slipstream_test_support::sqlite::database();
        let store = Store::connect(&DatabaseConfig { url: url.into(), ..DatabaseConfig::default() }).await.unwrap();
        store.migrate().await.unwrap();
        let key = EventKey::new(&"s8n6EzC".parse().unwrap(), "/letters", "1");
        let after = HeldPlace { intended_at: Timestamp::from_millis(1), key };
        for (event_type, index) in [(Some("a.type".to_owned()), "events_held_type"), (None, "events_held")] {
            let site = "s8n6EzC".parse().unwrap();
            let filter = HeldFilter { site, event_type, visible_to: None, from: None, until: None };
            for after in [None, Some(after)] {
                let (sql, values) = places_sql(&filter, 100, after);
                let backend = store.connection().get_database_backend();
                let explain = Statement::from_sql_and_values(backend, format!("EXPLAIN QUERY PLAN {sql}"), values);
                let plan = store.connection().query_all_raw(explain).await.unwrap();
                let steps: Vec<String> = plan.iter().map(|step| step.try_get("", "detail").unwrap()).collect();
                assert!(steps.len() == 1 && steps[0].contains(&format!("USING INDEX {index} (")), "{steps:?}");
            }
        }
    }

    #[test]
    fn places_survive_text() {
        let key = EventKey::new(&"s8n6EzC".parse().unwrap(), "/letters", "1");
        for millis in [-5, 0, 1_772_443_800_000] {
            let place = HeldPlace { intended_at: Timestamp::from_millis(millis), key };
            assert_eq!(place.to_string().parse(), Ok(place));
        }
        for text in ["", "1", "1.x", "x.y", ".", &format!("1.{key}.")] {
            assert_eq!(text.parse::<HeldPlace>(), Err(NotAPlace), "{text}");
        }
    }
}
