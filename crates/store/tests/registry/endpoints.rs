//! What happens to a subscription between its making and its end.

use slipstream_core::config::{Consent, DisabledReason, EndpointLimits, EndpointState, Health, Subscription};
use slipstream_core::ids::SubscriptionId;
use slipstream_store::handshakes::wishes::Wish;
use slipstream_store::subscriptions::{self, Applied, Grant, Seen, StateFilter};
use slipstream_store::{ConnectionTrait as _, Store};
use uuid::Uuid;

use crate::{NOW, in_state, later, put, seen, subscription, with_tenants};

crate::on_both_backends!(
    disabling_twice_changes_nothing_the_second_time,
    a_late_message_does_not_disable_what_was_enabled_since,
    what_is_found_of_a_target_has_no_say_about_the_next_whatever_the_clocks_say,
    replacing_a_disabled_subscription_enables_it,
    an_operators_disabling_stands_against_a_message,
    health_follows_the_newest_finding_and_a_repeat_changes_nothing,
    failures_before_the_last_success_do_not_count,
    health_is_told_of_active_endpoints_only,
    a_replaced_subscription_keeps_its_limits_and_loses_its_health,
    a_grant_is_for_the_uri_that_was_asked,
    only_a_disabled_endpoint_is_enabled,
    rows_of_the_previous_release_read_as_new_ones,
);

/// The subscription, which must have been changed.
#[track_caller]
fn changed(applied: Applied) -> Subscription {
    match applied {
        Applied::Changed(subscription) => subscription,
        other => panic!("nothing was changed: {other:?}"),
    }
}

/// The subscription, which must not have been changed.
#[track_caller]
fn unchanged(applied: Applied) -> Subscription {
    match applied {
        Applied::Unchanged(subscription) => subscription,
        other => panic!("it was changed, or is gone: {other:?}"),
    }
}

async fn disabling_twice_changes_nothing_the_second_time(store: Store) {
    with_tenants(&store, 1).await;
    let id = put(&store, &subscription(1)).await.id;
    let disable = |reason| subscriptions::disable(store.connection(), id, reason, None);
    let Applied::Changed(first) = disable(DisabledReason::Gone).await.unwrap() else { panic!("it was not disabled") };
    assert_eq!((first.state, first.revision), (EndpointState::Disabled(DisabledReason::Gone), 2));
    assert_eq!(disable(DisabledReason::Gone).await.unwrap(), Applied::Unchanged(first));
    assert_eq!(changed(disable(DisabledReason::Operator).await.unwrap()).revision, 3);
    let enable = || subscriptions::enable(store.connection(), id, EndpointState::Active, NOW);
    let enabled = changed(enable().await.unwrap());
    assert_eq!((enabled.state, enabled.revision), (EndpointState::Active, 4));
    assert_eq!(enable().await.unwrap(), Applied::Unchanged(enabled));

    let (connection, nobody) = (store.connection(), SubscriptionId(Uuid::nil()));
    let grant = Grant { uri: "https://receiver.example/post", origin: "events.example", rate_per_minute: None };
    for missing in [
        subscriptions::enable(connection, nobody, EndpointState::Active, NOW).await,
        subscriptions::disable(connection, nobody, DisabledReason::Gone, Some(seen(NOW))).await,
        subscriptions::degrade(connection, nobody, NOW, seen(NOW)).await,
        subscriptions::recover(connection, nobody, seen(NOW)).await,
        subscriptions::grant(connection, nobody, grant).await,
        subscriptions::set_limits(connection, nobody, EndpointLimits::default()).await,
        subscriptions::replace_signing_keys(connection, nobody, &[]).await,
    ] {
        assert_eq!(missing.unwrap(), Applied::Missing);
    }
}

async fn a_late_message_does_not_disable_what_was_enabled_since(store: Store) {
    with_tenants(&store, 1).await;
    let id = put(&store, &subscription(1)).await.id;
    let disable = |seen_at| subscriptions::disable(store.connection(), id, DisabledReason::Gone, Some(seen(seen_at)));
    assert_eq!(unchanged(disable(later(-1)).await.unwrap()).state, EndpointState::Active);
    assert_ne!(changed(disable(later(1)).await.unwrap()).state, EndpointState::Active);
}

