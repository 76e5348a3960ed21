//! Known answers of publishing.

use reqwest::RequestBuilder;
use serde_json::{Value, json};
use slipstream_test_support::Receiver;
use slipstream_test_support::builders::{EventBuilder, batch, event};
use slipstream_tests::api::NewAccount;
use slipstream_tests::{Account, LIMIT, Shape, System};

slipstream_tests::journeys![
    what_is_no_acceptable_event_is_refused_by_name_and_leaves_nothing,
    who_may_not_publish_here_is_told_so,
];

/// A request, and the answer to keep: status, problem type, and where the errors are.
type Known = (&'static str, RequestBuilder, u16, &'static str, &'static [&'static str]);

fn structured(account: &Account, event: impl Into<Vec<u8>>) -> RequestBuilder {
    with_type(account, "application/cloudevents+json", event)
}

fn with_type(account: &Account, content_type: &str, body: impl Into<Vec<u8>>) -> RequestBuilder {
    account.publishing().header("x-api-key", &account.key).header("content-type", content_type).body(body.into())
}

/// A binary event without its source.
fn binary(account: &Account) -> RequestBuilder {
    with_type(account, "application/json", "{}")
        .header("ce-specversion", "1.0")
        .header("ce-id", "1")
        .header("ce-type", "communications.letter.created")
}

fn nested(depth: usize) -> Value {
    (0..depth).fold(Value::Null, |inner, _| json!([inner]))
}

/// The event's text with the member `id` twice.
fn with_two_ids() -> Vec<u8> {
    let text = String::from_utf8(event().bytes()).expect("JSON is text");
    text.replacen('{', "{\"id\":\"another\",", 1).into_bytes()
}

fn known_answers(account: &Account) -> Vec<Known> {
    let of = |event: EventBuilder| structured(account, event.bytes());
    let many_fields = (0..101).fold(of(event()), |request, n| request.header(format!("x-{n}"), "1"));
    let batched = |events: &[EventBuilder]| with_type(account, "application/cloudevents-batch+json", batch(events));
    let times =
        |intended: &str, expiry: &str| of(event().with("intendeddeliverytime", intended).with("expirytime", expiry));
    vec![
        ("a body of 1 MiB + 1", structured(account, vec![b' '; (1 << 20) + 1]), 413, "blank", &[]),
        ("an event above 256 KiB", of(event().sized(257 << 10)), 413, "blank", &["#"]),
        ("101 header fields", many_fields, 431, "", &[]),
        ("a head above 16 KiB", of(event()).header("x-long", "x".repeat(17 << 10)), 431, "", &[]),
        ("a gzip body", of(event()).header("content-encoding", "gzip"), 415, "blank", &[]),
        (
            "no content type and no ce- header",
            account.publishing().header("x-api-key", &account.key).body("{}"),
            415,
            "blank",
            &[],
        ),
        ("a type that is not of CloudEvents", with_type(account, "application/json", "{}"), 415, "blank", &[]),
        ("a format we do not read", with_type(account, "application/cloudevents+avro", "{}"), 415, "blank", &[]),
        ("ce-source missing", binary(account), 400, "invalid-event", &["#/source"]),
        (
            "ce-datacontenttype",
            binary(account).header("ce-source", "/a").header("ce-datacontenttype", "text/plain"),
            400,
            "invalid-event",
            &["#/datacontenttype"],
        ),
        ("no JSON", structured(account, "{"), 400, "invalid-event", &["#"]),
        ("id twice", structured(account, with_two_ids()), 400, "invalid-event", &["#/id"]),
        ("an object as extension", of(event().with("ext", json!({}))), 400, "invalid-event", &["#/ext"]),
        ("an array as extension", of(event().with("ext", json!([]))), 400, "invalid-event", &["#/ext"]),
        ("a float as extension", of(event().with("ext", 1.5)), 400, "invalid-event", &["#/ext"]),
        ("JSON nested 65 deep", of(event().with("data", nested(64))), 400, "invalid-event", &["#/data"]),
        ("an unknown specversion", of(event().with("specversion", "0.3")), 400, "invalid-event", &["#/specversion"]),
        (
            "one bad event in a batch",
            batched(&[event(), event().without("type"), event()]),
            400,
            "invalid-event",
            &["#/1/type"],
        ),
        ("another site's slug", of(event().with("siteslug", "sgbHJdm")), 400, "invalid-event", &["#/siteslug"]),
        ("visibility 2", of(event().with("visibility", 2)), 400, "visibility-not-allowed", &["#/visibility"]),
        ("visibility 3", of(event().with("visibility", 3)), 400, "visibility-not-allowed", &["#/visibility"]),
        ("visibility 4", of(event().with("visibility", 4)), 400, "invalid-event", &["#/visibility"]),
        ("priority 3", of(event().with("priority", 3)), 400, "invalid-event", &["#/priority"]),
        ("product Unknown", of(event().with("product", "Unknown")), 400, "invalid-event", &["#/product"]),
        (
            "an intended time at the expiry",
            times("2099-01-01T00:00:00Z", "2099-01-01T00:00:00Z"),
            400,
            "invalid-event",
            &["#/intendeddeliverytime"],
        ),
        (
            "an intended time after the expiry",
            times("2099-01-01T00:00:01Z", "2099-01-01T00:00:00Z"),
            400,
            "invalid-event",
            &["#/intendeddeliverytime"],
        ),
    ]
}

