//! The checks themselves. Pure: what is known goes in, words come out.

mod asked;
mod posting;

use serde::Serialize;
use slipstream_core::config::Subscription;
use slipstream_core::delivery::{DeliveryState, Reason};
use slipstream_core::ids::SubscriptionId;
use slipstream_core::matching::{Candidate, SkipReason, judge};
use slipstream_core::timestamp::Timestamp;
use slipstream_store::activity::{AttemptRecord, Delivery, DeliveryRecord, EventRecord};
use utoipa::ToSchema;

use self::CheckOutcome::{Failed, NotReached, Waiting};
use self::asked::{
    accepted, attempts, breaker_and_rate, consent, event_type, expiry, filter, schedule, site, subscription, visibility,
};
pub(super) use self::posting::Posting;

/// How it stands with the event and the subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// The receiver has it.
    Delivered,
    /// It may still be delivered.
    Waiting,
    /// It was not, and will not be by itself.
    NotDelivered,
    /// What is recorded does not say.
    Unknown,
}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum CheckOutcome {
    /// It is no reason against delivering.
    Passed,
    /// It is the reason.
    Failed,
    /// It is what is waited for.
    Waiting,
    /// Something before it decided, or it is not known.
    NotReached,
}

/// One thing that stands between accepting and delivering.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ExplainedCheck)]
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) outcome: CheckOutcome,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) detail: String,
}

/// All that is known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    /// The event, if it is recorded.
    pub(super) event: Option<&'a EventRecord>,
    /// To whom.
    pub(super) to: SubscriptionId,
    /// The subscription, as it is now.
    pub(super) subscription: Option<&'a Subscription>,
    /// What else is to be known of one of the ECG surface, which may be deleted.
    pub(super) posting: Option<Posting<'a>>,
    /// The event's own delivery, with its attempts.
    pub(super) own: Option<(&'a DeliveryRecord, &'a [AttemptRecord])>,
    /// Those that replays made.
    pub(super) replays: &'a [Delivery],
    pub(super) now: Timestamp,
}

/// The verdict, one sentence, and the checks in their order.
pub(super) fn explain(facts: &Facts<'_>) -> (Verdict, String, Vec<Check>) {
    let mut checks = Vec::with_capacity(NAMES.len());
    // The first check that decides ends the matter; what comes after it is not asked.
    let mut decided = None;
    for (name, check) in NAMES {
        let (outcome, detail) = match decided {
            None => check(facts).unwrap_or((NotReached, String::new())),
            // Attempts were made, whatever ended them.
            Some(_) if name == ATTEMPTS => (NotReached, facts.last_attempt().unwrap_or_default()),
            Some(_) => (NotReached, String::new()),
        };
        if matches!(outcome, Failed | Waiting) {
            decided = Some(checks.len());
        }
        checks.push(Check { name, outcome, detail });
    }
    let verdict = facts.verdict(decided.map(|at| checks[at].outcome));
    let why = decided.map_or("", |at| checks[at].detail.as_str());
    (verdict, facts.summary(verdict, why), checks)
}

