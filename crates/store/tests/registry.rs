//! One suite of statements about the repositories, run over SQLite and over PostgreSQL.

#[path = "registry/asking.rs"]
mod asking;
#[path = "support/backends.rs"]
mod backends;
#[path = "registry/endpoints.rs"]
mod endpoints;
#[path = "registry/kept.rs"]
mod kept;

use slipstream_core::config::{
    Account, AccountKind, Consent, DisabledReason, EndpointLimits, EndpointState, Health, KeyHash, Permission, Product,
    Quota, SigningKey, SitesAllowed, Subscription, SubscriptionHeader, Surface,
};
use slipstream_core::feature::FeatureRef;
use slipstream_core::ids::{AccountId, SubscriptionId};
use slipstream_core::slug::Slug;
use slipstream_core::timestamp::Timestamp;
use slipstream_store::accounts::{AccountDetails, KeySlot};
use slipstream_store::sites::SiteDetails;
use slipstream_store::subscriptions::{Filter, Owner, Seen, StateFilter};
use slipstream_store::{
    ConnectionTrait as _, DatabaseConfig, Store, StoreError, accounts, organisations, records, sites, subscriptions,
};
use slipstream_test_support::secrets;
use uuid::Uuid;

pub(crate) use self::backends::on_both_backends;

on_both_backends!(
    migrating_twice_or_at_once_is_harmless,
    every_change_of_an_organisation_or_site_raises_its_revision,
    a_site_needs_its_organisations,
    accounts_survive_unchanged,
    an_account_that_is_there_is_not_made_again,
    rotating_one_key_leaves_the_other,
    a_quota_is_set_and_lifted,
    an_account_is_changed_and_keeps_its_keys_and_quota,
    a_deleted_account_is_gone_for_good_and_leaves_its_subscriptions,
    replacing_a_subscription_keeps_its_id_and_keys,
    creating_at_once_makes_one_subscription,
    a_subscription_made_anew_has_a_new_id,
    pages_hold_every_row_once,
    a_transaction_that_is_dropped_leaves_nothing,
    readers_that_write_wait_for_each_other,
    records_are_found_by_their_own_key_only,
    lifting_never_lowers_a_revision,
);

const NOW: Timestamp = Timestamp::from_millis(1_772_443_800_000);

async fn put(store: &Store, wanted: &Subscription) -> Subscription {
    subscriptions::put(store.connection(), wanted, NOW).await.unwrap()
}

/// This long after [`NOW`], in milliseconds.
fn later(millis: i64) -> Timestamp {
    Timestamp::from_millis(NOW.as_millis() + millis)
}

/// Seen at this instant, by a dispatcher that does not say by which revision.
fn seen(at: Timestamp) -> Seen {
    Seen { at, revision: None }
}

/// Subscriptions in this state, of whomever.
fn in_state(state: StateFilter) -> Filter {
    Filter { state: Some(state), ..Filter::default() }
}

fn slug(text: &str) -> Slug {
    text.parse().unwrap()
}

fn details() -> SiteDetails {
    SiteDetails {
        name: "Mill Lane".into(),
        organisation: slug("o4fKq2"),
        billing_organisation: slug("o4fKq2"),
        product: Product::Dentally,
        pms_specific_id: Some("17".into()),
        ecg_organization: Some(Uuid::from_u128(17)),
    }
}

fn account(n: u128) -> Account {
    Account {
        id: AccountId(Uuid::from_u128(n)),
        display_name: "Prüfung, 'quoted'".into(),
        kind: AccountKind::External,
        sites: SitesAllowed::Only(vec![slug("s8n6EzC")]),
        permissions: vec![Permission::EventsPublish, Permission::WebhooksManage],
        quota: Some(Quota { burst_capacity: 500, tokens_per_second: 50 }),
        primary_key: KeyHash::of("primary"),
        secondary_key: KeyHash::of("secondary"),
        revision: 1,
    }
}

