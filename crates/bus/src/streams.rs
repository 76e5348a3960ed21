//! What exists on the server, as data: streams and durable consumers (DESIGN 3).
//!
//! Declared here, made or brought up to date at start by [`crate::Bus::connect`], read back and compared there.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use slipstream_core::lane::Lane;

/// Which stream. The names carry a shard number from the start (DESIGN 3.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StreamName {
    /// Accepted events, due and not yet due.
    Events,
    /// Deliveries, due and waiting.
    Work,
    /// Events whose intended time is ahead.
    Held,
    /// WorkQueue events for their publishing services.
    Queue,
    /// What became of events and deliveries.
    Outcomes,
    /// Who did what. By itself, so that neither can fill up the other's place: nothing is done that cannot be recorded here.
    Audit,
    /// The bytes of events with a delivery that failed or was exhausted, to be replayed when `Events` has let them go.
    DeadLetters,
}

impl StreamName {
    /// All streams.
    pub const ALL: [Self; 7] =
        [Self::Events, Self::Work, Self::Held, Self::Queue, Self::Outcomes, Self::Audit, Self::DeadLetters];

    /// How many of them have a size of their own, [`StreamLimits::max_bytes`], which the server reserves.
    pub(crate) const BOUNDED: i64 = 5;

    /// The name on the server.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Events => "EVENTS_0",
            Self::Work => "WORK_0",
            Self::Held => "HELD_0",
            Self::Queue => "QUEUE_0",
            Self::Outcomes => "OUTCOMES_0",
            Self::Audit => "AUDIT_0",
            Self::DeadLetters => "DEAD_LETTERS_0",
        }
    }

    /// The stream's configuration.
    ///
    /// `EVENTS`, `OUTCOMES` and `AUDIT` refuse when full and have no `max_age`: nothing unprocessed ever ages out, trimming is
    /// [`crate::storage`]'s work. `WORK` and `HELD` have no limits of their own, because they would silently drop
    /// schedules.
    pub fn config(self, limits: StreamLimits) -> Config {
        let common = Config {
            name: self.as_str().to_owned(),
            storage: StorageType::File,
            num_replicas: limits.replicas,
            allow_atomic_publish: true,
            // Events are read by their place in the stream when they are replayed.
            allow_direct: true,
            // The server's default for each; named so that what is read back compares equal.
            max_consumers: -1,
            max_messages: -1,
            max_messages_per_subject: -1,
            max_message_size: -1,
            max_bytes: -1,
            ..Config::default()
        };
        let subjects = |subjects: &[&str]| subjects.iter().map(ToString::to_string).collect();
        match self {
            Self::Events => Config {
                subjects: subjects(&["events.>", "later.>"]),
                retention: RetentionPolicy::Limits,
                discard: DiscardPolicy::New,
                max_bytes: limits.max_bytes,
                duplicate_window: EVENTS_DUPLICATE_WINDOW,
                ..common
            },
            Self::Work => Config {
                subjects: subjects(&["deliveries.>", "waiting.>"]),
                retention: RetentionPolicy::WorkQueue,
                // A schedule needs discard *old* (the server says so), and a roll-up to replace the one before.
                discard: DiscardPolicy::Old,
                allow_message_schedules: true,
                allow_rollup: true,
                allow_message_ttl: true,
                duplicate_window: Duration::from_mins(2),
                ..common
            },
            // What no consumer reads stays until it is taken away: held events, lists, alarms.
            Self::Held => Config {
                subjects: subjects(&["held.>", "lists.>", "alarms.>", "ringing.>"]),
                retention: RetentionPolicy::WorkQueue,
                discard: DiscardPolicy::Old,
                // A later generation takes the place of an earlier one.
                max_messages_per_subject: 1,
                allow_message_schedules: true,
                allow_rollup: true,
                allow_message_ttl: true,
                duplicate_window: Duration::from_mins(2),
                ..common
            },
            Self::Queue => Config {
                subjects: subjects(&["queue.>"]),
                retention: RetentionPolicy::WorkQueue,
                discard: DiscardPolicy::New,
                max_bytes: limits.max_bytes,
                duplicate_window: Duration::from_mins(2),
                ..common
            },
            Self::Outcomes => Config {
                subjects: subjects(&["outcomes.>", "routed.>", "endpoints.>", "posts.>"]),
                retention: RetentionPolicy::Limits,
                discard: DiscardPolicy::New,
                max_bytes: limits.max_bytes,
                duplicate_window: Duration::from_mins(2),
                ..common
            },
            Self::Audit => Config {
                subjects: subjects(&["audited.>"]),
                retention: RetentionPolicy::Limits,
                discard: DiscardPolicy::New,
                max_bytes: limits.max_bytes,
                duplicate_window: Duration::from_mins(2),
                ..common
            },
            Self::DeadLetters => Config {
                subjects: subjects(&["dead.>"]),
                retention: RetentionPolicy::Limits,
                // A convenience and no promise: when it is full, the oldest go.
                discard: DiscardPolicy::Old,
                max_bytes: limits.max_bytes,
                max_age: DEAD_LETTERS_AGE_MAX,
                // One copy of an event, however many of its deliveries died.
                max_messages_per_subject: 1,
                duplicate_window: Duration::from_mins(2),
                ..common
            },
        }
    }
}

/// How long the bytes of dead letters are kept: as long as their records (SPEC 4.7).
pub const DEAD_LETTERS_AGE_MAX: Duration = Duration::from_hours(30 * 24);

