//! The Slipstream surface: which events a site accepts, and the form they are stored and forwarded in (SPEC 5.2).
//!
//! Takes an [`Event`] that already obeys CloudEvents, judges Slipstream's own attributes against the site and the kind
//! of the publishing account, fills in what the site knows, and serialises once. What comes out is final: the body is
//! the bytes that the bus stores and the webhooks carry.

use std::collections::HashSet;

use crate::config::{AccountKind, Product, Site};
use crate::event::{Data, Event, Value, json};
use crate::ids::EventKey;
use crate::lane::{Lane, Visibility};
use crate::limits::{BATCH_EVENTS_MAX, ERRORS_MAX, EVENT_BYTES_MAX};
use crate::problem::{FieldError, Problem, ProblemKind};
use crate::timestamp::Timestamp;

mod attributes;
mod letter;

use attributes::Attributes;

/// The content type of JSON data that names none (SPEC 5.2, D-02).
pub const DEFAULT_DATACONTENTTYPE: &str = "application/slipstreamevent+json";

/// An event the site has accepted, with all that decides its way through the system.
#[derive(Debug, Clone, PartialEq)]
pub struct Accepted {
    /// Identifies the event for good: equal for every repeat of (site, `source`, `id`).
    pub key: EventKey,
    /// The attribute `type`.
    pub event_type: String,
    /// Who may see it.
    pub visibility: Visibility,
    /// How urgent it is.
    pub lane: Lane,
    /// Not to be delivered before.
    pub intended_at: Option<Timestamp>,
    /// Not to be delivered at or after. May lie in the past: such an event is accepted and never delivered.
    pub expires_at: Option<Timestamp>,
    /// The forwarded form in JSON, at most [`EVENT_BYTES_MAX`] bytes.
    pub body: Vec<u8>,
}

/// Why a publishing request is refused. Nothing of it is stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Some attribute or the letter's data breaks a rule.
    #[error("{} members are invalid", .0.len())]
    Invalid(Vec<FieldError>),
    /// An external account published visibility 2 or 3, and nothing else is wrong.
    #[error("external publishers may send visibility 0 and 1 only")]
    VisibilityNotAllowed(Vec<FieldError>),
    /// One event has more bytes than [`EVENT_BYTES_MAX`] in its forwarded form.
    #[error("an event has {bytes} bytes in its forwarded form; at most {EVENT_BYTES_MAX} are allowed")]
    EventTooLarge {
        /// Its place in the batch; none for a single event.
        index: Option<usize>,
        /// Its size.
        bytes: usize,
    },
    /// The batch has more events than [`BATCH_EVENTS_MAX`].
    #[error("the batch has {events} events; at most {BATCH_EVENTS_MAX} are allowed")]
    BatchTooLarge {
        /// How many it has.
        events: usize,
    },
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        let detail = rejection.to_string();
        match rejection {
            Rejection::Invalid(errors) => Self::with_errors(ProblemKind::InvalidEvent, errors),
            Rejection::VisibilityNotAllowed(errors) => {
                Self { detail: detail.into(), ..Self::with_errors(ProblemKind::VisibilityNotAllowed, errors) }
            }
            Rejection::EventTooLarge { index, bytes } => {
                let limit = FieldError {
                    pointer: index.map_or_else(|| "#".to_owned(), |index| format!("#/{index}")),
                    detail: format!("has {bytes} bytes; at most {EVENT_BYTES_MAX} are allowed").into(),
                };
                Self { errors: vec![limit], ..Self::new(ProblemKind::TooLarge, detail) }
            }
            Rejection::BatchTooLarge { .. } => Self::new(ProblemKind::TooLarge, detail),
        }
    }
}

/// Judges one event published to `site` by an account of this `kind`.
///
/// Past `expirytime` is no reason to refuse: this has no clock, and such an event is accepted by contract.
pub fn accept(event: Event, site: &Site, kind: AccountKind) -> Result<Accepted, Rejection> {
    let (verdict, errors) = judge(&event, site, kind);
    if let Some(rejection) = rejection(verdict.visibility_is_allowed, errors) {
        return Err(rejection);
    }
    let accepted = forward(event, &verdict, site);
    match accepted.body.len() {
        bytes if bytes > EVENT_BYTES_MAX => Err(Rejection::EventTooLarge { index: None, bytes }),
        _ => Ok(accepted),
    }
}

