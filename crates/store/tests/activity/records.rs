//! Events, deliveries and attempts: writing in any order, reading, forgetting.

use slipstream_core::answer::ErrorCode;
use slipstream_core::config::Surface;
use slipstream_core::delivery::{DeliveryState, Reason};
use slipstream_core::ids::DeliveryId;
use slipstream_store::Store;
use slipstream_store::activity::{
    AttemptRecord, Batch, Delivery, DeliveryRecord, EventRecord, Filter, Quarantined, Removal, Retention, delivery,
    event, expire, list, quarantined,
};
use uuid::Uuid;

use crate::{
    at, attempt_record, delivery_record, event_record, on_both_backends, site, subscription, write, write_deliveries,
};

on_both_backends!(
    the_order_and_number_of_writes_do_not_matter,
    an_event_and_its_delivery_are_read_back_unchanged,
    a_held_event_becomes_routed_and_never_held_again,
    the_last_of_two_requests_with_one_number_counts,
    filters_find_what_they_say,
    pages_hold_every_delivery_once_while_more_arrive,
    several_states_come_newest_first_across_pages,
    a_removed_subscription_cancels_only_what_is_open,
    what_is_old_is_forgotten_in_its_order,
    texts_of_any_kind_are_kept,
    a_message_in_quarantine_is_kept_once,
    thousands_of_rows_are_one_batch,
);

async fn found(store: &Store, filter: Filter) -> Vec<Delivery> {
    list(store.connection(), &filter, 100, None).await.unwrap().items
}

async fn one(store: &Store, id: DeliveryId) -> (Delivery, Vec<AttemptRecord>) {
    delivery(store.connection(), id).await.unwrap().expect("the delivery is recorded")
}

async fn the_order_and_number_of_writes_do_not_matter(store: Store) {
    // Four records of one life, every order of them, each order for a delivery of its own; each record twice.
    let life = [
        (DeliveryState::Scheduled, 0, None),
        (DeliveryState::RetryWait, 10, Some(at(5000))),
        (DeliveryState::Failed, 6000, None),
        (DeliveryState::Succeeded, 5000, None),
    ];
    let mut orders = Vec::new();
    for order in 0..256_usize {
        let places: Vec<_> = (0..4).map(|place| order >> (2 * place) & 3).collect();
        if (0..4).all(|place| places.contains(&place)) {
            orders.push(places);
        }
    }
    assert_eq!(orders.len(), 24);
    for (number, order) in orders.iter().enumerate() {
        let event = event_record(&number.to_string(), number as i64);
        for place in order.iter().chain(order) {
            let (state, updated, next_attempt_at) = life[*place];
            let record = DeliveryRecord { next_attempt_at, ..delivery_record(&event, 1, state, updated) };
            write_deliveries(&store, vec![record]).await;
        }
        let expected = delivery_record(&event, 1, DeliveryState::Succeeded, 5000);
        assert_eq!(one(&store, expected.id).await.0.record, expected, "{order:?}");
    }
    // Of two that are not final the later holds, though it made no attempt.
    let event = event_record("parked", 0);
    let parked = DeliveryRecord {
        reason: Some(Reason::EndpointSlowed),
        next_attempt_at: Some(at(9000)),
        ..delivery_record(&event, 1, DeliveryState::Scheduled, 7000)
    };
    write_deliveries(&store, vec![parked.clone()]).await;
    write_deliveries(&store, vec![delivery_record(&event, 1, DeliveryState::RetryWait, 10)]).await;
    assert_eq!(one(&store, parked.id).await.0.record, parked);
}

