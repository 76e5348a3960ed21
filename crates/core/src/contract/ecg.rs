//! What travels of ECG posts (SPEC 6.8).

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::ids::{DeliveryId, EcgEventId, EventKey};
use crate::lane::Lane;
use crate::slug::Slug;
use crate::timestamp::Timestamp;

/// What kind of post an activity is (`type`, D-10).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum PostKind {
    /// 0: says that a subscription was activated. Attempted once.
    Activation,
    /// 1: of an event.
    Event,
}

/// The number is no kind of post.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a post's type is 0 or 1")]
pub struct NotAPostKind;

impl TryFrom<u8> for PostKind {
    type Error = NotAPostKind;

    fn try_from(number: u8) -> Result<Self, NotAPostKind> {
        match number {
            0 => Ok(Self::Activation),
            1 => Ok(Self::Event),
            _ => Err(NotAPostKind),
        }
    }
}

impl From<PostKind> for u8 {
    fn from(kind: PostKind) -> Self {
        match kind {
            PostKind::Activation => 0,
            PostKind::Event => 1,
        }
    }
}

/// The body of an ECG delivery's message on stream `WORK`. What is sent is made of it anew at each attempt, because each
/// is an activity with a time and a hash of its own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EcgPost {
    /// What kind of post.
    #[serde(rename = "type")]
    pub kind: PostKind,
    /// The event; none of an activation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<EcgEventId>,
    /// The event's code, or what is said of an activation: header `X-ECG-Event`.
    pub code: String,
    /// `createdAt` of the delivery's first activity; a later one's is the moment of its attempt.
    pub created_at: Timestamp,
    /// The payload in the form that is hashed ([`crate::ecg::canonical`]).
    pub payload: Box<RawValue>,
}

/// Subject `posts.{subscription}`: a post was made that the activity log has not made itself, so that it learns of it.
///
/// May come after the outcome of its first attempt.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EcgPosted {
    /// The delivery; its id is that of the first activity, too.
    pub delivery: DeliveryId,
    /// The key that the delivery has on the bus.
    pub key: EventKey,
    /// The delivery's tenant, as the engine names it: the site of a bridged event, else the organization's slug.
    pub site: Slug,
    /// The lane it travels in.
    pub lane: Lane,
    /// Whose subscription it is.
    pub organization: Uuid,
    /// Who made the post; none of an event that was bridged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<Uuid>,
    /// The post.
    pub post: EcgPost,
    /// What led to it.
    pub raw_message: Box<RawValue>,
}
