//! The private nats-server, alone.

use std::time::Duration;

use async_nats::jetstream::{self, stream};
use slipstream_test_support::nats::{NatsServer, Sync};

async fn stream_of(server: &NatsServer) -> stream::Stream {
    let jetstream = jetstream::new(server.client().await);
    let config = stream::Config { name: "KEPT".into(), subjects: vec!["kept.>".into()], ..stream::Config::default() };
    jetstream.get_or_create_stream(config).await.unwrap()
}

async fn publish(server: &NatsServer, subject: &'static str) {
    let jetstream = jetstream::new(server.client().await);
    jetstream.publish(subject, "event".into()).await.unwrap().await.unwrap();
}

#[tokio::test]
async fn a_killed_server_comes_back_on_its_port_with_its_data() {
    let mut server = NatsServer::start().await;
    stream_of(&server).await;
    publish(&server, "kept.one").await;
    let url = server.url();

    server.kill9();
    assert!(tokio::net::TcpStream::connect(("127.0.0.1", server.port())).await.is_err());
    server.restart().await;

    assert_eq!(server.url(), url);
    let mut stream = stream_of(&server).await;
    assert_eq!(stream.info().await.unwrap().state.messages, 1);
}

#[tokio::test]
async fn a_paused_server_answers_once_resumed() {
    let mut server = NatsServer::start().await;
    stream_of(&server).await;
    let client = server.client().await;

    server.pause();
    let flushed = tokio::time::timeout(Duration::from_millis(100), client.request("$JS.API.INFO", "".into())).await;
    assert!(flushed.is_err(), "a paused server answered");

    server.resume();
    publish(&server, "kept.one").await;
}

#[tokio::test]
async fn two_servers_share_nothing() {
    let (one, two) = tokio::join!(NatsServer::start(), NatsServer::options().sync(Sync::Interval(100)).start());
    assert_ne!(one.url(), two.url());
    stream_of(&one).await;
    publish(&one, "kept.one").await;
    assert_eq!(stream_of(&two).await.info().await.unwrap().state.messages, 0);
}

#[tokio::test]
async fn added_lines_are_in_force() {
    let server = NatsServer::options().extra("authorization { token: \"secret\" }").start().await;
    assert!(async_nats::connect(server.url()).await.is_err());
    async_nats::ConnectOptions::with_token("secret".into()).connect(server.url()).await.unwrap();
}
