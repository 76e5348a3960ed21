//! Rows as they stand in SQL, and how they are read back.

use sea_orm::FromQueryResult;
use slipstream_core::answer::ErrorCode;
use slipstream_core::config::Surface;
use slipstream_core::delivery::DeliveryState;
use slipstream_core::ids::{AccountId, DeliveryId, ReplayId, SubscriptionId};
use slipstream_core::lane::{Lane, Visibility};
use slipstream_core::timestamp::Timestamp;
use uuid::Uuid;

use super::batch::{AttemptRecord, DeliveryRecord, EventRecord};
use super::code::Code;
use super::query::{Delivery, EventName};
use crate::entity::Row;
use crate::error::StoreError;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// The member of a closed set whose number stands in `column`.
fn member<C: Code>(row: Row<'_>, column: &'static str, code: i16) -> Result<C, StoreError> {
    row.name(column, C::from_code(code))
}

#[derive(FromQueryResult)]
pub(super) struct EventRow {
    accepted_ms: i64,
    key: String,
    site: String,
    source: String,
    id: String,
    r#type: String,
    subject: Option<String>,
    visibility: i16,
    lane: i16,
    intended_ms: Option<i64>,
    expires_ms: Option<i64>,
    routed_ms: Option<i64>,
    skipped: Option<String>,
    sequence: Option<i64>,
    content_hash: Option<i64>,
    changed_ms: Option<i64>,
    cancelled_ms: Option<i64>,
    published_by: Option<Uuid>,
}

impl TryFrom<EventRow> for EventRecord {
    type Error = StoreError;

    fn try_from(event: EventRow) -> Result<Self, StoreError> {
        let row = Row { table: "events", key: &event.key };
        Ok(Self {
            accepted_at: at(event.accepted_ms),
            key: row.parse("key", &event.key)?,
            site: row.parse("site", &event.site)?,
            visibility: member::<Visibility>(row, "visibility", event.visibility)?,
            lane: member::<Lane>(row, "lane", event.lane)?,
            intended_at: event.intended_ms.map(at),
            expires_at: event.expires_ms.map(at),
            published_by: event.published_by.map(AccountId),
            routed_at: event.routed_ms.map(at),
            changed_at: event.changed_ms.map(at),
            cancelled_at: event.cancelled_ms.map(at),
            sequence: event.sequence.map(i64::cast_unsigned),
            content_hash: event.content_hash,
            skipped: event.skipped.map_or(Ok(Vec::new()), |text| row.json("skipped", &text))?,
            source: event.source,
            id: event.id,
            event_type: event.r#type,
            subject: event.subject,
        })
    }
}

/// A delivery joined with its event and the number of its attempts.
#[derive(FromQueryResult)]
pub(super) struct DeliveryRow {
    id: Uuid,
    site: String,
    event_key: String,
    subscription: Uuid,
    surface: i16,
    lane: i16,
    state: i16,
    reason: Option<i16>,
    next_attempt_ms: Option<i64>,
    updated_ms: i64,
    replay: Option<Uuid>,
    source: Option<String>,
    event_id: Option<String>,
    r#type: Option<String>,
    attempts: i64,
}

impl TryFrom<DeliveryRow> for Delivery {
    type Error = StoreError;

    fn try_from(delivery: DeliveryRow) -> Result<Self, StoreError> {
        let key = delivery.id.to_string();
        let row = Row { table: "deliveries", key: &key };
        let record = DeliveryRecord {
            id: DeliveryId(delivery.id),
            site: row.parse("site", &delivery.site)?,
            event_key: row.parse("event_key", &delivery.event_key)?,
            subscription: SubscriptionId(delivery.subscription),
            surface: member::<Surface>(row, "surface", delivery.surface)?,
            lane: member::<Lane>(row, "lane", delivery.lane)?,
            state: member::<DeliveryState>(row, "state", delivery.state)?,
            reason: delivery.reason.map(|reason| member(row, "reason", reason)).transpose()?,
            next_attempt_at: delivery.next_attempt_ms.map(at),
            updated_at: at(delivery.updated_ms),
            replay: delivery.replay.map(ReplayId),
        };
        let event = match (delivery.source, delivery.event_id, delivery.r#type) {
            (Some(source), Some(id), Some(event_type)) => Some(EventName { source, id, event_type }),
            _ => None,
        };
        Ok(Self { record, event, attempt_count: delivery.attempts as u64 })
    }
}

#[derive(FromQueryResult)]
pub(super) struct AttemptRow {
    delivery_id: Uuid,
    number: i32,
    started_ms: i64,
    duration_us: i64,
    status: Option<i16>,
    error: Option<i16>,
    response: Option<Vec<u8>>,
}

impl TryFrom<AttemptRow> for AttemptRecord {
    type Error = StoreError;

    fn try_from(attempt: AttemptRow) -> Result<Self, StoreError> {
        let key = attempt.delivery_id.to_string();
        let row = Row { table: "attempts", key: &key };
        Ok(Self {
            delivery: DeliveryId(attempt.delivery_id),
            number: attempt.number.unsigned_abs(),
            started_at: at(attempt.started_ms),
            duration_us: attempt.duration_us.unsigned_abs(),
            status: attempt.status.map(i16::unsigned_abs),
            error: attempt.error.map(|error| member::<ErrorCode>(row, "error", error)).transpose()?,
            response: attempt.response,
        })
    }
}
