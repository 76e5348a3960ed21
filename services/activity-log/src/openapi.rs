//! The part of the OpenAPI documents that the activity log answers.

use slipstream_service::openapi::Documents;
use utoipa::OpenApi as _;

use crate::{api, ecg, scheduled};

/// What the activity log adds to the documents of its process.
pub fn documents() -> Documents {
    Documents::default()
        .slipstream(scheduled::Operations::openapi())
        .ecg(ecg::Operations::openapi())
        .operator(api::Operations::openapi())
}
