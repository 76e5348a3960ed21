//! What is measured, one phase after the other, on one running platform.

use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::api::Api;
use crate::broker::Broker;
use crate::count::{self, Outcome};
use crate::driver::{self, Load, Published};
use crate::event::{Letter, Request};
use crate::open_loop;
use crate::raw::{self, Raw};
use crate::receiver::Receiver;
use crate::report::{Accepting, ActivityLog, Delivering, Mode, StartUp};
use crate::resources::{Pids, Resources, Window};
use crate::stats::{Latency, rate, rounded};
use crate::system::{Launch, System};

/// Connections of the closed loops, and messages in flight of the ceiling.
pub(crate) const CONNECTIONS: usize = 64;
/// Connections with which the open loop starts.
const OPEN_LOOP_CONNECTIONS: usize = 4;
/// Subscriptions of the site for the larger fan-out.
const FAN_OUT: u16 = 5;
/// Events of a warm-up round, unmeasured: connections and caches are filled, as they are in service.
const WARM_UP_EVENTS: u32 = 500;
/// Rounds until everything must arrive: the first may come before a subscription is in force everywhere.
const WARM_UP_ROUNDS: u16 = 10;
/// How long the platform is watched doing nothing.
const IDLE_FOR: Duration = Duration::from_secs(2);
/// How long nothing may arrive before the rest counts as missing. Longer than the first retry waits (5 s).
const STALL: Duration = Duration::from_secs(15);
/// How long routing and recording may lag behind at the end of a phase.
const IDLE_WITHIN: Duration = Duration::from_mins(3);

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Events of each closed loop.
    pub(crate) events: u32,
    /// Longest time in which a closed loop begins events.
    pub(crate) limit: Duration,
    /// Longest time in which only accepting is measured.
    pub(crate) accept_limit: Duration,
    /// Messages and longest time of the ceiling.
    pub(crate) raw: (u64, Duration),
    /// Events per second of the open loop.
    pub(crate) open_loop_rate: u32,
    /// How long the open loop runs.
    pub(crate) open_loop_time: Duration,
}

/// A site, and the numbers of its subscriptions.
#[derive(Debug)]
struct Site {
    slug: &'static str,
    hooks: Range<u16>,
    /// All that has been accepted and should be listed as succeeded, warm-up included.
    delivered: usize,
}

/// A running platform with its sites and receiver.
struct Bench {
    // The platform goes first, so that it does not see its receiver go.
    system: System,
    broker: Broker,
    receiver: Receiver,
    api: Api,
    key: String,
    pids: Pids,
    phase: u16,
}

/// Measures everything in one durability mode. `say` is told what is being done.
///
/// # Errors
/// If the platform does not start, fails, or does not come to rest in time; with the end of its log.
pub(crate) async fn measure(launch: &Launch, plan: &Plan, say: impl Fn(&str)) -> anyhow::Result<Mode> {
    say("starting the platform");
    let receiver = Receiver::start(1).await?;
    let system = System::start(launch).await?;
    let pids = Pids {
        slipstream: system.pid(),
        broker: system.broker_pid()?,
        driver: std::process::id(),
        receiver: receiver.pid(),
    };
    let broker = Broker::connect(&system.broker_url()?).await?;
    let api = Api::new(system.address(), system.operator_address(), system.operator_token()?);
    let idle = Window::begin(pids)?;
    tokio::time::sleep(IDLE_FOR).await;
    let start_up = StartUp::of(system.started_in(), IDLE_FOR, idle.end()?);
    let key = api.make_account("Benchmark").await?;
    let mut bench = Bench { system, broker, receiver, api, key, pids, phase: 0 };
    let measured = bench.run(launch, plan, start_up, say).await;
    measured.with_context(|| format!("sync {}; the platform's last words:\n{}", launch.sync, bench.system.log_tail()))
}

