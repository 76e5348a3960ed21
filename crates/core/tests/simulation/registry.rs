//! The registry: what is configured, and how the others hear of it. Its rules are those of `store::subscriptions`, its
//! order of effects that of `services/subscription-registry`.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use slipstream_core::config::{
    Consent, DisabledReason, EndpointLimits, EndpointState, Health, SigningKey, Subscription, Surface,
};
use slipstream_core::contract::{EndpointChange, EndpointChanged};
use slipstream_core::feature::FeatureRef;
use slipstream_core::ids::{AccountId, SubscriptionId};
use slipstream_core::matching::MatchIndex;
use slipstream_core::signing::{Key, SEED_BYTES};
use slipstream_core::timestamp::Timestamp;
use uuid::Uuid;

use super::chance::Chance;
use super::message::{ConsumerName, Outgoing, Payload, Place, Subject};
use super::node::{DISPATCHERS_MAX, Node, REGISTRY};
use super::receiver::Receiver;
use super::world::World;

/// The longest that a change takes to reach a dispatcher that is awake, in milliseconds. N13 allows two seconds.
const HEARD_WITHIN: i64 = 1500;
const HOUR: i64 = 3600 * 1000;
/// SPEC 4.4: nothing but failures for five days, and so many attempts.
const FAILING_FOR: i64 = 5 * 24 * HOUR;
const FAILING_ATTEMPTS: usize = 20;

/// SQL, as far as it goes here.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    rows: BTreeMap<SubscriptionId, Row>,
    index: Rc<MatchIndex>,
    made: u128,
}

#[derive(Debug)]
struct Row {
    subscription: Subscription,
    /// When it was made or enabled.
    enabled_at: Timestamp,
    /// When its health was told or reset.
    health_at: Timestamp,
}

impl Registry {
    pub(crate) fn index(&self) -> Rc<MatchIndex> {
        Rc::clone(&self.index)
    }

    pub(crate) fn subscriptions(&self) -> Vec<SubscriptionId> {
        self.rows.keys().copied().collect()
    }
}

const TYPES: [&str; 3] =
    ["communications.letter.created", "communications.letter.creation_failed", "communications.letter.status_updated"];

/// The first subscriptions.
pub(crate) fn begin(world: &Rc<World>) {
    for _ in 0..world.between(1, 4) {
        subscribe(world, world.now());
    }
}

/// Makes a subscription, its receiver and its key.
pub(crate) fn subscribe(world: &Rc<World>, now: Timestamp) {
    let mut registry = world.registry.borrow_mut();
    registry.made += 1;
    let id = SubscriptionId(Uuid::from_u128(registry.made));
    let (subscription, receiver) = world.chance(|chance| {
        let key = new_key(chance);
        let event_types = if chance.hits(500) { Vec::new() } else { vec![chance.pick(&TYPES).to_owned()] };
        let consent = match chance.below(8) {
            0 => Consent::NotGranted { origin: "slipstream.example".into() },
            1 => Consent::Granted { origin: "slipstream.example".into(), rate_per_minute: Some(6) },
            _ => Consent::Off,
        };
        let subscription = Subscription {
            id,
            surface: Surface::Slipstream,
            site: world.site.slug.clone(),
            feature: FeatureRef::by_name("physicalpost").expect("it is in the table"),
            account: AccountId(Uuid::nil()),
            uri: "https://receiver.example/post".into(),
            headers: Vec::new(),
            event_types,
            state: EndpointState::Active,
            health: Health::Healthy,
            consent,
            limits: EndpointLimits::default(),
            signing_keys: vec![SigningKey { secret: key.shown().into(), until: None }],
            revision: 1,
        };
        (subscription, Receiver::new(chance, world.settings.span, key))
    });
    world.trace(|| format!("{id} is made: {:?} {:?} {receiver:?}", subscription.event_types, subscription.consent));
    world.receivers.borrow_mut().insert(id, receiver);
    registry.rows.insert(id, Row { subscription, enabled_at: now, health_at: now });
    drop(registry);
    mirror(world, id);
}

