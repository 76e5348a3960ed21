//! Who did what, over all services (THREATS 5, 9): recorded, found, and whole.

use serde_json::{Value, json};
use slipstream_test_support::Receiver;
use slipstream_test_support::builders::SITE;
use slipstream_tests::{Shape, System};

slipstream_tests::journeys![whoever_reads_a_secret_or_changes_something_is_found_by_it];

async fn whoever_reads_a_secret_or_changes_something_is_found_by_it(shape: Shape) {
    let system = System::start(shape).await;
    let receiver = Receiver::start().await;
    let account = system.external().await;
    account.subscribe(receiver.url("/")).await;
    let operator = &system.operator;
    let endpoint = operator.endpoint_of(&account).await;

    // The account and its subscription: made, by whom.
    let actor = format!("account:{}", account.id);
    let made = operator.audited(&[("action", "account.create"), ("target", &account.id)], "done").await;
    assert_eq!((&made["actor"], &made["status"]), (&json!("operator"), &json!(201)));
    let subscribed = operator.audited(&[("actor", &actor)], "done").await;
    let expected = json!(["subscription.put", endpoint, SITE]);
    assert_eq!(json!([subscribed["action"], subscribed["target"], subscribed["site"]]), expected);

    // A secret is read: recorded when it is shown, and not only some time later.
    let before = operator.audit(&[("action", "secret.read")]).await.len();
    operator.signing_keys(&endpoint).await;
    let read = operator.audited(&[("action", "secret.read"), ("target", &endpoint)], "done").await;
    assert_eq!((&read["actor"], &read["site"]), (&json!("operator"), &json!(SITE)));
    assert_eq!(operator.audit(&[("action", "secret.read")]).await.len(), before + 1);
    operator.rotate_secret(&endpoint, json!({})).await;
    operator.audited(&[("action", "secret.rotate"), ("site", SITE)], "done").await;
    operator.enable(&endpoint).await;
    operator.audited(&[("action", "endpoint.enable"), ("target", &endpoint)], "done").await;

    // Every act has a beginning, and all of it is one chain.
    let records = operator.audit(&[]).await;
    for end in records.iter().filter(|record| record["begun"].is_string()) {
        let begun = records.iter().find(|it| it["id"] == end["begun"]).unwrap_or_else(|| panic!("{end}"));
        assert_eq!((&begun["outcome"], &begun["action"]), (&json!("begun"), &end["action"]));
    }
    let chain = operator.audit_chain().await;
    assert_eq!((&chain["isIntact"], &chain["first"], &chain["brokenAt"]), (&json!(true), &json!(1), &Value::Null));
    // No record holds a secret: neither the account's key nor a signing key.
    let text = Value::from(records).to_string();
    assert!(!text.contains("whsec_") && !text.contains(&account.key), "{text}");
}
