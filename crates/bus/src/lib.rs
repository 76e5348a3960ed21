//! JetStream: streams, subjects, consumers and buckets as data; publish, consume, schedule.
//!
//! This crate alone talks to NATS. What it promises:
//!
//! - A publish returns only with the acknowledgement of the right stream: the message is on disk (DESIGN 3.7).
//! - A [`Consumer`] never ends: it comes back after a server restart, and a message is handed out until it is
//!   acknowledged.
//! - Waiting is a message too: [`Outgoing::at`] makes the server publish it later (DESIGN 3.3).
//!
//! Where to look: [`streams`] declares what exists on the server, [`subject`] builds every subject there is,
//! [`publish`] commits many callers' messages together, [`consume`] hands them out, [`config_bucket`] holds what
//! people configure, [`storage`] trims what is processed and says when to stop pulling, [`held`] keeps events until
//! their time, [`schedules`] looks at deliveries that wait and changes them, [`ask`] is for questions without a record, [`presence`] counts replicas.

pub mod ask;
mod commit;
pub mod config_bucket;
pub mod connect;
pub mod consume;
pub mod held;
pub mod message;
mod page;
pub mod presence;
pub mod publish;
pub mod schedules;
mod servers;
pub mod storage;
pub mod stored;
pub mod streams;
pub mod subject;

pub use async_nats::Subject;
pub use config_bucket::{ConfigBucket, ConfigChange};
pub use connect::{Bus, BusConfig, BusError};
pub use consume::{Consumer, Message};
pub use held::{Held, HeldChange, HeldEvents, Holding};
pub use message::Outgoing;
pub use publish::{Ack, PublishError, Publisher};
pub use schedules::{HoldError, Replaced, Schedules, Waiting, WaitingChange};
pub use stored::StoredEvent;
pub use streams::{ConsumerName, StreamName};
