//! After the stop: the listener stays for a while, requests are finished, and nothing stays for ever.

use std::time::{Duration, Instant};

use slipstream_service::config::HttpConfig;
use tokio::net::TcpStream;

use crate::server::{LIMIT, Server, config};

#[tokio::test]
async fn a_running_request_is_finished_and_idle_connections_are_closed() {
    let server = Server::start(config()).await;
    let (mut idle, mut unused, mut running) = (server.connect().await, server.connect().await, server.connect().await);
    assert!(idle.get("/").await.ends_with("hello"));
    running.write("GET /hold HTTP/1.1\r\nHost: x\r\n\r\n").await;
    server.hold.entered.notified().await;
    server.stop.cancel();
    assert!(idle.is_closed_within(LIMIT).await);
    assert!(unused.is_closed_within(LIMIT).await);
    assert!(TcpStream::connect(server.address).await.is_err(), "the listener is closed");
    server.hold.released.notify_one();
    let answer = running.rest().await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("held"), "{answer}");
    tokio::time::timeout(LIMIT, server.served).await.expect("drained in time").unwrap();
}

#[tokio::test]
async fn the_listener_stays_open_for_the_least_time() {
    let drain_min = Duration::from_millis(500);
    let server = Server::start(HttpConfig { drain_min, ..config() }).await;
    let stopped = Instant::now();
    server.stop.cancel();
    assert!(server.connect().await.get("/").await.ends_with("hello"), "still answered");
    tokio::time::timeout(LIMIT, server.served).await.expect("drained in time").unwrap();
    assert!(stopped.elapsed() >= drain_min);
}

#[tokio::test]
async fn a_request_without_end_is_cut_at_the_longest_time() {
    let server = Server::start(HttpConfig { drain_max: Duration::from_millis(300), ..config() }).await;
    let mut running = server.connect().await;
    running.write("GET /hold HTTP/1.1\r\nHost: x\r\n\r\n").await;
    server.hold.entered.notified().await;
    server.stop.cancel();
    tokio::time::timeout(LIMIT, server.served).await.expect("cut in time").unwrap();
    assert!(running.is_closed_within(LIMIT).await);
}
