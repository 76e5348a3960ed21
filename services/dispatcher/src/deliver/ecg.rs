//! Attempts of ECG posts: each is an activity with an id, a time and a hash of its own (SPEC 6.7, 6.8).

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use slipstream_core::config::EcgSubscription;
use slipstream_core::contract::{EcgPost, PostKind};
use slipstream_core::ecg::{self, DEVELOPMENT_ATTEMPTS_MAX};
use slipstream_core::ids::ActivityId;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::directory::EcgIndex;

use super::message::Message;
use super::work::Work;

const EVENT: HeaderName = HeaderName::from_static("x-ecg-event");
const ACTIVITY: HeaderName = HeaderName::from_static("x-ecg-activity-id");

/// A post, read from the body of its delivery.
#[derive(Debug)]
pub(crate) struct Post(EcgPost);

impl Post {
    pub(crate) fn read(body: &Bytes) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(body).map(Self)
    }

    /// Whether posts of its event are dispatched now. An activation post is of no event.
    pub(crate) fn is_dispatchable(&self, ecg: &EcgIndex) -> bool {
        self.0.event.is_none_or(|event| ecg.is_dispatchable(event))
    }

    /// What the attempt that `work` asks for sends when it starts at `now`; none while the secret it is hashed with is not
    /// there. `subscription` is as the directory has it.
    pub(crate) fn message(&self, work: &Work, subscription: &EcgSubscription, now: Timestamp) -> Option<Message> {
        let Self(EcgPost { kind, code, created_at, payload, .. }) = self;
        let number = work.meta.attempt;
        // A later attempt is an activity of its own, made when it starts.
        let created_at = if number <= 1 { *created_at } else { now };
        let secret = subscription.secret_at(created_at).or_else(|| subscription.secret())?;
        let hash = ecg::hash(secret.secret.expose().ok()?, created_at, payload.get());
        let attempts_max = match kind {
            PostKind::Activation => Some(1),
            PostKind::Event if subscription.is_development => Some(DEVELOPMENT_ATTEMPTS_MAX),
            PostKind::Event => None,
        };
        let activity = ActivityId::of_attempt(work.delivery, number).to_string();
        let header = |text: &str| HeaderValue::from_str(text).ok();
        let headers = [(EVENT, header(code)), (ACTIVITY, header(&activity))];
        Some(Message {
            body: ecg::body(payload, &hash, created_at).into(),
            headers: headers.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(),
            hash: Some(hash),
            attempts_max,
            says_of_endpoint: *kind != PostKind::Activation,
        })
    }
}
