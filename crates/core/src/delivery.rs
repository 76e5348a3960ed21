//! A delivery's states, and the two decisions about it: may an attempt start, and what follows it (SPEC 4.1, DESIGN 3.4).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::answer::{Answer, Verdict, classify};
use crate::config::{EndpointState, Subscription, Surface};
use crate::contract::Meta;
use crate::retry::RetrySchedule;
use crate::timestamp::Timestamp;

/// Where a delivery is in its life (SPEC 4.1).
///
/// `in_flight` is not among them: it lasts as long as a request, and writing it down would cost as much as the
/// attempt's own record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// Due or not yet due; no attempt was made.
    Scheduled,
    /// An attempt failed; another will follow.
    RetryWait,
    /// A receiver took it.
    Succeeded,
    /// A final answer: it will not be sent again.
    Failed,
    /// No attempts are left.
    Exhausted,
    /// `expirytime` passed first.
    Expired,
    /// The endpoint was removed or disabled first.
    Cancelled,
}

impl DeliveryState {
    /// All states.
    pub const ALL: [Self; 7] = [
        Self::Scheduled,
        Self::RetryWait,
        Self::Succeeded,
        Self::Failed,
        Self::Exhausted,
        Self::Expired,
        Self::Cancelled,
    ];

    /// The state's text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::RetryWait => "retry_wait",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Exhausted => "exhausted",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state named by [`DeliveryState::as_str`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// Whether nothing follows this state (N5).
    pub const fn is_terminal(self) -> bool {
        !matches!(self, Self::Scheduled | Self::RetryWait)
    }
}

/// Why a delivery is in its state, where the state alone does not say. A closed set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The receiver answered 410.
    EndpointGone,
    /// The endpoint is disabled.
    EndpointDisabled,
    /// The subscription no longer exists.
    SubscriptionRemoved,
    /// The receiver's answer is final.
    FinalAnswer,
    /// `expirytime` passed.
    ExpiryTime,
    /// The schedule has no attempt left.
    NoAttemptsLeft,
    /// The receiver asked for less, so this delivery waits without an attempt.
    EndpointSlowed,
    /// The endpoint has as many deliveries in hand as it may, so this one waits without an attempt.
    EndpointBusy,
    /// The endpoint failed too often in a row: it is tried by single probes only, so this delivery waits.
    BreakerOpen,
    /// The endpoint gets as many requests per minute as it may, so this delivery waits without an attempt.
    RateLimited,
    /// The receiver has not agreed to be called, which its surface requires.
    ConsentPending,
    /// An operator, or the publisher of a scheduled event, cancelled it.
    CancelledByRequest,
    /// A request moved its next attempt.
    Rescheduled,
    /// The subscription's secrets are sealed under a key that is not here yet: this delivery waits, and goes out unsigned
    /// in no case.
    SecretsSealed,
    /// The subscription, its event or the event's category is switched off or put away: this delivery waits until they are
    /// not (SPEC 6.5).
    EndpointPaused,
}

impl Reason {
    const ALL: [Self; 15] = [
        Self::EndpointGone,
        Self::EndpointDisabled,
        Self::SubscriptionRemoved,
        Self::FinalAnswer,
        Self::ExpiryTime,
        Self::NoAttemptsLeft,
        Self::EndpointSlowed,
        Self::EndpointBusy,
        Self::BreakerOpen,
        Self::RateLimited,
        Self::ConsentPending,
        Self::CancelledByRequest,
        Self::Rescheduled,
        Self::SecretsSealed,
        Self::EndpointPaused,
    ];

    /// The reason's text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EndpointGone => "endpoint_gone",
            Self::EndpointDisabled => "endpoint_disabled",
            Self::SubscriptionRemoved => "subscription_removed",
            Self::FinalAnswer => "final_answer",
            Self::ExpiryTime => "expiry_time",
            Self::NoAttemptsLeft => "no_attempts_left",
            Self::EndpointSlowed => "endpoint_slowed",
            Self::EndpointBusy => "endpoint_busy",
            Self::BreakerOpen => "breaker_open",
            Self::RateLimited => "rate_limited",
            Self::ConsentPending => "consent_pending",
            Self::CancelledByRequest => "cancelled_by_request",
            Self::Rescheduled => "rescheduled",
            Self::SecretsSealed => "secrets_sealed",
            Self::EndpointPaused => "endpoint_paused",
        }
    }

    /// The reason named by [`Reason::as_str`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }
}

/// Whether an attempt may start now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// It may.
    Open,
    /// Not yet: by our clock its time has not come, whatever woke it (N3).
    Wait(Timestamp),
    /// Not while its endpoint is paused; see [`pause_of`] for how long it waits before that is looked at again.
    Pause,
    /// It may not, and never will: the delivery ends.
    End(DeliveryState, Reason),
}

