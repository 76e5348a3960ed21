//! A receiver of the demo: answers by a script, prints and remembers what arrives.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;
use slipstream_core::signing::Key;
use slipstream_core::timestamp::Timestamp;
use tokio::sync::watch;

use super::timeline::Timeline;
use crate::console::{Style, one_line};
use crate::receiver::{Arrival, Receiver, Reply};

/// A webhook that arrived at a desk.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) event_id: String,
    pub(super) webhook_id: String,
    pub(super) at: Timestamp,
    pub(super) verified: bool,
    pub(super) answered: StatusCode,
}

/// A named receiver.
pub(super) struct Desk {
    receiver: Receiver,
    seen: watch::Receiver<Vec<Seen>>,
}

impl Desk {
    /// Opens a desk that gives the replies of `script` in turn; the last one again and again.
    pub(super) async fn open(name: &'static str, script: &[Reply], timeline: &Timeline) -> anyhow::Result<Self> {
        let (tx, seen) = watch::channel(Vec::<Seen>::new());
        let (script, timeline) = (script.to_vec(), timeline.clone());
        // One at a time, so that what is printed, remembered and answered is in one order.
        let turn = Arc::new(Mutex::new(0));
        let receiver = Receiver::start(0, move |arrival| {
            let mut turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
            let reply = script.get(*turn).or(script.last()).copied().unwrap_or(StatusCode::OK.into());
            *turn += 1;
            let arrived = arrived(&arrival, reply);
            report(name, &arrived, &arrival, &timeline);
            tx.send_modify(|seen| seen.push(arrived));
            reply
        })
        .await?;
        Ok(Self { receiver, seen })
    }

    /// Where webhooks should be sent.
    pub(super) fn url(&self) -> String {
        self.receiver.url()
    }

    /// Verifies with these keys from now on.
    pub(super) fn set_keys(&self, keys: Vec<Key>) {
        self.receiver.set_keys(keys);
    }

    /// What has arrived for an event so far.
    pub(super) fn seen(&self, event_id: &str) -> Vec<Seen> {
        self.seen.borrow().iter().filter(|seen| seen.event_id == event_id).cloned().collect()
    }

    /// Waits until `count` webhooks of an event have arrived, or `limit` is over; either way, what has.
    pub(super) async fn wait_for(&self, event_id: &str, count: usize, limit: Duration) -> Vec<Seen> {
        let mut changes = self.seen.clone();
        let is_there = |seen: &Vec<Seen>| seen.iter().filter(|seen| seen.event_id == event_id).count() >= count;
        // What is missing after the limit is the caller's to find.
        let _ = tokio::time::timeout(limit, changes.wait_for(is_there)).await;
        self.seen(event_id)
    }
}

fn arrived(arrival: &Arrival, reply: Reply) -> Seen {
    Seen {
        event_id: arrival.event()["id"].as_str().unwrap_or_default().to_owned(),
        webhook_id: arrival.header("webhook-id").to_owned(),
        at: arrival.at,
        verified: arrival.verified.is_ok(),
        answered: reply.status,
    }
}

fn report(desk: &str, seen: &Seen, arrival: &Arrival, timeline: &Timeline) {
    let (style, answered) = match (seen.answered.is_success(), seen.answered.as_str()) {
        (true, status) => (Style::Good, Style::Good.paint(status)),
        (false, status) => (Style::Odd, Style::Odd.paint(status)),
    };
    let signature = match arrival.verified {
        Ok(()) => "signature verified".to_owned(),
        Err(error) => Style::Bad.paint(format_args!("NOT VERIFIED: {error}")),
    };
    let id = one_line(&seen.event_id, 40);
    timeline.note("received", Some(style), format_args!("{id:<18} by {desk:<9}  {signature}, answered {answered}"));
}
