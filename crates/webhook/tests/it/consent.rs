//! Asking for consent, and what deliveries say once it was given.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::{
    BODY, Fixed, OK, Receiver, client, client_with, hasty_client, move_clock, post, post_as, read_request, target,
};
use http::HeaderValue;
use slipstream_core::answer::ErrorCode;
use slipstream_webhook::{AddressPolicy, Client, ClientConfig, ConsentAnswer, ConsentError, ConsentRequest, Target};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;

const ORIGIN: HeaderValue = HeaderValue::from_static("events.slipstream.example");
const CALLBACK: &str = "https://events.slipstream.example/consent/k3y";

async fn ask(client: &Client, target: &Target) -> Result<ConsentAnswer, ConsentError> {
    client.ask_consent(target, ConsentRequest { origin: &ORIGIN, rate: Some(600), callback: Some(CALLBACK) }).await
}

/// An answer without a body.
fn answer(status: &str, fields: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{fields}content-length: 0\r\n\r\n")
}

const GRANT: &str = "WebHook-Allowed-Origin: *\r\nWebHook-Allowed-Rate: 120\r\n";
const GRANTED: ConsentAnswer = ConsentAnswer { granted: true, rate: Some(120) };

/// A receiver that grants to everybody and hands over every request it reads.
async fn recording() -> (Receiver, mpsc::Receiver<(String, Vec<u8>)>) {
    let (requests, received) = mpsc::channel(8);
    let receiver = Receiver::start(move |mut stream| {
        let requests = requests.clone();
        async move {
            while let Some(request) = read_request(&mut stream).await {
                requests.send(request).await.unwrap();
                stream.write_all(answer("200 OK", GRANT).as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    (receiver, received)
}

#[tokio::test]
async fn the_question_goes_to_the_exact_url_and_holds_nothing_else() {
    let (receiver, mut received) = recording().await;
    assert_eq!(ask(&client(), &receiver.target()).await, Ok(GRANTED));
    let (head, body) = received.recv().await.unwrap();
    let mut lines: Vec<_> = head.trim_end().split("\r\n").collect();
    assert_eq!(lines.remove(0), "OPTIONS /post?q=1 HTTP/1.1");
    lines.sort_unstable();
    let host = format!("host: {}", receiver.address);
    assert_eq!(
        lines,
        [
            "accept-encoding: identity",
            host.as_str(),
            concat!("user-agent: Slipstream/", env!("CARGO_PKG_VERSION")),
            "webhook-request-callback: https://events.slipstream.example/consent/k3y",
            "webhook-request-origin: events.slipstream.example",
            "webhook-request-rate: 600",
        ]
    );
    assert_eq!(body, b"");
}

#[tokio::test]
async fn rate_and_callback_are_left_out_when_there_are_none() {
    let (receiver, mut received) = recording().await;
    for rate in [None, Some(0)] {
        let request = ConsentRequest { origin: &ORIGIN, rate, callback: None };
        assert_eq!(client().ask_consent(&receiver.target(), request).await, Ok(GRANTED));
        let (head, _) = received.recv().await.unwrap();
        assert!(head.contains("webhook-request-origin: events.slipstream.example\r\n"), "{head}");
        assert!(!head.contains("webhook-request-rate") && !head.contains("webhook-request-callback"), "{head}");
    }
}

#[tokio::test]
async fn the_status_means_nothing() {
    for status in ["200 OK", "204 No Content", "302 Found", "404 Not Found", "405 No", "410 Gone", "500 Oops"] {
        let location = "location: https://elsewhere.example/\r\n";
        let willing = Receiver::answering(answer(status, &format!("{location}{GRANT}"))).await;
        assert_eq!(ask(&client(), &willing.target()).await, Ok(GRANTED), "{status}");
        let silent = Receiver::answering(answer(status, location)).await;
        assert_eq!(ask(&client(), &silent.target()).await, Ok(ConsentAnswer::default()), "{status}");
    }
}

#[tokio::test]
async fn hostile_values_are_no_consent_and_no_panic() {
    for fields in [
        "WebHook-Allowed-Origin: *\r\n",
        "WebHook-Allowed-Rate: 120\r\n",
        "WebHook-Allowed-Origin: other.example\r\nWebHook-Allowed-Rate: *\r\n",
        "WebHook-Allowed-Origin: *\r\nWebHook-Allowed-Origin: *\r\nWebHook-Allowed-Rate: *\r\n",
        "WebHook-Allowed-Origin: *\r\nWebHook-Allowed-Rate: *\r\nWebHook-Allowed-Rate: 5\r\n",
        "WebHook-Allowed-Origin: *\r\nWebHook-Allowed-Rate: 0\r\n",
        "WebHook-Allowed-Origin: *\r\nWebHook-Allowed-Rate: -1\r\n",
        "WebHook-Allowed-Origin: *\r\nWebHook-Allowed-Rate: \u{ff11}\r\n",
        "WebHook-Allowed-Origin:\r\nWebHook-Allowed-Rate:\r\n",
    ] {
        let receiver = Receiver::answering(answer("200 OK", fields)).await;
        assert_eq!(ask(&client(), &receiver.target()).await, Ok(ConsentAnswer::default()), "{fields}");
    }
    let endless = format!("WebHook-Allowed-Origin: *\r\nWebHook-Allowed-Rate: {}\r\n", "9".repeat(60_000));
    let receiver = Receiver::answering(answer("200 OK", &endless)).await;
    assert_eq!(ask(&client(), &receiver.target()).await, Ok(ConsentAnswer { granted: true, rate: Some(u32::MAX) }));
}

#[tokio::test]
async fn no_head_within_the_deadline_is_a_timeout_and_a_dripping_body_is_none() {
    let silent = Receiver::start(|stream| async move {
        let _held = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let started = Instant::now();
    assert_eq!(ask(&hasty_client(), &silent.target()).await, Err(ConsentError::Failed(ErrorCode::Timeout)));
    let dripping = Receiver::start(|mut stream| async move {
        read_request(&mut stream).await;
        let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\n{GRANT}content-length: 9999\r\n\r\n").as_bytes()).await;
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        while stream.write_all(b"x").await.is_ok() {
            ticks.tick().await;
        }
    })
    .await;
    assert_eq!(ask(&hasty_client(), &dripping.target()).await, Ok(GRANTED));
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test]
async fn failures_have_the_codes_of_deliveries() {
    let garbage = Receiver::answering("garbage\r\n\r\n").await;
    assert_eq!(ask(&client(), &garbage.target()).await, Err(ConsentError::Failed(ErrorCode::Protocol)));
    let nowhere = client_with(ClientConfig { resolver: Arc::new(Fixed(Ok(Vec::new()))), ..ClientConfig::default() });
    let unknown = target("https://receiver.example/");
    assert_eq!(ask(&nowhere, &unknown).await, Err(ConsentError::Failed(ErrorCode::Dns)));
    let request = ConsentRequest { origin: &ORIGIN, rate: None, callback: Some("https://x.example/\r\nx: y") };
    let receiver = Receiver::answering(OK).await;
    let answer = client().ask_consent(&receiver.target(), request).await;
    assert_eq!((answer, receiver.accepted()), (Err(ConsentError::Failed(ErrorCode::Protocol)), 0));
}

#[tokio::test]
async fn the_question_too_sends_no_packet_to_a_refused_address() {
    let receiver = Receiver::answering(answer("200 OK", GRANT)).await;
    let strict = ClientConfig { resolver: Fixed::addresses(&["8.8.8.8", "127.0.0.1"]), ..ClientConfig::default() };
    let strict = Client::new(Arc::new(AddressPolicy::default()), strict);
    for url in [receiver.url(), format!("http://receiver.example:{}/", receiver.address.port())] {
        let refused = Err(ConsentError::Failed(ErrorCode::TargetNotAllowed));
        assert_eq!(ask(&strict, &target(&url)).await, refused, "{url}");
    }
    assert_eq!(receiver.accepted(), 0);
}

#[tokio::test]
async fn the_eleventh_question_of_a_minute_sends_no_packet() {
    let (receiver, mut received) = recording().await;
    let client = client();
    for _ in 0..10 {
        assert_eq!(ask(&client, &receiver.target()).await, Ok(GRANTED));
        received.recv().await.unwrap();
    }
    // Another path of the same host, and a clone of the client, change nothing.
    let other = target(&format!("http://{}/other", receiver.address));
    assert_eq!(ask(&client.clone(), &other).await, Err(ConsentError::TooMany));
    assert!(received.try_recv().is_err());
    move_clock(60).await;
    assert_eq!(ask(&client, &receiver.target()).await, Ok(GRANTED));
}

#[tokio::test]
async fn a_delivery_after_consent_names_our_origin_over_the_same_connection() {
    let (receiver, mut received) = recording().await;
    let client = client();
    assert_eq!(ask(&client, &receiver.target()).await, Ok(GRANTED));
    assert_eq!(post_as(&client, &receiver.target(), &ORIGIN).await.result, Ok(200));
    assert_eq!(post(&client, &receiver.target()).await.result, Ok(200));
    let [_, named, plain] = [received.recv().await, received.recv().await, received.recv().await].map(Option::unwrap);
    assert!(named.0.starts_with("POST /post?q=1 HTTP/1.1\r\n"), "{}", named.0);
    assert!(named.0.contains("\r\nwebhook-request-origin: events.slipstream.example\r\n"), "{}", named.0);
    assert!(!plain.0.contains("webhook-request-"), "{}", plain.0);
    assert_eq!((named.1.as_slice(), receiver.accepted()), (BODY, 1));
}
