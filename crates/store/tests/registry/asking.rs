//! What is kept while a receiver is asked, and what becomes of a subscription when it has answered.

use slipstream_core::config::{Consent, DisabledReason, EndpointState, Health, Subscription, SubscriptionHeader};
use slipstream_core::ids::SubscriptionId;
use slipstream_core::timestamp::Timestamp;
use slipstream_store::handshakes::unanswered::{self, Unanswered};
use slipstream_store::handshakes::wishes::{self, Wish};
use slipstream_store::subscriptions::{self, Applied, Grant, Owner};
use slipstream_store::{Store, StoreError};
use uuid::Uuid;

use crate::{NOW, later, put, seen, subscription, with_tenants};

crate::on_both_backends!(
    the_newest_wish_stands_beside_its_subscription_until_its_time,
    a_wish_replaces_what_stood_and_what_was_seen_of_that_has_no_say,
    one_that_was_disabled_comes_back_when_it_is_active,
    failing_for_days_is_believed_of_endpoints_that_are_degraded_still,
    making_one_that_is_there_changes_nothing,
    questions_are_due_longest_ago_first_and_claimed_once,
    nobody_asks_for_an_endpoint_that_is_disabled,
);

fn wish(subscription: SubscriptionId, uri: &str, expires_at: Timestamp) -> Wish {
    Wish {
        subscription,
        uri: uri.into(),
        headers: vec![SubscriptionHeader {
            name: "X-Key".into(),
            value: slipstream_test_support::secrets::sealed("n3w"),
        }],
        event_types: vec![],
        expires_at,
    }
}

fn asked(subscription: SubscriptionId, uri: &str, asked_at: Timestamp) -> Unanswered {
    Unanswered { subscription, uri: uri.into(), asked_at }
}

fn granted() -> Consent {
    Consent::Granted { origin: "events.example".into(), rate_per_minute: Some(120) }
}

#[track_caller]
fn changed(applied: Applied) -> Subscription {
    match applied {
        Applied::Changed(subscription) => subscription,
        other => panic!("nothing was changed: {other:?}"),
    }
}

async fn the_newest_wish_stands_beside_its_subscription_until_its_time(store: Store) {
    with_tenants(&store, 1).await;
    let connection = store.connection();
    let orphan = wishes::put(connection, &wish(SubscriptionId(Uuid::nil()), "https://a.example/", later(9))).await;
    assert!(matches!(orphan, Err(StoreError::Conflict(_))), "{orphan:?}");
    let stands = put(&store, &subscription(1)).await;
    let (one, two) = (wish(stands.id, "https://a.example/", later(9)), wish(stands.id, "https://b.example/", later(5)));
    let find = |now| wishes::find(connection, stands.id, now);
    for wish in [&one, &two] {
        wishes::put(connection, wish).await.unwrap();
        assert_eq!(find(later(4)).await.unwrap().as_ref(), Some(wish));
    }
    assert!(!format!("{two:?}").contains("n3w"), "it may be a secret");
    assert_eq!(find(later(5)).await.unwrap(), None, "its time is over");
    assert_eq!(wishes::remove_expired(connection, later(4)).await.unwrap(), 0);
    assert_eq!(wishes::remove_expired(connection, later(5)).await.unwrap(), 1);
    wishes::put(connection, &one).await.unwrap();
    wishes::remove(connection, stands.id).await.unwrap();
    assert_eq!(find(NOW).await.unwrap(), None);
    assert_eq!(subscriptions::get(connection, stands.id).await.unwrap().as_ref(), Some(&stands));

    // With the subscription goes everything that was to become of it.
    wishes::put(connection, &one).await.unwrap();
    unanswered::put(connection, &asked(stands.id, &one.uri, NOW)).await.unwrap();
    let owner = Owner { site: &stands.site, feature: stands.feature, account: stands.account };
    subscriptions::delete(connection, owner).await.unwrap();
    assert_eq!(find(NOW).await.unwrap(), None);
    assert_eq!(unanswered::due(connection, later(9), 9).await.unwrap(), []);
}

