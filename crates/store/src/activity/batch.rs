//! What a batch of messages says, merged to one record per row.

use slipstream_core::answer::ErrorCode;
use slipstream_core::config::Surface;
use slipstream_core::contract::{Audited, Skipped};
use slipstream_core::delivery::{DeliveryState, Reason};
use slipstream_core::ids::{AccountId, DeliveryId, EventKey, ReplayId, SubscriptionId};
use slipstream_core::lane::{Lane, Visibility};
use slipstream_core::slug::Slug;
use slipstream_core::timestamp::Timestamp;

use super::code::Code;
use super::quarantine::Quarantined;
use crate::ecg::activities::{PostAttempt, PostRecord};

/// An accepted event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRecord {
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// Which event.
    pub key: EventKey,
    /// Its site.
    pub site: Slug,
    /// Its `source`.
    pub source: String,
    /// Its `id`.
    pub id: String,
    /// Its `type`.
    pub event_type: String,
    /// Its `subject`.
    pub subject: Option<String>,
    /// Its visibility.
    pub visibility: Visibility,
    /// Its lane.
    pub lane: Lane,
    /// Its `intendeddeliverytime`.
    pub intended_at: Option<Timestamp>,
    /// Its `expirytime`.
    pub expires_at: Option<Timestamp>,
    /// Who published it; known only if its time was ahead then.
    pub published_by: Option<AccountId>,
    /// When it was routed; none while it is held.
    pub routed_at: Option<Timestamp>,
    /// When its times were last changed while it was held.
    pub changed_at: Option<Timestamp>,
    /// When it was cancelled while it was held.
    pub cancelled_at: Option<Timestamp>,
    /// Its place in stream `EVENTS`, where it is as long as the stream keeps it.
    pub sequence: Option<u64>,
    /// What its forwarded form hashed to when it was accepted, by which a repeat is known. Records that are merged keep
    /// it, whichever of them knows it; one made after a change of the times does not.
    pub content_hash: Option<i64>,
    /// Which subscriptions of its site do not receive it, and why.
    pub skipped: Vec<Skipped>,
}

impl EventRecord {
    /// Whether this record replaces `other`, which speaks of the same event.
    ///
    /// One that says how the holding ended (routed, or cancelled) replaces one that says it is held; of two that are
    /// held, the one changed last, which brings its times. This is a total order, as that of deliveries is, and
    /// `record` has the same in SQL. An event is either routed or cancelled; what happened to its deliveries is never
    /// hidden by a record of the other kind. The hash has no part in it: whichever record knows it passes it on.
    pub fn supersedes(&self, other: &Self) -> bool {
        self.precedence() > other.precedence()
    }

    /// Takes over what only a record that is dropped knows.
    fn absorb(&mut self, dropped: &Self) {
        // There are no two: what was accepted once has one content. The greater, so that it would not matter either.
        self.content_hash = self.content_hash.max(dropped.content_hash);
    }

    fn precedence(&self) -> (u8, [i64; 4]) {
        let end = match (self.cancelled_at, self.routed_at) {
            (Some(_), _) => 1,
            (None, Some(_)) => 2,
            (None, None) => 0,
        };
        let times = [self.routed_at, self.cancelled_at, self.changed_at].map(|at| at.map(Timestamp::as_millis));
        let [routed, cancelled, changed] = times;
        let sequence = self.sequence.map(u64::cast_signed);
        (end, [routed, cancelled, changed, sequence].map(|number| number.unwrap_or(-1)))
    }
}

/// Where a delivery is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryRecord {
    /// Which delivery.
    pub id: DeliveryId,
    /// The event's site.
    pub site: Slug,
    /// The event.
    pub event_key: EventKey,
    /// To whom.
    pub subscription: SubscriptionId,
    /// By which interface.
    pub surface: Surface,
    /// The lane it travels in.
    pub lane: Lane,
    /// Its state.
    pub state: DeliveryState,
    /// Why, where the state does not say.
    pub reason: Option<Reason>,
    /// When the next attempt is, if there is one and it is known.
    pub next_attempt_at: Option<Timestamp>,
    /// When it came into this state.
    pub updated_at: Timestamp,
    /// By which replay it was made; none for the event's own delivery.
    pub replay: Option<ReplayId>,
}

/// The first 48 bits of a delivery's id: when its event was accepted ([`DeliveryId::derive`]).
pub(super) fn created_at(id: DeliveryId) -> Timestamp {
    Timestamp::from_millis((id.0.as_u128() >> 80) as i64)
}

impl DeliveryRecord {
    /// When its event was accepted.
    pub fn created_at(&self) -> Timestamp {
        created_at(self.id)
    }

