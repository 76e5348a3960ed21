//! Counts that are kept while records are written say what counting the records says.

use std::time::{Duration, Instant};

use slipstream_core::delivery::DeliveryState;
use slipstream_core::ids::SubscriptionId;
use slipstream_core::timestamp::Timestamp;
use slipstream_store::activity::{
    AttemptRecord, Batch, ByState, DeliveryRecord, Filter, Removal, Retention, Statistics, delivery, expire, list,
    statistics,
};
use slipstream_store::{ConnectionTrait as _, Store};

use crate::{
    at, attempt_record, delivery_record, event_record, on_both_backends, subscription, write, write_deliveries,
};

on_both_backends!(
    counts_are_what_counting_finds_whatever_was_written_how_often_and_in_which_order,
    writers_at_once_count_each_delivery_once,
    hours_begin_and_end_where_they_should,
    an_attempt_that_was_made_again_counts_once,
    hours_are_forgotten_when_nothing_of_them_waits,
    what_was_recorded_before_there_were_counts_is_counted,
    a_month_of_hours_is_summed_up_at_once,
);

const HOUR: i64 = 3_600_000;

async fn counted(store: &Store, of: SubscriptionId, since: Timestamp, until: Timestamp) -> Statistics {
    statistics(store.connection(), of, since, until).await.unwrap().unwrap_or_else(|| Statistics::none(since, until))
}

/// The same by looking at every record.
async fn looked_up(store: &Store, of: SubscriptionId, since: Timestamp, until: Timestamp) -> Statistics {
    let mut found = Statistics::none(since, until);
    let filter = Filter { subscription: Some(of), ..Filter::default() };
    let all = list(store.connection(), &filter, 10_000, None).await.unwrap();
    assert_eq!(all.next, None);
    for it in all.items {
        let is_within = (found.since..found.until).contains(&it.record.created_at());
        if !it.record.state.is_terminal() {
            found.waiting += 1;
        }
        for attempt in delivery(store.connection(), it.record.id).await.unwrap().unwrap().1 {
            let ended_at = attempt.started_at.after(Duration::from_micros(attempt.duration_us));
            let is_success = attempt.status.is_some_and(|status| (200..300).contains(&status));
            let last = if is_success { &mut found.last_success_at } else { &mut found.last_failure_at };
            *last = (*last).max(Some(ended_at));
            if is_within {
                found.attempts += 1;
                found.attempts_failed += u64::from(!is_success);
                found.attempts_us += attempt.duration_us;
            }
        }
        if is_within {
            let states = &mut found.deliveries;
            *match it.record.state {
                DeliveryState::Scheduled | DeliveryState::RetryWait => &mut states.waiting,
                DeliveryState::Succeeded => &mut states.succeeded,
                DeliveryState::Failed => &mut states.failed,
                DeliveryState::Exhausted => &mut states.exhausted,
                DeliveryState::Expired => &mut states.expired,
                DeliveryState::Cancelled => &mut states.cancelled,
            } += 1;
        }
    }
    found
}

/// Whole numbers that look like chance and are the same in every run.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

async fn counts_are_what_counting_finds_whatever_was_written_how_often_and_in_which_order(store: Store) {
    let mut numbers = Numbers(7);
    let mut batches: Vec<Batch> = Vec::new();
    for round in 0..60 {
        let mut batch = Batch::default();
        for _ in 0..numbers.below(30) {
            // Few events and subscriptions, so that each delivery is written many times, each time from another state.
            let event = event_record(&numbers.below(12).to_string(), (numbers.below(6) * 20) as i64 * 60_000);
            let state = DeliveryState::ALL[numbers.below(7) as usize];
            let to = u128::from(numbers.below(3));
            let record = delivery_record(&event, to, state, numbers.below(1000) as i64);
            if numbers.below(2) == 0 {
                let number = 1 + numbers.below(4) as u32;
                // Not of another time: one that is made again is counted as it was first recorded.
                let started = i64::from(number) * 1000;
                let status = Some([200, 204, 410, 503][number as usize - 1]);
                batch.attempts.push(AttemptRecord { status, ..attempt_record(&record, number, started) });
            }
            batch.deliveries.push(record);
        }
        if round % 20 == 19 {
            batch.removals.push(Removal { subscription: subscription(u128::from(numbers.below(3))), at: at(2000) });
        }
        // An earlier one comes again.
        if let Some(again) = batches.get(numbers.below(60) as usize) {
            write(&store, again.clone()).await;
        }
        write(&store, batch.clone()).await;
        batches.push(batch);
        for of in 0..3 {
            for (since, until) in [(0, 3 * HOUR), (HOUR, 2 * HOUR)] {
                let (of, since, until) = (subscription(of), at(since), at(until));
                let (counted, looked_up) =
                    (counted(&store, of, since, until).await, looked_up(&store, of, since, until).await);
                assert_eq!(counted, looked_up, "round {round}");
            }
        }
    }
    assert!(counted(&store, subscription(1), at(0), at(3 * HOUR)).await.attempts > 0, "it has been put to the test");
}

