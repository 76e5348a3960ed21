//! N1, N2, and what a repeat leaves behind (N6): from the events' side.

use slipstream_core::config::EndpointState;
use slipstream_core::delivery::{DeliveryState, Reason};
use slipstream_core::ids::{DeliveryId, EventKey, SubscriptionId};
use slipstream_core::lane::Visibility;

use super::super::history::{Acceptance, Changed};
use super::super::world::START;
use super::{Evidence, Invariant};

const DAY: i64 = 24 * 3600 * 1000;

pub(super) fn check(evidence: &mut Evidence<'_>) {
    nothing_refused_is_left(evidence);
    let history = evidence.history;
    for key in &history.answered {
        let is_stored = history.accepted.iter().any(|acceptance| acceptance.key == *key);
        evidence.require(Invariant::N1, is_stored, || format!("{key:?} was answered with 204 and is not stored"));
    }
    for acceptance in &history.accepted {
        an_event_is_accounted_for(evidence, acceptance);
    }
    for (delivery, row) in &evidence.log.deliveries {
        let acceptance = evidence.accepted.get(&(row.key, row.accepted_at)).copied();
        let is_ours = match (row.replay, acceptance) {
            (Some(_), _) => history.replays_asked.contains(delivery),
            (None, Some(acceptance)) => matches(evidence, acceptance, row.subscription),
            (None, None) => false,
        };
        evidence.require(Invariant::N2, is_ours, || format!("{delivery} comes from nowhere: {row:?}"));
        evidence.require(Invariant::N1, row.state.is_terminal(), || format!("{delivery} has no end: {row:?}"));
        let is_true = state_is_true(evidence, *delivery, row.state, row.reason, acceptance);
        evidence.require(Invariant::N1, is_true, || format!("{delivery} is not what the record says: {row:?}"));
    }
    for replay in &history.replays {
        let is_known = evidence.log.deliveries.contains_key(replay);
        evidence.require(Invariant::N1, is_known, || format!("replay {replay} left no record"));
    }
}

fn nothing_refused_is_left(evidence: &mut Evidence<'_>) {
    let history = evidence.history;
    for key in &history.refused {
        let is_stored = history.accepted.iter().any(|acceptance| acceptance.key == *key);
        let is_attempted = history.attempts.iter().any(|attempt| attempt.key == *key);
        let is_recorded = evidence.log.events.keys().any(|(recorded, _)| recorded == key);
        let leaves_nothing = !is_stored && !is_attempted && !is_recorded;
        evidence.require(Invariant::N2, leaves_nothing, || format!("{key:?} was refused and left something behind"));
    }
}

/// An event was routed to all whom it concerns, or cancelled, or is a repeat of one that was.
fn an_event_is_accounted_for(evidence: &mut Evidence<'_>, acceptance: &Acceptance) {
    let Acceptance { key, accepted_at, .. } = acceptance;
    let record = evidence.log.events.get(&(*key, *accepted_at));
    let (routed_at, cancelled_at) = record.map_or((None, None), |record| (record.routed_at, record.cancelled_at));
    let has_deliveries = evidence
        .log
        .deliveries
        .values()
        .any(|row| row.replay.is_none() && (row.key, row.accepted_at) == (*key, *accepted_at));
    let changed = Changed::EventCancelled(*key, *accepted_at);
    if evidence.history.changed.iter().any(|(_, done)| *done == changed) {
        // Who slept past the lease of the step that holds it may have held it once more.
        let is_cancelled = cancelled_at.is_some() && !has_deliveries || evidence.settings.pauses > 0;
        evidence.require(Invariant::N5, is_cancelled, || format!("{key:?} was cancelled, and yet goes on: {record:?}"));
        return;
    }
    if cancelled_at.is_some() {
        let was_asked = evidence.history.attempted_changes.contains(&changed);
        evidence.require(Invariant::N1, was_asked, || format!("{key:?} was cancelled by nobody"));
        return;
    }
    if routed_at.is_none() {
        let is_repeat = is_repeat(evidence, acceptance);
        evidence
            .require(Invariant::N1, is_repeat, || format!("{key:?} accepted at {accepted_at} was lost: {record:?}"));
        // It may not have been recognised at first, and then been when its routing was done again.
        let is_right = !has_deliveries || evidence.history.not_asked.contains(&(*key, *accepted_at));
        evidence.require(Invariant::N6, is_right, || format!("{key:?} is a repeat, and yet delivered"));
        return;
    }
    for subscription in always_there(evidence) {
        if matches(evidence, acceptance, subscription) {
            let delivery = DeliveryId::derive(*accepted_at, subscription, key);
            let is_there = evidence.log.deliveries.contains_key(&delivery);
            evidence.require(Invariant::N1, is_there, || format!("{key:?} has no delivery to {subscription}"));
        }
    }
    let is_new = !is_repeat(evidence, acceptance) || evidence.history.not_asked.contains(&(*key, *accepted_at));
    evidence.require(Invariant::N6, is_new || !has_deliveries, || {
        format!("{key:?} accepted at {accepted_at} repeats an event, and was delivered again")
    });
}