fn new_key(chance: &mut Chance) -> Key {
    let mut seed = [0; SEED_BYTES];
    seed.chunks_mut(8).for_each(|part| part.copy_from_slice(&chance.number().to_be_bytes()));
    // Ed25519 is slow without optimisation; some worlds have it.
    if chance.hits(60) { Key::from_seed(seed) } else { Key::from_bytes(seed.to_vec()).expect("32 bytes are a key") }
}

/// Makes the bucket say what SQL says; every dispatcher hears of it in its time.
fn mirror(world: &Rc<World>, id: SubscriptionId) {
    let mut registry = world.registry.borrow_mut();
    let subscriptions = registry.rows.values().map(|row| Arc::new(row.subscription.clone()));
    let index = Rc::new(MatchIndex::new(subscriptions));
    registry.index = Rc::clone(&index);
    let now = registry.rows.get(&id).map(|row| &row.subscription);
    world.trace(|| format!("{id} is now {:?}", now.map(|now| (now.state, now.health, now.revision))));
    world.history.borrow_mut().configured(world.executor.now(), id, now);
    drop(registry);
    for process in 0..DISPATCHERS_MAX {
        let Some(dispatcher) = world.dispatchers.borrow()[process].as_ref().map(Rc::downgrade) else { continue };
        let frozen = world.executor.frozen_for(process);
        let world = Rc::clone(world);
        let after = frozen + world.between(1, HEARD_WITHIN);
        world.clone().executor.after(after, move || {
            // What it hears is what stands by then, so that an older change never comes after a newer one.
            if let Some(dispatcher) = dispatcher.upgrade() {
                dispatcher.hears(world.registry.borrow().index());
            }
        });
    }
}

/// Changes a row by `act`, which says whether it did; then everybody hears of it.
fn change(world: &Rc<World>, id: SubscriptionId, act: impl FnOnce(&mut Row) -> bool) {
    let mut registry = world.registry.borrow_mut();
    let Some(row) = registry.rows.get_mut(&id) else { return };
    if act(row) {
        row.subscription.revision += 1;
        drop(registry);
        mirror(world, id);
    }
}

/// `store::subscriptions::disable`: `seen_at` is none when an operator does it.
pub(crate) fn disable(world: &Rc<World>, id: SubscriptionId, reason: DisabledReason, seen_at: Option<Timestamp>) {
    change(world, id, |row| {
        let is_disabled = matches!(row.subscription.state, EndpointState::Disabled(_));
        let applies = match seen_at {
            Some(seen_at) => !is_disabled && row.enabled_at <= seen_at,
            None => row.subscription.state != EndpointState::Disabled(reason),
        };
        if applies {
            row.subscription.state = EndpointState::Disabled(reason);
        }
        applies
    });
}

/// Its owner switches it off for a while: `…/deactivate` of the ECG surface.
pub(crate) fn pause(world: &Rc<World>, id: SubscriptionId) {
    change(world, id, |row| {
        let applies = row.subscription.state == EndpointState::Active;
        if applies {
            row.subscription.state = EndpointState::Paused;
        }
        applies
    });
}

/// `store::subscriptions::enable`, and `…/activate` of the ECG surface.
pub(crate) fn enable(world: &Rc<World>, id: SubscriptionId, now: Timestamp) {
    change(world, id, |row| {
        let applies = matches!(row.subscription.state, EndpointState::Disabled(_) | EndpointState::Paused);
        if applies {
            row.subscription.state = EndpointState::Active;
            row.subscription.health = Health::Healthy;
            (row.enabled_at, row.health_at) = (now, now);
        }
        applies
    });
}