    /// Whether this record replaces `other`, which speaks of the same delivery.
    ///
    /// A final state replaces one that is not; `succeeded` replaces every other final state and is replaced by none;
    /// of two that are not final, the later. This is a total order, so records may come in any order and any number
    /// of times: the highest stays. `record` has the same rule in SQL.
    pub fn supersedes(&self, other: &Self) -> bool {
        self.precedence() > other.precedence()
    }

    /// Takes over what only a record that is dropped knows: whoever had not heard of its subscription did not know that it
    /// is a post of the ECG surface, and no delivery changes its surface. `record` does the same with rows.
    fn absorb(&mut self, dropped: &Self) {
        if dropped.surface == Surface::Ecg {
            self.surface = Surface::Ecg;
        }
    }

    fn precedence(&self) -> (i16, i64, i16, i16, i64) {
        let state = self.state.code();
        let finality = if self.state.is_terminal() { state } else { 0 };
        let reason = self.reason.map_or(0, Code::code);
        let next_attempt = self.next_attempt_at.map_or(0, Timestamp::as_millis);
        (finality, self.updated_at.as_millis(), state, reason, next_attempt)
    }
}

/// One HTTP request and its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRecord {
    /// Of which delivery.
    pub delivery: DeliveryId,
    /// Which attempt, from 1.
    pub number: u32,
    /// When it started.
    pub started_at: Timestamp,
    /// How long it took, in microseconds.
    pub duration_us: u64,
    /// The status, if there was an answer.
    pub status: Option<u16>,
    /// Why there was none.
    pub error: Option<ErrorCode>,
    /// The first bytes of the answer's body.
    pub response: Option<Vec<u8>>,
}

impl AttemptRecord {
    /// Whether this record replaces `other` of the same number: after a crash an attempt is made again, and the one
    /// that was made last counts.
    pub fn supersedes(&self, other: &Self) -> bool {
        (self.started_at, self.duration_us) > (other.started_at, other.duration_us)
    }
}

/// A subscription that was removed: what it has not received is cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Removal {
    /// Whose deliveries.
    pub subscription: SubscriptionId,
    /// When.
    pub at: Timestamp,
}

/// What is to be written together.
///
/// [`Batch::merge`] leaves one record per row, in the order of the primary keys: PostgreSQL refuses to touch a row
/// twice in one statement, two writers that take their locks in the same order do not block each other, and rows in
/// order are cheaper to insert.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Events.
    pub events: Vec<EventRecord>,
    /// Deliveries.
    pub deliveries: Vec<DeliveryRecord>,
    /// Attempts.
    pub attempts: Vec<AttemptRecord>,
    /// Posts of the ECG surface that were made. Each comes with a record of its delivery.
    pub posts: Vec<PostRecord>,
    /// Attempts of such posts, each beside its attempt and a record of its delivery.
    pub post_attempts: Vec<PostAttempt>,
    /// Subscriptions that were removed.
    pub removals: Vec<Removal>,
    /// Who did what, in the order in which it came.
    pub audited: Vec<Audited>,
    /// Messages that nobody could read.
    pub quarantined: Vec<Quarantined>,
}

impl Batch {
    /// How many records it holds.
    pub fn len(&self) -> usize {
        let about_events = self.events.len() + self.deliveries.len() + self.attempts.len();
        let about_posts = self.posts.len() + self.post_attempts.len();
        about_events + about_posts + self.removals.len() + self.audited.len() + self.quarantined.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keeps, of all records for one row, the one that supersedes the others.
    pub fn merge(&mut self) {
        merge(&mut self.events, |it| (it.accepted_at, it.key), EventRecord::supersedes, EventRecord::absorb);
        merge(&mut self.deliveries, |it| it.id, DeliveryRecord::supersedes, DeliveryRecord::absorb);
        merge(&mut self.attempts, |it| (it.delivery, it.number), AttemptRecord::supersedes, |_, _| {});
        merge(&mut self.posts, |it| it.delivery, PostRecord::supersedes, |_, _| {});
        merge(&mut self.post_attempts, |it| (it.delivery, it.number), PostAttempt::supersedes, |_, _| {});
        merge(&mut self.removals, |it| it.subscription, |a, b| a.at < b.at, |_, _| {});
        merge(&mut self.quarantined, |it| it.id, |_, _| false, |_, _| {});
    }
}

fn merge<R, K: Ord>(
    records: &mut Vec<R>,
    key: impl Fn(&R) -> K,
    supersedes: impl Fn(&R, &R) -> bool,
    absorb: impl Fn(&mut R, &R),
) {
    records.sort_by_key(&key);
    // `dedup_by` drops the later of two neighbours, so the better one has to be moved to the front first.
    records.dedup_by(|later, kept| {
        let same = key(later) == key(kept);
        if same {
            if supersedes(later, kept) {
                std::mem::swap(later, kept);
            }
            absorb(kept, later);
        }
        same
    });
}
