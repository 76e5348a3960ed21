//! What a name resolves to decides at each connect, and TLS is verified for the name.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::support::tls::TlsFront;
use crate::support::{BODY, Fixed, OK, Receiver, client_with, move_clock, post, read_request, target};
use bytes::Bytes;
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use slipstream_core::answer::ErrorCode;
use slipstream_webhook::resolve::{Lookup, Resolve};
use slipstream_webhook::{AddressPolicy, Client, ClientConfig, Roots};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;

fn resolving_to(addresses: &[&str]) -> ClientConfig {
    ClientConfig { resolver: Fixed::addresses(addresses), ..ClientConfig::default() }
}

/// A client that trusts the front, for which every name is loopback.
fn trusting(front: &TlsFront) -> Client {
    client_with(ClientConfig { roots: Roots::Only(front.roots.clone()), ..resolving_to(&["127.0.0.1"]) })
}

#[tokio::test]
async fn a_name_that_now_resolves_to_loopback_gets_no_packet() {
    let receiver = Receiver::answering(OK).await;
    let target = target(&format!("http://receiver.example:{}/", receiver.address.port()));
    let strict = Arc::new(AddressPolicy::default());
    for addresses in [
        ["127.0.0.1"].as_slice(),
        &["8.8.8.8", "127.0.0.1"],
        &["127.0.0.1", "2606:4700::1111"],
        &["::ffff:127.0.0.1"],
        &["64:ff9b::127.0.0.1"],
        &["1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.1.4", "1.1.1.5", "1.1.1.6", "1.1.1.7", "1.1.1.8", "127.0.0.1"],
    ] {
        let client = Client::new(Arc::clone(&strict), resolving_to(addresses));
        assert_eq!(post(&client, &target).await.result, Err(ErrorCode::TargetNotAllowed), "{addresses:?}");
    }
    // A target that was fine under another policy is judged again.
    let client = Client::new(strict, ClientConfig::default());
    for url in [receiver.url(), format!("http://localhost:{}/", receiver.address.port())] {
        let target = crate::support::target(&url);
        assert_eq!(post(&client, &target).await.result, Err(ErrorCode::TargetNotAllowed), "{url}");
    }
    assert_eq!(receiver.accepted(), 0);
}

#[tokio::test]
async fn a_name_that_does_not_resolve_in_time_is_a_dns_error() {
    /// Never answers.
    #[derive(Debug)]
    struct Silent;
    impl Resolve for Silent {
        fn resolve(&self, _name: &str) -> Lookup {
            Box::pin(std::future::pending())
        }
    }
    let resolvers: [Arc<dyn Resolve>; 3] =
        [Arc::new(Fixed(Err(io::ErrorKind::NotFound))), Arc::new(Fixed(Ok(Vec::new()))), Arc::new(Silent)];
    for resolver in resolvers {
        let resolve_timeout = Duration::from_millis(50);
        let client = client_with(ClientConfig { resolver, resolve_timeout, ..ClientConfig::default() });
        assert_eq!(post(&client, &target("https://receiver.example/")).await.result, Err(ErrorCode::Dns));
    }
}

#[tokio::test]
async fn the_systems_resolver_answers_no_name_of_the_reserved_domain() {
    let client = client_with(ClientConfig::default());
    assert_eq!(post(&client, &target("https://receiver.invalid/")).await.result, Err(ErrorCode::Dns));
}

#[tokio::test]
async fn the_next_address_is_tried_and_the_name_kept_in_the_host_field() {
    let (heads, mut received) = mpsc::channel(1);
    let receiver = Receiver::start(move |mut stream| {
        let heads = heads.clone();
        async move {
            let (head, _) = read_request(&mut stream).await.unwrap();
            stream.write_all(OK.as_bytes()).await.unwrap();
            heads.send(head).await.unwrap();
        }
    })
    .await;
    // Nobody listens on the first.
    let client = client_with(resolving_to(&["127.0.0.9", "127.0.0.1"]));
    let port = receiver.address.port();
    assert_eq!(post(&client, &target(&format!("http://receiver.example:{port}/"))).await.result, Ok(200));
    let head = received.recv().await.unwrap();
    assert!(head.contains(&format!("host: receiver.example:{port}\r\n")), "{head}");
}

#[tokio::test]
async fn localhost_is_loopback_without_asking_anybody() {
    let receiver = Receiver::answering(OK).await;
    let client = client_with(resolving_to(&["8.8.8.8"]));
    let target = target(&format!("http://localhost:{}/", receiver.address.port()));
    assert_eq!(post(&client, &target).await.result, Ok(200));
}

