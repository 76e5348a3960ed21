//! The other commands.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::support::{Home, LIMIT, run};

#[tokio::test]
async fn the_demo_passes() {
    let (status, output, error) = run(&["demo"]).await;
    assert!(status.success(), "{output}\n{error}");
    for told in [
        "signature verified",
        "answered 503",
        "answered 404",
        "expiry_time",
        "visibility",
        "cancelled",
        "by a replay",
        "checks passed",
    ] {
        assert!(output.contains(told), "{told} is missing in:\n{output}");
    }
    assert!(!output.contains('\x1b'), "colours are for terminals");
}

#[tokio::test]
async fn publishing_finds_the_running_one_and_tells_a_refusal() {
    let home = Home::new();
    let (status, _, error) = run(&["publish", "--data-dir", home.argument()]).await;
    assert_eq!(status.code(), Some(1));
    assert!(error.contains("no `slipstream up` is running"), "{error}");

    let up = home.up().await;
    for mode in ["structured", "binary", "batch"] {
        let arguments = ["publish", "--data-dir", home.argument(), "--source", "/test", "--id", mode, "--mode", mode];
        let (status, output, error) = run(&arguments).await;
        assert!(status.success() && output.starts_with("204 No Content"), "{output}{error}");
        up.wait_until_recorded(mode).await;
    }
    let (status, _, error) = run(&["publish", "--data-dir", home.argument(), "--visibility", "3"]).await;
    assert_eq!(status.code(), Some(1));
    assert!(error.contains("400 Bad Request") && error.contains("#/visibility"), "{error}");
}

#[tokio::test]
async fn listening_subscribes_verifies_and_prints_what_arrives() {
    let home = Home::new();
    let up = home.up().await;
    let mut listen = tokio::process::Command::new(env!("CARGO_BIN_EXE_slipstream"));
    let port = slipstream_test_support::process::free_port().to_string();
    listen.args(["listen", "--subscribe", "--port", &port, "--data-dir", home.argument()]);
    let mut listen = listen.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(listen.stdout.take().unwrap()).lines();
    let mut wait_for = async |text: &str| {
        let reading = async {
            loop {
                let line = lines.next_line().await.unwrap().expect("it goes on listening");
                if line.contains(text) {
                    return line;
                }
            }
        };
        tokio::time::timeout(LIMIT, reading).await.unwrap_or_else(|_| panic!("`{text}` was not printed"))
    };
    wait_for("Listening at").await;
    // It was asked whether it wants webhooks, and does: without that it would get one a second.
    let (_, endpoints) = up.get("/admin/v1/endpoints").await;
    let endpoint = &endpoints["items"][0];
    assert_eq!(
        (&endpoint["consent"]["state"], &endpoint["ratePerMinute"]),
        (&"granted".into(), &().into()),
        "{endpoint}"
    );
    assert_eq!(up.publish("heard").await, 204);
    assert!(wait_for("communications.letter.created").await.ends_with("signature verified"));
    assert!(wait_for("  id ").await.ends_with(" heard"));
    wait_for("answered").await;
}

#[tokio::test]
async fn a_saved_key_is_not_sent_elsewhere() {
    let home = Home::new();
    let _up = home.up().await;
    let elsewhere = ["publish", "--data-dir", home.argument(), "--url", "http://127.0.0.1:1"];
    let (status, _, error) = run(&elsewhere).await;
    assert_eq!(status.code(), Some(1));
    assert!(error.contains("--key"), "{error}");
}

#[tokio::test]
async fn migrating_tells_what_it_did_and_a_repeat_does_nothing() {
    let home = Home::new();
    let url = format!("sqlite://{}/migrated.db?mode=rwc", home.argument());
    let (status, output, error) = run(&["migrate", "--database-url", &url]).await;
    assert!(status.success(), "{error}");
    assert!(output.contains("applied  m0001_registry") && output.contains("m0002_activity"), "{output}");
    let (status, output, _) = run(&["migrate", "--database-url", &url]).await;
    assert!(status.success() && output.starts_with("The tables are up to date already"), "{output}");
}
