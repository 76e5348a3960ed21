//! What operators do to deliveries, and ask of many at once: replay, explain, reconcile (SPEC 4.9).

use std::time::Duration;

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use slipstream_core::timestamp::Timestamp;
use slipstream_service::clock;
use slipstream_test_support::builders::EventBuilder;
use slipstream_test_support::eventually;

use super::{Account, Answer, Operator};
use crate::LIMIT;

/// What the replay of one delivery or event made.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Replayed {
    /// By which replay; none if the event's own delivery was made.
    pub replay: Option<String>,
    /// The new delivery.
    pub delivery: String,
    /// How receivers see it.
    pub webhook_id: String,
    /// What it repeats.
    pub replay_of: Option<String>,
}

/// A replay job.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplayJob {
    /// Its id.
    pub id: String,
    /// Where it is.
    pub state: String,
    /// Deliveries that there were when it was made.
    pub matched: u64,
    /// Those it has made again.
    pub published: u64,
    /// Those whose event is not kept any more.
    pub not_kept: u64,
    /// Those whose subscription is gone.
    pub skipped: u64,
}

/// Why an event was, or was not, delivered to a subscription.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// `delivered`, `waiting`, `not_delivered` or `unknown`.
    pub verdict: String,
    /// One sentence for people.
    pub summary: String,
    /// What stands between accepting and delivering.
    pub checks: Vec<Check>,
    /// When something happens next.
    pub next_attempt_at: Option<Timestamp>,
    /// The event's own delivery, with its attempts.
    pub delivery: Option<Value>,
    /// What replays made.
    pub replays: Vec<Value>,
}

/// One of them.
#[derive(Debug, Clone, Deserialize)]
pub struct Check {
    /// Which.
    pub name: String,
    /// `passed`, `failed`, `waiting` or `not_reached`.
    pub outcome: String,
}

impl Explanation {
    /// The one check that decided, if one did.
    pub fn decided_by(&self) -> Option<&str> {
        self.checks.iter().find(|it| matches!(&*it.outcome, "failed" | "waiting")).map(|it| it.name.as_str())
    }
}

/// Everything accepted in a time, in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "each is the state it is named after")]
pub struct Totals {
    pub events: u64,
    pub accepted: u64,
    pub unmatched: u64,
    pub waiting: u64,
    pub succeeded: u64,
    pub failed: u64,
    pub exhausted: u64,
    pub expired: u64,
    pub cancelled: u64,
    pub adds_up: bool,
    pub replays: ByState,
}

/// What replays made, by what became of it; in none of the numbers above.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "each is the state it is named after")]
pub struct ByState {
    pub waiting: u64,
    pub succeeded: u64,
    pub failed: u64,
    pub exhausted: u64,
    pub expired: u64,
    pub cancelled: u64,
}

/// All pages of it.
#[derive(Debug, Clone)]
pub struct Reconciled {
    /// Events, each with its deliveries.
    pub items: Vec<Value>,
    /// The numbers, of all pages.
    pub totals: Totals,
    /// Whether nothing is on its way to the records.
    pub complete: bool,
}

/// A page as it comes: the numbers stand on the first one.
#[derive(Debug, Deserialize)]
struct ReconciledPage {
    items: Vec<Value>,
    totals: Option<Totals>,
    complete: bool,
    next: Option<String>,
}

impl Operator {
    /// Makes a delivery that has ended again; the answer may be a refusal.
    pub async fn replay_delivery(&self, id: &str) -> Answer {
        self.act(Method::POST, &["deliveries", id, "replay"], None).await
    }

    /// Makes a delivery of an event to a subscription; the answer may be a refusal.
    pub async fn replay_event(&self, account: &Account, event: &EventBuilder, subscription: &str) -> Answer {
        let body = json!({ "site": account.site, "source": event.text("source"), "id": event.text("id"),
            "subscription": subscription });
        self.act(Method::POST, &["events", "replay"], Some(body)).await
    }

    /// Makes many deliveries again, or counts them: the answer to `wanted`.
    pub async fn replay_many(&self, wanted: Value) -> Answer {
        self.act(Method::POST, &["deliveries", "replay"], Some(wanted)).await
    }

    /// A replay job, as it stands; none while the activity log does not answer that.
    pub async fn replay_job(&self, id: &str) -> Option<ReplayJob> {
        let answer = self.try_activity(&["replays", id]).await?;
        (answer.status == 200).then(|| answer.parsed(200))
    }

    /// `pause`s, `resume`s or `cancel`s a replay job.
    pub async fn steer_replay(&self, id: &str, what: &str) -> Answer {
        self.act(Method::POST, &["replays", id, what], None).await
    }

    /// Moves, hurries or cancels a delivery that waits.
    pub async fn change_delivery(&self, method: Method, path: &[&str], body: Option<Value>) -> Answer {
        let segments: Vec<_> = ["deliveries"].iter().chain(path).copied().collect();
        self.act(method, &segments, body).await
    }

    /// Why an event was, or was not, delivered to a subscription.
    pub async fn why(&self, account: &Account, event: &EventBuilder, subscription: &str) -> Explanation {
        let query = [
            ("site", account.site.as_str()),
            ("source", event.text("source")),
            ("id", event.text("id")),
            ("subscription", subscription),
        ];
        self.activity(&["explain"], &query).await.parsed(200)
    }

    /// Waits until an event's explanation for a subscription is as it should be.
    #[track_caller]
    pub fn why_is(
        &self,
        account: &Account,
        event: &EventBuilder,
        subscription: &str,
        verdict: &'static str,
        decided_by: Option<&'static str>,
    ) -> impl Future<Output = Explanation> {
        let (account, event, subscription) = (account.clone(), event.clone(), subscription.to_owned());
        eventually(LIMIT, move || {
            let (account, event, subscription) = (account.clone(), event.clone(), subscription.clone());
            async move {
                let why = self.why(&account, &event, &subscription).await;
                if why.verdict == verdict && why.decided_by() == decided_by { Ok(why) } else { Err(why) }
            }
        })
    }

    /// Everything accepted in a time, page by page; the numbers stand on the first page.
    pub async fn reconcile(&self, since: Timestamp, until: Timestamp) -> Reconciled {
        let (since, until) = (since.to_string(), until.to_string());
        let (mut items, mut cursor, mut totals) = (Vec::new(), None::<String>, None);
        loop {
            let mut query = vec![("since", since.as_str()), ("until", until.as_str()), ("limit", "7")];
            query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
            let mut page: ReconciledPage = self.activity(&["reconcile"], &query).await.parsed(200);
            items.append(&mut page.items);
            totals = totals.or(page.totals);
            cursor = page.next.take();
            if cursor.is_none() {
                let totals = totals.expect("the first page has the numbers");
                return Reconciled { items, totals, complete: page.complete };
            }
        }
    }

    /// The numbers alone of everything accepted so far.
    pub async fn totals(&self) -> Reconciled {
        let now = clock::now();
        // No test takes a day, and what lies before what is kept would never be complete.
        let since = Timestamp::from_millis(now.as_millis() - 24 * 3600 * 1000).to_string();
        let until = now.after(Duration::from_secs(1)).to_string();
        let query = [("since", since.as_str()), ("until", &until), ("limit", "1")];
        let ReconciledPage { items, totals, complete, .. } = self.activity(&["reconcile"], &query).await.parsed(200);
        Reconciled { items, totals: totals.expect("the first page has the numbers"), complete }
    }
}
