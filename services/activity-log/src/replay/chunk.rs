//! The next deliveries of a job, ready to be published.

use futures::{StreamExt as _, stream};
use slipstream_bus::{BusError, Outgoing, StoredEvent};
use slipstream_core::ids::ReplayId;
use slipstream_core::lane::Lane;
use slipstream_service::clock;
use slipstream_store::activity::replay::{Original, Step};

use super::Replayer;
use super::message::{New, record};
use super::stored::{Place, fetch};

/// Events that are asked for at once.
const FETCHES: usize = 16;
/// Bytes of events in memory after which a chunk is cut short; those asked for at once come on top (N9).
const BYTES_MAX: usize = 4 * 1024 * 1024;

/// What one step of a job publishes, and where it is then.
#[derive(Debug)]
pub(super) struct Chunk {
    /// Deliveries, each with an id of its own.
    pub(super) deliveries: Vec<Outgoing>,
    /// The record that they were made.
    pub(super) records: Vec<Outgoing>,
    /// The place behind them.
    pub(super) step: Step,
}

/// What becomes of one delivery.
enum Fate {
    MadeAgain(Box<StoredEvent>),
    NotKept,
    Skipped,
}

/// Makes a chunk of as many of `originals` as fit; they are in order, and none is left out in between. None if there
/// are none.
///
/// # Errors
/// If JetStream does not answer.
pub(super) async fn prepare(
    replayer: &Replayer,
    job: ReplayId,
    originals: Vec<Original>,
) -> Result<Option<Chunk>, BusError> {
    let Some(first) = originals.first() else { return Ok(None) };
    let step = Step { cursor: first.id, published: 0, not_kept: 0, skipped: 0 };
    let mut chunk = Chunk { deliveries: Vec::with_capacity(originals.len()), records: Vec::new(), step };
    let mut outcomes = Vec::with_capacity(originals.len());
    let mut bytes = 0;
    // Before any of them can be attempted, so that whatever is recorded of it is later.
    let now = clock::now();
    let mut found = stream::iter(originals).map(|original| find(replayer.clone(), original)).buffered(FETCHES);
    while bytes < BYTES_MAX
        && let Some(next) = found.next().await
    {
        let (original, fate) = next?;
        chunk.step.cursor = original.id;
        match fate {
            Fate::MadeAgain(stored) => {
                let new = New {
                    site: &original.site,
                    key: original.event_key,
                    accepted_at: original.accepted_at(),
                    surface: original.surface,
                    subscription: original.subscription,
                    // Whatever the event's own: a job must not stand before what is happening now.
                    lane: Lane::Normal,
                    replay: Some(job),
                };
                bytes += stored.payload.len();
                chunk.deliveries.push(new.message(*stored));
                outcomes.push((new.surface, new.subscription, new.outcome(now)));
                chunk.step.published += 1;
            }
            Fate::NotKept => chunk.step.not_kept += 1,
            Fate::Skipped => chunk.step.skipped += 1,
        }
    }
    chunk.records = record(outcomes);
    Ok(Some(chunk))
}

async fn find(replayer: Replayer, original: Original) -> Result<(Original, Fate), BusError> {
    if replayer.directory.load().subscriptions().get(original.subscription).is_none() {
        return Ok((original, Fate::Skipped));
    }
    let Some(sequence) = original.sequence else { return Ok((original, Fate::NotKept)) };
    let (site, accepted_at) = (&original.site, original.accepted_at());
    let place = Place { site, accepted_at, key: &original.event_key, sequence };
    let stored = fetch(&replayer.bus, place).await?;
    Ok((original, stored.map_or(Fate::NotKept, |stored| Fate::MadeAgain(Box::new(stored)))))
}
