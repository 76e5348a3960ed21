//! Subscriptions: what is kept of them, what lists show, and what deliveries find.

use slipstream_core::config::{EcgCategory, EcgEvent, EcgSubscription, Flags, Health, PayloadVersion, Record};
use slipstream_core::contract::{EcgPost, EcgPosted, PostKind};
use slipstream_core::ids::{DeliveryId, EcgEventId, EventKey, SubscriptionId};
use slipstream_core::lane::Lane;
use slipstream_core::timestamp::Timestamp;
use slipstream_store::ecg::subscriptions::{self, Applied, Filter, Found};
use slipstream_store::ecg::{Order, Slice, Status, categories, events, secrets, tombstones};
use slipstream_store::outbox::posts::{self, Noted};
use slipstream_store::subscriptions::Seen;
use slipstream_store::{Store, StoreError, records};
use slipstream_test_support::builders::ecg as builders;
use slipstream_test_support::secrets::sealed;
use uuid::Uuid;

use crate::{NOW, later};

crate::on_both_backends!(
    what_is_made_survives_unchanged_and_is_its_organizations_only,
    nothing_is_kept_in_clear,
    a_change_raises_the_revision_and_keeps_secrets_and_the_order_of_events,
    lists_go_by_last_change_and_show_what_is_asked_for,
    those_that_posts_of_an_event_go_to_are_found_over_all_organizations,
    a_tombstone_keeps_its_name_and_no_secret,
    tombstones_go_when_nothing_names_them_any_more,
    what_a_delivery_finds_has_a_say_about_the_target_that_stands,
    a_post_is_noted_once_and_until_it_is_published,
);

pub(super) const OURS: Uuid = Uuid::from_u128(0x0075);
const THEIRS: Uuid = Uuid::from_u128(0x0761);
const ALL: Slice = Slice { order: Order::Desc, offset: 0, limit: 100 };

/// The category and three events: that of the builders, and two more.
pub(super) async fn with_events(store: &Store) -> [EcgEventId; 3] {
    categories::create(store.connection(), &builders::category()).await.unwrap();
    let mut ids = [builders::event().id; 3];
    for (n, id) in ids.iter_mut().enumerate() {
        let mut event = builders::event();
        if n > 0 {
            *id = EcgEventId(Uuid::from_u128(n as u128));
            (event.id, event.code) = (*id, format!("other.{n}"));
        }
        events::create(store.connection(), &event).await.unwrap();
    }
    ids
}

/// One that is sealed, as it is stored.
pub(super) fn subscription(n: u128, organization: Uuid) -> EcgSubscription {
    let mut it = builders::subscription(organization, "https://receiver.example/");
    it.id = SubscriptionId(Uuid::from_u128(n));
    it.with_secrets(|_, _| Ok::<_, StoreError>(sealed(builders::SECRET))).unwrap()
}

pub(super) async fn create(store: &Store, it: &EcgSubscription) {
    let transaction = store.begin().await.unwrap();
    subscriptions::create(&transaction, it).await.unwrap();
    transaction.commit().await.unwrap();
}

async fn replace(store: &Store, it: &EcgSubscription, begins: bool) -> EcgSubscription {
    let transaction = store.begin().await.unwrap();
    let replaced = subscriptions::replace(&transaction, it, begins).await.unwrap();
    transaction.commit().await.unwrap();
    replaced
}

async fn get(store: &Store, it: &EcgSubscription) -> Option<EcgSubscription> {
    subscriptions::get(store.connection(), it.organization, it.id).await.unwrap()
}

