//! What is checked, and the table at the end.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use http::StatusCode;
use slipstream_core::timestamp::Timestamp;

use super::super::desk::{Desk, Seen};
use super::super::table;
use super::super::timeline::Timeline;
use super::{RETRY_AFTER, SOON, SOURCE};
use crate::api::{Api, Delivery, Explained, Why};
use crate::console::say;
use crate::credentials::Running;

/// How often the activity log is asked while something is awaited.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// The last column of a row that is right.
const YES: &str = "yes";

/// What every step needs.
pub(super) struct Stage<'a> {
    pub(super) api: &'a Api,
    pub(super) running: &'a Running,
    pub(super) timeline: &'a Timeline,
}

/// What the activity log must say of an event.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected<'a> {
    pub(super) site: &'a str,
    pub(super) id: &'a str,
    /// The state of its one delivery; none if it must have no delivery.
    pub(super) state: Option<&'a str>,
    pub(super) attempts: u64,
    pub(super) reason: Option<&'a str>,
}

impl Stage<'_> {
    /// 503, and then the same webhook again, not before the receiver wanted it.
    pub(super) fn check_retry(&self, seen: &[Seen]) {
        let claim = "after the 503 came one retry, not before 1 s, with the same webhook-id, and was taken";
        let holds = match seen {
            [first, second] => {
                first.answered == StatusCode::SERVICE_UNAVAILABLE
                    && second.answered == StatusCode::OK
                    && first.webhook_id == second.webhook_id
                    && second.at.since(first.at) >= RETRY_AFTER
                    && first.verified
                    && second.verified
            }
            _ => false,
        };
        self.timeline.check(holds, claim);
    }

    /// Once, and not before its time.
    pub(super) fn check_later(&self, intended: Timestamp, seen: &[Seen]) {
        let arrived = seen.first().map(|seen| seen.at);
        let late = arrived.map_or(0, |at| at.since(intended).as_millis());
        self.timeline.check(
            seen.len() == 1 && seen[0].verified && arrived >= Some(intended),
            format_args!("the event for later came not before its intendeddeliverytime ({late} ms after it)"),
        );
    }

    /// Cancels an event that waits, as soon as it is listed.
    ///
    /// # Errors
    /// When the API refuses.
    pub(super) async fn cancel_scheduled(&self, site: &str, id: &str) -> anyhow::Result<()> {
        let (api, key) = (self.api, self.running.api_key.as_str());
        let deadline = Instant::now() + SOON;
        let listed = loop {
            let listed = api.scheduled(site, key).await?.into_iter().find(|it| it.id == id);
            if listed.is_some() || Instant::now() >= deadline {
                break listed;
            }
            tokio::time::sleep(ASK_EVERY).await;
        };
        self.timeline.check(listed.is_some(), format_args!("{id} is listed among the scheduled events"));
        let Some(listed) = listed else { return Ok(()) };
        api.cancel_scheduled(site, key, &listed.key).await?;
        self.timeline.note("cancelled", None, format_args!("{id:<18} before it came due"));
        let left = api.scheduled(site, key).await?;
        let is_cancelled = |it: &Explained| it.state == "cancelled" && it.matched.is_empty();
        let recorded = self.wait_for(site, id, is_cancelled).await;
        self.timeline.check(
            left.is_empty() && recorded.as_ref().is_some_and(is_cancelled),
            format_args!("{id} is cancelled for good: nothing is scheduled any more, and nobody receives it"),
        );
        Ok(())
    }

    /// Makes the event's one delivery again.
    ///
    /// # Errors
    /// When the API refuses, or there is none.
    pub(super) async fn replay(&self, site: &str, id: &str) -> anyhow::Result<()> {
        let found = self.wait_for(site, id, |it| !it.matched.is_empty()).await;
        let delivery = found.and_then(|it| it.matched.into_iter().next()).context("there is nothing to replay")?;
        self.timeline.note("replaying", None, format_args!("{id:<18} as an operator"));
        self.api.replay(&self.running.operator_token, &delivery.id).await
    }

    /// The 404, and the same webhook again, which is taken now.
    pub(super) fn check_replay(&self, seen: &[Seen]) {
        let holds = match seen {
            [refused, again] => {
                refused.answered == StatusCode::NOT_FOUND
                    && again.answered == StatusCode::OK
                    && refused.webhook_id == again.webhook_id
                    && again.verified
            }
            _ => false,
        };
        self.timeline.check(holds, "the replay came once, with the webhook-id that was refused before, and was taken");
    }

    /// Asks why an event was, or was not, delivered to the one subscription of its site, and says so.
    ///
    /// # Errors
    /// When the API does not answer.
    pub(super) async fn check_why(&self, site: &str, id: &str, verdict: &str, because: &str) -> anyhow::Result<()> {
        let found = self.wait_for(site, id, |it| !it.matched.is_empty() || !it.not_matched.is_empty()).await;
        let found = found.context("nothing is recorded of it")?;
        let matched = found.matched.first().map(|it| &it.subscription);
        let subscription = matched.or(found.not_matched.first().map(|it| &it.subscription));
        let subscription = subscription.context("the site has no subscription")?;
        let deadline = Instant::now() + SOON;
        let why = loop {
            let why = self.api.why(&self.running.operator_token, site, (SOURCE, id), subscription).await?;
            if why.verdict == verdict || Instant::now() >= deadline {
                break why;
            }
            tokio::time::sleep(ASK_EVERY).await;
        };
        let Why { verdict: told, summary } = &why;
        self.timeline.note("asked why", None, format_args!("{id:<18} {summary}"));
        let holds = told == verdict && summary.contains(because);
        self.timeline.check(holds, format_args!("one call says of {id}: {verdict}, {because}"));
        Ok(())
    }

    /// Waits until the activity log has the event's one delivery in this state.
    pub(super) async fn wait_for_state(&self, site: &str, id: &str, state: &str) {
        let is_there = |it: &Explained| it.matched.iter().any(|delivery| delivery.state == state);
        let found = self.wait_for(site, id, is_there).await;
        self.timeline.check(found.as_ref().is_some_and(is_there), format_args!("{id} is recorded as {state}"));
    }

    /// Prints the activity log's view of all events, as the operator API tells it, and checks it.
    ///
    /// # Errors
    /// When the API does not answer.
    pub(super) async fn print_log(&self, expected: &[Expected<'_>]) -> anyhow::Result<()> {
        let mut explained = Vec::new();
        for event in expected {
            let found = self.wait_for(event.site, event.id, |it| event.fits(it)).await;
            explained.push((event, found));
        }
        let deliveries = self.api.deliveries(&self.running.operator_token).await?;
        let judged = explained.iter().map(|(event, found)| {
            let fits = found.as_ref().is_some_and(|found| event.fits(found)) && event.is_listed(&deliveries);
            (event, found.as_ref(), fits)
        });
        let judged: Vec<_> = judged.collect();
        let rows: Vec<_> =
            judged.iter().map(|(event, found, fits)| row(event.id, *found, &deliveries, *fits)).collect();
        table::print(["event id", "type", "state", "attempts", "reason", "as expected"], &rows);
        say("");
        for (event, found, fits) in judged {
            let summary = found.map_or("nothing is recorded", |found| found.summary.as_str());
            self.timeline.check_quietly(fits, format_args!("{}: expected {}. {summary}", event.id, event.claim()));
        }
        let all_fit = rows.iter().all(|row| row[5] == YES);
        self.timeline
            .check(all_fit, "the list of deliveries and the explanation of each event agree with what happened");
        Ok(())
    }

    /// Every event was sent as often as the log says, whoever received it: an end in the log is an end.
    pub(super) fn check_counts(&self, expected: &[Expected<'_>], desks: &[&Desk]) {
        for event in expected {
            let sent: usize = desks.iter().map(|desk| desk.seen(event.id).len()).sum();
            let claim = match (event.attempts, event.state) {
                (0, None) => format!("{}: was never sent, since it is internal", event.id),
                (0, Some(_)) => format!("{}: was never sent, since its time had passed", event.id),
                (1, Some("failed")) => format!("{}: was sent once, the 404 was final", event.id),
                (attempts, _) => format!("{}: arrived {sent} times, expected {attempts}", event.id),
            };
            let holds = sent as u64 == event.attempts;
            if event.state == Some("succeeded") {
                self.timeline.check_quietly(holds, claim);
            } else {
                self.timeline.check(holds, claim);
            }
        }
    }

    /// Asks the activity log about an event until `is_there` or [`SOON`] is over; either way, the last answer.
    async fn wait_for(&self, site: &str, id: &str, is_there: impl Fn(&Explained) -> bool) -> Option<Explained> {
        let deadline = Instant::now() + SOON;
        loop {
            let token = &self.running.operator_token;
            let found = self.api.explain(token, site, SOURCE, id).await.unwrap_or_default();
            if found.as_ref().is_some_and(&is_there) || Instant::now() >= deadline {
                return found;
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }
}

impl Expected<'_> {
    fn claim(&self) -> String {
        match (self.state, self.reason) {
            (Some(state), reason) => {
                format!("{state}, attempts {}, reason {}", self.attempts, reason.unwrap_or("none"))
            }
            (None, reason) => format!("no delivery, reason {}", reason.unwrap_or("none")),
        }
    }

    /// Whether the explanation of the event says what it must.
    fn fits(&self, found: &Explained) -> bool {
        match (self.state, found.matched.as_slice()) {
            (Some(_), [delivery]) => self.fits_delivery(delivery),
            (None, []) => found.not_matched.iter().any(|it| Some(it.reason.as_str()) == self.reason),
            _ => false,
        }
    }

    fn fits_delivery(&self, delivery: &Delivery) -> bool {
        Some(delivery.state.as_str()) == self.state
            && delivery.attempt_count == self.attempts
            && delivery.reason.as_deref() == self.reason
    }

    /// Whether the list of all deliveries agrees.
    fn is_listed(&self, deliveries: &[Delivery]) -> bool {
        let mut listed = deliveries.iter().filter(|delivery| delivery.event_id.as_deref() == Some(self.id));
        match self.state {
            Some(_) => listed.next().is_some_and(|it| self.fits_delivery(it)) && listed.next().is_none(),
            None => listed.next().is_none(),
        }
    }
}

/// A row of the table: of the event's delivery, or, if it has none, of the event itself.
fn row(id: &str, found: Option<&Explained>, deliveries: &[Delivery], fits: bool) -> [String; 6] {
    let texts = |event_type: &str, state: &str, attempts: &str, reason: &str| {
        [id, event_type, state, attempts, reason, if fits { YES } else { "NO" }].map(str::to_owned)
    };
    if let Some(delivery) = deliveries.iter().find(|delivery| delivery.event_id.as_deref() == Some(id)) {
        let event_type = delivery.r#type.as_deref().unwrap_or_default();
        let reason = delivery.reason.as_deref().unwrap_or("-");
        return texts(event_type, &delivery.state, &delivery.attempt_count.to_string(), reason);
    }
    match found {
        Some(event) => {
            let reason = event.not_matched.first().map_or("no subscription", |it| it.reason.as_str());
            texts(&event.r#type, "not delivered", "0", reason)
        }
        None => texts("?", "not recorded", "0", "-"),
    }
}
