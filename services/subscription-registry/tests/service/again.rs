//! Questions that failed and are asked again, without anybody's doing (SPEC 3.7).

use std::time::Duration;

use serde_json::json;
use slipstream_core::config::{Consent, EndpointState, Record, Subscription};
use slipstream_core::ids::SubscriptionId;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::clock;
use slipstream_store::handshakes::unanswered::{self, Unanswered};
use slipstream_store::subscriptions;
use slipstream_subscription_registry::HandshakePolicy;
use slipstream_test_support::{Receiver, Reply, Then, eventually};

use crate::callback::{hesitant, path_of, put};
use crate::consent::settings;
use crate::harness::{Harness, Settings};

crate::on_both_databases!(
    a_question_that_failed_is_asked_again_and_may_be_granted,
    a_question_that_was_answered_is_not_asked_again,
    a_target_that_is_asked_again_takes_the_place_of_what_works_when_it_agrees,
);

const LIMIT: Duration = Duration::from_secs(10);

fn hasty(policy: HandshakePolicy) -> Settings {
    let mut settings = settings(policy);
    settings.handshake.timeout = Duration::from_millis(300);
    settings
}

/// Every question without an answer.
async fn open(service: &Harness) -> Vec<Unanswered> {
    let store = service.store().await;
    unanswered::due(store.connection(), clock::now(), 99).await.unwrap()
}

/// As if it had been asked this long ago.
async fn age(service: &Harness, question: &Unanswered, age: Duration) {
    let asked_at = Timestamp::from_millis(clock::now().as_millis() - i64::try_from(age.as_millis()).unwrap());
    let aged = Unanswered { asked_at, ..question.clone() };
    unanswered::put(service.store().await.connection(), &aged).await.unwrap();
}

async fn subscription(service: &Harness, id: SubscriptionId) -> Subscription {
    subscriptions::get(service.store().await.connection(), id).await.unwrap().unwrap()
}

async fn a_question_that_failed_is_asked_again_and_may_be_granted(service: Harness) {
    let mut service = service.with(hasty(HandshakePolicy::Optional)).await;
    let keys = [
        service.tenants().await,
        service.new_account(json!({})).await.body["keys"]["primary"].as_str().unwrap().to_owned(),
        service.new_account(json!({})).await.body["keys"]["primary"].as_str().unwrap().to_owned(),
    ];
    let receivers = [Receiver::start().await, Receiver::start().await, Receiver::start().await];
    for (key, receiver) in keys.iter().zip(&receivers) {
        receiver.consent_by(|_| Reply::hang());
        put(&service, key, &receiver.url("/post")).await.expect(200);
        receiver.consent_by(|_| Reply::granted_rate("900"));
    }
    receivers[2].consent_by(|_| Reply::ok().then(Then::Reset));
    let questions = open(&service).await;
    let [long_ago, just_now, hopeless] = questions.as_slice() else { panic!("{questions:?}") };
    assert_eq!(long_ago.uri, receivers[0].url("/post"));
    assert_eq!(subscription(&service, long_ago.subscription).await.rate_per_minute(), Some(60));
    age(&service, long_ago, Duration::from_secs(601)).await;
    age(&service, just_now, Duration::from_secs(570)).await;
    age(&service, hopeless, Duration::from_hours(1)).await;
    service.restart().await;
    eventually(LIMIT, async || {
        let granted = subscription(&service, long_ago.subscription).await;
        let consent = Consent::Granted { origin: "hooks.slipstream.example".into(), rate_per_minute: Some(900) };
        if (granted.state, &granted.consent) == (EndpointState::Active, &consent) { Ok(()) } else { Err(granted) }
    })
    .await;
    // That is in force, too.
    eventually(LIMIT, async || {
        let key = format!("subscription.{}", long_ago.subscription);
        let record = service.bucket().await.get(&key).await.unwrap().unwrap();
        let Record::Subscription(it) = record else { panic!("{record:?}") };
        it.rate_per_minute() == Some(900)
    })
    .await;
    let [first, again] = &receivers[0].consents()[..] else { panic!("asked otherwise than twice") };
    assert_ne!(path_of(first), path_of(again), "a key is for one question");
    eventually(LIMIT, async || receivers[2].consents().len() == 2).await;
    assert_eq!(receivers[1].consents().len(), 1, "ten minutes have not passed");
    eventually(LIMIT, async || {
        let open = open(&service).await;
        let fresh = |it: &Unanswered| it.asked_at > hopeless.asked_at;
        let left = [just_now, hopeless].map(|it| it.uri.as_str());
        let is_right = open.iter().map(|it| it.uri.as_str()).eq(left) && fresh(&open[1]);
        if is_right { Ok(()) } else { Err(open) }
    })
    .await;
}

