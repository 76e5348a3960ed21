//! The scriptable receiver, alone: it does what it is told, and remembers.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use slipstream_test_support::{Receiver, Reply, Then};

const LIMIT: Duration = Duration::from_secs(10);

fn client() -> Client<HttpConnector, Full<Bytes>> {
    Client::builder(TokioExecutor::new()).build_http()
}

fn post(url: String, body: &'static str) -> Request<Full<Bytes>> {
    Request::post(url).header("webhook-id", "msg_1").body(Full::from(body)).unwrap()
}

/// Sends a request on a bare socket and reads until the receiver closes or `read_limit` passes.
fn raw(receiver: &Receiver, read_limit: Duration) -> (String, Option<std::io::ErrorKind>) {
    let mut socket = TcpStream::connect(receiver.address()).unwrap();
    socket.set_read_timeout(Some(read_limit)).unwrap();
    socket.write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}").unwrap();
    let (mut answer, mut buffer) = (Vec::new(), [0; 1024]);
    loop {
        match socket.read(&mut buffer) {
            Ok(0) => return (String::from_utf8(answer).unwrap(), None),
            Ok(n) => answer.extend_from_slice(&buffer[..n]),
            Err(error) => return (String::from_utf8(answer).unwrap(), Some(error.kind())),
        }
    }
}

