//! One suite of statements about replay jobs, run over SQLite and over PostgreSQL.

#[path = "support/backends.rs"]
mod backends;

use std::time::Duration;

use slipstream_core::config::Surface;
use slipstream_core::delivery::DeliveryState;
use slipstream_core::ids::{DeliveryId, EventKey, ReplayId, SubscriptionId};
use slipstream_core::lane::{Lane, Visibility};
use slipstream_core::slug::Slug;
use slipstream_core::timestamp::Timestamp;
use slipstream_store::Store;
use slipstream_store::activity::replay::{
    self, Claim, JobState, NewJob, ReplayJob, Step, count, event_of, originals, replays_to,
};
use slipstream_store::activity::{Batch, DeliveryRecord, EventRecord, Filter, record};
use uuid::Uuid;

use self::backends::on_both_backends;

on_both_backends!(
    a_job_is_read_back_unchanged,
    jobs_are_listed_newest_first,
    a_job_is_claimed_by_one_worker_until_its_lease_ends,
    a_worker_that_slept_past_its_lease_changes_nothing,
    a_paused_job_keeps_its_place_and_is_claimed_by_nobody,
    a_job_that_has_ended_stays_as_it_is,
    what_is_counted_is_walked_over_once,
    replays_and_what_ended_later_are_no_part_of_a_job,
    an_event_and_what_replays_made_of_it_for_one_subscription_are_found,
    a_step_whose_answer_was_lost_is_counted_once,
    a_replay_that_succeeded_is_found_behind_any_number_that_did_not,
);

const NOW: i64 = 1_772_443_800_000;
const LEASE: Duration = Duration::from_secs(10);

fn at(offset: i64) -> Timestamp {
    Timestamp::from_millis(NOW + offset)
}

fn site() -> Slug {
    "s8n6EzC".parse().unwrap()
}

fn subscription(number: u128) -> SubscriptionId {
    SubscriptionId(Uuid::from_u128(number))
}

fn job(number: u128) -> NewJob {
    NewJob {
        id: ReplayId(Uuid::from_u128(number)),
        filter: dead(),
        rate_per_second: 100,
        matched: 7,
        created_at: at(1000),
    }
}

fn dead() -> Filter {
    Filter { states: vec![DeliveryState::Failed, DeliveryState::Exhausted], ..Filter::default() }
}

fn event_record(id: &str, accepted: i64) -> EventRecord {
    EventRecord {
        accepted_at: at(accepted),
        key: EventKey::new(&site(), "/letters", id),
        site: site(),
        source: "/letters".into(),
        id: id.into(),
        event_type: "communications.letter.created".into(),
        subject: None,
        visibility: Visibility::Public,
        lane: Lane::Normal,
        intended_at: None,
        expires_at: None,
        published_by: None,
        routed_at: Some(at(accepted + 1)),
        changed_at: None,
        cancelled_at: None,
        sequence: Some(accepted.unsigned_abs() + 1),
        content_hash: None,
        skipped: Vec::new(),
    }
}

fn delivery_record(of: &EventRecord, to: u128, state: DeliveryState, updated: i64) -> DeliveryRecord {
    DeliveryRecord {
        id: DeliveryId::derive(of.accepted_at, subscription(to), &of.key),
        site: of.site.clone(),
        event_key: of.key,
        subscription: subscription(to),
        surface: Surface::Slipstream,
        lane: of.lane,
        state,
        reason: None,
        next_attempt_at: None,
        updated_at: at(updated),
        replay: None,
    }
}

async fn claimed(store: &Store, now: i64) -> Option<Claim> {
    replay::claim(store.connection(), at(now), at(now).after(LEASE)).await.unwrap()
}

const fn step(cursor: u128) -> Step {
    Step { cursor: DeliveryId(Uuid::from_u128(cursor)), published: 3, not_kept: 2, skipped: 1 }
}

async fn a_job_is_read_back_unchanged(store: Store) {
    let connection = store.connection();
    let full = NewJob {
        filter: Filter {
            site: Some(site()),
            subscription: Some(subscription(5)),
            event_type: Some("a.b".into()),
            event_id: Some("é".into()),
            since: Some(at(-5)),
            until: Some(at(5)),
            ..dead()
        },
        ..job(2)
    };
    for new in [job(1), full] {
        replay::create(connection, &new).await.unwrap();
        let read = replay::job(connection, new.id).await.unwrap().unwrap();
        assert_eq!((read.id, &read.filter, read.rate_per_second), (new.id, &new.filter, 100));
        assert_eq!((read.state, read.matched), (JobState::Running, 7));
        assert_eq!((read.published, read.not_kept, read.skipped), (0, 0, 0));
        assert_eq!((read.created_at, read.updated_at, read.finished_at), (at(1000), at(1000), None));
        assert_eq!(ReplayJob::from(new), read, "what is told of it without reading it");
    }
    assert_eq!(replay::job(connection, ReplayId(Uuid::from_u128(3))).await.unwrap(), None);
}