/// None: it is not known.
type Ask = fn(&Facts<'_>) -> Option<(CheckOutcome, String)>;

const ATTEMPTS: &str = "attempts";
const NAMES: [(&str, Ask); 11] = [
    ("accepted", accepted),
    ("schedule", schedule),
    ("visibility", visibility),
    ("site", site),
    ("type", event_type),
    ("filter", filter),
    ("subscription", subscription),
    ("consent", consent),
    ("expiry", expiry),
    ("breaker_and_rate", breaker_and_rate),
    (ATTEMPTS, attempts),
];

impl<'a> Facts<'a> {
    fn delivery(&self) -> Option<&'a DeliveryRecord> {
        self.own.map(|(delivery, _)| delivery)
    }

    /// Why the delivery ended, if it did and not by what was attempted.
    fn ended_by(&self) -> Option<Reason> {
        self.delivery().filter(|delivery| delivery.state.is_terminal()).and_then(|delivery| delivery.reason)
    }

    /// Whether the delivery may still be attempted.
    fn is_open(&self) -> bool {
        self.delivery().is_some_and(|delivery| !delivery.state.is_terminal())
    }

    /// Why the event did not match, as it was recorded when it was routed.
    fn skipped(&self) -> Option<SkipReason> {
        let event = self.event?;
        event.skipped.iter().find(|skipped| skipped.subscription == self.to).map(|skipped| skipped.reason)
    }

    /// Whether the event would match now.
    fn judged_now(&self) -> Option<Result<(), SkipReason>> {
        let (event, subscription) = (self.event?, self.subscription?);
        let candidate = Candidate { site: &event.site, event_type: &event.event_type, visibility: event.visibility };
        Some(judge(candidate, subscription))
    }

    /// When the subscription was made: the time in its id.
    fn made_at(&self) -> Option<Timestamp> {
        let is_by_time = self.to.0.get_version_num() == 7;
        is_by_time.then(|| Timestamp::from_millis((self.to.0.as_u128() >> 80) as i64))
    }

    /// When something happens next, if that is known.
    pub(super) fn next_attempt_at(&self) -> Option<Timestamp> {
        let replays = self.replays.iter().map(|delivery| &delivery.record);
        let open = self.delivery().into_iter().chain(replays).filter(|record| !record.state.is_terminal());
        let next = open.filter_map(|record| record.next_attempt_at).min();
        let held = self.event.filter(|event| event.routed_at.is_none() && event.cancelled_at.is_none());
        next.or_else(|| held.filter(|_| self.own.is_none())?.intended_at)
    }

    fn last_attempt(&self) -> Option<String> {
        let (_, attempts) = self.own?;
        let last = attempts.last()?;
        let answer = match (last.status, last.error) {
            (Some(status), _) => format!("was answered with {status}"),
            (None, Some(error)) => format!("was not answered ({})", error.as_str()),
            (None, None) => "was not answered".to_owned(),
        };
        Some(format!("Attempt {} at {} {answer}.", last.number, last.started_at))
    }

    fn verdict(&self, decided: Option<CheckOutcome>) -> Verdict {
        let records = || self.delivery().into_iter().chain(self.replays.iter().map(|delivery| &delivery.record));
        if records().any(|record| record.state == DeliveryState::Succeeded) {
            Verdict::Delivered
        } else if records().any(|record| !record.state.is_terminal()) {
            Verdict::Waiting
        } else {
            match decided {
                // Not recorded may mean not yet, or not any more.
                Some(Failed) if self.event.is_some() => Verdict::NotDelivered,
                Some(Waiting) => Verdict::Waiting,
                _ => Verdict::Unknown,
            }
        }
    }

    fn summary(&self, verdict: Verdict, why: &str) -> String {
        let own_succeeded = self.delivery().filter(|record| record.state == DeliveryState::Succeeded);
        let mut replays = self.replays.iter().map(|delivery| &delivery.record);
        match verdict {
            Verdict::Delivered => {
                let by_replay = replays.rfind(|record| record.state == DeliveryState::Succeeded);
                let how = if own_succeeded.is_some() { "" } else { " by a replay" };
                let at = own_succeeded.or(by_replay).map(|record| record.updated_at).unwrap_or_default();
                format!("Delivered{how} at {at}.")
            }
            Verdict::Waiting if !self.is_open() && replays.any(|record| !record.state.is_terminal()) => {
                "Waiting: a replay is on its way.".to_owned()
            }
            Verdict::Waiting => format!("Waiting: {}", within(why)),
            Verdict::NotDelivered => format!("Not delivered: {}", within(why)),
            Verdict::Unknown if why.is_empty() => {
                "Not known: as things are now it would match, and what was decided when it was routed is not recorded."
                    .to_owned()
            }
            Verdict::Unknown => format!("Not known: {}", within(why)),
        }
    }
}

/// A sentence, as the end of another one.
fn within(sentence: &str) -> String {
    let mut characters = sentence.chars();
    characters.next().map(|first| first.to_lowercase().chain(characters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
