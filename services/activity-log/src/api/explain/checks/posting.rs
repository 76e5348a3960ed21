//! The questions as they are asked of a subscription of the ECG surface (SPEC 6.8, "Bridge"): it gets a public event as a
//! post if the event's site is linked to its organization, the event's type is the code of one of its webhook events, and
//! subscription, webhook event and category are active and not archived.
//!
//! That it did not match is not recorded anywhere; that it did, is. So without a delivery it goes by how things are now, and
//! since when they are so.

use slipstream_core::config::{EcgEvent, EcgSubscription, Flags};
use slipstream_core::delivery::Reason;
use slipstream_core::ids::EcgEventId;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::directory::EcgIndex;
use slipstream_store::activity::{DeliveryRecord, EventRecord};
use uuid::Uuid;

use super::CheckOutcome::{Failed, Passed, Waiting};
use super::asked::{KNOWN_AFTER, health};
use super::{CheckOutcome, Facts};

/// What is configured of the subscription, as it is now.
#[derive(Debug, Clone, Copy)]
pub(in crate::api::explain) struct Posting<'a> {
    /// The subscription, which may be deleted.
    pub(in crate::api::explain) subscription: &'a EcgSubscription,
    /// Its webhook events and their categories.
    pub(in crate::api::explain) index: &'a EcgIndex,
    /// The organization that the event's site is linked to.
    pub(in crate::api::explain) linked_to: Option<Uuid>,
    /// What the delivery is a post of, if it is recorded.
    pub(in crate::api::explain) posted: Option<EcgEventId>,
}

impl<'a> Posting<'a> {
    pub(super) fn site(&self, facts: &Facts<'_>) -> Option<(CheckOutcome, String)> {
        let event = facts.event?;
        Some(match self.linked_to {
            _ if facts.own.is_some() => {
                (Passed, "The event's site was linked to the subscription's organization.".to_owned())
            }
            Some(organization) if organization == self.subscription.organization => {
                (Passed, "The event's site is linked to the subscription's organization.".to_owned())
            }
            Some(_) => {
                (Failed, format!("Site {} is linked to another organization than the subscription's.", event.site))
            }
            None => {
                let detail = "is not linked to an organization, so its events are not posted to ECG subscriptions.";
                (Failed, format!("Site {} {detail}", event.site))
            }
        })
    }

    pub(super) fn event_type(&self, facts: &Facts<'_>) -> Option<(CheckOutcome, String)> {
        let event = facts.event?;
        Some(if facts.own.is_some() || !self.index.events_by_code(&event.event_type).is_empty() {
            (Passed, "The event's type is the code of a webhook event.".to_owned())
        } else {
            (Failed, format!("There is no webhook event with the code {}, or it was deleted.", event.event_type))
        })
    }

    pub(super) fn filter(&self, facts: &Facts<'_>) -> Option<(CheckOutcome, String)> {
        let event = facts.event?;
        Some(if facts.own.is_some() || self.fitting(event).next().is_some() {
            (Passed, "The subscription is for the webhook event.".to_owned())
        } else {
            (Failed, format!("The subscription is for other webhook events than {}.", event.event_type))
        })
    }

    #[expect(clippy::unnecessary_wraps, reason = "the shape that every question has")]
    pub(super) fn subscription(&self, facts: &Facts<'_>) -> Option<(CheckOutcome, String)> {
        let subscription = self.subscription;
        if subscription.deleted {
            return Some(match facts.delivery() {
                Some(_) if facts.is_open() => {
                    (Failed, "The subscription was deleted; the delivery will be cancelled.".to_owned())
                }
                Some(_) => (Passed, "The subscription existed then; it was deleted since.".to_owned()),
                None => (Failed, "The subscription was deleted.".to_owned()),
            });
        }
        if let (None, Some(event)) = (facts.own, facts.event)
            && let Some(routed_at) = event.routed_at
            && let Some(why) = self.not_matched(event, routed_at)
        {
            return Some((Failed, why));
        }
        Some((Passed, format!("The subscription exists{}.", health(subscription.health))))
    }