async fn writers_at_once_count_each_delivery_once(store: Store) {
    let event = event_record("1", 0);
    let made = |state, updated| {
        let deliveries: Vec<_> = (0..50).map(|to| delivery_record(&event, to % 5 + 1, state, updated)).collect();
        let attempts = deliveries.iter().map(|it| attempt_record(it, 1, 10)).collect();
        Batch { deliveries, attempts, ..Batch::default() }
    };
    let (scheduled, succeeded) = (made(DeliveryState::Scheduled, 0), made(DeliveryState::Succeeded, 20));
    let writes = [&scheduled, &succeeded, &scheduled, &succeeded].map(|batch| {
        let (store, batch) = (store.clone(), batch.clone());
        tokio::spawn(async move { write(&store, batch).await })
    });
    for write in writes {
        write.await.unwrap();
    }
    for of in 1..=5 {
        let counted = counted(&store, subscription(of), at(0), at(1)).await;
        assert_eq!(counted.deliveries, ByState { succeeded: 1, ..ByState::default() });
        assert_eq!((counted.attempts, counted.attempts_us, counted.waiting), (1, 1500, 0));
    }
}

async fn hours_begin_and_end_where_they_should(store: Store) {
    // A full hour, of which `at` is 30 minutes away.
    let full = Timestamp::from_millis(at(0).as_millis() - at(0).as_millis() % HOUR);
    let offset = |millis: i64| full.as_millis() + millis - at(0).as_millis();
    for (number, accepted) in [(1, -1), (2, 0), (3, HOUR - 1), (4, HOUR)] {
        let event = event_record(&number.to_string(), offset(accepted));
        write_deliveries(&store, vec![delivery_record(&event, 1, DeliveryState::Succeeded, offset(accepted) + 5)])
            .await;
    }
    let instant = |millis: i64| Timestamp::from_millis(full.as_millis() + millis);
    for (since, until, expected) in [
        (0, HOUR, (0, HOUR, 2)),
        (1, HOUR - 1, (0, HOUR, 2)),
        (HOUR - 1, HOUR + 1, (0, 2 * HOUR, 3)),
        (-1, 0, (-HOUR, 0, 1)),
        (0, 0, (0, 0, 0)),
        (2 * HOUR, 9 * HOUR, (2 * HOUR, 9 * HOUR, 0)),
    ] {
        let found = counted(&store, subscription(1), instant(since), instant(until)).await;
        let expected = (instant(expected.0), instant(expected.1), expected.2);
        assert_eq!((found.since, found.until, found.deliveries.succeeded), expected, "{since} to {until}");
    }
    let nobody = statistics(store.connection(), subscription(2), instant(0), instant(HOUR)).await.unwrap();
    assert_eq!(nobody, None);
}

async fn an_attempt_that_was_made_again_counts_once(store: Store) {
    let of = delivery_record(&event_record("1", 0), 1, DeliveryState::RetryWait, 50);
    let first = attempt_record(&of, 1, 10);
    let again = AttemptRecord { status: Some(200), ..attempt_record(&of, 1, 30) };
    for attempt in [&first, &again, &first] {
        let (deliveries, attempts) = (vec![of.clone()], vec![attempt.clone()]);
        write(&store, Batch { deliveries, attempts, ..Batch::default() }).await;
    }
    let counted = counted(&store, subscription(1), at(0), at(1)).await;
    assert_eq!((counted.attempts, counted.attempts_failed, counted.last_failure_at), (1, 1, Some(at(11))));
}