#[tokio::test]
async fn every_request_is_kept_as_it_came() {
    let receiver = Receiver::start().await;
    let before = Instant::now();
    let answer = client().request(post(receiver.url("/hook?a=1"), r#"{"n":1}"#)).await.unwrap();
    assert_eq!(answer.status(), 200);

    let received = receiver.wait_for(1, LIMIT).await;
    let request = &received[0];
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/hook"));
    assert_eq!(request.query.as_deref(), Some("a=1"));
    assert_eq!((request.header("webhook-id"), request.header("absent")), ("msg_1", ""));
    assert_eq!(request.json()["n"], 1);
    assert!(request.at >= before);
    assert_eq!(receiver.connections(), 1);
}

#[tokio::test]
async fn scripts_see_the_number_of_the_request_on_its_path() {
    let receiver = Receiver::start().await;
    receiver.script(|_, nth| if nth == 0 { Reply::status(503).header("retry-after", "1") } else { Reply::ok() });
    receiver.script_path("/gone", |_, _| Reply::status(410).body("no more"));
    let client = client();
    let mut statuses = Vec::new();
    for path in ["/a", "/a", "/b", "/gone"] {
        let answer = client.request(post(receiver.url(path), "{}")).await.unwrap();
        statuses.push(answer.status().as_u16());
        let retry_after = answer.headers().get("retry-after").is_some();
        assert_eq!(retry_after, answer.status() == 503);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, if path == "/gone" { "no more" } else { "" });
    }
    assert_eq!(statuses, [503, 200, 503, 410]);
    assert_eq!(receiver.received_at("/a").len(), 2);
}

#[tokio::test]
async fn a_delayed_answer_takes_its_time() {
    let receiver = Receiver::start().await;
    receiver.script(|_, _| Reply::status(204).delay(Duration::from_millis(50)));
    let before = Instant::now();
    assert_eq!(client().request(post(receiver.url("/"), "{}")).await.unwrap().status(), 204);
    assert!(before.elapsed() >= Duration::from_millis(50));
}

#[tokio::test]
async fn a_reset_is_a_reset() {
    let receiver = Receiver::start().await;
    receiver.script(|_, _| Reply::reset());
    assert_eq!(raw(&receiver, LIMIT), (String::new(), Some(std::io::ErrorKind::ConnectionReset)));
    assert_eq!(receiver.count(), 1);
}

#[tokio::test]
async fn a_cut_answer_ends_within_its_body() {
    let receiver = Receiver::start().await;
    receiver.script(|_, _| Reply::ok().body("0123456789").then(Then::Cut));
    let (answer, _) = raw(&receiver, LIMIT);
    assert!(answer.contains("content-length: 10"), "{answer}");
    assert!(answer.ends_with("01234"), "{answer}");
}

#[tokio::test]
async fn a_hanging_receiver_answers_nothing() {
    let receiver = Receiver::start().await;
    receiver.script(|_, _| Reply::hang());
    assert_eq!(raw(&receiver, Duration::from_millis(50)), (String::new(), Some(std::io::ErrorKind::WouldBlock)));
}

#[tokio::test]
async fn a_drip_gives_bytes_without_end() {
    let receiver = Receiver::start().await;
    receiver.script(|_, _| Reply::ok().body("ab").then(Then::Drip(Duration::from_millis(1))));
    let answer = client().request(post(receiver.url("/"), "{}")).await.unwrap();
    let mut body = answer.into_body();
    let mut text = Vec::new();
    while text.len() < 5 {
        text.extend_from_slice(&body.frame().await.unwrap().unwrap().into_data().unwrap());
    }
    assert!(text.starts_with(b"ababa"), "{text:?}");
}

fn options(url: String) -> Request<Full<Bytes>> {
    Request::options(url).header("webhook-request-origin", "events.example").body(Full::default()).unwrap()
}

#[tokio::test]
async fn consent_is_granted_and_kept_apart_from_deliveries() {
    let receiver = Receiver::start().await;
    receiver.script(|_, nth| Reply::status(if nth == 0 { 503 } else { 204 }));
    receiver.script_path("/gone", |_, _| Reply::status(410));
    let client = client();
    for path in ["/hook?a=1", "/gone"] {
        let answer = client.request(options(receiver.url(path))).await.unwrap();
        assert_eq!(answer.status(), 200, "no script answers for a delivery");
        let header = |name| answer.headers().get(name).unwrap();
        assert_eq!(
            (header("webhook-allowed-origin"), header("webhook-allowed-rate")),
            (&"*".parse().unwrap(), &"*".parse().unwrap())
        );
    }
    assert_eq!((receiver.count(), receiver.received().len(), receiver.in_flight_max()), (0, 0, 0));
    assert_eq!(receiver.received_at("/hook").len(), 0);
    let consents = receiver.consents();
    assert_eq!(consents.len(), 2);
    assert_eq!((consents[0].method.as_str(), consents[0].path.as_str()), ("OPTIONS", "/hook"));
    assert_eq!(consents[0].query.as_deref(), Some("a=1"));
    assert_eq!(consents[0].header("webhook-request-origin"), "events.example");

    // The first delivery is the first.
    assert_eq!(client.request(post(receiver.url("/hook"), "{}")).await.unwrap().status(), 503);
    assert_eq!(receiver.wait_for(1, LIMIT).await[0].method, "POST");
    assert_eq!((receiver.count(), receiver.consents().len()), (1, 2));
    receiver.clear();
    assert_eq!(receiver.consents().len(), 0);
}

#[tokio::test]
async fn a_script_gives_refuses_or_delays_consent() {
    let receiver = Receiver::start().await;
    receiver.consent_by(|request| match request.path.as_str() {
        "/rate" => Reply::granted_rate("60"),
        "/slow" => Reply::granted().delay(Duration::from_millis(50)),
        "/reset" => Reply::reset(),
        _ => Reply::status(405),
    });
    let client = client();
    let rate = client.request(options(receiver.url("/rate"))).await.unwrap();
    assert_eq!(rate.headers().get("webhook-allowed-rate").unwrap(), "60");
    let before = Instant::now();
    client.request(options(receiver.url("/slow"))).await.unwrap();
    assert!(before.elapsed() >= Duration::from_millis(50));
    let refused = client.request(options(receiver.url("/other"))).await.unwrap();
    assert_eq!((refused.status().as_u16(), refused.headers().get("webhook-allowed-origin")), (405, None));
    assert!(client.request(options(receiver.url("/reset"))).await.is_err());
    assert_eq!(client.request(post(receiver.url("/other"), "{}")).await.unwrap().status(), 200);
    assert_eq!((receiver.consents().len(), receiver.count()), (4, 1));
}

#[tokio::test]
async fn receivers_can_be_different_hosts() {
    let (one, two) = (Receiver::start().await, Receiver::start_on([127, 0, 0, 2]).await);
    assert!(two.url("/").starts_with("http://127.0.0.2:"), "{}", two.url("/"));
    client().request(post(two.url("/"), "{}")).await.unwrap();
    assert_eq!((one.count(), two.count()), (0, 1));
}

#[tokio::test]
async fn thousands_of_requests_are_counted_exactly() {
    const REQUESTS: usize = 4_000;
    const AT_ONCE: usize = 32;
    let receiver = Receiver::start().await;
    let client = client();
    let before = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..AT_ONCE {
        let (client, url) = (client.clone(), receiver.url("/"));
        tasks.spawn(async move {
            for _ in 0..REQUESTS / AT_ONCE {
                let answer = client.request(post(url.clone(), "{}")).await.unwrap();
                answer.into_body().collect().await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    println!("{:.0} requests/s", REQUESTS as f64 / before.elapsed().as_secs_f64());
    assert_eq!(receiver.count(), REQUESTS);
    assert!(receiver.connections() <= AT_ONCE, "connections are kept: {}", receiver.connections());
    assert!(receiver.in_flight_max() <= AT_ONCE);
    receiver.clear();
    assert_eq!(receiver.count(), 0);
}

#[tokio::test]
#[should_panic(expected = "1 of 2 requests to /hook")]
async fn waiting_in_vain_tells_what_came() {
    let receiver = Receiver::start().await;
    client().request(post(receiver.url("/hook"), "{}")).await.unwrap();
    receiver.wait_for_at("/hook", 2, Duration::from_millis(50)).await;
}