#[tokio::test]
async fn a_trusted_certificate_for_the_name_is_needed() {
    let receiver = Receiver::answering(OK).await;
    let front = TlsFront::start(receiver.address, &["http/1.1"]).await;
    let port = front.receiver.address.port();
    let right = target(&format!("https://receiver.example:{port}/"));

    let client = trusting(&front);
    assert_eq!(post(&client, &right).await.result, Ok(200));
    assert_eq!(post(&client, &right).await.result, Ok(200));
    assert_eq!(front.receiver.accepted(), 1, "the connection is used again");

    for url in [format!("https://other.example:{port}/"), format!("https://127.0.0.1:{port}/")] {
        assert_eq!(post(&client, &target(&url)).await.result, Err(ErrorCode::Tls), "{url}");
    }
    let untrusting = client_with(resolving_to(&["127.0.0.1"]));
    assert_eq!(post(&untrusting, &right).await.result, Err(ErrorCode::Tls));
    assert_eq!(receiver.accepted(), 4, "the front opens one connection for each of its own");
}

#[tokio::test]
async fn plain_text_on_a_tls_port_is_a_tls_error() {
    let receiver = Receiver::start(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    })
    .await;
    let client = client_with(ClientConfig::default());
    let target = target(&format!("https://{}/", receiver.address));
    assert_eq!(post(&client, &target).await.result, Err(ErrorCode::Tls));
}

#[tokio::test]
async fn a_silent_tls_port_is_a_timeout() {
    let receiver = Receiver::start(|stream| async move {
        let _held = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let target = target(&format!("https://{}/", receiver.address));
    assert_eq!(post(&crate::support::hasty_client(), &target).await.result, Err(ErrorCode::Timeout));
}

/// An HTTP/2 receiver without TLS that checks the request and answers `status` with `fields` fields.
async fn http2_receiver(status: u16, fields: usize) -> Receiver {
    Receiver::start(move |stream| async move {
        let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| async move {
            assert_eq!(request.version(), http::Version::HTTP_2);
            assert_eq!(request.uri().authority().unwrap().host(), "receiver.example");
            assert!(!request.headers().contains_key("host"));
            assert_eq!(request.headers()["webhook-id"], "msg_0");
            let body = http_body_util::BodyExt::collect(request.into_body()).await?.to_bytes();
            assert_eq!(body, BODY);
            let mut response = http::Response::builder().status(status);
            for number in 0..fields {
                response = response.header(format!("x-{number}"), "v");
            }
            Ok::<_, hyper::Error>(response.body(Full::new(Bytes::from(vec![b'x'; 20 * 1024]))).unwrap())
        });
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = server.serve_connection(TokioIo::new(stream), service).await;
    })
    .await
}

#[tokio::test]
async fn http_2_is_spoken_where_the_receiver_chooses_it_over_one_connection() {
    let receiver = http2_receiver(200, 3).await;
    let front = TlsFront::start(receiver.address, &["h2"]).await;
    let client = trusting(&front);
    let target = target(&format!("https://receiver.example:{}/post", front.receiver.address.port()));
    for _ in 0..3 {
        let answer = post(&client, &target).await;
        assert_eq!((answer.result, answer.body.len()), (Ok(200), 16 * 1024));
    }
    let posts: Vec<_> = (0..30)
        .map(|_| {
            let (client, target) = (client.clone(), target.clone());
            tokio::spawn(async move { post(&client, &target).await.result })
        })
        .collect();
    for post in posts {
        assert_eq!(post.await.unwrap(), Ok(200));
    }
    assert_eq!(front.receiver.accepted(), 1);
    move_clock(60).await;
    assert_eq!(post(&client, &target).await.result, Ok(200));
    assert_eq!(front.receiver.accepted(), 2, "60 s after its check a shared connection gets no new request either");
}

#[tokio::test]
async fn http_2_has_the_same_limit_of_fields() {
    // Two more come from the server itself: the date and the length.
    for (fields, result) in [(98, Ok(200)), (99, Err(ErrorCode::Protocol))] {
        let receiver = http2_receiver(200, fields).await;
        let front = TlsFront::start(receiver.address, &["h2"]).await;
        let target = target(&format!("https://receiver.example:{}/", front.receiver.address.port()));
        assert_eq!(post(&trusting(&front), &target).await.result, result, "{fields}");
    }
}