impl Bench {
    async fn run(
        &mut self,
        launch: &Launch,
        plan: &Plan,
        start_up: StartUp,
        say: impl Fn(&str),
    ) -> anyhow::Result<Mode> {
        let [mut unheard, mut one, mut five] = self.make_sites().await?;
        say("warming up");
        for site in [&mut unheard, &mut one, &mut five] {
            self.warm_up(site).await?;
        }
        // First, so that its memory is that of a platform which has done just this.
        say("delivering, fan-out 1");
        let mut delivering = vec![self.closed_loop(&mut one, plan.events, plan).await?];
        // One after the other, because the one is read as a share of the other.
        say("ceiling: raw JetStream publishes");
        let raw = self.ceiling(plan).await?;
        say("accepting, no subscription");
        let accepting = self.accepting(&unheard, plan).await?;
        say("delivering, fan-out 5");
        // Once with as many deliveries as at fan-out 1, once with as many events.
        for events in [plan.events / u32::from(FAN_OUT), plan.events] {
            delivering.push(self.closed_loop(&mut five, events, plan).await?);
        }
        say("open loop");
        let open_loop = self.open_loop(&mut one, plan).await?;
        say("comparing with the activity log");
        let expected = one.delivered + five.delivered;
        let mut listed = 0;
        for site in [&one, &five] {
            listed += self.api.count_succeeded(site.slug).await?;
        }
        let activity_log = ActivityLog { expected, listed_succeeded: listed };
        Ok(Mode { sync: launch.sync.clone(), start_up, raw, accepting, delivering, open_loop, activity_log })
    }

    /// Three sites: with no subscription, with one, and with several, each of its own account.
    async fn make_sites(&mut self) -> anyhow::Result<[Site; 3]> {
        let sites = [("sBenchNone", 0..0), ("sBenchOne", 0..1), ("sBenchFive", 1..1 + FAN_OUT)];
        self.api.make_organisation().await?;
        for (slug, hooks) in &sites {
            self.api.make_site(slug).await?;
            for hook in hooks.clone() {
                let key = self.api.make_account(&format!("Receiver {hook}")).await?;
                self.api.subscribe(slug, &key, &self.receiver.url(hook)).await?;
            }
        }
        Ok(sites.map(|(slug, hooks)| Site { slug, hooks, delivered: 0 }))
    }

    /// The next phase's events for `site`.
    fn load(&mut self, site: &Site, events: u32, connections: usize, limit: Duration) -> Load {
        self.phase += 1;
        let address = self.system.address();
        let path = format!("/sites/{}/events", site.slug);
        let request = Request::new(&address.to_string(), &path, &self.key, Letter::default());
        Load { address, requests: vec![request], phase: self.phase, events, connections, limit }
    }

    /// Publishes, unmeasured, until every event of a round is accepted and delivered.
    async fn warm_up(&mut self, site: &mut Site) -> anyhow::Result<()> {
        let mut last = String::new();
        for _ in 0..WARM_UP_ROUNDS {
            let load = self.load(site, WARM_UP_EVENTS, CONNECTIONS, STALL);
            let published = driver::publish(&load).await?;
            self.broker.wait_until_idle(IDLE_WITHIN).await?;
            let arrivals = self.receiver.take().await?;
            let counts = count::compare(&published, &arrivals, load.phase, &site.hooks).counts;
            site.delivered += counts.delivered;
            let refused = published.refused();
            if refused.is_empty() && counts.missing == 0 {
                return Ok(());
            }
            last = format!("refused {refused:?}, {counts:?}");
        }
        bail!("site {} does not take and deliver events; last round: {last}", site.slug)
    }

    async fn ceiling(&mut self, plan: &Plan) -> anyhow::Result<Raw> {
        let window = Window::begin(self.pids)?;
        let (messages, limit) = plan.raw;
        let mut raw = raw::measure(self.broker.jetstream(), CONNECTIONS, messages, limit).await?;
        raw.nats_server_us = rounded(window.end()?.nats_server.cpu_seconds * 1e6 / raw.messages.max(1) as f64, 1);
        Ok(raw)
    }