#[expect(clippy::disallowed_methods, reason = "any id that is new")]
fn subscription(account: u128) -> Subscription {
    Subscription {
        id: SubscriptionId(Uuid::now_v7()),
        surface: Surface::Slipstream,
        site: slug("s8n6EzC"),
        feature: FeatureRef::by_name("physicalpost").unwrap(),
        account: AccountId(Uuid::from_u128(account)),
        uri: "https://receiver.example/post".into(),
        headers: vec![SubscriptionHeader { name: "X-Key".into(), value: secrets::sealed("s3cr3t") }],
        event_types: vec!["communications.letter.created".into()],
        state: EndpointState::Active,
        health: Health::Healthy,
        consent: Consent::Off,
        limits: EndpointLimits::default(),
        signing_keys: vec![SigningKey { secret: secrets::sealed("whsec_first"), until: None }],
        revision: 1,
    }
}

/// The organisation, site and account that a subscription hangs on.
async fn with_tenants(store: &Store, accounts_wanted: u128) {
    let connection = store.connection();
    organisations::put(connection, &slug("o4fKq2"), "Smiles").await.unwrap();
    sites::put(connection, &slug("s8n6EzC"), &details()).await.unwrap();
    for n in 1..=accounts_wanted {
        accounts::create(connection, &account(n)).await.unwrap();
    }
}

async fn migrating_twice_or_at_once_is_harmless(store: Store) {
    let (first, second) = tokio::join!(store.migrate(), store.migrate());
    first.unwrap();
    second.unwrap();
    store.ping().await.unwrap();
    let applied = store.applied_migrations().await.unwrap();
    assert!(applied.is_sorted() && applied.len() > 4, "{applied:?}");
    assert!(applied.starts_with(&["m0001_registry".to_owned(), "m0002_activity".to_owned()]), "{applied:?}");
}

#[tokio::test]
async fn a_database_without_tables_has_no_migrations_and_gets_none_by_asking() {
    let (_directory, sqlite) = slipstream_test_support::sqlite::database();
    for url in [sqlite, slipstream_test_support::postgres::database().await] {
        let store = Store::connect(&DatabaseConfig { url: url.into(), max_connections: 4 }).await.unwrap();
        for _ in 0..2 {
            assert!(store.applied_migrations().await.unwrap().is_empty());
        }
    }
}

async fn every_change_of_an_organisation_or_site_raises_its_revision(store: Store) {
    let connection = store.connection();
    assert_eq!(organisations::put(connection, &slug("o4fKq2"), "Smiles").await.unwrap().revision, 1);
    let changed = organisations::put(connection, &slug("o4fKq2"), "Smiles & Co").await.unwrap();
    assert_eq!((changed.revision, changed.name.as_str()), (2, "Smiles & Co"));
    assert_eq!(organisations::get(connection, &slug("o4fKq2")).await.unwrap(), Some(changed));

    let made = sites::put(connection, &slug("s8n6EzC"), &details()).await.unwrap();
    assert_eq!((made.revision, made.ecg_organization), (1, details().ecg_organization));
    let moved = SiteDetails { product: Product::Exact, pms_specific_id: None, ecg_organization: None, ..details() };
    let changed = sites::put(connection, &slug("s8n6EzC"), &moved).await.unwrap();
    assert_eq!((changed.revision, changed.product, changed.pms_specific_id.as_deref()), (2, Product::Exact, None));
    assert_eq!(changed.ecg_organization, None);
    assert_eq!(sites::get(connection, &slug("s8n6EzC")).await.unwrap(), Some(changed));
    assert_eq!(sites::get(connection, &slug("sUkLWZg")).await.unwrap(), None);
}

async fn a_site_needs_its_organisations(store: Store) {
    let refused = sites::put(store.connection(), &slug("s8n6EzC"), &details()).await;
    assert!(matches!(refused, Err(StoreError::Conflict(_))), "{refused:?}");
}

