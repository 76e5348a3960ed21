//! Posts of the ECG surface: activities, recorded from messages and made by people.

mod counts;
mod lists;
mod orders;
mod people;
mod retention;
mod retries;

use serde_json::value::RawValue;
use slipstream_core::config::Surface;
use slipstream_core::contract::PostKind;
use slipstream_core::delivery::{DeliveryState, Reason};
use slipstream_core::ids::{ActivityId, DeliveryId, EcgEventId, EventKey, ReplayId};
use slipstream_core::lane::Lane;
use slipstream_core::slug::Slug;
use slipstream_store::Store;
use slipstream_store::activity::{AttemptRecord, Batch, DeliveryRecord};
use slipstream_store::ecg::Order;
use slipstream_store::ecg::activities::{
    Activity, Content, Filter, Inserted, New, Post, PostAttempt, PostRecord, Repeats, count, get, insert, page, tree,
};
use uuid::Uuid;

use crate::{at, subscription};

pub(crate) fn organization() -> Uuid {
    Uuid::from_u128(0x0e)
}

pub(crate) fn person() -> Uuid {
    Uuid::from_u128(0xbe)
}

pub(crate) fn event(number: u128) -> EcgEventId {
    EcgEventId(Uuid::from_u128(0xe0 + number))
}

/// The key of a tree.
pub(crate) fn key(id: u128) -> EventKey {
    EventKey::new(&Slug::of_organization(organization()), "/ecg/posts", &id.to_string())
}

/// The delivery of the first post of a tree that was made at `made`.
pub(crate) fn delivery_of(id: u128, to: u128, made: i64) -> DeliveryId {
    DeliveryId::derive(at(made), subscription(to), &key(id))
}

/// A post that another service has made: the record of its delivery, and of the post.
pub(crate) fn posted(id: u128, to: u128, made: i64) -> Batch {
    let delivery = delivery_of(id, to, made);
    let post = PostRecord {
        delivery,
        key: key(id),
        organization: organization(),
        subscription: subscription(to),
        event: Some(event(id % 2)),
        kind: PostKind::Event,
        created_at: at(made),
        made_by: Some(person()),
        payload: format!(r#"{{"n":{id}}}"#),
        raw_message: "{}".into(),
    };
    let record = record_of(delivery, id, to, DeliveryState::Scheduled, made);
    Batch { deliveries: vec![record], posts: vec![post], ..Batch::default() }
}

pub(crate) fn record_of(
    delivery: DeliveryId,
    id: u128,
    to: u128,
    state: DeliveryState,
    updated: i64,
) -> DeliveryRecord {
    DeliveryRecord {
        id: delivery,
        site: Slug::of_organization(organization()),
        event_key: key(id),
        subscription: subscription(to),
        surface: Surface::Ecg,
        lane: Lane::Normal,
        state,
        reason: None,
        next_attempt_at: (state == DeliveryState::RetryWait).then(|| at(updated + 60_000)),
        updated_at: at(updated),
        replay: None,
    }
}

/// An outcome with an attempt.
pub(crate) fn attempted(record: DeliveryRecord, number: u32, status: u16, started: i64) -> Batch {
    let attempt = AttemptRecord {
        delivery: record.id,
        number,
        started_at: at(started),
        duration_us: 1500,
        status: Some(status),
        error: None,
        response: Some(b"\"so\" \xff".to_vec()),
    };
    let of_post = PostAttempt {
        delivery: record.id,
        number,
        started_at: attempt.started_at,
        duration_us: attempt.duration_us,
        status: attempt.status,
        error: None,
        response: attempt.response.clone(),
        hash: Some(format!("{number:064x}")),
    };
    Batch { deliveries: vec![record], attempts: vec![attempt], post_attempts: vec![of_post], ..Batch::default() }
}

/// An outcome without one.
pub(crate) fn ended(record: DeliveryRecord, reason: Reason) -> Batch {
    let record = DeliveryRecord { reason: Some(reason), ..record };
    Batch { deliveries: vec![record], ..Batch::default() }
}

pub(crate) fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

/// A root that somebody made through us: posted by us, or, of `external`, by others.
pub(crate) fn root(id: u128, to: u128, made: i64, external: bool) -> New {
    let post = if external { Post::External { posted_at: None } } else { Post::Platform { replay: None } };
    New {
        id: ActivityId(delivery_of(id, to, made).0),
        repeats: None,
        organization: organization(),
        subscription: subscription(to),
        event: Some(event(id % 2)),
        kind: PostKind::Event,
        post,
        key: key(id),
        created_at: at(made),
        made_by: person(),
        hash: Some("ab".repeat(32)),
        content: Content::Own { payload: raw(r#"{"n":1.50}"#), raw_message: raw("{}") },
    }
}

/// One that repeats `parent`, posted by us.
pub(crate) fn child(parent: &Activity, replay: u128, made: i64) -> New {
    let replay = ReplayId(Uuid::from_u128(replay));
    let accepted_at = DeliveryId(parent.root.0).accepted_at();
    let delivery = DeliveryId::derive_replay(accepted_at, parent.subscription, &parent.key, replay);
    New {
        id: ActivityId(delivery.0),
        repeats: Some(Repeats::of(parent)),
        organization: parent.organization,
        subscription: parent.subscription,
        event: parent.event,
        kind: parent.kind,
        post: Post::Platform { replay: Some(replay) },
        key: parent.key,
        created_at: at(made),
        made_by: person(),
        hash: Some("cd".repeat(32)),
        content: Content::Of(parent.id),
    }
}

pub(crate) async fn make(store: &Store, new: &New) -> (Inserted, Activity) {
    let transaction = store.begin().await.unwrap();
    let inserted = insert(&transaction, new).await.unwrap();
    transaction.commit().await.unwrap();
    (inserted, get(store.connection(), new.id).await.unwrap().unwrap())
}

pub(crate) async fn found(store: &Store, delivery: DeliveryId, number: u32) -> Activity {
    get(store.connection(), ActivityId::of_attempt(delivery, number)).await.unwrap().unwrap()
}

/// All that a tree says, in a form that can be compared.
pub(crate) async fn told(store: &Store, root: DeliveryId) -> Vec<String> {
    let all = tree(store.connection(), ActivityId(root.0)).await.unwrap();
    all.iter().map(|activity| format!("{activity:?}")).collect()
}

/// The lists of a subscription: of all, of each event, by success.
pub(crate) fn filters(to: u128) -> Vec<Filter> {
    let events = [None, Some(event(0)), Some(event(1)), Some(event(7))];
    let filter = |event, success| Filter { subscription: subscription(to), activations: false, success, event };
    events.into_iter().flat_map(|event| [None, Some(true), Some(false)].map(|success| filter(event, success))).collect()
}

/// That the counts say how many activities each list has.
pub(crate) async fn check_counts(store: &Store, to: u128) -> u64 {
    let mut all = 0;
    for filter in filters(to) {
        let (items, _) = page(store.connection(), &filter, Order::Asc, 0, 1_000_000, None).await.unwrap();
        assert_eq!(count(store.connection(), &filter).await.unwrap(), items.len() as u64, "{filter:?}");
        all = all.max(items.len() as u64);
    }
    all
}