async fn what_is_made_survives_unchanged_and_is_its_organizations_only(store: Store) {
    let [first, second, _] = with_events(&store).await;
    let made = EcgSubscription {
        events: vec![second, first],
        post_uri: None,
        version: PayloadVersion::V2,
        is_development: false,
        flags: Flags::new(false, NOW),
        ..subscription(1, OURS)
    };
    create(&store, &made).await;
    create(&store, &subscription(2, THEIRS)).await;
    assert_eq!(get(&store, &made).await.as_ref(), Some(&made));
    assert_eq!(subscriptions::get(store.connection(), THEIRS, made.id).await.unwrap(), None);
    let transaction = store.begin().await.unwrap();
    assert_eq!(subscriptions::lock(&transaction, THEIRS, made.id).await.unwrap(), None);
    assert_eq!(subscriptions::lock(&transaction, OURS, made.id).await.unwrap().as_ref(), Some(&made));
    drop(transaction);
    assert_eq!(subscriptions::count_of(store.connection(), OURS, NOW).await.unwrap(), 1);

    let record = Record::EcgSubscription(Box::new(made.clone()));
    assert_eq!(records::get(store.connection(), &record.key()).await.unwrap().as_ref(), Some(&record));
    let all = records::all(store.connection()).await.unwrap();
    assert!(all.contains(&record) && all.len() == 1 + 3 + 2, "{all:?}");
    for record in all {
        assert_eq!(records::get(store.connection(), &record.key()).await.unwrap().as_ref(), Some(&record));
        records::lift(store.connection(), &record, 41).await.unwrap();
        records::lift(store.connection(), &record, 7).await.unwrap();
        assert_eq!(records::get(store.connection(), &record.key()).await.unwrap().unwrap().revision(), 42);
    }
    let transaction = store.begin().await.unwrap();
    let again = subscriptions::create(&transaction, &made).await;
    assert!(matches!(again, Err(StoreError::Conflict(_))), "{again:?}");
}

async fn nothing_is_kept_in_clear(store: Store) {
    with_events(&store).await;
    let clear = builders::subscription(OURS, "https://receiver.example/");
    let transaction = store.begin().await.unwrap();
    let refused = subscriptions::create(&transaction, &clear).await;
    assert!(matches!(refused, Err(StoreError::NotSealed(_))), "{refused:?}");
    drop(transaction);
    assert_eq!(get(&store, &clear).await, None);
}

async fn a_change_raises_the_revision_and_keeps_secrets_and_the_order_of_events(store: Store) {
    let [first, second, third] = with_events(&store).await;
    let made = subscription(1, OURS);
    create(&store, &made).await;
    let by = Uuid::from_u128(0xb0b);
    let changed = EcgSubscription {
        post_uri: Some("https://elsewhere.example/".into()),
        version: PayloadVersion::V2,
        is_development: false,
        events: vec![third, first, second],
        flags: Flags { archived: true, archived_changed_at: NOW, ..made.flags },
        stamps: made.stamps.changed(by, NOW),
        // Not what is changed here.
        secrets: Vec::new(),
        ..made.clone()
    };
    let expected = EcgSubscription { secrets: made.secrets.clone(), revision: 2, ..changed.clone() };
    assert_eq!(replace(&store, &changed, true).await, expected);
    assert_eq!(get(&store, &made).await, Some(expected));
    let nothing = EcgSubscription { events: Vec::new(), ..changed };
    assert_eq!(replace(&store, &nothing, false).await.events, []);
}

