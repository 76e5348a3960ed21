//! Events that wait for their time, and what was accepted before.

use slipstream_core::contract::{SeenAnswer, SeenQuestion};
use slipstream_core::ids::{AccountId, EventKey, id_hash};
use slipstream_core::lane::Visibility;
use slipstream_core::limits::DEDUPLICATION_MILLIS;
use slipstream_store::Store;
use slipstream_store::activity::{Batch, EventRecord, HeldFilter, event, held, scheduled, seen};

use crate::{at, event_record, on_both_backends, site, write};

on_both_backends!(
    the_order_and_number_of_writes_do_not_matter,
    the_one_that_comes_due_first_is_listed_first_and_pages_hold_each_once,
    only_what_waits_is_listed_and_filters_hold,
    a_scheduled_event_is_found_by_its_key_in_any_state,
    the_earliest_acceptance_within_seven_days_is_what_was_seen,
    an_account_sees_public_events_and_its_own_and_nothing_else,
);

fn held_record(id: &str, accepted: i64, intended: i64) -> EventRecord {
    EventRecord {
        intended_at: Some(at(intended)),
        expires_at: None,
        routed_at: None,
        skipped: Vec::new(),
        sequence: None,
        ..event_record(id, accepted)
    }
}

async fn write_events(store: &Store, events: Vec<EventRecord>) {
    write(store, Batch { events, ..Batch::default() }).await;
}

async fn the_order_and_number_of_writes_do_not_matter(store: Store) {
    // The life of an event that was moved twice and then routed, and of one that was cancelled: every order of each, for
    // an event of its own, each record twice. Only the first record knows what was accepted; that stays known.
    let life = |id: &str, is_cancelled: bool| {
        let held = held_record(id, 0, 1000);
        let moved =
            EventRecord { intended_at: Some(at(9000)), changed_at: Some(at(10)), content_hash: None, ..held.clone() };
        let expires_at = Some(at(5000));
        let moved_again =
            EventRecord { intended_at: Some(at(2000)), expires_at, changed_at: Some(at(20)), ..moved.clone() };
        let end = if is_cancelled {
            EventRecord { cancelled_at: Some(at(30)), ..moved_again.clone() }
        } else {
            EventRecord { routed_at: Some(at(2001)), sequence: Some(8), ..moved_again.clone() }
        };
        [held, moved, moved_again, end]
    };
    let read = async |record: &EventRecord| {
        event(store.connection(), &site(), &record.source, &record.id).await.unwrap().unwrap().event
    };
    let mut orders = 0;
    for order in 0..256_usize {
        let places: Vec<_> = (0..4).map(|place| order >> (2 * place) & 3).collect();
        if !(0..4).all(|place| places.contains(&place)) {
            continue;
        }
        orders += 1;
        for is_cancelled in [false, true] {
            let life = life(&format!("{order}.{is_cancelled}"), is_cancelled);
            let mut best = life[places[0]].clone();
            let mut content_hash = None;
            for place in places.iter().chain(&places) {
                write_events(&store, vec![life[*place].clone()]).await;
                if life[*place].supersedes(&best) {
                    best = life[*place].clone();
                }
                content_hash = content_hash.or(life[*place].content_hash);
                assert_eq!(read(&best).await, EventRecord { content_hash, ..best.clone() }, "{places:?}");
            }
            assert_eq!((&best, content_hash), (&life[3], Some(-7)), "{places:?}");
        }
    }
    assert_eq!(orders, 24);
}

fn filter() -> HeldFilter {
    HeldFilter { site: site(), event_type: None, visible_to: None, from: None, until: None }
}

/// The ids of all pages, in order.
async fn pages(store: &Store, filter: &HeldFilter, limit: usize, mut between: impl AsyncFnMut()) -> Vec<String> {
    let mut ids = Vec::new();
    let mut after = None;
    loop {
        let page = held(store.connection(), filter, limit, after).await.unwrap();
        assert!(page.items.len() <= limit);
        ids.extend(page.items.into_iter().map(|event| event.id));
        let Some(next) = page.next else { return ids };
        after = Some(next.parse().unwrap());
        between().await;
    }
}

