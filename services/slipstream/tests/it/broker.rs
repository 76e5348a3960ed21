//! The broker lives as long as its launcher, and not a moment longer.

use std::time::Instant;

use async_nats::ConnectOptions;
use slipstream_test_support::{NatsServer, eventually};

use crate::support::{Home, LIMIT, kill9, nats_servers};

#[tokio::test]
async fn a_killed_nats_server_comes_back_and_publishing_goes_on() {
    let home = Home::new();
    let up = home.up().await;
    assert_eq!(up.publish("before").await, 204);
    let first = up.nats_servers();
    assert_eq!(first.len(), 1);
    kill9(first[0]);
    let killed = Instant::now();
    let accepted = eventually(LIMIT, async || match up.publish("after").await {
        204 => Ok(killed.elapsed()),
        status => Err(status),
    })
    .await;
    println!("accepted again {accepted:?} after the kill");
    for id in ["before", "after"] {
        up.wait_until_recorded(id).await;
    }
    let second = up.nats_servers();
    assert!(second.len() == 1 && second != first, "{second:?}");
    assert!(up.log().contains("back on the same port"), "{}", up.log());
}

#[tokio::test]
async fn who_has_not_its_token_gets_nothing_from_the_broker() {
    let home = Home::new();
    let up = home.up().await;
    let read = |name: &str| std::fs::read_to_string(home.path().join(name)).unwrap().trim().to_owned();
    let (address, token) = (format!("nats://127.0.0.1:{}", read("nats/port")), read("broker-token"));
    let refused = async |options: ConnectOptions| {
        let error = options.connect(&address).await.expect_err("the broker lets in whoever comes");
        assert_eq!(error.kind(), async_nats::ConnectErrorKind::AuthorizationViolation);
    };
    refused(ConnectOptions::new()).await;
    refused(ConnectOptions::with_token("another".to_owned())).await;
    ConnectOptions::with_token(token.clone()).connect(&address).await.unwrap();
    assert_eq!(up.publish("1").await, 204);
    let (_, log) = up.interrupt().await;
    let logs = [log, read("nats/nats-server.log")].concat();
    assert!(logs.contains(&address) && !logs.contains(&token), "{logs}");
}

#[tokio::test]
async fn an_interrupt_leaves_no_child_behind() {
    let home = Home::new();
    let up = home.up().await;
    assert_eq!(up.nats_servers().len(), 1);
    let (status, log) = up.interrupt().await;
    assert!(status.success(), "{log}");
    assert!(log.contains("Stopped, and nats-server with it"), "{log}");
    assert!(nats_servers(home.path()).is_empty());
    assert!(!home.path().join("running.json").exists());
}

#[tokio::test]
async fn a_killed_launcher_takes_nats_server_with_it_and_the_next_finds_everything() {
    let home = Home::new();
    let mut up = home.up().await;
    assert_eq!(up.publish("accepted").await, 204);
    // Else the one killed may hold the lease of a message, which the next has to wait for.
    up.wait_until_recorded("accepted").await;
    up.child.kill9();
    std::fs::remove_file(home.path().join("running.json")).unwrap();
    // Without a wait: until the old nats-server is gone, it holds the lock.
    let up = home.up().await;
    assert_eq!(up.nats_servers().len(), 1);
    up.wait_until_recorded("accepted").await;
}

#[tokio::test]
async fn a_running_server_is_used_in_place_of_the_embedded_one() {
    let nats = NatsServer::start().await;
    let home = Home::new();
    let up = home.up_with(&["--nats-url", &nats.url()]).await;
    assert!(up.nats_servers().is_empty());
    assert_eq!(up.publish("elsewhere").await, 204);
    up.wait_until_recorded("elsewhere").await;
    let (status, log) = up.interrupt().await;
    assert!(status.success() && log.contains(&nats.url()), "{log}");
    nats.client().await;
}