    /// What an open delivery waits for because of switches; none if it does not.
    pub(super) fn paused(&self, facts: &Facts<'_>, delivery: &DeliveryRecord) -> Option<(CheckOutcome, String)> {
        let looked_at = delivery.next_attempt_at.map(|at| format!(", or at {at}")).unwrap_or_default();
        if let Some(why) = self.off_now(facts) {
            let detail = format!("{why} The delivery is paused, and is looked at again when that changes{looked_at}.");
            return Some((Waiting, detail));
        }
        let was_paused = delivery.reason == Some(Reason::EndpointPaused);
        was_paused.then(|| {
            let detail = "The delivery was paused; what paused it is on again, so the next attempt is due now";
            (Waiting, format!("{detail}{looked_at}."))
        })
    }

    /// The webhook events of the subscription that an event of this type is posted as.
    fn fitting(&self, event: &EventRecord) -> impl Iterator<Item = &'a EcgEvent> {
        let (index, code) = (self.index, event.event_type.clone());
        let events = self.subscription.events.iter().filter_map(move |id| index.event(*id));
        events.map(AsRef::as_ref).filter(move |it| !it.deleted && it.code.eq_ignore_ascii_case(&code))
    }

    /// Why an event that was routed then did not match, as far as that shows now.
    fn not_matched(&self, event: &EventRecord, routed_at: Timestamp) -> Option<String> {
        let EcgSubscription { flags, stamps, .. } = self.subscription;
        let (what, made_at) = ("The subscription", stamps.created_at);
        if let Some(why) = off(what, *flags, false).or_else(|| not_yet(what, *flags, made_at, routed_at)) {
            return Some(why);
        }
        // One that was on is enough.
        let mut why_not = None;
        for event in self.fitting(event) {
            let why = self.event_off(event).or_else(|| {
                let what = name(event);
                let category = self.index.category(event.category);
                not_yet(&what, event.flags, event.stamps.created_at, routed_at).or_else(|| {
                    let category = category?;
                    not_yet(&of_category(event), category.flags, category.stamps.created_at, routed_at)
                })
            });
            why_not.get_or_insert(why?);
        }
        why_not
    }

    /// Why nothing is posted to the subscription now.
    fn off_now(&self, facts: &Facts<'_>) -> Option<String> {
        if let Some(why) = off("The subscription", self.subscription.flags, false) {
            return Some(why);
        }
        if let Some(posted) = self.posted.and_then(|id| self.index.event(id)) {
            return self.event_off(posted);
        }
        let mut why_not = None;
        for event in self.fitting(facts.event?) {
            why_not.get_or_insert(self.event_off(event)?);
        }
        why_not
    }

    /// Why posts of a webhook event are not dispatched now.
    fn event_off(&self, event: &EcgEvent) -> Option<String> {
        off(&name(event), event.flags, event.deleted).or_else(|| match self.index.category(event.category) {
            Some(category) => off(&of_category(event), category.flags, category.deleted),
            None => Some(format!("{} is not there.", of_category(event))),
        })
    }
}

fn name(event: &EcgEvent) -> String {
    format!("The webhook event {} {}", event.code, event.version)
}

fn of_category(event: &EcgEvent) -> String {
    format!("The category of the webhook event {} {}", event.code, event.version)
}

/// Why something is not on now.
fn off(what: &str, flags: Flags, deleted: bool) -> Option<String> {
    if deleted {
        Some(format!("{what} was deleted."))
    } else if !flags.active {
        Some(format!("{what} has been inactive since {}.", flags.active_changed_at))
    } else {
        flags.archived.then(|| format!("{what} has been archived since {}.", flags.archived_changed_at))
    }
}

/// Why something that is on now was not, or not known to be, when an event was routed.
fn not_yet(what: &str, flags: Flags, made_at: Timestamp, routed_at: Timestamp) -> Option<String> {
    let changed = |at: Timestamp| Some(at).filter(|at| *at > made_at);
    let changes = [
        (Some(made_at), "made"),
        (changed(flags.active_changed_at), "activated"),
        (changed(flags.archived_changed_at), "taken out of the archive"),
    ];
    changes.into_iter().find_map(|(at, done)| {
        let at = at.filter(|at| at.after(KNOWN_AFTER) > routed_at)?;
        let relation = if at > routed_at { "after" } else { "at the moment when" };
        Some(format!("{what} was {done} at {at}, {relation} the event was routed at {routed_at}."))
    })
}
