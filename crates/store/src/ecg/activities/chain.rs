//! The activities of one delivery, and what news make of them. Pure.
//!
//! News may come in any order and any number of times: each row is what the best news of it say, whichever came first.
//!
//! - Of two outcomes of one attempt (it was made again after a crash) a success holds, else the later.
//! - Nobody may have heard of a delivery but by its outcomes: then its rows are there, and are shown when the post comes.
//! - When its next attempt is, and how it ended without one, is what its row of `deliveries` says, which keeps to an order
//!   of its own ([`DeliveryRecord::supersedes`](crate::activity::DeliveryRecord::supersedes)).

use std::collections::BTreeMap;

use serde_json::value::{RawValue, to_raw_value};
use slipstream_core::delivery::{DeliveryState, Reason};
use slipstream_core::ids::{ActivityId, DeliveryId};
use slipstream_core::timestamp::Timestamp;
use uuid::Uuid;

use super::recording::{PostAttempt, PostRecord};
use super::row::{ActivityRow, UNHEARD};
use crate::activity::code::Code as _;

/// Where a delivery is recorded to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Whereabouts {
    pub(super) state: DeliveryState,
    pub(super) reason: Option<Reason>,
    pub(super) next_attempt_ms: Option<i64>,
    pub(super) updated_ms: i64,
}

/// The rows of a delivery by their number; the first is always there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) delivery: DeliveryId,
    pub(super) rows: BTreeMap<i32, ActivityRow>,
}

impl Chain {
    /// Of a delivery that no activity is known of: its first one, which is a root, as far as its outcomes tell.
    pub(super) fn unheard(delivery: DeliveryId, subscription: Uuid, key: &str) -> Self {
        let at = delivery.accepted_at().as_millis();
        let first = ActivityRow {
            id: delivery.0,
            root: delivery.0,
            parent: None,
            level: 1,
            organization: Uuid::nil(),
            subscription,
            event: None,
            kind: UNHEARD,
            dispatch: super::Dispatch::Platform.code(),
            delivery: Some(delivery.0),
            number: 1,
            replay: None,
            key: key.to_owned(),
            created_ms: at,
            posted_ms: None,
            sort_ms: at,
            took_us: None,
            status: None,
            success: None,
            error: None,
            raw_response: None,
            next_retry_ms: None,
            retry_off: 0,
            hash: None,
            content: delivery.0,
            tree_success: 0,
            created_by: Uuid::nil(),
            updated_ms: at,
            updated_by: Uuid::nil(),
        };
        Self { delivery, rows: BTreeMap::from([(1, first)]) }
    }

    /// The rows that were read of a delivery; none without the first.
    pub(super) fn of(delivery: DeliveryId, rows: impl IntoIterator<Item = ActivityRow>) -> Option<Self> {
        let rows: BTreeMap<_, _> = rows.into_iter().map(|row| (row.number, row)).collect();
        rows.contains_key(&1).then_some(Self { delivery, rows })
    }

    fn first(&self) -> &ActivityRow {
        &self.rows[&1]
    }

    /// The root of its tree.
    pub(super) fn root(&self) -> Uuid {
        self.first().root
    }

    /// Whether one of its attempts was taken.
    pub(super) fn has_success(&self) -> bool {
        self.rows.values().any(|row| row.success == Some(1))
    }

    /// Its post is heard of. What is there already stays.
    pub(super) fn heard_of(&mut self, post: &PostRecord) {
        if self.first().is_heard_of() {
            return;
        }
        let made_by = post.made_by.unwrap_or_default();
        for (number, row) in &mut self.rows {
            row.organization = post.organization;
            row.event = post.event.map(|event| event.0);
            row.kind = post.kind.code();
            (row.created_by, row.updated_by) = (made_by, made_by);
            if *number == 1 {
                row.created_ms = post.created_at.as_millis();
            }
            row.sort();
        }
    }