async fn the_one_that_comes_due_first_is_listed_first_and_pages_hold_each_once(store: Store) {
    // Five of each time, accepted in the other order, so that pages end between equal times.
    let events: Vec<_> = (0..50_i64).map(|number| held_record(&number.to_string(), -number, number / 5)).collect();
    write_events(&store, events.clone()).await;
    let mut later = 1000;
    let arrive = async || {
        // One that comes due before all others, and is not missed by anybody who has gone past it.
        later += 1;
        write_events(&store, vec![held_record(&later.to_string(), 0, -1)]).await;
    };
    let ids = pages(&store, &filter(), 7, arrive).await;
    assert_eq!(ids.len(), 50);
    let times: Vec<_> = ids.iter().map(|id| id.parse::<i64>().unwrap() / 5).collect();
    assert!(times.is_sorted(), "{times:?}");
    let mut once = ids.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), 50);
}

async fn only_what_waits_is_listed_and_filters_hold(store: Store) {
    let waits = held_record("waits", 0, 1000);
    let typed = EventRecord { event_type: "communications.letter.ready".into(), ..held_record("typed", 0, 2000) };
    let internal = EventRecord { visibility: Visibility::Internal, ..held_record("internal", 0, 3000) };
    let moved = EventRecord { changed_at: Some(at(5)), intended_at: Some(at(4000)), ..held_record("moved", 0, 1) };
    let elsewhere = EventRecord { site: "sUkLWZg".parse().unwrap(), ..held_record("elsewhere", 0, 1000) };
    let routed = EventRecord { routed_at: Some(at(1)), ..held_record("routed", 0, 1000) };
    let cancelled = EventRecord { cancelled_at: Some(at(1)), ..held_record("cancelled", 0, 1000) };
    let unmoved = held_record("moved", 0, 1);
    write_events(&store, vec![unmoved, waits, typed, internal, elsewhere, routed, cancelled]).await;
    write_events(&store, vec![moved, event_record("at once", 0)]).await;
    let ids = async |filter: HeldFilter| pages(&store, &filter, 100, async || {}).await;
    assert_eq!(ids(filter()).await, ["waits", "typed", "internal", "moved"]);
    let event_type = Some("communications.letter.ready".into());
    assert_eq!(ids(HeldFilter { event_type, ..filter() }).await, ["typed"]);
    let (from, until) = (Some(at(2000)), Some(at(4000)));
    assert_eq!(ids(HeldFilter { from, until, ..filter() }).await, ["typed", "internal"]);
    assert_eq!(ids(HeldFilter { site: "sUkLWZg".parse().unwrap(), ..filter() }).await, ["elsewhere"]);
}

async fn an_account_sees_public_events_and_its_own_and_nothing_else(store: Store) {
    let account = |number: u128| Some(AccountId(uuid::Uuid::from_u128(number)));
    let of = |id: &str, intended: i64, visibility: Visibility, published_by: Option<AccountId>| EventRecord {
        visibility,
        published_by,
        ..held_record(id, 0, intended)
    };
    let mine = of("mine", 1, Visibility::Internal, account(1));
    write_events(
        &store,
        vec![
            mine.clone(),
            of("public of another", 2, Visibility::Public, account(2)),
            of("another's", 3, Visibility::Internal, account(2)),
            of("of one that is not known", 4, Visibility::Internal, None),
            of("public", 5, Visibility::Public, None),
            of("queue of another", 6, Visibility::WorkQueue, account(2)),
        ],
    )
    .await;
    let seen_by = async |number: u128| {
        let filter = HeldFilter { visible_to: account(number), ..filter() };
        pages(&store, &filter, 1, async || {}).await
    };
    assert_eq!(seen_by(1).await, ["mine", "public of another", "public"]);
    assert_eq!(seen_by(3).await, ["public of another", "public"]);
    assert_eq!(pages(&store, &filter(), 100, async || {}).await.len(), 6);
    // Moved, it is its publisher's still.
    let moved = EventRecord { intended_at: Some(at(9)), changed_at: Some(at(1)), ..mine };
    write_events(&store, vec![moved.clone()]).await;
    assert_eq!(scheduled(store.connection(), &site(), &moved.key).await.unwrap(), Some(moved));
    assert_eq!(seen_by(1).await, ["public of another", "public", "mine"]);
}

