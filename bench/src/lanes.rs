//! `lanes`: is realtime delayed by normal events that wait, and does normal keep its share while realtime floods
//! (SPEC 4.5)?
//!
//! All events go to one site with one subscription, so that realtime has to pass the waiting ones at every place where
//! they can wait: routing, the pick of the dispatcher, and the queue of the endpoint. The normal events that wait are
//! counted as accepted and not arrived; before a run begins they are all routed, so what waits are deliveries.

mod backlog;
mod figures;
mod flood;

use std::time::{Duration, Instant};

use anyhow::Context as _;
use slipstream_bus::ConsumerName;
use slipstream_core::lane::Lane;

use self::backlog::Backlog;
use self::figures::{Configuration, Figures, Meanwhile, Run};
use crate::cli::{self, Lanes};
use crate::clock;
use crate::document;
use crate::event::LetterKind;
use crate::receiver::Behaviour;
use crate::stage::{IDLE_WITHIN, STALL, Stage};
use crate::stats::{Latency, rate};
use crate::system::Launch;
use crate::wanted::Wanted;

/// Realtime events of a run, and how many a second.
const REALTIME_EVENTS: u32 = 200;
const REALTIME_PER_SECOND: u32 = 20;
/// What a realtime event's p99 may be, as a multiple of that on an idle system.
const MULTIPLE_MAX: f64 = 3.0;
/// The least share of the deliveries that normal should have while realtime floods: an eighth (SPEC 4.5), less what
/// counting within a window of time may be off.
const NORMAL_SHARE_MIN: f64 = 0.11;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
struct Plan {
    /// Normal events that wait when a run begins.
    waiting: u32,
    /// Realtime events of a run.
    realtime: u32,
    /// Runs of each kind.
    repeats: u8,
    /// How long normal is watched alone.
    alone: Duration,
    /// How long realtime floods.
    flood: Duration,
}

impl Plan {
    fn of(told: &Lanes) -> Self {
        let (waiting, repeats) = (told.waiting, told.repeats);
        if told.single.common.quick {
            let (alone, flood) = (Duration::from_secs(2), Duration::from_secs(4));
            return Self { waiting: waiting / 10, realtime: REALTIME_EVENTS / 4, repeats: 1, alone, flood };
        }
        let (alone, flood) = (Duration::from_secs(8), Duration::from_secs(12));
        Self { waiting, realtime: REALTIME_EVENTS, repeats, alone, flood }
    }
}

/// Measures every configuration that was asked for.
///
/// # Errors
/// If the platform does not start, fails, or does not come to rest in time; with the end of its log.
pub(crate) async fn run(told: Lanes) -> anyhow::Result<()> {
    let (plan, launch, begun) = (Plan::of(&told), told.single.common.launch(&told.single.sync)?, Instant::now());
    if told.dispatchers.iter().any(|dispatchers| *dispatchers > 1) {
        cli::ensure_built(&launch.dispatcher)?;
    }
    let (mut configurations, mut wanted) = (Vec::new(), Vec::new());
    for receiver_ms in &told.receiver_ms {
        for dispatchers in &told.dispatchers {
            let launch = Launch { dispatchers: (*dispatchers).into(), ..launch.clone() };
            let name = format!("{dispatchers} dispatcher(s), receiver {receiver_ms} ms");
            let say = |doing: &str| eprintln!("[{:>5.1} s] {name}: {doing}", begun.elapsed().as_secs_f64());
            let measured = measure(&launch, &plan, *receiver_ms, say).await.with_context(|| name.clone())?;
            println!("{name}\n{}", measured.table());
            wanted.extend(verdicts(&measured, &plan));
            configurations.push(measured);
        }
    }
    document::conclude("lanes", &told.single, &launch.scratch, &wanted, &Figures { configurations })
}

/// One platform, from start to end.
async fn measure(launch: &Launch, plan: &Plan, receiver_ms: u16, say: impl Fn(&str)) -> anyhow::Result<Configuration> {
    say("starting the platform");
    let mut stage = Stage::start(launch, 1).await?;
    if receiver_ms > 0 {
        stage.receiver.behave(0..1, Behaviour::Slow(receiver_ms)).await?;
    }
    let measured = measure_on(&mut stage, plan, say).await;
    let (idle, meanwhile, flood) =
        measured.with_context(|| format!("the platform's last words:\n{}", stage.system.log_tail()))?;
    Ok(Configuration::new(launch.dispatchers, receiver_ms, idle, meanwhile, flood))
}

