//! Subscriptions of organizations (SPEC 6.5).
//!
//! A subscription is a row, its events and its secrets. Its row is read first: whoever reads while another changes it gets
//! the new parts with the old revision at most, never the other way round, and so knows to look again.

mod changes;

use std::collections::HashMap;

use sea_orm::sea_query::{ExprTrait as _, Query};
use sea_orm::{ColumnTrait as _, ConnectionTrait, DatabaseTransaction, EntityTrait as _, Select};
use sea_orm::{PaginatorTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _};
use slipstream_core::config::{EcgSubscription, PayloadVersion};
use slipstream_core::ids::{EcgEventId, SubscriptionId};
use slipstream_core::timestamp::Timestamp;
use uuid::Uuid;

pub use self::changes::{Applied, Found, create, delete, found, replace};
use super::secrets::{self, Wanted};
use super::{Listed, Slice, Status};
use crate::entity::ecg_subscription::{Column, Entity, Model};
use crate::entity::{Row, ecg_subscription_event as event};
use crate::error::StoreError;

/// How many subscriptions are looked up by their ids in one statement.
const IDS_MAX: usize = 1000;

/// Which subscriptions. What is none restricts nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Filter {
    /// By their flags.
    pub status: Status,
    /// With payloads of this version.
    pub version: Option<PayloadVersion>,
    /// For this event among others.
    pub event: Option<EcgEventId>,
}

/// The subscription with this id, deleted or not, with the secrets that its record holds.
pub async fn get_any(
    connection: &impl ConnectionTrait,
    id: SubscriptionId,
) -> Result<Option<EcgSubscription>, StoreError> {
    let row = Entity::find_by_id(id.to_string()).one(connection).await?;
    one(connection, row, Wanted::Known).await
}

/// The subscription of `organization` with this id, with its current secret. None if it is deleted.
pub async fn get(
    connection: &impl ConnectionTrait,
    organization: Uuid,
    id: SubscriptionId,
) -> Result<Option<EcgSubscription>, StoreError> {
    let row = of(organization).filter(Column::Id.eq(id.to_string())).one(connection).await?;
    one(connection, row, Wanted::Current).await
}

/// As [`get`], to be changed in this transaction: nobody else changes it, its events or its secrets until that ends.
///
/// On PostgreSQL the row is locked; on SQLite the transaction itself is the lock ([`crate::Store::begin`]).
pub async fn lock(
    transaction: &DatabaseTransaction,
    organization: Uuid,
    id: SubscriptionId,
) -> Result<Option<EcgSubscription>, StoreError> {
    let row = of(organization).filter(Column::Id.eq(id.to_string())).lock_exclusive().one(transaction).await?;
    one(transaction, row, Wanted::Current).await
}

/// Every subscription, the deleted ones among them, with the secrets that their records hold.
pub async fn all(connection: &impl ConnectionTrait) -> Result<Vec<EcgSubscription>, StoreError> {
    let rows = Entity::find().all(connection).await?;
    let (mut events, mut secrets) =
        (events_of(connection, None).await?, secrets::by_subscription(connection, None, Wanted::Known).await?);
    let with = |row: Model| {
        let (events, secrets) = (events.remove(&row.id), secrets.remove(&row.id));
        row.with(events.unwrap_or_default(), secrets.unwrap_or_default())
    };
    rows.into_iter().map(with).collect()
}

/// A part of the list of an organization's subscriptions, by their last change, each with its current secret.
pub async fn page(
    connection: &impl ConnectionTrait,
    organization: Uuid,
    filter: Filter,
    slice: Slice,
) -> Result<Listed<EcgSubscription>, StoreError> {
    let mut there = of(organization).filter(filter.status.condition(Column::Active, Column::Archived));
    if let Some(version) = filter.version {
        there = there.filter(Column::Version.eq(version.as_str()));
    }
    if let Some(event) = filter.event {
        there = for_events(there, &[event]);
    }
    let total = there.clone().count(connection).await?;
    let rows = there
        .order_by(Column::UpdatedAtMs, slice.order.into())
        .order_by(Column::Id, slice.order.into())
        .offset(slice.offset)
        .limit(slice.limit)
        .all(connection)
        .await?;
    Ok(Listed { items: with_parts(connection, rows, Some(Wanted::Current)).await?, total })
}

