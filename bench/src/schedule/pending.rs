//! Requests about scheduled events while many are pending, and whether they did what they said.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use serde::Serialize;
use slipstream_core::timestamp::Timestamp;

use super::requests::{Filter, Request, Scheduled};
use crate::batch::{self, BATCH_EVENTS, Batches, Due};
use crate::clock;
use crate::event::{EventId, Letter, LetterKind};
use crate::stage::{IDLE_WITHIN, STALL, Stage};
use crate::stats::Latency;

/// How far ahead the pending events lie: nothing comes by itself while requests are measured.
const AHEAD: Duration = Duration::from_hours(1);
/// Over how long they are spread.
const OVER: Duration = Duration::from_hours(1);
/// To when changed events are moved, from the first.
const MOVED_BY: Duration = Duration::from_hours(24);
/// How long to wait for events that should not come.
const UNCALLED_WITHIN: Duration = Duration::from_secs(3);

/// What was asked, and what came of it.
#[derive(Debug, Serialize)]
pub(crate) struct Pending {
    /// Events pending when it began.
    pub(crate) events: u32,
    /// The kinds of requests.
    pub(crate) requests: Vec<Request>,
    /// Events that the list should name afterwards.
    pub(crate) expected_after: u32,
    /// Events that it names, page by page.
    pub(crate) listed_after: u32,
    /// Requests to deliver now that were answered with success.
    pub(crate) delivered_now_expected: u32,
    /// Of these events, those that came.
    pub(crate) delivered_now: u32,
    /// Events that came although nobody asked for them now: cancelled, moved or left alone.
    pub(crate) came_uncalled: u32,
    /// From such a request to the arrival.
    pub(crate) delivered_after: Option<Latency>,
}

/// Publishes `events` far ahead to one site, and makes `requests` requests of each kind, in turn.
///
/// # Errors
/// If the platform refuses to take or to list them.
pub(super) async fn measure(
    stage: &mut Stage,
    events: u32,
    requests: u32,
    say: &impl Fn(&str),
) -> anyhow::Result<Pending> {
    stage.broker.wait_until_idle(IDLE_WITHIN).await?;
    // Both types, half of each, so that a filter by type has something to leave out.
    let [created, updated] = [stage.next_phase(), stage.next_phase()];
    let first = Timestamp::from_millis((clock::now_nanos() / 1_000_000_000 * 1000) as i64).after(AHEAD);
    let half = (events / 2).div_ceil(BATCH_EVENTS) * BATCH_EVENTS;
    let due = Due { from: first, over: OVER, events: half };
    publish(stage, created, due, LetterKind { is_scheduled: true, ..LetterKind::default() }).await?;
    let update = LetterKind { is_scheduled: true, is_update: true, ..LetterKind::default() };
    publish(stage, updated, due, update).await?;
    // The list is the activity log's: it has to have recorded them too.
    stage.broker.wait_until_idle(IDLE_WITHIN).await?;
    let pending = 2 * half;

    say("requests about pending events");
    let site = stage.site(0).to_owned();
    let scheduled = Scheduled::new(&stage.api, &stage.key, &site);
    // Half of the events of one type pass: a quarter of all.
    let filter = Filter { event_type: update.event_type(), from: first, until: first.after(OVER / 2) };
    let asked = ask_all(&scheduled, requests, filter, first.after(MOVED_BY)).await?;
    say("whether the requests had their effect");
    let arrived = arrived(stage, [created, updated], &asked.called).await?;
    stage.broker.wait_until_idle(IDLE_WITHIN).await?;
    let scheduled = Scheduled::new(&stage.api, &stage.key, &site);
    let listed_after = scheduled.named(usize::MAX).await?.len() as u32;
    let [list, get, change, cancel, deliver] = asked.requests;
    Ok(Pending {
        events: pending,
        expected_after: pending - cancel.succeeded - deliver.succeeded,
        listed_after,
        delivered_now_expected: deliver.succeeded,
        delivered_now: arrived.after.len() as u32,
        came_uncalled: arrived.uncalled,
        delivered_after: Latency::of(arrived.after),
        requests: vec![list, get, change, cancel, deliver],
    })
}

/// What was asked.
struct Asked {
    requests: [Request; 5],
    /// The events that are to come now, and when that was asked for.
    called: HashMap<EventId, u64>,
}

/// Makes so many requests of each kind, in turn, each about another event.
async fn ask_all(
    scheduled: &Scheduled<'_>,
    requests: u32,
    filter: Filter,
    moved_to: Timestamp,
) -> anyhow::Result<Asked> {
    let events = scheduled.named(4 * requests as usize).await?;
    let mut called = HashMap::new();
    let [mut list, mut get, mut change, mut cancel, mut deliver] =
        ["list", "get", "change", "cancel", "deliver now"].map(Request::new);
    ensure!(events.len() == 4 * requests as usize, "the list names {} events only", events.len());
    let (each_four, _) = events.as_chunks();
    for [shown, moved, cancelled, now] in each_four {
        list.note_page(&scheduled.list(filter).await?);
        get.note(&scheduled.get(shown).await?);
        change.note(&scheduled.change(moved, moved_to).await?);
        cancel.note(&scheduled.cancel(cancelled).await?);
        let at = clock::now_nanos();
        if deliver.note(&scheduled.deliver_now(now).await?) {
            called.insert(now.id, at);
        }
    }
    Ok(Asked { requests: [list, get, change, cancel, deliver], called })
}

/// What came.
struct Arrived {
    /// Of the events that were called: from the request to the arrival.
    after: Vec<u64>,
    /// How many others.
    uncalled: u32,
}

/// Waits until the called events have come, and a little longer for those that should not.
async fn arrived(stage: &mut Stage, phases: [u16; 2], called: &HashMap<EventId, u64>) -> anyhow::Result<Arrived> {
    for phase in phases {
        let of_phase = called.keys().filter(|id| id.phase == phase).count() as u32;
        stage.wait_for(phase, of_phase, STALL).await?;
    }
    tokio::time::sleep(UNCALLED_WITHIN).await;
    stage.collect().await?;
    let mut arrived = Arrived { after: Vec::new(), uncalled: 0 };
    for arrival in phases.iter().flat_map(|phase| stage.ledger.phase(*phase).arrivals()) {
        match called.get(&arrival.event) {
            Some(at) => arrived.after.push(arrival.at.saturating_sub(*at)),
            None => arrived.uncalled += 1,
        }
    }
    Ok(arrived)
}

async fn publish(stage: &Stage, phase: u16, due: Due, kind: LetterKind) -> anyhow::Result<()> {
    let batches = Batches {
        address: stage.address(),
        paths: stage.paths(0..1),
        api_key: stage.key.clone(),
        letter: Letter::new(kind),
        phase,
        events: 0..due.events,
        due,
        until: None,
    };
    batch::publish(batches, Arc::default()).await
}
