//! The reverse: realtime as fast as it can be published, and what normal has of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;
use slipstream_core::lane::Lane;

use super::backlog::Backlog;
use crate::batch::{self, Batches, Due};
use crate::clock;
use crate::event::{Letter, LetterKind};
use crate::stage::Stage;
use crate::stats::{rate, rounded};

/// How long the flood runs before anything is counted: until it is routed and waits.
const RISING: Duration = Duration::from_secs(2);
/// More than can be published meanwhile.
const EVENTS_MAX: u32 = 2_000_000;

/// What came during the flood.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Flood {
    /// How long deliveries were counted.
    pub(crate) seconds: f64,
    /// Realtime events accepted per second meanwhile.
    pub(crate) realtime_accepted_per_second: f64,
    /// Realtime deliveries per second.
    pub(crate) realtime_per_second: f64,
    /// Normal deliveries per second.
    pub(crate) normal_per_second: f64,
    /// Realtime events accepted and not delivered, at the beginning and at the end of the counting. Where these are
    /// few, there was no flood: the platform delivered as fast as it accepted.
    pub(crate) realtime_waiting: [u32; 2],
    /// Normal events, likewise: as long as some wait, normal could have had more.
    pub(crate) normal_waiting: [u32; 2],
}

impl Flood {
    /// What normal had of all deliveries; none if nothing was delivered.
    pub(crate) fn normal_share(&self) -> Option<f64> {
        let all = self.normal_per_second + self.realtime_per_second;
        (all > 0.0).then(|| rounded(self.normal_per_second / all, 3))
    }
}

/// Floods for `time`, with the normal events of `backlog` waiting.
///
/// # Errors
/// If the platform refuses, or the receiver is gone.
pub(super) async fn measure(stage: &mut Stage, backlog: &mut Backlog, time: Duration) -> anyhow::Result<Flood> {
    let (phase, accepted) = (stage.next_phase(), Arc::new(AtomicU32::new(0)));
    let batches = Batches {
        address: stage.address(),
        paths: stage.paths(0..1),
        api_key: stage.key.clone(),
        letter: Letter::new(LetterKind { lane: Lane::Realtime, ..LetterKind::default() }),
        phase,
        events: 0..EVENTS_MAX,
        due: Due::default(),
        until: Some(Instant::now() + RISING + time),
    };
    let publishing = tokio::spawn(batch::publish(batches, Arc::clone(&accepted)));
    tokio::time::sleep(RISING).await;
    let from = clock::now_nanos();
    let accepted_before = accepted.load(Ordering::Relaxed);
    let normal_before = backlog.waiting(stage).await?;
    let realtime_before = accepted_before.saturating_sub(stage.ledger.phase(phase).delivered());
    // A little less than the flood lasts, so that it lasts to the end of the counting.
    tokio::time::sleep(time.mul_f64(0.95)).await;
    let to = clock::now_nanos();
    let accepted_after = accepted.load(Ordering::Relaxed);
    let normal_after = backlog.waiting(stage).await?;
    let realtime_after = accepted_after.saturating_sub(stage.ledger.phase(phase).delivered());
    publishing.await.context("the flood's task failed")??;
    let seconds = (to - from) as f64 / 1e9;
    let within = |phase| rate(stage.ledger.phase(phase).within(&(from..to)).into(), seconds);
    Ok(Flood {
        seconds: rounded(seconds, 2),
        realtime_accepted_per_second: rate((accepted_after - accepted_before).into(), seconds),
        realtime_per_second: within(phase),
        normal_per_second: within(backlog.phase()),
        realtime_waiting: [realtime_before, realtime_after],
        normal_waiting: [normal_before, normal_after],
    })
}
