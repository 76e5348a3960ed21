//! People who change things while they run: operators, and publishers who think better of what they scheduled.

use std::collections::BTreeMap;

use slipstream_core::config::DisabledReason;
use slipstream_core::contract::Meta;
use slipstream_core::ids::{DeliveryId, ReplayId};
use slipstream_core::reschedule::{Times, reschedule};
use slipstream_core::timestamp::Timestamp;
use uuid::Uuid;

use super::history::Changed;
use super::message::{Outgoing, Place, PublishError, StreamName, Subject};
use super::node::Node;
use super::registry;
use super::schedules::{Held, HeldChange, Replaced, Waiting, WaitingChange, change_held};

/// Has people do up to eight things over the world's span and somewhat beyond.
pub(crate) fn begin(node: &Node) {
    for number in 0..node.world.between(1, 8) {
        // Half of them while something happens.
        let requests = &node.world.history.borrow().requests;
        let busy = one_of(node, requests).filter(|_| node.world.chance(|chance| chance.hits(500)));
        let at = match busy {
            Some(at) => at + node.world.between(0, 3000),
            None => node.world.between(0, node.world.settings.span * 3 / 2),
        };
        let node = node.clone();
        node.world.clone().executor.after(at, move || {
            let act = act(node.clone(), number as u128);
            node.spawn(act);
        });
    }
}

async fn act(node: Node, number: u128) {
    let what = node.world.chance(|chance| chance.below(16));
    match what {
        0 => registry::subscribe(&node.world, node.now()),
        1 => {
            if let Some(id) = a_subscription(&node) {
                node.world.trace(|| format!("people delete {id}"));
                registry::unsubscribe(&node, id).await;
            }
        }
        2 => {
            if let Some(id) = a_subscription(&node) {
                if node.world.chance(|chance| chance.hits(500)) {
                    registry::pause(&node.world, id);
                } else {
                    registry::disable(&node.world, id, DisabledReason::Operator, None);
                }
                let until = node.world.between(1000, 3_600_000);
                node.sleep(until).await;
                registry::enable(&node.world, id, node.now());
            }
        }
        3 => {
            let all = node.world.registry.borrow().subscriptions();
            for id in all {
                registry::enable(&node.world, id, node.now());
            }
        }
        4 => {
            if let Some(id) = a_subscription(&node) {
                registry::rotate(&node.world, id, node.now());
            }
        }
        5..=8 => change_an_event(&node).await,
        9..=12 => change_a_delivery(&node).await,
        _ => replay(&node, ReplayId(Uuid::from_u128(1000 + number))).await,
    }
}

fn one_of<T: Clone>(node: &Node, all: &[T]) -> Option<T> {
    (!all.is_empty()).then(|| all[node.world.between(0, all.len() as i64 - 1) as usize].clone())
}

fn a_subscription(node: &Node) -> Option<slipstream_core::ids::SubscriptionId> {
    let all = node.world.registry.borrow().subscriptions();
    one_of(node, &all)
}

fn places(node: &Node, wanted: impl Fn(&Place) -> bool) -> Vec<Place> {
    node.world.broker.borrow().places().into_iter().filter(|place| wanted(place)).collect()
}

/// `PATCH`, `DELETE` or `POST …/deliver-now` of a scheduled event, and perhaps again.
async fn change_an_event(node: &Node) {
    let waits = |place: &Place| node.world.broker.borrow().waiting(*place).is_some_and(|it| it.due_subject.is_some());
    let held: Vec<_> = places(node, |place| matches!(place, Place::Held(_))).into_iter().filter(waits).collect();
    let Some(place @ Place::Held(key)) = one_of(node, &held) else { return };
    let held = || Held::read(&*node.world.broker.borrow().waiting(place)?, key);
    aim(node, held().and_then(|held| held.meta.intended_at)).await;
    while let Some(held) = held() {
        change_once(node, &held).await;
        if node.world.chance(|chance| chance.hits(500)) {
            return;
        }
        node.sleep(node.world.between(0, 60_000)).await;
    }
}

