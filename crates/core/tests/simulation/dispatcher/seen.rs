//! Late repeats, as `seen.rs` of the dispatcher.

use std::collections::BTreeMap;

use slipstream_core::contract::{SeenAnswer, SeenQuestion};
use slipstream_core::ids::EventKey;
use slipstream_core::timestamp::Timestamp;

use super::super::activity_log::ask_seen;
use super::super::mutation::Mutation;
use super::Dispatcher;

/// How long nobody is asked after there was no answer, in milliseconds.
const PAUSE: i64 = 1000;

/// When each event was first accepted, as far as that is known.
#[derive(Debug, Default)]
pub(super) struct FirstSeen(BTreeMap<EventKey, Timestamp>);

impl FirstSeen {
    /// Whether the event was accepted earlier than now.
    pub(super) fn is_repeat(&self, question: &SeenQuestion) -> bool {
        self.0.get(&question.key).is_some_and(|first| *first < question.accepted_at)
    }

    fn add(&mut self, key: EventKey, accepted_at: Timestamp) {
        let first = self.0.entry(key).or_insert(accepted_at);
        *first = accepted_at.min(*first);
    }
}

impl Dispatcher {
    /// When the events of a batch were first accepted: as the activity log has it, or within the batch.
    pub(super) async fn look(&self, batch: &[SeenQuestion]) -> FirstSeen {
        let mut first = FirstSeen::default();
        if batch.is_empty() || self.node.world.is(Mutation::ForgetRepeats) {
            return first;
        }
        let answers = self.ask(batch).await;
        let now = batch.iter().map(|question| (question.key, question.accepted_at));
        for (key, accepted_at) in now.chain(answers.iter().map(|answer| (answer.key, answer.accepted_at))) {
            first.add(key, accepted_at);
        }
        first
    }

    async fn ask(&self, batch: &[SeenQuestion]) -> Vec<SeenAnswer> {
        if self.node.monotonic() >= self.not_asked_before.get() {
            if let Some(answers) = ask_seen(&self.node, batch).await {
                return answers;
            }
            self.not_asked_before.set(self.node.monotonic() + PAUSE);
        }
        let asked = batch.iter().map(|question| (question.key, question.accepted_at));
        self.node.world.history.borrow_mut().not_asked.extend(asked);
        Vec::new()
    }
}
