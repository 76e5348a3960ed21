//! The operator's endpoints: one for each subscription, under its id (SPEC 4.9).

use http::Method;
use serde::Deserialize;
use serde_json::Value;
use slipstream_core::timestamp::Timestamp;

use super::{Account, Answer, Operator};

/// A key that signs.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SigningKey {
    /// What it is called.
    pub key_id: String,
    /// `v1` or `v1a`.
    pub scheme: String,
    /// `whsec_…`, of `v1`; of an asymmetric key nobody is shown the secret half.
    pub secret: Option<String>,
    /// `whpk_…`, of `v1a`.
    pub public_key: Option<String>,
    /// When it stops signing; none for a current one.
    pub until: Option<Timestamp>,
}

impl Operator {
    /// The id of an account's subscription.
    pub async fn endpoint_of(&self, account: &Account) -> String {
        let page: Value = self.registry(Method::GET, "endpoints?limit=100", None).await.parsed(200);
        let mut endpoints = page["items"].as_array().expect("a page has items").iter();
        let endpoint = endpoints.find(|it| it["account"] == account.id.as_str() && it["site"] == account.site.as_str());
        endpoint.and_then(|it| it["id"].as_str()).unwrap_or_else(|| panic!("no endpoint of {}", account.id)).to_owned()
    }

    /// An endpoint, as it stands.
    pub async fn endpoint(&self, id: &str) -> Value {
        self.registry(Method::GET, &format!("endpoints/{id}"), None).await.parsed(200)
    }

    /// Enables an endpoint again.
    pub async fn enable(&self, id: &str) {
        self.registry(Method::POST, &format!("endpoints/{id}/enable"), None).await.expect(200);
    }

    /// Where anybody finds the public keys that verify what goes to an endpoint.
    pub fn key_set_url(&self, id: &str) -> String {
        format!("http://{}/webhooks/keys/{id}", self.bases.registry)
    }

    /// The keys that sign what goes to an endpoint, the current ones first.
    pub async fn signing_keys(&self, id: &str) -> Vec<SigningKey> {
        keys(&self.registry(Method::GET, &format!("endpoints/{id}/secret"), None).await)
    }

    /// Makes a new signing key the current one of its scheme; the keys then. `how` is the body of the request.
    pub async fn rotate_secret(&self, id: &str, how: Value) -> Vec<SigningKey> {
        keys(&self.registry(Method::POST, &format!("endpoints/{id}/rotate-secret"), Some(how)).await)
    }

    /// Revokes a signing key without grace.
    pub async fn revoke_secret(&self, id: &str, key_id: &str) -> Answer {
        self.registry(Method::DELETE, &format!("endpoints/{id}/secrets/{key_id}"), None).await
    }

    /// The secrets (`whsec_…`) that sign what an account receives.
    pub async fn secrets_of(&self, account: &Account) -> Vec<String> {
        let keys = self.signing_keys(&self.endpoint_of(account).await).await;
        keys.into_iter().filter_map(|key| key.secret).collect()
    }
}

fn keys(answer: &Answer) -> Vec<SigningKey> {
    let mut body: Value = answer.parsed(200);
    serde_json::from_value(body["keys"].take()).unwrap_or_else(|error| panic!("{error}: {answer}"))
}
