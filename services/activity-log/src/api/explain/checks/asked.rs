//! The questions, in the order in which an event meets them. Each answers none where nothing says.

use std::time::Duration;

use slipstream_core::config::{Consent, EndpointState, Health, NOT_GRANTED_RATE_PER_MINUTE, Subscription};
use slipstream_core::delivery::{DeliveryState, Reason};
use slipstream_core::lane::Visibility;
use slipstream_core::matching::SkipReason;
use slipstream_store::activity::{DeliveryRecord, EventRecord};

use super::CheckOutcome::{Failed, Passed, Waiting};
use super::{CheckOutcome, Facts};

#[expect(clippy::unnecessary_wraps, reason = "the shape that every question has")]
pub(super) fn accepted(facts: &Facts<'_>) -> Option<(CheckOutcome, String)> {
    Some(if let Some(event) = facts.event {
        (Passed, format!("The event was accepted at {}.", event.accepted_at))
    } else {
        let detail = "No such event is recorded for this site: it was never accepted, or only just now, or longer ago \
                          than records are kept; work-queue and private events are not recorded.";
        (Failed, detail.to_owned())
    })
}

pub(super) fn schedule(facts: &Facts<'_>) -> Option<(CheckOutcome, String)> {
    let event = facts.event?;
    if let Some(at) = event.cancelled_at {
        return Some((Failed, format!("The event was cancelled at {at}, before anybody received it.")));
    }
    Some(match (event.routed_at, event.intended_at) {
        (None, Some(at)) if facts.own.is_none() => {
            (Waiting, format!("The event is held until {at}; who receives it is decided then."))
        }
        (None, None) if facts.own.is_none() => {
            (Waiting, "The event is held; who receives it is not yet decided.".to_owned())
        }
        (_, Some(at)) => (Passed, format!("The event was held until {at}.")),
        (_, None) => (Passed, "The event was due at once.".to_owned()),
    })
}

pub(super) fn visibility(facts: &Facts<'_>) -> Option<(CheckOutcome, String)> {
    let visibility = facts.event?.visibility;
    Some(match visibility {
        Visibility::Public => (Passed, "The event is public.".to_owned()),
        other => {
            let detail = format!("The event's visibility is {}; webhooks receive public events only.", other.as_str());
            (Failed, detail)
        }
    })
}

pub(super) fn site(facts: &Facts<'_>) -> Option<(CheckOutcome, String)> {
    let event = facts.event?;
    if let Some(posting) = &facts.posting {
        return posting.site(facts);
    }
    if facts.own.is_some() || facts.skipped().is_some() {
        return Some((Passed, "The subscription is of the event's site.".to_owned()));
    }
    let subscription = facts.subscription?;
    Some(if subscription.site == event.site {
        (Passed, "The subscription is of the event's site.".to_owned())
    } else {
        (Failed, format!("The subscription is of site {}, the event of {}.", subscription.site, event.site))
    })
}

pub(super) fn event_type(facts: &Facts<'_>) -> Option<(CheckOutcome, String)> {
    if let Some(posting) = &facts.posting {
        return posting.event_type(facts);
    }
    let failed = |event: &EventRecord| format!("The subscription's feature has no event type {}.", event.event_type);
    matching(facts, SkipReason::TypeNotInFeature, "The subscription's feature has the event's type.", failed)
}

pub(super) fn filter(facts: &Facts<'_>) -> Option<(CheckOutcome, String)> {
    if let Some(posting) = &facts.posting {
        return posting.filter(facts);
    }
    let failed = |event: &EventRecord| format!("The subscriber asked for other event types than {}.", event.event_type);
    matching(facts, SkipReason::TypeNotSubscribed, "The subscriber asked for the event's type.", failed)
}

/// One of the rules of matching: as it was applied when the event was routed, or as it would be now.
fn matching(
    facts: &Facts<'_>,
    rule: SkipReason,
    passed: &str,
    failed: impl Fn(&EventRecord) -> String,
) -> Option<(CheckOutcome, String)> {
    let event = facts.event?;
    match (facts.own, facts.skipped()) {
        (Some(_), Some(reason)) if reason == rule => {
            Some((Passed, format!("{} A delivery was made by request all the same.", failed(event))))
        }
        (None, Some(reason)) if reason == rule => Some((Failed, failed(event))),
        (Some(_), _) | (None, Some(_)) => Some((Passed, passed.to_owned())),
        (None, None) => Some(match facts.judged_now()? {
            Err(reason) if reason == rule => (Failed, failed(event)),
            _ => (Passed, passed.to_owned()),
        }),
    }
}

pub(super) fn subscription(facts: &Facts<'_>) -> Option<(CheckOutcome, String)> {
    match facts.ended_by() {
        Some(Reason::SubscriptionRemoved) => {
            return Some((Failed, "The subscription was removed before the event was delivered.".to_owned()));
        }
        Some(Reason::EndpointDisabled) => {
            return Some((
                Failed,
                "The subscription's endpoint was disabled before the event was delivered.".to_owned(),
            ));
        }
        _ => {}
    }
    if let Some(posting) = &facts.posting {
        return posting.subscription(facts);
    }
    let Some(subscription) = facts.subscription else {
        return Some(match facts.delivery() {
            Some(_) if facts.is_open() => {
                (Failed, "The subscription does not exist any more; the delivery will be cancelled.".to_owned())
            }
            Some(_) => (Passed, "The subscription existed then; it does not exist any more.".to_owned()),
            None => (Failed, "There is no such subscription now.".to_owned()),
        });
    };
    if let EndpointState::Disabled(_) = subscription.state
        && facts.is_open()
    {
        let detail = "The subscription's endpoint is disabled; the delivery will be cancelled.";
        return Some((Failed, detail.to_owned()));
    }
    if let (None, Some(made_at), Some(routed_at)) = (facts.own, facts.made_at(), facts.event?.routed_at)
        && made_at.after(KNOWN_AFTER) > routed_at
    {
        let relation = if made_at > routed_at { "after" } else { "at the moment when" };
        let detail = format!(
            "The subscription was made at {made_at}, {relation} the event was routed at {routed_at}; \
             the event can be replayed to it."
        );
        return Some((Failed, detail));
    }
    Some((Passed, format!("The subscription exists{}.", health(subscription.health))))
}

