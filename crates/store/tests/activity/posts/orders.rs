//! Whatever comes in which order and how often, the rows are the same.

use slipstream_core::delivery::{DeliveryState, Reason};
use slipstream_core::ids::ActivityId;
use slipstream_store::Store;
use slipstream_store::activity::{Batch, DeliveryRecord};

use super::{attempted, check_counts, delivery_of, ended, found, person, posted, record_of, told};
use crate::removed::orders;
use crate::{at, on_both_backends, write};

on_both_backends!(
    posts_and_outcomes_make_the_same_rows_in_whatever_order_they_come,
    attempts_are_a_chain_that_a_success_ends,
    a_delivery_that_ends_without_an_attempt_fails_its_activity,
    putting_off_moves_the_next_retry,
    an_attempt_that_was_made_again_is_one_activity,
    an_answer_without_a_body_is_an_empty_text,
    nothing_is_shown_that_nobody_has_heard_of,
);

use DeliveryState::{Cancelled, Exhausted, Expired, RetryWait, Scheduled, Succeeded};

/// Lives of a delivery, as messages.
fn lives(id: u128, to: u128, made: i64) -> Vec<Vec<Batch>> {
    let delivery = delivery_of(id, to, made);
    let record = |state, updated| record_of(delivery, id, to, state, made + updated);
    let failed =
        |number: u32| attempted(record(RetryWait, 100 * i64::from(number)), number, 503, made + 90 * i64::from(number));
    let parked = |updated| ended(record(RetryWait, updated), Reason::EndpointPaused);
    let put_off = |updated| ended(record(Scheduled, updated), Reason::EndpointPaused);
    let post = posted(id, to, made);
    vec![
        vec![post.clone(), attempted(record(Succeeded, 50), 1, 204, made + 40)],
        vec![post.clone(), failed(1), failed(2), attempted(record(Succeeded, 300), 3, 200, made + 290)],
        vec![post.clone(), failed(1), failed(2), attempted(record(Exhausted, 300), 3, 500, made + 290)],
        vec![post.clone(), failed(1), parked(150), failed(2)],
        vec![post.clone(), failed(1), parked(150), ended(record(Cancelled, 400), Reason::SubscriptionRemoved)],
        vec![post.clone(), put_off(10), ended(record(Expired, 400), Reason::ExpiryTime)],
        vec![post, put_off(10), failed(1)],
    ]
}

