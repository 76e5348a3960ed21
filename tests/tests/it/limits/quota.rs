//! What an account may publish, from the operator's word to the publisher's answer (SPEC 2.4).

use std::time::{Duration, Instant};

use slipstream_test_support::builders::{EventBuilder, event};
use slipstream_test_support::{Receiver, eventually};
use slipstream_tests::api::NewAccount;
use slipstream_tests::{Account, Answer, LIMIT, Shape, System};

slipstream_tests::journeys![
    an_account_publishes_its_burst_and_then_at_its_rate,
    a_batch_above_the_burst_never_passes,
    an_operator_changes_a_quota_and_it_acts,
    what_an_account_may_do_is_no_matter_of_anothers,
];

fn events(count: usize) -> Vec<EventBuilder> {
    std::iter::repeat_with(event).take(count).collect()
}

async fn limited(system: &System, burst: u32, rate: u32) -> Account {
    system.account(NewAccount { quota: Some((burst, rate)), ..NewAccount::default() }).await
}

/// Publishes until it is over quota, and gives that answer.
async fn exhaust(account: &Account) -> Answer {
    eventually(LIMIT, async || {
        let answer = account.try_publish(&event()).await;
        (answer.status == 429).then_some(answer)
    })
    .await
}

#[track_caller]
fn check_refusal(answer: &Answer, policy: &str) -> Duration {
    let problem: serde_json::Value = answer.parsed(429);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!(problem["type"], "https://iana.org/assignments/http-problem-types#quota-exceeded", "{answer}");
    assert_eq!(problem["violated-policies"], serde_json::json!([policy]), "{answer}");
    assert!(answer.header("ratelimit-policy").starts_with(&format!("\"{policy}\";q=")), "{:?}", answer.headers);
    assert!(answer.header("ratelimit").starts_with(&format!("\"{policy}\";r=")), "{:?}", answer.headers);
    Duration::from_secs(answer.header("retry-after").parse().expect("whole seconds"))
}

async fn an_account_publishes_its_burst_and_then_at_its_rate(shape: Shape) {
    let system = System::start(shape).await;
    let receiver = Receiver::start().await;
    let account = limited(&system, 20, 5).await;
    account.subscribe(receiver.url("/")).await;
    let (mut accepted, mut refused, began) = (0, 0, Instant::now());
    while began.elapsed() < Duration::from_secs(4) {
        let answer = account.try_publish(&event()).await;
        if answer.status == 204 {
            accepted += 1;
            assert_eq!(answer.header("ratelimit-policy"), "\"publish\";q=20;w=4");
        } else {
            refused += 1;
            let wait = check_refusal(&answer, "publish");
            assert_eq!(wait, Duration::from_secs(1), "5 come back in it");
            tokio::time::sleep(wait).await;
            account.publish(&event()).await;
            accepted += 1;
        }
    }
    let allowed = 20 + (began.elapsed().as_secs_f64() * 5.0).ceil() as usize;
    assert!(refused > 0 && (20..=allowed).contains(&accepted), "{accepted} accepted of {allowed}, {refused} refused");
    // Each that was answered with 204 is delivered, and no other.
    receiver.wait_for(accepted, LIMIT).await;
    assert_eq!(system.operator.ended(accepted).await.len(), accepted);
}

async fn a_batch_above_the_burst_never_passes(shape: Shape) {
    let system = System::start(shape).await;
    let account = limited(&system, 10, 1000).await;
    let answer = account.try_publish_batch(&events(11)).await;
    assert_eq!((answer.status, answer.problem().as_str()), (413, "blank"), "{answer}");
    assert!(answer.json()["detail"].as_str().expect("a text").contains("burst of 10"), "{answer}");
    eventually(LIMIT, async || (account.try_publish_batch(&events(10)).await.status == 204).then_some(())).await;
}

async fn an_operator_changes_a_quota_and_it_acts(shape: Shape) {
    let system = System::start(shape).await;
    let account = limited(&system, 2, 1).await;
    check_refusal(&exhaust(&account).await, "publish");
    system.operator.set_quota(&account, Some((100, 1))).await;
    // As soon as ingest knows.
    eventually(LIMIT, async || (account.try_publish_batch(&events(50)).await.status == 204).then_some(())).await;
    check_refusal(&account.try_publish_batch(&events(90)).await, "publish");
    system.operator.set_quota(&account, None).await;
    eventually(LIMIT, async || (account.try_publish_batch(&events(200)).await.status == 204).then_some(())).await;
    let answer = account.try_publish(&event()).await;
    assert_eq!(answer.expect(204).header("ratelimit"), "");
}

async fn what_an_account_may_do_is_no_matter_of_anothers(shape: Shape) {
    let system = System::start(shape).await;
    let (first, second) = (limited(&system, 5, 1).await, limited(&system, 5, 1).await);
    exhaust(&first).await;
    second.try_publish_batch(&events(3)).await.expect(204);
    // Managing webhooks is counted apart from publishing.
    let answer = first.get_webhook().await;
    assert_eq!(answer.expect(404).header("ratelimit-policy"), "\"requests\";q=5;w=5");
    let refused = eventually(LIMIT, async || {
        let answer = first.get_webhook().await;
        (answer.status == 429).then_some(answer)
    })
    .await;
    check_refusal(&refused, "requests");
    second.get_webhook().await.expect(404);
}
