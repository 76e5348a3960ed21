//! One dispatcher: `services/dispatcher`, file by file and effect by effect. What it decides, `core` decides.

pub(crate) mod attempt;
pub(crate) mod endpoint;
mod hold;
mod route;
mod seen;
mod work;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use slipstream_core::config::Subscription;
use slipstream_core::delivery::Gate;
use slipstream_core::matching::MatchIndex;
use slipstream_core::retry::RetrySchedule;

use self::endpoint::{Admission, Endpoints};
pub(crate) use self::work::Work;
use super::message::{ConsumerName, Message};
use super::mutation::Mutation;
use super::node::Node;

pub(crate) struct Dispatcher {
    node: Node,
    /// The configuration as it last heard of it.
    directory: RefCell<Rc<MatchIndex>>,
    endpoints: Endpoints,
    schedule: RetrySchedule,
    /// Until when nobody is asked for repeats, after there was no answer.
    not_asked_before: Cell<i64>,
}

/// Starts one: all that it remembers begins here.
pub(crate) fn start(node: Node) -> Rc<Dispatcher> {
    let directory = RefCell::new(node.world.registry.borrow().index());
    let dispatcher = Rc::new(Dispatcher {
        directory,
        endpoints: Endpoints::new(node.world.settings.dispatchers),
        schedule: RetrySchedule::default(),
        not_asked_before: Cell::new(0),
        node,
    });
    let node = &dispatcher.node;
    node.spawn(route::run(Rc::clone(&dispatcher)));
    node.spawn(run(Rc::clone(&dispatcher), ConsumerName::Hold));
    node.spawn(run(Rc::clone(&dispatcher), ConsumerName::Release));
    node.spawn(deliver(Rc::clone(&dispatcher)));
    dispatcher
}

impl Dispatcher {
    /// It hears of a new configuration.
    pub(crate) fn hears(&self, index: Rc<MatchIndex>) {
        *self.directory.borrow_mut() = index;
    }

    fn index(&self) -> Rc<MatchIndex> {
        Rc::clone(&self.directory.borrow())
    }
}

/// `hold::run`: applies the step to each message, and acknowledges those for which it succeeded.
async fn run(dispatcher: Rc<Dispatcher>, consumer: ConsumerName) {
    loop {
        for message in dispatcher.node.pull(consumer, 4).await {
            let dispatcher = Rc::clone(&dispatcher);
            dispatcher.node.clone().spawn(async move {
                let is_done = match consumer {
                    ConsumerName::Hold => dispatcher.hold(&message).await,
                    _ => dispatcher.release(&message).await,
                };
                if is_done.is_ok() {
                    dispatcher.node.acknowledge(&message).await;
                }
            });
        }
    }
}

/// `deliver::run`: each delivery that comes due is admitted, queued or put off, and never waited for.
async fn deliver(dispatcher: Rc<Dispatcher>) {
    loop {
        for message in dispatcher.node.pull(ConsumerName::Deliver, 4).await {
            let worker = dispatcher.begin(message);
            if dispatcher.node.world.is(Mutation::AttemptInline) {
                worker.await;
            } else {
                dispatcher.node.spawn(worker);
            }
        }
    }
}

impl Dispatcher {
    /// Admits a delivery, and then does what that says.
    fn begin(self: &Rc<Self>, message: Message) -> impl Future<Output = ()> + 'static {
        let dispatcher = Rc::clone(self);
        let work = Work::read(message, self.node.monotonic());
        // What ends at the gate, or waits there, needs no place, and does not wait for one.
        let index = self.index();
        let needs_place =
            |it: &&Arc<Subscription>| !matches!(self.gate(Some(&***it), &work.meta), Gate::End(..) | Gate::Pause);
        let known = index.get(work.subscription).filter(needs_place).cloned();
        let admission = self.endpoints.admit(&self.node, work, known.as_deref());
        async move {
            match admission {
                Admission::Start(work, true) => dispatcher.work_off(*work).await,
                Admission::Start(work, false) => drop(dispatcher.attempt(&work).await),
                Admission::Queued => {}
                Admission::Park(work, park) => dispatcher.park(&work, park).await,
            }
        }
    }
}