/// How long a repeat of an event is recognised by the broker: 2 h (DESIGN 3.6).
pub const EVENTS_DUPLICATE_WINDOW: Duration = Duration::from_hours(2);

/// What an operator decides about all streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamLimits {
    /// Copies of each stream: 1 or 3.
    pub replicas: usize,
    /// Size at which `EVENTS`, `QUEUE`, `OUTCOMES` and `AUDIT` refuse, and `DEAD_LETTERS` lets the oldest go; well below the
    /// disk's.
    pub max_bytes: i64,
}

/// Which durable consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConsumerName {
    /// Due events of a lane, to be matched.
    Route(Lane),
    /// Events that are not yet due, to be held.
    Hold,
    /// Alarms of a lane: held events come due, to be published.
    Release(Lane),
    /// Due deliveries of a lane, to be attempted.
    Deliver(Lane),
    /// Everything that is recorded of events, deliveries and endpoints.
    ActivityLog,
    /// Everything that is recorded of who did what.
    Audit,
    /// Endpoints that changed by themselves, for the registry.
    RegistryEndpoints,
}

/// What a consumer may hold unacknowledged, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// How long until an unacknowledged message is handed out again.
    pub ack_wait: Duration,
    /// How many may be unacknowledged together, over all replicas of the service.
    pub unacknowledged_max: i64,
}

impl ConsumerName {
    /// All consumers.
    pub fn all() -> impl Iterator<Item = Self> {
        let of_lane = |lane| [Self::Route(lane), Self::Release(lane), Self::Deliver(lane)];
        let lanes = Lane::ALL.into_iter().flat_map(of_lane);
        lanes.chain([Self::Hold, Self::ActivityLog, Self::Audit, Self::RegistryEndpoints])
    }

    /// The durable name on the server.
    pub fn durable(self) -> String {
        match self {
            Self::Route(lane) => format!("route-{}", lane.as_str()),
            Self::Hold => "hold".to_owned(),
            Self::Release(lane) => format!("release-{}", lane.as_str()),
            Self::Deliver(lane) => format!("deliver-{}", lane.as_str()),
            Self::ActivityLog => "activity-log".to_owned(),
            Self::Audit => "audit".to_owned(),
            Self::RegistryEndpoints => "registry-endpoints".to_owned(),
        }
    }

    /// The stream it reads.
    pub const fn stream(self) -> StreamName {
        match self {
            Self::Route(_) | Self::Hold => StreamName::Events,
            Self::Release(_) => StreamName::Held,
            Self::Deliver(_) => StreamName::Work,
            Self::ActivityLog | Self::RegistryEndpoints => StreamName::Outcomes,
            Self::Audit => StreamName::Audit,
        }
    }

    /// The subjects it reads.
    ///
    /// Routing reads internal events too: no webhook gets them, and the record says so.
    fn filters(self) -> Vec<String> {
        match self {
            Self::Route(lane) => vec![format!("events.*.{}.>", lane.as_str())],
            Self::Hold => vec!["later.>".to_owned()],
            Self::Release(lane) => vec![format!("ringing.{}.*", lane.as_str())],
            Self::Deliver(lane) => vec![format!("deliveries.{}.>", lane.as_str())],
            Self::ActivityLog => ["outcomes.>", "routed.>", "endpoints.>", "posts.>"].map(ToOwned::to_owned).to_vec(),
            Self::Audit => vec!["audited.>".to_owned()],
            Self::RegistryEndpoints => vec!["endpoints.>".to_owned()],
        }
    }

    /// The lease unless configured otherwise. A delivery's covers a whole attempt and the wait before it (SPEC 4.1).
    pub const fn default_lease(self) -> Lease {
        match self {
            Self::Deliver(_) => Lease { ack_wait: Duration::from_secs(90), unacknowledged_max: 4096 },
            Self::ActivityLog | Self::Audit => Lease { ack_wait: Duration::from_mins(1), unacknowledged_max: 5000 },
            _ => Lease { ack_wait: Duration::from_secs(30), unacknowledged_max: 2048 },
        }
    }

    /// The consumer's configuration. Attempts are counted in our own header, never by the server (DESIGN 3.4).
    pub fn config(self, lease: Lease) -> pull::Config {
        pull::Config {
            durable_name: Some(self.durable()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: lease.ack_wait,
            max_ack_pending: lease.unacknowledged_max,
            max_deliver: -1,
            filter_subjects: self.filters(),
            ..pull::Config::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_reserves_is_what_the_bounded_streams_may_hold() {
        let limits = StreamLimits { replicas: 1, max_bytes: 1 << 30 };
        let bounded = StreamName::ALL.into_iter().filter(|name| name.config(limits).max_bytes == limits.max_bytes);
        assert_eq!(bounded.count() as i64, StreamName::BOUNDED);
    }

    /// What we promise to operators: a change here is a migration of their servers.
    #[test]
    fn streams_and_consumers_are_as_declared() {
        let limits = StreamLimits { replicas: 1, max_bytes: 1 << 30 };
        let streams: Vec<_> = StreamName::ALL.map(|name| name.config(limits)).into();
        insta::assert_json_snapshot!("streams", streams);
        let consumers: Vec<_> = ConsumerName::all()
            .map(|name| {
                let Lease { ack_wait, unacknowledged_max } = name.default_lease();
                (name.stream().as_str(), name.durable(), name.filters(), ack_wait.as_secs(), unacknowledged_max)
            })
            .collect();
        insta::assert_json_snapshot!("consumers", consumers);
    }
}