async fn an_event_and_its_delivery_are_read_back_unchanged(store: Store) {
    let event_of_it = event_record("1", 0);
    let one_of_it = delivery_record(&event_of_it, 1, DeliveryState::Exhausted, 50);
    let failed = AttemptRecord {
        status: None,
        error: Some(ErrorCode::Timeout),
        response: None,
        ..attempt_record(&one_of_it, 1, 10)
    };
    let answered = attempt_record(&one_of_it, 2, 20);
    write(
        &store,
        Batch {
            events: vec![event_of_it.clone()],
            deliveries: vec![one_of_it.clone()],
            attempts: vec![answered.clone(), failed.clone()],
            ..Batch::default()
        },
    )
    .await;
    let (found, attempts) = one(&store, one_of_it.id).await;
    assert_eq!((&found.record, found.attempt_count), (&one_of_it, 2));
    assert_eq!(found.event.as_ref().unwrap().source, event_of_it.source);
    assert_eq!(attempts, [failed, answered]);
    let explained = event(store.connection(), &site(), &event_of_it.source, "1").await.unwrap().unwrap();
    assert_eq!((explained.event, explained.deliveries), (event_of_it.clone(), vec![found]));
    assert!(event(store.connection(), &site(), &event_of_it.source, "2").await.unwrap().is_none());
    let nobody = DeliveryId(Uuid::nil());
    assert!(delivery(store.connection(), nobody).await.unwrap().is_none());
}

async fn a_held_event_becomes_routed_and_never_held_again(store: Store) {
    let routed = EventRecord { intended_at: Some(at(5000)), ..event_record("1", 0) };
    let held = EventRecord { routed_at: None, skipped: Vec::new(), ..routed.clone() };
    let read = async || event(store.connection(), &site(), &routed.source, "1").await.unwrap().unwrap().event;
    for (written, expected) in [(&held, &held), (&routed, &routed), (&held, &routed), (&routed, &routed)] {
        write(&store, Batch { events: vec![written.clone()], ..Batch::default() }).await;
        assert_eq!(&read().await, expected);
    }
}

async fn the_last_of_two_requests_with_one_number_counts(store: Store) {
    let of = delivery_record(&event_record("1", 0), 1, DeliveryState::Succeeded, 50);
    let first = attempt_record(&of, 1, 10);
    let second = AttemptRecord { status: Some(200), response: None, ..attempt_record(&of, 1, 20) };
    write_deliveries(&store, vec![of.clone()]).await;
    for attempt in [&second, &first, &second] {
        write(&store, Batch { attempts: vec![attempt.clone()], ..Batch::default() }).await;
        assert_eq!(one(&store, of.id).await.1, std::slice::from_ref(&second));
    }
}

async fn filters_find_what_they_say(store: Store) {
    let states = DeliveryState::ALL;
    let mut batch = Batch::default();
    for number in 0..28_usize {
        let mut event = event_record(&(number % 14).to_string(), number as i64 * 1000);
        if number % 2 == 1 {
            event.site = "sUkLWZg".parse().unwrap();
        }
        if number % 4 >= 2 {
            event.event_type = "communications.letter.status_updated".into();
        }
        // Subscriptions 0 and 2 are of the one site, 1 and 3 of the other.
        let to = (number % 4) as u128;
        batch.deliveries.push(delivery_record(&event, to, states[number % 7], number as i64));
        batch.events.push(event);
    }
    let all = batch.deliveries.clone();
    write(&store, batch).await;
    let filter = Filter::default;
    let count = async |filter: Filter| found(&store, filter).await.len();
    assert_eq!(count(filter()).await, 28);
    assert_eq!(count(Filter { site: Some(site()), ..filter() }).await, 14);
    assert_eq!(count(Filter { subscription: Some(subscription(3)), ..filter() }).await, 7);
    assert_eq!(count(Filter { subscription: Some(subscription(4)), ..filter() }).await, 0);
    assert_eq!(count(Filter { event_type: Some("communications.letter.created".into()), ..filter() }).await, 14);
    assert_eq!(count(Filter { event_type: Some("communications".into()), ..filter() }).await, 0);
    assert_eq!(count(Filter { event_id: Some("3".into()), ..filter() }).await, 2);
    assert_eq!(count(Filter { event: Some(all[3].event_key), ..filter() }).await, 2);
    assert_eq!(count(Filter { event: Some(event_record("nobody", 0).key), ..filter() }).await, 0);
    assert_eq!(count(Filter { surface: Some(Surface::Slipstream), ..filter() }).await, 28);
    assert_eq!(count(Filter { since: Some(at(10_000)), until: Some(at(13_000)), ..filter() }).await, 3);
    for state in states {
        let items = found(&store, Filter { states: vec![state], ..filter() }).await;
        assert!(items.len() == 4 && items.iter().all(|item| item.record.state == state), "{state:?}");
    }
    let all_together = Filter {
        states: vec![all[16].state],
        site: Some(all[16].site.clone()),
        subscription: Some(all[16].subscription),
        event_type: Some("communications.letter.created".into()),
        event_id: Some("2".into()),
        surface: Some(Surface::Slipstream),
        event: Some(all[16].event_key),
        since: Some(at(16_000)),
        until: Some(at(16_001)),
    };
    let items = found(&store, all_together).await;
    assert_eq!(items.iter().map(|item| item.record.clone()).collect::<Vec<_>>(), [all[16].clone()]);
}

