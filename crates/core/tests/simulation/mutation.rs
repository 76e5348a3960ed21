//! Deliberate defects, each a thing that somebody could get wrong. A checker that does not turn red for one of them is
//! worth nothing; `mutations` in `simulation.rs` keeps it honest.

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// Routing acknowledges an event before its deliveries are published.
    AcknowledgeBeforeRouting,
    /// The record of who matched is published before the deliveries.
    RecordBeforeDeliveries,
    /// A delivery is acknowledged before its outcome is durable.
    AcknowledgeBeforeOutcome,
    /// The next attempt is scheduled before this one's record is durable.
    ScheduleBeforeRecord,
    /// A schedule's message id does not have the attempt in it.
    ScheduleIdWithoutAttempt,
    /// A batch with one bad event is stored without that one.
    KeepTheGoodHalf,
    /// The gate does not look at the intended time, and nothing is held.
    IgnoreIntendedTime,
    /// A schedule fires when its time is near.
    FireEarly,
    /// The gate does not look at the expiry time.
    IgnoreExpiryTime,
    /// A final 4xx is tried again.
    RetryAfterFinal,
    /// Each attempt has its own webhook id.
    FreshWebhookId,
    /// A delivery whose lease has run out is attempted all the same.
    IgnoreLease,
    /// Late repeats are not asked for.
    ForgetRepeats,
    /// The alarm of a time is set before what comes due then is listed.
    AlarmBeforeList,
    /// An alarm that may be firing is replaced by another.
    ShareNearAlarms,
    /// Whether a held event was cancelled is asked of the ids in `EVENTS` alone, which it forgets: what it waits as is left.
    TrustOldIds,
    /// What came due as an older generation takes away what waits as a later one.
    ForgetLaterGeneration,
    /// A repeat that is held takes the place of the event that it repeats.
    HoldRepeats,
    /// `Retry-After` is not read.
    ForgetRetryAfter,
    /// After the last attempt there is another.
    EleventhAttempt,
    /// A delivery that is put off starts again at its first attempt.
    ForgetAttemptAtPark,
    /// The breaker uses up an attempt of what it puts off.
    BreakerUsesAttempt,
    /// A cancelled delivery's schedule is taken away, and nobody told.
    CancelWithoutRecord,
    /// What a cancelled event waits as is left to come due, and nobody looks whether its generation has ended.
    IgnoreCancelledGeneration,
    /// A replay waits under the subject of the delivery it repeats.
    ReplayInPlaceOfOriginal,
    /// A late repeat that was not recognised waits under the subject of the delivery it repeats.
    RepeatInPlaceOfOriginal,
    /// A step that is done again puts its schedule in the place of a later one.
    OlderInPlaceOfNewer,
    /// When a delivery that was handed out again ends, what an earlier life of it scheduled is left to go on.
    LeaveOtherLife,
    /// The log does not know of a removal any more when a record of what waited for the subscription comes in.
    ForgetRemovals,
    /// The loop that picks deliveries waits for each receiver's answer.
    AttemptInline,
    /// The body is written anew before it is sent.
    RewriteBody,
    /// The gate does not look at the endpoint's state.
    IgnoreDisabled,
    /// What is due at a paused endpoint is cancelled.
    CancelPaused,
}

impl Mutation {
    pub(crate) const ALL: [Self; 33] = [
        Self::AcknowledgeBeforeRouting,
        Self::RecordBeforeDeliveries,
        Self::AcknowledgeBeforeOutcome,
        Self::ScheduleBeforeRecord,
        Self::ScheduleIdWithoutAttempt,
        Self::KeepTheGoodHalf,
        Self::IgnoreIntendedTime,
        Self::FireEarly,
        Self::IgnoreExpiryTime,
        Self::RetryAfterFinal,
        Self::FreshWebhookId,
        Self::IgnoreLease,
        Self::ForgetRepeats,
        Self::AlarmBeforeList,
        Self::ShareNearAlarms,
        Self::TrustOldIds,
        Self::ForgetLaterGeneration,
        Self::HoldRepeats,
        Self::ForgetRetryAfter,
        Self::EleventhAttempt,
        Self::ForgetAttemptAtPark,
        Self::BreakerUsesAttempt,
        Self::CancelWithoutRecord,
        Self::IgnoreCancelledGeneration,
        Self::ReplayInPlaceOfOriginal,
        Self::RepeatInPlaceOfOriginal,
        Self::OlderInPlaceOfNewer,
        Self::LeaveOtherLife,
        Self::ForgetRemovals,
        Self::AttemptInline,
        Self::RewriteBody,
        Self::IgnoreDisabled,
        Self::CancelPaused,
    ];
}
