//! A whole Slipstream in one thread and no time: the world of one seed.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use slipstream_core::config::{Product, Site};
use slipstream_core::ids::SubscriptionId;
use slipstream_core::timestamp::Timestamp;

use super::activity_log::{self, ActivityLog};
use super::broker::{Broker, Taken};
use super::chance::Chance;
use super::dispatcher::{self, Dispatcher};
use super::executor::{Executor, PROCESSES, Process};
use super::history::{History, Stats};
use super::message::{Ack, ConsumerName, Message, Outgoing, Place, PublishError, Stored, StreamName};
use super::mutation::Mutation;
use super::node::{ACTIVITY_LOG, DISPATCHERS_MAX, Node, PEOPLE, REGISTRY};
use super::receiver::Receiver;
use super::registry::{self, Registry};
use super::settings::Settings;
use super::{checker, people, publisher};

/// When every world begins.
pub(crate) const START: i64 = 1_772_443_800_000;
/// Far more than a world needs; one that needs them does not come to rest.
const EVENTS_MAX: u64 = 50_000;

pub(crate) struct World {
    pub(crate) executor: Executor,
    pub(crate) settings: Settings,
    pub(crate) mutation: Option<Mutation>,
    pub(crate) site: Site,
    pub(crate) broker: RefCell<Broker>,
    pub(crate) history: RefCell<History>,
    pub(crate) registry: RefCell<Registry>,
    pub(crate) log: RefCell<ActivityLog>,
    pub(crate) receivers: RefCell<BTreeMap<SubscriptionId, Receiver>>,
    /// The living.
    pub(crate) dispatchers: RefCell<[Option<Rc<Dispatcher>>; DISPATCHERS_MAX]>,
    chance: RefCell<Chance>,
    clock_errors: RefCell<[i64; PROCESSES]>,
    strikes: Cell<u32>,
    is_alive: RefCell<[bool; PROCESSES]>,
}

/// What became of a world.
#[derive(Debug)]
pub(crate) struct Ended {
    /// What is not as it must be: which invariant, and the story.
    pub(crate) violations: Vec<checker::Violation>,
    pub(crate) stats: Stats,
    pub(crate) trace: Vec<String>,
}

/// Runs the world of `seed` to its end and checks it.
pub(crate) fn run(seed: u64, mutation: Option<Mutation>, is_traced: bool) -> Ended {
    let world = World::new(seed, mutation, is_traced);
    world.begin();
    let (events, is_at_rest) = world.executor.run(EVENTS_MAX);
    let violations = checker::check(&world, is_at_rest);
    // The world and its tasks hold each other.
    world.executor.clear();
    *world.dispatchers.borrow_mut() = Default::default();
    let mut history = world.history.borrow_mut();
    history.stats.events += events;
    Ended { violations, stats: history.stats, trace: history.trace.take().unwrap_or_default() }
}

impl World {
    fn new(seed: u64, mutation: Option<Mutation>, is_traced: bool) -> Rc<Self> {
        let mut chance = Chance::new(seed);
        let settings = Settings::new(&mut chance);
        let clock_errors =
            [0; PROCESSES].map(|_: i64| chance.between(-settings.clock_error_max, settings.clock_error_max));
        let site = Site {
            slug: "s8n6EzC".parse().expect("a slug"),
            name: String::new(),
            organisation: "o4fKq2".parse().expect("a slug"),
            billing_organisation: "o4fKq2".parse().expect("a slug"),
            product: Product::Testing,
            pms_specific_id: None,
            ecg_organization: None,
            revision: 1,
        };
        Rc::new(Self {
            executor: Executor::new(START, chance.number()),
            settings,
            mutation,
            site,
            broker: RefCell::new(Broker::new()),
            history: RefCell::new(History::new(is_traced)),
            registry: RefCell::default(),
            log: RefCell::default(),
            receivers: RefCell::default(),
            dispatchers: RefCell::default(),
            chance: RefCell::new(chance),
            clock_errors: RefCell::new(clock_errors),
            strikes: Cell::new(0),
            is_alive: RefCell::default(),
        })
    }

    fn begin(self: &Rc<Self>) {
        self.trace(|| format!("{:?}", self.settings));
        registry::begin(self);
        for process in (0..self.settings.dispatchers).chain([ACTIVITY_LOG, REGISTRY]) {
            self.start(process);
        }
        publisher::begin(self);
        if self.settings.operators {
            people::begin(&self.node(PEOPLE));
        }
        if self.settings.broker_restarts {
            let world = Rc::clone(self);
            let at = self.between(0, self.settings.span);
            self.executor.after(at, move || {
                world.fault("the broker restarts");
                world.broker.borrow_mut().restart();
            });
        }
        if self.settings.outages {
            let world = Rc::clone(self);
            let at = self.between(0, self.settings.span);
            self.executor.after(at, move || {
                let millis = world.between(1000, world.settings.span / 2 + 10_000);
                world.fault("the activity log is away");
                world.executor.freeze(ACTIVITY_LOG, millis);
            });
        }
    }

