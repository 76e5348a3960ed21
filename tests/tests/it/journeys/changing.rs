//! A change is in force everywhere within a second (DESIGN 2 on the bucket).

use std::time::{Duration, Instant};

use slipstream_test_support::builders::event;
use slipstream_test_support::{Receiver, eventually};
use slipstream_tests::api::NewAccount;
use slipstream_tests::{Account, LIMIT, Shape, System};

slipstream_tests::journeys![
    a_changed_subscription_is_in_force_within_one_second,
    a_changed_account_or_site_is_in_force_within_one_second,
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

async fn a_changed_account_or_site_is_in_force_within_one_second(shape: Shape) {
    /// Asks ingest until it answers `status`.
    async fn answers(account: &Account, status: u16) {
        let changed = Instant::now();
        loop {
            let asked = Instant::now();
            let answer = account.empty_batch().await;
            if answer.status == status {
                return;
            }
            assert!(asked - changed < PROMISED, "still {} after {:?}", answer.status, asked - changed);
        }
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
