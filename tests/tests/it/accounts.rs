//! Accounts that are changed and deleted, in the whole system (THREATS 5: in force within five seconds).

use std::time::{Duration, Instant};

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use slipstream_core::config::DisabledReason;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::clock;
use slipstream_test_support::builders::{SITE, event};
use slipstream_test_support::{Issuer, Receiver, Reply};
use slipstream_tests::{Account, Answer, LIMIT, Settings, Shape, System};

slipstream_tests::journeys![
    a_deleted_account_is_refused_everywhere_and_what_it_left_goes_on,
    a_changed_account_is_in_force_everywhere,
    a_holder_of_tokens_whose_account_was_deleted_subscribes_no_more,
    an_endpoint_that_is_gone_is_found_in_the_audit,
];

/// What is promised of a revocation.
const PROMISED: Duration = Duration::from_secs(5);

/// Asks again and again until the answer has this status; the first question that is answered so was asked in time. From
/// then on every answer has it.
async fn turns(what: &str, status: u16, ask: impl AsyncFn() -> Answer) {
    let changed = Instant::now();
    loop {
        let asked = Instant::now();
        let answer = ask().await;
        if answer.status == status {
            break;
        }
        assert!(asked - changed < PROMISED, "{what}: still {} after {:?}", answer.status, asked - changed);
    }
    for _ in 0..3 {
        ask().await.expect(status);
    }
}

/// What each service that looks at keys by itself answers.
async fn everywhere(account: &Account, [publishing, asking, subscribing]: [u16; 3]) {
    tokio::join!(
        turns("ingest", publishing, async || account.empty_batch().await),
        turns("the activity log", asking, async || account.ask_scheduled(&[]).await),
        turns("the registry", subscribing, async || account.get_webhook().await),
    );
}

fn soon() -> Timestamp {
    clock::now().after(Duration::from_secs(4))
}

async fn a_deleted_account_is_refused_everywhere_and_what_it_left_goes_on(shape: Shape) {
    let system = System::start(shape).await;
    let receiver = Receiver::start().await;
    let (account, other) = (system.external().await, system.external().await);
    account.subscribe(receiver.url("/")).await;
    everywhere(&account, [204, 200, 200]).await;
    everywhere(&other, [204, 200, 404]).await;
    let scheduled = event().with("intendeddeliverytime", soon().to_string());
    account.publish(&scheduled).await;
    let endpoint = system.operator.endpoint_of(&account).await;

    let deleted: Value = system.operator.delete_account(&account.id).await.parsed(200);
    assert_eq!(deleted, json!({ "id": account.id, "endpoints": 1 }));
    everywhere(&account, [401; 3]).await;
    everywhere(&other, [204, 200, 404]).await;
    let recorded = system.operator.audited(&[("action", "account.delete")], "done").await;
    assert_eq!((&recorded["actor"], &recorded["target"]), (&json!("operator"), &json!(account.id)));

    // Its subscription takes what others publish, and what it had scheduled itself.
    let letter = event();
    other.publish(&letter).await;
    let received = receiver.wait_for(2, LIMIT).await;
    let ids: Vec<_> = received.iter().map(|it| it.json()["id"].clone()).collect();
    for id in [letter.text("id"), scheduled.text("id")] {
        assert!(ids.contains(&json!(id)), "{ids:?}");
    }
    let its = system.operator.endpoints_of(&account.id).await;
    assert_eq!((its.len(), &its[0]["id"], &its[0]["state"]), (1, &json!(endpoint), &json!("active")));
    system.operator.delete_account(&account.id).await.expect(200);
    system.operator.delete_account("00000000-0000-4000-8000-00000000000a").await.expect(404);
}