async fn measure_on(
    stage: &mut Stage,
    plan: &Plan,
    say: impl Fn(&str),
) -> anyhow::Result<(Vec<Run>, Vec<Meanwhile>, flood::Flood)> {
    let mut idle = Vec::new();
    for _ in 0..plan.repeats {
        say("realtime on an idle system");
        stage.broker.wait_until_idle(IDLE_WITHIN).await?;
        idle.push(realtime(stage, plan).await?);
    }
    let mut backlog = Backlog::new(stage);
    let mut meanwhile = Vec::new();
    for _ in 0..plan.repeats {
        say("publishing normal events until enough of them wait");
        fill(stage, &mut backlog, plan.waiting).await?;
        say("normal alone");
        let alone_per_second = alone(stage, &backlog, plan.alone).await?;
        // What was delivered meanwhile has to wait again.
        say("publishing normal events until enough of them wait again");
        fill(stage, &mut backlog, plan.waiting).await?;
        say("realtime meanwhile");
        let (waiting_before, from) = (backlog.waiting(stage).await?, clock::now_nanos());
        let run = realtime(stage, plan).await?;
        let (waiting_after, to) = (backlog.waiting(stage).await?, clock::now_nanos());
        let normal = stage.ledger.phase(backlog.phase()).within(&(from..to));
        let normal_per_second = rate(normal.into(), (to - from) as f64 / 1e9);
        meanwhile.push(Meanwhile { run, waiting_before, waiting_after, alone_per_second, normal_per_second });
    }
    say("publishing normal events for the flood");
    fill(stage, &mut backlog, plan.waiting).await?;
    say("realtime floods");
    let flood = flood::measure(stage, &mut backlog, plan.flood).await?;
    Ok((idle, meanwhile, flood))
}

/// Makes so many normal events wait, all of them routed.
async fn fill(stage: &mut Stage, backlog: &mut Backlog, waiting: u32) -> anyhow::Result<()> {
    backlog.fill(stage, waiting).await?;
    stage.broker.wait_until_done(&[ConsumerName::Route(Lane::Normal)], IDLE_WITHIN).await
}

/// How many normal events are delivered per second with nothing beside them.
async fn alone(stage: &mut Stage, backlog: &Backlog, time: Duration) -> anyhow::Result<f64> {
    let from = clock::now_nanos();
    tokio::time::sleep(time).await;
    let to = clock::now_nanos();
    stage.collect().await?;
    let delivered = stage.ledger.phase(backlog.phase()).within(&(from..to));
    Ok(rate(delivered.into(), (to - from) as f64 / 1e9))
}

/// A run of realtime events at a steady rate.
async fn realtime(stage: &mut Stage, plan: &Plan) -> anyhow::Result<Run> {
    let kind = LetterKind { lane: Lane::Realtime, ..LetterKind::default() };
    let load = stage.load(0..1, kind, plan.realtime);
    let published = Stage::publish_steadily(&load, REALTIME_PER_SECOND).await?;
    stage.wait_for(load.phase, published.accepted() as u32, STALL).await?;
    let (phase, given_up_at) = (stage.ledger.phase(load.phase), clock::now_nanos());
    let latency = |sent: &crate::driver::Sent| {
        // One that has not come is at least as late as now.
        phase.first(sent.number).map_or(given_up_at, |arrival| arrival.at).saturating_sub(sent.at)
    };
    let accepted = published.sent.iter().filter(|sent| sent.is_accepted());
    Ok(Run {
        sent: plan.realtime,
        accepted: published.accepted() as u32,
        delivered: phase.delivered(),
        repeated: phase.repeated(),
        end_to_end: Latency::of(accepted.map(latency).collect()),
    })
}

fn verdicts(measured: &Configuration, plan: &Plan) -> Vec<Wanted> {
    let (number, waiting) = (measured.dispatchers, plan.waiting);
    let name = format!("{number} dispatcher(s), receiver {} ms", measured.receiver_ms);
    let least = measured.meanwhile.iter().map(|run| run.waiting_before).min();
    let lost = measured.runs().map(|run| run.sent - run.delivered).sum::<u32>();
    vec![
        Wanted::at_least(
            format!("{name}: normal events waiting as a run begins"),
            f64::from(waiting),
            least.map(f64::from),
            "",
        ),
        Wanted::at_most(format!("{name}: realtime not delivered"), 0.0, Some(f64::from(lost)), ""),
        Wanted::at_most(
            format!("{name}: realtime p99, multiple of idle"),
            MULTIPLE_MAX,
            measured.realtime_multiple,
            "x",
        ),
        Wanted::at_least(
            format!("{name}: normal's share in a realtime flood"),
            NORMAL_SHARE_MIN,
            measured.flood.normal_share(),
            "",
        ),
    ]
}
