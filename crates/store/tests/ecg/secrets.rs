//! The secrets of a subscription over time.

use slipstream_core::config::{EcgSecret, SECRETS_KNOWN_MAX};
use slipstream_core::ids::{EcgSecretId, SubscriptionId};
use slipstream_core::timestamp::Timestamp;
use slipstream_store::ecg::secrets::{self, Kept, NewSecret};
use slipstream_store::ecg::{Order, Slice, subscriptions};
use slipstream_store::{Store, StoreError};
use slipstream_test_support::builders::ecg as builders;
use slipstream_test_support::secrets::sealed;
use uuid::Uuid;

use super::subscriptions::{OURS, create, subscription, with_events};
use crate::{NOW, later};

crate::on_both_backends!(
    the_secret_at_a_time_is_the_one_whose_time_it_is,
    of_many_at_once_each_has_a_time_and_one_has_no_end,
    a_history_is_read_in_parts,
    a_record_holds_the_newest_secrets,
    a_secret_in_clear_is_not_kept,
);

const BOB: Uuid = Uuid::from_u128(0xb0b);
const ID: SubscriptionId = SubscriptionId(Uuid::from_u128(1));

fn new(n: u128, now: Timestamp) -> NewSecret {
    NewSecret { id: EcgSecretId(Uuid::from_u128(n)), secret: sealed(&format!("secret-{n}")), by: BOB, now }
}

async fn replace(store: &Store, new: NewSecret) -> Kept {
    let transaction = store.begin().await.unwrap();
    subscriptions::lock(&transaction, OURS, ID).await.unwrap().unwrap();
    let kept = secrets::replace(&transaction, ID, new).await.unwrap();
    transaction.commit().await.unwrap();
    kept
}

/// All of them, the oldest first.
async fn history(store: &Store) -> Vec<Kept> {
    let slice = Slice { order: Order::Asc, offset: 0, limit: 10_000 };
    secrets::page(store.connection(), ID, slice).await.unwrap().items
}

/// Their times follow each other without a gap, none is empty, and the last one has no end.
#[track_caller]
fn well_formed(history: &[Kept]) {
    let times: Vec<_> = history.iter().map(|kept| (kept.secret.valid_from, kept.secret.valid_to)).collect();
    for pair in times.windows(2) {
        assert_eq!(pair[0].1, Some(pair[1].0), "{times:?}");
    }
    assert!(times.iter().all(|(from, to)| to.is_none_or(|to| *from < to)), "{times:?}");
    assert_eq!(times.iter().filter(|(_, to)| to.is_none()).count(), 1, "{times:?}");
}

async fn the_secret_at_a_time_is_the_one_whose_time_it_is(store: Store) {
    with_events(&store).await;
    let made = subscription(1, OURS);
    create(&store, &made).await;
    let (first, second) = (new(7, NOW), new(8, later(1000)));
    replace(&store, first.clone()).await;
    replace(&store, second.clone()).await;
    well_formed(&history(&store).await);
    let at = async |at: Timestamp| secrets::at(store.connection(), ID, at).await.unwrap().map(|it: EcgSecret| it.id);
    let made_at = builders::MADE_AT.as_millis();
    let original = made.secrets[0].id;
    for (time, expected) in [
        (Timestamp::from_millis(made_at - 1), None),
        (Timestamp::from_millis(made_at), Some(original)),
        (later(-1), Some(original)),
        (NOW, Some(first.id)),
        (later(999), Some(first.id)),
        (later(1000), Some(second.id)),
        (later(1_000_000), Some(second.id)),
    ] {
        assert_eq!(at(time).await, expected, "{time}");
    }
    let stands = subscriptions::get_any(store.connection(), ID).await.unwrap().unwrap();
    let ids: Vec<_> = stands.secrets.iter().map(|secret| secret.id).collect();
    assert_eq!(ids, [second.id, first.id, original], "the newest first");
    assert_eq!(stands.secret().map(|it| it.id), Some(second.id));
    let ended = secrets::get(store.connection(), ID, first.id).await.unwrap().unwrap();
    assert_eq!((ended.stamps.created_at, ended.stamps.updated_at, ended.stamps.updated_by), (NOW, later(1000), BOB));
    let others = SubscriptionId(Uuid::from_u128(2));
    assert_eq!(secrets::get(store.connection(), others, first.id).await.unwrap(), None);
}

async fn of_many_at_once_each_has_a_time_and_one_has_no_end(store: Store) {
    with_events(&store).await;
    create(&store, &subscription(1, OURS)).await;
    let at_once = |n| replace(&store, new(n, NOW));
    tokio::join!(at_once(10), at_once(11), at_once(12), at_once(13));
    tokio::join!(at_once(14), at_once(15), at_once(16), at_once(17));
    // A clock that is behind.
    replace(&store, new(18, later(-60_000))).await;
    let history = history(&store).await;
    assert_eq!(history.len(), 10);
    well_formed(&history);
    assert_eq!(history.last().map(|kept| kept.secret.id), Some(new(18, NOW).id));
    assert_eq!(history.last().map(|kept| kept.secret.valid_from), Some(later(8)));
}

async fn a_history_is_read_in_parts(store: Store) {
    with_events(&store).await;
    create(&store, &subscription(1, OURS)).await;
    for n in 10..14 {
        replace(&store, new(n, later(i64::try_from(n).unwrap()))).await;
    }
    let part = async |order, offset| {
        let page = secrets::page(store.connection(), ID, Slice { order, offset, limit: 2 }).await.unwrap();
        (page.items.iter().map(|kept| kept.secret.id.0.as_u128()).collect::<Vec<_>>(), page.total)
    };
    assert_eq!(part(Order::Desc, 0).await, (vec![13, 12], 5));
    assert_eq!(part(Order::Asc, 1).await, (vec![10, 11], 5));
    assert_eq!(part(Order::Desc, 6).await, (vec![], 5));
}

async fn a_record_holds_the_newest_secrets(store: Store) {
    with_events(&store).await;
    create(&store, &subscription(1, OURS)).await;
    create(&store, &subscription(2, OURS)).await;
    let transaction = store.begin().await.unwrap();
    for n in 0..SECRETS_KNOWN_MAX as u128 + 5 {
        secrets::replace(&transaction, ID, new(100 + n, later(0))).await.unwrap();
    }
    transaction.commit().await.unwrap();
    let one = subscriptions::get_any(store.connection(), ID).await.unwrap().unwrap();
    assert_eq!(one.secrets.len(), SECRETS_KNOWN_MAX);
    assert!(one.secrets.is_sorted_by(|one, next| one.valid_from > next.valid_from));
    assert!(one.secrets[0].valid_to.is_none());
    let mut all = subscriptions::all(store.connection()).await.unwrap();
    all.sort_by_key(|it| it.id);
    assert_eq!(all[0], one);
    assert_eq!((all[1].id, all[1].secrets.len()), (subscription(2, OURS).id, 1));
}

async fn a_secret_in_clear_is_not_kept(store: Store) {
    with_events(&store).await;
    create(&store, &subscription(1, OURS)).await;
    let transaction = store.begin().await.unwrap();
    let clear = NewSecret { secret: "ecg-secret-key".into(), ..new(7, NOW) };
    let refused = secrets::replace(&transaction, ID, clear).await;
    assert!(matches!(refused, Err(StoreError::NotSealed(_))), "{refused:?}");
    drop(transaction);
    well_formed(&history(&store).await);
}
