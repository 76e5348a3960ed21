//! Endpoints that only fail.

use slipstream_core::delivery::DeliveryState;
use slipstream_store::Store;
use slipstream_store::activity::{Batch, DeliveryRecord, Failing, Retention, expire, is_failing};

use crate::{
    at, attempt_record, delivery_record, event_record, on_both_backends, subscription, write, write_deliveries,
};

on_both_backends!(
    an_endpoint_fails_when_it_was_tried_often_enough_and_took_nothing_since,
    what_was_taken_is_known_whatever_became_of_its_record_and_in_whatever_order_it_came,
    an_endpoint_is_judged_by_its_own_deliveries_however_many_there_are_beside_it,
);

const MINUTE: i64 = 60_000;

async fn failing(store: &Store, to: u128, since: i64, attempts_min: u32) -> bool {
    let asked = Failing { subscription: subscription(to), since: at(since), attempts_since: at(since), attempts_min };
    is_failing(store.connection(), &asked).await.unwrap()
}

/// Three attempts, ten milliseconds apart.
fn tried(batch: &mut Batch, to: u128, id: &str, accepted: i64) {
    let delivery = delivery_record(&event_record(id, accepted), to, DeliveryState::RetryWait, accepted + 30);
    batch.attempts.extend((1..=3).map(|number| attempt_record(&delivery, number, accepted + 10 * i64::from(number))));
    batch.deliveries.push(delivery);
}

fn taken(to: u128, id: &str, at: i64) -> DeliveryRecord {
    delivery_record(&event_record(id, 0), to, DeliveryState::Succeeded, at)
}

async fn an_endpoint_fails_when_it_was_tried_often_enough_and_took_nothing_since(store: Store) {
    let mut batch = Batch::default();
    // To the one subscription six attempts of two deliveries, to the other as many and a success before them.
    for (to, id, accepted) in [(1, "1", 0), (1, "2", 100), (2, "3", 5 * MINUTE), (2, "4", 5 * MINUTE + 100)] {
        tried(&mut batch, to, id, accepted);
    }
    batch.deliveries.push(taken(2, "taken", 3 * MINUTE));
    write(&store, batch).await;
    assert!(failing(&store, 1, 0, 6).await && !failing(&store, 1, 0, 7).await, "six attempts");
    assert!(failing(&store, 1, 20, 5).await && !failing(&store, 1, 20, 6).await, "five since");
    assert!(!failing(&store, 2, 0, 1).await && !failing(&store, 2, 3 * MINUTE, 1).await, "it took one");
    assert!(!failing(&store, 2, 4 * MINUTE - 1, 1).await, "perhaps one within the minute after that");
    assert!(failing(&store, 2, 4 * MINUTE, 6).await, "none since");
    assert!(!failing(&store, 3, 0, 1).await && !failing(&store, 3, 0, 0).await, "it was never tried");
}

async fn what_was_taken_is_known_whatever_became_of_its_record_and_in_whatever_order_it_came(store: Store) {
    let mut batch = Batch::default();
    tried(&mut batch, 1, "1", 20 * MINUTE);
    write(&store, batch).await;
    // The last, an earlier one, one that is later by less than a minute; each alone, some twice.
    for (id, at) in [("a", 9 * MINUTE), ("b", 2 * MINUTE), ("c", 9 * MINUTE + 10), ("a", 9 * MINUTE), ("b", 2 * MINUTE)]
    {
        write_deliveries(&store, vec![taken(1, id, at)]).await;
    }
    assert!(!failing(&store, 1, 9 * MINUTE + 10, 3).await);
    assert!(failing(&store, 1, 10 * MINUTE, 3).await);
    let retention = Retention { records_before: at(15 * MINUTE), responses_before: at(0) };
    while expire(&store, retention, 100).await.unwrap() > 0 {}
    assert!(!failing(&store, 1, 9 * MINUTE, 3).await, "its deliveries are forgotten, and that it took them is not");
}

async fn an_endpoint_is_judged_by_its_own_deliveries_however_many_there_are_beside_it(store: Store) {
    // Of its own more than are looked at, none of which was ever tried, and behind the few that were.
    let mut batch = Batch::default();
    tried(&mut batch, 1, "tried", 0);
    for number in 0..6000_i64 {
        let event = event_record(&number.to_string(), 10 + number / 100);
        batch.deliveries.push(delivery_record(&event, 1, DeliveryState::Scheduled, 100));
        batch.deliveries.push(delivery_record(&event, 2, DeliveryState::Succeeded, 100));
        batch.deliveries.push(delivery_record(&event, 3, DeliveryState::Failed, 100));
    }
    write(&store, batch).await;
    assert!(failing(&store, 1, 0, 3).await && !failing(&store, 1, 0, 4).await);
    assert!(!failing(&store, 2, 0, 0).await && !failing(&store, 3, 0, 1).await);
}
