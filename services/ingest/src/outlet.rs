//! From accepted events to the bus: which stream, which subject, one commit (DESIGN 4 "Accept").

use std::time::Duration;

use metrics::counter;
use slipstream_bus::{Ack, Bus, Outgoing, PublishError, StreamName, subject};
use slipstream_core::config::Site;
use slipstream_core::contract::Meta;
use slipstream_core::lane::{Lane, Visibility};
use slipstream_core::slipstream::Accepted;
use slipstream_core::timestamp::Timestamp;
use slipstream_core::trace::TraceContext;
use slipstream_service::auth::Principal;
use slipstream_service::{ApiError, clock, names};

use crate::repeat::Repeats;

/// What a caller hears when the bus did not acknowledge.
const UNCONFIRMED: &str = "event storage did not confirm in time; repeating the request is harmless";

/// Who publishes, where, and in which trace.
pub(crate) struct Publisher<'a> {
    pub(crate) site: &'a Site,
    pub(crate) principal: &'a Principal,
    pub(crate) trace: TraceContext,
}

/// The streams that ingest writes to.
#[derive(Debug)]
pub(crate) struct Outlet {
    events: slipstream_bus::Publisher,
    queue: slipstream_bus::Publisher,
    repeats: Repeats,
    deadline: Duration,
}

impl Outlet {
    /// `deadline` is the longest time that a request waits for the bus.
    pub(crate) fn new(bus: &Bus, deadline: Duration) -> Self {
        Self {
            events: bus.publisher(StreamName::Events),
            queue: bus.publisher(StreamName::Queue),
            repeats: Repeats::new(bus),
            deadline,
        }
    }

    /// Stores all events of a request: one atomic commit per stream.
    ///
    /// A request may mix WorkQueue events with others. Then there are two commits, and a failure of the second leaves
    /// the first stored: the answer is 503, and repeating the request completes it (N15).
    ///
    /// # Errors
    /// 503, when a stream refuses or does not acknowledge within the deadline.
    pub(crate) async fn publish(&self, publisher: &Publisher<'_>, accepted: Vec<Accepted>) -> Result<(), ApiError> {
        let now = clock::now();
        let mut tally = Tally::default();
        let (mut events, mut queue) = (Vec::new(), Vec::new());
        for event in accepted {
            tally.add(event.visibility, event.lane);
            match route(publisher, event, now) {
                Route::Events(message) => events.push(message),
                Route::Queue(message) => queue.push(message),
                Route::TelemetryOnly => {}
            }
        }
        // The bus counts its deadline from when it turns to a request; the caller has waited for that turn too.
        let bodies: Vec<_> = events.iter().map(|message: &Outgoing| message.payload().clone()).collect();
        let (events, queue) = tokio::time::timeout(self.deadline, self.store(events, queue))
            .await
            .map_err(|elapsed| ApiError::unavailable(UNCONFIRMED, elapsed))?
            .map_err(refused)?;
        tally.count();
        for (ack, body) in events.iter().zip(bodies).filter(|(ack, _)| ack.duplicate) {
            self.repeats.saw(ack.sequence, body);
        }
        let queued_again = queue.iter().filter(|ack| ack.duplicate).count() as u64;
        if queued_again > 0 {
            counter!(names::EVENTS_DUPLICATE, "found" => "at_once").increment(queued_again);
        }
        Ok(())
    }

    async fn store(&self, events: Vec<Outgoing>, queue: Vec<Outgoing>) -> Result<(Vec<Ack>, Vec<Ack>), PublishError> {
        let events = self.events.publish_all(events).await?;
        let queue = self.queue.publish_all(queue).await?;
        Ok((events, queue))
    }
}

/// How many events of each visibility and lane a request holds. Counted only when all of them are stored.
#[derive(Default)]
struct Tally([[u64; Lane::ALL.len()]; Visibility::ALL.len()]);

impl Tally {
    fn add(&mut self, visibility: Visibility, lane: Lane) {
        self.0[visibility as usize][lane as usize] += 1;
    }

    fn count(&self) {
        for visibility in Visibility::ALL {
            for lane in Lane::ALL {
                let events = self.0[visibility as usize][lane as usize];
                if events > 0 {
                    counter!(names::EVENTS_ACCEPTED, names::VISIBILITY => visibility.as_str(),
                        names::LANE => lane.as_str())
                    .increment(events);
                }
            }
        }
    }
}

/// Where an accepted event goes.
enum Route {
    Events(Outgoing),
    Queue(Outgoing),
    TelemetryOnly,
}

fn route(publisher: &Publisher<'_>, event: Accepted, now: Timestamp) -> Route {
    let Accepted { key, event_type, visibility, lane, intended_at, expires_at, body } = event;
    let site = &publisher.site.slug;
    let due_subject = match visibility {
        Visibility::Private => {
            // Leaves nothing but this (SPEC 5.2). Its type may be told; its data never is.
            tracing::debug_span!(target: "slipstream::span", "publish private event", cloudevents.event_type = event_type,
                site.slug = %site)
            .in_scope(|| ());
            return Route::TelemetryOnly;
        }
        Visibility::WorkQueue => subject::queue(publisher.principal.account_id(), lane, &event_type),
        Visibility::Internal | Visibility::Public => subject::event(visibility, lane, site, &event_type),
    };
    let is_ahead = intended_at.is_some_and(|intended_at| intended_at > now);
    // Whoever published it may change it while it is held; nobody needs to know of any other.
    let published_by = is_ahead.then_some(publisher.principal.account_id());
    let meta = Meta { expires_at, intended_at, published_by, ..Meta::new(site.clone(), now) };
    let message =
        |subject| Outgoing::new(subject, body.into()).id(key.as_str()).meta(&meta).trace(Some(publisher.trace));
    if is_ahead {
        return Route::Events(message(subject::later(lane, site, &key)).due_subject(&due_subject));
    }
    match visibility {
        Visibility::WorkQueue => Route::Queue(message(due_subject)),
        _ => Route::Events(message(due_subject)),
    }
}

/// The bus did not take it, or not in time: the publisher may repeat the request (N15).
fn refused(error: PublishError) -> ApiError {
    let detail = match error {
        PublishError::Full { .. } => "event storage is full; try again later",
        _ => UNCONFIRMED,
    };
    ApiError::unavailable(detail, error)
}
