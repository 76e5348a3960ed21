//! Deliver: a delivery that is due becomes an attempt, and the attempt an outcome (DESIGN 4 "Deliver", "Isolate").
//!
//! One loop picks deliveries from the three lanes and hands each to the [`endpoint`] of its subscription, which says
//! at once what happens: it starts, it queues behind a few others there, or it goes back to the bus as a schedule.
//! So the loop never waits for a receiver, and a dead or slow one holds nothing but its own bounded places. A worker
//! makes an [`attempt`], then the next of the same endpoint while there is one. Every outcome goes through the
//! [`record`]er, which makes it durable before the delivery's message is acknowledged (N10).

mod attempt;
mod callers;
mod ecg;
mod endpoint;
mod message;
mod pick;
mod record;
mod wake;
mod work;

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use slipstream_bus::{Bus, ConsumerName, Message, Publisher, StreamName};
use slipstream_core::config::Subscription;
use slipstream_core::delivery::{Gate, gate};
use slipstream_core::lane::Lane;
use slipstream_service::{Context, Directory, clock, names};
use slipstream_webhook::{ClientConfig, Target};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::attempt::Worker;
use self::callers::Callers;
use self::endpoint::{Admission, Bounds, Endpoints, Full};
use self::pick::pick_order;
use self::record::Recorder;
use self::work::Work;
use crate::Config;
use crate::pace::Pace;

/// Deliveries that the server sends ahead, per lane. Few on `normal`, so that little of it lies here when something
/// more urgent comes.
const fn prefetch(lane: Lane) -> usize {
    match lane {
        Lane::Realtime | Lane::High => 512,
        Lane::Normal => 256,
    }
}

/// Deliveries of a lane between its pull and the pick.
const LANE_LEN: usize = 64;
/// How long a quick receiver's full queue is waited for, and how often it is looked at.
const ROOM_WITHIN: Duration = Duration::from_millis(100);
const ROOM_LOOK_EVERY: Duration = Duration::from_millis(1);
/// How often deliveries that give way are looked at.
const REST_LOOK_EVERY: Duration = Duration::from_millis(5);

/// Stands for the host of targets that are refused: the attempts that find that out take turns all the same.
static NO_HOST: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from(""));

/// Starts the loop and what it needs.
pub(crate) async fn start(
    config: &Config,
    bus: &Bus,
    directory: Directory,
    outcomes: &Publisher,
    pace: Arc<Pace>,
    ctx: &Context,
) -> anyhow::Result<()> {
    let delivery = &config.delivery;
    let client_config = ClientConfig {
        timeout: delivery.attempt_timeout(),
        idle_per_host_max: delivery.attempts_in_flight_per_subscription,
        ..ClientConfig::default()
    };
    let bounds = Bounds {
        total: delivery.attempts_in_flight_max,
        per_subscription: delivery.attempts_in_flight_per_subscription,
        per_host: delivery.attempts_in_flight_per_host,
    };
    let (dispatchers, counting) = bus.presence("dispatcher").await?;
    let stop = ctx.stop.clone();
    ctx.spawn("presence", async move {
        stop.run_until_cancelled(counting).await;
        Ok(())
    });
    let endpoints = Arc::new(Endpoints::new(bounds, dispatchers.clone(), Arc::clone(&pace)));
    let (recorder, record_loop) = Recorder::new(bus.clone(), outcomes.clone(), ctx.stop.clone());
    ctx.spawn("record", record_loop);
    let worker = Arc::new(Worker {
        callers: Callers::new(&config.targets, &client_config),
        schedule: delivery.retry_schedule_ms.clone(),
        directory: directory.clone(),
        endpoints: Arc::clone(&endpoints),
        pace,
        bus: bus.clone(),
        bucket: bus.config_bucket().await?,
        schedules: bus.schedules(),
        dead_letters: bus.publisher(StreamName::DeadLetters),
        outcomes: outcomes.clone(),
        recorder,
        stale_after: config.bus.delivery_lease_ms * 2 / 3,
        lease: config.bus.delivery_lease_ms,
        permits: Arc::new(Semaphore::new(delivery.attempts_in_flight_max)),
        workers: TaskTracker::new(),
        stop: ctx.stop.clone(),
    });
    let lanes = Lanes {
        realtime: open(bus, Lane::Realtime, ctx).await?,
        high: open(bus, Lane::High, ctx).await?,
        normal: open(bus, Lane::Normal, ctx).await?,
    };
    ctx.spawn("deliver", run(lanes, worker, ctx.stop.clone()));
    ctx.spawn("dispatchers", report(dispatchers, ctx.stop.clone()));
    ctx.spawn("wake", wake::run(bus.schedules(), directory.clone(), ctx.stop.clone()));
    ctx.spawn("endpoints", endpoint::watch(endpoints, directory, ctx.stop.clone()));
    Ok(())
}

