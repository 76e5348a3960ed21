//! API keys: shown once when they are made, and refused when others took their place.

use reqwest::Method;
use serde_json::json;
use slipstream_test_support::eventually;
use slipstream_tests::{Account, LIMIT, OPERATOR_TOKEN};

use super::Flows;

impl Flows {
    /// An account that is made with an idempotency key. Answers with secrets are not kept for repeats.
    pub(super) async fn make_accounts(&mut self) {
        let new = json!({ "displayName": "Keyed", "sites": "all", "permissions": ["Events.Publish"] });
        let make = async || {
            let request = self.operator(Method::POST, "accounts", true).bearer_auth(OPERATOR_TOKEN);
            self.account.send(request.header("idempotency-key", "\"canary-1\"").json(&new)).await
        };
        let (made, again) = (make().await, make().await);
        self.refused("the keys once more", &again, 409);
        let keys = made.expect(201).json()["keys"].clone();
        for (slot, name) in [("primary", "Keyed's primary key"), ("secondary", "Keyed's secondary key")] {
            self.keep_key(name, keys[slot].as_str().expect("it is shown"));
        }
    }

    /// Both keys of the account, one after the other; it acts with the newest from then on.
    pub(super) async fn rotate_api_keys(&mut self) {
        let path = |slot: &str| format!("accounts/{}/keys/{slot}", self.account.id);
        self.refused("no such key", &self.ask_registry(Method::PUT, &path("tertiary")).await, 404);
        let stranger = self.operator(Method::PUT, &path("primary"), true).bearer_auth(&self.account.key);
        self.refused("a key in place of a token", &self.account.send(stranger).await, 401);

        let first = self.account.clone();
        for (slot, name) in [("primary", "the next primary key"), ("secondary", "the next secondary key")] {
            let path = format!("accounts/{}/keys/{slot}", self.account.id);
            let rotated = self.ask_registry(Method::PUT, &path).await;
            let key = rotated.expect(200).json()["key"].as_str().expect("it is shown").to_owned();
            self.keep_key(name, &key);
            self.account = first.with_key(&key);
            // Each service learns of it by itself.
            eventually(LIMIT, async || everywhere(&self.account).await.iter().all(|status| *status < 300)).await;
            self.account.publish(&self.event()).await;
        }
        eventually(LIMIT, async || everywhere(&first).await == [401; 3]).await;
        self.refused("a key that was replaced", &first.try_publish(&self.event()).await, 401);
        self.refused("a key that was replaced", &first.put_webhook(self.subscription(&self.receiver)).await, 401);
        self.refused("a key that was replaced", &first.ask_scheduled(&[]).await, 401);
    }
}

/// What each service answers that looks at keys by itself.
async fn everywhere(account: &Account) -> [u16; 3] {
    let (publishing, subscribing, asking) =
        tokio::join!(account.empty_batch(), account.get_webhook(), account.ask_scheduled(&[]));
    [publishing.status, subscribing.status, asking.status]
}
