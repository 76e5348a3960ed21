//! N7, as far as virtual time can say it: without faults of ours, what goes to a receiver that is well is sent within
//! three seconds of its being due, whatever the others do.

use slipstream_core::config::EndpointState;
use slipstream_core::ids::SubscriptionId;

use super::{Evidence, Invariant};

/// A pass through the bus takes milliseconds, and being put off once a little more than a second; a receiver that does not
/// answer takes 30 s.
const WITHIN: i64 = 3000;

pub(super) fn check(evidence: &mut Evidence<'_>) {
    if !evidence.settings.is_faultless() {
        return;
    }
    for attempt in &evidence.history.attempts {
        let meta = &attempt.meta;
        let due = evidence.history.due.get(&(attempt.key, meta.accepted_at));
        let is_own_first = attempt.number() == 1 && attempt.replay().is_none();
        if let Some(due) = due.filter(|_| is_own_first && is_well(evidence, attempt.subscription)) {
            let waited = attempt.started - due;
            evidence.require(Invariant::N7, waited <= WITHIN, || format!("waited {waited} ms: {attempt:?}"));
        }
    }
}

/// Whether nothing about a subscription explains a delay: a receiver that is well, no rate, no change.
fn is_well(evidence: &Evidence<'_>, subscription: SubscriptionId) -> bool {
    let is_unchanged = evidence
        .history
        .configured
        .iter()
        .filter(|it| it.subscription == subscription)
        .all(|it| it.state == Some(EndpointState::Active));
    let is_unlimited = !evidence.history.limited.contains(&subscription);
    let receivers = evidence.world.receivers.borrow();
    is_unchanged && is_unlimited && receivers.get(&subscription).is_some_and(super::super::receiver::Receiver::is_well)
}