/// Opens a lane. A task of its own pulls: picking from another lane must not interrupt it, least of all while it
/// opens the consumer anew.
async fn open(bus: &Bus, lane: Lane, ctx: &Context) -> anyhow::Result<Due> {
    let mut due = bus.consume(ConsumerName::Deliver(lane)).await?.prefetch(prefetch(lane));
    let (taken, lane) = mpsc::channel(LANE_LEN);
    let stop = ctx.stop.clone();
    ctx.spawn("pull", async move {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                message = due.next() => match taken.send((message, Instant::now())).await {
                    Ok(()) => {}
                    Err(unsent) => unsent.0.0.into_ack().hand_back().await,
                },
            }
        }
        due.hand_back().await;
        Ok(())
    });
    Ok(lane)
}

/// The three lanes of due deliveries.
struct Lanes {
    realtime: Due,
    high: Due,
    normal: Due,
}

impl Lanes {
    /// The next delivery of the first lane in `order` that is open and has one.
    async fn next(&mut self, order: [Lane; 3], is_open: impl Fn(Lane) -> bool) -> Option<Work> {
        let Self { realtime, high, normal } = self;
        let open = order.map(is_open);
        let (message, taken_at) = match order {
            [Lane::Normal, ..] => first_of([normal, high, realtime], open).await,
            [Lane::High, ..] => first_of([high, normal, realtime], open).await,
            [Lane::Realtime, ..] => first_of([realtime, high, normal], open).await,
        };
        Work::read(message, taken_at).await
    }

    async fn hand_back(mut self) {
        for lane in [&mut self.realtime, &mut self.high, &mut self.normal] {
            lane.close();
            while let Some((message, _)) = lane.recv().await {
                message.into_ack().hand_back().await;
            }
        }
    }
}

/// Deliveries that are due, each with when it was taken from the bus: its lease runs, also while it waits here.
type Due = mpsc::Receiver<(Message, Instant)>;

/// A message of the first of three lanes that is open and has one. Waits for ever once all have ended, which is after a
/// stop.
async fn first_of([first, second, third]: [&mut Due; 3], open: [bool; 3]) -> (Message, Instant) {
    tokio::select! {
        biased;
        Some(message) = first.recv(), if open[0] => message,
        Some(message) = second.recv(), if open[1] => message,
        Some(message) = third.recv(), if open[2] => message,
        else => std::future::pending().await,
    }
}

async fn run(mut lanes: Lanes, worker: Arc<Worker>, stop: CancellationToken) -> anyhow::Result<()> {
    let mut picks = 0_u32;
    let mut stalled = Stalled::default();
    loop {
        worker.pace.normal_waits(lanes.normal.len() == LANE_LEN);
        stalled.try_again(&worker);
        worker.wake_rested();
        // What is here goes first, when normal has to rest.
        let rests = worker.endpoints.is_resting();
        let is_open = |lane: Lane| stalled.of(lane).is_none() && !(rests && lane == Lane::Normal);
        let open = Lane::ALL.map(is_open);
        let is_stalled = Lane::ALL.iter().any(|lane| stalled.of(*lane).is_some());
        let look_every = if is_stalled { ROOM_LOOK_EVERY } else { REST_LOOK_EVERY };
        let next = async {
            let permit = Arc::clone(&worker.permits).acquire_owned().await.expect("the semaphore is never closed");
            picks = picks.wrapping_add(1);
            (permit, lanes.next(pick_order(picks), is_open).await)
        };
        let picked = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            next = next, if open.contains(&true) => Some(next),
            () = tokio::time::sleep(look_every), if open.contains(&false) => None,
            // Also with nothing to pick: whoever finishes an attempt may leave some that have to rest.
            () = worker.endpoints.rested(), if !rests => None,
        };
        if let Some((permit, Some(work))) = picked
            && let Err(Full(work)) = admit(&worker, work).map(|admission| act(&worker, admission, permit))
        {
            stalled.add(work);
        }
    }
    // What is under way is finished, what lies here goes back to the bus.
    lanes.hand_back().await;
    for work in worker.endpoints.drain().into_iter().chain(stalled.into_works()) {
        work.ack.hand_back().await;
    }
    worker.workers.close();
    worker.workers.wait().await;
    Ok(())
}