async fn posts_and_outcomes_make_the_same_rows_in_whatever_order_they_come(store: Store) {
    let mut id = 0;
    for life in 0..lives(0, 1, 0).len() {
        let mut expected: Option<Vec<String>> = None;
        for order in orders(lives(0, 1, 0)[life].len()) {
            // One message a transaction, each twice; all in one; and by two.
            for way in 0..3 {
                id += 1;
                // One time for all, so that rows differ by their ids and keys only.
                let messages = lives(id, 1, 1000).swap_remove(life);
                let in_order: Vec<_> = order.iter().map(|place| messages[*place].clone()).collect();
                match way {
                    0 => {
                        for message in in_order {
                            write(&store, message.clone()).await;
                            write(&store, message).await;
                        }
                    }
                    1 => write(&store, together(in_order)).await,
                    _ => {
                        let mut first = in_order;
                        let second = first.split_off(first.len() / 2);
                        write(&store, together(first.clone())).await;
                        write(&store, together(second)).await;
                        write(&store, together(first)).await;
                    }
                }
                let delivery = delivery_of(id, 1, 1000);
                let mut names: Vec<_> = (1..=4_u32).map(|n| ActivityId::of_attempt(delivery, n).to_string()).collect();
                names.push(super::key(id).to_string());
                names.push(format!("{:?}", super::event(id % 2)));
                names.push(format!(r#"{{"n":{id}}}"#));
                let mut told = told(&store, delivery).await;
                for text in &mut told {
                    for (number, name) in names.iter().enumerate() {
                        *text = text.replace(name.as_str(), &format!("<{number}>"));
                    }
                }
                match &expected {
                    None => expected = Some(told),
                    Some(expected) => assert_eq!(&told, expected, "life {life}, order {order:?}, way {way}"),
                }
            }
        }
        assert!(expected.is_some_and(|rows| !rows.is_empty()), "it is put to the test");
    }
    assert!(check_counts(&store, 1).await > 100);
}

fn together(messages: Vec<Batch>) -> Batch {
    let mut batch = Batch::default();
    for message in messages {
        batch.deliveries.extend(message.deliveries);
        batch.attempts.extend(message.attempts);
        batch.posts.extend(message.posts);
        batch.post_attempts.extend(message.post_attempts);
    }
    batch
}

async fn attempts_are_a_chain_that_a_success_ends(store: Store) {
    let delivery = delivery_of(1, 1, 0);
    write(&store, posted(1, 1, 0)).await;
    let pending = found(&store, delivery, 1).await;
    assert_eq!((pending.success, pending.posted_at, pending.level), (None, None, 1));
    assert_eq!((pending.payload.get(), pending.stamps.created_by), (r#"{"n":1}"#, person()));

    write(&store, attempted(record_of(delivery, 1, 1, RetryWait, 100), 1, 503, 90)).await;
    let failed = found(&store, delivery, 1).await;
    assert_eq!((failed.success, failed.status, failed.error.as_deref()), (Some(false), Some(503), Some("HTTP 503")));
    assert_eq!((failed.posted_at, failed.created_at), (Some(at(90)), at(0)));
    assert_eq!(failed.next_retry_at, Some(at(60_100)));
    assert_eq!(failed.raw_response.unwrap().get(), r#""\"so\" �""#);

    write(&store, attempted(record_of(delivery, 1, 1, RetryWait, 200), 2, 503, 190)).await;
    let second = found(&store, delivery, 2).await;
    assert_eq!((second.level, second.parent, second.root), (2, Some(failed.id), failed.id));
    assert_eq!((second.created_at, second.payload.get()), (at(190), r#"{"n":1}"#));
    assert_eq!(second.hash, Some(format!("{:064x}", 2)));
    assert_eq!((second.next_retry_at, found(&store, delivery, 1).await.next_retry_at), (Some(at(60_200)), None));

    write(&store, attempted(record_of(delivery, 1, 1, Succeeded, 300), 3, 200, 290)).await;
    let chain = [1, 2, 3].map(|number| found(&store, delivery, number));
    let mut levels = Vec::new();
    for activity in chain {
        let activity = activity.await;
        levels.push((activity.level, activity.success, activity.next_retry_at));
    }
    assert_eq!(levels, [(1, Some(false), None), (2, Some(false), None), (3, Some(true), None)]);
    assert_eq!(check_counts(&store, 1).await, 3);
}

async fn a_delivery_that_ends_without_an_attempt_fails_its_activity(store: Store) {
    let delivery = delivery_of(1, 1, 0);
    write(&store, posted(1, 1, 0)).await;
    write(&store, ended(record_of(delivery, 1, 1, Cancelled, 100), Reason::SubscriptionRemoved)).await;
    let activity = found(&store, delivery, 1).await;
    assert_eq!((activity.success, activity.error.as_deref()), (Some(false), Some("subscription_removed")));
    assert_eq!((activity.posted_at, activity.status, activity.stamps.updated_at), (None, None, at(100)));
    assert_eq!(check_counts(&store, 1).await, 1);
}

async fn putting_off_moves_the_next_retry(store: Store) {
    let delivery = delivery_of(1, 1, 0);
    write(&store, posted(1, 1, 0)).await;
    let record = DeliveryRecord { next_attempt_at: Some(at(5000)), ..record_of(delivery, 1, 1, Scheduled, 10) };
    write(&store, ended(record, Reason::EndpointPaused)).await;
    let pending = found(&store, delivery, 1).await;
    assert_eq!((pending.success, pending.next_retry_at), (None, None), "it was not posted yet");
    write(&store, attempted(record_of(delivery, 1, 1, RetryWait, 100), 1, 503, 90)).await;
    write(&store, ended(record_of(delivery, 1, 1, RetryWait, 700), Reason::EndpointPaused)).await;
    assert_eq!(found(&store, delivery, 1).await.next_retry_at, Some(at(60_700)));
    write(&store, ended(record_of(delivery, 1, 1, Cancelled, 800), Reason::CancelledByRequest)).await;
    let failed = found(&store, delivery, 1).await;
    assert_eq!((failed.next_retry_at, failed.error.as_deref()), (None, Some("HTTP 503")));
}

async fn an_attempt_that_was_made_again_is_one_activity(store: Store) {
    let delivery = delivery_of(1, 1, 0);
    write(&store, posted(1, 1, 0)).await;
    let made = [(503, 90), (204, 500), (500, 900)];
    for (status, started) in made.iter().chain(made.iter().rev()) {
        let state = if *status == 204 { Succeeded } else { RetryWait };
        write(&store, attempted(record_of(delivery, 1, 1, state, started + 10), 1, *status, *started)).await;
    }
    // A success holds, whichever came last.
    let activity = found(&store, delivery, 1).await;
    assert_eq!((activity.success, activity.status, activity.posted_at), (Some(true), Some(204), Some(at(500))));
    assert_eq!(check_counts(&store, 1).await, 1);
}

async fn an_answer_without_a_body_is_an_empty_text(store: Store) {
    for (id, status, expected) in [(1, Some(404), Some("\"\"")), (2, Some(204), Some("\"\"")), (3, None, None)] {
        let delivery = delivery_of(id, 1, 0);
        write(&store, posted(id, 1, 0)).await;
        let mut batch = attempted(record_of(delivery, id, 1, RetryWait, 100), 1, 0, 90);
        (batch.post_attempts[0].status, batch.post_attempts[0].response) = (status, None);
        write(&store, batch).await;
        let raw_response = found(&store, delivery, 1).await.raw_response;
        assert_eq!(raw_response.as_deref().map(serde_json::value::RawValue::get), expected, "{status:?}");
    }
}

async fn nothing_is_shown_that_nobody_has_heard_of(store: Store) {
    let delivery = delivery_of(1, 1, 0);
    write(&store, attempted(record_of(delivery, 1, 1, RetryWait, 100), 1, 503, 90)).await;
    assert_eq!(told(&store, delivery).await, [""; 0]);
    assert_eq!(check_counts(&store, 1).await, 0);
    write(&store, posted(1, 1, 0)).await;
    assert_eq!(told(&store, delivery).await.len(), 1);
    assert_eq!(check_counts(&store, 1).await, 1);
}
