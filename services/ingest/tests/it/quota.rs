//! What an account with a quota may publish (SPEC 2.4).

use std::time::Duration;

use slipstream_bus::StreamName;
use slipstream_core::config::{Quota, Record};
use slipstream_test_support::builders::{self, AccountWithKeys, EventBuilder};
use slipstream_test_support::eventually;

use crate::answer::Answer;
use crate::world::{BATCHED, LIMIT, PATH, STRUCTURED, World, event};

const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";

/// A world with an account of this quota.
async fn limited(burst_capacity: u32, tokens_per_second: u32) -> (World, AccountWithKeys) {
    let world = World::new().await;
    let account = builders::account().quota(burst_capacity, tokens_per_second);
    world.add(&account).await;
    (world, account)
}

async fn send(world: &World, account: &AccountWithKeys, content_type: &str, body: Vec<u8>) -> Answer {
    let request = world.request("POST", PATH).header("x-api-key", &account.primary_key);
    Answer::to(request.header("content-type", content_type).body(body)).await
}

async fn publish_batch(world: &World, account: &AccountWithKeys, count: usize) -> Answer {
    let events: Vec<EventBuilder> = std::iter::repeat_with(event).take(count).collect();
    send(world, account, BATCHED, builders::batch(&events)).await
}

/// The `r` of `RateLimit`.
fn remaining(answer: &Answer) -> u32 {
    let value = answer.header("ratelimit");
    let rest = value.strip_prefix("\"publish\";r=").unwrap_or_else(|| panic!("{value}"));
    rest.split(';').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_burst_passes_and_what_is_beyond_it_is_429_until_its_time() {
    let (world, account) = limited(5, 1).await;
    for left in (0..5).rev() {
        let answer = world.publish_as(&account, &event()).await;
        answer.expect(204);
        assert_eq!(answer.header("ratelimit-policy"), "\"publish\";q=5;w=5");
        // A slow machine may have given one back by now.
        assert!((left..5).contains(&remaining(&answer)), "{left}: {}", answer.header("ratelimit"));
    }
    let refused = loop {
        let answer = world.publish_as(&account, &event()).await;
        if answer.status == 429 {
            break answer;
        }
        answer.expect(204);
    };
    refused.expect(429);
    assert_eq!(refused.body["type"], QUOTA_EXCEEDED);
    assert_eq!(refused.body["violated-policies"], serde_json::json!(["publish"]));
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(refused.header("ratelimit-policy"), "\"publish\";q=5;w=5");
    assert_eq!(refused.header("ratelimit"), "\"publish\";r=0;t=1");
    // As long as we were told, and no longer.
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.publish_as(&account, &event()).await.expect(204);
}

#[tokio::test]
async fn a_batch_pays_for_each_event_and_passes_whole_or_not_at_all() {
    let (world, account) = limited(10, 1).await;
    let answer = publish_batch(&world, &account, 8).await;
    answer.expect(204);
    assert!((2..4).contains(&remaining(&answer)), "{}", answer.header("ratelimit"));
    let refused = publish_batch(&world, &account, 9).await;
    refused.expect(429);
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((6..=8).contains(&wait), "9 tokens, of which 1 or 2 are there: {wait}");
    assert_eq!(world.count_stored(StreamName::Events).await, 8);
    tokio::time::sleep(Duration::from_secs(wait)).await;
    publish_batch(&world, &account, 9).await.expect(204);
}

#[tokio::test]
async fn a_batch_that_could_never_pass_is_413_and_names_the_limit() {
    let (world, account) = limited(10, 1000).await;
    let refused = publish_batch(&world, &account, 11).await;
    let detail = refused.expect(413).body["detail"].as_str().unwrap();
    assert!(detail.contains("11 events") && detail.contains("burst of 10"), "{detail}");
    world.expect_nothing_stored().await;
    eventually(LIMIT, async || (publish_batch(&world, &account, 10).await.status == 204).then_some(())).await;
    assert_eq!(world.count_stored(StreamName::Events).await, 10);
}

#[tokio::test]
async fn a_refused_request_costs_one_token_whatever_is_in_it() {
    let (world, account) = limited(3, 1).await;
    let broken: Vec<EventBuilder> = (0..3).map(|_| event().without("type")).collect();
    let answer = send(&world, &account, BATCHED, builders::batch(&broken)).await;
    answer.expect(400);
    assert!(remaining(&answer) >= 2, "{}", answer.header("ratelimit"));
    let refused = loop {
        let answer = send(&world, &account, STRUCTURED, b"{".to_vec()).await;
        if answer.status != 400 {
            break answer;
        }
    };
    refused.expect(429);
    world.expect_nothing_stored().await;
}

#[tokio::test]
async fn over_quota_the_body_is_not_read() {
    let (world, account) = limited(1, 1).await;
    let refused = loop {
        // A body like this would be 413.
        let answer = send(&world, &account, STRUCTURED, vec![b' '; (1 << 20) + 1]).await;
        if answer.status != 413 {
            break answer;
        }
    };
    refused.expect(429);
}

#[tokio::test]
async fn other_requests_have_a_bucket_of_their_own() {
    let (world, account) = limited(3, 1).await;
    // That account was looked for with OPTIONS already.
    let ask = || world.request("OPTIONS", PATH).header("x-api-key", &account.primary_key);
    let refused = loop {
        let answer = Answer::to(ask()).await;
        if answer.status != 204 {
            break answer;
        }
        assert_eq!(answer.header("ratelimit-policy"), "\"requests\";q=3;w=3");
    };
    refused.expect(429);
    assert_eq!(refused.body["violated-policies"], serde_json::json!(["requests"]));
    let answer = world.publish_as(&account, &event()).await;
    answer.expect(204);
    assert_eq!(remaining(&answer), 2);
}

#[tokio::test]
async fn others_are_not_affected_and_without_a_quota_nothing_is_said() {
    let (world, account) = limited(1, 1).await;
    let other = builders::account().quota(5, 1);
    world.add(&other).await;
    eventually(LIMIT, async || (world.publish_as(&account, &event()).await.status == 429).then_some(())).await;
    world.publish_as(&other, &event()).await.expect(204);
    let unlimited = world.publish(&event()).await;
    unlimited.expect(204);
    let unknown = world.request("POST", PATH).header("x-api-key", format!("{}x", account.primary_key));
    let unknown = Answer::to(unknown.header("content-type", STRUCTURED).body(event().bytes())).await;
    unknown.expect(401);
    for answer in [unlimited, unknown] {
        assert_eq!((answer.header("ratelimit"), answer.header("ratelimit-policy")), ("", ""));
    }
}

#[tokio::test]
async fn a_changed_quota_acts_with_the_next_request() {
    let (world, mut account) = limited(1, 1).await;
    eventually(LIMIT, async || (world.publish_as(&account, &event()).await.status == 429).then_some(())).await;
    account.account.quota = Some(Quota { burst_capacity: 100, tokens_per_second: 1 });
    account.account.revision += 1;
    world.bucket.put(&Record::Account(account.account.clone())).await.unwrap();
    eventually(LIMIT, async || (publish_batch(&world, &account, 50).await.status == 204).then_some(())).await;
    let refused = publish_batch(&world, &account, 90).await;
    refused.expect(429);
    account.account.quota = None;
    account.account.revision += 1;
    world.bucket.put(&Record::Account(account.account.clone())).await.unwrap();
    eventually(LIMIT, async || (publish_batch(&world, &account, 90).await.status == 204).then_some(())).await;
}