async fn lists_go_by_last_change_and_show_what_is_asked_for(store: Store) {
    let [first, second, third] = with_events(&store).await;
    for n in 1..=5 {
        let it = subscription(n, OURS);
        let (events, version) =
            if n % 2 == 0 { (vec![second], PayloadVersion::V2) } else { (vec![first, second], it.version) };
        // Two were changed at once: then by id.
        let stamps = it.stamps.changed(OURS, later(i64::try_from(n).unwrap().min(4)));
        let flags = Flags { archived: n == 5, ..Flags::new(n != 3, NOW) };
        create(&store, &EcgSubscription { events, version, stamps, flags, ..it }).await;
    }
    create(&store, &subscription(9, THEIRS)).await;
    let ids = async |filter: Filter, slice: Slice| {
        let page = subscriptions::page(store.connection(), OURS, filter, slice).await.unwrap();
        assert!(page.items.iter().all(|it| it.secret().is_some_and(|it| it.secret.is_sealed())));
        (page.items.iter().map(|it| it.id.0.as_u128()).collect::<Vec<_>>(), page.total)
    };
    let any = Filter::default();
    assert_eq!(ids(any, ALL).await, (vec![4, 3, 2, 1], 4));
    assert_eq!(ids(any, Slice { order: Order::Asc, offset: 1, limit: 2 }).await, (vec![2, 3], 4));
    assert_eq!(ids(any, Slice { offset: 4, ..ALL }).await, (vec![], 4));
    let status = |status| Filter { status, ..any };
    assert_eq!(ids(status(Status::Archived), ALL).await, (vec![5], 1));
    assert_eq!(ids(status(Status::Active), ALL).await, (vec![4, 2, 1], 3));
    assert_eq!(ids(status(Status::Inactive), ALL).await, (vec![3], 1));
    assert_eq!(ids(Filter { version: Some(PayloadVersion::V2), ..any }, ALL).await, (vec![4, 2], 2));
    assert_eq!(ids(Filter { event: Some(first), ..any }, ALL).await, (vec![3, 1], 2));
    assert_eq!(ids(Filter { event: Some(third), ..any }, ALL).await, (vec![], 0));
    let both = Filter { event: Some(first), version: Some(PayloadVersion::V2), ..any };
    assert_eq!(ids(both, ALL).await, (vec![], 0));
}

