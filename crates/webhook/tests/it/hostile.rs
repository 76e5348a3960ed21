//! Receivers that misbehave: each attempt ends by its deadline, within its limits, with a distinct code.

use std::time::{Duration, Instant};

use crate::support::{Receiver, client, hasty_client, post, read_request};
use slipstream_core::answer::{Answer, ErrorCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// What the client makes of a receiver that writes `answer` and closes.
async fn answer_to(answer: impl Into<Vec<u8>>) -> Answer {
    let answer = answer.into();
    let receiver = Receiver::start(move |mut stream| {
        let answer = answer.clone();
        async move {
            read_request(&mut stream).await;
            let _ = stream.write_all(&answer).await;
        }
    })
    .await;
    post(&client(), &receiver.target()).await
}

/// What a client with a deadline of half a second makes of a receiver that writes `start`, and then `drip` for ever.
async fn answer_to_drip(start: &'static [u8], drip: &'static [u8]) -> (Answer, Duration) {
    let receiver = Receiver::start(move |mut stream| async move {
        read_request(&mut stream).await;
        let _ = stream.write_all(start).await;
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        while stream.write_all(drip).await.is_ok() {
            ticks.tick().await;
        }
    })
    .await;
    let started = Instant::now();
    let answer = post(&hasty_client(), &receiver.target()).await;
    (answer, started.elapsed())
}

#[tokio::test]
async fn a_receiver_that_never_answers_is_a_timeout() {
    for start in [b"".as_slice(), b"HTTP/1.1 200 OK\r\nx-a: b\r\n"] {
        let (answer, took) = answer_to_drip(start, b"").await;
        assert_eq!(answer.result, Err(ErrorCode::Timeout));
        assert!((Duration::from_millis(500)..Duration::from_secs(3)).contains(&took), "{took:?}");
    }
}

#[tokio::test]
async fn a_dripping_head_is_a_timeout_however_lively_it_is() {
    for (start, drip) in [
        (b"HTTP/1.1 200 OK\r\nx-a: ".as_slice(), b"a".as_slice()),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"", b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"),
    ] {
        let (answer, took) = answer_to_drip(start, drip).await;
        assert_eq!(answer.result, Err(ErrorCode::Timeout));
        assert!((Duration::from_millis(500)..Duration::from_secs(3)).contains(&took), "{took:?}");
    }
}

#[tokio::test]
async fn the_status_stands_whatever_the_body_does() {
    let (dripping, took) = answer_to_drip(b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n", b"x").await;
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(dripping.result, Ok(200));
    assert!(dripping.body.starts_with(b"xx"));
    let (silent, _) = answer_to_drip(b"HTTP/1.1 503 Busy\r\nretry-after: 7\r\ncontent-length: 5\r\n\r\n", b"").await;
    assert_eq!((silent.result, silent.retry_after.as_deref()), (Ok(503), Some("7")));
    for broken in [
        "HTTP/1.1 202 Accepted\r\ncontent-length: 10\r\n\r\nhalf",
        "HTTP/1.1 202 Accepted\r\ntransfer-encoding: chunked\r\n\r\nnonsense\r\n",
        "HTTP/1.1 202 Accepted\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
    ] {
        assert_eq!(answer_to(broken).await.result, Ok(202), "{broken}");
    }
}

#[tokio::test]
async fn an_endless_body_is_left_after_its_limit() {
    let started = Instant::now();
    let receiver = Receiver::start(|mut stream| async move {
        read_request(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
    })
    .await;
    let client = client();
    for attempts in 1..=3 {
        let answer = post(&client, &receiver.target()).await;
        assert_eq!((answer.result, answer.body.len()), (Ok(200), 16 * 1024));
        assert_eq!(receiver.accepted(), attempts, "such a connection is not used again");
    }
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_body_is_kept_up_to_16_kib_and_read_up_to_64_kib() {
    for (length, is_reused) in [(16 * 1024, true), (16 * 1024 + 1, true), (64 * 1024, true), (64 * 1024 + 1, false)] {
        let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").into_bytes();
        answer.resize(answer.len() + length, b'x');
        let receiver = Receiver::answering(answer).await;
        let client = client();
        for _ in 0..2 {
            let answer = post(&client, &receiver.target()).await;
            assert_eq!((answer.result, answer.body.len()), (Ok(200), length.min(16 * 1024)));
        }
        assert_eq!(receiver.accepted() == 1, is_reused, "{length}");
    }
}

#[tokio::test]
async fn a_body_is_never_unpacked() {
    let answer = answer_to("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\n\x1f\u{8}x").await;
    assert_eq!((answer.result, answer.body.as_slice()), (Ok(200), b"\x1f\x08x".as_slice()));
}

#[tokio::test]
async fn a_head_has_at_most_100_fields_and_64_kib() {
    let head = |fields: usize, value: usize| {
        let mut head = String::from("HTTP/1.1 200 OK\r\n");
        for number in 1..fields {
            head.extend(["x-", &number.to_string(), ": ", &"v".repeat(value), "\r\n"]);
        }
        head + "content-length: 0\r\n\r\n"
    };
    assert_eq!(answer_to(head(100, 10)).await.result, Ok(200));
    assert_eq!(answer_to(head(101, 10)).await.result, Err(ErrorCode::Protocol));
    assert_eq!(answer_to(head(2, 60 * 1024)).await.result, Ok(200));
    assert_eq!(answer_to(head(2, 64 * 1024)).await.result, Err(ErrorCode::Protocol));
    assert_eq!(answer_to(head(90, 1024)).await.result, Err(ErrorCode::Protocol));
}

#[tokio::test]
async fn garbage_is_a_protocol_error() {
    for garbage in [
        b"".as_slice(),
        b"\r\n\r\n",
        b"garbage\r\n\r\n",
        b"\x16\x03\x01\x00\x00",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbad name: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: a\0b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: y",
        b"HTTP/1.1 99999 OK\r\n\r\n",
    ] {
        let result = answer_to(garbage).await.result;
        assert_eq!(result, Err(ErrorCode::Protocol), "{:?}", String::from_utf8_lossy(garbage));
    }
}

#[tokio::test]
async fn a_connection_that_is_reset_is_a_protocol_error() {
    let receiver = Receiver::start(|mut stream| async move {
        // Closing with bytes unread makes the system send a reset.
        let _ = stream.read_u8().await;
    })
    .await;
    assert_eq!(post(&client(), &receiver.target()).await.result, Err(ErrorCode::Protocol));
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_request_counts() {
    let receiver = Receiver::start(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    })
    .await;
    let answer = post(&client(), &receiver.target()).await;
    // Bytes before our request are either its early answer or a broken connection, by who was faster.
    assert!(matches!(answer.result, Ok(413) | Err(ErrorCode::Protocol)), "{:?}", answer.result);
}

#[tokio::test]
async fn a_protocol_switch_that_nobody_asked_for_is_no_success() {
    let result =
        answer_to("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n").await.result;
    assert!(matches!(result, Ok(101) | Err(ErrorCode::Protocol)), "{result:?}");
}
