//! What is patched, and by what (SPEC 6.1, "JSON Patch").

use axum::extract::Request;
use serde::Serialize;
use serde_json::Value;
use slipstream_core::limits::BODY_BYTES_MAX;
use slipstream_service::ApiError;
use slipstream_service::ecg::patch::{self, Patch};
use utoipa::ToSchema;

use crate::state::AppState;

/// Reads the patch that a request brings.
///
/// # Errors
/// 400, 408, 413 and 415, as every body.
pub(crate) async fn read(state: &AppState, request: Request) -> Result<Patch, ApiError> {
    let (parts, body) = request.into_parts();
    let body = slipstream_service::http::read_body(&parts, body, BODY_BYTES_MAX, state.body_timeout).await?;
    Ok(patch::read(&parts.headers, &body)?)
}

/// What a patch is applied to: a thing as its answer shows it, so that all of that can be tested.
pub(crate) fn document(view: &impl Serialize) -> Value {
    serde_json::to_value(view).expect("texts, flags and times are always JSON")
}

/// A JSON Patch, for documents.
#[derive(ToSchema)]
#[schema(as = JsonPatch)]
#[expect(dead_code, reason = "documents take its shape; `slipstream_service::ecg::patch` reads it")]
pub(crate) struct Body(Vec<Operation>);

/// One operation (RFC 6902).
#[derive(ToSchema)]
#[schema(as = JsonPatchOperation)]
#[expect(dead_code, reason = "as of `Body`")]
struct Operation {
    /// What is done.
    #[schema(pattern = "^(add|remove|replace|move|copy|test)$")]
    op: String,
    /// Where: a JSON Pointer (RFC 6901); `-` is the place behind the last one of a list.
    path: String,
    /// For `move` and `copy`: where from.
    #[schema(nullable = false)]
    from: Option<String>,
    /// For `add`, `replace` and `test`: any JSON.
    value: Option<Value>,
}
