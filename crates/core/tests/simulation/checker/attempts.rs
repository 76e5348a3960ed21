//! N3, N4, N5, N6, N10, N12 and N13: from the attempts' side.

use slipstream_core::config::EndpointState;
use slipstream_core::ids::DeliveryId;

use super::super::history::{AttemptMade, Changed, HandedOut};
use super::{Evidence, Invariant, extra};

/// How long after a switch nothing acts on the old state any more, in milliseconds.
const SWITCH_WITHIN: i64 = 2000;

pub(super) fn check(evidence: &mut Evidence<'_>) {
    let history = evidence.history;
    for attempt in &history.attempts {
        times_hold(evidence, attempt);
        identity_holds(evidence, attempt);
        a_switch_acts(evidence, attempt);
    }
    for delivery in &history.acknowledged_early {
        evidence.require(Invariant::N10, false, || format!("{delivery} was let go before its outcome was durable"));
    }
    let deliveries: Vec<_> = evidence.attempts.keys().copied().collect();
    for delivery in deliveries {
        duplicates_are_bounded(evidence, delivery);
        final_is_final(evidence, delivery);
    }
}

/// N3 and N4, by the clock of the dispatcher that made the attempt.
fn times_hold(evidence: &mut Evidence<'_>, attempt: &AttemptMade) {
    let meta = &attempt.meta;
    let accepted = evidence.accepted.get(&(attempt.key, meta.accepted_at));
    // What the publisher wrote, unless somebody tried to change it: then what travelled.
    let was_moved = evidence.was_moved(attempt.key, meta.accepted_at);
    let (intended_at, expires_at) = match accepted {
        Some(accepted) if !was_moved => (accepted.intended_at, accepted.expires_at),
        _ => (meta.intended_at, meta.expires_at),
    };
    let is_first = attempt.number() == 1 && attempt.replay().is_none();
    let is_early = is_first && intended_at.is_some_and(|intended_at| attempt.clock < intended_at);
    evidence.require(Invariant::N3, !is_early, || format!("early: {intended_at:?} {attempt:?}"));
    let is_late = expires_at.is_some_and(|expires_at| attempt.clock >= expires_at);
    evidence.require(Invariant::N4, !is_late, || format!("late: {expires_at:?} {attempt:?}"));
}

/// The webhook id of N6, N12, and the lease.
fn identity_holds(evidence: &mut Evidence<'_>, attempt: &AttemptMade) {
    let meta = &attempt.meta;
    let original = DeliveryId::derive(meta.accepted_at, attempt.subscription, &attempt.key);
    let is_same = attempt.webhook_id == format!("msg_{}", original.0.simple());
    evidence.require(Invariant::N6, is_same, || format!("another webhook-id: {attempt:?}"));
    let accepted = evidence.accepted.get(&(attempt.key, meta.accepted_at)).copied();
    let is_unchanged = evidence.was_moved(attempt.key, meta.accepted_at)
        || accepted.is_some_and(|it| AttemptMade::body_hash(&it.body) == attempt.body_hash);
    evidence.require(Invariant::N12, is_unchanged, || format!("other bytes than were accepted: {attempt:?}"));
    evidence.require(Invariant::N12, attempt.is_verified, || format!("not verified: {attempt:?}"));
    let lease_ends = evidence.history.handed_out.get(&attempt.instance).map_or(0, |handed| handed.lease_ends);
    evidence.require(Invariant::N6, attempt.started < lease_ends, || format!("without a lease: {attempt:?}"));
}

/// N13: two seconds after a subscription was disabled or removed, nothing is sent to it.
fn a_switch_acts(evidence: &mut Evidence<'_>, attempt: &AttemptMade) {
    let since = attempt.started - SWITCH_WITHIN;
    if evidence.history.was_frozen(attempt.process, since) {
        return; // it could not have heard
    }
    let of_subscription = evidence.history.configured.iter().filter(|it| it.subscription == attempt.subscription);
    let mut last_before = None;
    let mut was_active = false;
    for configured in of_subscription {
        let is_active = configured.state == Some(EndpointState::Active);
        if configured.at <= since {
            last_before = Some(is_active);
        } else if configured.at <= attempt.started {
            was_active |= is_active;
        }
    }
    let is_right = was_active || last_before.unwrap_or(true);
    evidence.require(Invariant::N13, is_right, || format!("sent to what is switched off: {attempt:?}"));
}

/// N6: each attempt beyond one for its number is explained, and none without faults.
fn duplicates_are_bounded(evidence: &mut Evidence<'_>, delivery: DeliveryId) {
    let attempts = &evidence.attempts[&delivery];
    let extra = extra(attempts);
    let mut instances: Vec<_> = attempts.iter().map(|attempt| attempt.instance).collect();
    instances.sort_unstable();
    let is_once_each = instances.windows(2).all(|pair| pair[0] != pair[1]);
    let excused = evidence.excused(delivery);
    evidence.require(Invariant::N6, is_once_each, || format!("{delivery} was sent twice from one message"));
    evidence.require(Invariant::N6, extra <= excused, || {
        format!("{delivery} was sent {extra} times too often, of which {excused} are explained")
    });
    let has_faults = !evidence.settings.is_faultless();
    evidence.require(Invariant::N6, has_faults || extra == 0, || format!("{delivery} was sent twice without a fault"));
}

/// N5: after a final answer was recorded, or a cancellation confirmed, nothing but what faults explain.
///
/// A message that is handed out again after the end (its acknowledgement was lost), one that two had in hand (a lease ran
/// out under somebody who was not dead but slow), and an attempt that was under way when another made the end, may fail
/// once more and then have retries: nobody who attempts can know that there was an end.
fn final_is_final(evidence: &mut Evidence<'_>, delivery: DeliveryId) {
    let attempts = &evidence.attempts[&delivery];
    let answered = attempts.iter().filter(|attempt| attempt.was_final()).filter_map(|attempt| attempt.recorded);
    // Who cancels goes by their own clock, and only if that is right can they know that they came in time.
    let clocks_are_right = evidence.settings.clock_error_max == 0;
    let is_cancelled = |it: &Changed| clocks_are_right && *it == Changed::DeliveryCancelled(delivery);
    let cancelled = evidence.history.changed.iter().filter(|(_, it)| is_cancelled(it));
    let ends = answered.chain(cancelled.map(|(at, _)| *at));
    let Some(end) = ends.min() else { return };
    let after = attempts.iter().filter(|attempt| attempt.started > end).count() as u64;
    let of_delivery = || evidence.history.handed_out.values().filter(|it| it.delivery == delivery);
    let had_two_lives = |again: &HandedOut| {
        let is_before = |it: &HandedOut| it.sequence == again.sequence && it.at < again.at;
        of_delivery().any(|it| is_before(it) && it.let_go.is_none_or(|let_go| let_go >= again.at))
    };
    let lives = of_delivery().filter(|it| it.is_again && (it.at > end || had_two_lives(it))).count() as u64;
    let in_flight = |it: &&&AttemptMade| it.started <= end && it.ended.as_ref().is_some_and(|(ended, _)| *ended > end);
    let in_flight = attempts.iter().filter(in_flight).count() as u64;
    let excused = evidence.excused(delivery) + 10 * (lives + in_flight);
    evidence.require(Invariant::N5, after <= excused, || {
        format!("{delivery} was sent {after} times after its end, of which {excused} are explained")
    });
}