async fn jobs_are_listed_newest_first(store: Store) {
    let connection = store.connection();
    for number in 1..=5 {
        replay::create(connection, &job(number)).await.unwrap();
    }
    let mut numbers = Vec::new();
    let mut after = None;
    loop {
        let page = replay::jobs(connection, 2, after).await.unwrap();
        numbers.extend(page.items.iter().map(|job| job.id.0.as_u128()));
        let Some(next) = page.next else { break };
        after = Some(next.parse().unwrap());
    }
    assert_eq!(numbers, [5, 4, 3, 2, 1]);
}

async fn a_job_is_claimed_by_one_worker_until_its_lease_ends(store: Store) {
    assert!(claimed(&store, 0).await.is_none());
    replay::create(store.connection(), &job(1)).await.unwrap();
    let workers = (0..8).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { claimed(&store, 0).await })
    });
    let mut claims = Vec::new();
    for worker in workers {
        claims.extend(worker.await.unwrap());
    }
    let [first] = claims.as_slice() else { panic!("{} workers have it", claims.len()) };
    assert_eq!((first.fence, first.cursor, first.job.state), (1, None, JobState::Running));
    assert!(claimed(&store, 10_000).await.is_none(), "its lease has not ended");
    assert!(replay::renew(store.connection(), first.job.id, first.fence, at(20_000)).await.unwrap());
    assert!(claimed(&store, 20_000).await.is_none(), "it was renewed");
    let second = claimed(&store, 20_001).await.unwrap();
    assert_eq!((second.job.id, second.fence), (first.job.id, 2));
    replay::release(store.connection(), second.job.id, second.fence).await.unwrap();
    assert_eq!(claimed(&store, 20_002).await.unwrap().fence, 3);
}

async fn a_worker_that_slept_past_its_lease_changes_nothing(store: Store) {
    let connection = store.connection();
    replay::create(connection, &job(1)).await.unwrap();
    let old = claimed(&store, 0).await.unwrap();
    let id = old.job.id;
    assert!(replay::advance(connection, id, old.fence, (None, step(4)), at(1), at(10_000)).await.unwrap());
    let new = claimed(&store, 10_001).await.unwrap();
    assert_eq!(new.cursor, Some(DeliveryId(Uuid::from_u128(4))), "the place is handed on");
    assert!(
        !replay::advance(connection, id, old.fence, (Some(step(4).cursor), step(5)), at(2), at(30_000)).await.unwrap()
    );
    assert!(!replay::renew(connection, id, old.fence, at(30_000)).await.unwrap());
    assert!(!replay::finish(connection, id, old.fence, at(2)).await.unwrap());
    replay::release(connection, id, old.fence).await.unwrap();
    assert_eq!(replay::state_of(connection, id, old.fence).await.unwrap(), None);
    assert!(claimed(&store, 10_002).await.is_none(), "the old worker did not give away what is not its own");
    assert_eq!(replay::state_of(connection, id, new.fence).await.unwrap(), Some(JobState::Running));
    assert!(
        replay::advance(connection, id, new.fence, (Some(step(4).cursor), step(6)), at(3), at(30_000)).await.unwrap()
    );
    let read = replay::job(connection, id).await.unwrap().unwrap();
    assert_eq!((read.published, read.not_kept, read.skipped, read.updated_at), (6, 4, 2, at(3)));
}

async fn a_paused_job_keeps_its_place_and_is_claimed_by_nobody(store: Store) {
    let connection = store.connection();
    replay::create(connection, &job(1)).await.unwrap();
    let claim = claimed(&store, 0).await.unwrap();
    let (id, fence) = (claim.job.id, claim.fence);
    for _ in 0..2 {
        assert_eq!(replay::pause(connection, id, at(5)).await.unwrap().unwrap().state, JobState::Paused);
    }
    assert_eq!(replay::state_of(connection, id, fence).await.unwrap(), Some(JobState::Paused));
    assert!(
        replay::advance(connection, id, fence, (None, step(4)), at(6), at(7)).await.unwrap(),
        "what is done is done"
    );
    assert!(!replay::finish(connection, id, fence, at(6)).await.unwrap(), "it is not at its end");
    assert!(claimed(&store, 60_000).await.is_none());
    for _ in 0..2 {
        assert_eq!(replay::resume(connection, id, at(8)).await.unwrap().unwrap().state, JobState::Running);
    }
    let again = claimed(&store, 60_000).await.unwrap();
    assert_eq!((again.cursor, again.job.published), (Some(DeliveryId(Uuid::from_u128(4))), 3));
}

