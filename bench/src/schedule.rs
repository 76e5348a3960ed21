//! `schedule`: how late scheduled events come, what it costs the broker to hold them, and what the requests about them
//! take while many are pending.

mod figures;
mod lateness;
mod pending;
mod requests;

use std::time::{Duration, Instant};

use anyhow::Context as _;

use self::figures::Figures;
use self::lateness::{Punctuality, Shape};
use crate::cli::Schedule;
use crate::document;
use crate::stage::Stage;
use crate::wanted::Wanted;

/// Sites, with a subscription each: that one endpoint takes only so many at once is not what is measured here.
const SITES: u8 = 10;
/// Over how long scheduled events are spread.
const SPREAD: Duration = Duration::from_mins(1);
/// Realtime events among those that are due in the same second.
const REALTIME_EVENTS: u32 = 200;
/// How late events may be that are due in one second, normal and realtime (THREATS 10).
const ONE_SECOND_P99_MS: f64 = 30_000.0;
const ONE_SECOND_REALTIME_P99_MS: f64 = 2000.0;
/// How long a request may take.
const REQUEST_MS: f64 = 50.0;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
struct Plan {
    events: u32,
    spread: Duration,
    lead: Duration,
    realtime: u32,
    pending: u32,
    requests: u32,
}

impl Plan {
    fn of(told: &Schedule) -> Self {
        let share = if told.single.common.quick { 10 } else { 1 };
        Self {
            events: told.events / share,
            spread: SPREAD / share,
            lead: Duration::from_secs(u64::from(told.lead_seconds)) / share.min(4),
            realtime: REALTIME_EVENTS / share,
            pending: told.pending / share,
            requests: if share > 1 { 10 } else { told.requests },
        }
    }
}

/// Measures all of it on one platform.
///
/// # Errors
/// If the platform does not start, fails, or does not come to rest in time; with the end of its log.
pub(crate) async fn run(told: Schedule) -> anyhow::Result<()> {
    let (plan, launch, begun) = (Plan::of(&told), told.single.common.launch(&told.single.sync)?, Instant::now());
    let say = |doing: &str| eprintln!("[{:>5.1} s] {doing}", begun.elapsed().as_secs_f64());
    say("starting the platform");
    let mut stage = Stage::start(&launch, SITES).await?;
    let measured = measure(&mut stage, &plan, say).await;
    let figures = measured.with_context(|| format!("the platform's last words:\n{}", stage.system.log_tail()))?;
    drop(stage);
    print!("{}", figures.table());
    document::conclude("schedule", &told.single, &launch.scratch, &verdicts(&figures), &figures)
}

async fn measure(stage: &mut Stage, plan: &Plan, say: impl Fn(&str)) -> anyhow::Result<Figures> {
    let Plan { events, spread, lead, realtime, .. } = *plan;
    say("events spread over a time");
    let spread = lateness::measure(stage, Shape { events, realtime: 0, over: spread, lead }, &say).await?;
    say("events due in the same second");
    let same_second = Shape { events, realtime, over: Duration::ZERO, lead };
    let same_second = lateness::measure(stage, same_second, &say).await?;
    say("publishing the events that stay pending");
    let pending = pending::measure(stage, plan.pending, plan.requests, &say).await?;
    Ok(Figures { spread, same_second, pending })
}

fn verdicts(figures: &Figures) -> Vec<Wanted> {
    let Figures { spread, same_second, pending } = figures;
    let mut wanted = Vec::new();
    for (name, held) in [("spread", spread), ("same second", same_second)] {
        wanted.extend(counts(name, held));
    }
    let late = same_second.lateness.map(|it| it.p99_ms);
    wanted.push(Wanted::at_most("same second: lateness p99", ONE_SECOND_P99_MS, late, " ms"));
    let late = same_second.realtime_lateness.map(|it| it.p99_ms);
    wanted.push(Wanted::at_most("same second: realtime's p99", ONE_SECOND_REALTIME_P99_MS, late, " ms"));
    for request in &pending.requests {
        let (name, events) = (request.name, pending.events);
        wanted.push(Wanted::at_most(format!("{name}, {events} pending: refused"), 0.0, Some(request.refused()), ""));
        let longest = request.answer.map(|it| it.max_ms);
        wanted.push(Wanted::at_most(format!("{name}, {events} pending: longest"), REQUEST_MS, longest, " ms"));
    }
    let off = f64::from(pending.listed_after.abs_diff(pending.expected_after));
    wanted.push(Wanted::at_most("events listed afterwards, off by", 0.0, Some(off), ""));
    let missing = f64::from(pending.delivered_now_expected.saturating_sub(pending.delivered_now));
    wanted.push(Wanted::at_most("events to deliver now that did not come", 0.0, Some(missing), ""));
    wanted.push(Wanted::at_most("cancelled or later events that came", 0.0, Some(pending.came_uncalled.into()), ""));
    wanted
}

/// What holds for every shape.
fn counts(name: &str, held: &Punctuality) -> [Wanted; 2] {
    [
        Wanted::at_most(format!("{name}: early"), 0.0, Some(held.early.into()), ""),
        Wanted::at_most(format!("{name}: not delivered"), 0.0, Some(held.missing().into()), ""),
    ]
}
