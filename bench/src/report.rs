//! The figures: as one JSON document, and as a small table for people. No verdict.

mod table;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::count::Counts;
use crate::procfs::Machine;
use crate::raw::Raw;
use crate::resources::Resources;
use crate::stats::{Latency, rounded};

pub(crate) use table::{harness, table};

/// Everything.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// The program's version.
    pub(crate) version: &'static str,
    /// Where it ran.
    pub(crate) machine: Machine,
    /// The type of the file system on which the data lay.
    pub(crate) filesystem: String,
    /// Size of an event, in bytes.
    pub(crate) event_bytes: usize,
    /// What the measuring itself costs.
    pub(crate) harness: Harness,
    /// Each durability mode.
    pub(crate) modes: Vec<Mode>,
}

/// Driver and receiver alone, the one publishing straight to the other: what they can do, and what they take away
/// from the platform on the same cores.
#[derive(Debug, Serialize)]
pub(crate) struct Harness {
    /// Requests, each answered and noted once.
    pub(crate) requests: usize,
    /// Requests per second.
    pub(crate) per_second: f64,
    /// Processor time of the driver per request, in microseconds.
    pub(crate) driver_us: f64,
    /// Processor time of the receiver per request, in microseconds.
    pub(crate) receiver_us: f64,
}

/// The figures of one durability mode.
#[derive(Debug, Serialize)]
pub(crate) struct Mode {
    /// The `--sync` that it ran with.
    pub(crate) sync: String,
    /// Starting.
    pub(crate) start_up: StartUp,
    /// The ceiling.
    pub(crate) raw: Raw,
    /// Only accepting.
    pub(crate) accepting: Accepting,
    /// Accepting and delivering, as fast as it goes.
    pub(crate) delivering: Vec<Delivering>,
    /// Accepting and delivering at a fixed rate.
    pub(crate) open_loop: Delivering,
    /// What the log lists in the end.
    pub(crate) activity_log: ActivityLog,
}

impl Mode {
    /// Accepted events per second as a share of the ceiling.
    pub(crate) fn accepted_share(&self) -> f64 {
        if self.raw.per_second > 0.0 {
            rounded(self.accepting.accepted_per_second / self.raw.per_second, 3)
        } else {
            0.0
        }
    }
}

/// The start, on an empty data directory.
#[derive(Debug, Serialize)]
pub(crate) struct StartUp {
    /// From starting the program until it is ready.
    pub(crate) seconds: f64,
    /// Cores that platform and broker together use when there is nothing to do.
    pub(crate) idle_cores: f64,
    /// Resident memory of the platform then, in MiB.
    pub(crate) slipstream_mib: f64,
    /// Resident memory of its nats-server then, in MiB.
    pub(crate) nats_server_mib: f64,
}

impl StartUp {
    /// Of a platform that became ready after `ready`, and then was left alone for `idle`, in which it used `resources`.
    pub(crate) fn of(ready: Duration, idle: Duration, resources: Resources) -> Self {
        Self {
            seconds: rounded(ready.as_secs_f64(), 3),
            idle_cores: rounded(resources.cpu_seconds() / idle.as_secs_f64(), 3),
            slipstream_mib: resources.slipstream.memory.resident_mib,
            nats_server_mib: resources.nats_server.memory.resident_mib,
        }
    }
}

/// Publishing to a site without subscriptions.
#[derive(Debug, Serialize)]
pub(crate) struct Accepting {
    /// Connections, each with one request at a time.
    pub(crate) connections: usize,
    /// Events sent.
    pub(crate) sent: usize,
    /// Events answered 204.
    pub(crate) accepted: usize,
    /// Events answered otherwise, by status.
    pub(crate) refused: BTreeMap<u16, u32>,
    /// Connections that had to be made anew.
    pub(crate) reconnects: u32,
    /// From the first request to the last answer.
    pub(crate) seconds: f64,
    /// Accepted events per second.
    pub(crate) accepted_per_second: f64,
    /// From request to answer.
    pub(crate) answer: Option<Latency>,
    /// From the last answer until all was routed and recorded.
    pub(crate) idle_after_seconds: f64,
    /// Processor time of platform and broker per event, routing and recording included.
    pub(crate) cpu_ms_per_event: f64,
    /// Of each process, until all was routed and recorded.
    pub(crate) resources: Resources,
}

/// Publishing to a site with subscriptions, until everything is delivered and recorded.
#[derive(Debug, Serialize)]
pub(crate) struct Delivering {
    /// Subscriptions of the site.
    pub(crate) fan_out: usize,
    /// Connections of the driver.
    pub(crate) connections: usize,
    /// The rate of the open loop; none for a closed loop.
    pub(crate) scheduled_per_second: Option<u32>,
    /// Events sent.
    pub(crate) sent: usize,
    /// Events answered 204.
    pub(crate) accepted: usize,
    /// Events answered otherwise, by status.
    pub(crate) refused: BTreeMap<u16, u32>,
    /// Connections that had to be made anew.
    pub(crate) reconnects: u32,
    /// Deliveries.
    #[serde(flatten)]
    pub(crate) counts: Counts,
    /// From the first event's sending to the last delivery's arrival.
    pub(crate) seconds: f64,
    /// Delivered events per second.
    pub(crate) events_per_second: f64,
    /// Deliveries per second.
    pub(crate) deliveries_per_second: f64,
    /// From sending (open loop: from when it was due) to arrival, of each delivery.
    pub(crate) end_to_end: Option<Latency>,
    /// From request to answer; none for the open loop, which does not wait for answers.
    pub(crate) answer: Option<Latency>,
    /// From the last arrival until the activity log had recorded everything; in steps of 0.1 s.
    pub(crate) recorded_after_seconds: f64,
    /// Processor time of platform and broker per delivered event, recording included.
    pub(crate) cpu_ms_per_event: f64,
    /// The same per delivery.
    pub(crate) cpu_ms_per_delivery: f64,
    /// Resident memory of platform and broker together, at the end.
    pub(crate) resident_mib: f64,
    /// The sum of their peaks within the phase.
    pub(crate) peak_mib: f64,
    /// Of each process, until everything was recorded.
    pub(crate) resources: Resources,
}

/// What the activity log lists after all phases, warm-up included.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct ActivityLog {
    /// Deliveries that arrived.
    pub(crate) expected: usize,
    /// Deliveries that it lists as succeeded.
    pub(crate) listed_succeeded: usize,
}