async fn a_changed_account_is_in_force_everywhere(shape: Shape) {
    let system = System::start(shape).await;
    let account = system.external().await;
    everywhere(&account, [204, 200, 404]).await;
    let change = |sites: Value, permissions: Value| json!({ "displayName": "Changed", "kind": "internal", "sites": sites, "permissions": permissions });
    let both = json!(["Events.Publish", "Webhooks.Manage"]);
    for (change, statuses) in [
        (change(json!("all"), json!(["Webhooks.Manage"])), [403, 403, 404]),
        (change(json!("all"), json!(["Events.Publish"])), [204, 200, 403]),
        (change(json!([]), both.clone()), [403, 403, 403]),
        (change(json!([SITE]), both), [204, 200, 404]),
    ] {
        system.operator.put_account(&account, change).await.expect(200);
        everywhere(&account, statuses).await;
    }
    // One of our own by now: a stranger may not publish into a queue.
    account.publish(&event().with("visibility", 2)).await;
    // What is misspelt is refused, and nothing has changed.
    let misspelt = json!({ "displayname": "x", "kind": "external", "sites": [], "permissions": [] });
    assert_eq!(system.operator.put_account(&account, misspelt).await.pointers(), ["#/displayname"]);
    everywhere(&account, [204, 200, 404]).await;
}

async fn a_holder_of_tokens_whose_account_was_deleted_subscribes_no_more(shape: Shape) {
    let issuer = Issuer::start().await;
    let system = System::with(shape, Settings { issuer: Some(issuer.url()), ..Settings::default() }).await;
    let receiver = Receiver::start().await;
    let knows_the_paths = system.external().await;
    let roles = json!(["Events.Publish", "Webhooks.Manage"]);
    let token = issuer.token().claim("roles", roles).claim("sites", json!([SITE])).sign();
    let path = format!("http://{}/sites/{SITE}/webhooks/features/physicalpost", system.bases().registry);
    let webhook = |method: Method| knows_the_paths.http().request(method, &path).bearer_auth(&token);
    let send = async |request: RequestBuilder| knows_the_paths.send(request).await;
    let put = || webhook(Method::PUT).json(&json!({ "Uri": receiver.url("/") }));
    send(put()).await.expect(200);

    let subscribed = system.operator.audited(&[("action", "subscription.put")], "done").await;
    let endpoint = system.operator.endpoint(subscribed["target"].as_str().expect("it is named")).await;
    let id = endpoint["account"].as_str().expect("it is somebody's");
    let deleted: Value = system.operator.delete_account(id).await.parsed(200);
    assert_eq!(deleted["endpoints"], 1);
    let refused = send(put()).await;
    assert!(refused.expect(403).json()["detail"].as_str().is_some_and(|it| it.contains("deleted")), "{refused}");
    assert_eq!(system.operator.endpoints_of(id).await.len(), 1);
    // Whatever else its issuer lets it do, it does, and may take back what it has.
    let publishing = knows_the_paths.publishing().header("content-type", "application/cloudevents+json");
    send(publishing.bearer_auth(&token).body(event().bytes())).await.expect(204);
    receiver.wait_for(1, LIMIT).await;
    send(webhook(Method::DELETE)).await.expect(204);
}

async fn an_endpoint_that_is_gone_is_found_in_the_audit(shape: Shape) {
    let system = System::start(shape).await;
    let receiver = Receiver::start().await;
    receiver.script(|_, _| Reply::status(410));
    let account = system.external().await;
    account.subscribe(receiver.url("/")).await;
    let endpoint = system.operator.endpoint_of(&account).await;
    account.publish(&event()).await;
    let recorded = system.operator.audited(&[("action", "endpoint.disable"), ("target", &endpoint)], "done").await;
    assert_eq!(json!([recorded["actor"], recorded["kind"], recorded["site"]]), json!(["receiver", "endpoint", SITE]));
    assert_eq!((recorded.get("status"), recorded.get("begun")), (None, None));
    assert_eq!(system.operator.endpoint(&endpoint).await["disabledReason"], json!(DisabledReason::Gone));
}
