//! Known answers of subscribing.

use serde_json::{Value, json};
use slipstream_tests::api::NewAccount;
use slipstream_tests::{Settings, Shape, System, Targets};

slipstream_tests::journeys![
    targets_that_must_not_be_called_are_refused,
    what_is_no_acceptable_subscription_is_refused_by_name,
    who_may_not_subscribe_here_is_told_so,
];

async fn targets_that_must_not_be_called_are_refused(shape: Shape) {
    let targets = Targets::Global;
    let settings = Settings { subscription_targets: targets, delivery_targets: targets, ..Settings::default() };
    let system = System::with(shape, settings).await;
    let account = system.external().await;
    let long = |length: usize| format!("https://receiver.example/{}", "a".repeat(length - 25));
    let forbidden = [
        "http://receiver.example/",
        "https://127.0.0.1/",
        "https://127.0.0.1:8443/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://10.1.2.3/",
        "https://172.16.0.1/",
        "https://192.168.1.1/",
        "https://100.64.0.1/",
        "https://169.254.169.254/latest/meta-data/",
        "https://0.0.0.0/",
        "https://224.0.0.1/",
        "https://[::1]/",
        "https://[::]/",
        "https://[fd00::1]/",
        "https://[fe80::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://localhost/",
        "https://me:secret@receiver.example/",
        "https://receiver.example/#fragment",
        "https://receiver.example:0/",
        "https://receiver.example:6379/",
        "ftp://receiver.example/",
        "receiver.example",
        "",
        &long(2049),
    ];
    for uri in forbidden {
        let answer = account.put_webhook(json!({ "Uri": uri })).await;
        assert_eq!((answer.status, answer.problem().as_str()), (422, "target-not-allowed"), "{uri}: {answer}");
        assert_eq!(answer.pointers(), ["#/Uri"], "{uri}");
        assert!(!answer.to_string().contains("secret"), "{answer}");
    }
    account.get_webhook().await.expect(404);
    account.put_webhook(json!({ "Uri": long(2048) })).await.expect(200);
}

async fn what_is_no_acceptable_subscription_is_refused_by_name(shape: Shape) {
    let system = System::start(shape).await;
    let account = system.external().await;
    let uri = "https://receiver.example/post";
    let header = |name: &str, value: Value| json!({ "Uri": uri, "Headers": [{ "Name": name, "Value": value }] });
    let many: Vec<_> = (0..21).map(|n| json!({ "Name": format!("X-{n}"), "Value": "1" })).collect();
    let known = [
        (json!({}), "#/Uri"),
        (json!({ "Uri": 7 }), "#/Uri"),
        (header("Host", "elsewhere".into()), "#/Headers/0/Name"),
        (header("Content-Length", "1".into()), "#/Headers/0/Name"),
        (header("webhook-id", "mine".into()), "#/Headers/0/Name"),
        (header("ce-id", "mine".into()), "#/Headers/0/Name"),
        (header("X A", "1".into()), "#/Headers/0/Name"),
        (header("X-A", "1\r\nHost: elsewhere".into()), "#/Headers/0/Value"),
        (header("X-A", "é".into()), "#/Headers/0/Value"),
        (header("X-A", "x".repeat(4097).into()), "#/Headers/0/Value"),
        (header("X-A", 7.into()), "#/Headers/0/Value"),
        (json!({ "Uri": uri, "Headers": many }), "#/Headers"),
        (json!({ "Uri": uri, "EventTypes": ["communications.letter.burnt"] }), "#/EventTypes/0"),
    ];
    for (body, pointer) in known {
        let answer = account.put_webhook(body.clone()).await;
        assert_eq!(answer.status, 400, "{body}: {answer}");
        assert_eq!(answer.pointers(), [pointer], "{body}: {answer}");
    }
    account.get_webhook().await.expect(404);
    account.put_webhook(header("X-A", Value::Null)).await.expect(200);
}

async fn who_may_not_subscribe_here_is_told_so(shape: Shape) {
    let system = System::start(shape).await;
    let account = system.external().await;
    let webhook = json!({ "Uri": "https://receiver.example/post" });
    let unknown = account.with_key("nobody_wrong").put_webhook(webhook.clone()).await;
    assert_eq!(unknown.expect(401).header("www-authenticate"), "Bearer");
    let only_publishes = NewAccount { permissions: vec!["Events.Publish"], ..NewAccount::default() };
    system.account(only_publishes).await.put_webhook(webhook.clone()).await.expect(403);
    let elsewhere = NewAccount { sites: json!(["sgbHJdm"]), ..NewAccount::default() };
    system.account(elsewhere).await.get_webhook().await.expect(403);
    account.at_site("spndklV").put_webhook(webhook.clone()).await.expect(404);
    let malformed = account.at_site("x1234").put_webhook(webhook).await;
    assert_eq!((malformed.status, malformed.problem().as_str()), (400, "slug-malformed"), "{malformed}");
}
