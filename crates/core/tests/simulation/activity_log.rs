//! The activity log: folds `OUTCOMES` into rows, and knows which events were seen. Its rules of precedence are those of
//! `store::activity` (`EventRecord::supersedes`, `DeliveryRecord::supersedes`, `seen`), its order of effects that of
//! `services/activity-log`.

use std::collections::BTreeMap;

use slipstream_core::contract::{EndpointChange, EndpointChanged, Outcome, RoutedEvent, SeenAnswer, SeenQuestion};
use slipstream_core::delivery::{DeliveryState, Reason};
use slipstream_core::ids::{DeliveryId, EventKey, ReplayId, SubscriptionId};
use slipstream_core::lane::Lane;
use slipstream_core::limits::DEDUPLICATION_MILLIS;
use slipstream_core::timestamp::Timestamp;

use super::message::{ConsumerName, Payload};
use super::mutation::Mutation;
use super::node::{ACTIVITY_LOG, Node};
use super::world::World;

/// How long a question waits for its answer, in milliseconds.
const PATIENCE: i64 = 250;

#[derive(Debug, Default)]
pub(crate) struct ActivityLog {
    pub(crate) events: BTreeMap<(EventKey, Timestamp), RoutedEvent>,
    pub(crate) deliveries: BTreeMap<DeliveryId, DeliveryRow>,
    attempts: BTreeMap<(DeliveryId, u32), (SubscriptionId, Timestamp)>,
    /// When subscriptions were removed.
    removed: BTreeMap<SubscriptionId, Timestamp>,
}

#[derive(Debug, Clone)]
pub(crate) struct DeliveryRow {
    pub(crate) key: EventKey,
    pub(crate) accepted_at: Timestamp,
    pub(crate) subscription: SubscriptionId,
    pub(crate) lane: Lane,
    pub(crate) state: DeliveryState,
    pub(crate) reason: Option<Reason>,
    pub(crate) replay: Option<ReplayId>,
    updated_at: Timestamp,
}

impl DeliveryRow {
    /// What is final holds against what is not, `succeeded` against all, and of two that are not final the later.
    fn precedence(&self) -> (u8, Timestamp) {
        let finality = match self.state {
            DeliveryState::Scheduled | DeliveryState::RetryWait => 0,
            DeliveryState::Failed => 1,
            DeliveryState::Exhausted => 2,
            DeliveryState::Expired => 3,
            DeliveryState::Cancelled => 4,
            DeliveryState::Succeeded => 5,
        };
        (finality, self.updated_at)
    }

    /// Ends it because its subscription was removed, unless it has ended already.
    fn cancel(&mut self, at: Timestamp) {
        if !self.state.is_terminal() {
            self.state = DeliveryState::Cancelled;
            self.reason = Some(Reason::SubscriptionRemoved);
            self.updated_at = at;
        }
    }
}

impl ActivityLog {
    fn fold(&mut self, payload: &Payload) {
        match payload {
            Payload::Event(_) | Payload::DueList(_) | Payload::EndList(_) | Payload::Alarm => {}
            Payload::Routed(event) => self.fold_event(event),
            Payload::Outcome(subscription, outcome) => self.fold_outcome(*subscription, outcome),
            Payload::Endpoint(changed) => self.fold_change(changed),
        }
    }

    fn fold_event(&mut self, event: &RoutedEvent) {
        for matched in &event.matched {
            // The time of acceptance, so that every outcome is later.
            let row = DeliveryRow {
                key: event.key,
                accepted_at: event.accepted_at,
                subscription: matched.subscription,
                lane: event.lane,
                state: DeliveryState::Scheduled,
                reason: None,
                replay: None,
                updated_at: event.accepted_at,
            };
            self.fold_delivery(matched.delivery, row);
        }
        let precedence = |event: &RoutedEvent| {
            let end = match (event.cancelled_at, event.routed_at) {
                (Some(_), _) => 1,
                (None, Some(_)) => 2,
                (None, None) => 0,
            };
            (end, event.routed_at, event.cancelled_at, event.changed_at, event.sequence, event.content_hash)
        };
        let stands = self.events.entry((event.key, event.accepted_at)).or_insert_with(|| event.clone());
        if precedence(event) > precedence(stands) {
            *stands = event.clone();
        }
    }

