//! N8, and the rest of N10: when attempts follow each other.

use super::super::history::AttemptMade;
use super::{Evidence, Invariant};

const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
/// SPEC 4.3: the delays before attempts 1 to 10, in milliseconds.
const TABLE: [i64; 10] =
    [0, 5 * SECOND, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR];
/// How late a schedule fires, what a place in the endpoint's own queue may cost, and the way there.
const LATE_MAX: i64 = 250 + 2 * 30_000 + 500;

pub(super) fn check(evidence: &mut Evidence<'_>) {
    let deliveries: Vec<_> = evidence.attempts.keys().copied().collect();
    for delivery in deliveries {
        let attempts = evidence.attempts[&delivery].clone();
        for attempt in &attempts {
            follows(evidence, attempt, &attempts);
        }
    }
    if evidence.settings.crashes == 0 {
        for attempt in &evidence.history.attempts {
            what_was_asked_for_is_given(evidence, attempt);
        }
    }
}

/// What the receiver asked for in `Retry-After`, in milliseconds (SPEC 2.5, 4.2).
fn asked(attempt: &AttemptMade) -> i64 {
    let Some((_, answer)) = &attempt.ended else { return 0 };
    let seconds = answer.retry_after.as_deref().and_then(|text| text.parse::<i64>().ok());
    match answer.result {
        Ok(429 | 503) => seconds.unwrap_or(0).min(24 * 3600) * SECOND,
        _ => 0,
    }
}

/// When an attempt had ended, by its sender's clock as it stood when it began.
fn ended_by_clock(attempt: &AttemptMade) -> Option<i64> {
    attempt.ended.as_ref().map(|(ended, _)| attempt.clock.as_millis() + ended - attempt.started)
}

/// An attempt is one of ten, comes after the one before it, after its record, and neither too soon nor too late.
fn follows(evidence: &mut Evidence<'_>, attempt: &AttemptMade, all: &[&AttemptMade]) {
    let number = attempt.number();
    evidence.require(Invariant::N8, (1..=10).contains(&number), || format!("attempt {number}: {attempt:?}"));
    if !(2..=10).contains(&number) {
        return;
    }
    let recorded_at = evidence.history.recorded.get(&(attempt.delivery, number - 1));
    let is_recorded = recorded_at.is_some_and(|at| *at <= attempt.started);
    evidence.require(Invariant::N10, is_recorded, || format!("the record of the one before was missing: {attempt:?}"));
    let delay = TABLE[number as usize - 1];
    let before: Vec<_> = all
        .iter()
        .filter(|it| it.number() == number - 1 && it.started < attempt.started)
        .filter_map(|it| Some((ended_by_clock(it)?, asked(it))))
        .collect();
    evidence.require(Invariant::N8, !before.is_empty(), || format!("nothing came before {attempt:?}"));
    if before.is_empty() || evidence.was_hurried(attempt.delivery, number) {
        return;
    }
    let is_soon = before.iter().all(|(ended, asked)| attempt.started < ended + delay.max(*asked));
    evidence.require(Invariant::N8, !is_soon, || format!("too soon after {before:?}: {attempt:?}"));
    if evidence.settings.is_faultless() && attempt.meta.parked == 0 {
        let latest = before.iter().map(|(ended, asked)| ended + (delay * 12 / 10).max(*asked) + LATE_MAX);
        let is_late = latest.max().is_some_and(|latest| attempt.started > latest);
        evidence.require(Invariant::N8, !is_late, || format!("too late after {before:?}: {attempt:?}"));
    }
}

/// While a receiver asked to be left alone, the dispatcher that was asked sends it nothing (SPEC 4.3).
fn what_was_asked_for_is_given(evidence: &mut Evidence<'_>, asking: &AttemptMade) {
    let (asked, Some((ended, _))) = (asked(asking), &asking.ended) else { return };
    let until = ended_by_clock(asking).unwrap_or(0) + asked;
    let disturbs = |it: &&AttemptMade| {
        it.process == asking.process
            && it.subscription == asking.subscription
            // Not one that was let through before the answer, and then frozen.
            && it.started - ended > evidence.history.frozen_between(it.process, *ended, it.started)
            && it.clock.as_millis() < until
    };
    let disturbing = evidence.history.attempts.iter().find(disturbs).filter(|_| asked > 0);
    evidence.require(Invariant::N8, disturbing.is_none(), || format!("{asking:?} was followed by {disturbing:?}"));
}
