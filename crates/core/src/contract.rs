//! The messages that travel on the bus beside the events themselves (DESIGN 3). Each is a promise to strangers:
//! its JSON Schema and a golden example stand in `proto-schemas/`.
//!
//! An event's own message is its forwarded form as JSON, and a delivery's message carries the same bytes: nothing is
//! parsed or written again between accepting and delivering. What the engine needs to know beside the bytes stands in
//! a [`Meta`] header that holds only text of our own making.

mod audited;
mod ecg;
mod meta;

pub use self::audited::{
    AUDIT_TEXT_LEN_MAX, Action, AuditLink, AuditOutcome, Audited, TargetKind, Unasked, audit_text,
};
pub use self::ecg::{EcgPost, EcgPosted, PostKind};
pub use self::meta::{Meta, NotMeta};

use serde::{Deserialize, Serialize};

use crate::answer::ErrorCode;
use crate::config::{DisabledReason, Surface};
use crate::delivery::{DeliveryState, Reason};
use crate::ids::{AccountId, DeliveryId, EventKey, ReplayId, SubscriptionId};
use crate::lane::{Lane, Visibility};
use crate::matching::SkipReason;
use crate::slug::Slug;
use crate::timestamp::Timestamp;

/// Names of the bus headers. Values are numbers, slugs, ids and traceparents only, never a caller's text.
pub mod header {
    /// See [`super::Meta`].
    pub const META: &str = "Slip-Meta";
    /// The subject under which a held event is published when it is due.
    pub const DUE_SUBJECT: &str = "Slip-Due-Subject";
    /// W3C Trace Context of the step that published the message.
    pub const TRACEPARENT: &str = "traceparent";
}

/// Subject `routed.{site}`: what became of a batch of events of one site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routed {
    /// The site of all of them.
    pub site: Slug,
    /// One record per event.
    pub events: Vec<RoutedEvent>,
}

/// What became of one event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutedEvent {
    /// Which event.
    pub key: EventKey,
    /// Its `source`.
    pub source: String,
    /// Its `id`.
    pub id: String,
    /// Its `type`.
    #[serde(rename = "type")]
    pub event_type: String,
    /// Its `subject`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Its visibility.
    pub visibility: Visibility,
    /// Its lane.
    pub lane: Lane,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// Its `intendeddeliverytime`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intended_at: Option<Timestamp>,
    /// Its `expirytime`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Who published it; known only if its time was ahead then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_by: Option<AccountId>,
    /// When it was routed; none while it is held until `intended_at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routed_at: Option<Timestamp>,
    /// When its times were last changed while it was held; none if never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<Timestamp>,
    /// When it was cancelled while it was held. Nobody receives it then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled_at: Option<Timestamp>,
    /// Its place in stream `EVENTS`, from which it can be replayed as long as the stream keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// What its forwarded form hashes to ([`crate::ids::content_hash`]), to tell a repeat from another event under the
    /// same identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_hash: Option<i64>,
    /// Who receives it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub matched: Vec<Matched>,
    /// Which other subscriptions of the site do not, and why; the first [`SKIPPED_MAX`] of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<Skipped>,
}

/// The most entries of [`RoutedEvent::skipped`].
pub const SKIPPED_MAX: usize = 100;

/// A subscription that receives an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Matched {
    /// The delivery that was made.
    pub delivery: DeliveryId,
    /// To whom.
    pub subscription: SubscriptionId,
    /// By which interface.
    pub surface: Surface,
}

/// A subscription that does not receive an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Who.
    pub subscription: SubscriptionId,
    /// Why not.
    pub reason: SkipReason,
}

/// Subject `outcomes.{surface}.{subscription}`: what happened to deliveries of one subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcomes {
    /// The subscription of all of them.
    pub subscription: SubscriptionId,
    /// Its interface.
    pub surface: Surface,
    /// One record per delivery and event of its life.
    pub outcomes: Vec<Outcome>,
}

/// What happened to one delivery. Idempotent by (delivery, attempt number).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Which delivery.
    pub delivery: DeliveryId,
    /// The event's site.
    pub site: Slug,
    /// The event.
    pub key: EventKey,
    /// The lane it travelled in.
    pub lane: Lane,
    /// When the event was accepted.
    pub accepted_at: Timestamp,
    /// The state the delivery is in now.
    pub state: DeliveryState,
    /// Why, where the state does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// When this was decided.
    pub at: Timestamp,
    /// The attempt that led here, if one was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<Attempt>,
    /// When the next attempt is, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<Timestamp>,
    /// By which replay it was made; none for the event's own delivery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<ReplayId>,
}

/// One HTTP request and its outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Which attempt of its delivery, from 1.
    pub number: u32,
    /// When it started.
    pub started_at: Timestamp,
    /// How long it took, in microseconds.
    pub duration_us: u64,
    /// The status, if there was an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorCode>,
    /// The first bytes of the answer's body, in Base64; absent if it had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<String>,
    /// On the ECG surface: the hash that was sent along (SPEC 6.7), 64 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
}

/// Subject `endpoints.{surface}.{subscription}`: a subscription's endpoint changed by itself or was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointChanged {
    /// Whose endpoint.
    pub subscription: SubscriptionId,
    /// When.
    pub at: Timestamp,
    /// What happened.
    pub change: EndpointChange,
    /// The subscription's revision by which that was found: it has no say about a target that the subscription got in a
    /// later one. None where it does not matter, and from writers that do not know it; then `at` decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
}

/// What happened to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndpointChange {
    /// It was found that it must be disabled; the registry makes it so.
    Disabled(DisabledReason),
    /// It has failed several times in a row, the first time at this instant (SPEC 4.4).
    Degraded(Timestamp),
    /// It has taken a delivery after it was degraded.
    Recovered,
    /// The registry removed the subscription; what has not been delivered is cancelled.
    Removed,
}

/// Request `ask.seen`: has this event been accepted before?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenQuestion {
    /// Which event.
    pub key: EventKey,
    /// [`crate::ids::id_hash`] of its `id`.
    pub id_hash: i32,
    /// When it was accepted now; earlier acceptances are asked for.
    pub accepted_at: Timestamp,
}

/// Its answer, for an event that was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenAnswer {
    /// Which event.
    pub key: EventKey,
    /// When it was first accepted, within the time that repeats are recognised in.
    pub accepted_at: Timestamp,
    /// What it hashed to then; none if that was not recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_hash: Option<i64>,
}
