//! Beyond a limit, a request is refused or its connection closed.

use std::time::{Duration, Instant};

use slipstream_core::limits::BODY_BYTES_MAX;
use slipstream_service::config::HttpConfig;

use crate::server::{Server, config};

const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_hundred_header_fields_are_taken_and_one_more_is_431() {
    let server = Server::start(config()).await;
    // `Host` and `Connection` are two of them.
    let fields =
        |count: usize| (2..count).fold(String::from("GET / HTTP/1.1\r\n"), |head, n| head + &format!("X-{n}: 1\r\n"));
    let taken = server.ask(&fields(100), b"").await;
    assert!(taken.starts_with("HTTP/1.1 200"), "{taken}");
    let refused = server.ask(&fields(101), b"").await;
    assert!(refused.starts_with("HTTP/1.1 431"), "{refused}");
}

#[tokio::test]
async fn a_head_above_16_kib_is_431() {
    let server = Server::start(config()).await;
    let head = |bytes: usize| format!("GET / HTTP/1.1\r\nX-Long: {}\r\n", "x".repeat(bytes));
    let taken = server.ask(&head(15 * 1024), b"").await;
    assert!(taken.starts_with("HTTP/1.1 200"), "{taken}");
    let refused = server.ask(&head(17 * 1024), b"").await;
    assert!(refused.starts_with("HTTP/1.1 431"), "{refused}");
    let refused = server.ask(&head(200 * 1024), b"").await;
    assert!(refused.starts_with("HTTP/1.1 431") || refused.is_empty(), "{refused}");
}

#[tokio::test]
async fn a_body_of_1_mib_is_taken_and_one_more_byte_is_413() {
    let server = Server::start(config()).await;
    let head = |length: usize| format!("POST /read HTTP/1.1\r\nContent-Length: {length}\r\n");
    let body = vec![b'x'; BODY_BYTES_MAX + 1];
    let taken = server.ask(&head(BODY_BYTES_MAX), &body[1..]).await;
    assert!(taken.starts_with("HTTP/1.1 200") && taken.ends_with("1048576"), "{taken}");
    let refused = server.ask(&head(BODY_BYTES_MAX + 1), &body).await;
    assert!(refused.starts_with("HTTP/1.1 413") && refused.contains("application/problem+json"), "{refused}");
    assert!(refused.contains(r#""traceId":"00-"#), "{refused}");
}

#[tokio::test]
async fn a_body_that_hides_its_length_is_413_all_the_same() {
    let server = Server::start(config()).await;
    let head = "POST /read HTTP/1.1\r\nTransfer-Encoding: chunked\r\n";
    let chunks = |count: usize| {
        [format!("10000\r\n{}\r\n", "x".repeat(0x10000)).repeat(count).as_bytes(), b"0\r\n\r\n"].concat()
    };
    let taken = server.ask(head, &chunks(16)).await;
    assert!(taken.starts_with("HTTP/1.1 200") && taken.contains("1048576"), "{taken}");
    let refused = server.ask(head, &chunks(17)).await;
    assert!(refused.starts_with("HTTP/1.1 413"), "{refused}");
}

#[tokio::test]
async fn a_body_that_waits_for_100_continue_is_refused_without_it() {
    let server = Server::start(config()).await;
    let head = "POST /read HTTP/1.1\r\nContent-Length: 1048577\r\nExpect: 100-continue\r\n";
    let refused = server.ask(head, b"").await;
    assert!(refused.starts_with("HTTP/1.1 413"), "{refused}");
}

#[tokio::test]
async fn a_compressed_body_is_415() {
    let server = Server::start(config()).await;
    let refused = server.ask("POST /read HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n", b"abc").await;
    assert!(refused.starts_with("HTTP/1.1 415"), "{refused}");
}

#[tokio::test]
async fn a_body_that_drips_is_408() {
    let server = Server::start(HttpConfig { body_timeout: SHORT, ..config() }).await;
    let refused = server.ask("POST /read HTTP/1.1\r\nContent-Length: 3\r\n", b"ab").await;
    assert!(refused.starts_with("HTTP/1.1 408"), "{refused}");
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let server = Server::start(HttpConfig { head_timeout: SHORT, ..config() }).await;
    let mut silent = server.connect().await;
    assert!(silent.is_closed_within(LONG).await);
}

#[tokio::test]
async fn a_head_that_drips_is_cut_off() {
    let server = Server::start(HttpConfig { head_timeout: SHORT, ..config() }).await;
    for preface in ["GET / HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut client = server.connect().await;
        let began = Instant::now();
        client.write(preface).await;
        // Writing on does not help.
        while !client.is_closed_within(SHORT / 10).await {
            assert!(began.elapsed() < LONG, "{preface:?} is still open");
            let _ = client.0.try_write(b"X");
        }
    }
}

#[tokio::test]
async fn a_second_head_that_drips_is_cut_off_while_an_idle_connection_stays() {
    let server = Server::start(HttpConfig { head_timeout: SHORT, idle_timeout: LONG * 10, ..config() }).await;
    let (mut idle, mut slow) = (server.connect().await, server.connect().await);
    assert!(idle.get("/").await.ends_with("hello"));
    assert!(slow.get("/").await.ends_with("hello"));
    slow.write("GET / HT").await;
    assert!(slow.is_closed_within(LONG).await);
    assert!(!idle.is_closed_within(SHORT * 2).await);
    assert!(idle.get("/").await.ends_with("hello"), "an idle connection serves on");
}

#[tokio::test]
async fn an_idle_connection_is_closed_in_its_time() {
    let server = Server::start(HttpConfig { idle_timeout: SHORT, head_timeout: SHORT / 2, ..config() }).await;
    let mut client = server.connect().await;
    assert!(client.get("/").await.ends_with("hello"));
    assert!(client.is_closed_within(LONG).await);
}

#[tokio::test]
async fn a_request_that_takes_long_is_not_idle() {
    let server = Server::start(HttpConfig { idle_timeout: SHORT, head_timeout: SHORT, ..config() }).await;
    let mut client = server.connect().await;
    client.write("GET /hold HTTP/1.1\r\nHost: x\r\n\r\n").await;
    server.hold.entered.notified().await;
    assert!(!client.is_closed_within(SHORT * 3).await);
    server.hold.released.notify_one();
    assert!(client.answer().await.ends_with("held"));
}

#[tokio::test]
async fn connections_above_the_caps_are_closed_and_places_come_back() {
    for limited in
        [HttpConfig { connections_per_address_max: 2, ..config() }, HttpConfig { connections_max: 2, ..config() }]
    {
        let server = Server::start(limited).await;
        let (mut first, mut second) = (server.connect().await, server.connect().await);
        assert!(first.get("/").await.ends_with("hello"));
        assert!(second.get("/").await.ends_with("hello"));
        assert!(server.connect().await.is_closed_within(LONG).await);
        drop(first);
        slipstream_test_support::eventually(LONG, async || {
            let mut third = server.connect().await;
            third.0.try_write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").ok()?;
            third.answer().await.ends_with("hello").then_some(())
        })
        .await;
        assert!(second.get("/").await.ends_with("hello"));
    }
}

#[tokio::test]
async fn requests_may_be_pipelined() {
    let server = Server::start(config()).await;
    let one = "POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab";
    let text = server.ask(&format!("{one}{one}GET / HTTP/1.1\r\n"), b"").await;
    assert_eq!(text.matches("HTTP/1.1 200").count(), 3, "{text}");
}
