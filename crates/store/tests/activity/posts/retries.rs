//! Retries that are told of although they are not to be made any more, and posts that somebody did not know to be posts.

use slipstream_core::config::Surface;
use slipstream_core::delivery::{DeliveryState, Reason};
use slipstream_core::ids::DeliveryId;
use slipstream_store::Store;
use slipstream_store::activity::{Batch, DeliveryRecord, delivery, record};
use slipstream_store::ecg::activities::{clear_next_retry, get, has_succeeded};

use super::{attempted, check_counts, child, delivery_of, ended, found, make, posted, record_of, root};
use crate::{on_both_backends, write};

on_both_backends!(
    retries_that_are_to_be_made_are_not_named,
    a_retry_in_a_tree_that_was_taken_is_named_whichever_is_heard_of_first,
    a_retry_that_was_replaced_is_named,
    a_retry_of_a_delivery_that_has_ended_is_named,
    whoever_did_not_know_it_for_a_post_does_not_make_it_none,
);

use DeliveryState::{Cancelled, RetryWait, Scheduled, Succeeded};

/// Which deliveries wait for a retry that is not to be made, and what has become of them.
async fn over(store: &Store, batch: Batch) -> Vec<(DeliveryId, DeliveryState)> {
    let over = record(store, batch).await.unwrap();
    assert!(over.iter().all(|it| it.next_attempt_at.is_some()), "{over:?}");
    over.into_iter().map(|it| (it.id, it.state)).collect()
}

fn both(mut one: Batch, other: Batch) -> Batch {
    one.deliveries.extend(other.deliveries);
    one.attempts.extend(other.attempts);
    one.post_attempts.extend(other.post_attempts);
    one
}

async fn retries_that_are_to_be_made_are_not_named(store: Store) {
    let (_, first) = make(&store, &root(1, 1, 0, false)).await;
    let id = DeliveryId(first.id.0);
    let failed = |number: u32, at| attempted(record_of(id, 1, 1, RetryWait, at + 10), number, 503, at);
    assert_eq!(over(&store, failed(1, 90)).await, []);
    assert_eq!(over(&store, ended(record_of(id, 1, 1, RetryWait, 150), Reason::EndpointPaused)).await, []);
    // The last one was the retry, told of in one go or before.
    let taken = attempted(record_of(id, 1, 1, Succeeded, 400), 3, 204, 390);
    assert_eq!(over(&store, both(failed(2, 190), taken)).await, []);
    assert_eq!(over(&store, both(failed(1, 90), failed(2, 190))).await, [], "a repeat");
    // Another life of it goes on after that.
    assert_eq!(over(&store, failed(3, 500)).await, [(id, Succeeded)]);
}

async fn a_retry_in_a_tree_that_was_taken_is_named_whichever_is_heard_of_first(store: Store) {
    for (number, in_one) in [(1, false), (2, true)] {
        let (_, first) = make(&store, &root(number, 1, 0, false)).await;
        let id = DeliveryId(first.id.0);
        write(&store, attempted(record_of(id, number, 1, RetryWait, 100), 1, 503, 90)).await;
        let (_, second) = make(&store, &child(&first, 70 + number, 200)).await;
        assert!(!has_succeeded(store.connection(), first.id).await.unwrap());
        let of_second = delivery(store.connection(), DeliveryId(second.id.0)).await.unwrap().unwrap().0.record;
        let of_second = DeliveryRecord { state: Succeeded, updated_at: crate::at(400), ..of_second };
        let taken = attempted(of_second, 1, 204, 390);
        // It was under way when the other was taken.
        let late = attempted(record_of(id, number, 1, RetryWait, 500), 2, 503, 490);
        if in_one {
            assert_eq!(over(&store, both(taken, late.clone())).await, [(id, RetryWait)]);
        } else {
            assert_eq!(over(&store, taken).await, []);
            assert_eq!(over(&store, late.clone()).await, [(id, RetryWait)]);
        }
        assert!(has_succeeded(store.connection(), first.id).await.unwrap());
        assert_eq!(over(&store, late).await, [(id, RetryWait)], "a repeat says the same");
        // Whoever retries by hand all the same gets one attempt.
        let (_, third) = make(&store, &child(&first, 80 + number, 600)).await;
        let third = delivery(store.connection(), DeliveryId(third.id.0)).await.unwrap().unwrap().0.record;
        let next_attempt_at = Some(crate::at(9000));
        let waits = DeliveryRecord { state: RetryWait, updated_at: crate::at(700), next_attempt_at, ..third.clone() };
        assert_eq!(over(&store, attempted(waits, 1, 503, 690)).await, [(third.id, RetryWait)]);
    }
}

