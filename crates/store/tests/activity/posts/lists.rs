//! Pages of lists, by place and by number, are slices of the whole list.

use slipstream_core::delivery::DeliveryState;
use slipstream_core::ids::ActivityId;
use slipstream_core::timestamp::Timestamp;
use slipstream_store::Store;
use slipstream_store::activity::Batch;
use slipstream_store::ecg::Order;
use slipstream_store::ecg::activities::{Filter, count, page};

use super::{attempted, check_counts, delivery_of, filters, posted, record_of};
use crate::counting::Numbers;
use crate::{on_both_backends, subscription, write};

on_both_backends!(
    pages_are_slices_of_the_list_however_deep,
    pages_by_place_go_on_where_they_were_while_new_ones_are_made,
);

/// Some 2,600 activities of one subscription over two hours, many at one instant; and some of another beside it.
async fn fill(store: &Store) {
    let mut numbers = Numbers(3);
    let mut batch = Batch::default();
    for id in 0..2600_u128 {
        let to = if id % 13 == 0 { 2 } else { 1 };
        let made = (numbers.below(120) as i64) * 60_000;
        let mut messages = vec![posted(id, to, made)];
        let record = |state| record_of(delivery_of(id, to, made), id, to, state, made + 10);
        match numbers.below(4) {
            0 => {}
            1 => messages.push(attempted(record(DeliveryState::RetryWait), 1, 500, made + 5)),
            _ => messages.push(attempted(record(DeliveryState::Succeeded), 1, 204, made + 5)),
        }
        for message in messages {
            batch.deliveries.extend(message.deliveries);
            batch.attempts.extend(message.attempts);
            batch.posts.extend(message.posts);
            batch.post_attempts.extend(message.post_attempts);
        }
    }
    write(store, batch).await;
}

type Key = (Timestamp, ActivityId);

async fn keys(store: &Store, filter: &Filter, order: Order, offset: u64, limit: u64) -> Vec<Key> {
    let (items, _) = page(store.connection(), filter, order, offset, limit, None).await.unwrap();
    items.into_iter().map(|it| (it.posted_at.unwrap_or(it.created_at), it.id)).collect()
}

async fn pages_are_slices_of_the_list_however_deep(store: Store) {
    fill(&store).await;
    assert_eq!(check_counts(&store, 1).await, 2400);
    for filter in filters(1) {
        let mut all = keys(&store, &filter, Order::Asc, 0, 10_000).await;
        assert!(all.is_sorted() && all.windows(2).all(|pair| pair[0] != pair[1]));
        let total = all.len() as u64;
        assert_eq!(count(store.connection(), &filter).await.unwrap(), total);
        for order in [Order::Asc, Order::Desc] {
            // Also behind those that are looked for by the counts, from either end of ten minutes.
            for offset in
                [0, 1, 990, 1001, 1050, 1100, 1177, 1300, 2000, 2311, total.saturating_sub(7), total, total + 9]
            {
                let from = usize::try_from(offset.min(total)).unwrap();
                let expected: Vec<_> = all.iter().skip(from).take(10).copied().collect();
                assert_eq!(keys(&store, &filter, order, offset, 10).await, expected, "{filter:?} {order:?} {offset}");
            }
            all.reverse();
        }
    }
    let activations = Filter { activations: true, ..filters(1)[0] };
    assert_eq!(keys(&store, &activations, Order::Desc, 0, 10).await, []);
}

async fn pages_by_place_go_on_where_they_were_while_new_ones_are_made(store: Store) {
    fill(&store).await;
    for order in [Order::Asc, Order::Desc] {
        for success in [None, Some(true)] {
            let filter = Filter { subscription: subscription(1), activations: false, success, event: None };
            let expected = keys(&store, &filter, order, 0, 10_000).await;
            let (mut seen, mut after, mut made) = (Vec::new(), None, 0);
            loop {
                let (items, next) = page(store.connection(), &filter, order, 0, 100, after).await.unwrap();
                seen.extend(items.into_iter().map(|it| (it.posted_at.unwrap_or(it.created_at), it.id)));
                // Newer than all.
                made += 1;
                let id = 10_000
                    + made
                    + if order == Order::Asc { 1000 } else { 0 }
                    + if success.is_some() { 500 } else { 0 };
                write(&store, posted(id, 1, 100_000_000 + id as i64)).await;
                after = next;
                if after.is_none() || made > 40 {
                    break;
                }
            }
            // None is left out and none comes twice; of the new ones some may be there, at the end.
            assert!(seen.windows(2).all(|pair| pair[0] != pair[1]));
            assert_eq!(seen[..expected.len()], expected);
        }
    }
}
