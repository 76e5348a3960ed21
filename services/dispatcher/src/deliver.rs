//! Deliver: a delivery that is due becomes an attempt, and the attempt an outcome (DESIGN 4 "Deliver", "Isolate").
//!
//! One loop picks deliveries from the three lanes and hands each to the [`endpoint`] of its subscription, which says
//! at once what happens: it starts, it queues behind a few others there, or it goes back to the bus as a schedule.
//! So the loop never waits for a receiver, and a dead or slow one holds nothing but its own bounded places. A worker
//! makes an [`attempt`], then the next of the same endpoint while there is one. Every outcome goes through the
//! [`record`]er, which makes it durable before the delivery's message is acknowledged (N10).

mod attempt;
mod endpoint;
mod record;
mod work;

use std::sync::Arc;

use slipstream_bus::{Bus, Consumer, ConsumerName, Publisher};
use slipstream_core::lane::Lane;
use slipstream_service::{Context, Directory};
use slipstream_webhook::{Client, ClientConfig};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::attempt::Worker;
use self::endpoint::{Admission, Endpoints};
use self::record::Recorder;
use self::work::Work;
use crate::Config;

/// Deliveries that the server sends ahead, per lane. Few on `normal`, so that little of it lies here when something
/// more urgent comes.
const fn prefetch(lane: Lane) -> usize {
    match lane {
        Lane::Realtime | Lane::High => 512,
        Lane::Normal => 256,
    }
}

/// Every how many picks the lowest lane is asked first (SPEC 4.5).
const LOWEST_FIRST_EVERY: u32 = 8;

/// Starts the loop and what it needs.
pub(crate) async fn start(
    config: &Config,
    bus: &Bus,
    directory: Directory,
    outcomes: &Publisher,
    work: &Publisher,
    ctx: &Context,
) -> anyhow::Result<()> {
    let delivery = &config.delivery;
    let policy = Arc::new(config.targets.clone());
    let client_config = ClientConfig {
        timeout: delivery.attempt_timeout(),
        idle_per_host_max: delivery.attempts_in_flight_per_subscription,
        ..ClientConfig::default()
    };
    let endpoints = Arc::new(Endpoints::new(delivery.attempts_in_flight_per_subscription));
    let (recorder, record_loop) = Recorder::new(bus.clone(), outcomes.clone(), ctx.stop.clone());
    ctx.spawn("record", record_loop);
    let worker = Arc::new(Worker {
        client: Client::new(Arc::clone(&policy), client_config),
        policy,
        schedule: delivery.retry_schedule_ms.clone(),
        directory: directory.clone(),
        endpoints: Arc::clone(&endpoints),
        work: work.clone(),
        outcomes: outcomes.clone(),
        recorder,
        stop: ctx.stop.clone(),
    });
    let lanes = Lanes {
        realtime: open(bus, Lane::Realtime).await?,
        high: open(bus, Lane::High).await?,
        normal: open(bus, Lane::Normal).await?,
    };
    let permits = Arc::new(Semaphore::new(delivery.attempts_in_flight_max));
    ctx.spawn("deliver", run(lanes, permits, worker, ctx.stop.clone()));
    ctx.spawn("endpoints", endpoint::watch(endpoints, directory, bus.clone(), ctx.stop.clone()));
    Ok(())
}

async fn open(bus: &Bus, lane: Lane) -> anyhow::Result<Consumer> {
    Ok(bus.consume(ConsumerName::Deliver(lane)).await?.prefetch(prefetch(lane)))
}

/// The three lanes of due deliveries.
struct Lanes {
    realtime: Consumer,
    high: Consumer,
    normal: Consumer,
}

impl Lanes {
    /// The next delivery: of the most urgent lane that has one, or, `lowest_first`, of the least urgent.
    async fn next(&mut self, lowest_first: bool) -> Option<Work> {
        let Self { realtime, high, normal } = self;
        let message = if lowest_first {
            tokio::select! {
                biased;
                message = normal.next() => message,
                message = high.next() => message,
                message = realtime.next() => message,
            }
        } else {
            tokio::select! {
                biased;
                message = realtime.next() => message,
                message = high.next() => message,
                message = normal.next() => message,
            }
        };
        Work::read(message).await
    }

    async fn hand_back(mut self) {
        for lane in [&mut self.realtime, &mut self.high, &mut self.normal] {
            lane.hand_back().await;
        }
    }
}

async fn run(
    mut lanes: Lanes,
    permits: Arc<Semaphore>,
    worker: Arc<Worker>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let workers = TaskTracker::new();
    let mut picks = 0_u32;
    loop {
        let next = async {
            let permit = Arc::clone(&permits).acquire_owned().await.expect("the semaphore is never closed");
            picks = picks.wrapping_add(1);
            (permit, lanes.next(picks.is_multiple_of(LOWEST_FIRST_EVERY)).await)
        };
        let (permit, work) = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            next = next => next,
        };
        let Some(work) = work else { continue };
        match worker.endpoints.admit(work) {
            Admission::Start(work) => {
                let worker = Arc::clone(&worker);
                workers.spawn(async move {
                    worker.work_off(work).await;
                    drop(permit);
                });
            }
            Admission::Queued => {}
            Admission::Park(work, park) => {
                let worker = Arc::clone(&worker);
                workers.spawn(async move {
                    worker.park(work, park).await;
                    drop(permit);
                });
            }
        }
    }
    // What is under way is finished, what lies here goes back to the bus.
    lanes.hand_back().await;
    workers.close();
    workers.wait().await;
    Ok(())
}
