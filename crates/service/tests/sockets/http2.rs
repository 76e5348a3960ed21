//! HTTP/2 without TLS, as a proxy in front of us speaks it.

use std::time::Duration;

use axum::body::Body;
use http_body_util::BodyExt as _;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use slipstream_service::config::HttpConfig;
use tokio::net::TcpStream;

use crate::server::{LIMIT, Server, config};

async fn connect(server: &Server) -> (SendRequest<Body>, tokio::task::JoinHandle<hyper::Result<()>>) {
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (requests, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    (requests, tokio::spawn(connection))
}

fn get(path: &str, fields: usize) -> http::Request<Body> {
    let mut request = http::Request::get(format!("http://x{path}"));
    for number in 0..fields {
        request = request.header(format!("x-{number}"), "1");
    }
    request.body(Body::empty()).unwrap()
}

#[tokio::test]
async fn http2_is_served_with_the_same_limits() {
    let server = Server::start(config()).await;
    let (mut requests, _connection) = connect(&server).await;
    let answer = requests.send_request(get("/", 50)).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hello");
    assert_eq!(requests.send_request(get("/", 101)).await.unwrap().status(), 431);
    let body = http::Request::post("http://x/read").body(Body::from(vec![b'x'; 1024 * 1024 + 1])).unwrap();
    assert_eq!(requests.send_request(body).await.unwrap().status(), 413);
}

#[tokio::test]
async fn an_idle_http2_connection_is_closed_and_a_busy_one_finished() {
    let idle_timeout = Duration::from_millis(300);
    let server = Server::start(HttpConfig { idle_timeout, head_timeout: idle_timeout, ..config() }).await;
    let (mut requests, idle) = connect(&server).await;
    assert_eq!(requests.send_request(get("/", 0)).await.unwrap().status(), 200);
    // However the client words it: it may have been about to answer a ping.
    let _ = tokio::time::timeout(LIMIT, idle).await.expect("closed in time").unwrap();

    let (mut requests, busy) = connect(&server).await;
    let answer = requests.send_request(get("/hold", 0));
    let release = async {
        server.hold.entered.notified().await;
        server.stop.cancel();
        server.hold.released.notify_one();
    };
    let (answer, ()) = tokio::join!(answer, release);
    assert_eq!(answer.unwrap().into_body().collect().await.unwrap().to_bytes(), "held");
    drop(requests);
    let _ = tokio::time::timeout(LIMIT, busy).await.expect("closed in time").unwrap();
    tokio::time::timeout(LIMIT, server.served).await.expect("drained in time").unwrap();
}
