//! Requests that are larger, deeper or otherwise more than we take.

use futures::future::join_all;
use serde_json::json;
use slipstream_tests::{Account, Settings};

use super::stage::Stage;

/// How often each stranger sends its request.
const ROUNDS: usize = 5;

/// What one kind of refusal may cost.
#[derive(Clone, Copy)]
struct Cost {
    /// So many strangers send at once.
    strangers: usize,
    growth_max_kib: u64,
}

/// No more than their connections cost.
const BY_ITS_HEAD: Cost = Cost { strangers: 40, growth_max_kib: 8 * 1024 };
/// Bodies of up to 1 MiB are in memory until they are judged; as many as one account may have there, but one.
const BY_ITS_BODY: Cost = Cost { strangers: 15, growth_max_kib: 40 * 1024 };

const MIB: usize = 1 << 20;

/// A request, and the status it is refused with.
type Known = (&'static str, Vec<u8>, u16);

fn with_body(stage: &Stage, fields: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("{}{fields}Content-Length: {}\r\n\r\n", stage.head(), body.len());
    [head.as_bytes(), body].concat()
}

fn structured(stage: &Stage, body: &[u8]) -> Vec<u8> {
    with_body(stage, "Content-Type: application/cloudevents+json\r\n", body)
}

/// An event with this as its data.
fn event_with(data: &str) -> Vec<u8> {
    format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"T","data":{data}}}"#).into_bytes()
}

fn chunked(stage: &Stage, bytes: usize) -> Vec<u8> {
    let fields = "Content-Type: application/cloudevents+json\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (whole, rest) = (bytes / 0x10000, bytes % 0x10000);
    let chunk = |bytes: usize| format!("{bytes:x}\r\n{}\r\n", " ".repeat(bytes));
    format!("{}{fields}{}{}0\r\n\r\n", stage.head(), chunk(0x10000).repeat(whole), chunk(rest)).into_bytes()
}

fn refused_by_its_head(stage: &Stage) -> Vec<Known> {
    let fields = |count: usize| (0..count).fold(String::new(), |fields, number| fields + &format!("X-{number}: 1\r\n"));
    vec![
        // `Host`, `Connection`, `X-API-KEY` and `Content-Length` are four.
        ("101 fields", with_body(stage, &fields(97), b""), 431),
        ("a head of 20 KiB", with_body(stage, &format!("X-Long: {}\r\n", "x".repeat(20 * 1024)), b""), 431),
        ("a body of 1 MiB + 1", structured(stage, &vec![b' '; MIB + 1]), 413),
        ("a gzip body", with_body(stage, "Content-Encoding: gzip\r\n", &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]), 415),
    ]
}

fn refused_by_its_body(stage: &Stage) -> Vec<Known> {
    let nested = |depth: usize| event_with(&format!("{}{}", "[".repeat(depth), "]".repeat(depth)));
    let deep_objects = event_with(&format!("{}1{}", r#"{"a":"#.repeat(10_000), "}".repeat(10_000)));
    let many_names = (0..20_000).fold(String::new(), |names, number| names + &format!(r#""{number}":1,"#));
    vec![
        ("arrays 10,000 deep", structured(stage, &nested(10_000)), 400),
        ("arrays 400,000 deep", structured(stage, &nested(400_000)), 400),
        ("objects 10,000 deep", structured(stage, &deep_objects), 400),
        (
            "a member twice",
            structured(stage, br#"{"id":"1","specversion":"1.0","id":"1","source":"/s","type":"T"}"#),
            400,
        ),
        ("a member twice, inside the data", structured(stage, &event_with(r#"[{"b":{"a":1,"c":2,"\u0061":3}}]"#)), 400),
        ("the last of 20,000 members twice", structured(stage, &event_with(&format!(r#"{{{many_names}"7":1}}"#))), 400),
        ("a body of 1 MiB + 1 that hides its length", chunked(stage, MIB + 1), 413),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_much_is_refused_by_its_known_answer() {
    let mut stage = Stage::new(Settings::default()).await;
    let by_its_head = refused_by_its_head(&stage).into_iter().map(|known| (known, BY_ITS_HEAD));
    let by_its_body = refused_by_its_body(&stage).into_iter().map(|known| (known, BY_ITS_BODY));
    for ((what, request, status), cost) in by_its_head.chain(by_its_body) {
        // The peak of one case would hide what the next ones cost.
        stage.take_fresh_ingest().await;
        stage
            .under(what, cost.growth_max_kib, async {
                let send = async || {
                    for _ in 0..ROUNDS {
                        let answer = stage.exchange(&request).await;
                        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {answer}");
                        // A head that is too large is refused before anything of ours has seen a request.
                        assert_eq!(answer.contains("application/problem+json"), status != 431, "{what}: {answer}");
                    }
                };
                join_all((0..cost.strangers).map(|_| send())).await;
            })
            .await;
    }
    other_json_is_held_to_the_same(&stage.account).await;
}

/// The bodies of management are read by another reader.
async fn other_json_is_held_to_the_same(account: &Account) {
    account.put_webhook(json!({ "Uri": "http://127.0.0.1:1/", "X": nested(63) })).await.expect(200);
    for body in [
        json!({ "Uri": "http://127.0.0.1:1/", "X": nested(64) }).to_string(),
        format!(r#"{{"Uri":"http://127.0.0.1:1/","X":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000)),
        r#"{"Uri":"http://127.0.0.1:1/","Uri":"http://127.0.0.1:2/"}"#.to_owned(),
        r#"{"Uri":"http://127.0.0.1:1/","X":[{"a":1,"\u0061":2}]}"#.to_owned(),
    ] {
        let answer = account.put_webhook_body(body.clone()).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (400, "blank"),
            "{}: {answer}",
            &body[..body.len().min(80)]
        );
    }
}

fn nested(depth: usize) -> serde_json::Value {
    (0..depth).fold(serde_json::Value::Null, |inner, _| json!([inner]))
}
