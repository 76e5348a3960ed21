//! Deliveries and attempts as the API shows them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use slipstream_core::answer::ErrorCode;
use slipstream_core::config::Surface;
use slipstream_core::delivery::{DeliveryState, Reason};
use slipstream_core::ids::{DeliveryId, EventKey, ReplayId, SubscriptionId};
use slipstream_core::lane::Lane;
use slipstream_core::slug::Slug;
use slipstream_core::timestamp::Timestamp;
use slipstream_store::Page;
use slipstream_store::activity::{AttemptRecord, Delivery};
use utoipa::ToSchema;

/// A page of deliveries. `next` is null on the last one.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeliveryPage {
    items: Vec<DeliveryView>,
    #[schema(required)]
    next: Option<String>,
}

impl From<Page<Delivery>> for DeliveryPage {
    fn from(page: Page<Delivery>) -> Self {
        Self { items: page.items.into_iter().map(DeliveryView::from).collect(), next: page.next }
    }
}

/// A delivery. What its event says is missing while only outcomes have been recorded.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Delivery)]
pub(super) struct DeliveryView {
    id: DeliveryId,
    /// What receivers know it by: a replay's is that of the delivery it repeats (SPEC 4.1).
    webhook_id: String,
    /// By which replay it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    replay: Option<ReplayId>,
    /// The event's own delivery, which that repeats.
    #[serde(skip_serializing_if = "Option::is_none")]
    replay_of: Option<DeliveryId>,
    site: Slug,
    event_key: EventKey,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<String>,
    subscription: SubscriptionId,
    surface: Surface,
    lane: Lane,
    state: DeliveryState,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    attempt_count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_attempt_at: Option<Timestamp>,
    /// When the event was accepted.
    created_at: Timestamp,
    /// When the delivery came into its state.
    updated_at: Timestamp,
}

impl From<Delivery> for DeliveryView {
    fn from(delivery: Delivery) -> Self {
        let Delivery { record, event, attempt_count } = delivery;
        let (source, event_id, event_type) =
            event.map_or((None, None, None), |event| (Some(event.source), Some(event.id), Some(event.event_type)));
        let first = DeliveryId::derive(record.created_at(), record.subscription, &record.event_key);
        Self {
            id: record.id,
            webhook_id: first.webhook_id(),
            replay: record.replay,
            replay_of: record.replay.map(|_| first),
            created_at: record.created_at(),
            site: record.site,
            event_key: record.event_key,
            source,
            event_id,
            r#type: event_type,
            subscription: record.subscription,
            surface: record.surface,
            lane: record.lane,
            state: record.state,
            reason: record.reason,
            attempt_count,
            next_attempt_at: record.next_attempt_at,
            updated_at: record.updated_at,
        }
    }
}

/// A delivery with all its attempts, the first in front.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeliveryDetail {
    #[serde(flatten)]
    delivery: DeliveryView,
    attempts: Vec<AttemptView>,
}

impl DeliveryDetail {
    pub(super) fn new(delivery: Delivery, attempts: Vec<AttemptRecord>) -> Self {
        Self { delivery: delivery.into(), attempts: attempts.into_iter().map(AttemptView::from).collect() }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Attempt)]
struct AttemptView {
    number: u32,
    started_at: Timestamp,
    duration_us: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorCode>,
    /// The first bytes of the answer, if they are text.
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<String>,
    /// The same in Base64, if they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    response_base64: Option<String>,
}

impl From<AttemptRecord> for AttemptView {
    fn from(attempt: AttemptRecord) -> Self {
        let (response, response_base64) = match attempt.response.map(String::from_utf8) {
            None => (None, None),
            Some(Ok(text)) => (Some(text), None),
            Some(Err(bytes)) => (None, Some(STANDARD.encode(bytes.as_bytes()))),
        };
        Self {
            number: attempt.number,
            started_at: attempt.started_at,
            duration_us: attempt.duration_us,
            status: attempt.status,
            error: attempt.error,
            response,
            response_base64,
        }
    }
}
