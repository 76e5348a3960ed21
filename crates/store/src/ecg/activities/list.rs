//! Lists: pages by place and by number, and how many there are.
//!
//! The ids of a page come from an index alone, which has them in order, and then the rows of these. Where a page begins that
//! comes after many others is counted: by the table of counts up to ten minutes, and within these from whichever end is nearer.

use std::collections::HashMap;
use std::fmt::Write as _;

use sea_orm::{ConnectionTrait, FromQueryResult, Statement, Value};
use slipstream_core::ids::ActivityId;
use uuid::Uuid;

use super::contents::activities;
use super::counts::{BUCKET_MS, List, kind};
use super::row::{ActivityRow, rows};
use super::{Activity, Cursor, Filter};
use crate::activity::query::{Conditions, big, of_ids};
use crate::ecg::Order;
use crate::error::StoreError;

/// Pages that begin after more activities than this are looked for by the counts.
const NEAR: u64 = 1000;

/// How many activities a list has. Exact: counted with each change.
///
/// # Errors
/// As any question to the database.
pub async fn count(connection: &impl ConnectionTrait, filter: &Filter) -> Result<u64, StoreError> {
    #[derive(FromQueryResult)]
    struct Counted {
        total: Option<i64>,
    }
    // No event has this id, and in the table it stands for all of them.
    if filter.event.is_some_and(|event| event.0.is_nil()) {
        return Ok(0);
    }
    let sql = "SELECT CAST(SUM(total) AS BIGINT) AS total FROM ecg_activity_counts \
               WHERE subscription = $1 AND kind = $2 AND event = $3 AND success = $4";
    let values = List::of(filter).values();
    let statement = Statement::from_sql_and_values(connection.get_database_backend(), sql, values);
    let counted = Counted::find_by_statement(statement).one(connection).await?;
    Ok(counted.and_then(|counted| counted.total).unwrap_or_default().max(0).unsigned_abs())
}

/// Activities of a list, by when they were posted, else made, and then by id: at most `limit`, behind the one at `after` if
/// that is given, else behind the first `offset`. Also where the next page begins, if there is one.
///
/// Pages by `after` neither repeat nor leave out an activity that stays where it is, whatever is made meanwhile; it moves
/// when it is posted.
///
/// # Errors
/// As any question to the database.
pub async fn page(
    connection: &impl ConnectionTrait,
    filter: &Filter,
    order: Order,
    offset: u64,
    limit: u64,
    after: Option<Cursor>,
) -> Result<(Vec<Activity>, Option<Cursor>), StoreError> {
    let (page, next) = weigh(connection, filter, order, offset, limit, after).await?;
    let ids: Vec<_> = page.iter().map(|it| it.id).collect();
    Ok((read(connection, &ids).await?, next))
}

/// An activity of a page, and how long its texts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weighed {
    /// The activity.
    pub id: ActivityId,
    /// Bytes of its payload, of what led to it, and of what it was answered.
    pub bytes: u64,
}

/// The activities of a [`page`], not read yet: a page may be more than its reader wants to hold at once.
///
/// # Errors
/// As any question to the database.
pub async fn weigh(
    connection: &impl ConnectionTrait,
    filter: &Filter,
    order: Order,
    offset: u64,
    limit: u64,
    after: Option<Cursor>,
) -> Result<(Vec<Weighed>, Option<Cursor>), StoreError> {
    let begin = match after {
        Some(cursor) => Begin { start: Start::After(cursor), skip: 0 },
        None if offset <= NEAR => Begin { start: Start::End, skip: offset },
        None => match begin(connection, filter, order, offset).await? {
            Some(begin) => begin,
            None => return Ok((Vec::new(), None)),
        },
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut found = places(connection, filter, order, begin, limit.saturating_add(1)).await?;
    let is_more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| is_more).map(Place::cursor);
    let ids: Vec<_> = found.iter().map(|place| place.id).collect();
    let bytes = bytes(connection, &ids).await?;
    let weighed = ids.iter().filter_map(|id| Some(Weighed { id: ActivityId(*id), bytes: *bytes.get(id)? })).collect();
    Ok((weighed, next))
}

/// How long the texts of activities are.
async fn bytes(connection: &impl ConnectionTrait, ids: &[Uuid]) -> Result<HashMap<Uuid, u64>, StoreError> {
    #[derive(FromQueryResult)]
    struct Found {
        id: Uuid,
        bytes: i64,
    }
    let mut bytes = HashMap::with_capacity(ids.len());
    for (places, values) in of_ids(ids) {
        let sql = format!(
            "SELECT a.id AS id, CAST(octet_length(c.payload) + octet_length(c.raw_message) \
             + COALESCE(octet_length(a.raw_response), 0) AS BIGINT) AS bytes \
             FROM ecg_activities a JOIN ecg_contents c ON c.id = a.content WHERE a.id IN ({places})"
        );
        let statement = Statement::from_sql_and_values(connection.get_database_backend(), sql, values);
        let found = Found::find_by_statement(statement).all(connection).await?;
        bytes.extend(found.into_iter().map(|it| (it.id, it.bytes.unsigned_abs())));
    }
    Ok(bytes)
}

/// Where a page begins.
#[derive(Debug, Clone, Copy)]
struct Begin {
    start: Start,
    /// So many activities behind that.
    skip: u64,
}

