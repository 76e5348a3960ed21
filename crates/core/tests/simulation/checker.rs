//! The invariants of THREATS 2 over a world's history, when all faults are over and nothing is left to happen.
//!
//! Written against the specification and not against the code: its own retry table, its own reading of an answer, its own
//! rule of who matches. What it allows beyond "exactly once" it allows by counting the faults that explain it.

mod attempts;
mod events;
mod isolation;
mod retries;

use std::collections::BTreeMap;

use slipstream_core::ids::{DeliveryId, EventKey};
use slipstream_core::timestamp::Timestamp;

use super::activity_log::ActivityLog;
use super::history::{Acceptance, AttemptMade, Changed, History};
use super::settings::Settings;
use super::world::World;

/// Which invariant of THREATS 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Invariant {
    /// No loss: exactly one state for each event and matching subscription, and the true one.
    N1,
    /// No phantom.
    N2,
    /// Not early.
    N3,
    /// Not late.
    N4,
    /// Final is final.
    N5,
    /// Bounded duplicates, always with the same `webhook-id`.
    N6,
    /// Isolation.
    N7,
    /// Schedule.
    N8,
    /// Record first.
    N10,
    /// Signed bytes.
    N12,
    /// Switches act.
    N13,
}

/// Something is not as it must be.
#[derive(Debug, Clone)]
pub(crate) struct Violation {
    pub(crate) invariant: Invariant,
    pub(crate) story: String,
}

/// Everything that the checks look at.
struct Evidence<'a> {
    history: &'a History,
    log: &'a ActivityLog,
    settings: &'a Settings,
    world: &'a World,
    /// Attempts by delivery, in the order of their beginnings.
    attempts: BTreeMap<DeliveryId, Vec<&'a AttemptMade>>,
    /// How often a message of a delivery was handed out again.
    handed_out_again: BTreeMap<DeliveryId, u32>,
    accepted: BTreeMap<(EventKey, Timestamp), &'a Acceptance>,
    violations: Vec<Violation>,
}

pub(crate) fn check(world: &World, is_at_rest: bool) -> Vec<Violation> {
    let mut history = world.history.borrow_mut();
    let unfinished = world.broker.borrow().unfinished();
    let (stats, violations) = {
        let log = world.log.borrow();
        let mut evidence = Evidence::new(world, &history, &log);
        evidence.require(Invariant::N1, is_at_rest, || "the world does not come to rest".to_owned());
        evidence.require(Invariant::N1, unfinished.is_empty(), || format!("left at the end: {unfinished:?}"));
        events::check(&mut evidence);
        attempts::check(&mut evidence);
        retries::check(&mut evidence);
        isolation::check(&mut evidence);
        let mut stats = history.stats;
        stats.worlds = 1;
        stats.late_repeats = events::late_repeats(&evidence);
        stats.duplicates = evidence.attempts.values().map(|attempts| extra(attempts)).sum();
        (stats, evidence.violations)
    };
    history.stats = stats;
    violations
}

/// Attempts beyond one for each number.
fn extra(attempts: &[&AttemptMade]) -> u64 {
    let mut numbers: Vec<_> = attempts.iter().map(|attempt| attempt.number()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    (attempts.len() - numbers.len()) as u64
}

impl<'a> Evidence<'a> {
    fn new(world: &'a World, history: &'a History, log: &'a ActivityLog) -> Self {
        let mut attempts: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for attempt in &history.attempts {
            attempts.entry(attempt.delivery).or_default().push(attempt);
        }
        let mut handed_out_again: BTreeMap<_, u32> = BTreeMap::new();
        for handed in history.handed_out.values().filter(|handed| handed.is_again) {
            *handed_out_again.entry(handed.delivery).or_default() += 1;
        }
        let accepted = history.accepted.iter().map(|it| ((it.key, it.accepted_at), it)).collect();
        let settings = &world.settings;
        Self { history, log, settings, world, attempts, handed_out_again, accepted, violations: Vec::new() }
    }

    fn require(&mut self, invariant: Invariant, holds: bool, story: impl FnOnce() -> String) {
        if !holds {
            self.violations.push(Violation { invariant, story: story() });
        }
    }

    /// How many attempts of a delivery beyond those that it should have had are explained by faults: one for each time
    /// that its message was handed out again, and what follows from a step that the broker had forgotten.
    fn excused(&self, delivery: DeliveryId) -> u64 {
        let again = self.handed_out_again.get(&delivery).copied().unwrap_or(0);
        let forgotten = self.history.beyond_window.get(&delivery).copied().unwrap_or(0);
        u64::from(again) + 10 * u64::from(forgotten)
    }

    /// Whether people tried to give an event other times.
    fn was_moved(&self, key: EventKey, accepted_at: Timestamp) -> bool {
        self.history.attempted_changes.contains(&Changed::EventMoved(key, accepted_at))
    }

    /// Whether people tried to move this attempt of a delivery.
    fn was_hurried(&self, delivery: DeliveryId, number: u32) -> bool {
        self.history.attempted_changes.contains(&Changed::DeliveryMoved(delivery, number))
    }
}
