//! Who did what, and when: put on the bus, for the activity log to keep (THREATS 5, 9).
//!
//! What is audited, and as what, is one table: [`RULES`]. An [`Audit`] goes around the handlers of those routes
//! ([`Routes::around`](crate::access::Routes::around)), behind the guard, so that handlers need not think of it; what only
//! they know (the id of what they have just made, whose site it is) they say to a [`Note`].
//!
//! - What *changes* something leaves a record that it was begun before anything is done, and 503 is the answer if the bus
//!   does not acknowledge that: nothing is done that is not recorded, whatever crashes when. How it ended is a second
//!   record, which the answer waits for, though not long: the change is made by then, and a beginning without an end says
//!   honestly that somebody has to look.
//! - What *reads* leaves one record, with how it ended; what was read is shown when the bus has acknowledged it, else 503.
//!
//! Whoever asks and goes away does not stop it: the request is finished, and so is its record.

mod note;
mod rules;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts as _, RawPathParams, Request};
use axum::response::{IntoResponse as _, Response};
use slipstream_bus::{Bus, Outgoing, PublishError, Publisher, StreamName, subject};
use slipstream_core::contract::{AuditOutcome, Audited, audit_text};
use slipstream_core::ids::AuditId;
use slipstream_core::slug::Slug;
use tokio::time::timeout;

pub use self::note::Note;
pub use self::rules::{RULES, Rule, Sort};
use crate::access::{Answering, Around, Entry, Next};
use crate::auth::Granted;
use crate::http::ToTheEnd;
use crate::problem::ApiError;
use crate::trace::RequestTrace;
use crate::{clock, names};

/// How long an answer waits for the record of its end. The beginning is recorded, so nothing is hidden without it.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// Why nothing is done or shown.
const UNAUDITED: &str = "it could not be recorded that this is done, so it is not; repeat the request";

/// Puts records of one service on the bus. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Audit {
    service: &'static str,
    records: Publisher,
    to_the_end: ToTheEnd,
}

impl Audit {
    /// Records of `service`, by a name that a subject may hold. What is recorded is done with `to_the_end`, which is the
    /// process's ([`Context::to_the_end`](crate::Context::to_the_end)).
    pub fn new(bus: &Bus, service: &'static str, to_the_end: &ToTheEnd) -> Self {
        Self { service, records: bus.publisher(StreamName::Audit), to_the_end: to_the_end.clone() }
    }

    /// Puts one record on the bus. A repeat is recorded once.
    ///
    /// # Errors
    /// When the bus has not acknowledged it: then it may be recorded, or not.
    pub async fn record(&self, record: &Audited) -> Result<(), PublishError> {
        let payload = serde_json::to_vec(record).expect("texts, numbers and names always serialise");
        let message = Outgoing::new(subject::audited(self.service), payload.into()).id(&format!("audit.{}", record.id));
        self.records.publish(message).await.map(drop)
    }

    async fn read(&self, act: Act, request: Request, next: Next) -> Response {
        let response = next(request).await;
        match self.record(&act.end(&response, None)).await {
            Err(error) if response.status().is_success() => ApiError::unavailable(UNAUDITED, error).into_response(),
            // What was refused shows nothing.
            _ => response,
        }
    }

    async fn change(&self, act: Act, request: Request, next: Next) -> Response {
        let begun = act.begun();
        if let Err(error) = self.record(&begun).await {
            return ApiError::unavailable(UNAUDITED, error).into_response();
        }
        let response = next(request).await;
        let end = act.end(&response, Some(begun.id));
        let recorded = timeout(END_PATIENCE, self.record(&end)).await;
        let error = match recorded {
            Ok(Ok(())) => return response,
            Ok(Err(error)) => error.to_string(),
            Err(elapsed) => elapsed.to_string(),
        };
        metrics::counter!(names::AUDIT_ENDS_LOST).increment(1);
        let (action, outcome) = (end.action.as_str(), end.outcome.as_str());
        tracing::error!(audit.begun = %begun.id, audit.action = action, audit.outcome = outcome, error, "the end of what was begun is not recorded");
        response
    }
}

impl Around for Audit {
    fn concerns(&self, entry: &Entry) -> bool {
        Rule::of(entry).is_some()
    }

    fn answer(self: Arc<Self>, entry: &'static Entry, request: Request, next: Next) -> Answering {
        Box::pin(async move {
            let rule = Rule::of(entry).expect("it is put around routes with a rule only");
            let (act, request) = match Act::of(rule, request).await {
                Ok(known) => known,
                Err(error) => return error.into_response(),
            };
            let to_the_end = self.to_the_end.clone();
            let work = |request| async move {
                match rule.sort {
                    Sort::Reads => self.read(act, request, next).await,
                    Sort::Changes => self.change(act, request, next).await,
                }
            };
            to_the_end.answer(request, work).await
        })
    }
}

/// Somebody doing something: all that is known of it.
#[derive(Debug)]
struct Act {
    rule: &'static Rule,
    actor: String,
    trace: Option<String>,
    note: Note,
}

impl Act {
    /// What `request` is about to do, as far as its head tells. The request gets the note for its handler.
    async fn of(rule: &'static Rule, request: Request) -> Result<(Self, Request), ApiError> {
        let (mut parts, body) = request.into_parts();
        let granted: &Granted = parts.extensions.get().ok_or_else(|| {
            // Never: such a route does not start. If it did, it would do nothing.
            ApiError::internal(anyhow::anyhow!("nobody is known to do {}", rule.action.as_str()))
        })?;
        let note = Note::default();
        let actor = audit_text(&granted.principal.actor().to_string());
        if let Some(site) = &granted.site {
            note.site(&site.slug);
        }
        if let Some(organization) = granted.organization {
            note.site(&Slug::of_organization(organization));
        }
        let trace =
            parts.extensions.get::<RequestTrace>().map(|RequestTrace(trace)| format!("{:032x}", trace.trace_id));
        if let Some(name) = rule.target {
            let parameters = RawPathParams::from_request_parts(&mut parts, &()).await;
            // What cannot be decoded is not found, and refused as such by the handler.
            let target = parameters.as_ref().ok().and_then(|all| all.iter().find(|(it, _)| *it == name));
            if let Some((_, id)) = target {
                note.target(id);
            }
        }
        parts.extensions.insert(note.clone());
        Ok((Self { rule, actor, trace, note }, Request::from_parts(parts, body)))
    }

    fn begun(&self) -> Audited {
        self.record(AuditOutcome::Begun)
    }

    fn end(&self, response: &Response, begun: Option<AuditId>) -> Audited {
        let status = response.status();
        let outcome = if status.is_server_error() {
            AuditOutcome::Failed
        } else if status.is_client_error() {
            AuditOutcome::Refused
        } else {
            AuditOutcome::Done
        };
        Audited { status: Some(status.as_u16()), begun, ..self.record(outcome) }
    }

    fn record(&self, outcome: AuditOutcome) -> Audited {
        let (target, site) = self.note.read();
        Audited {
            id: AuditId(clock::new_uuid()),
            at: clock::now(),
            actor: self.actor.clone(),
            action: self.rule.action,
            kind: self.rule.kind,
            target,
            site,
            trace: self.trace.clone(),
            outcome,
            status: None,
            begun: None,
        }
    }
}

#[cfg(test)]
mod tests;
