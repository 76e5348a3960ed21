//! Delivering again (SPEC 4.1, 4.9; issue 3, "Replay"): one delivery, one event to one subscription, or many by filter.
//!
//! A replay is a new delivery of an event that `EVENTS` still keeps: a message on `WORK` like any other, with a replay's
//! id in its header. Its own id is derived from both, so making it twice makes it once, and its `webhook-id` is that of
//! the delivery it repeats, so receivers recognise what they have seen.
//!
//! | what | module |
//! | --- | --- |
//! | the event's bytes, if they are still kept | `stored` |
//! | the messages that a replay publishes | `message` |
//! | one delivery, one event to one subscription | `single` |
//! | jobs: claim, walk, publish, keep the place | `worker`, `job`, `chunk`, `pace` |

mod chunk;
mod job;
mod message;
mod pace;
mod single;
mod stored;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use slipstream_bus::{Bus, Publisher, Schedules, StreamName};
use slipstream_service::Directory;
use slipstream_store::Store;
use tokio::sync::Notify;

pub(crate) use self::message::record;
pub(crate) use self::single::{NO_BUS, Replayed, conflict};
pub(crate) use self::worker::run;

/// What replaying needs. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Replayer {
    pub(crate) store: Store,
    pub(crate) bus: Bus,
    pub(crate) directory: Directory,
    pub(crate) work: Publisher,
    pub(crate) outcomes: Publisher,
    pub(crate) schedules: Schedules,
    /// Tells this replica's worker that there is something to do; the others look by themselves.
    pub(crate) wake: Arc<Notify>,
    /// How long the body of a request may take to arrive.
    pub(crate) body_timeout: Duration,
}

impl Replayer {
    pub(crate) fn new(store: Store, bus: Bus, directory: Directory, body_timeout: Duration) -> Self {
        let (work, outcomes) = (bus.publisher(StreamName::Work), bus.publisher(StreamName::Outcomes));
        let schedules = bus.schedules();
        Self { store, bus, directory, work, outcomes, schedules, wake: Arc::default(), body_timeout }
    }
}