async fn hours_are_forgotten_when_nothing_of_them_waits(store: Store) {
    let ended = |to| delivery_record(&event_record("ended", 0), to, DeliveryState::Succeeded, 50);
    let waits = |state| delivery_record(&event_record("waits", 1), 2, state, 50);
    write_deliveries(&store, vec![ended(1), ended(2), waits(DeliveryState::Scheduled)]).await;
    let forget = async |before: i64| {
        let retention = Retention { records_before: at(before), responses_before: at(0) };
        while expire(&store, retention, 1).await.unwrap() > 0 {}
    };
    let known = async |of| statistics(store.connection(), subscription(of), at(0), at(1)).await.unwrap().is_some();
    forget(60).await;
    assert!(known(1).await && known(2).await, "the hour is not over");
    forget(3 * HOUR).await;
    assert!(!known(1).await && known(2).await);
    write_deliveries(&store, vec![waits(DeliveryState::Failed)]).await;
    forget(3 * HOUR).await;
    assert!(!known(2).await);
}

async fn what_was_recorded_before_there_were_counts_is_counted(store: Store) {
    let mut batch = Batch::default();
    for (number, state) in (0..28).zip(DeliveryState::ALL.into_iter().cycle()) {
        let event = event_record(&number.to_string(), i64::from(number) * HOUR / 4);
        let record = delivery_record(&event, u128::from(number % 2 == 0), state, 100);
        let tries = if number % 3 == 0 { 0 } else { 2 };
        batch.attempts.extend((1..=tries).map(|number| {
            let status = if number == 2 { Some(200) } else { None };
            AttemptRecord { status, ..attempt_record(&record, number, i64::from(number) * 10) }
        }));
        batch.deliveries.push(record);
    }
    write(&store, batch).await;
    // As the release before left it.
    for statement in [
        "DROP TABLE endpoint_hours",
        "DROP TABLE removed_subscriptions",
        "ALTER TABLE deliveries DROP COLUMN state_before",
        "ALTER TABLE attempts DROP COLUMN is_again",
        "ALTER TABLE subscriptions DROP COLUMN target_revision",
        "DROP INDEX IF EXISTS deliveries_event",
        "DELETE FROM seaql_migrations WHERE version = 'm0009_counting'",
    ] {
        store.connection().execute_unprepared(statement).await.unwrap();
    }
    store.migrate().await.unwrap();
    for of in [0, 1] {
        let (of, until) = (subscription(of), at(9 * HOUR));
        let counted = counted(&store, of, at(0), until).await;
        assert_eq!((counted.deliveries.sum(), &counted), (14, &looked_up(&store, of, at(0), until).await));
    }
    let moved = DeliveryRecord {
        state: DeliveryState::Succeeded,
        ..delivery_record(&event_record("0", 0), 1, DeliveryState::Scheduled, 0)
    };
    write_deliveries(&store, vec![moved]).await;
    let (of, until) = (subscription(1), at(9 * HOUR));
    assert_eq!(counted(&store, of, at(0), until).await, looked_up(&store, of, at(0), until).await);
}

async fn a_month_of_hours_is_summed_up_at_once(store: Store) {
    // As many rows as 30 days leave, of 20 endpoints; how many deliveries they stand for does not matter.
    for day in 0..30 {
        let mut batch = Batch::default();
        for hour in 0..24 {
            let event = event_record(&hour.to_string(), (day * 24 + hour) * HOUR);
            batch.deliveries.extend((0..20).map(|to| delivery_record(&event, to, DeliveryState::Succeeded, 10)));
        }
        write(&store, batch).await;
    }
    let mut quickest = Duration::MAX;
    for _ in 0..3 {
        let asked = Instant::now();
        let month = counted(&store, subscription(7), at(0), at(30 * 24 * HOUR)).await;
        quickest = quickest.min(asked.elapsed());
        assert_eq!((month.deliveries.succeeded, month.waiting), (720, 0));
    }
    assert!(quickest < Duration::from_millis(50), "{quickest:?}");
}
