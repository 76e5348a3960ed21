//! What is sent, what counts as the answer, and how connections are used again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::{
    BODY, Fixed, OK, Receiver, client, client_with, move_clock, post, post_with, read_request, target,
};
use slipstream_core::answer::ErrorCode;
use slipstream_webhook::ClientConfig;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::{Semaphore, mpsc};

#[tokio::test]
async fn a_request_carries_the_signed_bytes_and_nothing_that_nobody_asked_for() {
    let (requests, mut received) = mpsc::channel(1);
    let receiver = Receiver::start(move |mut stream| {
        let requests = requests.clone();
        async move {
            let request = read_request(&mut stream).await.unwrap();
            stream.write_all(OK.as_bytes()).await.unwrap();
            requests.send(request).await.unwrap();
        }
    })
    .await;
    let answer = post_with(&client(), &receiver.target(), &[("X-API-KEY", "s3cr3t")]).await;
    assert_eq!((answer.result, answer.body.as_slice()), (Ok(200), b"ok".as_slice()));

    let (head, body) = received.recv().await.unwrap();
    assert_eq!(body, BODY);
    let mut lines: Vec<_> = head.trim_end().split("\r\n").collect();
    assert_eq!(lines.remove(0), "POST /post?q=1 HTTP/1.1");
    lines.sort_unstable();
    let host = format!("host: {}", receiver.address);
    assert_eq!(
        lines,
        [
            "accept-encoding: identity",
            "content-length: 10",
            "content-type: application/cloudevent+json",
            host.as_str(),
            "traceparent: 00-84c1fd4063c38d9f3900d06e56542d48-85d1d4a1b2c3d4e5-01",
            concat!("user-agent: Slipstream/", env!("CARGO_PKG_VERSION")),
            "webhook-id: msg_0",
            "webhook-signature: v1,abc v1,def",
            "webhook-timestamp: 1614265330",
            "x-api-key: s3cr3t",
        ]
    );
}

#[tokio::test]
async fn a_subscription_may_name_its_own_user_agent() {
    let (requests, mut received) = mpsc::channel(1);
    let receiver = Receiver::start(move |mut stream| {
        let requests = requests.clone();
        async move {
            let (head, _) = read_request(&mut stream).await.unwrap();
            stream.write_all(OK.as_bytes()).await.unwrap();
            requests.send(head).await.unwrap();
        }
    })
    .await;
    post_with(&client(), &receiver.target(), &[("User-Agent", "mine/1")]).await;
    let head = received.recv().await.unwrap();
    assert!(head.contains("user-agent: mine/1\r\n") && head.matches("user-agent").count() == 1, "{head}");
}

