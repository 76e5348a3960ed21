//! What a data directory keeps, and who may have it.

use std::time::Duration;

use crate::support::{Home, run};

#[tokio::test]
async fn from_nothing_it_is_ready_within_five_seconds_and_accepts() {
    let home = Home::new();
    let up = home.up().await;
    assert!(up.started_in < Duration::from_secs(5), "{:?}", up.started_in);
    assert_eq!(up.publish("1").await, 204);
    up.wait_until_recorded("1").await;
    let greeting = up.log();
    let running = &up.running;
    for told in [running.url.as_str(), running.site.as_str(), "running.json", "$API_KEY"] {
        assert!(greeting.contains(told), "{greeting}");
    }
    // This goes to a file, and a file is no terminal.
    for secret in [&running.api_key, &running.operator_token] {
        assert!(!greeting.contains(secret.as_str()), "{greeting}");
    }
    assert!(greeting.contains("sync always") && greeting.contains("curl -i"), "{greeting}");
}

#[tokio::test]
async fn a_second_start_finds_its_data_and_tells_the_same_credentials() {
    let home = Home::new();
    let first = home.up().await;
    let before = first.running.clone();
    assert_eq!(first.publish("kept").await, 204);
    first.wait_until_recorded("kept").await;
    let (status, log) = first.interrupt().await;
    assert!(status.success(), "{log}");

    let second = home.up().await;
    let after = second.running.clone();
    assert_eq!((after.site, after.api_key, after.operator_token), (before.site, before.api_key, before.operator_token));
    second.wait_until_recorded("kept").await;
    // The broker still knows it too: a repeat is taken for one and accepted.
    assert_eq!(second.publish("kept").await, 204);
}

#[tokio::test]
async fn a_second_launcher_on_the_same_directory_is_refused_and_told_why() {
    let home = Home::new();
    let up = home.up().await;
    let (status, _, error) = run(&["up", "--listen", "127.0.0.1:0", "--data-dir", home.argument()]).await;
    assert_eq!(status.code(), Some(1));
    let holder = format!("process {}", up.child.id());
    assert!(error.contains("in use") && error.contains(&holder) && error.contains("--data-dir"), "{error}");
    assert_eq!(up.publish("still accepted").await, 204);
}

#[tokio::test]
async fn a_taken_port_is_named_and_leaves_nothing_behind() {
    let home = Home::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (status, _, error) = run(&["up", "--listen", &address, "--data-dir", home.argument()]).await;
    assert_eq!(status.code(), Some(1));
    assert!(error.contains(&address), "{error}");
    assert!(crate::support::nats_servers(home.path()).is_empty());
    home.up().await;
}