async fn a_retry_that_was_replaced_is_named(store: Store) {
    let (_, first) = make(&store, &root(1, 1, 0, false)).await;
    let id = DeliveryId(first.id.0);
    write(&store, attempted(record_of(id, 1, 1, RetryWait, 100), 1, 503, 90)).await;
    let transaction = store.begin().await.unwrap();
    clear_next_retry(&transaction, first.id).await.unwrap();
    transaction.commit().await.unwrap();
    // It came due before it was taken away, and was put off.
    let parked = ended(record_of(id, 1, 1, RetryWait, 200), Reason::EndpointPaused);
    assert_eq!(over(&store, parked).await, [(id, RetryWait)]);
    // It was made all the same: its own is another one.
    assert_eq!(over(&store, attempted(record_of(id, 1, 1, RetryWait, 300), 2, 503, 290)).await, []);
}

async fn a_retry_of_a_delivery_that_has_ended_is_named(store: Store) {
    for (number, in_one) in [(1, false), (2, true)] {
        let (_, first) = make(&store, &root(number, 1, 0, false)).await;
        let id = DeliveryId(first.id.0);
        let cancelled = ended(record_of(id, number, 1, Cancelled, 500), Reason::CancelledByRequest);
        // Told of before, as far as clocks agree, and heard of after.
        let failed = attempted(record_of(id, number, 1, RetryWait, 100), 1, 503, 90);
        if in_one {
            assert_eq!(over(&store, both(failed, cancelled)).await, [(id, Cancelled)]);
        } else {
            assert_eq!(over(&store, cancelled).await, []);
            assert_eq!(over(&store, failed).await, [(id, Cancelled)]);
        }
        assert_eq!(found(&store, id, 1).await.next_retry_at, None);
    }
}

async fn whoever_did_not_know_it_for_a_post_does_not_make_it_none(store: Store) {
    let surface = async |id| delivery(store.connection(), id).await.unwrap().unwrap().0.record.surface;
    let stranger = |id, number, state, at| {
        let record = DeliveryRecord { surface: Surface::Slipstream, ..record_of(id, number, 1, state, at) };
        ended(record, Reason::SubscriptionRemoved)
    };
    // First, and later by its clock; then the post is told of.
    let id = delivery_of(1, 1, 0);
    write(&store, stranger(id, 1, Scheduled, 100)).await;
    assert_eq!(surface(id).await, Surface::Slipstream);
    write(&store, posted(1, 1, 0)).await;
    assert_eq!(surface(id).await, Surface::Ecg);
    // Not counted twice for that.
    let state = delivery(store.connection(), id).await.unwrap().unwrap().0.record.updated_at;
    assert_eq!(state, crate::at(100));
    // In one go.
    let id = delivery_of(2, 1, 0);
    write(&store, both(stranger(id, 2, Scheduled, 100), posted(2, 1, 0))).await;
    assert_eq!(surface(id).await, Surface::Ecg);
    // After it: what a stranger says of its end is heard.
    let id = delivery_of(3, 1, 0);
    write(&store, posted(3, 1, 0)).await;
    write(&store, stranger(id, 3, Cancelled, 100)).await;
    assert_eq!(surface(id).await, Surface::Ecg);
    let activity = get(store.connection(), found(&store, id, 1).await.id).await.unwrap().unwrap();
    assert_eq!((activity.success, activity.error.as_deref()), (Some(false), Some("subscription_removed")));
    assert!(check_counts(&store, 1).await > 0);
}