/// How an endpoint is, behind that it exists.
pub(super) fn health(health: Health) -> String {
    match health {
        Health::Healthy => String::new(),
        Health::Degraded(since) => format!(", and its endpoint has been failing since {since}"),
    }
}

/// How long a change may take to be known to whoever routes.
pub(super) const KNOWN_AFTER: Duration = Duration::from_secs(5);

pub(super) fn consent(facts: &Facts<'_>) -> Option<(CheckOutcome, String)> {
    if facts.ended_by() == Some(Reason::ConsentPending) {
        return Some((Failed, "The receiver had not agreed to be called, which its surface requires.".to_owned()));
    }
    let subscription = facts.subscription?;
    if subscription.state == EndpointState::Pending && facts.is_open() {
        let detail =
            "The receiver has not agreed to be called, which its surface requires; the delivery will be cancelled.";
        return Some((Failed, detail.to_owned()));
    }
    Some(match &subscription.consent {
        Consent::Off => (Passed, "The receiver need not agree to be called.".to_owned()),
        Consent::Granted { .. } => (Passed, "The receiver has agreed to be called.".to_owned()),
        Consent::NotGranted { .. } => {
            let rate = NOT_GRANTED_RATE_PER_MINUTE;
            (
                Passed,
                format!("The receiver has not agreed to be called, so it is called at most {rate} times a minute."),
            )
        }
    })
}

pub(super) fn expiry(facts: &Facts<'_>) -> Option<(CheckOutcome, String)> {
    let Some(at) = facts.event?.expires_at else {
        return Some((Passed, "The event does not expire.".to_owned()));
    };
    let has_expired = match facts.delivery() {
        Some(delivery) if delivery.state.is_terminal() => delivery.state == DeliveryState::Expired,
        _ => at <= facts.now,
    };
    Some(if has_expired {
        (Failed, format!("The event expired at {at}; it is not attempted any more."))
    } else {
        (Passed, format!("The event's expiry time is {at}."))
    })
}

pub(super) fn breaker_and_rate(facts: &Facts<'_>) -> Option<(CheckOutcome, String)> {
    let delivery = facts.delivery()?;
    if let Some(posting) = facts.posting.filter(|_| facts.is_open())
        && let Some(paused) = posting.paused(facts, delivery)
    {
        return Some(paused);
    }
    let waits_for = match delivery.reason {
        Some(Reason::BreakerOpen) => "The endpoint failed too often in a row and is tried by single probes only",
        Some(Reason::RateLimited) => "The endpoint gets as many requests a minute as it may",
        Some(Reason::EndpointSlowed) => "The receiver asked for fewer requests",
        Some(Reason::EndpointBusy) => "The endpoint has as many deliveries in hand as it may",
        Some(Reason::SecretsSealed) => "The key that opens the subscription's secrets is missing",
        Some(Reason::EndpointPaused) => {
            "The subscription, its event or the event's category is switched off or archived"
        }
        _ => "",
    };
    if facts.is_open() && !waits_for.is_empty() {
        return Some((Waiting, format!("{waits_for}; {}.", next(delivery))));
    }
    let rate = facts.subscription.and_then(Subscription::rate_per_minute);
    let rate = rate.map(|rate| format!(" It gets at most {rate} requests a minute.")).unwrap_or_default();
    Some((Passed, format!("The delivery does not wait for its endpoint.{rate}")))
}

pub(super) fn attempts(facts: &Facts<'_>) -> Option<(CheckOutcome, String)> {
    let delivery = facts.delivery()?;
    let last = facts.last_attempt();
    let moved = if delivery.reason == Some(Reason::Rescheduled) { " A request moved it." } else { "" };
    let told = |what: String| last.clone().map_or_else(|| what.clone(), |last| format!("{last} {what}"));
    Some(match delivery.state {
        DeliveryState::Succeeded => (Passed, told(format!("The receiver took it at {}.", delivery.updated_at))),
        DeliveryState::Scheduled | DeliveryState::RetryWait => {
            let none = if last.is_none() { "No attempt was made yet; " } else { "" };
            let next = next(delivery);
            let next = if none.is_empty() { upper(&next) } else { next };
            (Waiting, told(format!("{none}{next}.{moved}")))
        }
        DeliveryState::Failed if delivery.reason == Some(Reason::EndpointGone) => {
            (Failed, told("The receiver said that it is gone for good, and its endpoint was disabled.".to_owned()))
        }
        DeliveryState::Failed => (Failed, told("That answer is final.".to_owned())),
        DeliveryState::Exhausted => (Failed, told("No attempts are left.".to_owned())),
        DeliveryState::Cancelled => {
            (Failed, told(format!("It was cancelled by a request at {}.", delivery.updated_at)))
        }
        DeliveryState::Expired => (Failed, told(format!("It expired at {}.", delivery.updated_at))),
    })
}

/// When the next attempt is, without an end.
fn next(delivery: &DeliveryRecord) -> String {
    match delivery.next_attempt_at {
        Some(at) => format!("the next attempt is at {at}"),
        None => "the next attempt is due".to_owned(),
    }
}

fn upper(sentence: &str) -> String {
    let mut characters = sentence.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}