    /// Starts a process, anew if it died.
    fn start(self: &Rc<Self>, process: Process) {
        let node = self.node(process);
        self.is_alive.borrow_mut()[process] = true;
        match process {
            ACTIVITY_LOG => node.clone().spawn(activity_log::run(node)),
            REGISTRY => node.clone().spawn(registry::run(node)),
            _ => self.dispatchers.borrow_mut()[process] = Some(dispatcher::start(node)),
        }
    }

    pub(crate) fn node(self: &Rc<Self>, process: Process) -> Node {
        Node { world: Rc::clone(self), process }
    }

    /// Whether a process is there and not frozen.
    pub(crate) fn answers(&self, process: Process) -> bool {
        self.is_alive.borrow()[process] && !self.executor.is_frozen(process)
    }

    pub(crate) fn is(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.executor.now())
    }

    pub(crate) fn between(&self, first: i64, last: i64) -> i64 {
        self.chance.borrow_mut().between(first, last)
    }

    pub(crate) fn chance<T>(&self, draw: impl FnOnce(&mut Chance) -> T) -> T {
        draw(&mut self.chance.borrow_mut())
    }

    pub(crate) fn trace(&self, line: impl FnOnce() -> String) {
        let is_traced = self.history.borrow().trace.is_some();
        if is_traced {
            let line = format!("{} {}", self.now(), line());
            self.history.borrow_mut().trace.iter_mut().for_each(|trace| trace.push(line.clone()));
        }
    }

    fn fault(&self, what: &str) {
        self.history.borrow_mut().stats.faults += 1;
        self.trace(|| format!("FAULT {what}"));
    }

    fn has_faults(&self) -> bool {
        self.executor.now() < START + self.settings.faults_until
    }

    fn hits(&self, per_mille: u32) -> bool {
        per_mille > 0 && self.has_faults() && self.chance(|chance| chance.hits(per_mille))
    }

    /// How far the clock of a process is off.
    pub(crate) fn clock_error(&self, process: Process) -> i64 {
        self.clock_errors.borrow()[process]
    }

    /// Whether something on its way to or from the broker does not arrive.
    pub(crate) fn is_lost(&self) -> bool {
        let is_lost = self.hits(self.settings.lost);
        if is_lost {
            self.fault("a request or its acknowledgement is lost");
        }
        is_lost
    }

    /// What may happen to a process between two effects. True if it dies here.
    pub(crate) fn strike(self: &Rc<Self>, process: Process) -> bool {
        let Settings { crashes, pauses, clock_steps, clock_error_max, strikes_max, .. } = self.settings;
        if process > REGISTRY {
            return false;
        }
        if self.hits(clock_steps) {
            let error = self.between(-clock_error_max, clock_error_max);
            self.clock_errors.borrow_mut()[process] = error;
            self.fault(&format!("the clock of process {process} is off by {error} ms"));
        }
        if self.strikes.get() >= strikes_max {
            return false;
        }
        if self.hits(pauses) {
            self.strikes.set(self.strikes.get() + 1);
            let millis = self.chance(|chance| chance.pick(&[300, 5_000, 45_000, 70_000, 100_000, 200_000]));
            self.fault(&format!("process {process} is frozen for {millis} ms"));
            self.executor.freeze(process, millis);
            let now = self.executor.now();
            self.history.borrow_mut().frozen(process, now, now + millis);
        }
        if self.hits(crashes) {
            self.strikes.set(self.strikes.get() + 1);
            self.fault(&format!("process {process} dies"));
            let world = Rc::clone(self);
            self.executor.after(0, move || world.kill(process));
            return true;
        }
        false
    }

    fn kill(self: &Rc<Self>, process: Process) {
        // Two of its tasks may have been struck in the same instant.
        if !std::mem::take(&mut self.is_alive.borrow_mut()[process]) {
            return;
        }
        self.executor.kill(process);
        self.history.borrow_mut().died(process, self.executor.now());
        if process < DISPATCHERS_MAX {
            self.dispatchers.borrow_mut()[process] = None;
        }
        let world = Rc::clone(self);
        self.executor.after(self.between(200, 10_000), move || world.start(process));
    }

    /// The broker takes a message.
    pub(crate) fn store(self: &Rc<Self>, message: &Outgoing) -> Result<Ack, PublishError> {
        let taken = self.broker.borrow_mut().store(message, self.executor.now())?;
        let (stored, was_known) = match taken {
            Taken::Repeat(ack) => {
                self.trace(|| format!("  {:?} is known under {:?}", message.subject, message.id));
                return Ok(ack);
            }
            Taken::New { stored, was_known } => (stored, was_known),
        };
        self.trace(|| format!("  stored {:?} #{} {:?}", stored.subject, stored.sequence, message.id));
        self.history.borrow_mut().stored(&stored, message.id.as_deref(), was_known, self.executor.now());
        self.wake(&stored);
        if let Some((at, _)) = stored.schedule {
            let early = if self.is(Mutation::FireEarly) { 2000 } else { 0 };
            let (world, stored) = (Rc::clone(self), Rc::clone(&stored));
            let late = self.between(0, 230);
            let wait = (at.as_millis() - self.executor.now()).max(0) + late - early;
            self.executor.after(wait, move || world.read_schedule(&stored));
        }
        Ok(Ack { duplicate: false, sequence: stored.sequence })
    }

    /// A schedule is due: it is read now, and published in a moment, whatever takes its place until then.
    fn read_schedule(self: &Rc<Self>, stored: &Rc<Stored>) {
        if self.broker.borrow().get(StreamName::Work, stored.sequence).is_none() {
            return; // it was replaced or taken away
        }
        let (world, stored) = (Rc::clone(self), Rc::clone(stored));
        self.executor.after(self.between(0, 20), move || world.fire_schedule(&stored));
    }

    fn fire_schedule(self: &Rc<Self>, stored: &Stored) {
        let (Some((_, target)), Some(place)) = (&stored.schedule, stored.subject.place()) else { return };
        self.trace(|| format!("fires {:?} #{}", stored.subject, stored.sequence));
        if matches!(place, Place::Alarm(..)) {
            let world = Rc::clone(self);
            self.executor.after(self.between(0, 200), move || world.broker.borrow_mut().purge(place));
        } else {
            self.broker.borrow_mut().purge(place);
        }
        let due = Outgoing {
            meta: stored.meta.clone(),
            due_subject: stored.due_subject.clone(),
            ..Outgoing::new(target.clone(), stored.payload.clone())
        };
        self.store(&due).expect("nothing is expected of it");
    }

    fn wake(&self, stored: &Stored) {
        for consumer in stored.subject.consumers() {
            self.wake_waiters(*consumer);
        }
    }

    fn wake_waiters(&self, consumer: ConsumerName) {
        let waiters = self.broker.borrow_mut().waiters(consumer);
        for task in waiters {
            self.executor.wake(task);
        }
    }

    /// The broker hands out up to `max` messages; with none, the current task is woken when there is one.
    pub(crate) fn hand_out(self: &Rc<Self>, consumer: ConsumerName, max: usize, process: Process) -> Vec<Message> {
        let mut batch = Vec::new();
        while batch.len() < max {
            let ready = self.broker.borrow().ready(consumer);
            if ready == 0 {
                break;
            }
            let is_reordered = ready > 1 && self.hits(self.settings.reordered);
            let index = if is_reordered { self.between(0, ready as i64 - 1) as usize } else { 0 };
            let handed = self.broker.borrow_mut().hand_out(consumer, index);
            let Some(message) = handed else { continue };
            self.history.borrow_mut().handed_out(&message, process, self.executor.now());
            let mut lease = consumer.lease();
            if self.hits(self.settings.duplicated) {
                self.fault("a message is handed out twice");
                lease = self.between(0, 500);
            }
            let (world, sequence, instance) = (Rc::clone(self), message.stored.sequence, message.instance);
            self.executor.after(lease, move || world.lease_is_over(consumer, sequence, instance));
            batch.push(message);
        }
        if batch.is_empty() {
            self.broker.borrow_mut().wait(consumer, self.executor.current());
        }
        batch
    }

    fn lease_is_over(&self, consumer: ConsumerName, sequence: u64, instance: u64) {
        if self.broker.borrow_mut().lease_is_over(consumer, sequence, instance) {
            self.trace(|| format!("{consumer:?} #{sequence} is to be handed out again"));
            self.wake_waiters(consumer);
        }
    }

    /// An acknowledgement is on its way to the broker, where it counts whenever it arrives.
    pub(crate) fn send_acknowledgement(self: &Rc<Self>, message: &Message) {
        self.history.borrow_mut().acknowledged(message, self.executor.now());
        if self.is_lost() {
            return;
        }
        let (world, consumer, sequence) = (Rc::clone(self), message.consumer, message.stored.sequence);
        self.executor.after(self.between(0, 1), move || world.broker.borrow_mut().acknowledge(consumer, sequence));
    }
}
