//! The directory against a real bucket: it starts whole, follows changes, and survives the broker.

use std::time::{Duration, Instant};

use slipstream_bus::{Bus, BusConfig, ConfigBucket};
use slipstream_core::config::{KeyHash, OpenDentalKey, OpenDentalPermission, Record};
use slipstream_core::ids::{OpenDentalKeyId, SubscriptionId};
use slipstream_core::lane::Visibility;
use slipstream_core::matching::Candidate;
use slipstream_service::directory::Snapshot;
use slipstream_service::{Context, Directory};
use slipstream_test_support::builders::{self, LETTER_TYPES, SITE};
use slipstream_test_support::{NatsServer, eventually, secrets};

const LIMIT: Duration = Duration::from_secs(20);

async fn connect(server: &NatsServer) -> (Bus, ConfigBucket) {
    let bus = Bus::connect(&BusConfig { url: server.url().into(), ..BusConfig::default() }).await.unwrap();
    let bucket = bus.config_bucket().await.unwrap();
    (bus, bucket)
}

fn receivers(directory: &Directory) -> Vec<SubscriptionId> {
    let site = builders::slug(SITE);
    let event = Candidate { site: &site, event_type: LETTER_TYPES[0], visibility: Visibility::Public };
    directory.load().subscriptions().matching(event).iter().map(|subscription| subscription.id).collect()
}

#[tokio::test]
async fn initial_values_are_there_at_once_and_changes_follow() {
    let server = NatsServer::start().await;
    let (bus, bucket) = connect(&server).await;
    let account = builders::account();
    let subscription = builders::subscription(SITE, account.account.id, "https://receiver.example/");
    bucket.put(&Record::Organisation(builders::organisation())).await.unwrap();
    bucket.put(&Record::Site(builders::site(SITE))).await.unwrap();
    bucket.put(&Record::Account(account.account.clone())).await.unwrap();
    let [key, sealed] = secrets::records(&subscription);
    bucket.put(&key).await.unwrap();
    bucket.put(&sealed).await.unwrap();

    let ctx = Context::new();
    let directory = Directory::watch(&bus, &ctx).await.unwrap();
    assert!(ctx.health.is_ready());
    let first = directory.snapshot();
    assert!(first.organisation(&builders::slug(builders::ORGANISATION)).is_some());
    assert!(first.site(&builders::slug(SITE)).is_some());
    assert!(first.account(account.account.id).is_some_and(|account_| account_.has_key(&account.primary_key)));
    assert_eq!(receivers(&directory), [subscription.id]);

    let mut changed = directory.changed();
    bucket.delete(&Record::Subscription(Box::new(subscription)).key()).await.unwrap();
    tokio::time::timeout(LIMIT, changed.wait_for(|_| receivers(&directory).is_empty())).await.unwrap().unwrap();
    assert_eq!(first.subscriptions().len(), 1, "a snapshot at hand does not change");
    ctx.stop.cancel();
    ctx.drained.cancel();
    ctx.tasks.close();
    tokio::time::timeout(LIMIT, ctx.tasks.wait()).await.expect("the watch ends when drained");
}