/// Whether the same event was accepted in the seven days before.
fn is_repeat(evidence: &Evidence<'_>, acceptance: &Acceptance) -> bool {
    let Acceptance { key, accepted_at, .. } = acceptance;
    let accepted_at = accepted_at.as_millis();
    evidence.history.accepted.iter().any(|other| {
        let other_at = other.accepted_at.as_millis();
        other.key == *key && other_at < accepted_at && accepted_at - other_at <= 7 * DAY
    })
}

/// Repeats that left nothing.
pub(super) fn late_repeats(evidence: &Evidence<'_>) -> u64 {
    let is_routed = |key: EventKey, at| evidence.log.events.get(&(key, at)).is_some_and(|it| it.routed_at.is_some());
    let dropped = |it: &&Acceptance| is_repeat(evidence, it) && !is_routed(it.key, it.accepted_at);
    evidence.history.accepted.iter().filter(dropped).count() as u64
}

/// Subscriptions that were there from the beginning to the end.
fn always_there(evidence: &Evidence<'_>) -> Vec<SubscriptionId> {
    let configured = &evidence.history.configured;
    let from_the_beginning = configured.iter().filter(|it| it.at == START && it.state.is_some());
    let is_gone = |id| configured.iter().any(|it| it.subscription == id && it.state.is_none());
    from_the_beginning.map(|it| it.subscription).filter(|id| !is_gone(*id)).collect()
}

/// Who gets letters: SPEC 5.5, as it stands there.
fn matches(evidence: &Evidence<'_>, acceptance: &Acceptance, subscription: SubscriptionId) -> bool {
    let wanted = &evidence.history.event_types[&subscription];
    acceptance.visibility == Visibility::Public
        && acceptance.event_type.starts_with("communications.letter.")
        && (wanted.is_empty() || wanted.contains(&acceptance.event_type))
}

/// Whether a state is what happened.
fn state_is_true(
    evidence: &Evidence<'_>,
    delivery: DeliveryId,
    state: DeliveryState,
    reason: Option<Reason>,
    acceptance: Option<&Acceptance>,
) -> bool {
    let attempts = evidence.attempts.get(&delivery).map_or(&[][..], Vec::as_slice);
    let status = |is: fn(u16) -> bool| attempts.iter().any(|it| it.status().is_some_and(is));
    let is_taken = |status| (200..300).contains(&status);
    if evidence.history.succeeded.contains(&delivery) {
        return state == DeliveryState::Succeeded;
    }
    match state {
        DeliveryState::Scheduled | DeliveryState::RetryWait => true, // said elsewhere
        DeliveryState::Succeeded => status(is_taken),
        DeliveryState::Failed => status(|status| (400..500).contains(&status) && status != 429),
        DeliveryState::Exhausted => attempts.iter().any(|attempt| attempt.number() == 10),
        DeliveryState::Expired => {
            acceptance.is_some_and(|it| it.expires_at.is_some() || evidence.was_moved(it.key, it.accepted_at))
        }
        DeliveryState::Cancelled => match reason {
            Some(Reason::CancelledByRequest) => {
                evidence.history.attempted_changes.contains(&Changed::DeliveryCancelled(delivery))
            }
            Some(Reason::EndpointDisabled) => {
                evidence.history.configured.iter().any(|it| matches!(it.state, Some(EndpointState::Disabled(_))))
                    || evidence.history.attempts.iter().any(|it| it.status() == Some(410))
            }
            // Or who was frozen had not heard that it was made.
            Some(Reason::SubscriptionRemoved) => {
                evidence.settings.pauses > 0 || evidence.history.configured.iter().any(|it| it.state.is_none())
            }
            _ => false,
        },
    }
}
