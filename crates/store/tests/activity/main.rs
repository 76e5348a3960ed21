//! One suite of statements about what happened and how it is found again, run over SQLite and over PostgreSQL.

#[path = "../support/backends.rs"]
mod backends;
mod counting;
mod failing;
mod long;
mod posts;
mod reconciling;
mod records;
mod removed;
mod waiting;

use slipstream_core::config::Surface;
use slipstream_core::contract::Skipped;
use slipstream_core::delivery::DeliveryState;
use slipstream_core::ids::{DeliveryId, EventKey, SubscriptionId};
use slipstream_core::lane::{Lane, Visibility};
use slipstream_core::matching::SkipReason;
use slipstream_core::slug::Slug;
use slipstream_core::timestamp::Timestamp;
use slipstream_store::Store;
use slipstream_store::activity::{AttemptRecord, Batch, DeliveryRecord, EventRecord, record};
use uuid::Uuid;

pub(crate) use self::backends::on_both_backends;

pub(crate) const NOW: i64 = 1_772_443_800_000;

pub(crate) fn at(offset: i64) -> Timestamp {
    Timestamp::from_millis(NOW + offset)
}

pub(crate) fn site() -> Slug {
    "s8n6EzC".parse().unwrap()
}

pub(crate) fn subscription(number: u128) -> SubscriptionId {
    SubscriptionId(Uuid::from_u128(number))
}

pub(crate) fn event_record(id: &str, accepted: i64) -> EventRecord {
    let source = "https://post.example/letters";
    EventRecord {
        accepted_at: at(accepted),
        key: EventKey::new(&site(), source, id),
        site: site(),
        source: source.into(),
        id: id.into(),
        event_type: "communications.letter.created".into(),
        subject: Some("letter/1".into()),
        visibility: Visibility::Public,
        lane: Lane::High,
        intended_at: None,
        expires_at: Some(at(accepted + 60_000)),
        published_by: None,
        routed_at: Some(at(accepted + 1)),
        changed_at: None,
        cancelled_at: None,
        sequence: Some(7),
        content_hash: Some(-7),
        skipped: vec![Skipped { subscription: subscription(99), reason: SkipReason::TypeNotSubscribed }],
    }
}

pub(crate) fn delivery_record(of: &EventRecord, to: u128, state: DeliveryState, updated: i64) -> DeliveryRecord {
    DeliveryRecord {
        id: DeliveryId::derive(of.accepted_at, subscription(to), &of.key),
        site: of.site.clone(),
        event_key: of.key,
        subscription: subscription(to),
        surface: Surface::Slipstream,
        lane: of.lane,
        state,
        reason: None,
        next_attempt_at: None,
        updated_at: at(updated),
        replay: None,
    }
}

pub(crate) fn attempt_record(of: &DeliveryRecord, number: u32, started: i64) -> AttemptRecord {
    AttemptRecord {
        delivery: of.id,
        number,
        started_at: at(started),
        duration_us: 1500,
        status: Some(503),
        error: None,
        response: Some(b"not \xff now".to_vec()),
    }
}

pub(crate) async fn write(store: &Store, batch: Batch) {
    record(store, batch).await.unwrap();
}

pub(crate) async fn write_deliveries(store: &Store, deliveries: Vec<DeliveryRecord>) {
    write(store, Batch { deliveries, ..Batch::default() }).await;
}
