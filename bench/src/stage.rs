//! A running platform with sites that have one subscription each, and a receiver with an address for each.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::bail;

use crate::api::Api;
use crate::broker::Broker;
use crate::driver::{self, Load, Published};
use crate::event::{Letter, LetterKind, Request};
use crate::ledger::Ledger;
use crate::open_loop;
use crate::receiver::Receiver;
use crate::resources::Pids;
use crate::system::{Launch, System};

/// Connections of the warm-up.
const WARM_UP_CONNECTIONS: usize = 16;
/// Events of a warm-up round per site, and how many there are at least: connections and caches are filled, as they are
/// in service.
const WARM_UP_PER_SITE: u32 = 10;
const WARM_UP_EVENTS_MIN: u32 = 500;
/// Rounds until everything must arrive: the first may come before a subscription is in force everywhere.
const WARM_UP_ROUNDS: u16 = 10;
/// How often the receiver is asked what has arrived.
const COLLECT_EVERY: Duration = Duration::from_millis(50);
/// How long nothing may arrive before the rest counts as missing. Longer than the first retry waits (5 s).
pub(crate) const STALL: Duration = Duration::from_secs(15);
/// How long routing and recording may lag behind.
pub(crate) const IDLE_WITHIN: Duration = Duration::from_mins(5);

/// The platform, and everything around it. Site n has the one subscription n, whose deliveries go to address n.
#[derive(Debug)]
pub(crate) struct Stage {
    // The platform goes first, so that it does not see its receiver go.
    pub(crate) system: System,
    pub(crate) broker: Broker,
    pub(crate) receiver: Receiver,
    pub(crate) api: Api,
    pub(crate) key: String,
    pub(crate) pids: Pids,
    pub(crate) ledger: Ledger,
    sites: Vec<String>,
    phase: u16,
}

impl Stage {
    /// Starts everything, and publishes until every site's events arrive.
    ///
    /// # Errors
    /// If the platform does not start, or does not deliver.
    pub(crate) async fn start(launch: &Launch, sites: u8) -> anyhow::Result<Self> {
        let receiver = Receiver::start(sites).await?;
        let system = System::start(launch).await?;
        let pids = Pids {
            slipstream: system.pid(),
            broker: system.broker_pid()?,
            driver: std::process::id(),
            receiver: receiver.pid(),
        };
        let broker = Broker::connect(&system.broker_url()?).await?;
        let api = Api::new(system.address(), system.operator_address(), system.operator_token()?);
        api.make_organisation().await?;
        let key = api.make_account("Benchmark").await?;
        let sites: Vec<String> = (0..sites).map(|number| format!("sBench{number:03}")).collect();
        for (hook, slug) in (0..).zip(&sites) {
            api.make_site(slug).await?;
            // One account may subscribe once at each site.
            api.subscribe(slug, &key, &receiver.url(hook)).await?;
        }
        let ledger = Ledger::default();
        let mut stage = Self { system, broker, receiver, api, key, pids, ledger, sites, phase: 0 };
        stage.warm_up().await?;
        Ok(stage)
    }

    /// The number of a new phase.
    pub(crate) fn next_phase(&mut self) -> u16 {
        self.phase += 1;
        self.phase
    }

    /// Where the platform listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.system.address()
    }

    /// The slug of site `number`.
    pub(crate) fn site(&self, number: usize) -> &str {
        &self.sites[number]
    }

    /// Where events of these sites are posted.
    pub(crate) fn paths(&self, sites: Range<usize>) -> Vec<String> {
        self.sites[sites].iter().map(|slug| format!("/sites/{slug}/events")).collect()
    }

    /// A new phase of single events for these sites in turn: event n goes to the site n modulo their number.
    pub(crate) fn load(&mut self, sites: Range<usize>, kind: LetterKind, events: u32) -> Load {
        let (address, phase) = (self.address(), self.next_phase());
        let request = |path: &String| Request::new(&address.to_string(), path, &self.key, Letter::new(kind));
        let requests = self.paths(sites).iter().map(request).collect();
        Load { address, requests, phase, events, connections: WARM_UP_CONNECTIONS, limit: STALL }
    }

    /// Publishes at a steady rate, on a thread of its own.
    ///
    /// # Errors
    /// If a connection fails.
    pub(crate) async fn publish_steadily(load: &Load, per_second: u32) -> anyhow::Result<Published> {
        let load = load.clone();
        tokio::task::spawn_blocking(move || open_loop::publish(&load, per_second)).await?
    }

    /// Takes note of what has arrived.
    ///
    /// # Errors
    /// If the receiver is gone.
    pub(crate) async fn collect(&mut self) -> anyhow::Result<()> {
        self.ledger.note(self.receiver.take().await?);
        Ok(())
    }

    /// Waits until so many events of a phase have arrived, or none of it has for `stall`.
    ///
    /// # Errors
    /// If the receiver is gone.
    pub(crate) async fn wait_for(&mut self, phase: u16, events: u32, stall: Duration) -> anyhow::Result<()> {
        let (mut last, mut moved_at) = (0, Instant::now());
        loop {
            self.collect().await?;
            let delivered = self.ledger.phase(phase).delivered();
            if delivered > last {
                (last, moved_at) = (delivered, Instant::now());
            }
            if delivered >= events || moved_at.elapsed() > stall {
                return Ok(());
            }
            tokio::time::sleep(COLLECT_EVERY).await;
        }
    }

    async fn warm_up(&mut self) -> anyhow::Result<()> {
        let sites = self.sites.len();
        let events = (sites as u32 * WARM_UP_PER_SITE).max(WARM_UP_EVENTS_MIN);
        let mut last = String::new();
        for _ in 0..WARM_UP_ROUNDS {
            let load = self.load(0..sites, LetterKind::default(), events);
            let published = driver::publish(&load).await?;
            self.broker.wait_until_idle(IDLE_WITHIN).await?;
            self.collect().await?;
            let delivered = self.ledger.phase(load.phase).delivered();
            if delivered == events {
                return Ok(());
            }
            last = format!("refused {:?}, delivered {delivered} of {events}", published.refused());
        }
        bail!("not all sites take and deliver events; last round: {last}; the log:\n{}", self.system.log_tail())
    }
}