async fn change_once(node: &Node, held: &Held) {
    let (now, event) = (node.now(), (held.key, held.meta.accepted_at));
    let times = |intended_at: Timestamp| {
        let expires_at = held.meta.expires_at.filter(|at| intended_at < *at);
        let body = reschedule(&held.body, Times { intended_at, expires_at }).expect("it is an event");
        (HeldChange::Times { body, intended_at, expires_at }, Changed::EventMoved(event.0, event.1))
    };
    let (change, done) = match node.world.chance(|chance| chance.below(3)) {
        0 => (HeldChange::Cancel, Changed::EventCancelled(event.0, event.1)),
        1 => times(now),
        _ => {
            let later = node.world.chance(|chance| chance.pick(&[30_000, 3_600_000]));
            times(Timestamp::from_millis(now.as_millis() + node.world.between(0, later)))
        }
    };
    let answer = change_held(node, held, change).await;
    told(node, done, answer);
}

/// What people were told about a change of theirs. The answer may be lost, and the change in force all the same.
fn told(node: &Node, done: Changed, answer: Result<Replaced, PublishError>) {
    node.world.trace(|| format!("people change {done:?}: {answer:?}"));
    let mut history = node.world.history.borrow_mut();
    history.attempted_changes.push(done);
    if answer == Ok(Replaced::Done) {
        history.stats.changes += 1;
        history.changed.push((node.monotonic(), done));
    }
}

/// Moves, cancels or hurries one waiting delivery.
async fn change_a_delivery(node: &Node) {
    let waiting = places(node, |place| matches!(place, Place::Waiting(..)));
    let Some(Place::Waiting(subscription, delivery)) = one_of(node, &waiting) else { return };
    aim(node, Waiting::find(node, subscription, delivery).map(|waiting| waiting.due_at())).await;
    let Some(waiting) = Waiting::find(node, subscription, delivery) else { return };
    let now = node.now();
    let (change, done) = match node.world.chance(|chance| chance.below(3)) {
        0 => (WaitingChange::Cancel, Changed::DeliveryCancelled(waiting.delivery)),
        1 => (WaitingChange::At(now), Changed::DeliveryMoved(waiting.delivery, waiting.meta.attempt)),
        _ => {
            let at = Timestamp::from_millis(now.as_millis() + node.world.between(0, 3_600_000));
            (WaitingChange::At(at), Changed::DeliveryMoved(waiting.delivery, waiting.meta.attempt))
        }
    };
    told(node, done, waiting.change(node, change).await);
}

/// Half of the time, waits until just before what is to be changed is due, where it is hard to do right.
async fn aim(node: &Node, due_at: Option<Timestamp>) {
    let Some(due_at) = due_at.filter(|_| node.world.chance(|chance| chance.hits(500))) else { return };
    let early = node.world.between(-300, 2500);
    let wait = due_at.as_millis() - node.monotonic() - early;
    if wait < 6 * 24 * 3_600_000 {
        node.sleep(wait).await;
    }
}

/// Delivers one event to one subscription again: the event as `EVENTS` has it, under a delivery of its own.
async fn replay(node: &Node, replay: ReplayId) {
    let rows: BTreeMap<_, _> = node.world.log.borrow().deliveries.clone();
    let rows: Vec<_> = rows.into_values().filter(|row| row.replay.is_none()).collect();
    let Some(row) = one_of(node, &rows) else { return };
    let sequence = node.world.log.borrow().events.get(&(row.key, row.accepted_at)).and_then(|event| event.sequence);
    let stored = sequence.and_then(|sequence| node.world.broker.borrow().get(StreamName::Events, sequence));
    let Some((stored, meta)) = stored.and_then(|stored| stored.meta.clone().map(|meta| (stored, meta))) else { return };
    let delivery = DeliveryId::derive_replay(row.accepted_at, row.subscription, &row.key, replay);
    let meta = Meta {
        published_by: None,
        replay: Some(replay),
        attempt: 1,
        parked: 0,
        generation: 0,
        changed_at: None,
        ..meta
    };
    let message = Outgoing::new(Subject::Delivery(row.lane, row.subscription, row.key), stored.payload.clone())
        .id(delivery.to_string())
        .meta(meta);
    node.world.trace(|| format!("people replay {:?} to {} as {delivery}", row.key, row.subscription));
    node.world.history.borrow_mut().replays_asked.insert(delivery);
    if node.publish(message).await.is_ok() {
        let mut history = node.world.history.borrow_mut();
        history.stats.replays += 1;
        history.replays.insert(delivery);
    }
}