#[tokio::test]
async fn every_status_is_passed_on_with_a_single_retry_after() {
    for (answer, status, retry_after) in [
        ("HTTP/1.1 204 No Content\r\n\r\n", 204, None),
        ("HTTP/1.1 503 Busy\r\nRetry-After: 7\r\ncontent-length: 0\r\n\r\n", 503, Some("7")),
        ("HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nretry-after: 8\r\ncontent-length: 0\r\n\r\n", 429, None),
        ("HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n", 410, None),
        ("HTTP/1.1 599 \r\ncontent-length: 0\r\n\r\n", 599, None),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n", 202, None),
    ] {
        let receiver = Receiver::answering(answer).await;
        let answer = post(&client(), &receiver.target()).await;
        assert_eq!((answer.result, answer.retry_after.as_deref()), (Ok(status), retry_after));
        assert_eq!(answer.body, b"");
    }
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_followed() {
    let elsewhere = Receiver::answering(OK).await;
    let redirect = format!(
        "HTTP/1.1 302 Found\r\nlocation: {}\r\nalt-svc: h2=\":1\"\r\ncontent-length: 0\r\n\r\n",
        elsewhere.url()
    );
    let receiver = Receiver::answering(redirect).await;
    let answer = post(&client(), &receiver.target()).await;
    assert_eq!((answer.result, elsewhere.accepted()), (Ok(302), 0));
}

#[tokio::test]
async fn a_connection_is_used_again_after_answers_of_every_framing() {
    for answer in [
        OK,
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
    ] {
        let receiver = Receiver::answering(answer).await;
        let client = client();
        for _ in 0..20 {
            assert!(post(&client, &receiver.target()).await.result.is_ok());
        }
        assert_eq!(receiver.accepted(), 1, "{answer}");
    }
}

#[tokio::test]
async fn a_kept_connection_that_the_receiver_closed_costs_no_attempt() {
    // Each connection takes one request and is then closed, without saying so beforehand.
    let receiver = Receiver::start(|mut stream| async move {
        read_request(&mut stream).await;
        let _ = stream.write_all(OK.as_bytes()).await;
    })
    .await;
    let client = client();
    for _ in 0..50 {
        assert_eq!(post(&client, &receiver.target()).await.result, Ok(200));
        // The close has arrived once our side can no longer be used, which takes the other side's task to end.
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn bytes_that_nobody_asked_for_end_a_kept_connection() {
    let receiver = Receiver::answering(format!("{OK}HTTP/1.1 500 Smuggled\r\ncontent-length: 0\r\n\r\n")).await;
    let client = client();
    for _ in 0..5 {
        assert_eq!(post(&client, &receiver.target()).await.result, Ok(200));
    }
    assert_eq!(receiver.accepted(), 5);
}

#[tokio::test]
async fn a_connection_gets_no_new_request_60_seconds_after_its_address_was_judged() {
    let receiver = Receiver::answering(OK).await;
    let client = client();
    for second in [0, 10, 20, 30, 40, 50, 60, 70] {
        assert_eq!(post(&client, &receiver.target()).await.result, Ok(200));
        assert_eq!(receiver.accepted(), if second < 60 { 1 } else { 2 }, "{second}");
        move_clock(10).await;
    }
}

#[tokio::test]
async fn a_connection_that_waited_15_seconds_is_closed() {
    let (ends, mut ended) = mpsc::channel(1);
    let receiver = Receiver::start(move |mut stream| {
        let ends = ends.clone();
        async move {
            while read_request(&mut stream).await.is_some() {
                stream.write_all(OK.as_bytes()).await.unwrap();
            }
            ends.send(()).await.unwrap();
        }
    })
    .await;
    assert_eq!(post(&client(), &receiver.target()).await.result, Ok(200));
    let client = client();
    assert_eq!(post(&client, &receiver.target()).await.result, Ok(200));
    ended.recv().await.unwrap(); // the first client is gone, with its connection
    move_clock(21).await;
    ended.recv().await.unwrap();
    assert_eq!(post(&client, &receiver.target()).await.result, Ok(200));
}

#[tokio::test]
async fn a_connection_is_not_shared_between_names_of_one_address() {
    let receiver = Receiver::answering(OK).await;
    let client = client_with(ClientConfig { resolver: Fixed::addresses(&["127.0.0.1"]), ..ClientConfig::default() });
    for name in ["a.example", "b.example", "a.example"] {
        let url = format!("http://{name}:{}/", receiver.address.port());
        assert_eq!(post(&client, &target(&url)).await.result, Ok(200));
    }
    assert_eq!(receiver.accepted(), 2);
}

#[tokio::test]
async fn at_most_64_requests_are_in_flight_to_one_host() {
    let (in_flight, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let gate = Arc::new(Semaphore::new(0));
    let receiver = {
        let (in_flight, most, gate) = (Arc::clone(&in_flight), Arc::clone(&most), Arc::clone(&gate));
        Receiver::start(move |mut stream| {
            let (in_flight, most, gate) = (Arc::clone(&in_flight), Arc::clone(&most), Arc::clone(&gate));
            async move {
                while read_request(&mut stream).await.is_some() {
                    most.fetch_max(in_flight.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    gate.acquire().await.unwrap().forget();
                    in_flight.fetch_sub(1, Ordering::SeqCst);
                    stream.write_all(OK.as_bytes()).await.unwrap();
                }
            }
        })
        .await
    };
    let client = client();
    let posts: Vec<_> = (0..200)
        .map(|_| {
            let (client, target) = (client.clone(), receiver.target());
            tokio::spawn(async move { post(&client, &target).await })
        })
        .collect();
    while in_flight.load(Ordering::SeqCst) < 64 {
        tokio::task::yield_now().await;
    }
    gate.add_permits(200);
    for post in posts {
        assert_eq!(post.await.unwrap().result, Ok(200));
    }
    assert_eq!((most.load(Ordering::SeqCst), receiver.accepted()), (64, 64));
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_a_failed_connection() {
    let receiver = Receiver::answering(OK).await;
    let target = receiver.target();
    let address = receiver.address;
    drop(receiver);
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert_eq!(post(&client(), &target).await.result, Err(ErrorCode::Connect));
}