async fn accounts_survive_unchanged(store: Store) {
    let unlimited = Account { quota: None, sites: SitesAllowed::All, permissions: vec![], ..account(2) };
    for account in [account(1), unlimited] {
        accounts::create(store.connection(), &account).await.unwrap();
        assert_eq!(accounts::get(store.connection(), account.id).await.unwrap(), Some(account.clone()));
        let again = accounts::create(store.connection(), &account).await;
        assert!(matches!(again, Err(StoreError::Conflict(_))), "{again:?}");
    }
}

async fn an_account_that_is_there_is_not_made_again(store: Store) {
    let connection = store.connection();
    let other = Account { display_name: "Other".into(), primary_key: KeyHash::of("other"), ..account(1) };
    for ensured in [account(1), other] {
        accounts::ensure(connection, &ensured).await.unwrap();
        assert_eq!(accounts::get(connection, account(1).id).await.unwrap(), Some(account(1)));
    }
}

async fn rotating_one_key_leaves_the_other(store: Store) {
    let (connection, id) = (store.connection(), account(1).id);
    assert_eq!(accounts::set_key(connection, id, KeySlot::Primary, &KeyHash::of("new")).await.unwrap(), None);
    accounts::create(connection, &account(1)).await.unwrap();
    let rotated = accounts::set_key(connection, id, KeySlot::Secondary, &KeyHash::of("new")).await.unwrap().unwrap();
    assert!(rotated.has_key("primary") && rotated.has_key("new") && !rotated.has_key("secondary"));
    assert_eq!(rotated.revision, 2);
    assert_eq!(accounts::get(connection, id).await.unwrap(), Some(rotated));
}

async fn a_quota_is_set_and_lifted(store: Store) {
    let (connection, id) = (store.connection(), account(1).id);
    let quota = Some(Quota { burst_capacity: 7, tokens_per_second: 3 });
    assert_eq!(accounts::set_quota(connection, id, quota).await.unwrap(), None);
    accounts::create(connection, &account(1)).await.unwrap();
    let limited = accounts::set_quota(connection, id, quota).await.unwrap().unwrap();
    assert_eq!(limited, Account { quota, revision: 2, ..account(1) });
    let lifted = accounts::set_quota(connection, id, None).await.unwrap().unwrap();
    assert_eq!(lifted, Account { quota: None, revision: 3, ..account(1) });
    assert_eq!(accounts::get(connection, id).await.unwrap(), Some(lifted));
}

async fn an_account_is_changed_and_keeps_its_keys_and_quota(store: Store) {
    let (connection, id) = (store.connection(), account(1).id);
    let details = AccountDetails {
        display_name: "Other".into(),
        kind: AccountKind::Internal,
        sites: SitesAllowed::All,
        permissions: vec![Permission::WebhooksManage],
    };
    assert_eq!(accounts::change(connection, id, &details).await.unwrap(), None);
    accounts::create(connection, &account(1)).await.unwrap();
    let changed = accounts::change(connection, id, &details).await.unwrap().unwrap();
    let AccountDetails { display_name, kind, sites, permissions } = details;
    assert_eq!(changed, Account { display_name, kind, sites, permissions, revision: 2, ..account(1) });
    assert_eq!(accounts::get(connection, id).await.unwrap(), Some(changed));
}