async fn a_job_that_has_ended_stays_as_it_is(store: Store) {
    let connection = store.connection();
    for (number, expected) in [(1, JobState::Cancelled), (2, JobState::Finished)] {
        replay::create(connection, &job(number)).await.unwrap();
        let claim = claimed(&store, 0).await.unwrap();
        let id = claim.job.id;
        if expected == JobState::Cancelled {
            assert_eq!(replay::cancel(connection, id, at(9)).await.unwrap().unwrap().state, expected);
        } else {
            assert!(replay::finish(connection, id, claim.fence, at(9)).await.unwrap());
        }
        assert_eq!(replay::pause(connection, id, at(10)).await.unwrap().unwrap().state, expected);
        assert_eq!(replay::resume(connection, id, at(10)).await.unwrap().unwrap().state, expected);
        let ended = replay::cancel(connection, id, at(10)).await.unwrap().unwrap();
        assert_eq!((ended.state, ended.finished_at), (expected, Some(at(9))));
        assert!(claimed(&store, 60_000).await.is_none());
    }
    let nobody = ReplayId(Uuid::from_u128(3));
    assert_eq!(replay::cancel(connection, nobody, at(0)).await.unwrap(), None);
    replay::create(connection, &job(4)).await.unwrap();
    assert_eq!(replay::forget(connection, at(9)).await.unwrap(), 0);
    assert_eq!(replay::forget(connection, at(10)).await.unwrap(), 2, "what has not ended is kept");
}

/// Whether a delivery of an event is one that a filter asks for.
type Wanted<'a> = &'a dyn Fn(&DeliveryRecord, &EventRecord) -> bool;

