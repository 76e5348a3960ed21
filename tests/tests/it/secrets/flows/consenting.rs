//! Receivers that agree later, with the key that they were given for it (SPEC 3.7). It serves once.

use serde_json::json;
use slipstream_tests::{LIMIT, NewAccount};

use super::Flows;

impl Flows {
    /// One receiver agrees, with each mistake made before; another one is given a key and keeps it.
    pub(super) async fn grant_by_callback(&mut self) {
        let account = self.operator.account(NewAccount::default()).await;
        self.keep_key("the consenting account's key", &account.key);
        account.put_webhook(self.subscription(&self.hesitant)).await.expect(200);
        let callback = self.callback("the callback's key", 0);
        let http = account.http().clone();
        let grant =
            async |url: &str, rate: &str| account.send(http.post(url).header("webhook-allowed-rate", rate)).await;
        self.refused("a rate that is none", &grant(&callback, "soon").await, 400);
        self.refused("a look at a callback", &account.send(http.head(&callback)).await, 405);
        self.refused("a longer callback", &grant(&format!("{callback}x"), "6000").await, 404);
        self.refused("a callback's part", &grant(&format!("{callback}/x"), "6000").await, 404);
        grant(&callback, "6000").await.expect(204);
        self.refused("a callback once more", &grant(&callback, "6000").await, 404);
        self.account.publish(&self.event()).await;
        self.hesitant.wait_for(1, LIMIT).await;

        // Elsewhere it is asked anew, and says nothing.
        let elsewhere = json!({ "Uri": self.hesitant.url("/elsewhere") });
        account.put_webhook(elsewhere).await.expect(200);
        self.callback("the key of a callback that nobody makes", 1);
    }

    /// Where the `nth` question to the hesitant receiver lets it agree; the last part is the key.
    fn callback(&mut self, name: &'static str, nth: usize) -> String {
        let questions = self.hesitant.consents();
        let callback = questions[nth].header("webhook-request-callback").to_owned();
        let (_, key) = callback.rsplit_once('/').expect("it has a key");
        self.keep(name, key);
        callback
    }
}
