//! The bridge: a public event becomes posts to the ECG subscriptions of the organization that its site is linked to, if it
//! is linked to one (SPEC 6.8, "Bridge").

use serde::Deserialize;
use serde_json::value::RawValue;
use slipstream_bus::{Outgoing, subject};
use slipstream_core::config::Surface;
use slipstream_core::contract::{EcgPost, EcgPosted, Matched, PostKind};
use slipstream_core::ecg::{self, PayloadParts, canonical};
use slipstream_core::ids::{ActivityId, DeliveryId, SubscriptionId};
use slipstream_core::lane::Visibility;
use slipstream_core::trace::TraceContext;
use slipstream_service::directory::{Bridged, Snapshot};
use uuid::Uuid;

use super::{Event, delivery_meta};

/// Bytes of posts that are published together, roughly: what is made of an event for all its receivers could be more than
/// the memory holds.
const CHUNK_BYTES: usize = 8 << 20;

/// The posts that an event becomes.
pub(super) struct Posts<'a> {
    event: &'a Event<'a>,
    organization: Uuid,
    receivers: &'a [Bridged],
    data: Box<RawValue>,
    /// The event itself: what led to the post.
    whole: Box<RawValue>,
}

/// Some of them: what to deliver, and what to tell the activity log.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub(super) deliveries: Vec<Outgoing>,
    pub(super) records: Vec<Outgoing>,
}

impl<'a> Posts<'a> {
    /// The posts of `event`; none unless it is public and its site is linked.
    pub(super) fn of(event: &'a Event<'_>, snapshot: &'a Snapshot) -> Option<Self> {
        if event.visibility != Visibility::Public {
            return None;
        }
        let organization = snapshot.site(&event.site).and_then(|site| site.ecg_organization)?;
        let receivers = snapshot.ecg().bridged(organization, &event.envelope.event_type);
        if receivers.is_empty() {
            return None;
        }
        let (data, whole) = read(&event.message.payload)?;
        Some(Self { event, organization, receivers, data, whole })
    }

    /// Who gets them.
    pub(super) fn matched(&self) -> impl Iterator<Item = Matched> {
        self.receivers.iter().map(|Bridged { subscription, .. }| Matched {
            delivery: self.delivery(subscription.id),
            subscription: subscription.id,
            surface: Surface::Ecg,
        })
    }

    /// The messages, some at a time.
    pub(super) fn chunks(&self, trace: Option<TraceContext>) -> impl Iterator<Item = Chunk> {
        // Its data twice, and itself.
        let bytes = 3 * self.whole.get().len() + 1024;
        self.receivers.chunks((CHUNK_BYTES / bytes).max(1)).map(move |receivers| {
            let mut chunk = Chunk::default();
            for receiver in receivers {
                let (delivery, record) = self.post(receiver);
                chunk.deliveries.push(delivery.trace(trace));
                chunk.records.push(record);
            }
            chunk
        })
    }

    fn delivery(&self, subscription: SubscriptionId) -> DeliveryId {
        DeliveryId::derive(self.event.meta.accepted_at, subscription, &self.event.key)
    }

    fn post(&self, Bridged { subscription, event: of }: &Bridged) -> (Outgoing, Outgoing) {
        let Self { event, organization, data, whole, .. } = self;
        let accepted_at = event.meta.accepted_at;
        let delivery = self.delivery(subscription.id);
        // Not before its first secret: a hash of that time would be nobody's.
        let made_at = subscription.secrets.last().map_or(accepted_at, |first| accepted_at.max(first.valid_from));
        let parts = PayloadParts {
            root: ActivityId::of_attempt(delivery, 1),
            organization: *organization,
            subscription: subscription.id,
            event_type: &of.code,
            at: made_at,
            data,
        };
        let post = EcgPost {
            kind: PostKind::Event,
            event: Some(of.id),
            code: of.code.clone(),
            created_at: made_at,
            payload: ecg::payload(subscription.version, parts),
        };
        let body = serde_json::to_vec(&post).expect("ids, times and JSON serialise");
        let record = EcgPosted {
            delivery,
            key: event.key,
            site: event.site.clone(),
            lane: event.lane,
            organization: *organization,
            made_by: None,
            post,
            raw_message: whole.clone(),
        };
        let record = serde_json::to_vec(&record).expect("ids, times and JSON serialise");
        let delivery_message = Outgoing::new(subject::delivery(event.lane, subscription.id, &event.key), body.into());
        let record = Outgoing::new(subject::post(subscription.id), record.into()).id(&format!("post.{delivery}"));
        (delivery_message.id(&delivery.to_string()).meta(&delivery_meta(event.meta)), record)
    }
}

/// The event's `data`, and the whole of it, both in canonical form. Binary data stay in Base64, as a string.
fn read(stored: &[u8]) -> Option<(Box<RawValue>, Box<RawValue>)> {
    #[derive(Deserialize)]
    struct Data<'a> {
        #[serde(borrow)]
        data: Option<&'a RawValue>,
        #[serde(borrow)]
        data_base64: Option<&'a RawValue>,
    }
    let Data { data, data_base64 } = serde_json::from_slice(stored).ok()?;
    let data = data.or(data_base64).map_or_else(|| Ok(RawValue::NULL.to_owned()), canonical).ok()?;
    let whole: &RawValue = serde_json::from_slice(stored).ok()?;
    Some((data, canonical(whole).ok()?))
}