#[derive(Debug, Clone, Copy)]
enum Start {
    /// At the first of all.
    End,
    /// Behind this one.
    After(Cursor),
    /// With this one.
    At(Cursor),
    /// With the first that is posted at this instant, or, as the list goes, behind it.
    Instant(i64),
}

/// An activity as the index has it.
#[derive(Debug, Clone, Copy, FromQueryResult)]
struct Place {
    sort_ms: i64,
    id: Uuid,
}

impl Place {
    const fn cursor(&self) -> Cursor {
        Cursor { sort_ms: self.sort_ms, id: ActivityId(self.id) }
    }
}

/// Where the page begins that is behind `offset` activities; none if there are no more than that.
async fn begin(
    connection: &impl ConnectionTrait,
    filter: &Filter,
    order: Order,
    offset: u64,
) -> Result<Option<Begin>, StoreError> {
    #[derive(FromQueryResult)]
    struct Found {
        bucket_ms: i64,
        total: i64,
        passed: i64,
    }
    let (direction, backend) = (direction(order), connection.get_database_backend());
    let sql = format!(
        "SELECT bucket_ms, total, passed FROM (SELECT bucket_ms, total, \
         CAST(SUM(total) OVER (ORDER BY bucket_ms {direction}) AS BIGINT) - total AS passed FROM ecg_activity_counts \
         WHERE subscription = $1 AND kind = $2 AND event = $3 AND success = $4 AND total > 0) counted \
         WHERE passed <= $5 AND passed + total > $5"
    );
    let offset = i64::try_from(offset).unwrap_or(i64::MAX);
    let values = List::of(filter).values().into_iter().chain([big(offset)]);
    let statement = Statement::from_sql_and_values(backend, sql, values);
    let Some(found) = Found::find_by_statement(statement).one(connection).await? else { return Ok(None) };
    let skip = offset - found.passed;
    let (oldest, newest) = (found.bucket_ms, found.bucket_ms + BUCKET_MS - 1);
    let (near, far) = if order == Order::Asc { (oldest, newest) } else { (newest, oldest) };
    let behind = found.total - skip - 1;
    if skip <= behind {
        return Ok(Some(Begin { start: Start::Instant(near), skip: skip.unsigned_abs() }));
    }
    // From the other end, the first of the page is this one.
    let other = Begin { start: Start::Instant(far), skip: behind.unsigned_abs() };
    let reversed = if order == Order::Asc { Order::Desc } else { Order::Asc };
    let first = places(connection, filter, reversed, other, 1).await?;
    Ok(first.first().map(|place| Begin { start: Start::At(place.cursor()), skip: 0 }))
}

const fn direction(order: Order) -> &'static str {
    match order {
        Order::Asc => "ASC",
        Order::Desc => "DESC",
    }
}

/// The places of at most `limit` activities from there on. No row is touched.
async fn places(
    connection: &impl ConnectionTrait,
    filter: &Filter,
    order: Order,
    begin: Begin,
    limit: usize,
) -> Result<Vec<Place>, StoreError> {
    let mut conditions = Conditions::default();
    let small = |number| Value::SmallInt(Some(number));
    conditions.add("subscription = $ AND kind = $", [Value::Uuid(Some(filter.subscription.0)), small(kind(filter))]);
    if let Some(event) = filter.event {
        conditions.add("event = $", [Value::Uuid(Some(event.0))]);
    }
    if let Some(success) = filter.success {
        // As the partial index has it, word for word.
        conditions.add("success = $ AND success IS NOT NULL", [small(i16::from(success))]);
    }
    let sign = if order == Order::Asc { ">" } else { "<" };
    let key = |cursor: Cursor| [big(cursor.sort_ms), Value::Uuid(Some(cursor.id.0))];
    match begin.start {
        Start::End => {}
        Start::After(cursor) => conditions.add(&format!("(sort_ms, id) {sign} ($, $)"), key(cursor)),
        Start::At(cursor) => conditions.add(&format!("(sort_ms, id) {sign}= ($, $)"), key(cursor)),
        Start::Instant(millis) => conditions.add(&format!("sort_ms {sign}= $"), [big(millis)]),
    }
    let (condition, mut values) = conditions.into_where();
    let direction = direction(order);
    let mut sql = format!(
        "SELECT sort_ms, id FROM ecg_activities{condition} ORDER BY sort_ms {direction}, id {direction} LIMIT ${}",
        values.len() + 1
    );
    values.push(big(i64::try_from(limit).unwrap_or(i64::MAX)));
    if begin.skip > 0 {
        values.push(big(begin.skip.cast_signed()));
        write!(sql, " OFFSET ${}", values.len()).expect("a String takes all that is written to it");
    }
    let statement = Statement::from_sql_and_values(connection.get_database_backend(), sql, values);
    Ok(Place::find_by_statement(statement).all(connection).await?)
}

/// These activities, in their order; those that are gone are left out.
///
/// # Errors
/// As any question to the database.
pub async fn read(connection: &impl ConnectionTrait, ids: &[ActivityId]) -> Result<Vec<Activity>, StoreError> {
    let ids: Vec<_> = ids.iter().map(|id| id.0).collect();
    let mut found: HashMap<Uuid, ActivityRow> = HashMap::with_capacity(ids.len());
    for (places, values) in of_ids(&ids) {
        let read = rows(connection, &format!(" WHERE id IN ({places})"), values).await?;
        found.extend(read.into_iter().map(|row| (row.id, row)));
    }
    let in_order = ids.iter().filter_map(|id| found.remove(id)).collect();
    activities(connection, in_order).await
}
