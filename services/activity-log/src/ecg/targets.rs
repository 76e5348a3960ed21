//! Targets to try a subscription with: one that takes every post, one that refuses it (SPEC 6.9, D-07).
//!
//! They are for everybody, since a post carries no token. Whatever is sent is read, up to the limit of a body, and not
//! kept: not unpacked, not parsed, not in memory.

use std::time::Duration;

use axum::Json;
use axum::body::{Body, HttpBody as _};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use futures::StreamExt as _;
use slipstream_core::limits::BODY_BYTES_MAX;
use slipstream_core::problem::{Problem, ProblemKind};
use slipstream_service::ApiError;
use slipstream_service::ecg::{Query, Value, answer};
use slipstream_service::list::bad_parameter;
use slipstream_service::trace::RequestTrace;

use super::SharedState;

/// The statuses that stand for a failure.
const FAILURES: std::ops::RangeInclusive<u16> = 400..=599;

/// E46.
#[utoipa::path(
    post,
    path = "/api/webhook-processors/success-response",
    tag = "Processors",
    operation_id = "succeed",
    summary = "Take any post",
    request_body(content = serde_json::Value, description = "Anything."),
    responses((status = 200, description = "Always.", body = Value))
)]
pub(super) async fn succeed(State(state): State<SharedState>, request: Request) -> Result<Json<Value>, ApiError> {
    read_and_drop(request.into_body(), state.body_timeout).await?;
    Ok(Json(Value::TRUE))
}

/// E47.
#[utoipa::path(
    post,
    path = "/api/webhook-processors/failed-response",
    tag = "Processors",
    operation_id = "fail",
    summary = "Refuse any post",
    params(("status" = Option<u16>, Query, description = "The status to answer with; 500 unless told otherwise", minimum = 400, maximum = 599)),
    request_body(content = serde_json::Value, description = "Anything."),
    responses((status = "default", description = "Always a failure: 500, or the status that was asked for."))
)]
pub(super) async fn fail(
    State(state): State<SharedState>,
    query: Query,
    RequestTrace(trace): RequestTrace,
    request: Request,
) -> Result<Response, ApiError> {
    let status = status(&query)?;
    read_and_drop(request.into_body(), state.body_timeout).await?;
    Ok(answer(status, "this target fails, as it is meant to", trace))
}

fn status(query: &Query) -> Result<StatusCode, Problem> {
    let Some(status) = query.one("status")? else { return Ok(StatusCode::INTERNAL_SERVER_ERROR) };
    let status = status.parse().ok().filter(|status| FAILURES.contains(status));
    let status = status.and_then(|status| StatusCode::from_u16(status).ok());
    status.ok_or_else(|| bad_parameter("status", "must be a number from 400 to 599"))
}

async fn read_and_drop(body: Body, within: Duration) -> Result<(), Problem> {
    let too_large = || Problem::new(ProblemKind::TooLarge, format!("the body is larger than {BODY_BYTES_MAX} bytes"));
    if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        return Err(too_large());
    }
    let reading = async {
        let (mut bytes, mut pieces) = (0, body.into_data_stream());
        while let Some(piece) = pieces.next().await {
            let broken = |_| Problem::new(ProblemKind::BadRequest, "the body broke off or is malformed");
            bytes += piece.map_err(broken)?.len();
            if bytes > BODY_BYTES_MAX {
                return Err(too_large());
            }
        }
        Ok(())
    };
    let late = |_| Problem::new(ProblemKind::RequestTimeout, "the body did not arrive in time");
    tokio::time::timeout(within, reading).await.map_err(late)?
}

#[cfg(test)]
mod tests {
    use axum::extract::FromRequestParts as _;

    use super::*;

    #[tokio::test]
    async fn any_failure_can_be_asked_for_and_nothing_else() {
        let asked = async |query: &str| {
            let (mut parts, ()) = axum::http::Request::post(format!("/?{query}")).body(()).unwrap().into_parts();
            let query = Query::from_request_parts(&mut parts, &()).await.unwrap();
            super::status(&query).map(|status| status.as_u16()).map_err(|problem| problem.kind)
        };
        assert_eq!(asked("").await, Ok(500));
        for status in [400, 410, 503, 599] {
            assert_eq!(asked(&format!("status={status}")).await, Ok(status));
        }
        for wrong in ["", "399", "600", "200", "-400", "4e2", "500.0", "x", "65936", "500&status=500"] {
            assert_eq!(asked(&format!("status={wrong}")).await, Err(ProblemKind::BadRequest), "{wrong}");
        }
    }
}