    /// An attempt was made.
    pub(super) fn attempted(&mut self, attempt: &PostAttempt) {
        let number = i32::try_from(attempt.number.max(1)).unwrap_or(i32::MAX);
        let first = self.first();
        let mut row = match self.rows.get(&number) {
            Some(row) => row.clone(),
            None => ActivityRow {
                id: ActivityId::of_attempt(self.delivery, attempt.number).0,
                parent: Some(ActivityId::of_attempt(self.delivery, attempt.number - 1).0),
                level: first.level.saturating_add(number - 1),
                number,
                retry_off: 0,
                tree_success: 0,
                hash: None,
                // What became of the first is overwritten below.
                took_us: None,
                ..first.clone()
            },
        };
        let took_us = i64::try_from(attempt.duration_us).unwrap_or(i64::MAX);
        let started_ms = attempt.started_at.as_millis();
        let known = row.took_us.map(|took| (row.success == Some(1), row.posted_ms, took));
        if known.is_some_and(|known| known >= (attempt.is_success(), Some(started_ms), took_us)) {
            return;
        }
        row.posted_ms = Some(started_ms);
        if number > 1 {
            row.created_ms = started_ms;
        }
        row.sort();
        row.took_us = Some(took_us);
        row.status = attempt.status.map(i32::from);
        row.success = Some(i16::from(attempt.is_success()));
        row.error = attempt.why_not();
        // An answer without a body is one, too.
        let answered = attempt.response.as_deref().or_else(|| attempt.status.map(|_| &[][..]));
        row.raw_response = answered.map(as_json);
        if number > 1 || attempt.hash.is_some() {
            row.hash.clone_from(&attempt.hash);
        }
        row.updated_ms = attempt.started_at.after(std::time::Duration::from_micros(attempt.duration_us)).as_millis();
        self.rows.insert(number, row);
    }

    /// Brings in line what hangs on where the delivery is now, and on whether one of its tree was taken.
    pub(super) fn settle(&mut self, now: Whereabouts, tree_success: bool) {
        let last = self.rows.values().filter(|row| row.took_us.is_some()).map(|row| row.number).max();
        let first = self.rows.get_mut(&1).expect("a chain has its first");
        if first.took_us.is_none() {
            // It ended without an attempt; or this one's outcome is still to come.
            let has_ended = last.is_none() && now.state.is_terminal();
            let why = now.reason.map_or(now.state.as_str(), Reason::as_str);
            first.success = has_ended.then_some(0);
            first.error = has_ended.then(|| why.to_owned());
            first.updated_ms = if has_ended { now.updated_ms } else { first.created_ms };
        }
        let waits = !now.state.is_terminal() && !tree_success;
        for (number, row) in &mut self.rows {
            let is_waiting = waits && Some(*number) == last && row.success == Some(0) && row.retry_off == 0;
            row.next_retry_ms = now.next_attempt_ms.filter(|_| is_waiting);
        }
    }

    /// Whether a retry that was told of at `told_at` is not to be made any more.
    pub(super) fn is_over(&self, told_at: Timestamp, now: Whereabouts, tree_success: bool) -> bool {
        match now.state {
            // It was ended by others than who makes the attempts, and may not have heard of it.
            DeliveryState::Cancelled => true,
            // Told before it ended by an attempt, the retry was that attempt; told after it, it is another life's.
            ended if ended.is_terminal() => told_at.as_millis() > now.updated_ms,
            _ => {
                let last = self.rows.values().rfind(|row| row.took_us.is_some());
                tree_success || last.is_some_and(|row| row.retry_off != 0)
            }
        }
    }
}

impl PostAttempt {
    /// 2xx, as on every surface (SPEC 4.2).
    fn is_success(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }

    fn why_not(&self) -> Option<String> {
        match (self.error, self.status) {
            (Some(error), _) => Some(error.as_str().to_owned()),
            (None, Some(status)) if !self.is_success() => Some(format!("HTTP {status}")),
            (None, _) => None,
        }
    }

    /// The order in which outcomes of one attempt hold.
    pub(super) fn precedence(&self) -> (bool, Timestamp, u64) {
        (self.is_success(), self.started_at, self.duration_us)
    }
}

/// The body of an answer as a JSON string; what is not UTF-8 in it becomes U+FFFD.
fn as_json(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let raw: Box<RawValue> = to_raw_value(&*text).expect("a text serialises");
    raw.get().to_owned()
}