    async fn accepting(&mut self, site: &Site, plan: &Plan) -> anyhow::Result<Accepting> {
        let load = self.load(site, plan.events, CONNECTIONS, plan.accept_limit);
        let window = Window::begin(self.pids)?;
        let published = driver::publish(&load).await?;
        let answered = Instant::now();
        let idle = self.broker.wait_until_idle(IDLE_WITHIN).await?;
        let resources = window.end()?;
        let seconds = seconds_between(published.first_at(), published.answered_at());
        let accepted = published.accepted();
        Ok(Accepting {
            connections: CONNECTIONS,
            sent: published.sent.len(),
            accepted,
            refused: published.refused(),
            reconnects: published.reconnects,
            seconds: rounded(seconds, 3),
            accepted_per_second: rate(accepted as u64, seconds),
            answer: Latency::of(published.answer_times()),
            idle_after_seconds: rounded(idle.duration_since(answered).as_secs_f64(), 2),
            cpu_ms_per_event: resources.cpu_ms_per(accepted),
            resources,
        })
    }

    async fn closed_loop(&mut self, site: &mut Site, events: u32, plan: &Plan) -> anyhow::Result<Delivering> {
        let load = self.load(site, events, CONNECTIONS, plan.limit);
        let window = Window::begin(self.pids)?;
        let published = driver::publish(&load).await?;
        self.delivered(site, &load, published, window).await
    }

    async fn open_loop(&mut self, site: &mut Site, plan: &Plan) -> anyhow::Result<Delivering> {
        let events = plan.open_loop_rate * plan.open_loop_time.as_secs() as u32;
        let load = self.load(site, events, OPEN_LOOP_CONNECTIONS, plan.limit);
        let (window, rate) = (Window::begin(self.pids)?, plan.open_loop_rate);
        let of_thread = load.clone();
        let published = tokio::task::spawn_blocking(move || open_loop::publish(&of_thread, rate)).await??;
        let mut delivering = self.delivered(site, &load, published, window).await?;
        delivering.scheduled_per_second = Some(rate);
        Ok(delivering)
    }

    /// Waits for what was published to arrive and to be recorded, and takes all figures.
    async fn delivered(
        &mut self,
        site: &mut Site,
        load: &Load,
        published: Published,
        window: Window,
    ) -> anyhow::Result<Delivering> {
        let accepted = published.accepted();
        self.receiver.wait(accepted * site.hooks.len(), STALL).await?;
        let arrived = Instant::now();
        let recorded = self.broker.wait_until_idle(IDLE_WITHIN).await?;
        let resources = window.end()?;
        let arrivals = self.receiver.take().await?;
        let outcome = count::compare(&published, &arrivals, load.phase, &site.hooks);
        site.delivered += outcome.counts.delivered;
        let recorded_after = recorded.duration_since(arrived);
        Ok(figures(site, load, &published, outcome, recorded_after, resources))
    }
}

fn figures(
    site: &Site,
    load: &Load,
    published: &Published,
    outcome: Outcome,
    recorded_after: Duration,
    resources: Resources,
) -> Delivering {
    let (accepted, counts) = (published.accepted(), outcome.counts);
    let seconds = seconds_between(published.first_at(), outcome.last_at);
    // Events whose deliveries are all there; with none missing, all that were accepted.
    let events_delivered = counts.delivered / site.hooks.len().max(1);
    Delivering {
        fan_out: site.hooks.len(),
        connections: load.connections,
        scheduled_per_second: None,
        sent: published.sent.len(),
        accepted,
        refused: published.refused(),
        reconnects: published.reconnects,
        counts,
        seconds: rounded(seconds, 3),
        events_per_second: rate(events_delivered as u64, seconds),
        deliveries_per_second: rate(counts.delivered as u64, seconds),
        end_to_end: Latency::of(outcome.end_to_end),
        answer: Latency::of(published.answer_times()),
        recorded_after_seconds: rounded(recorded_after.as_secs_f64(), 2),
        cpu_ms_per_event: resources.cpu_ms_per(events_delivered),
        cpu_ms_per_delivery: resources.cpu_ms_per(counts.delivered),
        resident_mib: resources.resident_mib(),
        peak_mib: resources.peak_mib(),
        resources,
    }
}

/// Between two readings of [`crate::clock::now_nanos`].
fn seconds_between(from: u64, to: u64) -> f64 {
    to.saturating_sub(from) as f64 / 1e9
}
