//! What people make and tell: posts of their own, repeats, outcomes.

use slipstream_core::delivery::DeliveryState;
use slipstream_core::ids::{ActivityId, DeliveryId};
use slipstream_store::Store;
use slipstream_store::activity::{Batch, Filter, Removal, delivery, list, replay};
use slipstream_store::ecg::activities::{
    Inserted, OutcomeOfPost, TREE_ACTIVITIES_MAX, clear_next_retry, get, insert, lock, others_waiting, sent,
    set_outcome, tree, unsent,
};

use super::{attempted, check_counts, child, found, make, person, posted, raw, record_of, root};
use crate::{at, on_both_backends, subscription, write};

on_both_backends!(
    a_post_is_made_once_and_its_delivery_with_it,
    what_is_not_known_to_be_on_the_bus_is_asked_for_until_it_is,
    an_outcome_is_told_of_an_activity_that_others_post,
    a_success_ends_all_retries_of_its_tree_and_names_what_else_waits,
    a_retry_that_was_taken_away_stays_away,
    a_removed_subscription_fails_what_was_not_posted,
    a_tree_comes_by_level_and_then_by_age,
    a_tree_that_is_too_large_is_known_as_such,
    posts_are_no_part_of_bulk_replays,
);

use DeliveryState::{Cancelled, Exhausted, RetryWait, Scheduled, Succeeded};

