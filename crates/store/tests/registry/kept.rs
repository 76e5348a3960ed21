//! What is kept until somebody asks for it, or until it is told.

use slipstream_core::config::KeyHash;
use slipstream_core::contract::{Action, AuditOutcome, Audited, TargetKind};
use slipstream_core::ids::{AuditId, EventKey, SubscriptionId};
use slipstream_core::timestamp::Timestamp;
use slipstream_store::handshakes::{self, Handshake};
use slipstream_store::subscriptions::Owner;
use slipstream_store::{Store, StoreError, outbox, subscriptions};
use uuid::Uuid;

use crate::{NOW, later, put, slug, subscription, with_tenants};

crate::on_both_backends!(
    a_key_of_a_handshake_serves_once_and_in_time,
    keys_of_a_subscription_are_bounded_and_go_with_it,
    what_is_noted_is_told_until_it_is_removed,
    a_record_of_the_audit_that_is_noted_comes_back_until_it_is_removed,
);

fn handshake(subscription: SubscriptionId, key: &str, expires_at: Timestamp) -> Handshake {
    Handshake {
        key_hash: KeyHash::of(key),
        subscription,
        uri: format!("https://receiver.example/{key}"),
        origin: "events.example".into(),
        rate_per_minute: Some(600),
        expires_at,
    }
}

async fn a_key_of_a_handshake_serves_once_and_in_time(store: Store) {
    with_tenants(&store, 1).await;
    let id = put(&store, &subscription(1)).await.id;
    let connection = store.connection();
    let orphan = handshakes::put(connection, &handshake(SubscriptionId(Uuid::nil()), "a", later(9))).await;
    assert!(matches!(orphan, Err(StoreError::Conflict(_))), "{orphan:?}");
    let take = |key, now| handshakes::take(connection, KeyHash::of(key), now);

    let asked = handshake(id, "a", later(100));
    handshakes::put(connection, &asked).await.unwrap();
    assert_eq!(take("b", NOW).await.unwrap(), None);
    assert_eq!(take("a", later(100)).await.unwrap(), None, "its time is over");
    let at_once = tokio::join!(take("a", later(99)), take("a", later(99)), take("a", later(99)));
    let taken: Vec<_> = [at_once.0, at_once.1, at_once.2].into_iter().filter_map(Result::unwrap).collect();
    assert_eq!(taken, [asked]);

    // The newest for a URI takes the place of the one before, once it has reached the receiver.
    let unlimited = Handshake { rate_per_minute: None, ..handshake(id, "a", later(100)) };
    let newer = Handshake { uri: unlimited.uri.clone(), ..handshake(id, "c", later(200)) };
    let other = handshake(id, "d", later(100));
    for asked in [&unlimited, &newer, &other] {
        handshakes::put(connection, asked).await.unwrap();
    }
    let find = |key, now| handshakes::find(connection, KeyHash::of(key), now);
    assert_eq!(find("a", later(99)).await.unwrap().as_ref(), Some(&unlimited));
    assert_eq!(find("a", later(100)).await.unwrap(), None);
    handshakes::supersede(connection, &newer).await.unwrap();
    assert_eq!(find("a", NOW).await.unwrap(), None);
    assert_eq!(find("c", NOW).await.unwrap(), Some(newer));
    assert_eq!(take("d", NOW).await.unwrap(), Some(other));
    assert_eq!(handshakes::remove_expired(connection, later(199)).await.unwrap(), 0);
    assert_eq!(handshakes::remove_expired(connection, later(200)).await.unwrap(), 1);
    handshakes::put(connection, &unlimited).await.unwrap();
    handshakes::remove(connection, id, "https://elsewhere.example/").await.unwrap();
    assert_eq!(take("a", NOW).await.unwrap(), Some(unlimited.clone()));
    handshakes::put(connection, &unlimited).await.unwrap();
    handshakes::remove(connection, id, &unlimited.uri).await.unwrap();
    assert_eq!(take("a", NOW).await.unwrap(), None);
}

async fn keys_of_a_subscription_are_bounded_and_go_with_it(store: Store) {
    with_tenants(&store, 2).await;
    let (first, second) = (put(&store, &subscription(1)).await, put(&store, &subscription(2)).await);
    let connection = store.connection();
    handshakes::put(connection, &handshake(second.id, "other", later(1))).await.unwrap();
    for number in 0..10 {
        handshakes::put(connection, &handshake(first.id, &number.to_string(), later(10 + number))).await.unwrap();
    }
    assert_eq!(handshakes::PER_SUBSCRIPTION_MAX, 8);
    for (key, is_there) in [("0", false), ("1", false), ("2", true), ("9", true), ("other", true)] {
        let taken = handshakes::take(connection, KeyHash::of(key), NOW).await.unwrap();
        assert_eq!(taken.is_some(), is_there, "{key}");
    }
    let owner = Owner { site: &first.site, feature: first.feature, account: first.account };
    subscriptions::delete(connection, owner).await.unwrap();
    assert_eq!(handshakes::take(connection, KeyHash::of("3"), NOW).await.unwrap(), None);
}

async fn what_is_noted_is_told_until_it_is_removed(store: Store) {
    let connection = store.connection();
    let entry = |id: &str, at: i64| outbox::Entry {
        key: EventKey::new(&slug("s8n6EzC"), "/slipstream", id),
        site: slug("s8n6EzC"),
        event_type: "slipstream.endpoint.disabled".into(),
        body: format!(r#"{{"id":"{id}","é":"'"}}"#),
        at: later(at),
    };
    let (one, two, three) = (entry("1", 3), entry("2", 1), entry("3", 2));
    for entry in [&one, &two, &three, &one] {
        outbox::put(connection, entry).await.unwrap();
    }
    assert_eq!(outbox::oldest(connection, 2).await.unwrap(), [two.clone(), three.clone()]);
    outbox::remove(connection, &[two.key, three.key]).await.unwrap();
    outbox::remove(connection, &[]).await.unwrap();
    assert_eq!(outbox::oldest(connection, 9).await.unwrap(), [one]);
    // What is noted in a transaction that does not end well was never noted.
    let transaction = store.begin().await.unwrap();
    outbox::put(&transaction, &two).await.unwrap();
    drop(transaction);
    assert_eq!(outbox::oldest(connection, 9).await.unwrap().len(), 1);
}

async fn a_record_of_the_audit_that_is_noted_comes_back_until_it_is_removed(store: Store) {
    let connection = store.connection();
    let record = |number, at| Audited {
        id: AuditId(Uuid::from_u128(number)),
        at,
        actor: "receiver".into(),
        action: Action::EndpointDisable,
        kind: TargetKind::Endpoint,
        target: Some("018f2b1e-0000-7000-8000-000000000001".into()),
        site: Some(slug("s8n6EzC")),
        trace: None,
        outcome: AuditOutcome::Done,
        status: None,
        begun: None,
    };
    let (newer, older) = (record(1, later(1)), record(2, NOW));
    for noted in [&newer, &older, &newer] {
        outbox::audited::put(connection, noted).await.unwrap();
    }
    assert_eq!(outbox::audited::oldest(connection, 1).await.unwrap(), std::slice::from_ref(&older));
    assert_eq!(outbox::audited::oldest(connection, 9).await.unwrap(), [older.clone(), newer.clone()]);
    outbox::audited::remove(connection, &[older.id]).await.unwrap();
    assert_eq!(outbox::audited::oldest(connection, 9).await.unwrap(), [newer]);
}
