//! Tokens, good and bad.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Map, Value, json};

use super::SigningKey;

/// How long a token is good, unless a test says otherwise.
const GOOD_FOR_SECONDS: u64 = 3600;

/// A token in the making: a good one, until something is changed.
#[derive(Debug, Clone)]
pub struct TokenBuilder {
    header: Map<String, Value>,
    claims: Map<String, Value>,
    header_text: Option<String>,
    claims_text: Option<String>,
    signer: Signer,
}

#[derive(Debug, Clone)]
enum Signer {
    Key(Arc<SigningKey>),
    Hs256(Vec<u8>),
    Nobody,
}

impl TokenBuilder {
    pub(super) fn new(issuer: &str, audience: &str, key: Arc<SigningKey>) -> Self {
        let now = now_seconds();
        let claims = json!({
            "iss": issuer,
            "aud": audience,
            "sub": "somebody",
            "iat": now,
            "nbf": now,
            "exp": now + GOOD_FOR_SECONDS,
        });
        let Value::Object(claims) = claims else { unreachable!("it is written as an object above") };
        let token = Self { header: Map::new(), claims, header_text: None, claims_text: None, signer: Signer::Nobody };
        token.header("typ", "JWT").signed_by(key)
    }

    /// Sets a claim.
    #[must_use]
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// Takes a claim away.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.claims.remove(name);
        self
    }

    /// Sets a member of the header; the signature stays what it is.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.insert(name.to_owned(), value.into());
        self
    }

    /// Takes a member of the header away.
    #[must_use]
    pub fn without_header(mut self, name: &str) -> Self {
        self.header.remove(name);
        self
    }

    /// Writes the header so, whatever was set.
    #[must_use]
    pub fn header_text(mut self, text: impl Into<String>) -> Self {
        self.header_text = Some(text.into());
        self
    }

    /// Writes the claims so, whatever was set.
    #[must_use]
    pub fn claims_text(mut self, text: impl Into<String>) -> Self {
        self.claims_text = Some(text.into());
        self
    }

    /// Signs with `key`, and says so in the header.
    #[must_use]
    pub fn signed_by(mut self, key: Arc<SigningKey>) -> Self {
        self = self.header("alg", key.algorithm()).header("kid", key.id());
        self.signer = Signer::Key(key);
        self
    }

    /// Signs with HS256 under `secret`, and says so in the header; the key's id stays.
    #[must_use]
    pub fn signed_by_secret(mut self, secret: &[u8]) -> Self {
        self.signer = Signer::Hs256(secret.to_vec());
        self.header("alg", "HS256")
    }

    /// Leaves the signature empty.
    #[must_use]
    pub fn without_signature(mut self) -> Self {
        self.signer = Signer::Nobody;
        self
    }

    /// The claims as they are now.
    pub const fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// The token.
    pub fn sign(&self) -> String {
        let encode = |text: &Option<String>, members: &Map<String, Value>| {
            let text = text.clone().unwrap_or_else(|| Value::Object(members.clone()).to_string());
            URL_SAFE_NO_PAD.encode(text)
        };
        let signed = format!("{}.{}", encode(&self.header_text, &self.header), encode(&self.claims_text, &self.claims));
        let signature = match &self.signer {
            Signer::Key(key) => key.sign(signed.as_bytes()),
            Signer::Hs256(secret) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
                hmac::sign(&key, signed.as_bytes()).as_ref().to_vec()
            }
            Signer::Nobody => Vec::new(),
        };
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

#[expect(clippy::disallowed_methods, reason = "the issuer has a clock of its own, as a stranger's has")]
fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_secs()
}
