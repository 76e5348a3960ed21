//! Tokens of a real issuer: which are good, which are not, and how its keys are kept.

mod keys;
mod refusals;
mod settings;

use serde_json::Value;
use slipstream_service::auth::token::{Claims, IssuerConfig, TokenError, Verifier};
use slipstream_test_support::Issuer;
use tokio_util::task::TaskTracker;

/// An issuer and somebody who trusts it.
struct World {
    issuer: Issuer,
    verifier: Verifier,
}

impl World {
    async fn new() -> Self {
        Self::with(|_| ()).await
    }

    /// With other settings than [`Issuer::settings`].
    async fn with(change: impl FnOnce(&mut Value)) -> Self {
        let issuer = Issuer::start().await;
        let mut settings = issuer.settings();
        change(&mut settings);
        let verifier = verifier(&[settings]);
        Self { issuer, verifier }
    }

    async fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        self.verifier.verify(token).await
    }
}

fn verifier(settings: &[Value]) -> Verifier {
    let issuers: Vec<IssuerConfig> =
        settings.iter().map(|settings| serde_json::from_value(settings.clone()).unwrap()).collect();
    Verifier::new(&issuers, &TaskTracker::new()).unwrap()
}
