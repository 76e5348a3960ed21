//! Late repeats: events that were accepted before, longer ago than the broker remembers (SPEC 4.7, DESIGN 3.6).
//!
//! The activity log knows what was accepted in the last seven days. It is asked once per routed batch, over the bus and
//! for a short time: when it does not answer, routing goes on without, and a late repeat is an event like any other.

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use metrics::counter;
use slipstream_bus::Bus;
use slipstream_core::contract::SeenQuestion;
use slipstream_core::ids::EventKey;
use slipstream_service::names;

use crate::route::Event;

/// How long a batch waits for the answer.
const PATIENCE: Duration = Duration::from_millis(250);
/// How long nobody is asked after there was no answer.
const PAUSE: Duration = Duration::from_secs(1);

/// Asks for events that were seen before.
#[derive(Debug)]
pub(crate) struct Seen {
    bus: Bus,
    not_before: Mutex<Option<Instant>>,
}

impl Seen {
    pub(crate) fn new(bus: &Bus) -> Self {
        Self { bus: bus.clone(), not_before: Mutex::new(None) }
    }

    /// The events among `events` that repeat one accepted earlier. Counts them, and those whose content differs.
    pub(crate) async fn repeats(&self, events: &[Event<'_>]) -> HashSet<EventKey> {
        let questions: Vec<_> = events.iter().map(Event::question).collect();
        self.look(&questions, |asked| events.iter().any(|event| event.identity() == asked)).await
    }

    /// Whether an event that is to be held repeats one accepted earlier. Counts it.
    pub(crate) async fn is_repeat(&self, question: SeenQuestion, content_hash: i64) -> bool {
        !self.look(&[question], |asked| asked == (question.key, content_hash)).await.is_empty()
    }

    /// `has_content` says whether an event now has this content.
    async fn look(
        &self,
        questions: &[SeenQuestion],
        has_content: impl Fn((EventKey, i64)) -> bool,
    ) -> HashSet<EventKey> {
        if questions.is_empty() || self.is_pausing() {
            return HashSet::new();
        }
        let answers = match self.bus.ask_seen(questions, PATIENCE).await {
            Ok(answers) => answers,
            Err(error) => {
                tracing::debug!(
                    error = format!("{:#}", anyhow::Error::new(error)),
                    "routing without looking for late repeats"
                );
                counter!(names::EVENTS_NOT_LOOKED_UP).increment(questions.len() as u64);
                *self.not_before.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
                    Some(Instant::now() + PAUSE);
                return HashSet::new();
            }
        };
        for answer in &answers {
            counter!(names::EVENTS_DUPLICATE, "found" => "late").increment(1);
            if answer.content_hash.is_some_and(|hash| !has_content((answer.key, hash))) {
                counter!(names::EVENTS_DUPLICATE_MISMATCH).increment(1);
                tracing::warn!(event.key = %answer.key, "an event was repeated with other content; the first one stands");
            }
        }
        answers.into_iter().map(|answer| answer.key).collect()
    }

    fn is_pausing(&self) -> bool {
        let not_before = self.not_before.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        not_before.is_some_and(|not_before| Instant::now() < not_before)
    }
}
