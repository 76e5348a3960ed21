//! Late repeats, as `seen.rs` of the dispatcher.

use std::collections::BTreeSet;

use slipstream_core::contract::SeenQuestion;
use slipstream_core::ids::{EventKey, id_hash};

use super::super::mutation::Mutation;
use super::Dispatcher;
use super::route::Event;

/// How long nobody is asked after there was no answer, in milliseconds.
const PAUSE: i64 = 1000;

impl Dispatcher {
    /// Those of the events that repeat one accepted earlier.
    pub(super) async fn repeats(&self, events: &[Event<'_>]) -> BTreeSet<EventKey> {
        let world = &self.node.world;
        if world.is(Mutation::ForgetRepeats) {
            return BTreeSet::new();
        }
        let questions: Vec<_> = events.iter().map(Event::question).collect();
        if self.node.monotonic() >= self.not_asked_before.get() {
            if let Some(answers) = super::super::activity_log::ask_seen(&self.node, &questions).await {
                return answers.into_iter().map(|answer| answer.key).collect();
            }
            self.not_asked_before.set(self.node.monotonic() + PAUSE);
        }
        let asked = questions.iter().map(|question| (question.key, question.accepted_at));
        world.history.borrow_mut().not_asked.extend(asked);
        BTreeSet::new()
    }
}

impl Event<'_> {
    pub(super) fn question(&self) -> SeenQuestion {
        SeenQuestion { key: self.key, id_hash: id_hash(&self.envelope.id), accepted_at: self.meta.accepted_at }
    }
}
