//! A scheduled event as its site sees it: everything but `data`.

use serde::Serialize;
use slipstream_core::ids::EventKey;
use slipstream_core::lane::Visibility;
use slipstream_core::timestamp::Timestamp;
use slipstream_store::Page;
use slipstream_store::activity::EventRecord;
use utoipa::ToSchema;

/// A page of events. `next` is null on the last one.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ScheduledPage {
    items: Vec<ScheduledView>,
    #[schema(required)]
    next: Option<String>,
}

impl From<Page<EventRecord>> for ScheduledPage {
    fn from(page: Page<EventRecord>) -> Self {
        Self { items: page.items.into_iter().map(ScheduledView::from).collect(), next: page.next }
    }
}

/// An event that waits.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ScheduledEvent)]
pub(super) struct ScheduledView {
    key: EventKey,
    source: String,
    id: String,
    r#type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    /// As the attribute: 0 normal, 1 high, 2 realtime.
    priority: i32,
    visibility: &'static str,
    accepted_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    intended_delivery_time: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiry_time: Option<Timestamp>,
    /// When these two were last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    changed_at: Option<Timestamp>,
}

impl From<EventRecord> for ScheduledView {
    fn from(event: EventRecord) -> Self {
        Self {
            key: event.key,
            source: event.source,
            id: event.id,
            r#type: event.event_type,
            subject: event.subject,
            priority: event.lane.priority(),
            visibility: visibility(event.visibility),
            accepted_at: event.accepted_at,
            intended_delivery_time: event.intended_at,
            expiry_time: event.expires_at,
            changed_at: event.changed_at,
        }
    }
}

/// The name of a visibility in the publishing API (SPEC 5.2).
const fn visibility(visibility: Visibility) -> &'static str {
    match visibility {
        Visibility::Internal => "Internal",
        Visibility::Public => "Public",
        Visibility::WorkQueue => "WorkQueue",
        Visibility::Private => "Private",
    }
}
