//! What the activity log tells.

use serde::Deserialize;
use slipstream_core::answer::ErrorCode;
use slipstream_core::delivery::{DeliveryState, Reason};
use slipstream_core::matching::SkipReason;
use slipstream_core::timestamp::Timestamp;

/// A delivery.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// Its id.
    pub id: String,
    /// The same as receivers see it.
    pub webhook_id: String,
    /// The event's id.
    pub event_id: Option<String>,
    /// To which subscription.
    pub subscription: String,
    /// Where it is in its life.
    pub state: DeliveryState,
    /// Why, where the state alone does not say.
    pub reason: Option<Reason>,
    /// How many attempts are recorded.
    pub attempt_count: u64,
    /// When the next one is due.
    pub next_attempt_at: Option<Timestamp>,
    /// The attempts, the first in front; only where one delivery was asked for.
    #[serde(default)]
    pub attempts: Vec<Attempt>,
}

/// One request and what came of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// From 1.
    pub number: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// The answer's status.
    pub status: Option<u16>,
    /// Or why there was none.
    pub error: Option<ErrorCode>,
    /// The beginning of the answer's body.
    pub response: Option<String>,
}

/// An event, and who receives it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explained {
    /// `held` or `routed`.
    pub state: String,
    /// One sentence for people.
    pub summary: String,
    /// Its deliveries.
    pub matched: Vec<Delivery>,
    /// The other subscriptions of its site.
    pub not_matched: Vec<NotMatched>,
}

/// A subscription that does not receive an event.
#[derive(Debug, Clone, Deserialize)]
pub struct NotMatched {
    /// Which one.
    pub subscription: String,
    /// Why.
    pub reason: SkipReason,
    /// The same in words.
    pub explanation: String,
}
