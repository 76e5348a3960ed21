//! A change is in force everywhere within a second (DESIGN 2 on the bucket; of a revocation THREATS 5 allows five seconds).

use std::time::{Duration, Instant};

use slipstream_test_support::builders::event;
use slipstream_test_support::{Receiver, eventually};
use slipstream_tests::api::NewAccount;
use slipstream_tests::{Account, Answer, LIMIT, Service, Shape, System};

slipstream_tests::journeys![
    a_changed_subscription_is_in_force_within_one_second,
    a_changed_account_or_site_is_in_force_within_one_second,
    a_revoked_key_is_refused_everywhere_within_one_second,
];

/// What is promised.
const PROMISED: Duration = Duration::from_secs(1);

/// Publishes again and again until an event, published less than a second after `changed`, arrives at `path`.
async fn arrives_within_a_second(account: &Account, receiver: &Receiver, path: &str, changed: Instant) {
    loop {
        let (published, letter) = (Instant::now(), event());
        account.publish(&letter).await;
        assert!(published - changed < PROMISED, "not in force after {:?}", published - changed);
        let arrived =
            eventually(LIMIT, async || receiver.received().into_iter().find(|it| it.json()["id"] == letter.text("id")))
                .await;
        if arrived.path == path {
            return;
        }
    }
}

async fn a_changed_subscription_is_in_force_within_one_second(shape: Shape) {
    let system = System::start(shape).await;
    let receiver = Receiver::start().await;
    // The first of them, so that every event arrives somewhere.
    let account = system.external().await;
    account.subscribe(receiver.url("/0")).await;
    eventually(LIMIT, async || {
        account.publish(&event()).await;
        receiver.count() > 0
    })
    .await;
    for change in 1..=5 {
        let path = format!("/{change}");
        account.subscribe(receiver.url(&path)).await;
        arrives_within_a_second(&account, &receiver, &path, Instant::now()).await;
    }
    account.unsubscribe().await.expect(204);
    let removed = Instant::now();
    loop {
        let (published, letter) = (Instant::now(), event());
        account.publish(&letter).await;
        let explained = system.operator.explained(&account, &letter, |it| it.state == "routed").await;
        if explained.matched.is_empty() {
            break;
        }
        assert!(published - removed < PROMISED, "still there after {:?}", published - removed);
    }
}

/// Asks again and again until the answer has this status; the first question that is answered so was asked in time.
async fn turns(what: &str, status: u16, ask: impl AsyncFn() -> Answer) {
    let changed = Instant::now();
    loop {
        let asked = Instant::now();
        let answer = ask().await;
        if answer.status == status {
            return;
        }
        assert!(asked - changed < PROMISED, "{what}: still {} after {:?}", answer.status, asked - changed);
    }
}

async fn a_changed_account_or_site_is_in_force_within_one_second(shape: Shape) {
    /// Asks ingest until it answers `status`.
    async fn answers(account: &Account, status: u16) {
        turns("ingest", status, async || account.empty_batch().await).await;
    }
    let system = System::start(shape).await;
    let account = system.external().await;
    let new_site = account.at_site("sgbHJdm");
    answers(&new_site, 403).await;
    system.operator.put_site("sgbHJdm").await;
    answers(&new_site, 204).await;

    let key = system.operator.rotate_primary_key(&account).await;
    answers(&account, 401).await;
    answers(&account.with_key(&key), 204).await;

    let only_there = NewAccount { sites: serde_json::json!(["sgbHJdm"]), ..NewAccount::default() };
    let limited = system.account(only_there).await;
    answers(&limited, 403).await;
    answers(&limited.at_site("sgbHJdm"), 204).await;
}

async fn a_revoked_key_is_refused_everywhere_within_one_second(shape: Shape) {
    let mut system = System::start(shape).await;
    let replica = match shape {
        Shape::OneProcess | Shape::Up => None,
        Shape::FourProcesses => Some(system.replica(Service::Ingest).await),
    };
    let account = system.external().await;
    account.subscribe("http://127.0.0.1:1/").await;
    let beside = replica.as_ref().map(|replica| account.at_ingest(replica.address()));
    // Each place that looks at keys by itself.
    let everywhere = async |key: &str, statuses: [u16; 3]| {
        let [publishing, asking, subscribing] = statuses;
        let account = account.with_key(key);
        let beside = beside.as_ref().map(|beside| beside.with_key(key));
        let at_replica = async {
            if let Some(beside) = &beside {
                turns("the other ingest", publishing, async || beside.empty_batch().await).await;
            }
        };
        tokio::join!(
            turns("ingest", publishing, async || account.empty_batch().await),
            at_replica,
            turns("the activity log", asking, async || account.ask_scheduled(&[]).await),
            turns("the registry", subscribing, async || account.get_webhook().await),
        );
    };
    let mut valid = account.key.clone();
    for _ in 0..3 {
        everywhere(&valid, [204, 200, 200]).await;
        let revoked = std::mem::replace(&mut valid, system.operator.rotate_primary_key(&account).await);
        everywhere(&revoked, [401; 3]).await;
    }
}
