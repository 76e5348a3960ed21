//! One question to a receiver, and what is said of it when it does not agree.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use slipstream_core::answer::ErrorCode;
use slipstream_core::ids::SubscriptionId;
use slipstream_core::problem::{Problem, ProblemKind};
use slipstream_core::timestamp::Timestamp;
use slipstream_store::handshakes::Handshake as Kept;
use slipstream_webhook::{ConsentError, ConsentRequest, Target};

use super::{Asker, OPEN_TIME};
use crate::config::CallbackUrl;
use crate::keys::CallbackKey;

/// When a receiver that was asked too often may be asked again: the bound is per minute (THREATS 3).
const ASK_AGAIN: Duration = Duration::from_mins(1);

/// A question that is to be asked.
pub(super) struct Question {
    pub(super) asker: Arc<Asker>,
    /// For which subscription.
    pub(super) subscription: SubscriptionId,
    /// Where.
    pub(super) uri: String,
    /// Our base URL and the key below it that grants.
    pub(super) callback: Option<(CallbackUrl, CallbackKey)>,
}

impl Question {
    /// What is kept of it for a callback; none if there cannot be one.
    pub(super) fn kept(&self, now: Timestamp) -> Option<Kept> {
        let (_, key) = self.callback.as_ref()?;
        Some(Kept {
            key_hash: key.hash(),
            subscription: self.subscription,
            uri: self.uri.clone(),
            origin: self.asker.origin.as_str().to_owned(),
            rate_per_minute: self.asker.rate_per_minute,
            expires_at: now.after(OPEN_TIME),
        })
    }

    /// Asks; says at how many deliveries per minute the receiver agrees, none being any number.
    pub(super) async fn ask(&self, target: &Target) -> Result<Option<u32>, Reason> {
        let callback = self.callback.as_ref().map(|(url, key)| url.with_key(key.shown()));
        let asker = &self.asker;
        let request =
            ConsentRequest { origin: &asker.origin_header, rate: asker.rate_per_minute, callback: callback.as_deref() };
        match asker.client.ask_consent(target, request).await {
            Ok(answer) if answer.granted => Ok(answer.rate),
            Ok(_) => Err(Reason::NoConsent),
            Err(ConsentError::Failed(code)) => Err(Reason::Failed(code)),
            Err(ConsentError::TooMany) => Err(Reason::TooMany),
        }
    }
}

/// Why there is no consent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// The receiver answered and did not agree.
    NoConsent,
    /// It could not be asked, or did not answer.
    Failed(ErrorCode),
    /// Its host has been asked too often; it was not asked.
    TooMany,
}

impl Reason {
    /// Whether the receiver may have read the question, and the callback's key with it.
    pub(super) const fn has_reached_the_receiver(self) -> bool {
        match self {
            Self::NoConsent | Self::Failed(ErrorCode::Timeout | ErrorCode::Protocol) => true,
            Self::TooMany
            | Self::Failed(ErrorCode::Dns | ErrorCode::TargetNotAllowed | ErrorCode::Connect | ErrorCode::Tls) => false,
        }
    }

    /// Whether the question has no answer yet and is worth repeating.
    pub(super) const fn may_pass(self) -> bool {
        !matches!(self, Self::NoConsent | Self::Failed(ErrorCode::TargetNotAllowed))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoConsent => f.write_str("its answer to OPTIONS does not grant it"),
            Self::Failed(code) => write!(f, "it could not be asked ({})", code.as_str()),
            Self::TooMany => f.write_str("its host was asked too often within a minute"),
        }
    }
}

/// Where a PUT that was refused leaves its subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// It is as the PUT wants it, and waits.
    Stored,
    /// It works as before; what the PUT wants stands beside it.
    Beside,
    /// A later change has taken the place of what the PUT wants.
    Superseded,
}

/// A PUT that is refused, for its receiver has not agreed and the policy requires that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(super) reason: Reason,
    pub(super) left: Left,
    /// Whether it may still grant by the callback it was given just now.
    pub(super) has_callback: bool,
}

impl From<Refusal> for Problem {
    /// 424, for whoever put the subscription.
    fn from(refusal: Refusal) -> Self {
        let Refusal { reason, left, has_callback } = refusal;
        let callback = if has_callback { ", or by the callback that it was given, within 24 h" } else { "" };
        let again = match left {
            _ if !reason.may_pass() => "",
            Left::Beside => ", or when we ask it again, every 10 minutes for 24 h",
            Left::Stored | Left::Superseded => ", or when we ask it again, every 10 minutes",
        };
        let how = format!("to a repeat of this request{callback}{again}");
        let left = match left {
            Left::Stored => {
                format!("The subscription is stored, and becomes active when the receiver grants it: {how}")
            }
            Left::Beside => format!(
                "The subscription stays as it was, and becomes what was asked for when the receiver grants it: {how}"
            ),
            Left::Superseded => "The subscription was changed otherwise meanwhile".to_owned(),
        };
        let detail = format!("the receiver has not given its consent: {reason}. {left}");
        let retry_after = (reason == Reason::TooMany).then_some(ASK_AGAIN);
        Self { retry_after, ..Self::new(ProblemKind::HandshakeFailed, detail) }
    }
}
