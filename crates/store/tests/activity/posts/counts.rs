//! Counts that are kept while posts are written say what counting the activities says.

use slipstream_core::delivery::DeliveryState;
use slipstream_core::ids::DeliveryId;
use slipstream_store::Store;
use slipstream_store::activity::Batch;

use super::{attempted, check_counts, child, delivery_of, make, posted, record_of, root};
use crate::counting::Numbers;
use crate::{on_both_backends, write};

on_both_backends!(
    counts_are_what_the_lists_have_whatever_is_written_how_often_and_in_which_order,
    writers_at_once_count_each_activity_once,
);

use DeliveryState::{Exhausted, RetryWait, Succeeded};

/// When a post is made: up to 40 minutes apart, so that their places in the counts differ.
fn made(id: u128) -> i64 {
    id as i64 % 5 * 600_000
}

fn some_message(numbers: &mut Numbers) -> Batch {
    let id = u128::from(numbers.below(8));
    let to = 1 + u128::from(numbers.below(2));
    let delivery = delivery_of(id, to, made(id));
    let number = 1 + numbers.below(3) as u32;
    // An attempt has one outcome, whoever tells it.
    let succeeds = (id + u128::from(number)) % 4 == 0;
    let started = made(id) + i64::from(number) * 400_000;
    let state = if succeeds { Succeeded } else { RetryWait };
    match numbers.below(4) {
        0 => posted(id, to, made(id)),
        1 => Batch { deliveries: vec![record_of(delivery, id, to, Exhausted, 9_000_000)], ..Batch::default() },
        _ => attempted(
            record_of(delivery, id, to, state, started + 10),
            number,
            if succeeds { 200 } else { 500 },
            started,
        ),
    }
}

async fn counts_are_what_the_lists_have_whatever_is_written_how_often_and_in_which_order(store: Store) {
    let mut numbers = Numbers(11);
    let mut most = 0;
    for round in 0..80 {
        let mut batch = Batch::default();
        for _ in 0..numbers.below(6) {
            let message = some_message(&mut numbers);
            batch.deliveries.extend(message.deliveries);
            batch.attempts.extend(message.attempts);
            batch.posts.extend(message.posts);
            batch.post_attempts.extend(message.post_attempts);
        }
        write(&store, batch.clone()).await;
        if numbers.below(3) == 0 {
            write(&store, batch).await;
        }
        if numbers.below(3) == 0 {
            // Somebody makes one, perhaps once more.
            let id = 100 + u128::from(numbers.below(10));
            let (_, activity) = make(&store, &root(id, 1, made(id), numbers.below(2) == 0)).await;
            make(&store, &child(&activity, u128::from(numbers.below(3)), made(id) + 700_000)).await;
        }
        if round % 8 == 7 {
            most = most.max(check_counts(&store, 1).await + check_counts(&store, 2).await);
        }
    }
    assert!(most > 20, "it has been put to the test: {most}");
}

async fn writers_at_once_count_each_activity_once(store: Store) {
    let life = |id: u128| {
        let delivery = delivery_of(id, 1, 0);
        vec![
            posted(id, 1, 0),
            attempted(record_of(delivery, id, 1, RetryWait, 100), 1, 503, 90),
            attempted(record_of(delivery, id, 1, RetryWait, 200), 2, 503, 190),
            attempted(record_of(delivery, id, 1, Succeeded, 300), 3, 200, 290),
        ]
    };
    // Four writers, each of which writes all there is, each in an order of its own and in batches across trees.
    let writing = (0..4_usize).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            for step in 0..4 {
                let mut batch = Batch::default();
                for id in 0..20_usize {
                    let message = life(id as u128).swap_remove((step + writer + id) % 4);
                    batch.deliveries.extend(message.deliveries);
                    batch.attempts.extend(message.attempts);
                    batch.posts.extend(message.posts);
                    batch.post_attempts.extend(message.post_attempts);
                }
                write(&store, batch).await;
            }
        })
    });
    // And somebody who posts again what is there, or makes new ones.
    let people = (0..4_u128).map(|who| {
        let store = store.clone();
        tokio::spawn(async move {
            for id in 0..10 {
                let (_, activity) = make(&store, &root(1000 + id, 1, 0, false)).await;
                make(&store, &child(&activity, who, 500 + id as i64)).await;
                make(&store, &child(&activity, 77, 500 + id as i64)).await;
            }
        })
    });
    let all: Vec<_> = writing.chain(people).collect();
    for task in all {
        task.await.unwrap();
    }
    // Three of each that was told; and of each that people made, its root, one child per person and one they share.
    assert_eq!(check_counts(&store, 1).await, 20 * 3 + 10 * (1 + 4 + 1));
    let first = super::found(&store, delivery_of(0, 1, 0), 3).await;
    assert_eq!((first.success, first.delivery), (Some(true), Some(DeliveryId(delivery_of(0, 1, 0).0))));
}
