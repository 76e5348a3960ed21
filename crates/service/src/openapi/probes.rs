//! The operations of the probes, for the document of operators.

use utoipa::openapi::OpenApi;

#[derive(utoipa::OpenApi)]
#[openapi(paths(crate::health::livez, crate::health::readyz, crate::health::render_metrics))]
struct Probes;

pub(super) fn operations() -> OpenApi {
    <Probes as utoipa::OpenApi>::openapi()
}