/// The subscriptions of every organization that are switched on, not put away, and for one of `events`, by their last change,
/// the newest first. Without their secrets.
pub async fn on_for(
    connection: &impl ConnectionTrait,
    events: &[EcgEventId],
) -> Result<Vec<EcgSubscription>, StoreError> {
    let there = Entity::find()
        .filter(Column::DeletedAtMs.is_null())
        .filter(Status::Active.condition(Column::Active, Column::Archived))
        .order_by_desc(Column::UpdatedAtMs)
        .order_by_desc(Column::Id);
    let rows = for_events(there, events).all(connection).await?;
    with_parts(connection, rows, None).await
}

/// How many subscriptions that are not deleted are for this event.
pub async fn count_of_event(connection: &impl ConnectionTrait, event: EcgEventId) -> Result<u64, StoreError> {
    let there = Entity::find().filter(Column::DeletedAtMs.is_null());
    Ok(for_events(there, &[event]).count(connection).await?)
}

/// How many subscriptions an organization has, those among them that were deleted after `since`: whoever makes and deletes
/// without end leaves tombstones, and has no more of them than of the others.
pub async fn count_of(
    connection: &impl ConnectionTrait,
    organization: Uuid,
    since: Timestamp,
) -> Result<u64, StoreError> {
    let is_counted = Column::DeletedAtMs.is_null().or(Column::DeletedAtMs.gt(since.as_millis()));
    let there = Entity::find().filter(Column::Organization.eq(organization.to_string())).filter(is_counted);
    Ok(there.count(connection).await?)
}

/// Those of an organization that are not deleted.
fn of(organization: Uuid) -> Select<Entity> {
    Entity::find().filter(Column::Organization.eq(organization.to_string())).filter(Column::DeletedAtMs.is_null())
}

/// Those of `there` that are for one of `events`.
fn for_events(there: Select<Entity>, events: &[EcgEventId]) -> Select<Entity> {
    let subscribed = Query::select()
        .column(event::Column::Subscription)
        .from(event::Entity)
        .and_where(event::Column::Event.is_in(events.iter().map(ToString::to_string)))
        .take();
    there.filter(Column::Id.in_subquery(subscribed))
}

async fn one(
    connection: &impl ConnectionTrait,
    row: Option<Model>,
    wanted: Wanted,
) -> Result<Option<EcgSubscription>, StoreError> {
    let rows = row.into_iter().collect();
    Ok(with_parts(connection, rows, Some(wanted)).await?.into_iter().next())
}

/// The subscriptions of these rows, in their order, with their events and the secrets that are wanted.
async fn with_parts(
    connection: &impl ConnectionTrait,
    rows: Vec<Model>,
    wanted: Option<Wanted>,
) -> Result<Vec<EcgSubscription>, StoreError> {
    let ids: Vec<_> = rows.iter().map(|row| row.id.clone()).collect();
    let (mut events, mut secrets) = (HashMap::new(), HashMap::new());
    for ids in ids.chunks(IDS_MAX) {
        events.extend(events_of(connection, Some(ids)).await?);
        if let Some(wanted) = wanted {
            secrets.extend(secrets::by_subscription(connection, Some(ids), wanted).await?);
        }
    }
    let with = |row: Model| {
        let (events, secrets) = (events.remove(&row.id), secrets.remove(&row.id));
        row.with(events.unwrap_or_default(), secrets.unwrap_or_default())
    };
    rows.into_iter().map(with).collect()
}

/// The events of the subscriptions called `ids`, or of all, each in its order.
async fn events_of(
    connection: &impl ConnectionTrait,
    ids: Option<&[String]>,
) -> Result<HashMap<String, Vec<EcgEventId>>, StoreError> {
    let mut query = event::Entity::find().order_by_asc(event::Column::Position);
    if let Some(ids) = ids {
        query = query.filter(event::Column::Subscription.is_in(ids.iter().map(String::as_str)));
    }
    let mut events: HashMap<String, Vec<EcgEventId>> = HashMap::new();
    for event::Model { subscription, event, .. } in query.all(connection).await? {
        let row = Row { table: "ecg_subscription_events", key: &subscription };
        let event = row.parse("event", &event)?;
        events.entry(subscription).or_default().push(event);
    }
    Ok(events)
}
