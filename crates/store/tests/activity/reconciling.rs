//! Everything accepted in a time, and what became of it.

use std::time::{Duration, Instant};

use slipstream_core::delivery::{DeliveryState, Reason};
use slipstream_core::ids::{DeliveryId, ReplayId};
use slipstream_store::activity::{
    Batch, ByState, DeliveryRecord, EventRecord, RECONCILED_DELIVERIES_MAX, Range, Reconciled, Retention, Totals,
    expire, reconcile, totals,
};
use slipstream_store::{ConnectionTrait as _, DbBackend, Store};
use uuid::Uuid;

use crate::{at, delivery_record, event_record, on_both_backends, site, subscription, write};

on_both_backends!(
    totals_add_up_over_every_state,
    a_delivery_whose_event_is_not_recorded_does_not_add_up,
    pages_hold_every_event_once_with_its_own_deliveries,
    a_page_ends_before_it_has_too_many_deliveries,
    an_event_is_forgotten_together_with_its_last_delivery,
    a_hundred_thousand_events_are_counted_in_time,
);

fn range(since: i64, until: i64) -> Range {
    Range { since: at(since), until: at(until), site: None }
}

fn held(id: &str, accepted: i64) -> EventRecord {
    EventRecord { intended_at: Some(at(60_000)), routed_at: None, ..event_record(id, accepted) }
}

fn replayed(of: &EventRecord, to: u128, state: DeliveryState) -> DeliveryRecord {
    let replay = ReplayId(Uuid::from_u128(77));
    let id = DeliveryId::derive_replay(of.accepted_at, subscription(to), &of.key, replay);
    DeliveryRecord { id, replay: Some(replay), ..delivery_record(of, to, state, 500) }
}

async fn totals_add_up_over_every_state(store: Store) {
    let mut batch = Batch::default();
    // One event to as many subscriptions as there are states; one of another site.
    for (id, site) in [("1", "s8n6EzC"), ("2", "sUkLWZg")] {
        let event = EventRecord { site: site.parse().unwrap(), ..event_record(id, 10) };
        let deliveries = DeliveryState::ALL.iter().zip(1..).map(|(state, to)| delivery_record(&event, to, *state, 20));
        batch.deliveries.extend(deliveries);
        batch.events.push(event);
    }
    let routed = event_record("replayed", 20);
    batch.deliveries.push(delivery_record(&routed, 1, DeliveryState::Failed, 30));
    batch.deliveries.push(replayed(&routed, 1, DeliveryState::Succeeded));
    batch.deliveries.push(replayed(&routed, 2, DeliveryState::Scheduled));
    // To nobody when it was routed, to somebody by a replay.
    let unmatched = event_record("nobody", 30);
    batch.deliveries.push(replayed(&unmatched, 1, DeliveryState::Exhausted));
    let cancelled = EventRecord { cancelled_at: Some(at(45)), ..held("cancelled", 40) };
    batch.events.extend([routed, unmatched, cancelled, held("held", 50), event_record("before", 9)]);
    batch.events.push(event_record("after", 60));
    write(&store, batch).await;
    let of = async |range: Range| totals(store.connection(), &range).await.unwrap();

    let all = of(range(10, 60)).await;
    let states = ByState { waiting: 5, succeeded: 2, failed: 3, exhausted: 2, expired: 2, cancelled: 3 };
    let replays = ByState { waiting: 1, succeeded: 1, exhausted: 1, ..ByState::default() };
    assert_eq!(all, Totals { events: 6, accepted: 18, unmatched: 1, states, replays });
    assert!(all.add_up());

    let one_site = of(Range { site: Some("sUkLWZg".parse().unwrap()), ..range(10, 60) }).await;
    let states = ByState { waiting: 2, succeeded: 1, failed: 1, exhausted: 1, expired: 1, cancelled: 1 };
    assert_eq!(one_site, Totals { events: 1, accepted: 7, unmatched: 0, states, replays: ByState::default() });
    assert_eq!(of(range(0, 9)).await, Totals::default());
    assert_eq!(of(range(60, 10)).await, Totals::default());
}

async fn a_delivery_whose_event_is_not_recorded_does_not_add_up(store: Store) {
    let event = event_record("1", 0);
    let deliveries = vec![delivery_record(&event, 1, DeliveryState::Succeeded, 20)];
    write(&store, Batch { deliveries, ..Batch::default() }).await;
    let before = totals(store.connection(), &range(0, 1)).await.unwrap();
    assert_eq!((before.accepted, before.states.sum(), before.add_up()), (0, 1, false));
    write(&store, Batch { events: vec![event], ..Batch::default() }).await;
    assert!(totals(store.connection(), &range(0, 1)).await.unwrap().add_up());
}

/// All pages, one after the other, and how many there were.
async fn pages(store: &Store, range: &Range, limit: usize) -> (Vec<Reconciled>, usize) {
    let (mut items, mut after, mut count) = (Vec::new(), None, 0);
    loop {
        let page = reconcile(store.connection(), range, limit, after).await.unwrap();
        assert!(page.items.len() <= limit);
        items.extend(page.items);
        count += 1;
        let Some(next) = page.next else { return (items, count) };
        after = Some(next);
    }
}

