//! `isolation`: what do receivers that never answer, or drip a byte a second, cost the others (THREATS N7)?
//!
//! Fifty sites with a subscription each, every receiver on an address of its own, since requests in flight are bounded
//! by host too. Ten of the receivers turn bad after the warm-up, when the platform has known them as good ones: that is
//! harder than never to have answered. What is measured of the forty others is compared with the same forty beside ten
//! good ones, and with the same forty alone, at the same rate for each.
//!
//! Each run has a platform of its own, so that none begins with what another has left waiting. The kinds take turns,
//! and the medians are compared: the machine has its moods.

mod figures;

use std::time::{Duration, Instant};

use anyhow::Context as _;

use self::figures::{Figures, Kind, Run};
use crate::cli::Isolation;
use crate::clock;
use crate::document;
use crate::event::LetterKind;
use crate::receiver::Behaviour;
use crate::stage::Stage;
use crate::stats::{Latency, rate};
use crate::system::Launch;
use crate::wanted::Wanted;

/// Subscriptions, and those of them that turn bad: the last ones.
const SUBSCRIPTIONS: u8 = 50;
const BAD: u8 = 10;
const GOOD: u8 = SUBSCRIPTIONS - BAD;
/// How long the others' deliveries may be late after the last event was sent, before they count as missing.
const GRACE: Duration = Duration::from_secs(5);
/// What the others' p99 may be, as a multiple of that without the bad ones, and what their rate should be at least.
const P99_MULTIPLE_MAX: f64 = 1.5;
const RATE_SHARE_MIN: f64 = 0.9;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
struct Plan {
    /// Events per second to all fifty.
    per_second: u32,
    /// Length of a run.
    seconds: u32,
}

/// Measures all kinds of runs, in turn.
///
/// # Errors
/// If the platform does not start or fails; with the end of its log.
pub(crate) async fn run(told: Isolation) -> anyhow::Result<()> {
    let (launch, begun) = (told.single.common.launch(&told.single.sync)?, Instant::now());
    let is_quick = told.single.common.quick;
    let repeats = if is_quick { 1 } else { told.repeats };
    let plan = Plan { per_second: told.per_second, seconds: if is_quick { 5 } else { told.seconds } };
    let mut runs = Vec::new();
    for repeat in 1..=repeats {
        for kind in Kind::ALL {
            let name = kind.as_str();
            eprintln!("[{:>5.1} s] {repeat} of {repeats}: {name}", begun.elapsed().as_secs_f64());
            let run = measure(&launch, plan, kind).await.with_context(|| name.to_owned())?;
            println!("  {}", run.line());
            runs.push(run);
        }
    }
    let figures = Figures::of(plan.per_second, plan.seconds, runs);
    print!("{}", figures.table());
    document::conclude("isolation", &told.single, &launch.scratch, &verdicts(&figures), &figures)
}

/// One run, on a platform of its own.
async fn measure(launch: &Launch, plan: Plan, kind: Kind) -> anyhow::Result<Run> {
    let mut stage = Stage::start(launch, SUBSCRIPTIONS).await?;
    let measured = measure_on(&mut stage, plan, kind).await;
    let run = measured.with_context(|| format!("the platform's last words:\n{}", stage.system.log_tail()))?;
    // The receiver first: attempts that hang would hold up the platform's orderly end.
    let Stage { receiver, system, .. } = stage;
    drop(receiver);
    drop(system);
    Ok(run)
}

async fn measure_on(stage: &mut Stage, plan: Plan, kind: Kind) -> anyhow::Result<Run> {
    stage.receiver.behave(GOOD.into()..SUBSCRIPTIONS.into(), kind.behaviour()).await?;
    // Event n goes to subscription n modulo their number, so the good ones have the same rate in every run.
    let subscriptions = if kind == Kind::Alone { GOOD } else { SUBSCRIPTIONS };
    let per_second = plan.per_second * u32::from(subscriptions) / u32::from(SUBSCRIPTIONS);
    let events = per_second * plan.seconds;
    let is_good = |number: u32| number % u32::from(subscriptions) < u32::from(GOOD);
    let load = stage.load(0..subscriptions.into(), LetterKind::default(), events);
    let from = clock::now_nanos();
    let published = Stage::publish_steadily(&load, per_second).await?;
    let to = from + u64::from(plan.seconds) * 1_000_000_000;

    let good: Vec<_> = published.sent.iter().filter(|sent| sent.is_accepted() && is_good(sent.number)).collect();
    let given_up = Instant::now() + GRACE;
    let come = loop {
        stage.collect().await?;
        let phase = stage.ledger.phase(load.phase);
        let come = good.iter().filter(|sent| phase.first(sent.number).is_some()).count();
        if come == good.len() || Instant::now() > given_up {
            break come;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let (phase, now) = (stage.ledger.phase(load.phase), clock::now_nanos());
    // One that has not come is at least as late as now.
    let arrived_at = |number| phase.first(number).map_or(now, |arrival| arrival.at);
    let latency = good.iter().map(|sent| arrived_at(sent.number).saturating_sub(sent.at)).collect();
    let in_time = good.iter().filter(|sent| arrived_at(sent.number) < to).count();
    let reached_bad = phase.arrivals().filter(|arrival| arrival.hook >= GOOD.into()).count();
    Ok(Run {
        kind,
        sent: published.sent.iter().filter(|sent| is_good(sent.number)).count(),
        accepted: good.len(),
        delivered: come,
        offered_per_second: rate(good.len() as u64, plan.seconds.into()),
        delivered_per_second: rate(in_time as u64, plan.seconds.into()),
        end_to_end: Latency::of(latency),
        reached_bad,
    })
}

impl Kind {
    /// How the ten behave in it.
    const fn behaviour(self) -> Behaviour {
        match self {
            Self::Healthy | Self::Alone => Behaviour::Take,
            Self::Hanging => Behaviour::Hang,
            Self::Dripping => Behaviour::Drip,
        }
    }
}

fn verdicts(figures: &Figures) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    for bad in [Kind::Hanging, Kind::Dripping] {
        for base in [Kind::Healthy, Kind::Alone] {
            let name = format!("ten {}, against {}", bad.of_ten(), base.as_str());
            let ratios = figures.ratios(bad, base);
            wanted.push(Wanted::at_most(format!("{name}: p99"), P99_MULTIPLE_MAX, ratios.p99, "x"));
            wanted.push(Wanted::at_least(format!("{name}: rate"), RATE_SHARE_MIN, ratios.rate, "x"));
        }
    }
    let missing: usize = figures.runs.iter().map(|run| run.accepted - run.delivered).sum();
    wanted.push(Wanted::at_most("deliveries to the forty missing, all runs", 0.0, Some(missing as f64), ""));
    wanted
}