/// The gate before every attempt (DESIGN 3.4, N3, N4, N13). Correctness rests here, not on any scheduler.
pub fn gate(subscription: Option<&Subscription>, meta: &Meta, now: Timestamp) -> Gate {
    // What people did explains more than what time did.
    if meta.cancelled_at.is_some() {
        return Gate::End(DeliveryState::Cancelled, Reason::CancelledByRequest);
    }
    match subscription.map(|subscription| subscription.state) {
        None => return Gate::End(DeliveryState::Cancelled, Reason::SubscriptionRemoved),
        Some(EndpointState::Disabled(_)) => return Gate::End(DeliveryState::Cancelled, Reason::EndpointDisabled),
        Some(EndpointState::Pending) => return Gate::End(DeliveryState::Cancelled, Reason::ConsentPending),
        Some(EndpointState::Active | EndpointState::Paused) => {}
    }
    match (meta.expires_at, meta.intended_at) {
        (Some(expires_at), _) if now >= expires_at => Gate::End(DeliveryState::Expired, Reason::ExpiryTime),
        // It holds back the first attempt only (SPEC 4.1), and no replay: that is asked for now.
        (_, Some(intended_at)) if meta.attempt == 1 && meta.replay.is_none() && now < intended_at => {
            Gate::Wait(intended_at)
        }
        _ if subscription.is_some_and(|subscription| subscription.state == EndpointState::Paused) => Gate::Pause,
        _ => Gate::Open,
    }
}

/// Until when a delivery waits that [`gate`] held back until `until`, and that has been put off `parked` times before.
///
/// A server whose clock is ahead of ours would hand it out again at once, and again. So each time it waits longer, and
/// after seven times by more than clocks may differ (5 s, THREATS 10).
pub fn held_back_until(until: Timestamp, parked: u32) -> Timestamp {
    until.after(Duration::from_millis(100 * ((1 << parked.min(7)) - 1)))
}

/// How long a delivery to a paused endpoint waits that has been put off `parked` times before: 1 s, doubled each time, up to
/// 6 h. When the endpoint goes on it is woken; this is for when that was missed.
pub fn pause_of(parked: u32) -> Duration {
    const LONGEST: Duration = Duration::from_hours(6);
    Duration::from_secs(1 << parked.min(15)).min(LONGEST)
}

/// What follows an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The delivery ends.
    End {
        /// In which state.
        state: DeliveryState,
        /// Why, if the state does not say.
        reason: Option<Reason>,
        /// Whether the endpoint is to be disabled (410).
        disable: bool,
    },
    /// Another attempt, not before `at`.
    Retry {
        /// When.
        at: Timestamp,
    },
}

/// An attempt that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Attempted<'a> {
    /// Which attempt it was, from 1.
    pub number: u32,
    /// What came back.
    pub answer: &'a Answer,
    /// When it ended.
    pub ended_at: Timestamp,
}

/// Decides what follows an attempt, and for how long the endpoint asked to be left alone, if it did (SPEC 4.2, 4.3).
///
/// `jitter` in 0..1. An attempt that would start at or after `expirytime` is still scheduled: the gate ends it there
/// as `expired`, which is what it is.
pub fn after_attempt(
    surface: Surface,
    schedule: &RetrySchedule,
    attempted: Attempted<'_>,
    jitter: f64,
) -> (Next, Option<SlowDown>) {
    let Attempted { number, answer, ended_at } = attempted;
    let end = |state, reason, disable| Next::End { state, reason, disable };
    match classify(surface, answer, ended_at) {
        Verdict::Success => (end(DeliveryState::Succeeded, None, false), None),
        Verdict::Final => (end(DeliveryState::Failed, Some(Reason::FinalAnswer), false), None),
        Verdict::Gone => (end(DeliveryState::Failed, Some(Reason::EndpointGone), true), None),
        Verdict::Retry { floor, slow } => {
            let next = match schedule.delay_before(number + 1, jitter, floor) {
                Some(delay) => Next::Retry { at: ended_at.after(delay) },
                None => end(DeliveryState::Exhausted, Some(Reason::NoAttemptsLeft), false),
            };
            (next, slow.then_some(SlowDown { asked: floor }))
        }
    }
}

