//! Subscriptions that were removed, and what is recorded of them before and after.

use slipstream_core::delivery::{DeliveryState, Reason};
use slipstream_store::Store;
use slipstream_store::activity::{
    Batch, ByState, DeliveryRecord, EventRecord, Range, Removal, Retention, delivery, expire, statistics, totals,
};

use crate::{at, delivery_record, event_record, on_both_backends, subscription, write, write_deliveries};

on_both_backends!(
    nothing_waits_for_a_removed_subscription_in_whatever_order_it_is_heard_of,
    nothing_waits_when_a_removal_and_what_it_ends_are_written_at_once,
    what_comes_by_thousands_after_the_removal_does_not_wait_either,
    a_removal_is_forgotten_long_after_its_deliveries,
);

const REMOVED: i64 = 10_000;

fn removal(of: u128) -> Batch {
    Batch { removals: vec![Removal { subscription: subscription(of), at: at(REMOVED) }], ..Batch::default() }
}

/// All orders of the numbers below `count`.
pub(crate) fn orders(count: usize) -> Vec<Vec<usize>> {
    let Some(last) = count.checked_sub(1) else { return vec![vec![]] };
    let insert = |order: Vec<usize>| {
        (0..=order.len()).map(move |place| {
            let mut order = order.clone();
            order.insert(place, last);
            order
        })
    };
    orders(last).into_iter().flat_map(insert).collect()
}

/// What an order of messages leaves.
async fn left(store: &Store, event: &EventRecord, to: u128) -> DeliveryRecord {
    let id = delivery_record(event, to, DeliveryState::Scheduled, 0).id;
    delivery(store.connection(), id).await.unwrap().expect("it is recorded").0.record
}

async fn nothing_waits_for_a_removed_subscription_in_whatever_order_it_is_heard_of(store: Store) {
    use DeliveryState::{Cancelled, Exhausted, Expired, Failed, RetryWait, Scheduled, Succeeded};
    // How it went on before the removal, and how it ended, if anybody heard of that.
    let lives = [
        (Scheduled, None),
        (RetryWait, None),
        (RetryWait, Some(Succeeded)),
        (RetryWait, Some(Failed)),
        (RetryWait, Some(Exhausted)),
        (Scheduled, Some(Expired)),
        // At the gate, which says the same.
        (RetryWait, Some(Cancelled)),
    ];
    let mut to = 0;
    let mut expected = ByState::default();
    for (went_on, ended) in lives {
        for order in orders(if ended.is_some() { 4 } else { 3 }) {
            // One message a transaction, each twice; and all in one.
            for is_together in [false, true] {
                to += 1;
                let event = event_record(&to.to_string(), i64::try_from(to).unwrap());
                let made = delivery_record(&event, to, Scheduled, 0);
                let mut messages = vec![
                    Batch { events: vec![event.clone()], deliveries: vec![made], ..Batch::default() },
                    Batch { deliveries: vec![delivery_record(&event, to, went_on, 5000)], ..Batch::default() },
                    removal(to),
                ];
                messages.extend(ended.map(|state| {
                    let reason = (state == Cancelled).then_some(Reason::SubscriptionRemoved);
                    let delivery = DeliveryRecord { reason, ..delivery_record(&event, to, state, REMOVED + 100) };
                    Batch { deliveries: vec![delivery], ..Batch::default() }
                }));
                if is_together {
                    let mut together = Batch::default();
                    for place in &order {
                        together.events.extend(messages[*place].events.clone());
                        together.deliveries.extend(messages[*place].deliveries.clone());
                        together.removals.extend(messages[*place].removals.clone());
                    }
                    write(&store, together).await;
                } else {
                    for place in order.iter().flat_map(|place| [place, place]) {
                        write(&store, messages[*place].clone()).await;
                    }
                }
                let left = left(&store, &event, to).await;
                let state = ended.unwrap_or(Cancelled);
                let reason = (state == Cancelled).then_some(Reason::SubscriptionRemoved);
                let updated = if ended.is_some() { REMOVED + 100 } else { REMOVED };
                let found = (left.state, left.reason, left.updated_at, left.next_attempt_at);
                assert_eq!(found, (state, reason, at(updated), None), "{went_on:?} {ended:?} {order:?} {is_together}");
                let counted = statistics(store.connection(), left.subscription, at(0), at(1)).await.unwrap().unwrap();
                let mut once = ByState::default();
                for states in [&mut once, &mut expected] {
                    *match state {
                        Succeeded => &mut states.succeeded,
                        Failed => &mut states.failed,
                        Exhausted => &mut states.exhausted,
                        Expired => &mut states.expired,
                        _ => &mut states.cancelled,
                    } += 1;
                }
                assert_eq!((counted.deliveries, counted.waiting), (once, 0), "{order:?} {is_together}");
            }
        }
    }
    let range = Range { since: at(0), until: at(REMOVED), site: None };
    let totals = totals(store.connection(), &range).await.unwrap();
    assert_eq!((totals.states, totals.accepted, totals.unmatched), (expected, expected.sum(), 0));
    assert!(totals.add_up());
}

async fn nothing_waits_when_a_removal_and_what_it_ends_are_written_at_once(store: Store) {
    for round in 0..40_u128 {
        let event = event_record("1", i64::try_from(round).unwrap());
        let made = vec![delivery_record(&event, round, DeliveryState::Scheduled, 0)];
        tokio::join!(write_deliveries(&store, made), write(&store, removal(round)));
        let left = left(&store, &event, round).await;
        assert_eq!((left.state, left.reason), (DeliveryState::Cancelled, Some(Reason::SubscriptionRemoved)), "{round}");
    }
}

async fn what_comes_by_thousands_after_the_removal_does_not_wait_either(store: Store) {
    let deliveries = |first: i64| {
        let events = (first..first + 2300).map(|number| event_record(&number.to_string(), number));
        let mut deliveries: Vec<_> =
            events.map(|event| delivery_record(&event, 1, DeliveryState::Scheduled, 0)).collect();
        // To somebody else, who is there.
        deliveries.push(delivery_record(&event_record("other", first), 2, DeliveryState::Scheduled, 0));
        deliveries
    };
    write_deliveries(&store, deliveries(0)).await;
    write(&store, removal(1)).await;
    write_deliveries(&store, deliveries(3000)).await;
    let totals = totals(store.connection(), &Range { since: at(0), until: at(9000), site: None }).await.unwrap();
    assert_eq!(totals.states, ByState { waiting: 2, cancelled: 4600, ..ByState::default() });
    let counted = async |of| statistics(store.connection(), subscription(of), at(0), at(1)).await.unwrap().unwrap();
    assert_eq!(counted(1).await.deliveries, ByState { cancelled: 4600, ..ByState::default() });
    assert_eq!(counted(2).await.waiting, 2);
}

async fn a_removal_is_forgotten_long_after_its_deliveries(store: Store) {
    const DAY: i64 = 24 * 3600 * 1000;
    write(&store, removal(1)).await;
    let forgotten = async |days: i64| {
        let retention = Retention { records_before: at(REMOVED + days * DAY + 1), responses_before: at(0) };
        expire(&store, retention, 100).await.unwrap()
    };
    assert_eq!(forgotten(29).await, 0);
    let late = event_record("late", 0);
    write_deliveries(&store, vec![delivery_record(&late, 1, DeliveryState::Scheduled, 0)]).await;
    assert_eq!(left(&store, &late, 1).await.state, DeliveryState::Cancelled);
    // It, its delivery, and the hour in which that was counted.
    assert_eq!(forgotten(30).await, 3);
    assert_eq!(forgotten(30).await, 0);
}
