//! From accepted events to the bus: which stream, which subject, one commit (DESIGN 4 "Accept").

use metrics::counter;
use slipstream_bus::{Ack, Bus, Outgoing, PublishError, StreamName, subject};
use slipstream_core::config::{Account, Site};
use slipstream_core::contract::Meta;
use slipstream_core::lane::Visibility;
use slipstream_core::problem::{Problem, ProblemKind};
use slipstream_core::slipstream::Accepted;
use slipstream_core::timestamp::Timestamp;
use slipstream_core::trace::TraceContext;
use slipstream_service::clock;

/// Who publishes, where, and in which trace.
pub(crate) struct Publisher<'a> {
    pub(crate) site: &'a Site,
    pub(crate) account: &'a Account,
    pub(crate) trace: TraceContext,
}

/// The streams that ingest writes to.
#[derive(Debug)]
pub(crate) struct Outlet {
    events: slipstream_bus::Publisher,
    queue: slipstream_bus::Publisher,
}

impl Outlet {
    pub(crate) fn new(bus: &Bus) -> Self {
        Self { events: bus.publisher(StreamName::Events), queue: bus.publisher(StreamName::Queue) }
    }

    /// Stores all events of a request: one atomic commit per stream.
    ///
    /// A request may mix WorkQueue events with others. Then there are two commits, and a failure of the second leaves
    /// the first stored: the answer is 503, and repeating the request completes it (N15).
    pub(crate) async fn publish(&self, publisher: &Publisher<'_>, accepted: Vec<Accepted>) -> Result<(), Problem> {
        let now = clock::now();
        let (mut events, mut queue) = (Vec::new(), Vec::new());
        for event in accepted {
            counter!("slipstream_events_accepted_total", "visibility" => event.visibility.as_str(),
                "lane" => event.lane.as_str())
            .increment(1);
            match route(publisher, event, now) {
                Route::Events(message) => events.push(message),
                Route::Queue(message) => queue.push(message),
                Route::TelemetryOnly => {}
            }
        }
        let acks = self.events.publish_all(events).await.map_err(|error| refused(&error))?;
        count_repeats(&acks);
        let acks = self.queue.publish_all(queue).await.map_err(|error| refused(&error))?;
        count_repeats(&acks);
        Ok(())
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
        Visibility::WorkQueue => subject::queue(publisher.account.id, lane, &event_type),
        Visibility::Internal | Visibility::Public => subject::event(visibility, lane, site, &event_type),
    };
    let meta = Meta { expires_at, intended_at, ..Meta::new(site.clone(), now) };
    let is_ahead = intended_at.is_some_and(|intended_at| intended_at > now);
    let message =
        |subject| Outgoing::new(subject, body.into()).id(key.as_str()).meta(&meta).trace(Some(publisher.trace));
    if is_ahead {
        return Route::Events(message(subject::later(lane, site)).due_subject(&due_subject));
    }
    match visibility {
        Visibility::WorkQueue => Route::Queue(message(due_subject)),
        _ => Route::Events(message(due_subject)),
    }
}

fn count_repeats(acks: &[Ack]) {
    let repeats = acks.iter().filter(|ack| ack.duplicate).count();
    if repeats > 0 {
        counter!("slipstream_events_duplicate_total").increment(repeats as u64);
    }
}

/// The bus did not take it, or not in time: the publisher may repeat the request (N15).
fn refused(error: &PublishError) -> Problem {
    tracing::warn!(%error, "events were not stored");
    let detail = match error {
        PublishError::Full { .. } => "event storage is full; try again later",
        _ => "event storage did not confirm in time; repeating the request is harmless",
    };
    Problem::new(ProblemKind::Unavailable, detail)
}
