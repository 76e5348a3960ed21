//! Tokens for the ECG surface of `slipstream up`.

use crate::support::{Home, Up, run};

const OURS: &str = "321644ae-5b0f-4d0e-9c8c-0a8f8f3d7c11";
const OTHERS: &str = "784600d0-5b0f-4d0e-9c8c-0a8f8f3d7c11";

async fn token(home: &Home, arguments: &[&str]) -> String {
    let arguments = [&["ecg-token", "--data-dir", home.argument()], arguments].concat();
    let (status, output, error) = run(&arguments).await;
    assert!(status.success() && output.ends_with('\n'), "{output}{error}");
    output.trim().to_owned()
}

/// The status of a GET with this token.
async fn get(up: &Up, path: &str, token: &str) -> u16 {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.get(format!("{}{path}", up.running.url)).bearer_auth(token);
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_token_permits_what_it_was_made_for_and_a_restart_changes_nothing() {
    let home = Home::new();
    let up = home.up().await;
    let admin = token(&home, &["--role", "webhookAdmin"]).await;
    let manager = token(&home, &["--role", "webhookManager", "--organization", OURS]).await;
    let [ours, others] = [OURS, OTHERS].map(|id| format!("/api/organizations/{id}/webhook-subscriptions"));
    for (what, token, expected) in [("admin", &admin, [200, 200]), ("manager", &manager, [200, 403])] {
        assert_eq!([get(&up, &ours, token).await, get(&up, &others, token).await], expected, "{what}");
    }
    assert_eq!(get(&up, &ours, &format!("{}AA", &manager[..manager.len() - 2])).await, 401);
    // It is for one surface only.
    let site = format!("/sites/{}/events/scheduled", up.running.site);
    assert_eq!(get(&up, &site, &admin).await, 401);
    up.interrupt().await;
    let up = home.up().await;
    assert_eq!(get(&up, &ours, &manager).await, 200);
    // Another one has a key of its own.
    let (other, _up) = (Home::new(), ());
    let elsewhere = other.up().await;
    assert_eq!(get(&elsewhere, &ours, &manager).await, 401);
}

#[tokio::test]
async fn none_is_made_where_none_would_be_taken() {
    let home = Home::new();
    let refused = async |arguments: &[&str], why: &str| {
        let arguments = [&["ecg-token", "--data-dir", home.argument()], arguments].concat();
        let (status, output, error) = run(&arguments).await;
        assert!(!status.success() && output.is_empty() && error.contains(why), "{arguments:?}: {output}{error}");
    };
    refused(&["--role", "webhookAdmin"], "no `slipstream up` is running").await;
    refused(&["--role", "webhookManager"], "--organization").await;
    refused(&["--role", "webhookAdmin", "--valid-for", "2days"], "a day").await;
    refused(&["--role", "webhookAdmin", "--valid-for", "0s"], "a day").await;
    refused(&["--role", "everything"], "webhookAdmin").await;

    let config = tempfile::NamedTempFile::new().unwrap();
    let issuer = "[[auth.ecg]]\nname = \"idp\"\nissuer = \"https://login.example\"\naudiences = [\"slipstream\"]\n\
                  jwks_url = \"http://127.0.0.1:1/keys\"\n";
    std::fs::write(config.path(), issuer).unwrap();
    let up = home.up_with(&["--config", config.path().to_str().unwrap()]).await;
    refused(&["--role", "webhookAdmin"], "ask an issuer of `auth.ecg`").await;
    assert!(!home.path().join("ecg-issuer.key").exists(), "no key is made that nobody trusts");
    drop(up);
}
