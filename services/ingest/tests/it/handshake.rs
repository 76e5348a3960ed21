//! S2: a sender asks whether it may deliver here (SPEC 5.3, 3.7).

use slipstream_core::config::Permission;
use slipstream_test_support::builders;
use slipstream_test_support::builders::AccountWithKeys;

use crate::answer::Answer;
use crate::world::{OTHER_SITE, PATH, SITE, World};

const ORIGIN: &str = "eventemitter.example.com";

impl World {
    async fn ask(&self, account: &AccountWithKeys, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.request("OPTIONS", PATH).header("x-api-key", &account.primary_key);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Answer::to(request).await
    }
}

#[tokio::test]
async fn without_an_origin_no_permission_is_given() {
    let world = World::new().await;
    for headers in [&[][..], &[("WebHook-Request-Rate", "120")]] {
        let answer = world.ask(&world.account, headers).await;
        assert_eq!(answer.expect(204).headers["allow"], "POST, OPTIONS");
        assert!(!answer.headers.contains_key("webhook-allowed-origin"));
        assert!(!answer.headers.contains_key("webhook-allowed-rate"));
    }
}

#[tokio::test]
async fn an_origin_is_granted_the_smaller_of_what_it_asks_and_the_quota() {
    let world = World::new().await;
    let limited = builders::account().quota(500, 50);
    world.add(&limited).await;
    for (account, asked, allowed) in [
        (&world.account, None, "*"),
        (&world.account, Some("120"), "*"),
        (&limited, None, "3000"),
        (&limited, Some("120"), "120"),
        (&limited, Some("3000"), "3000"),
        (&limited, Some("2147483647"), "3000"),
    ] {
        let mut headers = vec![("WebHook-Request-Origin", ORIGIN)];
        headers.extend(asked.map(|rate| ("WebHook-Request-Rate", rate)));
        let answer = world.ask(account, &headers).await;
        assert_eq!(answer.expect(204).headers["webhook-allowed-origin"], ORIGIN);
        assert_eq!(answer.headers["webhook-allowed-rate"], allowed, "{asked:?}");
        assert_eq!(answer.headers["allow"], "POST, OPTIONS");
    }
}

#[tokio::test]
async fn a_rate_that_is_no_positive_integer_is_400() {
    let world = World::new().await;
    for rate in ["0", "-1", "+1", "1.5", "", "many", "2147483648", "99999999999999999999", "*", "1 2"] {
        for headers in [
            &[("WebHook-Request-Rate", rate)][..],
            &[("WebHook-Request-Rate", rate), ("WebHook-Request-Origin", ORIGIN)],
        ] {
            let answer = world.ask(&world.account, headers).await;
            assert_eq!(answer.expect(400).pointers(), ["#/WebHook-Request-Rate"], "{rate:?}");
            assert!(!answer.headers.contains_key("webhook-allowed-origin"));
        }
    }
}

#[tokio::test]
async fn a_callback_is_not_called() {
    let world = World::new().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let callback = format!("http://{}/key", listener.local_addr().unwrap());
    let headers = [("WebHook-Request-Origin", ORIGIN), ("WebHook-Request-Callback", callback.as_str())];
    let answer = world.ask(&world.account, &headers).await;
    assert_eq!(answer.expect(204).headers["webhook-allowed-origin"], ORIGIN);
    // A call made before the answer would lie in the listener's queue.
    let called = futures::FutureExt::now_or_never(listener.accept());
    assert!(called.is_none());
}

#[tokio::test]
async fn those_who_may_not_publish_are_refused_as_when_publishing() {
    let world = World::new().await;
    let restricted = builders::account().only_sites(&[SITE]);
    let manager = builders::account().permissions(&[Permission::WebhooksManage]);
    world.add(&restricted).await;
    world.add(&manager).await;
    let ask = async |path: &str, key: Option<&str>| {
        let mut request = world.request("OPTIONS", path).header("WebHook-Request-Origin", ORIGIN);
        if let Some(key) = key {
            request = request.header("x-api-key", key);
        }
        let answer = Answer::to(request).await;
        assert!(!answer.headers.contains_key("webhook-allowed-origin"));
        answer
    };
    let elsewhere = format!("/sites/{OTHER_SITE}/events");
    assert_eq!(ask(PATH, None).await.expect(401).headers["www-authenticate"], "Bearer");
    ask(PATH, Some("nonsense")).await.expect(401);
    ask(PATH, Some(&manager.primary_key)).await.expect(403);
    ask(&elsewhere, Some(&restricted.primary_key)).await.expect(403);
    ask("/sites/sgbHJdm/events", Some(&restricted.primary_key)).await.expect(403);
    let malformed = ask("/sites/x/events", Some(&restricted.primary_key)).await;
    assert_eq!(malformed.expect(400).kind(), "slug-malformed");
}
