//! Whether the bucket can be heard at present.
//!
//! The watch by itself does not tell: when the connection is lost its stream waits, and goes on at some time after there
//! is one again, so that a change of which we do not know looks like no change. So it is asked for a proof: the stream
//! behind the bucket is asked about every second, over the connection that changes come over too.

use std::time::Duration;

use slipstream_bus::{Bus, ConfigBucket};
use tokio::time::{Instant, sleep, timeout};

use super::Directory;
use crate::health::Check;

/// How long after it was last heard what is known of credentials is believed. A restart of the bus takes less.
const BELIEVED_FOR: Duration = Duration::from_secs(5);
/// How often the bucket is asked, and how long its answer may take.
const ASK: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(2));
/// How often the connection is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// One connection to the bus, as long as it stands: after it comes another one.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    bus: Bus,
    number: u64,
}

impl Connection {
    /// The one that stands now.
    pub(super) fn now(bus: &Bus) -> Self {
        Self { bus: bus.clone(), number: bus.connections() }
    }

    /// Whether it still does.
    pub(super) fn stands(&self) -> bool {
        self.bus.is_connected() && self.bus.connections() == self.number
    }

    /// Waits until it does not.
    pub(super) async fn lost(&self) {
        while self.stands() {
            sleep(LOOK_EVERY).await;
        }
    }
}

/// When the bucket was last heard, and what follows for a directory.
#[derive(Debug)]
pub(super) struct Hearing {
    directory: Directory,
    check: Check,
    last: Instant,
}

impl Hearing {
    /// It was heard just now.
    pub(super) fn begin(directory: Directory, check: Check) -> Self {
        check.set_ready();
        Self { directory, check, last: Instant::now() }
    }

    /// Until when what is known is believed, if it is not heard again.
    pub(super) fn believed_until(&self) -> Instant {
        self.last + BELIEVED_FOR
    }

    /// It was heard at `instant`: what is known is as new as that.
    pub(super) fn heard(&mut self, instant: Instant) {
        self.last = instant;
        self.directory.set_stale(false);
        self.check.set_ready();
    }

    /// The watch is lost; what is known goes on for a while.
    pub(super) fn lost(&self) {
        self.check.set_not_ready("the watch of the config bucket is lost; what was known before still serves");
    }

    /// What is known is not believed any more.
    pub(super) fn give_up(&self) {
        if !self.directory.is_stale() {
            tracing::warn!("the config bucket is not heard; until it is, credentials are not judged");
        }
        self.check.set_not_ready("the config bucket is not heard; credentials are not judged");
        self.directory.set_stale(true);
    }

    /// Asks for ever.
    pub(super) async fn ask(&mut self, bucket: &ConfigBucket) -> std::convert::Infallible {
        let (every, patience) = ASK;
        loop {
            sleep(every).await;
            let asked = Instant::now();
            match timeout(patience, bucket.check()).await {
                Ok(Ok(())) => self.heard(asked),
                _ if Instant::now() >= self.believed_until() => self.give_up(),
                _ => {}
            }
        }
    }
}