async fn what_is_counted_is_walked_over_once(store: Store) {
    let (mut batch, before) = (Batch::default(), at(5000));
    let mut expected = Vec::new();
    for (number, state) in DeliveryState::ALL.into_iter().cycle().take(70).enumerate() {
        // Several of one millisecond, so that the place within it counts.
        let accepted = number as i64 / 10;
        let mut event = event_record(&number.to_string(), accepted);
        if number % 3 == 0 {
            event.event_type = "communications.letter.status_updated".into();
        }
        let delivery = delivery_record(&event, 1 + number as u128 % 2, state, accepted + 10);
        if dead().states.contains(&state) {
            expected.push((delivery.clone(), event.clone()));
        }
        batch.deliveries.push(delivery);
        // Of some only outcomes have been recorded so far.
        if number % 10 != 3 {
            batch.events.push(event);
        }
    }
    record(&store, batch.clone()).await.unwrap();
    expected.sort_unstable_by_key(|(delivery, _)| delivery.id);
    let with_event = |event: &EventRecord| batch.events.contains(event);
    let by_type = Filter { event_type: Some("communications.letter.created".into()), ..dead() };
    let cases: [(Filter, Wanted<'_>); 5] = [
        (dead(), &|_, _| true),
        (by_type, &|_, event| with_event(event) && event.event_type == "communications.letter.created"),
        (Filter { subscription: Some(subscription(2)), ..dead() }, &|delivery, _| {
            delivery.subscription == subscription(2)
        }),
        (Filter { since: Some(at(2)), until: Some(at(5)), ..dead() }, &|_, event| {
            event.accepted_at >= at(2) && event.accepted_at < at(5)
        }),
        (Filter { site: Some("sUkLWZg".parse().unwrap()), ..dead() }, &|_, _| false),
    ];
    for (filter, wanted) in cases {
        let expected: Vec<_> = expected.iter().filter(|(delivery, event)| wanted(delivery, event)).collect();
        assert_eq!(count(store.connection(), &filter, before).await.unwrap(), expected.len() as u64, "{filter:?}");
        let (mut walked, mut cursor) = (Vec::new(), None);
        loop {
            let chunk = originals(store.connection(), &filter, before, cursor, 3).await.unwrap();
            assert!(chunk.len() <= 3);
            let Some(last) = chunk.last() else { break };
            cursor = Some(last.id);
            walked.extend(chunk);
        }
        assert_eq!(walked.len(), expected.len(), "{filter:?}");
        for (original, (delivery, event)) in walked.iter().zip(expected) {
            assert_eq!((original.id, original.accepted_at()), (delivery.id, event.accepted_at));
            assert_eq!((original.event_key, original.subscription), (event.key, delivery.subscription));
            assert_eq!(original.sequence, with_event(event).then_some(event.sequence).flatten());
        }
    }
}

async fn replays_and_what_ended_later_are_no_part_of_a_job(store: Store) {
    let event = event_record("1", 0);
    let original = delivery_record(&event, 1, DeliveryState::Failed, 10);
    let replay = ReplayId(Uuid::from_u128(8));
    let again = DeliveryRecord {
        id: DeliveryId::derive_replay(event.accepted_at, subscription(1), &event.key, replay),
        replay: Some(replay),
        ..original.clone()
    };
    let later = delivery_record(&event, 2, DeliveryState::Failed, 500);
    let batch =
        Batch { events: vec![event], deliveries: vec![original.clone(), again, later.clone()], ..Batch::default() };
    record(&store, batch).await.unwrap();
    let ids = async |before| {
        let found = originals(store.connection(), &dead(), at(before), None, 10).await.unwrap();
        assert_eq!(count(store.connection(), &dead(), at(before)).await.unwrap(), found.len() as u64);
        let mut ids: Vec<_> = found.iter().map(|original| original.id).collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!(ids(10).await, []);
    assert_eq!(ids(500).await, [original.id]);
    let mut both = [original.id, later.id];
    both.sort_unstable();
    assert_eq!(ids(501).await, both);
}

async fn an_event_and_what_replays_made_of_it_for_one_subscription_are_found(store: Store) {
    let event = event_record("1", 0);
    let own = delivery_record(&event, 1, DeliveryState::Failed, 10);
    let replay = ReplayId(Uuid::from_u128(8));
    let again = DeliveryRecord {
        id: DeliveryId::derive_replay(event.accepted_at, subscription(1), &event.key, replay),
        replay: Some(replay),
        state: DeliveryState::Succeeded,
        ..own.clone()
    };
    let other = delivery_record(&event, 2, DeliveryState::Failed, 10);
    let batch = Batch { events: vec![event.clone()], deliveries: vec![own, again.clone(), other], ..Batch::default() };
    record(&store, batch).await.unwrap();
    let connection = store.connection();
    assert_eq!(event_of(connection, event.accepted_at, &event.key).await.unwrap(), Some(event.clone()));
    assert_eq!(event_of(connection, at(1), &event.key).await.unwrap(), None);
    let found = replays_to(connection, event.accepted_at, &event.key, subscription(1)).await.unwrap();
    let found: Vec<_> = found.into_iter().map(|delivery| delivery.record).collect();
    assert_eq!(found, [again]);
}

async fn a_step_whose_answer_was_lost_is_counted_once(store: Store) {
    let connection = store.connection();
    replay::create(connection, &job(1)).await.unwrap();
    let claim = claimed(&store, 0).await.unwrap();
    let (id, fence) = (claim.job.id, claim.fence);
    let advance = async |from: Option<u128>, to: u128| {
        let from = from.map(|from| step(from).cursor);
        replay::advance(connection, id, fence, (from, step(to)), at(1), at(10_000)).await.unwrap()
    };
    for _ in 0..3 {
        assert!(advance(None, 4).await, "the first step, and repeats of it");
    }
    for _ in 0..3 {
        assert!(advance(Some(4), 6).await, "the next, and repeats of it");
    }
    assert!(!advance(Some(4), 5).await && !advance(None, 7).await, "steps from where the job is not");
    let read = replay::job(connection, id).await.unwrap().unwrap();
    assert_eq!((read.published, read.not_kept, read.skipped), (6, 4, 2));
}

async fn a_replay_that_succeeded_is_found_behind_any_number_that_did_not(store: Store) {
    let event = event_record("1", 0);
    let replayed = |number: u128, state| {
        let replay = ReplayId(Uuid::from_u128(number));
        let id = DeliveryId::derive_replay(event.accepted_at, subscription(1), &event.key, replay);
        DeliveryRecord { id, replay: Some(replay), ..delivery_record(&event, 1, state, 10) }
    };
    let mut deliveries: Vec<_> = (1..=150).map(|number| replayed(number, DeliveryState::Failed)).collect();
    for number in [20, 30] {
        deliveries[number].state = DeliveryState::Succeeded;
    }
    record(&store, Batch { events: vec![event.clone()], deliveries, ..Batch::default() }).await.unwrap();
    let found = replays_to(store.connection(), event.accepted_at, &event.key, subscription(1)).await.unwrap();
    let numbers: Vec<_> = found.iter().map(|it| it.record.replay.unwrap().0.as_u128()).collect();
    let expected: Vec<_> = std::iter::once(31).chain(51..=150).collect();
    assert_eq!(numbers, expected, "the newest, and the newest that succeeded");
}
