//! S1: publish events (SPEC 5.2).

use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use slipstream_core::config::Site;
use slipstream_core::event::http::{BinaryError, Mode, mode, parse_binary};
use slipstream_core::event::{Event, json};
use slipstream_core::limits::BODY_BYTES_MAX;
use slipstream_core::problem::{FieldError, Problem, ProblemKind};
use slipstream_core::slipstream::{Accepted, accept, accept_batch};
use slipstream_service::auth::AtSite;
use slipstream_service::http::read_body;
use slipstream_service::quota::Meter;
use slipstream_service::{ApiError, RequestTrace};

use crate::SharedState;
use crate::openapi::{self, Batch, BinaryMode, CloudEvent, SiteInPath};
use crate::outlet::Publisher;

/// `POST /sites/{site}/events`: 204 when every event of the request is stored, or was already (N1, N15).
///
/// A caller with a quota pays a token before its body is read and another for each further event (SPEC 2.4).
#[utoipa::path(
    post,
    path = "/sites/{site}/events",
    tag = "Events",
    operation_id = "publishEvents",
    summary = "Publish one event, or a batch",
    description = "All events of the request are taken, or none. In binary mode the attributes are `ce-` headers, and the \
                   body is the data of any type. A caller with a quota pays a token per event.",
    params(SiteInPath, BinaryMode),
    request_body(content(
        (CloudEvent = "application/cloudevents+json", example = json!(openapi::example())),
        (Batch = "application/cloudevents-batch+json", example = json!([openapi::example()])),
        (serde_json::Value = "application/json"),
        (Vec<u8> = "application/octet-stream"),
    )),
    responses((status = 204, description = "Every event is stored, or was already."))
)]
pub(crate) async fn publish(
    State(state): State<SharedState>,
    at: AtSite,
    RequestTrace(trace): RequestTrace,
    meter: Meter,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let publisher = Publisher { site: &at.site, principal: &at.principal, trace };
    let mode = content_mode(&parts.headers)?;
    let body = read_body(&parts, body, BODY_BYTES_MAX, state.body_timeout).await?;
    let events = read_events(mode, &parts, &body, &publisher)?;
    meter.take_events(events.len())?;
    state.outlet.publish(&publisher, events).await?;
    // Not earlier: while the bus is away, the events of waiting requests stay within the budget of their bodies (N9).
    drop(body);
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Which of the three content modes the request is in (SPEC 3.4).
fn content_mode(headers: &HeaderMap) -> Result<Mode, Problem> {
    let unsupported = |detail| Problem::new(ProblemKind::UnsupportedMediaType, detail);
    let content_type = match headers.get(CONTENT_TYPE) {
        None => None,
        Some(value) => Some(value.to_str().map_err(|_| unsupported("Content-Type is not visible ASCII"))?),
    };
    mode(content_type).map_err(|_| {
        unsupported(
            "Content-Type must be application/cloudevents+json, application/cloudevents-batch+json, \
             or that of the data with the attributes in ce- headers",
        )
    })
}

/// Reads and judges what the request holds: all of its events, or none.
fn read_events(mode: Mode, parts: &Parts, body: &[u8], publisher: &Publisher<'_>) -> Result<Vec<Accepted>, Problem> {
    let one = |event: Event, site: &Site| Ok(vec![accept(event, site, publisher.principal.kind())?]);
    match mode {
        Mode::Structured => one(json::parse(body).map_err(invalid)?, publisher.site),
        Mode::Binary => one(read_binary(parts, body)?, publisher.site),
        Mode::Batched => {
            let events = json::parse_batch(body).map_err(invalid)?;
            Ok(accept_batch(events, publisher.site, publisher.principal.kind())?)
        }
    }
}

fn read_binary(parts: &Parts, body: &[u8]) -> Result<Event, Problem> {
    let headers = parts.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let content_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    parse_binary(headers, content_type, body).map_err(|error| match error {
        BinaryError::NotACloudEvent => Problem::new(
            ProblemKind::UnsupportedMediaType,
            "no CloudEvent: Content-Type is not of CloudEvents, and there are no ce- headers",
        ),
        BinaryError::Invalid(errors) => invalid(errors),
    })
}

fn invalid(errors: Vec<FieldError>) -> Problem {
    Problem::with_errors(ProblemKind::InvalidEvent, errors)
}