/// The receiver asked for less (429, 502, 503, 504).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlowDown {
    /// For how long, if it said so; otherwise see [`crate::retry::slow_down`].
    pub asked: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::ErrorCode;

    const NOW: Timestamp = Timestamp::from_millis(1_772_443_800_000);

    fn after(number: u32, result: Result<u16, ErrorCode>, retry_after: Option<&str>) -> (Next, Option<SlowDown>) {
        let answer = Answer { result, retry_after: retry_after.map(str::to_owned), body: Vec::new() };
        let attempted = Attempted { number, answer: &answer, ended_at: NOW };
        after_attempt(Surface::Slipstream, &RetrySchedule::default(), attempted, 0.0)
    }

    #[test]
    fn retry_after_is_a_floor_never_a_ceiling() {
        let seven = SlowDown { asked: Some(Duration::from_secs(7)) };
        assert_eq!(after(1, Ok(503), Some("7")), (Next::Retry { at: NOW.after(Duration::from_secs(7)) }, Some(seven)));
        assert_eq!(after(2, Ok(503), Some("7")), (Next::Retry { at: NOW.after(Duration::from_mins(5)) }, Some(seven)));
    }

    #[test]
    fn the_tenth_failure_exhausts() {
        let exhausted =
            Next::End { state: DeliveryState::Exhausted, reason: Some(Reason::NoAttemptsLeft), disable: false };
        assert_eq!(after(10, Err(ErrorCode::Connect), None), (exhausted, None));
        assert!(matches!(after(9, Err(ErrorCode::Connect), None), (Next::Retry { .. }, None)));
    }

    #[test]
    fn a_410_disables_the_endpoint() {
        assert!(matches!(after(1, Ok(410), None).0, Next::End { disable: true, state: DeliveryState::Failed, .. }));
    }

    #[test]
    fn no_attempt_starts_at_or_after_expiry_or_without_a_subscription() {
        let subscription = crate::matching::tests::subscription("communications.letter.created");
        let meta = Meta::new("s8n6EzC".parse().unwrap(), NOW);
        let gate_at = |expires: i64| {
            let meta = Meta { expires_at: Some(Timestamp::from_millis(expires)), ..meta.clone() };
            gate(Some(&subscription), &meta, NOW)
        };
        assert_eq!(gate_at(NOW.as_millis() + 1), Gate::Open);
        assert_eq!(gate_at(NOW.as_millis()), Gate::End(DeliveryState::Expired, Reason::ExpiryTime));
        assert_eq!(gate(None, &meta, NOW), Gate::End(DeliveryState::Cancelled, Reason::SubscriptionRemoved));
        let pending = Subscription { state: EndpointState::Pending, ..subscription };
        assert_eq!(gate(Some(&pending), &meta, NOW), Gate::End(DeliveryState::Cancelled, Reason::ConsentPending));
    }

    #[test]
    fn the_intended_time_holds_back_the_first_attempt_only() {
        let subscription = crate::matching::tests::subscription("communications.letter.created");
        let soon = NOW.after(Duration::from_millis(1));
        let meta = Meta { intended_at: Some(soon), ..Meta::new("s8n6EzC".parse().unwrap(), NOW) };
        assert_eq!(gate(Some(&subscription), &meta, NOW), Gate::Wait(soon));
        assert_eq!(gate(Some(&subscription), &meta, soon), Gate::Open);
        assert_eq!(gate(Some(&subscription), &Meta { attempt: 2, ..meta.clone() }, NOW), Gate::Open);
        let replayed = Meta { replay: Some(crate::ids::ReplayId(uuid::Uuid::nil())), ..meta };
        assert_eq!(gate(Some(&subscription), &replayed, NOW), Gate::Open);
    }

    #[test]
    fn what_is_handed_out_too_early_again_and_again_waits_longer_each_time() {
        let waits: Vec<_> = (0..8).map(|parked| held_back_until(NOW, parked).since(NOW).as_millis()).collect();
        assert_eq!(waits, [0, 100, 300, 700, 1500, 3100, 6300, 12_700]);
        assert_eq!(held_back_until(NOW, u32::MAX), held_back_until(NOW, 7));
    }

    #[test]
    fn what_was_cancelled_is_never_attempted() {
        let subscription = crate::matching::tests::subscription("communications.letter.created");
        let meta = Meta { cancelled_at: Some(NOW), ..Meta::new("s8n6EzC".parse().unwrap(), NOW) };
        let cancelled = Gate::End(DeliveryState::Cancelled, Reason::CancelledByRequest);
        assert_eq!(gate(Some(&subscription), &meta, NOW), cancelled);
    }

    #[test]
    fn a_paused_endpoint_holds_back_what_is_due_and_ends_what_has_expired() {
        let active = crate::matching::tests::subscription("communications.letter.created");
        let paused = Subscription { state: EndpointState::Paused, ..active };
        let meta = Meta::new("s8n6EzC".parse().unwrap(), NOW);
        assert_eq!(gate(Some(&paused), &meta, NOW), Gate::Pause);
        let expired = Meta { expires_at: Some(NOW), ..meta };
        assert_eq!(gate(Some(&paused), &expired, NOW), Gate::End(DeliveryState::Expired, Reason::ExpiryTime));
        let waits: Vec<_> = [0, 1, 5, 9, 14, 15, u32::MAX].map(|parked| pause_of(parked).as_secs()).to_vec();
        assert_eq!(waits, [1, 2, 32, 512, 16_384, 21_600, 21_600]);
    }

    #[test]
    fn names_and_states_are_inverse() {
        for state in DeliveryState::ALL {
            assert_eq!(DeliveryState::from_name(state.as_str()), Some(state));
        }
        for reason in Reason::ALL {
            assert_eq!(Reason::from_name(reason.as_str()), Some(reason));
        }
    }
}