async fn what_is_found_of_a_target_has_no_say_about_the_next_whatever_the_clocks_say(store: Store) {
    with_tenants(&store, 1).await;
    let connection = store.connection();
    let id = put(&store, &subscription(1)).await.id;
    // Dispatchers whose clocks are an hour behind, and an hour ahead.
    let [behind, ahead] = [-3_600_000, 3_600_000].map(later);
    let gone = |at, revision| {
        subscriptions::disable(connection, id, DisabledReason::Gone, Some(Seen { at, revision: Some(revision) }))
    };
    let degrade = |at, revision| subscriptions::degrade(connection, id, at, Seen { at, revision: Some(revision) });
    let recover = |at, revision| subscriptions::recover(connection, id, Seen { at, revision: Some(revision) });
    let wish = Wish {
        subscription: id,
        uri: "https://new.example/".into(),
        headers: vec![],
        event_types: vec![],
        expires_at: ahead,
    };

    // Three ways to a new target, or to the same one anew.
    let mut revision = 1;
    for way in 0..3 {
        let limits = EndpointLimits { rate_per_minute: Some(1 + way), in_flight_max: None };
        let limited = changed(subscriptions::set_limits(connection, id, limits).await.unwrap());
        let found = changed(gone(behind, revision).await.unwrap());
        assert_eq!((limited.revision, found.revision), (revision + 1, revision + 2), "limits change no target");
        let active = EndpointState::Active;
        let now = match way {
            0 => changed(subscriptions::enable(connection, id, active, NOW).await.unwrap()),
            1 => changed(subscriptions::replace(connection, &wish, active, &Consent::Off, NOW).await.unwrap()),
            _ => put(&store, &subscription(1)).await,
        };
        assert_eq!(now.revision, revision + 3);
        for old in revision..now.revision {
            for at in [behind, ahead] {
                assert_eq!(unchanged(gone(at, old).await.unwrap()), now);
                assert_eq!(unchanged(degrade(at, old).await.unwrap()), now);
            }
        }
        revision = now.revision;
    }
    let degraded = changed(degrade(ahead, revision).await.unwrap());
    let much_later = later(7_200_000);
    assert_eq!(unchanged(recover(much_later, revision - 1).await.unwrap()), degraded);
    assert_eq!(changed(recover(much_later, revision).await.unwrap()).health, Health::Healthy);
    assert_eq!(changed(gone(behind, revision + 2).await.unwrap()).state, EndpointState::Disabled(DisabledReason::Gone));
}

async fn replacing_a_disabled_subscription_enables_it(store: Store) {
    with_tenants(&store, 1).await;
    let id = put(&store, &subscription(1)).await.id;
    subscriptions::disable(store.connection(), id, DisabledReason::Gone, None).await.unwrap();
    let again = put(&store, &subscription(1)).await;
    assert_eq!((again.id, again.state, again.revision), (id, EndpointState::Active, 3));
}

async fn an_operators_disabling_stands_against_a_message(store: Store) {
    with_tenants(&store, 1).await;
    let id = put(&store, &subscription(1)).await.id;
    changed(subscriptions::disable(store.connection(), id, DisabledReason::Operator, None).await.unwrap());
    let late =
        subscriptions::disable(store.connection(), id, DisabledReason::Gone, Some(seen(later(1)))).await.unwrap();
    assert_eq!(unchanged(late).state, EndpointState::Disabled(DisabledReason::Operator));
}