/// `store::subscriptions::degrade` and `recover`.
fn health(world: &Rc<World>, id: SubscriptionId, degraded: Option<Timestamp>, seen_at: Timestamp) {
    change(world, id, |row| {
        let is_active = row.subscription.state == EndpointState::Active;
        let is_degraded = row.subscription.health != Health::Healthy;
        let applies = is_active
            && match degraded {
                Some(_) => !is_degraded && row.enabled_at <= seen_at && row.health_at < seen_at,
                None => is_degraded && row.health_at <= seen_at,
            };
        if applies {
            let since = degraded.map(|since| since.max(row.health_at));
            row.subscription.health = since.map_or(Health::Healthy, Health::Degraded);
            row.health_at = seen_at;
        }
        applies
    });
}

/// Puts a new key in front; the one before signs on for 24 hours, and the receiver takes the new one up at some time of
/// these.
pub(crate) fn rotate(world: &Rc<World>, id: SubscriptionId, now: Timestamp) {
    let (key, taken_after) = world.chance(|chance| (new_key(chance), chance.between(600_000, 23 * HOUR)));
    change(world, id, |row| {
        for key in &mut row.subscription.signing_keys {
            key.until = key.until.or(Some(Timestamp::from_millis(now.as_millis() + 24 * HOUR)));
        }
        row.subscription.signing_keys.insert(0, SigningKey { secret: key.shown().into(), until: None });
        true
    });
    if let Some(receiver) = world.receivers.borrow_mut().get_mut(&id) {
        receiver.takes_key(world.executor.now() + taken_after, key);
    }
}

/// Deletes a subscription: out of SQL, out of the bucket, and announced; then what waits for it is taken away. A record of
/// it may be on its way behind the announcement, and the activity log ends that.
pub(crate) async fn unsubscribe(node: &Node, id: SubscriptionId) {
    let world = &node.world;
    if world.registry.borrow_mut().rows.remove(&id).is_none() {
        return;
    }
    node.step().await;
    mirror(world, id);
    let removed = EndpointChanged { subscription: id, at: node.now(), change: EndpointChange::Removed, revision: None };
    let message = Outgoing::new(Subject::Endpoint, Payload::Endpoint(removed)).id(format!("removed.{id}"));
    node.publish_surely(message).await;
    let mut broker = world.broker.borrow_mut();
    let of_subscription = |place: &Place| matches!(place, Place::Waiting(subscription, ..) if *subscription == id);
    broker.places().into_iter().filter(of_subscription).for_each(|place| broker.purge(place));
}

/// Takes changes that dispatchers found. A change is acknowledged when it is in force; a repeat changes nothing.
pub(crate) async fn run(node: Node) {
    loop {
        for message in node.pull(ConsumerName::RegistryEndpoints, 1).await {
            node.step().await;
            if let Payload::Endpoint(changed) = &message.stored.payload {
                let EndpointChanged { subscription, at, change, .. } = *changed;
                match change {
                    EndpointChange::Disabled(reason) => disable(&node.world, subscription, reason, Some(at)),
                    EndpointChange::Degraded(since) => {
                        health(&node.world, subscription, Some(since), at);
                        look_again(&node.world, subscription, FAILING_FOR, 10);
                    }
                    EndpointChange::Recovered => health(&node.world, subscription, None, at),
                    EndpointChange::Removed => {}
                }
            }
            node.acknowledge(&message).await;
        }
    }
}

/// Looks whether an endpoint has failed for five days on end, after `millis` and then every twelve hours.
fn look_again(world: &Rc<World>, id: SubscriptionId, millis: i64, looks: u32) {
    let next = Rc::clone(world);
    world.executor.after(millis, move || {
        let health = next.registry.borrow().rows.get(&id).map(|row| row.subscription.health);
        let Some(Health::Degraded(degraded)) = health else { return };
        let now = next.node(REGISTRY).now();
        let attempts = next.log.borrow().attempts_since(id, degraded);
        if now.as_millis() - degraded.as_millis() >= FAILING_FOR && attempts >= FAILING_ATTEMPTS {
            disable(&next, id, DisabledReason::Failing, Some(now));
        } else if looks > 0 {
            look_again(&next, id, 12 * HOUR, looks - 1);
        }
    });
}