/// Judges a batch: all or nothing. An event that occurs twice is kept once, the first of them (SPEC 4.7).
///
/// # Errors
/// As [`accept`], over all events, each pointer beginning with the event's index; and a batch with too many events.
pub fn accept_batch(events: Vec<Event>, site: &Site, kind: AccountKind) -> Result<Vec<Accepted>, Rejection> {
    if events.len() > BATCH_EVENTS_MAX {
        return Err(Rejection::BatchTooLarge { events: events.len() });
    }
    let mut accepted = Vec::with_capacity(events.len());
    let mut keys = HashSet::with_capacity(events.len());
    let mut errors = Vec::new();
    let mut only_visibility = true;
    let mut too_large = None;
    for (index, event) in events.into_iter().enumerate() {
        match accept(event, site, kind) {
            Ok(event) => {
                if keys.insert(event.key) {
                    accepted.push(event);
                }
            }
            Err(Rejection::EventTooLarge { bytes, .. }) => {
                too_large.get_or_insert(Rejection::EventTooLarge { index: Some(index), bytes });
            }
            Err(rejection @ Rejection::BatchTooLarge { .. }) => return Err(rejection),
            Err(Rejection::VisibilityNotAllowed(of_event)) => {
                errors.extend(of_event.into_iter().map(|error| error.in_batch(index)));
            }
            Err(Rejection::Invalid(of_event)) => {
                only_visibility = false;
                errors.extend(of_event.into_iter().map(|error| error.in_batch(index)));
            }
        }
    }
    errors.truncate(ERRORS_MAX);
    match (rejection(!only_visibility || errors.is_empty(), errors), too_large) {
        (Some(rejection), _) | (None, Some(rejection)) => Err(rejection),
        (None, None) => Ok(accepted),
    }
}

fn rejection(visibility_is_allowed: bool, errors: Vec<FieldError>) -> Option<Rejection> {
    match errors.len() {
        0 => None,
        _ if visibility_is_allowed => Some(Rejection::Invalid(errors)),
        _ => Some(Rejection::VisibilityNotAllowed(errors)),
    }
}

/// What Slipstream's attributes of an event say.
struct Verdict {
    visibility: Visibility,
    /// False when the visibility is the one thing that is wrong.
    visibility_is_allowed: bool,
    lane: Lane,
    intended_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
}

fn judge(event: &Event, site: &Site, kind: AccountKind) -> (Verdict, Vec<FieldError>) {
    let mut read = Attributes::of(event);
    if event.source == crate::operational::SOURCE {
        // Else anybody could tell others that an endpoint is disabled, or keep the real news from being told.
        read.refuse("source", "is that of the platform's own events");
    }
    read.equal("siteslug", site.slug.as_str(), "must be the site of the path");
    read.equal("organisationslug", site.organisation.as_str(), "must be the organisation that owns the site");
    let billed = site.billing_organisation.as_str();
    read.equal("billingorganisationslug", billed, "must be the billing organisation of the site");
    for name in ["traceparent", "tracestate", "billingsku", "pmsspecificid"] {
        read.text(name);
    }
    if read.text("product").is_some_and(|product| Product::from_name(product).is_none()) {
        read.refuse("product", "must be Testing, Exact, Dentally or Ascend");
    }
    if read.integer("billingpax").is_some_and(|people| people < 1) {
        read.refuse("billingpax", "must be at least 1");
    }
    let lane = read.integer("priority").map(|number| Lane::from_priority(number.into()));
    if lane == Some(None) {
        read.refuse("priority", "must be 0, 1 or 2");
    }
    let (intended_at, expires_at) = (read.time("intendeddeliverytime"), read.time("expirytime"));
    if let (Some(intended), Some(expiry)) = (intended_at, expires_at)
        && intended >= expiry
    {
        read.refuse("intendeddeliverytime", "must be before expirytime");
    }
    if kind == AccountKind::Internal && letter::is_letter(&event.event_type) {
        letter::check(event.data.as_ref(), &mut read);
    }
    let visibility = read.integer("visibility").map(|number| Visibility::from_number(number.into()));
    if visibility == Some(None) {
        read.refuse("visibility", "must be 0, 1, 2 or 3");
    }
    let visibility = visibility.flatten().unwrap_or_default();
    let others_are_fine = read.errors.is_empty();
    let is_allowed = kind == AccountKind::Internal || matches!(visibility, Visibility::Internal | Visibility::Public);
    if !is_allowed {
        read.refuse("visibility", "external publishers may send 0 and 1 only");
    }
    let verdict = Verdict {
        visibility,
        visibility_is_allowed: is_allowed || !others_are_fine,
        lane: lane.flatten().unwrap_or_default(),
        intended_at,
        expires_at,
    };
    (verdict, read.errors)
}

/// The forwarded form: what came, and what the site knows (SPEC 5.2).
fn forward(mut event: Event, verdict: &Verdict, site: &Site) -> Accepted {
    let filled_in = [
        ("siteslug", &site.slug),
        ("organisationslug", &site.organisation),
        ("billingorganisationslug", &site.billing_organisation),
    ];
    for (name, slug) in filled_in {
        if event.extension(name).is_none() {
            event.extensions.push((name.to_owned(), Value::from(slug.as_str())));
        }
    }
    if event.datacontenttype.is_none() && matches!(event.data, Some(Data::Json(_))) {
        event.datacontenttype = Some(DEFAULT_DATACONTENTTYPE.to_owned());
    }
    let mut body = Vec::new();
    json::write(&event, &mut body);
    Accepted {
        key: EventKey::new(&site.slug, &event.source, &event.id),
        event_type: event.event_type,
        visibility: verdict.visibility,
        lane: verdict.lane,
        intended_at: verdict.intended_at,
        expires_at: verdict.expires_at,
        body,
    }
}

#[cfg(test)]
mod tests;
