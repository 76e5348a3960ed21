//! A process of ours, as its code sees the world: a clock, the bus, and the moments between two effects.

use std::future::{Future, pending, poll_fn};
use std::rc::Rc;
use std::task::Poll;

use slipstream_core::timestamp::Timestamp;

use super::executor::Process;
use super::message::{Ack, ConsumerName, Message, Outgoing, PublishError};
use super::world::World;

/// Dispatchers are processes 0 to 2.
pub(crate) const DISPATCHERS_MAX: usize = 3;
pub(crate) const ACTIVITY_LOG: Process = 3;
pub(crate) const REGISTRY: Process = 4;
pub(crate) const INGEST: Process = 5;
pub(crate) const PEOPLE: Process = 6;

/// How long a publish waits for its acknowledgement (`bus::publish`), in milliseconds, and how often it is tried.
const TRY_TIMEOUT: i64 = 2000;
const TRIES: u32 = 3;
/// Pause before what was not acknowledged is published again by whoever wanted it.
pub(crate) const REPEAT_PAUSE: i64 = 200;

#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) world: Rc<World>,
    pub(crate) process: Process,
}

impl Node {
    /// The time, by this machine's clock.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.monotonic() + self.world.clock_error(self.process))
    }

    /// Milliseconds that no step of the clock touches.
    pub(crate) fn monotonic(&self) -> i64 {
        self.world.executor.now()
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.world.executor.spawn(self.process, task);
    }

    pub(crate) async fn sleep(&self, millis: i64) {
        self.world.executor.sleep(millis).await;
    }

    /// The moment between two effects, in which a process may die, freeze, or have its clock set.
    pub(crate) async fn step(&self) {
        if self.world.strike(self.process) {
            pending::<()>().await;
        }
        // At least a moment, if it was frozen: it wakes up when that is over.
        let least = i64::from(self.world.executor.is_frozen(self.process));
        self.sleep(self.world.between(least, 1)).await;
    }

    /// Stores one message, trying again with the same id when nothing is heard.
    pub(crate) async fn publish(&self, message: Outgoing) -> Result<Ack, PublishError> {
        for _ in 0..TRIES {
            self.step().await;
            if !self.world.is_lost() {
                let stored = self.world.store(&message);
                self.step().await;
                if !self.world.is_lost() {
                    return stored;
                }
            }
            self.sleep(TRY_TIMEOUT).await;
        }
        Err(PublishError::Unanswered)
    }

    /// Publishes until the stream has it.
    pub(crate) async fn publish_surely(&self, message: Outgoing) -> Ack {
        loop {
            match self.publish(message.clone()).await {
                Ok(ack) => return ack,
                Err(_) => self.sleep(REPEAT_PAUSE).await,
            }
        }
    }

    /// Up to `max` messages, at least one.
    pub(crate) fn pull(&self, consumer: ConsumerName, max: usize) -> impl Future<Output = Vec<Message>> + '_ {
        poll_fn(move |_| {
            let batch = self.world.hand_out(consumer, max, self.process);
            if batch.is_empty() { Poll::Pending } else { Poll::Ready(batch) }
        })
    }

    /// Sends an acknowledgement, and does not wait for it to arrive.
    pub(crate) async fn acknowledge(&self, message: &Message) {
        self.step().await;
        self.world.send_acknowledgement(message);
    }
}
