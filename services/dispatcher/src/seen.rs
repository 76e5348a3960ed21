//! Late repeats: events that were accepted before, longer ago than the broker remembers (SPEC 4.7, DESIGN 3.6).
//!
//! The activity log knows what was accepted in the last seven days. It is asked once per batch, over the bus and for a
//! short time: when it does not answer, the engine goes on without, and a late repeat is an event like any other.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use metrics::counter;
use slipstream_bus::Bus;
use slipstream_core::contract::{SeenAnswer, SeenQuestion};
use slipstream_core::ids::EventKey;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::names;

/// How long a batch waits for the answer.
pub(crate) const PATIENCE: Duration = Duration::from_millis(250);
/// How long nobody is asked after there was no answer.
const PAUSE: Duration = Duration::from_secs(1);

/// Asks for events that were seen before.
#[derive(Debug)]
pub(crate) struct Seen {
    bus: Bus,
    not_before: Mutex<Option<Instant>>,
}

/// An event that is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) question: SeenQuestion,
    pub(crate) content_hash: i64,
}

/// When each event was first accepted, as far as that is known.
#[derive(Debug, Default)]
pub(crate) struct FirstSeen(HashMap<EventKey, Timestamp>);

impl FirstSeen {
    /// Whether the event was accepted earlier than now. The first acceptance itself, handed out once more, is none.
    pub(crate) fn is_repeat(&self, question: SeenQuestion) -> bool {
        self.0.get(&question.key).is_some_and(|first| *first < question.accepted_at)
    }

    /// Takes in an acceptance; the earliest stands.
    fn add(&mut self, key: EventKey, accepted_at: Timestamp) {
        let first = self.0.entry(key).or_insert(accepted_at);
        *first = accepted_at.min(*first);
    }
}

impl Seen {
    pub(crate) fn new(bus: &Bus) -> Self {
        Self { bus: bus.clone(), not_before: Mutex::new(None) }
    }

    /// When the events of a batch were first accepted: as the activity log has it, or within the batch. Counts those of
    /// them that repeat an earlier one, and those whose content differs.
    pub(crate) async fn look(&self, batch: &[Asked]) -> FirstSeen {
        let mut first = FirstSeen::default();
        if batch.is_empty() {
            return first;
        }
        let answers = self.ask(batch).await;
        for asked in batch {
            first.add(asked.question.key, asked.question.accepted_at);
        }
        for answer in &answers {
            first.add(answer.key, answer.accepted_at);
        }
        for Asked { question, content_hash } in batch.iter().filter(|asked| first.is_repeat(asked.question)) {
            self.count_late_repeat();
            let recorded = answers.iter().find(|answer| answer.key == question.key).and_then(|it| it.content_hash);
            if recorded.is_some_and(|recorded| recorded != *content_hash) {
                counter!(names::EVENTS_DUPLICATE_MISMATCH).increment(1);
                tracing::warn!(event.key = %question.key, "an event was repeated with other content; the first stands");
            }
        }
        first
    }

    /// Counts a repeat that was found otherwise.
    #[expect(clippy::unused_self, reason = "whoever counts repeats has been looking for them")]
    pub(crate) fn count_late_repeat(&self) {
        counter!(names::EVENTS_DUPLICATE, "found" => "late").increment(1);
    }

    async fn ask(&self, batch: &[Asked]) -> Vec<SeenAnswer> {
        let lock = || self.not_before.lock().unwrap_or_else(PoisonError::into_inner);
        let is_pausing = lock().is_some_and(|not_before| Instant::now() < not_before);
        let questions: Vec<_> = batch.iter().map(|asked| asked.question).collect();
        if !is_pausing {
            match self.bus.ask_seen(&questions, PATIENCE).await {
                Ok(answers) => return answers,
                Err(error) => {
                    let error = format!("{:#}", anyhow::Error::new(error));
                    tracing::debug!(error, "going on without looking for late repeats");
                    *lock() = Some(Instant::now() + PAUSE);
                }
            }
        }
        counter!(names::EVENTS_NOT_LOOKED_UP).increment(questions.len() as u64);
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_acceptance_is_never_a_repeat_whatever_comes_beside_it() {
        let key = EventKey::new(&"s8n6EzC".parse().expect("a slug"), "/s", "1");
        let at = |millis| SeenQuestion { key, id_hash: 0, accepted_at: Timestamp::from_millis(millis) };
        let mut first = FirstSeen::default();
        for accepted in [20, 10, 30] {
            first.add(key, Timestamp::from_millis(accepted));
        }
        assert_eq!([10, 20, 30].map(|millis| first.is_repeat(at(millis))), [false, true, true]);
    }
}