async fn a_scheduled_event_is_found_by_its_key_in_any_state(store: Store) {
    let waits = held_record("1", 0, 1000);
    let routed = EventRecord { routed_at: Some(at(1001)), ..waits.clone() };
    let find = async |key: &EventKey| scheduled(store.connection(), &site(), key).await.unwrap();
    assert_eq!(find(&waits.key).await, None);
    write_events(&store, vec![waits.clone(), event_record("at once", 0)]).await;
    assert_eq!(find(&waits.key).await, Some(waits.clone()));
    write_events(&store, vec![routed.clone()]).await;
    assert_eq!(find(&waits.key).await, Some(routed));
    assert_eq!(find(&event_record("at once", 0).key).await, None, "it was never to wait");
    let elsewhere = "sUkLWZg".parse().unwrap();
    assert_eq!(scheduled(store.connection(), &elsewhere, &waits.key).await.unwrap(), None);
}

async fn the_earliest_acceptance_within_seven_days_is_what_was_seen(store: Store) {
    let accepted = |id: &str, at: i64, hash: i64| EventRecord { content_hash: Some(hash), ..event_record(id, at) };
    let unknown_hash = EventRecord { content_hash: None, ..event_record("plain", 5) };
    // Of another source under the same id, so of the same hash.
    let mut other = event_record("1", -100);
    other.source = "/other".into();
    other.key = EventKey::new(&site(), &other.source, &other.id);
    write_events(
        &store,
        vec![accepted("1", 0, 1), accepted("1", 10, 2), accepted("1", -DEDUPLICATION_MILLIS, 3), other],
    )
    .await;
    write_events(&store, vec![unknown_hash]).await;
    let question = |id: &str, accepted: i64| SeenQuestion {
        key: event_record(id, 0).key,
        id_hash: id_hash(id),
        accepted_at: at(accepted),
    };
    let answer = |id: &str, accepted: i64, content_hash: Option<i64>| SeenAnswer {
        key: event_record(id, 0).key,
        accepted_at: at(accepted),
        content_hash,
    };
    let ask = async |questions: &[SeenQuestion]| seen(store.connection(), questions).await.unwrap();
    assert_eq!(ask(&[]).await, []);
    assert_eq!(ask(&[question("1", 20)]).await, [answer("1", 0, Some(1))]);
    assert_eq!(ask(&[question("1", 10)]).await, [answer("1", 0, Some(1))]);
    assert_eq!(ask(&[question("1", 0)]).await, [answer("1", -DEDUPLICATION_MILLIS, Some(3))], "not itself");
    assert_eq!(ask(&[question("1", DEDUPLICATION_MILLIS)]).await, [answer("1", 0, Some(1))], "seven days to the ms");
    assert_eq!(ask(&[question("1", DEDUPLICATION_MILLIS + 11)]).await, [], "all of them are too old");
    assert_eq!(ask(&[question("plain", 6)]).await, [answer("plain", 5, None)]);
    // More questions than one statement takes; all but two are of events that nobody has seen.
    let mut many: Vec<_> = (0..599).map(|number| question(&format!("new {number}"), 20)).collect();
    many.insert(300, question("1", 20));
    many.push(question("plain", 20));
    assert_eq!(ask(&many).await, [answer("1", 0, Some(1)), answer("plain", 5, None)]);
}
