//! Who calls a target: one client per policy of addresses, and how a subscription is made ready to be called.

use std::sync::Arc;

use slipstream_core::config::{Consent, EcgSubscription, Subscription, Surface};
use slipstream_core::sealing::SecretText;
use slipstream_core::{ecg, signing};
use slipstream_service::directory::EcgIndex;
use slipstream_webhook::{AddressPolicy, Client, ClientConfig, PreparedHeaders, Target};

use super::endpoint::{Prepared, PreparedKey};

/// Under which policy a target is called (SPEC 2.8, 6.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    /// As the operator configured it.
    Configured,
    /// An ECG subscription in earnest.
    Ecg,
    /// An ECG subscription for development.
    EcgDevelopment,
}

impl Caller {
    const ALL: [Self; 3] = [Self::Configured, Self::Ecg, Self::EcgDevelopment];
}

/// One client per [`Caller`]. They share nothing, so that no connection outlives the policy it was made under.
pub(crate) struct Callers([(Arc<AddressPolicy>, Client); 3]);

impl Callers {
    pub(crate) fn new(configured: &AddressPolicy, config: &ClientConfig) -> Self {
        Self(Caller::ALL.map(|caller| {
            let policy = Arc::new(match caller {
                Caller::Configured => configured.clone(),
                Caller::Ecg => configured.for_ecg(false),
                Caller::EcgDevelopment => configured.for_ecg(true),
            });
            let client = Client::new(Arc::clone(&policy), config.clone());
            (policy, client)
        }))
    }

    pub(crate) const fn client(&self, caller: Caller) -> &Client {
        &self.0[caller as usize].1
    }

    /// Makes a subscription ready to be called.
    pub(crate) fn prepare(&self, subscription: &Subscription, ecg: &EcgIndex) -> Prepared {
        let is_development = |it: &Arc<EcgSubscription>| it.is_development;
        let caller = match subscription.surface {
            Surface::Slipstream => Caller::Configured,
            Surface::Ecg if ecg.subscription(subscription.id).is_some_and(is_development) => Caller::EcgDevelopment,
            Surface::Ecg => Caller::Ecg,
        };
        let is_sealed = subscription.secrets().any(SecretText::is_sealed);
        let headers = if is_sealed { &[][..] } else { &subscription.headers };
        let headers = PreparedHeaders::new(headers).unwrap_or_else(|errors| {
            // The registry checked them; a rule may have become stricter since.
            tracing::error!(subscription.id = %subscription.id, errors = errors.len(), "headers are left out");
            PreparedHeaders::default()
        });
        let origin = match &subscription.consent {
            Consent::Granted { origin, .. } => http::HeaderValue::from_str(origin).ok(),
            Consent::Off | Consent::NotGranted { .. } => None,
        };
        Prepared {
            revision: subscription.revision,
            is_sealed,
            uri: subscription.uri.clone(),
            caller,
            origin,
            target: Target::parse(&subscription.uri, &self.0[caller as usize].0),
            headers,
            content_type: http::HeaderValue::from_static(subscription.feature.content_type()),
            keys: if is_sealed { Vec::new() } else { keys(subscription) },
        }
    }
}

/// The keys that sign, as the subscription's surface writes them.
fn keys(subscription: &Subscription) -> Vec<PreparedKey> {
    let keys = subscription.signing_keys.iter().filter_map(|signing_key| {
        let parsed = signing_key.secret.expose().map_err(anyhow::Error::from);
        let parsed = parsed.and_then(|secret| match subscription.surface {
            Surface::Slipstream => Ok(signing::Key::parse(secret)?),
            Surface::Ecg => Ok(ecg::signing_key(secret)),
        });
        match parsed {
            Ok(key) => Some(PreparedKey { key, until: signing_key.until }),
            Err(error) => {
                tracing::error!(subscription.id = %subscription.id, %error, "a signing key is left out");
                None
            }
        }
    });
    keys.collect()
}
