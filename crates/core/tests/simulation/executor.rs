//! Virtual time: tasks and calls in the order of their instants, on one thread. Nothing here waits.
//!
//! A task belongs to a process. A process can be frozen, which moves everything it would do to the end of the freeze, or
//! killed, which drops its tasks wherever they are: between any two of their effects.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::chance::Chance;

/// Which task: its slot, and which of the slot's tasks.
pub(crate) type TaskId = (usize, u64);

/// Which process, see [`super::node`].
pub(crate) type Process = usize;

type Task = Pin<Box<dyn Future<Output = ()>>>;

pub(crate) struct Executor {
    state: RefCell<State>,
}

struct State {
    now: i64,
    queue: BinaryHeap<Reverse<Entry>>,
    slots: Vec<Slot>,
    free: Vec<usize>,
    tasks_made: u64,
    current: TaskId,
    frozen_until: [i64; PROCESSES],
    /// Decides the order of what happens in the same millisecond.
    ties: Chance,
}

/// Processes there can be.
pub(crate) const PROCESSES: usize = 8;

struct Slot {
    number: u64,
    process: Process,
    /// None while it runs.
    task: Option<Task>,
}

struct Entry {
    at: i64,
    tie: u64,
    what: What,
}

enum What {
    Wake(TaskId),
    Call(Box<dyn FnOnce()>),
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.tie) == (other.at, other.tie)
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.tie).cmp(&(other.at, other.tie))
    }
}

impl Executor {
    /// `start` is the first instant, in milliseconds.
    pub(crate) fn new(start: i64, seed: u64) -> Self {
        let state = State {
            now: start,
            queue: BinaryHeap::with_capacity(64),
            slots: Vec::with_capacity(32),
            free: Vec::new(),
            tasks_made: 0,
            current: (usize::MAX, 0),
            frozen_until: [0; PROCESSES],
            ties: Chance::new(seed),
        };
        Self { state: RefCell::new(state) }
    }

    pub(crate) fn now(&self) -> i64 {
        self.state.borrow().now
    }

    pub(crate) fn current(&self) -> TaskId {
        self.state.borrow().current
    }

    pub(crate) fn spawn(&self, process: Process, task: impl Future<Output = ()> + 'static) {
        let mut state = self.state.borrow_mut();
        state.tasks_made += 1;
        let slot = Slot { number: state.tasks_made, process, task: Some(Box::pin(task)) };
        let id = if let Some(index) = state.free.pop() {
            state.slots[index] = slot;
            index
        } else {
            state.slots.push(slot);
            state.slots.len() - 1
        };
        let (now, number) = (state.now, state.tasks_made);
        state.push(now, What::Wake((id, number)));
    }

    /// Has `call` made `millis` from now.
    pub(crate) fn after(&self, millis: i64, call: impl FnOnce() + 'static) {
        let mut state = self.state.borrow_mut();
        let at = state.now + millis.max(0);
        state.push(at, What::Call(Box::new(call)));
    }

    pub(crate) fn wake(&self, task: TaskId) {
        let mut state = self.state.borrow_mut();
        let now = state.now;
        state.push(now, What::Wake(task));
    }

    pub(crate) fn sleep(&self, millis: i64) -> Sleep<'_> {
        Sleep { executor: self, until: self.now() + millis.max(0), is_set: false }
    }

    pub(crate) fn freeze(&self, process: Process, millis: i64) {
        let mut state = self.state.borrow_mut();
        let until = state.now + millis;
        let frozen_until = &mut state.frozen_until[process];
        *frozen_until = until.max(*frozen_until);
    }

    /// For how long `process` is still frozen.
    pub(crate) fn frozen_for(&self, process: Process) -> i64 {
        let state = self.state.borrow();
        (state.frozen_until[process] - state.now).max(0)
    }

    pub(crate) fn is_frozen(&self, process: Process) -> bool {
        self.frozen_for(process) > 0
    }

    /// Drops every task of `process`; not to be called by one of them.
    pub(crate) fn kill(&self, process: Process) {
        let mut killed = Vec::new();
        {
            let mut state = self.state.borrow_mut();
            state.frozen_until[process] = 0;
            let State { slots, free, .. } = &mut *state;
            for (index, slot) in slots.iter_mut().enumerate() {
                if slot.process == process && slot.task.is_some() {
                    killed.push(slot.task.take());
                    slot.number = 0;
                    free.push(index);
                }
            }
        }
        // Only now: what a task drops may want to know the time.
        drop(killed);
    }

    /// Runs until nothing is left to be done. False if that is not so after `events_max`. Tells how many there were.
    pub(crate) fn run(&self, events_max: u64) -> (u64, bool) {
        for count in 0..events_max {
            let Some(what) = self.state.borrow_mut().pop() else { return (count, true) };
            match what {
                What::Call(call) => call(),
                What::Wake(id) => self.poll(id),
            }
        }
        (events_max, false)
    }

    fn poll(&self, (index, number): TaskId) {
        let mut task = {
            let mut state = self.state.borrow_mut();
            let slot = &mut state.slots[index];
            if slot.number != number {
                return;
            }
            let Some(task) = slot.task.take() else { return };
            state.current = (index, number);
            task
        };
        let is_done = task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
        let mut state = self.state.borrow_mut();
        if is_done {
            state.slots[index].number = 0;
            state.free.push(index);
        } else {
            state.slots[index].task = Some(task);
        }
    }

    /// Drops everything; a world and its tasks hold each other.
    pub(crate) fn clear(&self) {
        let (slots, queue) = {
            let mut state = self.state.borrow_mut();
            (std::mem::take(&mut state.slots), std::mem::take(&mut state.queue))
        };
        drop((slots, queue));
    }
}

impl State {
    fn push(&mut self, at: i64, what: What) {
        let tie = self.ties.number();
        self.queue.push(Reverse(Entry { at, tie, what }));
    }

    fn pop(&mut self) -> Option<What> {
        loop {
            let Reverse(Entry { at, what, .. }) = self.queue.pop()?;
            self.now = at;
            if let What::Wake((index, _)) = what {
                let until = self.frozen_until[self.slots[index].process];
                if until > at {
                    self.push(until, what);
                    continue;
                }
            }
            return Some(what);
        }
    }
}

/// Ready at its instant.
pub(crate) struct Sleep<'a> {
    executor: &'a Executor,
    until: i64,
    is_set: bool,
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        let mut state = self.executor.state.borrow_mut();
        if state.now >= self.until {
            return Poll::Ready(());
        }
        if !self.is_set {
            let (until, current) = (self.until, state.current);
            state.push(until, What::Wake(current));
            drop(state);
            self.is_set = true;
        }
        Poll::Pending
    }
}
