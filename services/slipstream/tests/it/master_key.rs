//! The master key in the data directory: made once, needed ever after, and replaced by a command (THREATS 5).

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::support::{Home, Up, run};

const PATH: &str = "webhooks/features/physicalpost";

/// Subscribes a receiver that nobody calls; the endpoint's signing keys.
async fn subscribed(up: &Up) -> Value {
    let url = format!("{}/sites/{}/{PATH}", up.running.url, up.running.site);
    let headers = json!([{ "Name": "X-Key", "Value": "canary-header-value" }]);
    let body = json!({ "Uri": "http://127.0.0.1:1/hook", "Headers": headers });
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = http.put(url).header("x-api-key", &up.running.api_key).json(&body).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    keys(up).await
}

/// The signing keys of the one endpoint.
async fn keys(up: &Up) -> Value {
    let (_, endpoints) = up.get("/admin/v1/endpoints").await;
    let id = endpoints["items"][0]["id"].as_str().unwrap_or_else(|| panic!("{endpoints}")).to_owned();
    let (status, secret) = up.get(&format!("/admin/v1/endpoints/{id}/secret")).await;
    assert_eq!(status, 200, "{secret}");
    secret["keys"].clone()
}

#[tokio::test]
async fn without_its_master_key_a_directory_does_not_start_and_with_it_it_does() {
    let home = Home::new();
    let up = home.up().await;
    let before = subscribed(&up).await;
    let (status, log) = up.interrupt().await;
    assert!(status.success(), "{log}");
    let (key, aside) = (home.path().join("master.key"), home.path().join("aside"));
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&key).unwrap();
    for file in ["registry.db", "registry.db-wal"] {
        let bytes = std::fs::read(home.path().join(file)).unwrap_or_default();
        assert!(!bytes.windows(19).any(|window| window == b"canary-header-value"), "{file}");
    }

    let refused = async |told: &str| {
        let (status, _, error) = run(&["up", "--listen", "127.0.0.1:0", "--data-dir", home.argument()]).await;
        assert_eq!(status.code(), Some(1));
        assert!(error.contains(told) && !error.contains(text.trim()), "{error}");
    };
    std::fs::rename(&key, &aside).unwrap();
    refused("master.key is missing").await;
    assert!(!key.exists(), "another one would not help");
    std::fs::write(&key, "5".repeat(64)).unwrap();
    refused("wrong master key").await;
    std::fs::write(&key, "no key").unwrap();
    refused("holds no master key").await;
    std::fs::rename(&aside, &key).unwrap();
    assert_eq!(keys(&home.up().await).await, before);
}

#[tokio::test]
async fn a_rotated_master_key_opens_what_the_one_before_sealed() {
    let home = Home::new();
    let rotate =
        async |more: &[&str]| run(&[&["rotate-master-key", "--data-dir", home.argument()], more].concat()).await;
    let (status, _, error) = rotate(&[]).await;
    assert!(!status.success() && error.contains("holds no data"), "{error}");
    let up = home.up().await;
    let before = subscribed(&up).await;
    let (status, _, error) = rotate(&[]).await;
    assert!(!status.success() && error.contains("in use"), "{error}");
    up.interrupt().await;

    let (key, given) = (home.path().join("master.key"), home.path().join("given"));
    let first = std::fs::read(&key).unwrap();
    let (status, output, error) = rotate(&[]).await;
    assert!(status.success() && output.contains("2 of 2 data keys"), "{output}{error}");
    let second = std::fs::read(&key).unwrap();
    assert_ne!(first, second);
    std::fs::write(&given, "6".repeat(64)).unwrap();
    let (status, output, error) = rotate(&["--new", given.to_str().unwrap()]).await;
    assert!(status.success() && output.contains("2 of 2 data keys"), "{output}{error}");
    assert_eq!(std::fs::read(&key).unwrap(), "6".repeat(64).as_bytes());
    assert!(!home.path().join("master.key.next").exists());
    let up = home.up().await;
    assert_eq!(keys(&up).await, before);
    up.interrupt().await;
    // The key before opens nothing any more.
    std::fs::write(&key, second).unwrap();
    let (status, _, error) = run(&["up", "--listen", "127.0.0.1:0", "--data-dir", home.argument()]).await;
    assert!(!status.success() && error.contains("wrong master key"), "{error}");
}
