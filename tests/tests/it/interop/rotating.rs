//! Receivers that verify with somebody else's library, while keys are rotated, added and revoked (SPEC 4.6).

use std::time::Duration;

use serde_json::{Value, json};
use slipstream_core::timestamp::Timestamp;
use slipstream_service::clock;
use slipstream_test_support::builders::event;
use slipstream_test_support::{Received, Receiver, eventually};
use slipstream_tests::interop::{Verifier, verify_v1a};
use slipstream_tests::{Account, LIMIT, System};

/// How long an old key signs on.
const GRACE_SECONDS: u64 = 4;

/// Publishes until a delivery has signatures of these versions, in this order when sorted, and gives that: the dispatcher hears of a change by itself.
async fn delivered_with(account: &Account, receiver: &Receiver, signatures: &[&str]) -> Received {
    let before = receiver.count();
    eventually(LIMIT, async || {
        account.publish(&event()).await;
        let received = receiver.wait_for(before + 1, LIMIT).await;
        let last = received.last().expect("there is one").as_ref().clone();
        let header = last.header("webhook-signature").to_owned();
        let mut versions: Vec<_> = header.split(' ').filter_map(|it| Some(it.split_once(',')?.0)).collect();
        // The newest is in front, of whichever version.
        versions.sort_unstable();
        if versions == signatures { Ok(last) } else { Err(header) }
    })
    .await
}

/// What both libraries say of a request and a secret; they must agree.
async fn verified(request: &Received, secret: &str) -> bool {
    let [python, javascript] = [
        Verifier::Python.verify(&[(request, secret)]).await.remove(0),
        Verifier::JavaScript.verify(&[(request, secret)]).await.remove(0),
    ];
    assert_eq!(python == "ok", javascript == "ok", "{python} | {javascript}");
    assert!(python == "ok" || python.contains("No matching signature"), "{python}");
    python == "ok"
}

async fn until(instant: Timestamp) {
    tokio::time::sleep(instant.since(clock::now())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_libraries_of_two_languages_verify_with_the_old_and_the_new_secret_during_a_rotation_and_then_with_the_new()
{
    let system = System::four_processes().await;
    let receiver = Receiver::start().await;
    let account = system.external().await;
    account.subscribe(receiver.url("/")).await;
    let (operator, endpoint) = (&system.operator, system.operator.endpoint_of(&account).await);
    let old = operator.signing_keys(&endpoint).await.remove(0).secret.expect("a symmetric key");
    let before = delivered_with(&account, &receiver, &["v1"]).await;
    assert!(verified(&before, &old).await);

    let keys = operator.rotate_secret(&endpoint, json!({ "graceSeconds": GRACE_SECONDS })).await;
    assert_eq!(keys.len(), 2, "{keys:?}");
    let (new, end) = (keys[0].secret.clone().expect("a symmetric key"), keys[1].until.expect("the old one has an end"));
    assert_eq!((keys[0].until, keys[1].secret.as_ref()), (None, Some(&old)));
    assert!(end.since(clock::now()) <= Duration::from_secs(GRACE_SECONDS), "{end}");
    let during = delivered_with(&account, &receiver, &["v1", "v1"]).await;
    assert!(verified(&during, &old).await && verified(&during, &new).await);
    assert!(!verified(&before, &new).await, "the new key has not signed what came before it");

    until(end).await;
    let after = delivered_with(&account, &receiver, &["v1"]).await;
    assert!(verified(&after, &new).await && !verified(&after, &old).await);
    assert_eq!(operator.secrets_of(&account).await, std::slice::from_ref(&new));

    // One more scheme disturbs nobody; and a key that has leaked is gone at once.
    operator.rotate_secret(&endpoint, json!({ "scheme": "v1a" })).await;
    let both = delivered_with(&account, &receiver, &["v1", "v1a"]).await;
    assert!(verified(&both, &new).await);
    let newest = operator.rotate_secret(&endpoint, json!({ "scheme": "v1", "graceSeconds": 0 })).await.remove(0);
    let newest = newest.secret.expect("a symmetric key");
    let revoked = eventually(LIMIT, async || {
        let request = delivered_with(&account, &receiver, &["v1", "v1a"]).await;
        if verified(&request, &newest).await { Ok(request) } else { Err("still the old key") }
    })
    .await;
    assert!(!verified(&revoked, &new).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ed25519_signatures_verify_with_nothing_but_the_key_set_that_is_served_also_during_a_rotation() {
    let system = System::four_processes().await;
    let receiver = Receiver::start().await;
    let account = system.external().await;
    account.subscribe(receiver.url("/")).await;
    let (operator, endpoint) = (&system.operator, system.operator.endpoint_of(&account).await);
    let url = operator.key_set_url(&endpoint);
    let symmetric_only = delivered_with(&account, &receiver, &["v1"]).await;
    let key_set = async || account.send(account.http().get(&url)).await.expect(200).json();
    assert_eq!(key_set().await, json!({ "keys": [] }), "no symmetric key is in it");
    assert!(verify_v1a(&url, &[&symmetric_only]).await[0].starts_with("failed: "));

    let first = operator.rotate_secret(&endpoint, json!({ "scheme": "v1a" })).await;
    let first = first.into_iter().find(|key| key.scheme == "v1a").expect("it is there");
    let once = delivered_with(&account, &receiver, &["v1", "v1a"]).await;
    assert_eq!(verify_v1a(&url, &[&once]).await, [format!("ok {}", first.key_id)]);
    let served = key_set().await;
    let members = [("kty", "OKP"), ("crv", "Ed25519"), ("kid", &first.key_id)];
    assert!(members.iter().all(|(name, value)| served["keys"][0][name] == *value), "{served}");
    assert_eq!(served["keys"][0]["whpk"], Value::from(first.public_key.clone()));
    assert!(!served.to_string().contains("whsk_") && !served.to_string().contains("whsec_"), "{served}");

    let second = operator.rotate_secret(&endpoint, json!({ "scheme": "v1a", "graceSeconds": GRACE_SECONDS })).await;
    let second = second.into_iter().find(|key| key.scheme == "v1a" && key.until.is_none()).expect("it is there");
    let twice = delivered_with(&account, &receiver, &["v1", "v1a", "v1a"]).await;
    let rotated_at = clock::now();
    assert_eq!(verify_v1a(&url, &[&twice]).await, [format!("ok {} {}", second.key_id, first.key_id)]);
    until(rotated_at.after(Duration::from_secs(GRACE_SECONDS))).await;
    let after = delivered_with(&account, &receiver, &["v1", "v1a"]).await;
    let told = verify_v1a(&url, &[&after, &once]).await;
    assert_eq!(told, [format!("ok {}", second.key_id), "failed: no key fits".to_owned()]);
    // Changed on the way, in one byte.
    let mut forged = after.clone();
    forged.body =
        String::from_utf8(after.body.to_vec()).expect("an event is text").replace("Created", "Creates").into();
    assert_ne!(forged.body, after.body);
    assert_eq!(verify_v1a(&url, &[&forged]).await, ["failed: no key fits"]);

    operator.revoke_secret(&endpoint, &second.key_id).await.expect(204);
    assert_eq!(key_set().await, json!({ "keys": [] }));
    let without = delivered_with(&account, &receiver, &["v1"]).await;
    let symmetric = operator.signing_keys(&endpoint).await.remove(0).secret.expect("a symmetric key");
    assert!(verified(&without, &symmetric).await);
}