async fn health_follows_the_newest_finding_and_a_repeat_changes_nothing(store: Store) {
    with_tenants(&store, 1).await;
    let id = put(&store, &subscription(1)).await.id;
    let degrade = |since, seen_at| subscriptions::degrade(store.connection(), id, later(since), seen(later(seen_at)));
    let recover = |seen_at| subscriptions::recover(store.connection(), id, seen(later(seen_at)));

    assert_eq!(unchanged(degrade(-9, -1).await.unwrap()).health, Health::Healthy, "seen before it was made");
    assert_eq!(unchanged(recover(5).await.unwrap()).revision, 1, "it was healthy all along");
    let degraded = changed(degrade(10, 20).await.unwrap());
    assert_eq!((degraded.health, degraded.revision), (Health::Degraded(later(10)), 2));
    assert_eq!(unchanged(degrade(10, 20).await.unwrap()), degraded, "a repeat");
    assert_eq!(unchanged(degrade(15, 30).await.unwrap()), degraded, "what another dispatcher finds");
    assert_eq!(subscriptions::get(store.connection(), id).await.unwrap().as_ref(), Some(&degraded));

    assert_eq!(unchanged(recover(19).await.unwrap()), degraded, "seen before it was degraded");
    let recovered = changed(recover(40).await.unwrap());
    assert_eq!((recovered.health, recovered.revision), (Health::Healthy, 3));
    assert_eq!(unchanged(degrade(10, 20).await.unwrap()), recovered, "a repeat that comes late");
    assert_eq!(unchanged(recover(40).await.unwrap()), recovered, "a repeat");
}

async fn failures_before_the_last_success_do_not_count(store: Store) {
    with_tenants(&store, 1).await;
    let id = put(&store, &subscription(1)).await.id;
    let degrade = |since, seen_at| subscriptions::degrade(store.connection(), id, later(since), seen(later(seen_at)));
    assert_eq!(changed(degrade(-50, 10).await.unwrap()).health, Health::Degraded(NOW), "it was made at NOW");
    changed(subscriptions::recover(store.connection(), id, seen(later(20))).await.unwrap());
    assert_eq!(changed(degrade(5, 30).await.unwrap()).health, Health::Degraded(later(20)));
}

async fn health_is_told_of_active_endpoints_only(store: Store) {
    with_tenants(&store, 2).await;
    let pending = Subscription { state: EndpointState::Pending, ..subscription(1) };
    let pending = put(&store, &pending).await;
    let degrade = |id| subscriptions::degrade(store.connection(), id, later(1), seen(later(2)));
    assert_eq!(unchanged(degrade(pending.id).await.unwrap()), pending);

    let id = put(&store, &subscription(2)).await.id;
    changed(degrade(id).await.unwrap());
    let found = async |state| {
        let page = subscriptions::page(store.connection(), in_state(state), None, 9).await.unwrap();
        page.items.into_iter().map(|it| it.id).collect::<Vec<_>>()
    };
    assert_eq!(found(StateFilter::Degraded).await, [id]);
    assert_eq!(found(StateFilter::Active).await, [id]);
    assert_eq!(found(StateFilter::Pending).await, [pending.id]);
    changed(
        subscriptions::disable(store.connection(), id, DisabledReason::Failing, Some(seen(later(3)))).await.unwrap(),
    );
    let disabled = unchanged(subscriptions::recover(store.connection(), id, seen(later(4))).await.unwrap());
    assert_eq!(disabled.health, Health::Degraded(later(1)), "what is known stays known");
    assert_eq!(found(StateFilter::Degraded).await, []);
    let enabled = subscriptions::enable(store.connection(), id, EndpointState::Active, later(5)).await.unwrap();
    assert_eq!(changed(enabled).health, Health::Healthy);
}