    fn fold_outcome(&mut self, subscription: SubscriptionId, outcome: &Outcome) {
        let Outcome { delivery, key, lane, accepted_at, state, reason, at, attempt, replay, .. } = outcome;
        let row = DeliveryRow {
            key: *key,
            accepted_at: *accepted_at,
            subscription,
            lane: *lane,
            state: *state,
            reason: *reason,
            replay: *replay,
            updated_at: *at,
        };
        self.fold_delivery(*delivery, row);
        if let Some(attempt) = attempt {
            self.attempts.insert((*delivery, attempt.number), (subscription, attempt.started_at));
        }
    }

    fn fold_delivery(&mut self, delivery: DeliveryId, row: DeliveryRow) {
        let removed_at = self.removed.get(&row.subscription).copied();
        self.fold_row(delivery, row);
        // Told of what waits for a subscription after it was removed: nobody else would end that.
        if let (Some(at), Some(row)) = (removed_at, self.deliveries.get_mut(&delivery)) {
            row.cancel(at);
        }
    }

    fn fold_row(&mut self, delivery: DeliveryId, row: DeliveryRow) {
        let stands = self.deliveries.entry(delivery).or_insert_with(|| row.clone());
        if row.precedence() > stands.precedence() {
            *stands = row;
        }
    }

    fn fold_change(&mut self, changed: &EndpointChanged) {
        if changed.change != EndpointChange::Removed {
            return;
        }
        self.removed.insert(changed.subscription, changed.at);
        for row in self.deliveries.values_mut().filter(|row| row.subscription == changed.subscription) {
            row.cancel(changed.at);
        }
    }

    /// `store::activity::seen`: for each event accepted before, its first acceptance of the last seven days.
    fn seen(&self, question: &SeenQuestion) -> Option<SeenAnswer> {
        let first = Timestamp::from_millis(question.accepted_at.as_millis() - DEDUPLICATION_MILLIS);
        let earlier = self.events.range((question.key, first)..(question.key, question.accepted_at)).next();
        earlier.map(|((key, accepted_at), event)| SeenAnswer {
            key: *key,
            accepted_at: *accepted_at,
            content_hash: event.content_hash,
        })
    }

    /// How many attempts there were at a subscription since an instant.
    pub(crate) fn attempts_since(&self, subscription: SubscriptionId, since: Timestamp) -> usize {
        self.attempts.values().filter(|(of, at)| *of == subscription && *at >= since).count()
    }
}

/// Folds for ever. A batch is acknowledged when it is written.
pub(crate) async fn run(node: Node) {
    loop {
        let batch = node.pull(ConsumerName::ActivityLog, 16).await;
        node.step().await;
        for message in &batch {
            let mut log = node.world.log.borrow_mut();
            log.fold(&message.stored.payload);
            if node.world.is(Mutation::ForgetRemovals) {
                log.removed.clear();
            }
        }
        for message in &batch {
            node.acknowledge(message).await;
        }
    }
}

/// Asks which events were seen before; none if nobody answers.
pub(crate) async fn ask_seen(node: &Node, questions: &[SeenQuestion]) -> Option<Vec<SeenAnswer>> {
    node.step().await;
    if node.world.is_lost() || !node.world.answers(ACTIVITY_LOG) {
        node.sleep(PATIENCE).await;
        return None;
    }
    let answers = answer(&node.world, questions);
    node.step().await;
    Some(answers)
}

fn answer(world: &World, questions: &[SeenQuestion]) -> Vec<SeenAnswer> {
    let log = world.log.borrow();
    let mut answers = Vec::new();
    for question in questions {
        match log.seen(question) {
            Some(answer) => answers.push(answer),
            // It does not know of an earlier one, or does not know of it yet.
            None => drop(world.history.borrow_mut().not_asked.insert((question.key, question.accepted_at))),
        }
    }
    answers
}