async fn those_that_posts_of_an_event_go_to_are_found_over_all_organizations(store: Store) {
    let [first, second, third] = with_events(&store).await;
    let (on, off) = (Flags::new(true, NOW), Flags::new(false, NOW));
    for (n, organization, flags, events) in [
        (1, OURS, on, vec![first]),
        (2, THEIRS, on, vec![second, first]),
        (3, OURS, off, vec![first]),
        (4, OURS, Flags { archived: true, ..on }, vec![first]),
        (5, OURS, on, vec![third]),
    ] {
        create(&store, &EcgSubscription { flags, events, ..subscription(n, organization) }).await;
    }
    let found = async |events: &[EcgEventId]| {
        let found = subscriptions::on_for(store.connection(), events).await.unwrap();
        assert!(found.iter().all(|it| it.secrets.is_empty() && !it.events.is_empty()));
        let mut ids: Vec<_> = found.iter().map(|it| it.id.0.as_u128()).collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!(found(&[first]).await, [1, 2]);
    assert_eq!(found(&[first, third]).await, [1, 2, 5]);
    assert_eq!(found(&[]).await, [0_u128; 0]);
    assert_eq!(subscriptions::count_of_event(store.connection(), first).await.unwrap(), 4);
}

async fn a_tombstone_keeps_its_name_and_no_secret(store: Store) {
    let [first, ..] = with_events(&store).await;
    let made = subscription(1, OURS);
    create(&store, &made).await;
    let transaction = store.begin().await.unwrap();
    let deleted = subscriptions::delete(&transaction, &made).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(deleted, EcgSubscription { deleted: true, secrets: Vec::new(), revision: 2, ..made.clone() });
    assert_eq!(get(&store, &made).await, None);
    assert_eq!(subscriptions::get_any(store.connection(), made.id).await.unwrap().as_ref(), Some(&deleted));
    assert_eq!(secrets::at(store.connection(), made.id, NOW).await.unwrap(), None);
    let record = Record::EcgSubscription(Box::new(deleted));
    assert!(records::all(store.connection()).await.unwrap().contains(&record));
    let counted_since = async |since| subscriptions::count_of(store.connection(), OURS, since).await.unwrap();
    let deleted_at = made.stamps.updated_at;
    assert_eq!(counted_since(deleted_at).await, 0);
    assert_eq!(counted_since(Timestamp::from_millis(deleted_at.as_millis() - 1)).await, 1);
    assert_eq!(subscriptions::count_of_event(store.connection(), first).await.unwrap(), 0);
    assert_eq!(subscriptions::page(store.connection(), OURS, Filter::default(), ALL).await.unwrap().total, 0);
    assert_eq!(find(&store, made.id, Found::Gone, seen(later(9))).await, Applied::Missing);
}

fn seen(at: Timestamp) -> Seen {
    Seen { at, revision: None }
}

async fn find(store: &Store, id: SubscriptionId, found: Found, seen: Seen) -> Applied {
    let transaction = store.begin().await.unwrap();
    let applied = subscriptions::found(&transaction, id, found, seen).await.unwrap();
    transaction.commit().await.unwrap();
    applied
}

async fn what_a_delivery_finds_has_a_say_about_the_target_that_stands(store: Store) {
    with_events(&store).await;
    let made = subscription(1, OURS);
    let made = EcgSubscription { stamps: made.stamps.changed(OURS, NOW), ..made };
    create(&store, &made).await;
    let find = async |found, seen| find(&store, made.id, found, seen).await;
    let changed = |applied: Applied| match applied {
        Applied::Changed(it) => *it,
        other => panic!("{other:?}"),
    };
    // Before it was made.
    assert_eq!(find(Found::Gone, seen(later(-1))).await, Applied::Unchanged);
    assert_eq!(find(Found::Failing, seen(later(5))).await, Applied::Unchanged, "it is not degraded");
    let degraded = changed(find(Found::Degraded(later(-9)), seen(later(3))).await);
    assert_eq!((degraded.health, degraded.revision), (Health::Degraded(NOW), 2), "not from before it was made");
    assert_eq!(find(Found::Degraded(later(1)), seen(later(4))).await, Applied::Unchanged);
    assert_eq!(find(Found::Recovered, seen(later(2))).await, Applied::Unchanged, "that was before");
    assert_eq!(changed(find(Found::Recovered, seen(later(5))).await).health, Health::Healthy);
    assert_eq!(find(Found::Failing, seen(later(6))).await, Applied::Unchanged, "it has recovered");

    let off = changed(find(Found::Gone, seen(later(7))).await);
    assert_eq!(off.flags, Flags { active: false, active_changed_at: later(7), ..made.flags });
    assert_eq!((off.stamps, off.secrets.clone()), (made.stamps, made.secrets.clone()));
    assert_eq!(find(Found::Gone, seen(later(8))).await, Applied::Unchanged, "a repeat");

    // Switched on again, with another target: what was found of the old one comes too late.
    let on = EcgSubscription { flags: Flags::new(true, later(9)), stamps: off.stamps.changed(OURS, later(9)), ..off };
    let on = replace(&store, &on, true).await;
    assert_eq!(find(Found::Gone, seen(later(8))).await, Applied::Unchanged);
    let by_revision = |revision| Seen { at: later(10), revision: Some(revision) };
    assert_eq!(find(Found::Gone, by_revision(on.revision - 1)).await, Applied::Unchanged);
    // What is changed of it otherwise makes no difference.
    let later_one = replace(&store, &EcgSubscription { version: PayloadVersion::V2, ..on.clone() }, false).await;
    assert!(later_one.revision > on.revision);
    assert_eq!(
        changed(find(Found::Degraded(later(10)), by_revision(on.revision)).await).health,
        Health::Degraded(later(10))
    );
    let failing = Seen { at: later(20), revision: Some(on.revision) };
    assert!(!changed(find(Found::Failing, failing).await).flags.active);
}

async fn a_post_is_noted_once_and_until_it_is_published(store: Store) {
    let subscription = SubscriptionId(Uuid::from_u128(1));
    let noted = |n: u32| {
        let site = "o4fKq2".parse().unwrap();
        let key = EventKey::new(&site, "/ecg/posts", &n.to_string());
        let (payload, created_at) = (serde_json::value::to_raw_value(&n).unwrap(), later(-i64::from(n)));
        let raw_message = payload.clone();
        let post = EcgPost { kind: PostKind::Activation, event: None, code: "it".into(), created_at, payload };
        let delivery = DeliveryId::derive(created_at, subscription, &key);
        let (lane, organization, made_by) = (Lane::Normal, OURS, Some(OURS));
        Noted {
            subscription,
            posted: EcgPosted { delivery, key, site, lane, organization, made_by, post, raw_message },
        }
    };
    for n in [1, 2, 1] {
        posts::put(store.connection(), &noted(n)).await.unwrap();
    }
    let oldest = posts::oldest(store.connection(), 9).await.unwrap();
    let told = |noted: &Noted| (noted.subscription, serde_json::to_string(&noted.posted).unwrap());
    assert_eq!(oldest.iter().map(told).collect::<Vec<_>>(), [told(&noted(2)), told(&noted(1))]);
    posts::remove(store.connection(), &[noted(2).posted.delivery]).await.unwrap();
    assert_eq!(
        posts::oldest(store.connection(), 9).await.unwrap().iter().map(told).collect::<Vec<_>>(),
        [told(&noted(1))]
    );
}

async fn tombstones_go_when_nothing_names_them_any_more(store: Store) {
    let [first, second, third] = with_events(&store).await;
    let event = events::get(store.connection(), first).await.unwrap().unwrap();
    let (young, old) = (subscription(1, OURS), subscription(2, OURS));
    let young = EcgSubscription { events: vec![first, second], ..young };
    let old = EcgSubscription { events: vec![second, third], ..old };
    let stays = EcgSubscription { events: vec![], ..subscription(3, OURS) };
    for it in [&young, &old, &stays] {
        create(&store, it).await;
    }
    let transaction = store.begin().await.unwrap();
    for (it, at) in [(&young, later(100)), (&old, later(1))] {
        let stamps = it.stamps.changed(Uuid::nil(), at);
        subscriptions::delete(&transaction, &EcgSubscription { stamps, ..it.clone() }).await.unwrap();
    }
    for id in [first, second, third] {
        let it = events::lock(&transaction, id).await.unwrap().unwrap();
        let stamps = it.stamps.changed(Uuid::nil(), later(1));
        events::replace(&transaction, &EcgEvent { deleted: true, stamps, ..it }).await.unwrap();
    }
    let it = categories::lock(&transaction, event.category).await.unwrap().unwrap();
    let stamps = it.stamps.changed(Uuid::nil(), later(1));
    categories::replace(&transaction, &EcgCategory { deleted: true, stamps, ..it }).await.unwrap();
    transaction.commit().await.unwrap();

    let remove = async |before: Timestamp| {
        let mut keys = tombstones::remove(&store, before, 10).await.unwrap();
        keys.sort();
        keys
    };
    assert_eq!(remove(later(1)).await, [""; 0], "none is older than that");
    let keys = |keys: &[String]| {
        let mut keys = keys.to_vec();
        keys.sort();
        keys
    };
    // The young one still names the others.
    let gone = keys(&[format!("ecg_subscription.{}", old.id), format!("ecg_event.{third}")]);
    assert_eq!(remove(later(50)).await, gone);
    assert_eq!(subscriptions::get_any(store.connection(), old.id).await.unwrap(), None);
    assert!(subscriptions::get_any(store.connection(), young.id).await.unwrap().is_some());
    let gone = keys(&[
        format!("ecg_subscription.{}", young.id),
        format!("ecg_event.{first}"),
        format!("ecg_event.{second}"),
        format!("ecg_category.{}", event.category),
    ]);
    assert_eq!(remove(later(101)).await, gone);
    assert_eq!(get(&store, &stays).await.as_ref(), Some(&stays));
    assert_eq!(remove(later(1_000_000)).await, [""; 0], "what is not deleted stays");
}