/// The ids of all pages, in order.
async fn pages(store: &Store, filter: &Filter, limit: usize, mut between: impl AsyncFnMut()) -> Vec<DeliveryId> {
    let mut ids = Vec::new();
    let mut after = None;
    loop {
        let page = list(store.connection(), filter, limit, after).await.unwrap();
        assert!(page.items.len() <= limit);
        ids.extend(page.items.iter().map(|item| item.record.id));
        let Some(next) = page.next else { return ids };
        after = Some(next.parse().unwrap());
        between().await;
    }
}

async fn pages_hold_every_delivery_once_while_more_arrive(store: Store) {
    // Five per millisecond, so that pages end between equal times.
    let all: Vec<_> = (0..50_i64)
        .map(|number| delivery_record(&event_record(&number.to_string(), number / 5), 1, DeliveryState::Failed, 0))
        .collect();
    write_deliveries(&store, all.clone()).await;
    let mut expected: Vec<_> = all.iter().map(|delivery| delivery.id).collect();
    expected.sort_unstable_by(|a, b| b.cmp(a));
    let mut number = 1000;
    let arrive = async || {
        number += 1;
        let newer = delivery_record(&event_record(&number.to_string(), number), 1, DeliveryState::Failed, 0);
        write_deliveries(&store, vec![newer]).await;
    };
    assert_eq!(pages(&store, &Filter::default(), 7, arrive).await, expected);
}

async fn several_states_come_newest_first_across_pages(store: Store) {
    let all: Vec<_> = (0..40_i64)
        .map(|number| {
            let state = DeliveryState::ALL[number as usize % 7];
            delivery_record(&event_record(&number.to_string(), number / 3), 1, state, 0)
        })
        .collect();
    write_deliveries(&store, all.clone()).await;
    let states = vec![DeliveryState::Failed, DeliveryState::Exhausted];
    let mut expected: Vec<_> =
        all.iter().filter(|delivery| states.contains(&delivery.state)).map(|delivery| delivery.id).collect();
    expected.sort_unstable_by(|a, b| b.cmp(a));
    assert_eq!(pages(&store, &Filter { states, ..Filter::default() }, 3, async || {}).await, expected);
}

async fn a_removed_subscription_cancels_only_what_is_open(store: Store) {
    let states = DeliveryState::ALL;
    let of = |to: u128| {
        states.into_iter().enumerate().map(move |(number, state)| {
            delivery_record(&event_record(&number.to_string(), number as i64), to, state, 100)
        })
    };
    let removals = vec![Removal { subscription: subscription(1), at: at(200) }];
    let batch = Batch { deliveries: of(1).chain(of(2)).collect(), removals, ..Batch::default() };
    write(&store, batch.clone()).await;
    write(&store, batch).await;
    for before in of(1) {
        let after = one(&store, before.id).await.0.record;
        if before.state.is_terminal() {
            assert_eq!(after, before);
        } else {
            assert_eq!((after.state, after.reason), (DeliveryState::Cancelled, Some(Reason::SubscriptionRemoved)));
            assert_eq!((after.updated_at, after.next_attempt_at), (at(200), None));
        }
    }
    for before in of(2) {
        assert_eq!(one(&store, before.id).await.0.record, before);
    }
}