async fn a_deleted_account_is_gone_for_good_and_leaves_its_subscriptions(store: Store) {
    with_tenants(&store, 2).await;
    let (connection, id) = (store.connection(), account(1).id);
    let [first, other] = [put(&store, &subscription(1)).await, put(&store, &subscription(2)).await];
    assert!(!accounts::is_deleted(connection, id).await.unwrap());
    // A repeat is no other.
    for _ in 0..2 {
        assert!(accounts::delete(connection, id, NOW).await.unwrap());
    }
    assert!(accounts::is_deleted(connection, id).await.unwrap());
    assert!(!accounts::delete(connection, account(3).id, NOW).await.unwrap(), "there never was one");

    assert_eq!(accounts::get(connection, id).await.unwrap(), None);
    assert_eq!(accounts::all(connection).await.unwrap(), [account(2)]);
    assert_eq!(accounts::page(connection, None, 9).await.unwrap().items, [account(2)]);
    assert_eq!(records::get(connection, &format!("account.{id}")).await.unwrap(), None);
    let records = records::all(connection).await.unwrap();
    assert!(!records.iter().any(|record| record.key() == format!("account.{id}")), "{records:?}");
    // Nothing brings it back.
    let details = AccountDetails {
        display_name: "Back".into(),
        kind: AccountKind::External,
        sites: SitesAllowed::All,
        permissions: vec![Permission::EventsPublish],
    };
    assert_eq!(accounts::change(connection, id, &details).await.unwrap(), None);
    assert_eq!(accounts::set_key(connection, id, KeySlot::Primary, &KeyHash::of("new")).await.unwrap(), None);
    assert_eq!(accounts::set_quota(connection, id, None).await.unwrap(), None);
    assert!(matches!(accounts::create(connection, &account(1)).await, Err(StoreError::Conflict(_))));
    accounts::ensure(connection, &account(1)).await.unwrap();
    assert_eq!(accounts::get(connection, id).await.unwrap(), None);
    // A release that does not look whether it is deleted finds no key and no permission.
    let none = "0".repeat(64);
    let row = format!(
        "UPDATE accounts SET revision = 3 WHERE permissions = '[]' AND revision = 2 \
         AND primary_key = '{none}' AND secondary_key = '{none}'"
    );
    assert_eq!(connection.execute_unprepared(&row).await.unwrap().rows_affected(), 1);

    assert_eq!(subscriptions::get(connection, first.id).await.unwrap(), Some(first.clone()));
    assert_eq!(subscriptions::count_of(connection, id).await.unwrap(), 1);
    let its = Filter { account: Some(id), ..Filter::default() };
    assert_eq!(subscriptions::page(connection, its, None, 9).await.unwrap().items, [first]);
    let others = Filter { account: Some(account(2).id), ..in_state(StateFilter::Active) };
    assert_eq!(subscriptions::page(connection, others, None, 9).await.unwrap().items, [other]);
}

async fn replacing_a_subscription_keeps_its_id_and_keys(store: Store) {
    with_tenants(&store, 1).await;
    let first = put(&store, &subscription(1)).await;
    let wanted = Subscription {
        uri: "https://elsewhere.example/".into(),
        headers: vec![],
        event_types: vec![],
        signing_keys: vec![SigningKey { secret: secrets::sealed("whsec_other"), until: None }],
        ..subscription(1)
    };
    let second = put(&store, &wanted).await;
    let expected = Subscription { id: first.id, signing_keys: first.signing_keys.clone(), revision: 2, ..wanted };
    assert_eq!(second, expected);
    assert_eq!(subscriptions::get(store.connection(), first.id).await.unwrap(), Some(expected));
}

async fn creating_at_once_makes_one_subscription(store: Store) {
    with_tenants(&store, 1).await;
    let wanted = [subscription(1), subscription(1), subscription(1), subscription(1)];
    let [first, second, third, fourth] = &wanted;
    let (a, b, c, d) = tokio::join!(put(&store, first), put(&store, second), put(&store, third), put(&store, fourth));
    assert!([b.id, c.id, d.id].iter().all(|id| *id == a.id));
    let mut revisions = [a.revision, b.revision, c.revision, d.revision];
    revisions.sort_unstable();
    assert_eq!(revisions, [1, 2, 3, 4]);
}