async fn a_replaced_subscription_keeps_its_limits_and_loses_its_health(store: Store) {
    with_tenants(&store, 1).await;
    let id = put(&store, &subscription(1)).await.id;
    let limits = EndpointLimits { rate_per_minute: Some(120), in_flight_max: Some(2) };
    let limited = changed(subscriptions::set_limits(store.connection(), id, limits).await.unwrap());
    assert_eq!((limited.limits, limited.revision), (limits, 2));
    assert_eq!(unchanged(subscriptions::set_limits(store.connection(), id, limits).await.unwrap()), limited);
    changed(subscriptions::degrade(store.connection(), id, later(1), seen(later(2))).await.unwrap());

    let consent = Consent::NotGranted { origin: "events.example".into() };
    let wanted = Subscription { consent: consent.clone(), ..subscription(1) };
    let again = subscriptions::put(store.connection(), &wanted, later(3)).await.unwrap();
    assert_eq!((again.health, again.consent, again.limits), (Health::Healthy, consent, limits));
    let late = subscriptions::degrade(store.connection(), id, later(1), seen(later(2))).await.unwrap();
    assert_eq!(unchanged(late).health, Health::Healthy, "a repeat of what was seen before");
}

async fn a_grant_is_for_the_uri_that_was_asked(store: Store) {
    with_tenants(&store, 1).await;
    let consent = Consent::NotGranted { origin: "events.example".into() };
    let wanted = Subscription { state: EndpointState::Pending, consent, ..subscription(1) };
    let pending = put(&store, &wanted).await;
    let grant = |uri: &'static str, rate_per_minute| {
        let grant = Grant { uri, origin: "events.example", rate_per_minute };
        subscriptions::grant(store.connection(), pending.id, grant)
    };
    assert_eq!(unchanged(grant("https://elsewhere.example/", None).await.unwrap()), pending);
    let granted = changed(grant("https://receiver.example/post", Some(120)).await.unwrap());
    let consent = Consent::Granted { origin: "events.example".into(), rate_per_minute: Some(120) };
    assert_eq!((granted.state, &granted.consent, granted.revision), (EndpointState::Active, &consent, 2));
    assert_eq!(unchanged(grant("https://receiver.example/post", Some(120)).await.unwrap()), granted);

    // A grant ends waiting for it, and nothing else.
    changed(subscriptions::disable(store.connection(), pending.id, DisabledReason::Operator, None).await.unwrap());
    let regranted = changed(grant("https://receiver.example/post", None).await.unwrap());
    assert_eq!(regranted.state, EndpointState::Disabled(DisabledReason::Operator));
}

async fn only_a_disabled_endpoint_is_enabled(store: Store) {
    with_tenants(&store, 1).await;
    let pending = put(&store, &Subscription { state: EndpointState::Pending, ..subscription(1) }).await;
    let enable = |to| subscriptions::enable(store.connection(), pending.id, to, NOW);
    assert_eq!(unchanged(enable(EndpointState::Active).await.unwrap()), pending);
    changed(subscriptions::disable(store.connection(), pending.id, DisabledReason::Operator, None).await.unwrap());
    assert_eq!(changed(enable(EndpointState::Pending).await.unwrap()).state, EndpointState::Pending);
}

async fn rows_of_the_previous_release_read_as_new_ones(store: Store) {
    with_tenants(&store, 1).await;
    let wanted = subscription(1);
    // As the previous release writes, without the columns that it does not know.
    let insert = format!(
        "INSERT INTO subscriptions (id, surface, site, feature, account, uri, headers, event_types, state, \
         enabled_at_ms, signing_keys, revision) VALUES ('{}', 'slipstream', 's8n6EzC', 'physicalpost', '{}', \
         'https://receiver.example/post', '[]', '[]', 'active', {}, '[]', 1)",
        wanted.id,
        wanted.account,
        NOW.as_millis(),
    );
    store.connection().execute_unprepared(&insert).await.unwrap();
    let read = subscriptions::get(store.connection(), wanted.id).await.unwrap().unwrap();
    let expected = Subscription { headers: vec![], event_types: vec![], signing_keys: vec![], ..wanted };
    assert_eq!(read, expected);
    let late = subscriptions::degrade(store.connection(), read.id, later(-2), seen(later(-1))).await.unwrap();
    assert_eq!(unchanged(late).health, Health::Healthy);
    let degraded =
        changed(subscriptions::degrade(store.connection(), read.id, later(1), seen(later(2))).await.unwrap());
    assert_eq!(degraded.health, Health::Degraded(later(1)));
}