async fn a_wish_replaces_what_stood_and_what_was_seen_of_that_has_no_say(store: Store) {
    with_tenants(&store, 1).await;
    let connection = store.connection();
    let before = put(&store, &subscription(1)).await;
    changed(subscriptions::degrade(connection, before.id, later(1), seen(later(2))).await.unwrap());
    let wish = wish(before.id, "https://new.example/", later(99));
    let after = subscriptions::replace(connection, &wish, EndpointState::Active, &granted(), later(10)).await.unwrap();
    let expected = Subscription {
        uri: wish.uri.clone(),
        headers: wish.headers.clone(),
        event_types: vec![],
        consent: granted(),
        revision: 3,
        ..before.clone()
    };
    assert_eq!(changed(after), expected);
    for late in [
        subscriptions::disable(connection, before.id, DisabledReason::Gone, Some(seen(later(9)))).await,
        subscriptions::degrade(connection, before.id, later(1), seen(later(9))).await,
    ] {
        assert_eq!(late.unwrap(), Applied::Unchanged(expected.clone()));
    }
    let found = subscriptions::disable(connection, before.id, DisabledReason::Gone, Some(seen(later(10)))).await;
    assert_eq!(changed(found.unwrap()).state, EndpointState::Disabled(DisabledReason::Gone));
    let nobody = Wish { subscription: SubscriptionId(Uuid::nil()), ..wish };
    let missing = subscriptions::replace(connection, &nobody, EndpointState::Active, &granted(), later(10)).await;
    assert_eq!(missing.unwrap(), Applied::Missing);
}

async fn one_that_was_disabled_comes_back_when_it_is_active(store: Store) {
    with_tenants(&store, 1).await;
    let connection = store.connection();
    let wanted = Subscription { state: EndpointState::Pending, ..subscription(1) };
    let id = put(&store, &wanted).await.id;
    let was_disabled = async || subscriptions::was_disabled(connection, id).await.unwrap();
    let disable = async || {
        changed(subscriptions::disable(connection, id, DisabledReason::Operator, None).await.unwrap());
        assert!(was_disabled().await);
        changed(subscriptions::enable(connection, id, EndpointState::Pending, later(1)).await.unwrap());
        assert!(was_disabled().await, "nothing goes to it yet");
    };
    assert!(!was_disabled().await, "it has never been");
    let wish = wish(id, &wanted.uri, later(99));

    disable().await;
    let grant = Grant { uri: &wanted.uri, origin: "events.example", rate_per_minute: None };
    assert_eq!(changed(subscriptions::grant(connection, id, grant).await.unwrap()).state, EndpointState::Active);
    assert!(!was_disabled().await);

    disable().await;
    changed(subscriptions::replace(connection, &wish, EndpointState::Pending, &granted(), NOW).await.unwrap());
    assert!(was_disabled().await);
    changed(subscriptions::replace(connection, &wish, EndpointState::Active, &granted(), NOW).await.unwrap());
    assert!(!was_disabled().await);

    disable().await;
    put(&store, &wanted).await;
    assert!(was_disabled().await);
    put(&store, &subscription(1)).await;
    assert!(!was_disabled().await);
    disable().await;
    changed(subscriptions::disable(connection, id, DisabledReason::Operator, None).await.unwrap());
    changed(subscriptions::enable(connection, id, EndpointState::Active, later(1)).await.unwrap());
    assert!(!was_disabled().await);
}

async fn failing_for_days_is_believed_of_endpoints_that_are_degraded_still(store: Store) {
    with_tenants(&store, 1).await;
    let connection = store.connection();
    let id = put(&store, &subscription(1)).await.id;
    let fails = async |seen_at| {
        let applied = subscriptions::disable(connection, id, DisabledReason::Failing, Some(seen(later(seen_at)))).await;
        applied.unwrap().changed().is_some()
    };
    assert!(!fails(5).await, "it is healthy");
    changed(subscriptions::degrade(connection, id, later(10), seen(later(20))).await.unwrap());
    changed(subscriptions::recover(connection, id, seen(later(30))).await.unwrap());
    assert!(!fails(40).await, "it took a delivery since");
    let again = changed(subscriptions::degrade(connection, id, later(50), seen(later(60))).await.unwrap());
    assert_eq!(again.health, Health::Degraded(later(50)));
    assert!(!fails(49).await, "found of an earlier time of failures");
    assert!(fails(70).await);
}

