//! Receivers are asked before they are called (SPEC 3.7, as sender).

use http::Method;
use serde_json::json;
use slipstream_core::delivery::{DeliveryState, Reason};
use slipstream_test_support::builders::event;
use slipstream_test_support::{Receiver, Reply, eventually};
use slipstream_tests::{Account, Handshake, LIMIT, ORIGIN, Settings, Shape, System};

slipstream_tests::journeys![
    a_receiver_that_agrees_is_called_by_the_name_it_agreed_to,
    a_receiver_that_has_not_agreed_is_called_all_the_same_but_rarely,
    where_consent_is_required_a_receiver_that_refuses_gets_nothing_until_it_agrees,
    a_receiver_may_agree_later_at_the_url_it_was_given,
];

/// Refuses, or rather: says nothing of the kind.
fn refuses(receiver: &Receiver) {
    receiver.consent_by(|_| Reply::ok());
}

async fn required(shape: Shape) -> System {
    System::with(shape, Settings { handshake: Handshake::Required, ..Settings::default() }).await
}

/// Publishes until an event arrives: the dispatcher hears of a change by itself, some milliseconds later.
async fn publish_until_one_arrives(account: &Account, receiver: &Receiver) {
    eventually(LIMIT, async || {
        account.publish(&event()).await;
        receiver.count() > 0
    })
    .await;
}

async fn a_receiver_that_agrees_is_called_by_the_name_it_agreed_to(shape: Shape) {
    let system = required(shape).await;
    let receiver = Receiver::start().await;
    receiver.consent_by(|request| {
        let origin = request.header("webhook-request-origin");
        Reply::status(204).header("webhook-allowed-origin", origin).header("webhook-allowed-rate", "6000")
    });
    let account = system.external().await;
    account.subscribe(receiver.url("/post?practice=7")).await;
    let asked = receiver.consents();
    assert_eq!(asked.len(), 1);
    assert_eq!((asked[0].method.clone(), asked[0].path.as_str()), (Method::OPTIONS, "/post"));
    assert_eq!((asked[0].query.as_deref(), asked[0].body.len()), (Some("practice=7"), 0));
    assert_eq!(asked[0].header("webhook-request-origin"), ORIGIN);
    assert!(asked[0].header("webhook-request-callback").starts_with("http://127.0.0.1:"), "{asked:?}");
    assert_eq!(account.webhook_labels().await, ["state:active"]);
    let endpoint = system.operator.endpoint(&system.operator.endpoint_of(&account).await).await;
    assert_eq!(endpoint["consent"], json!({ "state": "granted", "origin": ORIGIN, "ratePerMinute": 6000 }));
    assert_eq!(endpoint["ratePerMinute"], 6000);

    account.publish(&event()).await;
    let received = receiver.wait_for(1, LIMIT).await;
    assert_eq!(received[0].header("webhook-request-origin"), ORIGIN);
    // The same again is not asked for again; another target is.
    account.subscribe(receiver.url("/post?practice=7")).await;
    assert_eq!(receiver.consents().len(), 1);
    account.subscribe(receiver.url("/elsewhere")).await;
    assert_eq!(receiver.consents().len(), 2);
}

async fn a_receiver_that_has_not_agreed_is_called_all_the_same_but_rarely(shape: Shape) {
    let system = System::start(shape).await;
    let receiver = Receiver::start().await;
    refuses(&receiver);
    let account = system.external().await;
    account.subscribe(receiver.url("/")).await;
    assert_eq!(receiver.consents().len(), 1);
    assert_eq!(account.webhook_labels().await, ["state:active"]);
    let to = system.operator.endpoint_of(&account).await;
    assert_eq!(system.operator.endpoint(&to).await["ratePerMinute"], 60);
    let letters = [event(), event(), event()];
    for letter in &letters {
        account.publish(letter).await;
    }
    let received = receiver.wait_for(3, LIMIT).await;
    let took = received[2].at - received[0].at;
    assert!(took.as_millis() >= 1800, "three within {took:?}, at 60 a minute");
    assert!(received.iter().all(|it| it.header("webhook-request-origin").is_empty()));
    system.operator.ended(3).await;
}

async fn where_consent_is_required_a_receiver_that_refuses_gets_nothing_until_it_agrees(shape: Shape) {
    let system = required(shape).await;
    let receiver = Receiver::start().await;
    receiver.consent_by(|_| Reply::ok().header("webhook-allowed-origin", "somebody-else.example"));
    let account = system.external().await;
    let webhook = json!({ "Uri": receiver.url("/") });
    let refused = account.put_webhook(webhook.clone()).await;
    assert_eq!((refused.status, refused.problem().as_str()), (424, "handshake-failed"), "{refused}");
    assert_eq!(account.webhook_labels().await, ["state:pending-handshake"]);
    account.publish(&event()).await;
    let ended = system.operator.ended(1).await.remove(0);
    assert_eq!((ended.state, ended.reason), (DeliveryState::Cancelled, Some(Reason::ConsentPending)));
    assert_eq!(receiver.count(), 0);

    receiver.consent_by(|_| Reply::granted());
    account.put_webhook(webhook).await.expect(200);
    assert_eq!(account.webhook_labels().await, ["state:active"]);
    publish_until_one_arrives(&account, &receiver).await;
    assert_eq!(receiver.received()[0].header("webhook-request-origin"), ORIGIN);
}

async fn a_receiver_may_agree_later_at_the_url_it_was_given(shape: Shape) {
    let system = required(shape).await;
    let receiver = Receiver::start().await;
    refuses(&receiver);
    let account = system.external().await;
    let refused = account.put_webhook(json!({ "Uri": receiver.url("/") })).await;
    assert!(refused.expect(424).json()["detail"].as_str().unwrap_or_default().contains("callback"), "{refused}");
    let callback = receiver.consents()[0].header("webhook-request-callback").to_owned();
    assert!(
        !refused.to_string().contains(callback.rsplit('/').next().expect("it has a key")),
        "the key is the receiver's"
    );

    // As a stranger: the key is all there is. A rate that is none uses nothing up.
    let grant =
        async |url: &str, rate: &str| account.send(account.http().post(url).header("webhook-allowed-rate", rate)).await;
    grant(&callback, "soon").await.expect(400);
    account.send(account.http().head(&callback)).await.expect(405);
    assert_eq!(account.webhook_labels().await, ["state:pending-handshake"]);
    grant(&callback, "6000").await.expect(204);
    assert_eq!(account.webhook_labels().await, ["state:active"]);
    grant(&callback, "6000").await.expect(404);
    let endpoint = system.operator.endpoint(&system.operator.endpoint_of(&account).await).await;
    assert_eq!(endpoint["consent"], json!({ "state": "granted", "origin": ORIGIN, "ratePerMinute": 6000 }));
    publish_until_one_arrives(&account, &receiver).await;
    assert_eq!(receiver.received()[0].header("webhook-request-origin"), ORIGIN);
    let guessed = format!("{}/{}", callback.rsplit_once('/').expect("it has a key").0, "A".repeat(43));
    grant(&guessed, "*").await.expect(404);
}