async fn pages_hold_every_event_once_with_its_own_deliveries(store: Store) {
    let mut batch = Batch::default();
    // Four in each millisecond, so that pages end between equal times; each to as many as its number says.
    for number in 0..40_i64 {
        let event = event_record(&number.to_string(), number / 4);
        for to in 0..number as u128 % 4 {
            let state = DeliveryState::ALL[(number as usize + to as usize) % 7];
            let reason = (state == DeliveryState::Exhausted).then_some(Reason::NoAttemptsLeft);
            batch.deliveries.push(DeliveryRecord { reason, ..delivery_record(&event, to, state, 20) });
        }
        batch.deliveries.push(replayed(&event, 9, DeliveryState::Succeeded));
        batch.events.push(event);
    }
    write(&store, batch.clone()).await;
    let (items, count) = pages(&store, &range(1, 9), 7).await;
    assert_eq!(count, 32_usize.div_ceil(7));
    let mut numbers: Vec<i64> = items.iter().map(|item| item.event.id.parse().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (4..36).collect::<Vec<_>>());
    assert!(items.is_sorted_by_key(|item| item.event.accepted_at));
    for item in items {
        let number: usize = item.event.id.parse().unwrap();
        assert_eq!(item.deliveries.len(), number % 4, "{number}");
        for delivery in item.deliveries {
            let written = batch.deliveries.iter().find(|it| it.id == delivery.id).unwrap();
            assert_eq!(
                (delivery.subscription, delivery.state, delivery.reason),
                (written.subscription, written.state, written.reason)
            );
        }
    }
    let elsewhere = Range { site: Some("sUkLWZg".parse().unwrap()), ..range(0, 100) };
    assert_eq!(pages(&store, &elsewhere, 7).await, (Vec::new(), 1));
}

async fn a_page_ends_before_it_has_too_many_deliveries(store: Store) {
    let mut batch = Batch::default();
    for (id, accepted, count) in
        [("a", 0, 10), ("b", 1, RECONCILED_DELIVERIES_MAX as u128), ("c", 2, 10_010), ("d", 3, 1)]
    {
        let event = event_record(id, accepted);
        batch.deliveries.extend((0..count).map(|to| delivery_record(&event, to, DeliveryState::Succeeded, 20)));
        batch.events.push(event);
    }
    write(&store, batch).await;
    let (items, count) = pages(&store, &range(0, 10), 100).await;
    let found: Vec<_> = items.iter().map(|item| (item.event.id.as_str(), item.deliveries.len(), item.is_cut)).collect();
    let most = RECONCILED_DELIVERIES_MAX;
    let expected = [("a", 10, false), ("b", most, false), ("c", most, true), ("d", 1, false)];
    assert_eq!(found, expected, "of one with more, the first so many");
    assert_eq!(count, 4);
}

/// Were its deliveries to go first, it would count as one that nobody matched until it went too.
async fn an_event_is_forgotten_together_with_its_last_delivery(store: Store) {
    let mut batch = Batch::default();
    for number in 0..6_i64 {
        let event = event_record(&number.to_string(), number);
        batch.deliveries.push(delivery_record(&event, 1, DeliveryState::Succeeded, 20));
        batch.events.push(event);
    }
    write(&store, batch).await;
    let retention = Retention { records_before: at(1000), responses_before: at(0) };
    let counted = async || totals(store.connection(), &range(0, 10)).await.unwrap();
    let before = counted().await;

    // Events cannot be deleted now: then their deliveries are not either.
    let (forbid, allow): (&[&str], _) = match store.connection().get_database_backend() {
        DbBackend::Postgres => (
            &[
                "CREATE FUNCTION no() RETURNS trigger AS 'BEGIN RAISE EXCEPTION ''no''; END' LANGUAGE plpgsql",
                "CREATE TRIGGER keep BEFORE DELETE ON events FOR EACH ROW EXECUTE FUNCTION no()",
            ],
            "DROP TRIGGER keep ON events",
        ),
        _ => {
            (&["CREATE TRIGGER keep BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'no'); END"], "DROP TRIGGER keep")
        }
    };
    for sql in forbid {
        store.connection().execute_unprepared(sql).await.unwrap();
    }
    assert!(expire(&store, retention, 2).await.is_err());
    assert_eq!(counted().await, before);
    store.connection().execute_unprepared(allow).await.unwrap();
    assert_eq!(expire(&store, retention, 2).await.unwrap(), 4, "two deliveries and two events");
    let after = counted().await;
    assert_eq!((after.events, after.accepted, after.unmatched, after.states.succeeded), (4, 4, 0, 4));
}

async fn a_hundred_thousand_events_are_counted_in_time(store: Store) {
    // As batches of publishers come: a thousand in the same millisecond.
    for millisecond in 0..100_i64 {
        let mut batch = Batch::default();
        for number in 0..1000_i64 {
            let event = event_record(&format!("{millisecond}.{number}"), millisecond);
            if number > 0 {
                let state = DeliveryState::ALL[number as usize % 7];
                batch.deliveries.push(delivery_record(&event, 1, state, number));
            }
            batch.events.push(event);
        }
        write(&store, batch).await;
    }
    let began = Instant::now();
    let counted = totals(store.connection(), &range(0, 100)).await.unwrap();
    let took = began.elapsed();
    let page = reconcile(store.connection(), &range(0, 100), 100, None).await.unwrap();
    let page_took = began.elapsed().saturating_sub(took);
    println!("totals of 100,000 events: {took:?}; their first page: {page_took:?}");
    assert_eq!((counted.events, counted.accepted, counted.unmatched, counted.add_up()), (100_000, 100_000, 100, true));
    assert_eq!(page.items.len(), 100);
    let with_site = Range { site: Some(site()), ..range(0, 100) };
    assert_eq!(totals(store.connection(), &with_site).await.unwrap(), counted);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}
