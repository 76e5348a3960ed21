//! What travels, as `crates/bus` has it: typed where that writes text, so that nothing is formatted in vain.

use std::rc::Rc;

use slipstream_core::contract::{EndpointChanged, Meta, Outcome, RoutedEvent};
use slipstream_core::ids::{DeliveryId, EventKey, SubscriptionId};
use slipstream_core::lane::{Lane, Visibility};
use slipstream_core::slug::Slug;
use slipstream_core::timestamp::Timestamp;

/// Which stream. `QUEUE_0` is left out: its messages go past everything that is checked here. `HELD_0` is a part of
/// `WORK_0` here: that they are two is for speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamName {
    Events,
    Work,
    Outcomes,
}

/// Which durable consumer. One for all lanes here: a lane decides the order, and that is chance's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConsumerName {
    Route,
    Hold,
    Release,
    Deliver,
    ActivityLog,
    RegistryEndpoints,
}

impl ConsumerName {
    pub(crate) const COUNT: usize = 6;

    /// How long until what is not acknowledged is handed out again, in milliseconds: as `bus::streams` has it.
    pub(crate) const fn lease(self) -> i64 {
        match self {
            Self::Deliver => 90_000,
            Self::ActivityLog => 60_000,
            _ => 30_000,
        }
    }

    pub(crate) const fn stream(self) -> StreamName {
        match self {
            Self::Route | Self::Hold => StreamName::Events,
            Self::Release | Self::Deliver => StreamName::Work,
            Self::ActivityLog | Self::RegistryEndpoints => StreamName::Outcomes,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    /// `events.{visibility}.{lane}.{site}.{type…}`
    Event(Visibility, Lane, Slug),
    /// `later.{lane}.{site}.{key}`
    Later(Lane, Slug, EventKey),
    /// `deliveries.{lane}.{subscription}.{key}`
    Delivery(Lane, SubscriptionId, EventKey),
    /// `waiting.{subscription}.…`: a delivery, whichever it is.
    Waiting(SubscriptionId, DeliveryId),
    /// `held.{site}.{key}`
    Held(Slug, EventKey),
    /// `lists.{lane}.{at}.{id}`
    DueList(Lane, i64, u64),
    /// `alarms.{lane}.{at}`, or with a name of its own
    Alarm(Lane, i64, Option<u64>),
    /// `ringing.{lane}.{at}`
    Ringing(Lane, i64),
    /// `routed.{site}`
    Routed,
    /// `outcomes.{surface}.{subscription}`
    Outcomes,
    /// `endpoints.{surface}.{subscription}`
    Endpoint,
}

/// A subject that keeps its last message until it is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Waiting(SubscriptionId, DeliveryId),
    Held(EventKey),
    DueList(Lane, i64, u64),
    Alarm(Lane, i64, Option<u64>),
}

impl Subject {
    pub(crate) const fn stream(&self) -> StreamName {
        match self {
            Self::Event(..) | Self::Later(..) => StreamName::Events,
            Self::Delivery(..)
            | Self::Waiting(..)
            | Self::Held(..)
            | Self::DueList(..)
            | Self::Alarm(..)
            | Self::Ringing(..) => StreamName::Work,
            Self::Routed | Self::Outcomes | Self::Endpoint => StreamName::Outcomes,
        }
    }

    /// Who reads it.
    pub(crate) const fn consumers(&self) -> &'static [ConsumerName] {
        match self {
            Self::Event(..) => &[ConsumerName::Route],
            Self::Later(..) => &[ConsumerName::Hold],
            Self::Delivery(..) => &[ConsumerName::Deliver],
            Self::Ringing(..) => &[ConsumerName::Release],
            Self::Waiting(..) | Self::Held(..) | Self::DueList(..) | Self::Alarm(..) => &[],
            Self::Routed | Self::Outcomes => &[ConsumerName::ActivityLog],
            Self::Endpoint => &[ConsumerName::ActivityLog, ConsumerName::RegistryEndpoints],
        }
    }

    pub(crate) const fn place(&self) -> Option<Place> {
        match self {
            Self::Waiting(subscription, delivery) => Some(Place::Waiting(*subscription, *delivery)),
            Self::Held(_, key) => Some(Place::Held(*key)),
            Self::DueList(lane, at, id) => Some(Place::DueList(*lane, *at, *id)),
            Self::Alarm(lane, at, id) => Some(Place::Alarm(*lane, *at, *id)),
            _ => None,
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) enum Payload {
    /// An event in its forwarded form.
    Event(Rc<[u8]>),
    /// Places of held events.
    DueList(Rc<[u64]>),
    /// The held event of which the mark of its end is to be taken away.
    EndList(EventKey),
    /// Nothing.
    Alarm,
    Routed(Rc<RoutedEvent>),
    Outcome(SubscriptionId, Rc<Outcome>),
    Endpoint(EndpointChanged),
}

impl Payload {
    /// The event's bytes; nothing for what is no event.
    pub(crate) fn bytes(&self) -> Rc<[u8]> {
        match self {
            Self::Event(bytes) => Rc::clone(bytes),
            _ => Rc::from([]),
        }
    }
}

/// A message to publish, as `bus::Outgoing`.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) subject: Subject,
    pub(crate) payload: Payload,
    pub(crate) id: Option<String>,
    pub(crate) meta: Option<Meta>,
    pub(crate) due_subject: Option<Subject>,
    pub(crate) expect_last: Option<u64>,
    /// When it is published to which subject, if it is a schedule.
    pub(crate) schedule: Option<(Timestamp, Subject)>,
}

impl Outgoing {
    pub(crate) fn new(subject: Subject, payload: Payload) -> Self {
        let (id, meta, due_subject, expect_last, schedule) = (None, None, None, None, None);
        Self { subject, payload, id, meta, due_subject, expect_last, schedule }
    }

    pub(crate) fn id(self, id: String) -> Self {
        Self { id: Some(id), ..self }
    }

    pub(crate) fn meta(self, meta: Meta) -> Self {
        Self { meta: Some(meta), ..self }
    }

    pub(crate) fn due_subject(self, subject: Subject) -> Self {
        Self { due_subject: Some(subject), ..self }
    }

    pub(crate) fn expect_last(self, sequence: u64) -> Self {
        Self { expect_last: Some(sequence), ..self }
    }

    pub(crate) fn at(self, at: Timestamp, target: Subject) -> Self {
        Self { schedule: Some((at, target)), ..self }
    }
}

/// A message that a stream has.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) sequence: u64,
    pub(crate) subject: Subject,
    pub(crate) payload: Payload,
    pub(crate) meta: Option<Meta>,
    pub(crate) due_subject: Option<Subject>,
    pub(crate) schedule: Option<(Timestamp, Subject)>,
}

/// A stored message in the hands of a process.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) stored: Rc<Stored>,
    pub(crate) consumer: ConsumerName,
    /// Which handing out of all.
    pub(crate) instance: u64,
    /// Whether it was handed out before.
    pub(crate) is_again: bool,
}

/// The stream has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ack {
    pub(crate) duplicate: bool,
    pub(crate) sequence: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PublishError {
    /// It may be stored or not.
    Unanswered,
    /// The subject's last message is another one than was expected.
    Superseded,
}