async fn a_question_that_was_answered_is_not_asked_again(service: Harness) {
    let mut service = service.with(hasty(HandshakePolicy::Required)).await;
    let key = service.tenants().await;
    let receiver = hesitant().await;
    put(&service, &key, &receiver.url("/post")).await.expect(424);
    assert_eq!(open(&service).await, []);
    // One that failed, of a target that is none any more: forgotten at the next pass.
    receiver.consent_by(|_| Reply::hang());
    put(&service, &key, &receiver.url("/post")).await.expect(424);
    let [failed] = &open(&service).await[..] else { panic!("it is not kept") };
    let elsewhere = Unanswered { uri: receiver.url("/elsewhere"), ..failed.clone() };
    age(&service, &elsewhere, Duration::from_secs(601)).await;
    let asked = receiver.consents().len();
    service.restart().await;
    eventually(LIMIT, async || open(&service).await.is_empty()).await;
    assert_eq!(receiver.consents().len(), asked);
    // One that is answered when it is asked again: not a third time.
    receiver.consent_by(|_| Reply::ok());
    age(&service, failed, Duration::from_secs(601)).await;
    service.restart().await;
    eventually(LIMIT, async || open(&service).await.is_empty()).await;
    assert_eq!(receiver.consents().len(), asked + 1);
    assert_eq!(service.subscription_in_bucket().await.unwrap().state, EndpointState::Pending);
}

async fn a_target_that_is_asked_again_takes_the_place_of_what_works_when_it_agrees(service: Harness) {
    let mut service = service.with(hasty(HandshakePolicy::Required)).await;
    let key = service.tenants().await;
    let receiver = Receiver::start().await;
    put(&service, &key, &receiver.url("/old")).await.expect(200);
    receiver.consent_by(|_| Reply::hang());
    put(&service, &key, &receiver.url("/new")).await.expect(424);
    let [failed] = &open(&service).await[..] else { panic!("it is not kept") };
    receiver.consent_by(|_| Reply::granted());
    age(&service, failed, Duration::from_secs(601)).await;
    assert_eq!(service.subscription_in_bucket().await.unwrap().uri, receiver.url("/old"));
    service.restart().await;
    eventually(LIMIT, async || {
        let seen = service.subscription_in_bucket().await.unwrap();
        if seen.uri == receiver.url("/new") && seen.state == EndpointState::Active { Ok(()) } else { Err(seen) }
    })
    .await;
}

#[tokio::test]
async fn a_pass_asks_at_most_ten_longest_ago_first() {
    let mut service = Harness::on_sqlite().await.with(hasty(HandshakePolicy::Optional)).await;
    let first = service.tenants().await;
    let closed = Receiver::start().await.url("/post");
    for number in 0..12 {
        let key = match number {
            0 => first.clone(),
            _ => service.new_account(json!({})).await.body["keys"]["primary"].as_str().unwrap().to_owned(),
        };
        // The last two are not even asked: it is one host.
        put(&service, &key, &closed).await.expect(200);
    }
    for (number, question) in open(&service).await.iter().enumerate() {
        age(&service, question, Duration::from_secs(3600 - number as u64)).await;
    }
    let before = open(&service).await;
    assert_eq!(before.len(), 12);
    service.restart().await;
    let after = eventually(LIMIT, async || {
        let open = open(&service).await;
        if open[0] == before[10] { Ok(open) } else { Err(open) }
    })
    .await;
    assert_eq!(after[..2], before[10..], "those behind have their turn later");
    assert!(after[2..].iter().all(|it| it.asked_at > before[11].asked_at));
}