async fn a_post_is_made_once_and_its_delivery_with_it(store: Store) {
    let new = root(1, 1, 0, false);
    let (inserted, activity) = make(&store, &new).await;
    assert_eq!((inserted, activity.id, activity.root, activity.level), (Inserted::New, new.id, new.id, 1));
    assert_eq!((activity.delivery, activity.success, activity.created_at), (Some(DeliveryId(new.id.0)), None, at(0)));
    assert_eq!((activity.hash, activity.payload.get()), (new.hash.clone(), r#"{"n":1.50}"#));
    assert_eq!(make(&store, &new).await.0, Inserted::There);
    assert_eq!(check_counts(&store, 1).await, 1);
    let (made, attempts) = delivery(store.connection(), DeliveryId(new.id.0)).await.unwrap().unwrap();
    assert_eq!((made.record.state, attempts.len()), (Scheduled, 0));

    // It goes on as one that another service has made.
    write(&store, attempted(made.record, 1, 204, 40)).await;
    assert_eq!(found(&store, DeliveryId(new.id.0), 1).await.success, Some(true));
    assert_eq!(check_counts(&store, 1).await, 1);
}

async fn what_is_not_known_to_be_on_the_bus_is_asked_for_until_it_is(store: Store) {
    for id in 1..=3 {
        make(&store, &root(id, 1, id as i64 * 10, false)).await;
    }
    make(&store, &root(4, 1, 0, true)).await;
    let parent = found(&store, super::delivery_of(1, 1, 10), 1).await;
    let repeat = child(&parent, 7, 15);
    make(&store, &repeat).await;
    let asked = async |before, limit| {
        let found = unsent(store.connection(), at(before), limit).await.unwrap();
        found.into_iter().map(|it| (it.created_at, it.replay.is_some())).collect::<Vec<_>>()
    };
    assert_eq!(asked(25, 10).await, [(at(10), false), (at(15), true), (at(20), false)]);
    assert_eq!(asked(100, 2).await, [(at(10), false), (at(15), true)]);
    let found = unsent(store.connection(), at(16), 10).await.unwrap().swap_remove(1);
    assert_eq!((found.delivery.0, found.payload.get()), (repeat.id.0, r#"{"n":1.50}"#));
    assert_eq!(found.delivery.accepted_at(), at(10), "the time of the root");

    sent(store.connection(), &[parent.id, repeat.id]).await.unwrap();
    assert_eq!(asked(100, 10).await, [(at(20), false), (at(30), false)]);
    // One that was attempted is on the bus, whoever forgot to say so.
    let id = super::delivery_of(2, 1, 20);
    write(&store, attempted(record_of(id, 2, 1, RetryWait, 100), 1, 503, 90)).await;
    assert_eq!(asked(100, 10).await, [(at(30), false)]);
}

fn outcome(success: bool, told: i64) -> OutcomeOfPost {
    OutcomeOfPost {
        success,
        status: Some(if success { 200 } else { 502 }),
        error: (!success).then(|| "bad gateway".into()),
        raw_response: Some(raw(r#"{"a":[1.50]}"#)),
        next_retry_at: Some(at(told + 5000)),
        at: at(told),
        by: person(),
    }
}

async fn tell(store: &Store, id: ActivityId, outcome: &OutcomeOfPost) {
    let transaction = store.begin().await.unwrap();
    assert!(lock(&transaction, id).await.unwrap().is_some());
    set_outcome(&transaction, id, outcome).await.unwrap();
    transaction.commit().await.unwrap();
}

async fn an_outcome_is_told_of_an_activity_that_others_post(store: Store) {
    let (_, activity) = make(&store, &root(1, 1, 0, true)).await;
    assert_eq!((activity.delivery, activity.posted_at), (None, None));
    tell(&store, activity.id, &outcome(false, 700)).await;
    let failed = get(store.connection(), activity.id).await.unwrap().unwrap();
    assert_eq!((failed.success, failed.status, failed.error.as_deref()), (Some(false), Some(502), Some("bad gateway")));
    assert_eq!((failed.posted_at, failed.next_retry_at), (Some(at(700)), Some(at(5700))));
    assert_eq!(failed.raw_response.unwrap().get(), r#"{"a":[1.50]}"#);
    assert_eq!(failed.stamps.updated_at, at(700));
    assert_eq!(check_counts(&store, 1).await, 1);
    assert!(list(store.connection(), &Filter::default(), 10, None).await.unwrap().items.is_empty());
}

async fn a_success_ends_all_retries_of_its_tree_and_names_what_else_waits(store: Store) {
    let (_, first) = make(&store, &root(1, 1, 0, false)).await;
    let id = DeliveryId(first.id.0);
    write(&store, attempted(record_of(id, 1, 1, RetryWait, 100), 1, 503, 90)).await;
    let (_, second) = make(&store, &child(&first, 7, 200)).await;
    assert_eq!((second.parent, second.level, second.root), (Some(first.id), 2, first.id));
    let (_, elsewhere) = make(&store, &root(2, 1, 0, false)).await;
    let (_, told) = make(&store, &child(&second, 8, 300)).await;
    assert!(found(&store, id, 1).await.next_retry_at.is_some());

    let repeated = delivery(store.connection(), DeliveryId(second.id.0)).await.unwrap().unwrap().0.record;
    let taken = slipstream_store::activity::DeliveryRecord { state: Succeeded, updated_at: at(400), ..repeated };
    write(&store, attempted(taken, 1, 204, 390)).await;
    for activity in tree(store.connection(), first.id).await.unwrap() {
        assert_eq!(activity.next_retry_at, None, "{}", activity.level);
    }
    // A repeat of the news does not bring it back, nor does later news.
    write(&store, attempted(record_of(id, 1, 1, RetryWait, 100), 1, 503, 90)).await;
    write(&store, attempted(record_of(id, 1, 1, RetryWait, 500), 2, 503, 490)).await;
    assert_eq!(found(&store, id, 1).await.next_retry_at, None);
    assert_eq!(found(&store, id, 2).await.next_retry_at, None);

    let others =
        others_waiting(store.connection(), &[DeliveryId(second.id.0), DeliveryId(elsewhere.id.0)]).await.unwrap();
    let mut others: Vec<_> = others.into_iter().map(|record| (record.id.0, record.state)).collect();
    others.sort_by_key(|(id, _)| *id);
    let mut expected = vec![(first.id.0, RetryWait), (told.id.0, Scheduled)];
    expected.sort_by_key(|(id, _)| *id);
    assert_eq!(others, expected);
    assert_eq!(check_counts(&store, 1).await, 5);
}

async fn a_retry_that_was_taken_away_stays_away(store: Store) {
    let (_, first) = make(&store, &root(1, 1, 0, false)).await;
    let id = DeliveryId(first.id.0);
    let failed = attempted(record_of(id, 1, 1, RetryWait, 100), 1, 503, 90);
    write(&store, failed.clone()).await;
    let transaction = store.begin().await.unwrap();
    clear_next_retry(&transaction, first.id).await.unwrap();
    transaction.commit().await.unwrap();
    write(&store, failed).await;
    assert_eq!(found(&store, id, 1).await.next_retry_at, None);
    // It was made all the same: its own retry is ahead.
    write(&store, attempted(record_of(id, 1, 1, RetryWait, 200), 2, 503, 190)).await;
    assert_eq!(found(&store, id, 1).await.next_retry_at, None);
    assert_eq!(found(&store, id, 2).await.next_retry_at, Some(at(60_200)));
}

async fn a_removed_subscription_fails_what_was_not_posted(store: Store) {
    let (_, open) = make(&store, &root(1, 1, 0, false)).await;
    let (_, failed) = make(&store, &root(2, 1, 0, false)).await;
    write(&store, attempted(record_of(DeliveryId(failed.id.0), 2, 1, RetryWait, 100), 1, 503, 90)).await;
    let removal = Removal { subscription: subscription(1), at: at(500) };
    write(&store, Batch { removals: vec![removal], ..Batch::default() }).await;
    let open = get(store.connection(), open.id).await.unwrap().unwrap();
    assert_eq!((open.success, open.error.as_deref()), (Some(false), Some("subscription_removed")));
    let failed = get(store.connection(), failed.id).await.unwrap().unwrap();
    assert_eq!((failed.next_retry_at, failed.error.as_deref()), (None, Some("HTTP 503")));
    // Heard of only now.
    write(&store, posted(3, 1, 50)).await;
    let late = found(&store, super::delivery_of(3, 1, 50), 1).await;
    assert_eq!((late.success, late.error.as_deref()), (Some(false), Some("subscription_removed")));
    assert_eq!(check_counts(&store, 1).await, 3);
    let states = Filter { subscription: Some(subscription(1)), states: vec![Cancelled], ..Filter::default() };
    assert_eq!(list(store.connection(), &states, 10, None).await.unwrap().items.len(), 3);
}

async fn a_tree_comes_by_level_and_then_by_age(store: Store) {
    let (_, first) = make(&store, &root(1, 1, 0, true)).await;
    let (_, late) = make(&store, &child(&first, 3, 900)).await;
    let (_, early) = make(&store, &child(&first, 4, 800)).await;
    let (_, below) = make(&store, &child(&late, 5, 850)).await;
    let all = tree(store.connection(), first.id).await.unwrap();
    let ids: Vec<_> = all.iter().map(|activity| activity.id).collect();
    assert_eq!(ids, [first.id, early.id, late.id, below.id]);
    assert!(all.iter().all(|activity| activity.payload.get() == first.payload.get()));
}

async fn a_tree_that_is_too_large_is_known_as_such(store: Store) {
    let (_, first) = make(&store, &root(1, 1, 0, true)).await;
    let transaction = store.begin().await.unwrap();
    for number in 1..TREE_ACTIVITIES_MAX as u128 {
        insert(&transaction, &child(&first, number, 10)).await.unwrap();
    }
    transaction.commit().await.unwrap();
    assert_eq!(tree(store.connection(), first.id).await.unwrap().len(), TREE_ACTIVITIES_MAX);
    for number in 0..3 {
        make(&store, &child(&first, 1_000_000 + number, 20)).await;
        assert_eq!(tree(store.connection(), first.id).await.unwrap().len(), TREE_ACTIVITIES_MAX + 1);
    }
}

async fn posts_are_no_part_of_bulk_replays(store: Store) {
    let (_, first) = make(&store, &root(1, 1, 0, false)).await;
    write(&store, attempted(record_of(DeliveryId(first.id.0), 1, 1, Exhausted, 100), 1, 503, 90)).await;
    let all = Filter { states: vec![Exhausted], ..Filter::default() };
    assert_eq!(list(store.connection(), &all, 10, None).await.unwrap().items.len(), 1);
    assert_eq!(replay::count(store.connection(), &all, at(1000)).await.unwrap(), 0);
    assert!(replay::originals(store.connection(), &all, at(1000), None, 10).await.unwrap().is_empty());
}
