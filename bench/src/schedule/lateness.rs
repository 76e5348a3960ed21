//! Many events with an intended time: how late they come, and what holding them costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde::Serialize;
use slipstream_bus::ConsumerName;
use slipstream_core::lane::Lane;
use slipstream_core::timestamp::Timestamp;

use super::SITES;
use crate::batch::{self, Batches, Due};
use crate::clock;
use crate::event::{Letter, LetterKind};
use crate::ledger::Phase;
use crate::procfs;
use crate::resources::{Resources, Window};
use crate::stage::{IDLE_WITHIN, Stage};
use crate::stats::{Latency, rounded};

/// How long nothing may come before the rest counts as missing. So many at once may hold up the broker for seconds.
const NOTHING_WITHIN: Duration = Duration::from_secs(30);

/// What is scheduled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// Normal events.
    pub(super) events: u32,
    /// Realtime events, due at the same times.
    pub(super) realtime: u32,
    /// Over how long they are spread; zero for one whole second's first instant.
    pub(super) over: Duration,
    /// How long after the start of publishing the first is due.
    pub(super) lead: Duration,
}

/// How it went.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Punctuality {
    /// Events accepted, realtime ones included.
    pub(crate) accepted: u32,
    /// Over how long they were due.
    pub(crate) over_seconds: f64,
    /// How long publishing took.
    pub(crate) published_seconds: f64,
    /// How long after the start of publishing the last was a schedule.
    pub(crate) held_seconds: f64,
    /// By how much that was before the first was due. If it is negative, some were due before they were held, and their
    /// lateness is that of the preparation.
    pub(crate) spare_seconds: f64,
    /// Resident memory of the broker before, and with all of them held, in MiB.
    pub(crate) broker_mib: [f64; 2],
    /// Events that arrived.
    pub(crate) delivered: u32,
    /// Arrivals beyond the first.
    pub(crate) repeated: u32,
    /// Events that arrived before their time.
    pub(crate) early: u32,
    /// From a normal event's intended time to its arrival.
    pub(crate) lateness: Option<Latency>,
    /// The same of the realtime ones.
    pub(crate) realtime_lateness: Option<Latency>,
    /// From the first intended time to the last arrival.
    pub(crate) seconds: f64,
    /// What it took, from the start of publishing to the last arrival.
    pub(crate) resources: Resources,
}

impl Punctuality {
    /// Events that did not arrive.
    pub(crate) const fn missing(&self) -> u32 {
        self.accepted - self.delivered
    }
}

/// Schedules events, and waits for them.
///
/// # Errors
/// If the platform refuses, or does not hold them in time.
pub(super) async fn measure(stage: &mut Stage, shape: Shape, say: &impl Fn(&str)) -> anyhow::Result<Punctuality> {
    stage.broker.wait_until_idle(IDLE_WITHIN).await?;
    let broker_before = procfs::memory(stage.pids.broker)?.resident_mib;
    let window = Window::begin(stage.pids)?;
    let (begun, begun_at) = (Instant::now(), clock::now_nanos());
    // A whole second, so that times that are the same are in the same one.
    let from = (begun_at / 1_000_000_000 + shape.lead.as_secs()) * 1000;
    let due = |events| Due { from: Timestamp::from_millis(from as i64), over: shape.over, events };
    let normal = (stage.next_phase(), due(shape.events));
    let realtime = (stage.next_phase(), due(shape.realtime));
    publish(stage, normal.0, normal.1, Lane::Normal).await?;
    publish(stage, realtime.0, realtime.1, Lane::Realtime).await?;
    let published = begun.elapsed();
    say(&format!("  published after {:.1} s", published.as_secs_f64()));
    stage.broker.wait_until_done(&[ConsumerName::Hold], IDLE_WITHIN).await?;
    let (held, held_at) = (begun.elapsed(), clock::now_nanos());
    let broker_held = procfs::memory(stage.pids.broker)?.resident_mib;
    say(&format!("  all held after {:.1} s", held.as_secs_f64()));
    // Nothing comes before the first is due, and then always something.
    tokio::time::sleep(Duration::from_nanos((from * 1_000_000).saturating_sub(clock::now_nanos()))).await;
    stage.wait_for(normal.0, shape.events, NOTHING_WITHIN).await?;
    stage.wait_for(realtime.0, shape.realtime, NOTHING_WITHIN).await?;
    let resources = window.end()?;
    let (of_normal, of_realtime) = (stage.ledger.phase(normal.0), stage.ledger.phase(realtime.0));
    let (normal, realtime) = (Times::of(of_normal, normal.1), Times::of(of_realtime, realtime.1));
    let last_at = normal.last_at.max(realtime.last_at);
    Ok(Punctuality {
        accepted: shape.events + shape.realtime,
        over_seconds: shape.over.as_secs_f64(),
        published_seconds: rounded(published.as_secs_f64(), 2),
        held_seconds: rounded(held.as_secs_f64(), 2),
        spare_seconds: rounded((from * 1_000_000) as f64 / 1e9 - held_at as f64 / 1e9, 2),
        broker_mib: [broker_before, broker_held],
        delivered: of_normal.delivered() + of_realtime.delivered(),
        repeated: of_normal.repeated() + of_realtime.repeated(),
        early: normal.early + realtime.early,
        lateness: Latency::of(normal.late),
        realtime_lateness: Latency::of(realtime.late),
        seconds: rounded(last_at.saturating_sub(from * 1_000_000) as f64 / 1e9, 2),
        resources,
    })
}

async fn publish(stage: &Stage, phase: u16, due: Due, lane: Lane) -> anyhow::Result<()> {
    let accepted = Arc::new(AtomicU32::new(0));
    let batches = Batches {
        address: stage.address(),
        paths: stage.paths(0..SITES.into()),
        api_key: stage.key.clone(),
        letter: Letter::new(LetterKind { lane, is_scheduled: true, ..LetterKind::default() }),
        phase,
        events: 0..due.events,
        due,
        until: None,
    };
    batch::publish(batches, Arc::clone(&accepted)).await?;
    let accepted = accepted.load(Ordering::Relaxed);
    ensure!(accepted == due.events, "{accepted} of {} events were accepted", due.events);
    Ok(())
}

/// When events came, against when they should have.
#[derive(Debug, Default)]
struct Times {
    late: Vec<u64>,
    early: u32,
    last_at: u64,
}

impl Times {
    fn of(phase: &Phase, due: Due) -> Self {
        let mut times = Self::default();
        for number in 0..due.events {
            let Some(arrival) = phase.first(number) else { continue };
            let due_at = due.of(number).as_millis() as u64 * 1_000_000;
            times.early += u32::from(arrival.at < due_at);
            times.late.push(arrival.at.saturating_sub(due_at));
            times.last_at = times.last_at.max(arrival.at);
        }
        times
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventId;
    use crate::ledger::Ledger;
    use crate::receiver::Arrival;

    #[test]
    fn an_event_before_its_time_is_early_and_not_late() {
        let due = Due { from: Timestamp::from_millis(1000), over: Duration::ZERO, events: 4 };
        let mut ledger = Ledger::default();
        let arrival = |number, at| Arrival { event: EventId { phase: 1, number }, hook: 0, at };
        ledger.note(vec![arrival(0, 1_000_000_000), arrival(1, 999_999_999), arrival(3, 1_250_000_000)]);
        let times = Times::of(ledger.phase(1), due);
        assert_eq!((times.early, times.late, times.last_at), (1, vec![0, 0, 250_000_000], 1_250_000_000));
    }
}