#[tokio::test]
async fn an_empty_bucket_is_a_good_one() {
    let server = NatsServer::start().await;
    let (bus, bucket) = connect(&server).await;
    let ctx = Context::new();
    let directory = Directory::watch(&bus, &ctx).await.unwrap();
    let mut changed = directory.changed();
    assert!(directory.snapshot().subscriptions().is_empty());
    bucket.put(&Record::Site(builders::site(SITE))).await.unwrap();
    let site = builders::slug(SITE);
    tokio::time::timeout(LIMIT, changed.wait_for(|_| directory.load().site(&site).is_some())).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_older_revision_that_arrives_late_changes_nothing() {
    let server = NatsServer::start().await;
    let (bus, bucket) = connect(&server).await;
    let named = |name: &str, revision| {
        let mut site = builders::site(SITE);
        (site.name, site.revision) = (name.to_owned(), revision);
        Record::Site(site)
    };
    bucket.put(&named("new", 2)).await.unwrap();
    let ctx = Context::new();
    let directory = Directory::watch(&bus, &ctx).await.unwrap();
    bucket.put(&named("old", 1)).await.unwrap();
    // What is put after it has been seen, so it has been seen too.
    bucket.put(&Record::Organisation(builders::organisation())).await.unwrap();
    let organisation = builders::slug(builders::ORGANISATION);
    let mut changed = directory.changed();
    let seen = changed.wait_for(|_| directory.load().organisation(&organisation).is_some());
    tokio::time::timeout(LIMIT, seen).await.unwrap().unwrap();
    assert_eq!(directory.snapshot().site(&builders::slug(SITE)).unwrap().name, "new");
}

#[tokio::test]
async fn a_restarted_broker_is_followed_again_and_nothing_is_forgotten_meanwhile() {
    let mut server = NatsServer::start().await;
    let (bus, bucket) = connect(&server).await;
    bucket.put(&Record::Site(builders::site(SITE))).await.unwrap();
    let ctx = Context::new();
    let directory = Directory::watch(&bus, &ctx).await.unwrap();
    server.restart().await;
    let site = builders::slug(SITE);
    assert!(directory.load().site(&site).is_some());
    let other = builders::slug("sUkLWZg");
    eventually(LIMIT, async || bucket.put(&Record::Site(builders::site("sUkLWZg"))).await).await;
    eventually(LIMIT, async || {
        assert!(directory.load().site(&site).is_some(), "never without what was known");
        directory.load().site(&other).is_some()
    })
    .await;
}

#[tokio::test]
async fn an_account_whose_record_cannot_be_read_any_more_is_forgotten() {
    let server = NatsServer::start().await;
    let (bus, bucket) = connect(&server).await;
    let [spoilt, other] = [builders::account(), builders::account()].map(|account| account.account);
    for record in [Record::Account(spoilt.clone()), Record::Account(other.clone()), Record::Site(builders::site(SITE))]
    {
        bucket.put(&record).await.unwrap();
    }
    let directory = Directory::watch(&bus, &Context::new()).await.unwrap();
    assert!(directory.load().account(spoilt.id).is_some());
    let mut changed = directory.changed();
    let client = server.client().await;
    // The site first: by the time that the account is gone, it would be too.
    for key in [Record::Site(builders::site(SITE)).key(), Record::Account(spoilt.clone()).key()] {
        client.publish(format!("$KV.config.{key}"), "{\"account\":{\"is\":\"spoilt\"}}".into()).await.unwrap();
    }
    client.flush().await.unwrap();
    let gone = changed.wait_for(|_| directory.load().account(spoilt.id).is_none());
    tokio::time::timeout(LIMIT, gone).await.unwrap().unwrap();
    assert!(directory.load().account(other.id).is_some());
    assert!(directory.load().site(&builders::slug(SITE)).is_some(), "what lets nobody in is better known than not");
    bucket.put(&Record::Account(spoilt.clone())).await.unwrap();
    let back = changed.wait_for(|_| directory.load().account(spoilt.id).is_some());
    tokio::time::timeout(LIMIT, back).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_is_known_is_believed_over_a_restart_of_the_broker_and_not_for_ever() {
    let mut server = NatsServer::start().await;
    let (bus, bucket) = connect(&server).await;
    bucket.put(&Record::Site(builders::site(SITE))).await.unwrap();
    let ctx = Context::new();
    let directory = Directory::watch(&bus, &ctx).await.unwrap();
    let lost = Instant::now();
    server.kill9();
    eventually(LIMIT, async || {
        let is_stale = directory.is_stale();
        assert!(!is_stale || lost.elapsed() >= Duration::from_secs(5), "after {:?}", lost.elapsed());
        is_stale
    })
    .await;
    assert!(directory.load().site(&builders::slug(SITE)).is_some(), "deliveries go on with what was known");
    server.restart().await;
    let back = Instant::now();
    eventually(LIMIT, async || !directory.is_stale()).await;
    assert!(back.elapsed() < Duration::from_secs(3), "{:?} after the broker was back", back.elapsed());
    assert!(ctx.health.is_ready());
}

#[tokio::test]
async fn a_broker_that_does_not_answer_is_not_believed_either() {
    let mut server = NatsServer::start().await;
    let (bus, _) = connect(&server).await;
    let ctx = Context::new();
    let directory = Directory::watch(&bus, &ctx).await.unwrap();
    server.pause();
    eventually(LIMIT, async || directory.is_stale()).await;
    assert!(bus.is_connected(), "nobody has hung up");
    assert!(!ctx.health.is_ready());
    server.resume();
    eventually(LIMIT, async || !directory.is_stale()).await;
    assert!(ctx.health.is_ready());
}

#[test]
fn ten_thousand_subscriptions_are_indexed_fast() {
    let account = builders::account().account.id;
    let records = (0..10_000_u32).map(|number| {
        let site = format!("s{:06}", number % 2000);
        Record::Subscription(Box::new(builders::subscription(&site, account, "https://receiver.example/")))
    });
    let records: Vec<_> = records.collect();
    let began = Instant::now();
    let snapshot = Snapshot::from_records(records);
    assert_eq!(snapshot.subscriptions().len(), 10_000);
    // Tens of milliseconds even in a debug build; the bound only catches something quadratic.
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_key_pair_that_is_removed_opens_nothing_any_more() {
    let server = NatsServer::start().await;
    let (bus, bucket) = connect(&server).await;
    let key = Record::OpenDentalKey(OpenDentalKey {
        id: OpenDentalKeyId(uuid::Uuid::from_u128(7)),
        developer: KeyHash::of("dev"),
        customer: KeyHash::of("cust"),
        practice: "mill-lane".into(),
        permissions: vec![OpenDentalPermission::Subscriptions],
        revision: 1,
    });
    bucket.put(&key).await.unwrap();
    let ctx = Context::new();
    let directory = Directory::watch(&bus, &ctx).await.unwrap();
    assert_eq!(directory.load().key_pairs().len(), 1);
    let mut changed = directory.changed();
    bucket.delete(&key.key()).await.unwrap();
    let is_gone = changed.wait_for(|_| directory.load().key_pairs().is_empty());
    tokio::time::timeout(Duration::from_secs(5), is_gone).await.unwrap().unwrap();
    ctx.stop.cancel();
    ctx.drained.cancel();
}
