//! Asking receivers whether they want our deliveries: the handshake of SPEC 3.7, as its sender.
//!
//! | policy | without consent | deliveries | answer to the PUT |
//! | --- | --- | --- | --- |
//! | `optional` | active | at most 60 a minute | 200 |
//! | `required` | pending | none | 424 |
//!
//! A grant is for a URI and for the name that asked: with the same of both, nobody is asked again.
//!
//! Asking takes seconds, and the answer may be no, so a PUT that asks changes nothing that stands: what it wants is kept
//! beside the subscription as a *wish*, and takes its place in one step when the question is settled. Until then, and
//! after a crash, what stands is whole and may be mirrored by anybody. Under `required` an endpoint that works stands on
//! until the new target agrees, if it ever does; its wish is open for 24 h.
//!
//! | question | module |
//! | --- | --- |
//! | how one question is put, and what a refusal says | [`question`] |
//! | how a PUT goes | [`subscribe`] |
//! | how a grant comes later | [`callback`] |
//! | who is asked again, since the question failed | [`again`] |
//! | what becomes of the subscription and the wish, whichever of the three it was | [`settle`] |

pub(crate) mod again;
pub(crate) mod callback;
mod question;
mod settle;
pub(crate) mod subscribe;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use slipstream_core::config::{Consent, EndpointState, Subscription};
use slipstream_core::ids::SubscriptionId;
use slipstream_webhook::{AddressPolicy, Client, ClientConfig};

use self::question::Question;
use crate::config::{CallbackUrl, HandshakeConfig, HandshakePolicy, Origin};
use crate::keys::CallbackKey;

/// How long a receiver may grant by callback (SPEC 3.7), and what it is to become active with stands beside what is.
const OPEN_TIME: Duration = Duration::from_hours(24);

/// How receivers are asked. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Handshake(Option<Arc<Asker>>);

/// What there is to ask with.
struct Asker {
    policy: HandshakePolicy,
    origin: Origin,
    origin_header: HeaderValue,
    callback_url: Option<CallbackUrl>,
    rate_per_minute: Option<u32>,
    client: Client,
}

impl Handshake {
    /// Call it within a Tokio runtime, as [`Client::new`] must be.
    pub(crate) fn new(config: &HandshakeConfig, targets: &Arc<AddressPolicy>) -> Self {
        if config.policy == HandshakePolicy::Off {
            return Self(None);
        }
        let origin = config.effective_origin();
        let client = ClientConfig { timeout: config.timeout, ..ClientConfig::default() };
        Self(Some(Arc::new(Asker {
            policy: config.policy,
            origin_header: origin.header_value(),
            origin,
            callback_url: config.callback_url.clone(),
            rate_per_minute: config.rate_per_minute.map(Into::into),
            client: Client::new(Arc::clone(targets), client),
        })))
    }

    /// What a receiver's consent decides.
    pub(crate) fn policy(&self) -> HandshakePolicy {
        self.0.as_ref().map_or(HandshakePolicy::Off, |asker| asker.policy)
    }

    /// The state and consent with which `wanted` takes the place of `present` at once; none if its receiver is to be asked
    /// first.
    fn without_asking(
        &self,
        present: Option<&Subscription>,
        wanted: &Subscription,
    ) -> Option<(EndpointState, Consent)> {
        let Some(asker) = &self.0 else { return Some((EndpointState::Active, Consent::Off)) };
        let present = present.filter(|present| present.uri == wanted.uri && asker.is_granted_by(present))?;
        Some((EndpointState::Active, present.consent.clone()))
    }

    /// What the receiver at `uri` is to be asked; none if nobody is asked anything.
    fn question(&self, subscription: SubscriptionId, uri: &str) -> Option<Question> {
        let asker = Arc::clone(self.0.as_ref()?);
        let callback = asker.callback_url.clone().map(|url| (url, CallbackKey::new()));
        Some(Question { asker, subscription, uri: uri.to_owned(), callback })
    }
}

impl Asker {
    /// Consent that has not been given.
    fn not_granted(&self) -> Consent {
        Consent::NotGranted { origin: self.origin.as_str().to_owned() }
    }

    /// Whether the receiver agreed to be called in our present name.
    fn is_granted_by(&self, subscription: &Subscription) -> bool {
        matches!(&subscription.consent, Consent::Granted { origin, .. } if origin == self.origin.as_str())
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handshake").field(&self.policy()).finish()
    }
}