async fn what_is_old_is_forgotten_in_its_order(store: Store) {
    let mut batch = Batch::default();
    // Old and final; old but still waiting; old but ended lately; new.
    let cases = [
        ("gone", 0, DeliveryState::Succeeded, 10),
        ("waiting", 0, DeliveryState::RetryWait, 10),
        ("late", 0, DeliveryState::Failed, 5000),
        ("new", 5000, DeliveryState::Succeeded, 5010),
    ];
    for (id, accepted, state, updated) in cases {
        let event = event_record(id, accepted);
        let delivery = delivery_record(&event, 1, state, updated);
        batch.attempts.push(attempt_record(&delivery, 1, accepted));
        batch.deliveries.push(delivery);
        batch.events.push(event);
    }
    batch.events.push(EventRecord { routed_at: None, intended_at: Some(at(9000)), ..event_record("held", 0) });
    batch.events.push(event_record("nobody", 0));
    let (routed_at, cancelled_at) = (None, Some(at(10)));
    let intended_at = Some(at(9000));
    batch.events.push(EventRecord { routed_at, cancelled_at, intended_at, ..event_record("cancelled", 0) });
    write(&store, batch.clone()).await;
    let retention = Retention { records_before: at(1000), responses_before: at(0) };
    while expire(&store, retention, 1).await.unwrap() > 0 {}
    let mut left = Vec::new();
    for record in &batch.events {
        if event(store.connection(), &site(), &record.source, &record.id).await.unwrap().is_some() {
            left.push(record.id.as_str());
        }
    }
    assert_eq!(left, ["waiting", "late", "new", "held"]);
    assert_eq!(found(&store, Filter::default()).await.len(), 3);
    assert!(one(&store, batch.deliveries[1].id).await.1[0].response.is_some());
    while expire(&store, Retention { responses_before: at(1000), ..retention }, 1).await.unwrap() > 0 {}
    assert!(one(&store, batch.deliveries[1].id).await.1[0].response.is_none());
    assert!(one(&store, batch.deliveries[3].id).await.1[0].response.is_some());
}

async fn texts_of_any_kind_are_kept(store: Store) {
    // Longer than PostgreSQL takes into an index, and any script.
    let id = format!("émoji 😀 ' \" \\ % {}", "x".repeat(20_000));
    let record = event_record(&id, 0);
    write(&store, Batch { events: vec![record.clone()], ..Batch::default() }).await;
    let found = event(store.connection(), &site(), &record.source, &id).await.unwrap().unwrap();
    assert_eq!(found.event, record);
    // NUL cannot be in an attribute; if it were, the record would still be written.
    let record = EventRecord { subject: Some("a\0b".into()), ..event_record("nul", 0) };
    write(&store, Batch { events: vec![record.clone()], ..Batch::default() }).await;
    let found = event(store.connection(), &site(), &record.source, "nul").await.unwrap().unwrap();
    assert_eq!(found.event.subject.as_deref(), Some("a\u{fffd}b"));
}

async fn a_message_in_quarantine_is_kept_once(store: Store) {
    let message = Quarantined {
        id: Uuid::from_u128(7),
        received_at: at(0),
        subject: "routed.s8n6EzC".into(),
        error: "expected value at line 1 column 1".into(),
        payload: b"\0\xff".to_vec(),
    };
    for received in [0, 5] {
        let again = Quarantined { received_at: at(received), ..message.clone() };
        write(&store, Batch { quarantined: vec![again.clone(), again], ..Batch::default() }).await;
    }
    assert_eq!(quarantined(store.connection(), 10).await.unwrap(), [message]);
    let retention = Retention { records_before: at(1), responses_before: at(0) };
    assert_eq!(expire(&store, retention, 10).await.unwrap(), 1);
    assert!(quarantined(store.connection(), 10).await.unwrap().is_empty());
}

async fn thousands_of_rows_are_one_batch(store: Store) {
    let mut batch = Batch::default();
    for number in 0..1365_i64 {
        let event = event_record(&number.to_string(), number / 10);
        let delivery = delivery_record(&event, 1, DeliveryState::Succeeded, number);
        batch.attempts.push(attempt_record(&delivery, 1, number));
        batch.deliveries.push(delivery);
        batch.events.push(event);
    }
    // Every record twice: merging leaves one.
    let again = batch.clone();
    batch.events.extend(again.events);
    batch.deliveries.extend(again.deliveries);
    batch.attempts.extend(again.attempts);
    write(&store, batch).await;
    assert_eq!(pages(&store, &Filter::default(), 100, async || {}).await.len(), 1365);
}
