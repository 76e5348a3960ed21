//! How much one site may have (THREATS 7).

use futures::future::join_all;
use http::Method;
use serde_json::{Value, json};
use slipstream_store::subscriptions;
use slipstream_subscription_registry::LimitsConfig;
use slipstream_test_support::builders;

use crate::harness::{Answer, Harness, PATH, SITE, Settings};

crate::on_both_databases!(
    a_site_has_room_for_so_many_subscriptions_and_no_more,
    accounts_that_subscribe_at_once_are_not_one_too_many,
);

async fn with_room_for(service: Harness, subscriptions_per_site: u32) -> Harness {
    let limits = LimitsConfig { subscriptions_per_site, ..LimitsConfig::default() };
    let settings = Settings { limits, ..Settings::default() };
    service.with(settings).await
}

async fn keys(service: &Harness, count: usize) -> Vec<String> {
    let mut keys = vec![service.tenants().await];
    while keys.len() < count {
        let account = service.new_account(json!({})).await;
        keys.push(account.body["keys"]["primary"].as_str().unwrap().to_owned());
    }
    keys
}

async fn put(service: &Harness, path: &str, key: &str) -> Answer {
    service.account(Method::PUT, path, key, json!({"Uri": "https://receiver.example/post"})).await
}

async fn a_site_has_room_for_so_many_subscriptions_and_no_more(service: Harness) {
    let service = with_room_for(service, 2).await;
    let keys = keys(&service, 3).await;
    put(&service, PATH, &keys[0]).await.expect(200);
    put(&service, PATH, &keys[1]).await.expect(200);
    let refused = put(&service, PATH, &keys[2]).await;
    refused.expect(422);
    assert!(refused.body["detail"].as_str().unwrap().contains("the site has 2 subscriptions"), "{}", refused.body);
    service.account(Method::GET, PATH, &keys[2], Value::Null).await.expect(404);

    // What is there may be replaced, another site is another tenant, and what is gone makes room.
    put(&service, PATH, &keys[0]).await.expect(200);
    let site = json!({"name": "Elsewhere", "organisation": "o4fKq2", "product": "Exact"});
    service.operator(Method::PUT, "/admin/v1/sites/sUkLWZg", site).await.expect(200);
    put(&service, &PATH.replace(SITE, "sUkLWZg"), &keys[2]).await.expect(200);
    service.account(Method::DELETE, PATH, &keys[1], Value::Null).await.expect(204);
    put(&service, PATH, &keys[2]).await.expect(200);
    put(&service, PATH, &keys[1]).await.expect(422);
    service.stop().await;
}

async fn accounts_that_subscribe_at_once_are_not_one_too_many(service: Harness) {
    let service = with_room_for(service, 3).await;
    let keys = keys(&service, 8).await;
    let answers = join_all(keys.iter().map(|key| put(&service, PATH, key))).await;
    let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 422, 422, 422, 422, 422]);
    let store = service.store().await;
    let count = subscriptions::count_of_site(store.connection(), &builders::slug(SITE)).await;
    assert_eq!(count.unwrap(), 3);
    service.stop().await;
}
