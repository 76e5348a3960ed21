//! Activities: the posts of the ECG surface, each one attempt, in trees (SPEC 6.8).
//!
//! A post that we make is a delivery, and attempt *n* of a delivery is activity *n* of a chain
//! ([`ActivityId::of_attempt`]): the first is made when somebody posts, the others when their outcome is recorded. A chain
//! that repeats an activity hangs below it, so posts and their repeats are a tree. Activities that somebody else posts are
//! rows only.
//!
//! | what | table |
//! | --- | --- |
//! | activities; what nobody has heard of but by its outcomes is there too, and not shown | `ecg_activities` |
//! | payloads and what led to them: once per post, however often it is repeated | `ecg_contents` |
//! | how many activities a list has, by ten minutes | `ecg_activity_counts` |
//! | posts that are not known to be on the bus | `ecg_unsent` |
//!
//! | question | index |
//! | --- | --- |
//! | an activity, rows of a page | primary key |
//! | a list: all; by success; by event; by both | (`subscription`, `kind`, …, `sort_ms`, `id`), four of them |
//! | a tree, a chain | (`root`, `delivery`, `number`) |
//! | old trees; old answers | `created_ms`, partial: roots; `posted_ms`, partial |
//!
//! Lists take their ids from an index alone and then only the rows of the page. Counts say how many activities there are,
//! and in which ten minutes a page begins, so that a page in the middle of a million costs as much as the first.
//!
//! Whoever changes a tree holds the lock of its root ([`lock`]), so what is counted is what was found; counts are added last,
//! in the order of their keys.

mod chain;
mod contents;
mod counts;
mod insert;
mod list;
mod outcome;
mod read;
mod recording;
mod retention;
mod row;
mod unsent;

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use slipstream_core::config::Stamps;
use slipstream_core::contract::PostKind;
use slipstream_core::ids::{ActivityId, DeliveryId, EcgEventId, EventKey, ReplayId, SubscriptionId};
use slipstream_core::timestamp::Timestamp;
use uuid::Uuid;

pub use self::insert::insert;
pub use self::list::{Weighed, count, page, read, weigh};
pub use self::outcome::{clear_next_retries, clear_next_retry, set_outcome};
pub use self::read::{TreeSize, get, has_succeeded, lock, others_waiting, tree, weigh_tree};
pub(crate) use self::recording::{News, record, settle};
pub use self::recording::{PostAttempt, PostRecord};
pub(crate) use self::retention::expire;
pub use self::unsent::{sent, unsent};

/// The most activities of a tree that is shown (N9).
pub const TREE_ACTIVITIES_MAX: usize = 2000;

/// Who posts an activity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dispatch {
    /// We do.
    Platform,
    /// Whoever asked us to write it down.
    External,
}

impl Dispatch {
    /// Its text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::External => "external",
        }
    }
}

/// A text of JSON that many may hold: a payload, of which a tree has one.
#[derive(Debug, Clone)]
pub struct Json(Arc<RawValue>);

impl From<Box<RawValue>> for Json {
    fn from(text: Box<RawValue>) -> Self {
        Self(text.into())
    }
}

impl Deref for Json {
    type Target = RawValue;

    fn deref(&self) -> &RawValue {
        &self.0
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_ref().serialize(serializer)
    }
}

/// One post.
#[derive(Debug, Clone)]
pub struct Activity {
    /// Its id.
    pub id: ActivityId,
    /// The root of its tree; itself, if it is one.
    pub root: ActivityId,
    /// The one that it repeats; none of a root.
    pub parent: Option<ActivityId>,
    /// How deep it is in its tree, from 1.
    pub level: u32,
    /// Whose subscription it is for.
    pub organization: Uuid,
    /// Which.
    pub subscription: SubscriptionId,
    /// Of which event; none of an activation.
    pub event: Option<EcgEventId>,
    /// What kind of post.
    pub kind: PostKind,
    /// Who posts it.
    pub dispatch: Dispatch,
    /// Of which delivery it is an attempt; none if somebody else posts it.
    pub delivery: Option<DeliveryId>,
    /// Which attempt of it, from 1; 1 if somebody else posts it.
    pub number: u32,
    /// By which replay the delivery was made; none of the first of its tree.
    pub replay: Option<ReplayId>,
    /// The key that deliveries of the tree have on the bus.
    pub key: EventKey,
    /// When it was made: what its hash is made with.
    pub created_at: Timestamp,
    /// When it was posted.
    pub posted_at: Option<Timestamp>,
    /// The status it was answered with.
    pub status: Option<u16>,
    /// Whether it was taken; none while that is open.
    pub success: Option<bool>,
    /// Why it was not.
    pub error: Option<String>,
    /// What it was answered with. The body of an answer to us is a JSON string.
    pub raw_response: Option<Box<RawValue>>,
    /// When it will be repeated, as long as that is ahead.
    pub next_retry_at: Option<Timestamp>,
    /// The hash that was made for it; none of a repeat that was recorded by a release before.
    pub hash: Option<String>,
    /// The payload. Those of a tree share it.
    pub payload: Json,
    /// What led to it.
    pub raw_message: Json,
    /// Who and when.
    pub stamps: Stamps,
}