async fn making_one_that_is_there_changes_nothing(store: Store) {
    with_tenants(&store, 1).await;
    let wanted = Subscription { state: EndpointState::Pending, ..subscription(1) };
    let create = async |wanted: &Subscription| {
        let transaction = store.begin().await.unwrap();
        let stands = subscriptions::create_or_lock(&transaction, wanted, NOW).await.unwrap();
        transaction.commit().await.unwrap();
        stands
    };
    assert_eq!(create(&wanted).await, wanted);
    assert_eq!(create(&subscription(1)).await, wanted);
    let (one, other) = (subscription(1), subscription(1));
    assert_eq!(tokio::join!(create(&one), create(&other)), (wanted.clone(), wanted));
}

async fn questions_are_due_longest_ago_first_and_claimed_once(store: Store) {
    with_tenants(&store, 3).await;
    let connection = store.connection();
    let mut questions = Vec::new();
    for (account, asked_at) in [(1, 30), (2, 10), (3, 20)] {
        let it = put(&store, &subscription(account)).await;
        unanswered::put(connection, &asked(it.id, "https://earlier.example/", later(1))).await.unwrap();
        let question = asked(it.id, &it.uri, later(asked_at));
        unanswered::put(connection, &question).await.unwrap();
        questions.push(question);
    }
    let [one, two, three] = questions.as_slice() else { unreachable!() };
    let due = async |asked_at, limit| unanswered::due(connection, later(asked_at), limit).await.unwrap();
    assert_eq!(due(9, 9).await, []);
    assert_eq!(due(20, 9).await, [two.clone(), three.clone()]);
    assert_eq!(due(99, 2).await, [two.clone(), three.clone()]);

    let claim = || unanswered::claim(connection, two, later(40));
    let claims = tokio::join!(claim(), claim());
    let claims = [claims.0.unwrap(), claims.1.unwrap()];
    assert!(claims.contains(&true) && claims.contains(&false), "{claims:?}");
    let again = asked(two.subscription, &two.uri, later(40));
    assert_eq!(due(99, 9).await, [three.clone(), one.clone(), again.clone()]);

    // An answer from elsewhere is none to this question.
    unanswered::answered(connection, three.subscription, "https://earlier.example/").await.unwrap();
    assert_eq!(due(99, 9).await, [three.clone(), one.clone(), again.clone()]);
    unanswered::answered(connection, three.subscription, &three.uri).await.unwrap();
    unanswered::remove(connection, one.subscription).await.unwrap();
    assert_eq!(due(99, 9).await, [again]);
    assert!(!unanswered::claim(connection, three, later(50)).await.unwrap(), "it was answered");
}

async fn nobody_asks_for_an_endpoint_that_is_disabled(store: Store) {
    with_tenants(&store, 1).await;
    let connection = store.connection();
    let it = put(&store, &subscription(1)).await;
    let question = asked(it.id, &it.uri, NOW);
    unanswered::put(connection, &question).await.unwrap();
    changed(subscriptions::disable(connection, it.id, DisabledReason::Operator, None).await.unwrap());
    assert_eq!(unanswered::due(connection, NOW, 9).await.unwrap(), []);
    // Enabled again it still has to be asked for; and so has another target, to which it may move.
    changed(subscriptions::enable(connection, it.id, EndpointState::Active, NOW).await.unwrap());
    assert_eq!(unanswered::due(connection, NOW, 9).await.unwrap(), [question]);
    changed(subscriptions::disable(connection, it.id, DisabledReason::Gone, None).await.unwrap());
    let elsewhere = asked(it.id, "https://new.example/", NOW);
    unanswered::put(connection, &elsewhere).await.unwrap();
    assert_eq!(unanswered::due(connection, NOW, 9).await.unwrap(), [elsewhere]);
}