async fn a_subscription_made_anew_has_a_new_id(store: Store) {
    with_tenants(&store, 1).await;
    let wanted = subscription(1);
    let owner = Owner { site: &wanted.site, feature: wanted.feature, account: wanted.account };
    assert_eq!(subscriptions::delete(store.connection(), owner).await.unwrap(), None);
    let first = put(&store, &wanted).await;
    assert_eq!(subscriptions::find(store.connection(), owner).await.unwrap().as_ref(), Some(&first));
    assert_eq!(subscriptions::delete(store.connection(), owner).await.unwrap(), Some(first.id));
    assert_eq!(subscriptions::find(store.connection(), owner).await.unwrap(), None);
    let second = put(&store, &subscription(1)).await;
    assert_ne!(second.id, first.id);
}

async fn pages_hold_every_row_once(store: Store) {
    with_tenants(&store, 5).await;
    let mut ids = Vec::new();
    for n in 1..=5 {
        ids.push(put(&store, &subscription(n)).await.id);
    }
    ids.sort();
    subscriptions::disable(store.connection(), ids[1], DisabledReason::Gone, None).await.unwrap();

    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = subscriptions::page(store.connection(), Filter::default(), after, 2).await.unwrap();
        assert!(page.items.len() <= 2);
        seen.extend(page.items.iter().map(|it| it.id));
        let Some(next) = page.next else { break };
        after = Some(next.parse().unwrap());
    }
    assert_eq!(seen, ids);
    let disabled = subscriptions::page(store.connection(), in_state(StateFilter::Disabled), None, 100).await.unwrap();
    assert_eq!(disabled.items.iter().map(|it| it.id).collect::<Vec<_>>(), [ids[1]]);
    let active = subscriptions::page(store.connection(), in_state(StateFilter::Active), None, 100).await.unwrap();
    assert_eq!(active.items.len(), 4);
    let accounts = accounts::page(store.connection(), Some(account(2).id), 100).await.unwrap();
    assert_eq!((accounts.items.len(), accounts.next), (3, None));
}

async fn a_transaction_that_is_dropped_leaves_nothing(store: Store) {
    let transaction = store.begin().await.unwrap();
    organisations::put(&transaction, &slug("o4fKq2"), "Smiles").await.unwrap();
    drop(transaction);
    assert_eq!(organisations::get(store.connection(), &slug("o4fKq2")).await.unwrap(), None);
}

async fn readers_that_write_wait_for_each_other(store: Store) {
    let read_then_write = || async {
        for _ in 0..20 {
            let transaction = store.begin().await.unwrap();
            organisations::get(&transaction, &slug("o4fKq2")).await.unwrap();
            organisations::put(&transaction, &slug("o4fKq2"), "Smiles").await.unwrap();
            transaction.commit().await.unwrap();
        }
    };
    tokio::join!(read_then_write(), read_then_write(), read_then_write());
    let organisation = organisations::get(store.connection(), &slug("o4fKq2")).await.unwrap().unwrap();
    assert_eq!(organisation.revision, 60);
}

async fn records_are_found_by_their_own_key_only(store: Store) {
    with_tenants(&store, 1).await;
    put(&store, &subscription(1)).await;
    let all = records::all(store.connection()).await.unwrap();
    assert_eq!(all.len(), 4);
    for record in &all {
        assert_eq!(records::get(store.connection(), &record.key()).await.unwrap().as_ref(), Some(record));
    }
    let spelled_otherwise = format!("account.{}", account(1).id.0.simple());
    for key in ["", "site", "site.", "site.nowhere!", "letter.s8n6EzC", "subscription.x", spelled_otherwise.as_str()] {
        assert_eq!(records::get(store.connection(), key).await.unwrap(), None, "{key}");
    }
}

async fn lifting_never_lowers_a_revision(store: Store) {
    with_tenants(&store, 1).await;
    put(&store, &subscription(1)).await;
    for record in records::all(store.connection()).await.unwrap() {
        records::lift(store.connection(), &record, 41).await.unwrap();
        records::lift(store.connection(), &record, 7).await.unwrap();
        let Some(lifted) = records::get(store.connection(), &record.key()).await.unwrap() else {
            panic!("{} is gone", record.key())
        };
        assert_eq!(lifted.revision(), 42);
    }
}