/// An activity to be made. What is not said here is still open: see [`set_outcome`].
#[derive(Debug, Clone)]
pub struct New {
    /// Its id. Of one that we post: that of its delivery.
    pub id: ActivityId,
    /// What it repeats; none of a root.
    pub repeats: Option<Repeats>,
    /// Whose subscription it is for.
    pub organization: Uuid,
    /// Which.
    pub subscription: SubscriptionId,
    /// Of which event; none of an activation.
    pub event: Option<EcgEventId>,
    /// What kind of post.
    pub kind: PostKind,
    /// Who posts it.
    pub post: Post,
    /// The key that deliveries of the tree have on the bus.
    pub key: EventKey,
    /// When it was made: what its hash is made with.
    pub created_at: Timestamp,
    /// Who made it.
    pub made_by: Uuid,
    /// The hash of its payload.
    pub hash: Option<String>,
    /// What it says.
    pub content: Content,
}

/// Which activity a new one repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repeats {
    /// The root of the tree.
    pub root: ActivityId,
    /// The activity.
    pub parent: ActivityId,
    /// Its level.
    pub parent_level: u32,
}

impl Repeats {
    /// Of `parent`.
    pub const fn of(parent: &Activity) -> Self {
        Self { root: parent.root, parent: parent.id, parent_level: parent.level }
    }
}

/// Who posts a new activity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Post {
    /// We do: it is the first attempt of a delivery that is still to be published ([`unsent`], [`sent`]), in lane `normal`.
    Platform {
        /// By which replay the delivery is made; none of a root.
        replay: Option<ReplayId>,
    },
    /// Somebody else does, or has.
    External {
        /// When it was posted, if it was.
        posted_at: Option<Timestamp>,
    },
}

/// What a new activity says.
#[derive(Debug, Clone)]
pub enum Content {
    /// Something of its own.
    Own {
        /// The payload.
        payload: Box<RawValue>,
        /// What led to it.
        raw_message: Box<RawValue>,
    },
    /// The same as an activity of its tree.
    Of(ActivityId),
}

/// What [`insert`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// Nothing: the activity was made.
    New,
    /// An activity with this id, which stays as it is.
    There,
}

/// The outcome of an activity that somebody else posted.
#[derive(Debug, Clone)]
pub struct OutcomeOfPost {
    /// Whether it was taken.
    pub success: bool,
    /// The status it was answered with.
    pub status: Option<u16>,
    /// Why it was not taken.
    pub error: Option<String>,
    /// What it was answered with.
    pub raw_response: Option<Box<RawValue>>,
    /// When it should be posted again.
    pub next_retry_at: Option<Timestamp>,
    /// When this was told: when it was posted, if that is not known.
    pub at: Timestamp,
    /// By whom.
    pub by: Uuid,
}

/// Which activities a list is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filter {
    /// Whose.
    pub subscription: SubscriptionId,
    /// Activations, or everything else.
    pub activations: bool,
    /// Those that were taken, or were not; none: also what is open.
    pub success: Option<bool>,
    /// Of this event.
    pub event: Option<EcgEventId>,
}

/// A place in a list: by when its activity was posted, else made, and by its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    sort_ms: i64,
    id: ActivityId,
}

/// The text is no cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a place in a list of activities")]
pub struct NotACursor;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{}", self.sort_ms, self.id.0.simple())
    }
}

impl FromStr for Cursor {
    type Err = NotACursor;

    fn from_str(text: &str) -> Result<Self, NotACursor> {
        let (millis, id) = text.split_once('.').ok_or(NotACursor)?;
        let sort_ms = u64::from_str_radix(millis, 16).map_err(|_| NotACursor)?.cast_signed();
        let cursor = Self { sort_ms, id: id.parse().map_err(|_| NotACursor)? };
        // In one form only.
        if cursor.to_string() == text { Ok(cursor) } else { Err(NotACursor) }
    }
}

/// A post of ours that is not known to be on the bus: what publishing it needs, beside the event's code.
#[derive(Debug, Clone)]
pub struct Unsent {
    /// The delivery; its id is that of its first activity, too.
    pub delivery: DeliveryId,
    /// By which replay it was made.
    pub replay: Option<ReplayId>,
    /// Whose subscription it is for.
    pub organization: Uuid,
    /// Which.
    pub subscription: SubscriptionId,
    /// The key that it has on the bus.
    pub key: EventKey,
    /// Of which event; none of an activation.
    pub event: Option<EcgEventId>,
    /// What kind of post.
    pub kind: PostKind,
    /// When its first activity was made. The root of its tree was at [`DeliveryId::accepted_at`].
    pub created_at: Timestamp,
    /// The payload.
    pub payload: Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_survive_text() {
        for sort_ms in [0, 1_772_443_800_000, -5, i64::MIN, i64::MAX] {
            let cursor = Cursor { sort_ms, id: ActivityId(Uuid::from_u128(7)) };
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        for text in ["", ".", "1", "1.2", "+1.00000000000000000000000000000007", "x.00000000000000000000000000000007"] {
            assert_eq!(text.parse::<Cursor>(), Err(NotACursor), "{text}");
        }
    }
}
