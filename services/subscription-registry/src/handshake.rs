//! Asking receivers whether they want our deliveries: the handshake of SPEC 3.7, as its sender.
//!
//! | policy | without consent | deliveries | answer to the PUT |
//! | --- | --- | --- | --- |
//! | `optional` | active | at most 60 a minute | 200 |
//! | `required` | pending | none | 424 |
//!
//! A grant is for a URI and for the name that asked: with the same of both, nobody is asked again. How a PUT goes is in
//! [`subscribe`], how a grant comes later in [`callback`].

pub(crate) mod callback;
pub(crate) mod subscribe;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use slipstream_core::answer::ErrorCode;
use slipstream_core::config::{Consent, EndpointState, Subscription};
use slipstream_core::problem::{Problem, ProblemKind};
use slipstream_core::timestamp::Timestamp;
use slipstream_store::handshakes::Handshake as Question;
use slipstream_webhook::{AddressPolicy, Client, ClientConfig, ConsentError, ConsentRequest, Target};

use crate::config::{CallbackUrl, HandshakeConfig, HandshakePolicy, Origin};
use crate::keys::CallbackKey;

/// How long a receiver may grant by callback (SPEC 3.7).
const CALLBACK_TIME: Duration = Duration::from_hours(24);
/// When a receiver that was asked too often may be asked again: the bound is per minute (THREATS 3).
const ASK_AGAIN: Duration = Duration::from_mins(1);

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

    /// Gives `wanted`, which is to take the place of `present`, the state and consent that it begins with; says whether
    /// its receiver is to be asked.
    fn begin(&self, present: Option<&Subscription>, wanted: &mut Subscription) -> Option<Asking> {
        let Some(asker) = &self.0 else {
            (wanted.state, wanted.consent) = (EndpointState::Active, Consent::Off);
            return None;
        };
        let ours = asker.origin.as_str();
        if let Some(present) = present.filter(|present| present.uri == wanted.uri)
            && matches!(&present.consent, Consent::Granted { origin, .. } if origin == ours)
        {
            (wanted.state, wanted.consent) = (EndpointState::Active, present.consent.clone());
            return None;
        }
        wanted.consent = Consent::NotGranted { origin: ours.to_owned() };
        wanted.state = match asker.policy {
            HandshakePolicy::Required => EndpointState::Pending,
            HandshakePolicy::Off | HandshakePolicy::Optional => EndpointState::Active,
        };
        let callback = asker.callback_url.clone().map(|url| (url, CallbackKey::new()));
        Some(Asking { asker: Arc::clone(asker), callback })
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handshake").field(&self.policy()).finish()
    }
}

/// A question that is to be asked.
struct Asking {
    asker: Arc<Asker>,
    /// Our base URL and the key below it that grants.
    callback: Option<(CallbackUrl, CallbackKey)>,
}

impl Asking {
    /// What is kept of it for a callback; none if there cannot be one.
    fn question(&self, subscription: &Subscription, now: Timestamp) -> Option<Question> {
        let (_, key) = self.callback.as_ref()?;
        Some(Question {
            key_hash: key.hash(),
            subscription: subscription.id,
            uri: subscription.uri.clone(),
            origin: self.asker.origin.as_str().to_owned(),
            rate_per_minute: self.asker.rate_per_minute,
            expires_at: now.after(CALLBACK_TIME),
        })
    }

    /// Asks; says at how many deliveries per minute the receiver agrees, none being any number.
    async fn ask(&self, target: &Target) -> Result<Option<u32>, Refusal> {
        let callback = self.callback.as_ref().map(|(url, key)| url.with_key(key.shown()));
        let asker = &self.asker;
        let request =
            ConsentRequest { origin: &asker.origin_header, rate: asker.rate_per_minute, callback: callback.as_deref() };
        let reason = match asker.client.ask_consent(target, request).await {
            Ok(answer) if answer.granted => return Ok(answer.rate),
            Ok(_) => Reason::NoConsent,
            Err(ConsentError::Failed(code)) => Reason::Failed(code),
            Err(ConsentError::TooMany) => Reason::TooMany,
        };
        Err(Refusal { reason, has_callback: callback.is_some() && reason.has_reached_the_receiver() })
    }
}

/// Why there is no consent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    /// The receiver answered and did not agree.
    NoConsent,
    /// It could not be asked, or did not answer.
    Failed(ErrorCode),
    /// Its host has been asked too often; it was not asked.
    TooMany,
}

impl Reason {
    /// Whether the receiver may have read the question, and the callback's key with it.
    const fn has_reached_the_receiver(self) -> bool {
        match self {
            Self::NoConsent | Self::Failed(ErrorCode::Timeout | ErrorCode::Protocol) => true,
            Self::TooMany
            | Self::Failed(ErrorCode::Dns | ErrorCode::TargetNotAllowed | ErrorCode::Connect | ErrorCode::Tls) => false,
        }
    }
}

/// A receiver that has not agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    reason: Reason,
    /// Whether it may still grant by the callback it was given just now.
    has_callback: bool,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason {
            Reason::NoConsent => f.write_str("its answer to OPTIONS does not grant it"),
            Reason::Failed(code) => write!(f, "it could not be asked ({})", code.as_str()),
            Reason::TooMany => f.write_str("its host was asked too often within a minute"),
        }
    }
}

impl From<Refusal> for Problem {
    /// 424, for whoever put a subscription under the policy `required`.
    fn from(refusal: Refusal) -> Self {
        let callback = if refusal.has_callback { ", or by the callback that it was given, within 24 h" } else { "" };
        let detail = format!(
            "the receiver has not given its consent: {refusal}. The subscription is stored, and becomes active when the \
             receiver grants it: to a repeat of this request{callback}"
        );
        let problem = Self::new(ProblemKind::HandshakeFailed, detail);
        let retry_after = (refusal.reason == Reason::TooMany).then_some(ASK_AGAIN);
        Self { retry_after, ..problem }
    }
}
