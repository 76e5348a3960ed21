//! Normal events that wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::bail;

use crate::batch::{self, BATCH_EVENTS, Batches, Due};
use crate::event::{Letter, LetterKind};
use crate::stage::Stage;

/// How many more are published than have to wait: some are delivered while the last are routed.
const SURPLUS: f64 = 1.25;
/// How often to publish what is missing: each time some of it is delivered meanwhile.
const ROUNDS_MAX: u32 = 50;

/// The normal events of a run: a phase that grows.
#[derive(Debug)]
pub(super) struct Backlog {
    phase: u16,
    published: u32,
    accepted: Arc<AtomicU32>,
}

impl Backlog {
    /// None yet.
    pub(super) fn new(stage: &mut Stage) -> Self {
        Self { phase: stage.next_phase(), published: 0, accepted: Arc::default() }
    }

    /// The phase they belong to.
    pub(super) const fn phase(&self) -> u16 {
        self.phase
    }

    /// How many have been accepted and have not arrived.
    ///
    /// # Errors
    /// If the receiver is gone.
    pub(super) async fn waiting(&self, stage: &mut Stage) -> anyhow::Result<u32> {
        stage.collect().await?;
        let delivered = stage.ledger.phase(self.phase).delivered();
        Ok(self.accepted.load(Ordering::Relaxed).saturating_sub(delivered))
    }

    /// Publishes, as fast as it goes, until so many wait and a quarter more.
    ///
    /// # Errors
    /// If the platform refuses, or delivers them as fast as it takes them.
    pub(super) async fn fill(&mut self, stage: &mut Stage, waiting: u32) -> anyhow::Result<()> {
        let aim = (f64::from(waiting) * SURPLUS) as u32;
        for _ in 0..ROUNDS_MAX {
            let there = self.waiting(stage).await?;
            if there >= aim {
                return Ok(());
            }
            self.publish(stage, aim - there).await?;
        }
        let there = self.waiting(stage).await?;
        bail!("{aim} normal events cannot be made to wait: {} published, {there} wait", self.published)
    }

    async fn publish(&mut self, stage: &Stage, events: u32) -> anyhow::Result<()> {
        let events = events.div_ceil(BATCH_EVENTS) * BATCH_EVENTS;
        let batches = Batches {
            address: stage.address(),
            paths: stage.paths(0..1),
            api_key: stage.key.clone(),
            letter: Letter::new(LetterKind::default()),
            phase: self.phase,
            events: self.published..self.published + events,
            due: Due::default(),
            until: None,
        };
        self.published += events;
        batch::publish(batches, Arc::clone(&self.accepted)).await
    }
}
