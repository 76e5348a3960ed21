//! Posts are forgotten when their deliveries are, whole trees at a time.

use slipstream_core::delivery::DeliveryState;
use slipstream_core::ids::{ActivityId, DeliveryId};
use slipstream_store::activity::{Retention, expire};
use slipstream_store::ecg::activities::{get, tree};
use slipstream_store::{ConnectionTrait as _, Store};

use super::{attempted, check_counts, child, delivery_of, make, posted, record_of, root};
use crate::{at, on_both_backends, write};

on_both_backends!(a_tree_is_forgotten_as_a_whole_when_nothing_of_it_is_new, answers_are_forgotten_before_their_posts,);

use DeliveryState::{Exhausted, RetryWait, Succeeded};

async fn forget(store: &Store, before: i64) {
    let retention = Retention { records_before: at(before), responses_before: at(before) };
    while expire(store, retention, 3).await.unwrap() > 0 {}
}

/// How many rows a table has: so many are touched.
async fn rows(store: &Store, table: &str) -> u64 {
    let column = if table == "ecg_activity_counts" { "total" } else { "id" };
    let sql = format!("UPDATE {table} SET {column} = {column}");
    store.connection().execute_unprepared(&sql).await.unwrap().rows_affected()
}

async fn a_tree_is_forgotten_as_a_whole_when_nothing_of_it_is_new(store: Store) {
    // Ended; repeated later by hand; waits still; told of by others; and heard of by an outcome only.
    let ended = delivery_of(1, 1, 0);
    write(&store, posted(1, 1, 0)).await;
    write(&store, attempted(record_of(ended, 1, 1, RetryWait, 100), 1, 503, 90)).await;
    write(&store, attempted(record_of(ended, 1, 1, Succeeded, 200), 2, 200, 190)).await;
    let (_, repeated) = make(&store, &root(2, 1, 0, true)).await;
    let (_, repeat) = make(&store, &child(&repeated, 7, 5000)).await;
    let of_repeat = DeliveryId(repeat.id.0);
    let waiting = delivery_of(3, 1, 0);
    write(&store, posted(3, 1, 0)).await;
    write(&store, attempted(record_of(waiting, 3, 1, RetryWait, 100), 1, 503, 90)).await;
    let (_, external) = make(&store, &root(4, 1, 0, true)).await;
    write(&store, attempted(record_of(delivery_of(5, 1, 0), 5, 1, Exhausted, 100), 1, 503, 90)).await;
    assert_eq!(check_counts(&store, 1).await, 6);
    assert_eq!((rows(&store, "ecg_activities").await, rows(&store, "ecg_contents").await), (7, 4));

    forget(&store, 1000).await;
    let is_there = async |id: ActivityId| get(store.connection(), id).await.unwrap().is_some();
    assert!(!is_there(ActivityId(ended.0)).await && !is_there(external.id).await);
    assert_eq!(tree(store.connection(), repeated.id).await.unwrap().len(), 2);
    assert!(is_there(ActivityId(waiting.0)).await);
    assert_eq!(check_counts(&store, 1).await, 3);
    assert_eq!((rows(&store, "ecg_activities").await, rows(&store, "ecg_contents").await), (3, 2));

    let mut record = record_of(of_repeat, 2, 1, Succeeded, 6000);
    record.replay = repeat.replay;
    write(&store, attempted(record, 1, 200, 5900)).await;
    forget(&store, 6000).await;
    assert!(is_there(repeat.id).await, "it was changed at that time");
    forget(&store, 7000).await;
    assert!(!is_there(repeat.id).await && is_there(ActivityId(waiting.0)).await);
    assert_eq!(check_counts(&store, 1).await, 1);

    write(&store, attempted(record_of(waiting, 3, 1, Exhausted, 9000), 2, 503, 8900)).await;
    forget(&store, 100_000_000).await;
    for table in ["ecg_activities", "ecg_contents", "ecg_activity_counts", "deliveries"] {
        assert_eq!(rows(&store, table).await, 0, "{table}");
    }
}

async fn answers_are_forgotten_before_their_posts(store: Store) {
    let delivery = delivery_of(1, 1, 0);
    write(&store, posted(1, 1, 0)).await;
    write(&store, attempted(record_of(delivery, 1, 1, RetryWait, 100), 1, 503, 90)).await;
    write(&store, attempted(record_of(delivery, 1, 1, Succeeded, 700), 2, 200, 690)).await;
    let retention = Retention { records_before: at(0), responses_before: at(500) };
    while expire(&store, retention, 3).await.unwrap() > 0 {}
    let [first, second] = [1, 2].map(|number| super::found(&store, delivery, number));
    assert!(first.await.raw_response.is_none());
    assert!(second.await.raw_response.is_some());
}