async fn what_is_no_acceptable_event_is_refused_by_name_and_leaves_nothing(shape: Shape) {
    let system = System::start(shape).await;
    let receiver = Receiver::start().await;
    let account = system.external().await;
    account.subscribe(receiver.url("/")).await;
    for (what, request, status, problem, pointers) in known_answers(&account) {
        let answer = account.send(request).await;
        if status == 431 {
            // The parser of HTTP refuses before anything of ours has seen a request, and has no words for it.
            assert_eq!((answer.status, answer.body.len()), (431, 0), "{what}: {answer}");
            continue;
        }
        assert_eq!((answer.status, answer.problem().as_str()), (status, problem), "{what}: {answer}");
        assert_eq!(answer.header("content-type"), "application/problem+json", "{what}");
        let document = answer.json();
        assert_eq!(document["status"], status, "{what}: {answer}");
        assert!(document["traceId"].is_string() && document["detail"].is_string(), "{what}: {answer}");
        assert_eq!(answer.pointers(), pointers, "{what}: {answer}");
    }
    // What is published afterwards has arrived and is recorded: so would any of the others be.
    let accepted = event().with("data", nested(63)).sized(64 << 10);
    account.publish(&accepted).await;
    let received = receiver.wait_for(1, LIMIT).await;
    assert_eq!(received[0].json()["data"], accepted.json()["data"]);
    assert_eq!(system.operator.ended(1).await.len(), 1);
    assert_eq!(receiver.count(), 1);
}

async fn who_may_not_publish_here_is_told_so(shape: Shape) {
    let system = System::start(shape).await;
    let account = system.external().await;
    let no_key = account.publishing().header("content-type", "application/cloudevents+json").body(event().bytes());
    let unknown = account.with_key(&format!("{}_wrong", account.id));
    for answer in [account.send(no_key).await, unknown.try_publish(&event()).await] {
        assert_eq!(answer.expect(401).header("www-authenticate"), "Bearer");
    }
    let only_subscribes = NewAccount { permissions: vec!["Webhooks.Manage"], ..NewAccount::default() };
    system.account(only_subscribes).await.try_publish(&event()).await.expect(403);
    let elsewhere = NewAccount { sites: json!(["sgbHJdm"]), ..NewAccount::default() };
    system.account(elsewhere).await.try_publish(&event()).await.expect(403);
    // An unknown site is no more forthcoming than a known one.
    account.at_site("spndklV").try_publish(&event()).await.expect(403);
    let malformed = account.at_site("x1234").try_publish(&event()).await;
    assert_eq!((malformed.status, malformed.problem().as_str()), (400, "slug-malformed"), "{malformed}");
}