/// Deliveries to quick receivers whose queue is full, at most one per lane, since when. A lane with one is not picked from
/// until there is room: it will be in milliseconds, and the other lanes go on.
#[derive(Default)]
struct Stalled([Option<(Work, Instant)>; 3]);

impl Stalled {
    const fn of(&self, lane: Lane) -> Option<&(Work, Instant)> {
        self.0[lane as usize].as_ref()
    }

    fn add(&mut self, work: Work) {
        let lane = work.lane as usize;
        self.0[lane] = Some((work, Instant::now()));
    }

    /// Admits what finds room now, the most urgent first. A receiver that has none for long was quick once.
    fn try_again(&mut self, worker: &Arc<Worker>) {
        for lane in Lane::ALL {
            let Some((work, since)) = self.0[lane as usize].take() else { continue };
            // Its receiver is not slow when it is we who rest.
            let since = if lane == Lane::Normal && worker.endpoints.is_resting() { Instant::now() } else { since };
            if since.elapsed() > ROOM_WITHIN {
                worker.endpoints.stalled(work.subscription);
            }
            let Ok(permit) = Arc::clone(&worker.permits).try_acquire_owned() else {
                self.0[lane as usize] = Some((work, since));
                continue;
            };
            match admit(worker, work) {
                Ok(admission) => act(worker, admission, permit),
                Err(Full(work)) => self.0[lane as usize] = Some((work, since)),
            }
        }
    }

    fn into_works(self) -> impl Iterator<Item = Work> {
        self.0.into_iter().flatten().map(|(work, _)| work)
    }
}

/// Does what was decided about a delivery.
fn act(worker: &Arc<Worker>, admission: Admission, permit: OwnedSemaphorePermit) {
    match admission {
        Admission::Start(work, place) => worker.spawn(work, place, permit),
        Admission::Queued => {}
        Admission::Park(work, park) => {
            let parking = Arc::clone(worker);
            worker.workers.spawn(async move {
                parking.park(work, park).await;
                drop(permit);
            });
        }
    }
}

/// Admits a delivery by what its subscription is now.
#[expect(clippy::result_large_err, reason = "it is handed back and asked with again; a box would cost every delivery")]
fn admit(worker: &Worker, work: Work) -> Result<Admission, Full> {
    let snapshot = worker.directory.load();
    let subscription = snapshot.endpoint(work.subscription).cloned();
    // What ends at the gate, or waits there, needs no place, and does not wait for one.
    let needs_place = |subscription: &Arc<Subscription>| {
        matches!(gate(Some(subscription), &work.meta, clock::now()), Gate::Open | Gate::Wait(_))
    };
    let subscription = subscription.filter(needs_place);
    let prepare = |it: &Subscription| worker.callers.prepare(it, snapshot.ecg());
    let prepared = subscription.as_deref().map(|subscription| worker.endpoints.prepared(subscription, prepare));
    let host = prepared.as_ref().and_then(|prepared| prepared.target.as_ref().ok());
    let host = host.map_or(&*NO_HOST, Target::host);
    let known = subscription.as_deref().map(|subscription| (subscription, host));
    worker.endpoints.admit(work, known, clock::now())
}

/// Shows how many dispatchers share what receivers allow.
async fn report(mut dispatchers: watch::Receiver<usize>, stop: CancellationToken) -> anyhow::Result<()> {
    loop {
        metrics::gauge!(names::DISPATCHERS).set(*dispatchers.borrow_and_update() as f64);
        match stop.run_until_cancelled(dispatchers.changed()).await {
            Some(Ok(())) => {}
            Some(Err(_)) | None => return Ok(()),
        }
    }
}
