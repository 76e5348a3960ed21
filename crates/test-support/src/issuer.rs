//! A token issuer: OpenID Connect as far as those who check its tokens need it.
//!
//! It publishes a discovery document and a key set over HTTP, with two keys of its own (RS256 and ES256), can change
//! them, fall silent or answer nonsense, and counts who asks. Its tokens are good ones until a test says what is to be
//! wrong with them.
//!
//! ```ignore
//! let issuer = Issuer::start().await;
//! let good = issuer.token().claim("roles", json!(["Events.Publish"])).sign();
//! let expired = issuer.token().claim("exp", 1_000_000_000).sign();
//! let unsigned = issuer.token().header("alg", "none").without_signature().sign();
//! ```

mod key;
mod token;

use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};

use crate::receiver::{Receiver, Reply};

pub use key::SigningKey;
pub use token::TokenBuilder;

/// Where an issuer says where its keys are.
pub const DISCOVERY_PATH: &str = "/.well-known/openid-configuration";
/// Where they are.
pub const KEYS_PATH: &str = "/keys";
/// Whom the issuer's tokens are for, unless a test says otherwise.
pub const AUDIENCE: &str = "slipstream";

/// A running issuer; it stops when dropped.
#[derive(Debug)]
pub struct Issuer {
    receiver: Receiver,
    keys: Mutex<Keys>,
}

#[derive(Debug)]
struct Keys {
    rsa: Arc<SigningKey>,
    ec: Arc<SigningKey>,
    /// How often they were changed; their ids end with it.
    generation: u32,
}

impl Keys {
    fn of_generation(generation: u32) -> Self {
        Self {
            rsa: Arc::new(SigningKey::rsa(&format!("rsa-{generation}"), generation)),
            ec: Arc::new(SigningKey::ec(&format!("ec-{generation}"))),
            generation,
        }
    }
}

impl Issuer {
    /// Starts an issuer on a loopback port of the system's choice.
    pub async fn start() -> Self {
        let receiver = Receiver::start().await;
        receiver.script(|_, _| Reply::status(404));
        let issuer = Self { receiver, keys: Mutex::new(Keys::of_generation(1)) };
        issuer.recover();
        issuer
    }

    /// Its name: what `iss` is in its tokens, and where its discovery document is.
    pub fn url(&self) -> String {
        self.receiver.url("")
    }

    /// Where its keys are.
    pub fn keys_url(&self) -> String {
        self.receiver.url(KEYS_PATH)
    }

    /// The settings of a service that trusts it for all sites, with discovery, under the name `test`.
    pub fn settings(&self) -> Value {
        json!({ "name": "test", "issuer": self.url(), "audiences": [AUDIENCE], "sites": "all" })
    }

    /// A good token of somebody, signed with RS256; good for an hour.
    pub fn token(&self) -> TokenBuilder {
        TokenBuilder::new(&self.url(), AUDIENCE, self.rsa())
    }

    /// Its present key for RS256.
    pub fn rsa(&self) -> Arc<SigningKey> {
        Arc::clone(&self.keys().rsa)
    }

    /// Its present key for ES256.
    pub fn ec(&self) -> Arc<SigningKey> {
        Arc::clone(&self.keys().ec)
    }

    /// Changes both keys and publishes the new ones only; what is signed from now on is signed with them.
    pub fn rotate(&self) {
        let mut keys = self.keys();
        *keys = Keys::of_generation(keys.generation + 1);
        drop(keys);
        self.recover();
    }

    /// Publishes these keys instead of its own.
    pub fn publish(&self, jwks: &[Value]) {
        self.answer_keys(Reply::ok().body(json!({ "keys": jwks }).to_string()));
    }

    /// Answers so when asked for keys.
    pub fn answer_keys(&self, reply: Reply) {
        self.receiver.script_path(KEYS_PATH, move |_, _| reply.clone());
    }

    /// Answers so when asked where the keys are.
    pub fn answer_discovery(&self, reply: Reply) {
        self.receiver.script_path(DISCOVERY_PATH, move |_, _| reply.clone());
    }

    /// Resets every connection instead of answering, until [`Issuer::recover`].
    pub fn be_unreachable(&self) {
        self.answer_discovery(Reply::reset());
        self.answer_keys(Reply::reset());
    }

    /// Publishes its present keys, whatever it answered until now.
    pub fn recover(&self) {
        self.answer_discovery(Reply::ok().body(self.discovery().to_string()));
        self.publish(&[self.rsa().jwk(), self.ec().jwk()]);
    }

    /// Its discovery document.
    pub fn discovery(&self) -> Value {
        json!({ "issuer": self.url(), "jwks_uri": self.keys_url(), "id_token_signing_alg_values_supported": ["RS256"] })
    }

    /// How often it was asked for its keys.
    pub fn keys_asked(&self) -> usize {
        self.receiver.received_at(KEYS_PATH).len()
    }

    /// How often it was asked where its keys are.
    pub fn discovery_asked(&self) -> usize {
        self.receiver.received_at(DISCOVERY_PATH).len()
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().expect("nothing under this lock panics but a test that fails anyway")
    }
}
