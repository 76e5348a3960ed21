//! Repeats that the broker recognised: counted, and those that say something else than the first event named in the log
//! (SPEC 4.7). The publisher hears 204 either way.

use std::sync::Arc;

use bytes::Bytes;
use metrics::counter;
use slipstream_bus::Bus;
use slipstream_service::names;
use tokio::sync::Semaphore;

/// Comparisons under way at once. Above that repeats are only counted: a publisher that repeats everything must not make
/// the broker read everything.
const COMPARISONS_MAX: usize = 16;

/// Looks at repeats, after the answer.
#[derive(Debug)]
pub(crate) struct Repeats {
    bus: Bus,
    comparing: Arc<Semaphore>,
}

impl Repeats {
    pub(crate) fn new(bus: &Bus) -> Self {
        Self { bus: bus.clone(), comparing: Arc::new(Semaphore::new(COMPARISONS_MAX)) }
    }

    /// Counts a repeat with this `body` of the event stored at `sequence`, and compares the two in the background.
    pub(crate) fn saw(&self, sequence: u64, body: Bytes) {
        counter!(names::EVENTS_DUPLICATE, "found" => "at_once").increment(1);
        let Ok(permit) = Arc::clone(&self.comparing).try_acquire_owned() else { return };
        let bus = self.bus.clone();
        tokio::spawn(async move {
            match bus.stored_event(sequence).await {
                Ok(Some(first)) if first.payload != body => {
                    counter!(names::EVENTS_DUPLICATE_MISMATCH).increment(1);
                    tracing::warn!(
                        bus.subject = %first.subject.escape_debug(),
                        bus.sequence = sequence,
                        "an event was repeated with other content; the first one stands"
                    );
                }
                // The same, or no longer there to compare with.
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(error = format!("{:#}", anyhow::Error::new(error)), "cannot compare a repeat");
                }
            }
            drop(permit);
        });
    }
}
